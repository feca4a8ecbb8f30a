"""Backbones: strides 4 to 32 of any image; ResNets are detectron2's, Swin is its authors'; frozen stages stay."""

import copy

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import build_resnet_backbone
from torch import nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import SwinTransformer

from afigan.backbones import FEATURES, build_backbone

RESNETS = ("resnet_mini", "resnet18", "resnet34", "resnet50", "resnet101")
SWIN, SWIN_V2 = "timm/swin_tiny_patch4_window7_224", "timm/swinv2_tiny_window8_256"
RESNEST = "timm/resnest101e"
TINY_SWIN = {"embed_dim": 8, "depths": (2, 1, 2, 1), "num_heads": (1, 2, 2, 4), "window_size": 3}
TINY_RESNEST = {"layers": (1, 1, 1, 1), "stem_width": 8, "base_width": 16, "channels": (8, 16, 24, 32)}
# options, channels
TIMM = {
    "timm/tf_efficientnet_lite0": (None, (24, 40, 112, 320)),
    "timm/test_resnet": (None, (32, 48, 192, 96)),
    "timm/test_convnext": (None, (24, 32, 48, 64)),
    "timm/test_mambaout": (None, (16, 32, 48, 64)),
    SWIN: (TINY_SWIN, (8, 16, 32, 64)),
    SWIN_V2: (TINY_SWIN, (8, 16, 32, 64)),
    RESNEST: (TINY_RESNEST, (32, 64, 96, 128)),
}
WITH_BATCH_NORM = ("timm/tf_efficientnet_lite0", "timm/test_resnet", RESNEST)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def tiny(name, **arguments):
    """Build a backbone small enough for two cores."""
    options = arguments.pop("options", {})
    return build_backbone(name, options=(TIMM[name][0] or {}) | options if name in TIMM else None, **arguments)


