"""effdet's BiFPN as an oracle: with the same weights, maps, statistics and gradients equal ours.

effdet is set to our choices: nearest upsampling, paddings that are the same on both sides (`pad_type=""`), and fusion
with fast normalised weights. It has biases in other places, and each can be expressed by the other: our depthwise
convolutions have one; effdet's pointwise and 1x1 convolutions have one, which normalisation follows.
"""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from effdet.config.model_config import default_detection_model_configs
from effdet.efficientdet import BiFpn

from afigan.pyramids.bifpn import LEVELS, InterpolatedBiFPN

C = 8
CHANNELS = {"res3": 5, "res4": 7, "res5": 9}  # none is C: effdet has no 1x1 convolution where nothing changes
SIZES = [(128, 256), (101, 300), (60, 33)]  # the last one's P7 has one row and one column


class GivenFeatures(Backbone):
    """A backbone that returns the features that it gets."""

    def forward(self, x):
        return x

    def output_shape(self):
        return {name: ShapeSpec(channels=c, stride=8 << i) for i, (name, c) in enumerate(CHANNELS.items())}


def features(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps, (h, w) = {}, ((side + 7) // 8 for side in size)
    for name, channels in CHANNELS.items():
        maps[name] = torch.randn(2, channels, h, w, generator=generator, dtype=torch.float64).requires_grad_()
        h, w = (h + 1) // 2, (w + 1) // 2
    return maps


def ours(repeats):
    torch.manual_seed(0)
    net = InterpolatedBiFPN(bottom_up=GivenFeatures(), out_channels=C, interpolator="nearest", repeats=repeats)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():  # no normalisation is the identity
                value.copy_(torch.rand(value.shape) + 0.1 if "running_var" in name else torch.randn(value.shape))
        for repeat in net.repeats:
            repeat.top_down["p5"].weights.copy_(torch.tensor([0.7, 1.9]))
            repeat.top_down["p3"].weights.copy_(torch.tensor([1.2, 0.4]))
            repeat.bottom_up["p4"].weights.copy_(torch.tensor([0.6, -0.5, 2.1]))  # a map that does not count
    return net.double()


def oracle(net, size):
    """Build effdet's BiFPN with the weights of ours, for images of a size, which its layers depend on."""
    config = default_detection_model_configs()
    config.image_size, config.pad_type = size, ""
    config.fpn_channels, config.fpn_cell_repeats = C, len(net.repeats)
    theirs = BiFpn(config, [{"num_chs": channels} for channels in CHANNELS.values()]).double()
    state = {}
    for place, lateral in {
        "resample.3": net.laterals["p6"],
        "cell.0.fnode.1.combine.resample.2": net.laterals["p5"],
        "cell.0.fnode.2.combine.resample.1": net.laterals["p4"],
        "cell.0.fnode.3.combine.resample.0": net.laterals["p3"],
        "cell.0.fnode.4.combine.resample.1": net.laterals_again["p4"],
        "cell.0.fnode.5.combine.resample.2": net.laterals_again["p5"],
    }.items():
        state |= {f"{place}.conv.conv.weight": lateral.weight, f"{place}.conv.conv.bias": torch.zeros(C)}
        state |= {f"{place}.conv.bn.{name}": value for name, value in lateral.norm.state_dict().items()}
    for index, repeat in enumerate(net.repeats):
        nodes = [*repeat.top_down.values(), *repeat.bottom_up.values()]  # P6 to P3, P4 to P7
        for number, node in enumerate(nodes):
            place = f"cell.{index}.fnode.{number}"
            depthwise, pointwise = node.conv.depthwise, node.conv.pointwise
            state |= {
                f"{place}.combine.edge_weights": node.weights,
                f"{place}.after_combine.conv.conv_dw.weight": depthwise.weight,
                f"{place}.after_combine.conv.conv_pw.weight": pointwise.weight,
                f"{place}.after_combine.conv.conv_pw.bias": pointwise.weight[:, :, 0, 0] @ depthwise.bias,
            }
            norm = pointwise.norm.state_dict()
            state |= {f"{place}.after_combine.conv.bn.{name}": value for name, value in norm.items()}
    theirs.load_state_dict(state)  # strict: every weight of effdet has one of ours
    return theirs


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("repeats", [1, 3])
def test_maps_and_gradients_equal_effdets(repeats, size, training):
    net = ours(repeats).train(training)
    theirs = oracle(net, size).train(training)
    x, y = features(size), features(size)
    found, expected = net(x), theirs(list(y.values()))
    weights = [torch.randn_like(value) for value in expected]
    for level, other in zip(LEVELS, expected, strict=True):
        torch.testing.assert_close(found[level], other, rtol=1e-6, atol=1e-9)
    for maps in (found.values(), expected):
        sum((w * value).sum() for w, value in zip(weights, maps, strict=True)).backward()
    for name in CHANNELS:
        assert x[name].grad.any()
        torch.testing.assert_close(x[name].grad, y[name].grad, rtol=1e-6, atol=1e-9)


def test_running_statistics_equal_effdets():
    """Both take a hundredth of a batch's statistics."""
    size = (101, 300)
    net = ours(2).train()
    theirs = oracle(net, size).train()
    net(features(size)), theirs(list(features(size).values()))
    expected, found = theirs.state_dict(), oracle(net, size).state_dict()
    statistics = [name for name in expected if name.endswith((".running_var", ".num_batches_tracked"))]
    assert len(statistics) == 2 * (6 + 2 * 8)
    for name in statistics:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-9)
