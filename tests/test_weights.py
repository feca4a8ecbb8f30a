"""Weights of every kind of source are loaded correctly; weights that do not fit or are missing are reported at once."""

import argparse
import ast
import collections
import pickle
import time
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

import afigan
from afigan.backbones import FEATURES, build_backbone
from afigan.weights import load_pretrained

SWIN = {"embed_dim": 8, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 4), "window_size": 3}


def randomised(net, seed=0):
    """Fill the net with random numbers, statistics included; a variance is positive."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * 0.1 + (1 if "running_var" in name else 0))
    return net


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def resnet(norm="FrozenBN", seed=0):
    return randomised(build_backbone("resnet_mini", norm=norm), seed)


def swin(seed=0, **options):
    return randomised(build_backbone("timm/swin_tiny_patch4_window7_224", options=SWIN | options), seed)


# --- files ------------------------------------------------------------------------------------------------------------


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


WRAPPED = {
    "plain": lambda state: state,
    "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}, "iteration": 3},
    "state_dict": lambda state: {"epoch": 3, "state_dict": prefixed(state, "module.")},
    "averaged": lambda state: {"state_dict": {n: v + 1 for n, v in state.items()}, "state_dict_ema": state},
    "detector": lambda state: {"model": prefixed(state, "backbone.bottom_up.") | {"stem.conv1.weight": torch.ones(3)}},
    "with a classifier": lambda state: state | {"stem.fc.weight": torch.ones(5, 5), "linear.bias": torch.ones(5)},
}


@pytest.mark.parametrize("kind", WRAPPED)
@pytest.mark.parametrize("build", [resnet, swin])
def test_a_state_dict_whatever_is_around_it(tmp_path, kind, build):
    source = build(seed=1)
    path = tmp_path / "weights.pth"
    torch.save(WRAPPED[kind](source.state_dict()), path)
    target = build(seed=2)
    assert not same(source, target)
    load_pretrained(target, str(path))
    assert same(source, target)


def test_safetensors(tmp_path):
    save_file(prefixed(resnet(seed=1).state_dict(), "backbone.bottom_up."), tmp_path / "model.safetensors")
    target = resnet(seed=2)
    load_pretrained(target, str(tmp_path / "model.safetensors"))
    assert same(resnet(seed=1), target)


# --- Caffe2's pickles -------------------------------------------------------------------------------------------------

CAFFE2 = {
    "long": {"weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var"},
    "short": {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"},
}


def caffe2_name(name, of_norm):
    """Return `res2_0_branch2a_w` for `res2.0.conv1.weight`, and so on."""
    parts = name.split(".")
    ending = f"bn_{of_norm[parts[-1]]}" if "norm" in parts else {"weight": "w", "bias": "b"}[parts[-1]]
    if parts[0] == "stem":
        return f"{'res_' if 'norm' in parts else ''}conv1_{ending}"
    branch = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}[parts[2]]
    return f"{parts[0]}_{parts[1]}_{branch}_{ending}"


def caffe2(net, of_norm=CAFFE2["short"]):
    arrays = {caffe2_name(n, of_norm): v.numpy() for n, v in net.state_dict().items() if "tracked" not in n}
    noise = np.ones(3, np.float32)
    return arrays | {"fc1000_w": noise, "fc1000_b": noise, "conv1_w_momentum": noise}


def write_pickle(path, content):
    """Write a pickle as Python 2 and numpy 1 did."""
    data = pickle.dumps(content, protocol=2)
    path.write_bytes(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    return str(path)


def test_caffe2_names_are_those_of_the_model_zoo():
    with torch.device("meta"):
        names = {caffe2_name(name, CAFFE2["short"]) for name in build_backbone("resnet50").state_dict()}
    assert {"conv1_w", "res_conv1_bn_s", "res2_0_branch1_w", "res4_5_branch2c_bn_b", "res5_2_branch2b_bn_riv"} <= names


@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
@pytest.mark.parametrize("names", CAFFE2)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_caffe2_pickle(tmp_path, norm, names, wrapped):
    source, target = resnet(norm, seed=1), resnet(norm, seed=2)
    content = caffe2(source, CAFFE2[names])
    load_pretrained(target, write_pickle(tmp_path / "R.pkl", {"blobs": content} if wrapped else content))
    x = torch.rand(1, 3, 64, 64)
    expected, actual = source.eval()(x), target.eval()(x)
    assert all(torch.equal(expected[name], actual[name]) for name in FEATURES)


def test_a_frozen_normalisation_may_have_only_scale_and_bias(tmp_path):
    source, target = resnet(seed=1), resnet(seed=2)
    arrays = {name: array for name, array in caffe2(source).items() if not name.endswith(("_rm", "_riv"))}
    path = write_pickle(tmp_path / "R-50.pkl", arrays)
    load_pretrained(target, path)
    norm, expected = target.res3[0].conv2.norm.eval(), source.res3[0].conv2.norm
    x = torch.rand(1, 32, 2, 2)
    affine = x * expected.weight.view(1, -1, 1, 1) + expected.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(norm(x), affine)
    with pytest.raises(ValueError, match=r"R-50.pkl has no statistics.*norm to FrozenBN"):
        load_pretrained(resnet("BN"), path)


@pytest.mark.parametrize("heuristics", [True, False])
def test_a_pickle_of_detectron2s_own_names(tmp_path, heuristics):
    arrays = {name: value.numpy() for name, value in resnet(seed=1).state_dict().items()}
    if not heuristics:  # a complete detector
        arrays = prefixed(arrays, "backbone.bottom_up.") | {"proposal_generator.x": np.ones(3)}
    content = {"model": arrays, "__author__": "someone", "matching_heuristics": heuristics}
    target = resnet(seed=2)
    load_pretrained(target, write_pickle(tmp_path / "model_final.pkl", content))
    assert same(resnet(seed=1), target)


# --- torchvision's and timm's names -----------------------------------------------------------------------------------


def torchvision_maps(net, x):
    """Compute the maps of torchvision's ResNet stage by stage."""
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    maps = []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        maps.append(x := stage(x))
    return maps