def randomised(net, seed=0):
    """Fill all weights of the net with random numbers: none is 0, and no normalisation is the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + (parameter.ndim == 1))
    return net


def check_maps(net, height, width):
    shapes = net.output_shape()
    assert tuple(shapes) == FEATURES
    assert [shape.stride for shape in shapes.values()] == [4, 8, 16, 32]
    with torch.no_grad():
        maps = net(torch.randn(1, 3, height, width))
    assert tuple(maps) == FEATURES
    for key, value in maps.items():
        stride = shapes[key].stride
        assert value.shape == (1, shapes[key].channels, -(-height // stride), -(-width // stride))
        assert value.isfinite().all()


@pytest.mark.parametrize("name", [*RESNETS, *TIMM])
def test_strides_are_4_to_32(name):
    net = tiny(name).eval()
    if name in TIMM:
        assert tuple(shape.channels for shape in net.output_shape().values()) == TIMM[name][1]
    for height, width in ((64, 96), (65, 33)) if name in RESNETS else ((64, 96), (65, 33), (3, 127)):
        check_maps(net, height, width)


@pytest.mark.parametrize("name", [SWIN, RESNEST])
def test_the_papers_backbones_at_their_real_widths(name):
    check_maps(build_backbone(name).eval(), 64, 50)


@pytest.mark.parametrize("name", TIMM)
def test_images_of_a_batch_do_not_see_each_other(name):
    net = randomised(tiny(name)).eval().double()
    images = torch.randn(3, 3, 75, 50, dtype=torch.float64)
    with torch.no_grad():
        together = net(images)
        for n in range(3):
            for key, value in net(images[n : n + 1]).items():
                torch.testing.assert_close(value[0], together[key][n])


def theirs(depth, freeze_at=0):
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEPTH = depth
    cfg.MODEL.RESNETS.OUT_FEATURES = list(FEATURES)
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64 if depth < 50 else 256
    cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    return build_resnet_backbone(cfg, ShapeSpec(channels=3))


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_resnets_are_detectron2s(depth):
    torch.manual_seed(0)
    ours, reference = build_backbone(f"resnet{depth}").eval(), theirs(depth).eval()
    state = reference.state_dict()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in state.items()}
    ours.load_state_dict(state)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, actual = reference(x), ours(x)
    assert all(torch.equal(actual[name], expected[name]) for name in FEATURES)


@pytest.mark.parametrize("freeze_at", [0, 2])
def test_freeze_at_counts_as_in_detectron2(freeze_at):
    frozen = {name for name, p in build_backbone("resnet18", freeze_at=freeze_at).named_parameters() if p.requires_grad}
    assert frozen == {name for name, p in theirs(18, freeze_at).named_parameters() if p.requires_grad}


def test_stride_in_1x1_is_msras_unless_options_say_otherwise():
    with torch.device("meta"):
        nets = {value: build_backbone("resnet50", options={"stride_in_1x1": value}) for value in (True, False)}
        nets[None] = build_backbone("resnet50")
    strides = {value: (net.res3[0].conv1.stride, net.res3[0].conv2.stride) for value, net in nets.items()}
    assert strides[True] == strides[None] == ((2, 2), (1, 1)) and strides[False] == ((1, 1), (2, 2))


def swin_parameters(width, depths, heads, window):
    """Count the parameters of Swin's layers in its paper, and of a LayerNorm for each of the four maps."""
    total = 3 * 4 * 4 * width + 3 * width  # patches and their norm
    for stage in range(4):
        c = width * 2**stage
        attention = 4 * c * c + 4 * c + (2 * window - 1) ** 2 * heads[stage]
        total += depths[stage] * (attention + 8 * c * c + 5 * c + 4 * c) + 2 * c
        if stage:  # the merging of four patches: norm and reduction
            total += 2 * 4 * (c // 2) + 4 * (c // 2) * c
    return total


# classifiers as published, less their last layer
PARAMETERS = {
    ("resnet18", "BN"): 11_689_512 - 513_000,
    ("resnet34", "BN"): 21_797_672 - 513_000,
    ("resnet50", "BN"): 25_557_032 - 2_049_000,
    ("resnet50", "FrozenBN"): 25_557_032 - 2_049_000 - 53_120,  # less the scales and biases of 26,560 channels
    ("resnet101", "BN"): 44_549_160 - 2_049_000,
    (RESNEST, "BN"): 48_275_016 - 2_049_000,
    (SWIN, "BN"): swin_parameters(96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
    ("timm/swin_large_patch4_window12_384", "BN"): swin_parameters(192, (2, 2, 18, 2), (6, 12, 24, 48), 12),
}


@pytest.mark.parametrize(("name", "norm"), PARAMETERS)
def test_parameters_are_as_many_as_published(name, norm):
    with torch.device("meta"):
        net = build_backbone(name, norm=norm)
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name, norm]


def torchvision_names(state):
    """Rename a Swin's layers from timm's names to torchvision's."""
    names = {}
    for name in state:
        new = name.replace("patch_embed.proj", "features.0.0").replace("patch_embed.norm", "features.0.2")
        for stage in range(4):
            new = new.replace(f"layers_{stage}.blocks.", f"features.{2 * stage + 1}.")
            new = new.replace(f"layers_{stage}.downsample.", f"features.{2 * stage}.")
        names[name] = new.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")
    return {new: state[name] for name, new in names.items()}


def test_swin_is_torchvisions_where_windows_do_not_divide_the_map():
    """Windows padded and shifted at every stage; then each map's LayerNorm."""
    size = {"embed_dim": 8, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 2, 4]}
    ours = randomised(build_backbone(SWIN, options=size | {"window_size": 7})).eval()
    theirs = SwinTransformer(patch_size=[4, 4], window_size=[7, 7], num_classes=1, **size).eval()
    kept = theirs.load_state_dict(torchvision_names(ours.net.state_dict()), strict=False)
    assert not kept.unexpected_keys
    assert {name.split(".")[0] for name in kept.missing_keys if "position_index" not in name} == {"norm", "head"}
    x = torch.randn(2, 3, 250, 287)  # the maps are 64 x 72 to 8 x 9
    with torch.no_grad():
        actual, y = ours(x), F.pad(x, (0, 1, 0, 6))
        for n, layer in enumerate(theirs.features):
            y = layer(y)
            if n % 2:
                stage = n // 2
                norm = ours.norms[stage]
                expected = F.layer_norm(y, y.shape[-1:], norm.weight, norm.bias).permute(0, 3, 1, 2)
                height, width = actual[FEATURES[stage]].shape[-2:]
                torch.testing.assert_close(
                    actual[FEATURES[stage]], expected[..., :height, :width], rtol=1e-4, atol=1e-5
                )


