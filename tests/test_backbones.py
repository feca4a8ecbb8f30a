"""Backbones give strides 4 to 32; ResNets are detectron2's; frozen normalisation stays frozen."""

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import build_resnet_backbone
from torch import nn

from afigan.backbones import FEATURES, build_backbone

RESNETS = ("resnet_mini", "resnet18", "resnet34", "resnet50", "resnet101")
TIMM = ("timm/tf_efficientnet_lite0", "timm/test_resnet")


@pytest.mark.parametrize("name", [*RESNETS, *TIMM])
def test_strides_are_4_to_32(name):
    net = build_backbone(name).eval()
    shapes = net.output_shape()
    assert tuple(shapes) == FEATURES
    assert [shape.stride for shape in shapes.values()] == [4, 8, 16, 32]
    for height, width in ((64, 96), (65, 33)):
        with torch.no_grad():
            maps = net(torch.randn(1, 3, height, width))
        assert tuple(maps) == FEATURES
        for key, value in maps.items():
            stride = shapes[key].stride
            assert value.shape == (1, shapes[key].channels, -(-height // stride), -(-width // stride))


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


NORMS = {"BN": nn.BatchNorm2d, "GN": nn.GroupNorm, "FrozenBN": FrozenBatchNorm2d}


@pytest.mark.parametrize("norm", NORMS)
def test_normalisation_of_a_resnet(norm):
    kinds = {type(m) for m in build_backbone("resnet18", norm=norm).modules() if "Norm" in type(m).__name__}
    assert kinds == {NORMS[norm]}


def norms(net):
    return [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def statistics(net):
    return {name: value.clone() for name, value in net.state_dict().items() if "running" in name or "tracked" in name}


@pytest.mark.parametrize("name", ["resnet_mini", *TIMM])
def test_frozen_normalisation_stays_frozen_in_training(name):
    net = build_backbone(name, norm="FrozenBN")
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


def test_frozen_in_training_as_part_of_a_detector():
    net = build_backbone("timm/test_resnet", norm="FrozenBN")
    nn.Sequential(net).train()
    assert not any(m.training for m in norms(net))


@pytest.mark.parametrize("name", ["resnet_mini", "timm/test_resnet"])
def test_other_normalisation_learns(name):
    net = build_backbone(name, norm="BN")
    before = statistics(net)
    net.train()(torch.randn(2, 3, 64, 64))
    assert norms(net) and all(m.training and m.weight.requires_grad for m in norms(net))
    assert not any(torch.equal(value, before[key]) for key, value in statistics(net).items() if "mean" in key)


def test_errors():
    with pytest.raises(ValueError, match=r"'resnet51'.*resnet50.*timm/NAME"):
        build_backbone("resnet51")
    with pytest.raises(ValueError, match=r"timm/no_such_net.*no model of that name"):
        build_backbone("timm/no_such_net")
    with pytest.raises(ValueError, match=r"timm/test_resnet: freeze_at .*set it to 0"):
        build_backbone("timm/test_resnet", freeze_at=2)
    with pytest.raises(ValueError, match=r"timm/test_vit gives maps of strides \[16, 16, 16\]"):
        build_backbone("timm/test_vit")
