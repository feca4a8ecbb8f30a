"""timm and torchvision as oracles of the backbones: with the same weights, maps equal ours.

torchvision's ResNets have their stride in the 3x3 convolution (`stride_in_1x1: false`); detectron2's, of which ours are
built, are in tests/test_backbones.py.
"""

import pytest
import timm
import torch
import torchvision
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch.nn import functional as F
from torchvision.models import swin_transformer as theirs_of_swin

from afigan.backbones import FEATURES, build_backbone

SWIN, SWIN_V2 = "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"
ANY_SIZE = {"strict_img_size": False, "always_partition": True}  # timm's options for images of any size
TINY_SWIN = {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4)}
RESNEST = {"layers": (1, 2, 1, 1), "stem_width": 8, "base_width": 16, "channels": (8, 16, 24, 32)}
TIMM = {
    "resnest101e": RESNEST,
    "test_resnet": {},
    "tf_efficientnet_lite0": {},
    "test_convnext": {},
    "test_mambaout": {},
    SWIN: TINY_SWIN | {"window_size": 4},
    SWIN_V2: TINY_SWIN | {"window_size": 4},
}


def randomised(net, seed=0):
    """Fill the net with random numbers: no normalisation is the identity, and no variance is small."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            if "running_var" in name:
                noise = noise.abs() + 0.5
            elif value.ndim > 1:
                noise = noise * (0.5 / value[0].numel()) ** 0.5
            value.copy_(noise)
    return net


def check(found, expected):
    for name, value in zip(FEATURES, expected, strict=True):
        assert value.std() > 1e-3
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6 * float(value.detach().abs().max()))


# --- timm -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TIMM)
def test_maps_equal_timms_bit_for_bit(name):
    """Swin's windows of four positions divide every map of 128 x 256 pixels."""
    swin = ANY_SIZE if name in (SWIN, SWIN_V2) else {}
    torch.manual_seed(0)
    net = randomised(build_backbone(f"timm/{name}", norm="BN", options=TIMM[name])).eval()
    theirs = timm.create_model(name, features_only=True, **TIMM[name], **swin).eval()
    theirs.load_state_dict(net.net.state_dict())
    x = torch.randn(2, 3, 128, 256)
    with torch.no_grad():
        found, expected = net(x), theirs(x)[-4:]
    if net.norms is not None:  # maps with their channels last
        norms = zip(net.norms, expected, strict=True)
        expected = [F.layer_norm(m, m.shape[-1:], n.weight, n.bias).permute(0, 3, 1, 2) for n, m in norms]
    assert all(torch.equal(found[key], value) for key, value in zip(FEATURES, expected, strict=True))
    assert all(value.std() > 1e-3 for value in expected)