@pytest.mark.parametrize("name", [SWIN, SWIN_V2])
def test_opposite_borders_do_not_see_each_other(name):
    """A shifted window has tokens of both in it, and a mask between them; here windows do not divide the map."""
    net = randomised(tiny(name, options={"window_size": 5})).eval()
    image = torch.randn(1, 3, 128, 128)
    other = image.clone()
    other[..., -4:, -4:] += 1
    with torch.no_grad():
        one, two = net(image)["res2"], net(other)["res2"]
    assert not torch.equal(one[..., -5:, -5:], two[..., -5:, -5:])
    assert torch.equal(one[..., :16, :], two[..., :16, :]) and torch.equal(one[..., :16], two[..., :16])


def drop_paths(net):
    """Return the probabilities of drop path in order of depth; timm has no module where it is 0."""
    return [module.drop_prob for module in net.modules() if type(module).__name__ == "DropPath"]


@pytest.mark.parametrize("name", [SWIN, SWIN_V2])
def test_swins_drop_path_is_its_detectors(name):
    """Of 6 blocks, two branches each, from 0 to 0.2; an option of the experiment goes first."""
    expected = [0.2 * n / 5 for n in range(1, 6) for _ in range(2)]
    assert drop_paths(tiny(name)) == pytest.approx(expected)
    assert drop_paths(tiny(name, options={"drop_path_rate": 0.5})) == pytest.approx([2.5 * p for p in expected])
    assert not drop_paths(tiny(name, options={"drop_path_rate": 0.0}))
    assert not drop_paths(tiny("timm/test_convnext"))


def test_drop_path_acts_only_in_training():
    """In training a branch is left out, or counts 1 / (1 - p); in evaluation all are there."""
    x = torch.randn(1, 3, 64, 64)
    nets = [randomised(tiny(SWIN, options={"drop_path_rate": rate})) for rate in (0.2, 0.0)]
    with torch.no_grad():
        trained, still = (net.train()(x)["res5"] for net in nets)
        evaluated, expected = (net.eval()(x)["res5"] for net in nets)
    assert torch.equal(evaluated, expected) and torch.equal(still, expected) and not torch.equal(trained, expected)


NORMS = {"BN": nn.BatchNorm2d, "GN": nn.GroupNorm, "FrozenBN": FrozenBatchNorm2d}


@pytest.mark.parametrize("norm", NORMS)
def test_normalisation_of_a_resnet(norm):
    kinds = {type(m) for m in build_backbone("resnet18", norm=norm).modules() if "Norm" in type(m).__name__}
    assert kinds == {NORMS[norm]}


def norms(net):
    return [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def statistics(net):
    return {name: value.clone() for name, value in net.state_dict().items() if "running" in name or "tracked" in name}


@pytest.mark.parametrize("name", ["resnet_mini", *WITH_BATCH_NORM])
def test_frozen_normalisation_stays_frozen_in_training(name):
    net = tiny(name, norm="FrozenBN")
    before = statistics(net)
    assert before
    for _ in range(2):  # again after an evaluation
        net.train()
        assert net.training and not any(m.training for m in norms(net))
        outputs = net(torch.randn(2, 3, 64, 64))
        sum(value.square().sum() for value in outputs.values()).backward()
        net.eval()
    assert all(torch.equal(value, before[key]) for key, value in statistics(net).items())
    assert all(p.grad is None for m in norms(net) for p in m.parameters())
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.weight.grad is not None for m in convolutions) and convolutions[0].weight.grad.any()


@pytest.mark.parametrize("copied", [False, True])
def test_frozen_in_training_as_part_of_a_detector(copied):
    net = build_backbone("timm/test_resnet", norm="FrozenBN")
    net = copy.deepcopy(net) if copied else net
    nn.Sequential(net).train()
    assert norms(net) and not any(m.training for m in norms(net))