@pytest.mark.parametrize(
    ("name", "options", "norm"), [("resnet18", None, "FrozenBN"), ("resnet50", {"stride_in_1x1": False}, "BN")]
)
def test_torchvisions_weights_give_torchvisions_maps(tmp_path, name, options, norm):
    theirs = randomised(getattr(torchvision.models, name)()).eval()
    torch.save(theirs.state_dict(), tmp_path / "tv.pth")
    ours = build_backbone(name, norm=norm, options=options).eval()
    load_pretrained(ours, str(tmp_path / "tv.pth"))
    x = torch.rand(1, 3, 65, 64)
    with torch.no_grad():
        for expected, actual in zip(torchvision_maps(theirs, x), ours(x).values(), strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=0)


def test_torchvisions_weights_in_msras_strides_are_refused(tmp_path):
    torch.save({"layer1.0.conv1.weight": torch.ones(64, 64, 1, 1)}, tmp_path / "tv.pth")
    with pytest.raises(ValueError, match=r"tv.pth has torchvision's names.*stride_in_1x1: false"):
        load_pretrained(build_backbone("resnet50"), str(tmp_path / "tv.pth"))


@pytest.mark.parametrize("source", ["tv.pth", "efficientnet-lite0"])
def test_weights_that_need_rgb_are_refused_for_bgr(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    torch.save(torchvision.models.resnet18().state_dict(), "tv.pth")
    backbone = build_backbone("resnet18" if source == "tv.pth" else "timm/tf_efficientnet_lite0")
    load_pretrained(backbone, source, pixel_format="RGB")
    with pytest.raises(ValueError, match=f"^here: {source} needs RGB pixels: set the backbone's pixel_format to RGB"):
        load_pretrained(backbone, source, place="here", pixel_format="BGR")


TIMM = {
    "timm/test_resnet": {},
    "timm/swin_tiny_patch4_window7_224": SWIN | {"window_size": 7},  # complete windows at 224 pixels
    "timm/test_convnext": {},
    "timm/test_efficientnet": {},
    "timm/test_mambaout": {},
    "timm/efficientformer_l1": {"embed_dims": (8, 8, 8, 8), "depths": (1, 1, 1, 1)},  # through timm's getter
}


def written(backbone, path, seed=1):
    """Write timm's complete model with random weights to a file."""
    whole = randomised(backbone.whole_model(), seed)
    torch.save(whole.state_dict(), path)
    return whole


@pytest.mark.parametrize("name", TIMM)
def test_a_file_of_timms_complete_model(tmp_path, name):
    backbone = build_backbone(name, norm="BN", options=TIMM[name]).eval()
    whole = written(backbone, tmp_path / "whole.pth").eval()
    load_pretrained(backbone, str(tmp_path / "whole.pth"))
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = whole.forward_intermediates(x, intermediates_only=True)[-4:]
        actual = backbone.net(x)[-4:]
    for e, a in zip(expected, actual, strict=True):
        assert torch.equal(a.permute(0, 3, 1, 2) if backbone.norms is not None else a, e)


def test_swins_own_names_are_converted_by_timm(tmp_path):
    """Its authors' files count the patch merging to the stage before, and carry what timm computes."""
    theirs, ours = swin(seed=1), swin(seed=2)
    state = {name.removeprefix("net.").replace("_", ".", 1): value for name, value in theirs.state_dict().items()}
    state = {name.replace("patch.embed", "patch_embed"): v for name, v in state.items() if not name.startswith("norms")}
    for stage in (1, 2, 3):  # in this order: each name is free when it is taken
        for name in [n for n in state if n.startswith(f"layers.{stage}.downsample")]:
            state[name.replace(f"layers.{stage}", f"layers.{stage - 1}")] = state.pop(name)
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.ones(9, 9)
    torch.save({"model": state | {"head.weight": torch.ones(1000, 64)}}, tmp_path / "swin.pth")
    load_pretrained(ours, str(tmp_path / "swin.pth"))
    assert same(theirs.net, ours.net)


def test_tables_of_relative_positions_are_fitted_to_another_window(tmp_path):
    """timm interpolates them: constant tables stay constant, and all other weights are as in the file."""
    theirs, ours = swin(seed=1), swin(seed=2, window_size=5)
    whole = theirs.whole_model()
    tables = [value.fill_(n) for n, (name, value) in enumerate(whole.state_dict().items()) if "bias_table" in name]
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    load_pretrained(ours, str(tmp_path / "whole.pth"))
    fitted = {name: value for name, value in ours.net.state_dict().items() if "bias_table" in name}
    for (name, value), table in zip(fitted.items(), tables, strict=True):
        assert value.shape == (81, table.shape[1]), name
        torch.testing.assert_close(value, table[:1].expand_as(value))
    assert torch.equal(ours.net.patch_embed.proj.weight, whole.patch_embed.proj.weight)


def test_layer_norms_of_maps_are_new_unless_the_file_has_them(tmp_path):
    ours, fresh = swin(seed=2), swin(seed=2)
    written(ours, tmp_path / "whole.pth")
    load_pretrained(ours, str(tmp_path / "whole.pth"))
    assert same(ours.norms, fresh.norms) and not same(ours.net, fresh.net)
    torch.save(swin(seed=3).state_dict(), tmp_path / "backbone.pth")
    load_pretrained(ours, str(tmp_path / "backbone.pth"))
    assert same(ours, swin(seed=3))


def test_efficientnet_lite0_out_of_its_wheel():
    backbone = build_backbone("timm/tf_efficientnet_lite0")
    load_pretrained(backbone, "efficientnet-lite0")
    means = backbone.net.blocks[6][0].bn3.running_mean
    assert means.std() > 0.1  # learned, not zeros
    with pytest.raises(ValueError, match=r"^model.backbone.weights: efficientnet-lite0 does not fit the backbone"):
        load_pretrained(resnet(), "efficientnet-lite0")


# --- what timm has for a name -----------------------------------------------------------------------------------------


def test_timm_as_a_source(tmp_path):
    options = {"pretrained_cfg_overlay": {"file": str(tmp_path / "whole.pth")}}
    backbone = randomised(build_backbone("timm/test_resnet", options=options), 2)
    whole = written(backbone, tmp_path / "whole.pth")
    load_pretrained(backbone, "timm")
    state = backbone.net.state_dict()
    assert state and all(torch.equal(value, whole.state_dict()[name]) for name, value in state.items())


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_timm_runs_no_code_of_a_file(tmp_path, capsys):
    """Nor do we: test_bad_input."""
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"conv1.weight": Evil()}))
    options = {"pretrained_cfg_overlay": {"file": str(path)}}
    with pytest.raises(ValueError, match=r"^model.backbone.weights: timm's weights of test_resnet are not available"):
        load_pretrained(build_backbone("timm/test_resnet", options=options), "timm")
    assert not capsys.readouterr().out


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Every address is unknown, and all caches are empty."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "iopath"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        (
            "resnet50",
            "detectron2://ImageNetPretrained/MSRA/R-50.pkl",
            "cannot be downloaded .*Name or service.*its path",
        ),
        ("resnet50", "https://example.org/R-50.pkl", "cannot be downloaded .*Name or service.*its path"),
        ("resnet50", "catalog://ImageNetPretrained/MSRA/R-51", "cannot be downloaded .*R-51.*its path"),
        ("resnet50", "s3://bucket/R-50.pkl", "does not exist: give a file"),
        ("timm/test_resnet", "timm", "timm's weights of test_resnet are not available .*its path"),
    ],
)
def test_without_a_network_the_error_comes_at_once(no_network, name, source, message):
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"^here: {source if source != 'timm' else ''}.*{message}"):
        load_pretrained(build_backbone(name), source, place="here")
    assert time.monotonic() - start < 10
    assert constants.HF_HUB_OFFLINE is False  # as before