@pytest.mark.parametrize("name", ["resnest101e", "test_resnet", "tf_efficientnet_lite0"])
def test_maps_of_any_size_are_timms_of_the_padded_image(name):
    net = randomised(build_backbone(f"timm/{name}", norm="BN", options=TIMM[name])).eval()
    theirs = timm.create_model(name, features_only=True, **TIMM[name]).eval()
    theirs.load_state_dict(net.net.state_dict())
    x = torch.randn(1, 3, 75, 101)
    with torch.no_grad():
        found, expected = net(x), theirs(F.pad(x, (0, 27, 0, 21)))[-4:]
    for stride, key, value in zip((4, 8, 16, 32), FEATURES, expected, strict=True):
        assert torch.equal(found[key], value[..., : -(-75 // stride), : -(-101 // stride)])


# --- ResNets of torchvision and timm ----------------------------------------------------------------------------------


def detectron2_name(name):
    """Return `res2.0.conv1.norm.weight` for torchvision's `layer1.0.bn1.weight`."""
    parts = name.split(".")
    if parts[0] in ("conv1", "bn1"):
        return ".".join(["stem", "conv1", *(["norm"] if parts[0] == "bn1" else []), parts[-1]])
    stage, block, layer = f"res{int(parts[0][-1]) + 1}", parts[1], parts[2]
    if layer == "downsample":
        return ".".join([stage, block, "shortcut", *(["norm"] if parts[3] == "1" else []), parts[-1]])
    return ".".join([stage, block, f"conv{layer[-1]}", *(["norm"] if layer.startswith("bn") else []), parts[-1]])


def stages(net, x):
    """Compute the four maps of a ResNet with torchvision's names."""
    activation = getattr(net, "relu", None) or net.act1
    x, maps = net.maxpool(activation(net.bn1(net.conv1(x)))), []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        maps.append(x := stage(x))
    return maps


@pytest.mark.parametrize("mode", ["FrozenBN, evaluation", "BN, training"])
@pytest.mark.parametrize(("library", "depth"), [("torchvision", 18), ("torchvision", 50), ("timm", 18)])
def test_resnets_maps_equal_those_of_other_libraries(library, depth, mode):
    norm, training = mode.split(", ")[0], mode.endswith("training")
    create = getattr(torchvision.models, f"resnet{depth}") if library == "torchvision" else timm.create_model
    theirs = randomised(create(*([] if library == "torchvision" else [f"resnet{depth}"]))).double().train(training)
    options = {"stride_in_1x1": False} if depth == 50 else {}
    ours = build_backbone(f"resnet{depth}", norm=norm, options=options).double().train(training)
    weights = {detectron2_name(n): v for n, v in theirs.state_dict().items() if not n.startswith("fc.")}
    missing = ours.load_state_dict({n: v for n, v in weights.items() if n in ours.state_dict()}).missing_keys
    assert not missing and all("tracked" in name for name in weights.keys() - ours.state_dict().keys())
    x = torch.randn(2, 3, 33, 64, dtype=torch.float64)
    with torch.no_grad():
        check(ours(x), stages(theirs, x))


# --- torchvision's Swin -----------------------------------------------------------------------------------------------


def torchvision_names(net):
    """Return the weights of timm's Swin, version 1 or 2, under torchvision's names."""
    weights = {}
    for name, value in net.state_dict().items():
        new = name.replace("patch_embed.proj", "features.0.0").replace("patch_embed.norm", "features.0.2")
        for stage in range(4):
            new = new.replace(f"layers_{stage}.blocks.", f"features.{2 * stage + 1}.")
            new = new.replace(f"layers_{stage}.downsample.", f"features.{2 * stage}.")
        new = new.replace(".mlp.fc1", ".mlp.0").replace(".mlp.fc2", ".mlp.3")
        weights[new.replace("cpb_mlp.fc1", "cpb_mlp.0").replace("cpb_mlp.fc2", "cpb_mlp.2")] = value
    for name in [n for n in weights if n.endswith("attn.q_bias")]:  # version 2: keys have no bias
        start = name.removesuffix("q_bias")
        q, v = weights.pop(name), weights.pop(f"{start}v_bias")
        weights[f"{start}qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
    return weights


VERSIONS = {
    SWIN: {},
    SWIN_V2: {
        "block": theirs_of_swin.SwinTransformerBlockV2,
        "downsample_layer": theirs_of_swin.PatchMergingV2,
    },
}


@pytest.mark.parametrize("name", VERSIONS)
def test_swin_equals_torchvisions_where_windows_do_not_divide_the_map(name):
    """Maps are 64 x 72 to 8 x 9, windows 7 x 7: padded, then shifted, at every stage."""
    sizes = {key: list(value) if isinstance(value, tuple) else value for key, value in TINY_SWIN.items()}
    net = randomised(build_backbone(f"timm/{name}", options=TINY_SWIN | {"window_size": 7})).double().eval()
    assert name != SWIN_V2 or any(isinstance(m, SwinTransformerV2Block) for m in net.modules())
    theirs = theirs_of_swin.SwinTransformer(
        patch_size=[4, 4], window_size=[7, 7], num_classes=1, **sizes, **VERSIONS[name]
    )
    own = theirs.double().eval().state_dict()
    weights = torchvision_names(net.net)
    kept = theirs.load_state_dict({n: v for n, v in weights.items() if n in own}, strict=False)
    learned = {n for n, _ in theirs.named_parameters()}
    assert {n.split(".")[0] for n in kept.missing_keys if n in learned} == {"norm", "head"}
    unused = {n.split(".")[-1] for n in weights.keys() - own.keys()}
    assert unused <= {"k_bias", "attn_mask", "relative_coords_table", "relative_position_index"}
    x = torch.randn(2, 3, 250, 287, dtype=torch.float64)
    with torch.no_grad():
        found, y, expected = net(x), F.pad(x, (0, 1, 0, 6)), []
        for index, layer in enumerate(theirs.features):
            y = layer(y)
            if index % 2:
                norm = net.norms[index // 2]
                value = F.layer_norm(y, y.shape[-1:], norm.weight, norm.bias).permute(0, 3, 1, 2)
                height, width = found[FEATURES[index // 2]].shape[-2:]
                expected.append(value[..., :height, :width])
    check(found, expected)