def test_layer_norms_are_not_frozen():
    net = tiny(SWIN, norm="FrozenBN")
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("name", ["resnet_mini", *WITH_BATCH_NORM])
def test_other_normalisation_learns(name):
    net = tiny(name, norm="BN")
    before = statistics(net)
    net.train()(torch.randn(2, 3, 64, 64))
    assert norms(net) and all(m.training and m.weight.requires_grad for m in norms(net))
    assert not any(torch.equal(value, before[key]) for key, value in statistics(net).items() if "mean" in key)


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
def test_normalisation_over_all_processes(name):
    """Activations inside timm's normalisation are kept; only GPUs can train it."""
    net, plain = tiny(name, norm="SyncBN").eval(), randomised(tiny(name, norm="BN")).eval()
    assert norms(net) and all(isinstance(m, nn.SyncBatchNorm) for m in norms(net))
    net.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, actual = plain(x), net(x)
    assert all(torch.equal(actual[key], expected[key]) for key in FEATURES)


# what freeze_at of 1, 2, … adds
STAGES = {
    "timm/test_resnet": ["conv1 bn1", "layer1", "layer2", "layer3", "layer4"],
    RESNEST: ["conv1 bn1", "layer1", "layer2", "layer3", "layer4"],
    SWIN: ["patch_embed", "layers_0", "layers_1", "layers_2", "layers_3"],
    "timm/tf_efficientnet_lite0": [
        "conv_stem bn1 blocks.0",
        "blocks.1",
        "blocks.2",
        "blocks.3 blocks.4",
        "blocks.5 blocks.6",
    ],
}


@pytest.mark.parametrize("freeze_at", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("name", STAGES)
def test_frozen_stages_are_the_same_after_a_step_and_others_are_not(name, freeze_at):
    options = {"drop_path_rate": 0.0} if name == SWIN else {}
    net = randomised(tiny(name, norm="BN", freeze_at=freeze_at, options=options)).train()
    prefixes = [f"net.{prefix}." for stage in STAGES[name][:freeze_at] for prefix in stage.split()]
    before = copy.deepcopy(net.state_dict())
    maps = net(torch.randn(2, 3, 64, 64))
    assert net.training
    if freeze_at < 5 or name == SWIN:
        sum((value * torch.randn_like(value)).mean() for value in maps.values()).backward()
        torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1.0, weight_decay=0.1).step()
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if not key.startswith(tuple(prefixes))}


def test_frozen_stages_are_in_evaluation_mode():
    """No stochastic depth in a stage that does not learn."""
    net = tiny(SWIN, freeze_at=5, options={"drop_path_rate": 0.9}).train()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, actual = net(x), net.eval()(x)
    assert all(torch.equal(actual[key], expected[key]) for key in FEATURES)
    assert all(p.requires_grad for p in net.norms.parameters())


def test_errors():
    with pytest.raises(ValueError, match=r"'resnet51'.*resnet50.*timm/NAME"):
        build_backbone("resnet51")
    with pytest.raises(ValueError, match=r"timm/no_such_net.*no model of that name"):
        build_backbone("timm/no_such_net")
    with pytest.raises(ValueError, match=r"timm/test_vit gives maps of strides \[16, 16, 16\]"):
        build_backbone("timm/test_vit")
    with pytest.raises(ValueError, match=r"timm/hrnet_w18_small does not say where its stages end: set freeze_at to 0"):
        build_backbone("timm/hrnet_w18_small", freeze_at=2)
    with pytest.raises(ValueError, match=r"timm/test_resnet: its norm is FrozenBN, BN or SyncBN, not 'GN'"):
        build_backbone("timm/test_resnet", norm="GN")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet50", {"stride": 1}, "resnet50 has no option stride: remove it"),
        ("resnet50", {"stride_in_1x1": "no"}, "resnet50: option stride_in_1x1 is 'no', set it to true or false"),
        ("resnet18", {"stride_in_1x1": True}, "resnet18 has no option stride_in_1x1: remove it"),
        ("timm/test_resnet", {"widht": 3}, "timm/test_resnet with options .*widht.*timm refuses them: .*'widht'"),
        (SWIN, {"depths": 3}, "timm refuses them"),
        (SWIN, {"features_only": False}, "timm refuses them: .*features_only"),
        (f"{SWIN}.no_tag", {}, "timm refuses them: .*no_tag"),
    ],
)
def test_options_are_checked(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(name, options=options)