def test_timms_cache_needs_no_network(no_network):
    backbone = randomised(build_backbone("timm/test_resnet"), 2)
    folder = no_network / "hub" / f"models--{timm.get_pretrained_cfg('test_resnet').hf_hub_id}".replace("/", "--")
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    whole = randomised(backbone.whole_model(), 1)
    save_file(whole.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    load_pretrained(backbone, "timm")
    assert torch.equal(backbone.net.conv1[0].weight, whole.conv1[0].weight)


def test_timm_is_asked_only_for_its_own_backbones():
    with pytest.raises(ValueError, match=r"timm is a source for backbones timm/NAME"):
        load_pretrained(resnet(), "timm")


# --- what does not fit ------------------------------------------------------------------------------------------------


def without(state, name):
    return {n: v for n, v in state.items() if n != name}


@pytest.mark.parametrize("build", [resnet, swin])
def test_every_weight_comes_from_the_file(tmp_path, build):
    """A weight that is missing or has another shape is named, and nothing is loaded."""
    source, target, before = build(seed=1), build(seed=2), build(seed=2)
    path = tmp_path / "w.pth"
    names = [n for n in source.state_dict() if not n.startswith("norms.") and "tracked" not in n]
    assert len(names) > 40
    for name in names[::7]:
        torch.save(without(source.state_dict(), name), path)
        with pytest.raises(ValueError, match=rf"^a.b: .*w.pth does not fit the backbone: missing: {name} \(1 in all\)"):
            load_pretrained(target, str(path), place="a.b")
        torch.save(source.state_dict() | {name: torch.ones(7, 7, 7)}, path)
        with pytest.raises(ValueError, match=rf"of another shape: {name} \(1 in all\); give weights of its own"):
            load_pretrained(target, str(path))
    assert same(target, before)


def shallow_swin():
    return swin(depths=(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("ours", "deeper", "layer"),
    [
        (lambda: build_backbone("resnet18"), lambda: build_backbone("resnet34"), "res2.2.conv1.norm.bias"),
        (shallow_swin, swin, "net.layers_1.blocks.1.attn.proj.bias"),
    ],
    ids=["resnet", "swin"],
)
def test_a_deeper_nets_weights_are_refused(tmp_path, ours, deeper, layer):
    torch.save(deeper().state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"does not fit the backbone: too many: {layer}"):
        load_pretrained(ours(), str(tmp_path / "w.pth"))


def test_unreadable_files(tmp_path):
    with pytest.raises(ValueError, match=r"^model.backbone.weights: nowhere.pth does not exist: give a file"):
        load_pretrained(resnet(), "nowhere.pth")
    with pytest.raises(ValueError, match=r"nowhere does not exist"):
        load_pretrained(swin(), "nowhere")
    for suffix in ("pth", "pkl", "safetensors"):
        (tmp_path / f"broken.{suffix}").write_bytes(b"no weights")
        with pytest.raises(ValueError, match=rf"broken.{suffix} is not a file of only tensors .*plain state dict"):
            load_pretrained(resnet(), str(tmp_path / f"broken.{suffix}"))
    torch.save([torch.ones(3)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list.pth is not a state dict but a list"):
        load_pretrained(resnet(), str(tmp_path / "list.pth"))
    torch.save({"args": argparse.Namespace(lr=1), "model": {}}, tmp_path / "training.pth")
    with pytest.raises(ValueError, match=r"training.pth is not a file of only tensors .*argparse.Namespace"):
        load_pretrained(resnet(), str(tmp_path / "training.pth"))
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    for build in (resnet, swin):
        with pytest.raises(ValueError, match=r"other.pth does not fit the backbone: missing: .* in all\)"):
            load_pretrained(build(), str(tmp_path / "other.pth"))
    (tmp_path / "ordered.pkl").write_bytes(pickle.dumps(collections.OrderedDict(x=np.float32(1))))
    with pytest.raises(ValueError, match=r"ordered.pkl does not fit"):
        load_pretrained(resnet(), str(tmp_path / "ordered.pkl"))


def test_timm_is_imported_where_it_is_used():
    """Its import takes seconds, and many users of backbones and weights need only a ResNet."""
    root = Path(afigan.__file__).parent
    seen, todo = set(), [root / "backbones" / "__init__.py", root / "weights" / "__init__.py"]
    while todo:
        for node in ast.parse(todo.pop().read_text("utf-8")).body:  # not what functions import
            names = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "") or ""]
            )
            for name in set(names) - seen:
                seen.add(name)
                path = root.parent / f"{name.replace('.', '/')}.py"
                todo += [path] if path.is_file() and name.startswith("afigan.") else []
    assert "afigan.weights.sources" in seen and "afigan.backbones.timm_nets" in seen
    assert not [name for name in seen if name.split(".")[0] in ("timm", "huggingface_hub") or name.endswith("swin")]
