"""FPN with any interpolator: detectron2's with nearest, and the changes that the others cause."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch.nn import functional as F

from afigan.interpolators import INTERPOLATORS
from afigan.pyramids.fpn import InterpolatedFPN
from afigan.pyramids.upsampling import Upsampling

C = 8
CHANNELS = {"res2": 3, "res3": 5, "res4": 7, "res5": 9}
every = pytest.mark.parametrize("interpolator", INTERPOLATORS)


class GivenFeatures(Backbone):
    """A backbone that returns the features that it gets."""

    def forward(self, x):
        return x

    def output_shape(self):
        return {name: ShapeSpec(channels=c, stride=4 << i) for i, (name, c) in enumerate(CHANNELS.items())}


def features(height, width, first="res2", n=2):
    """Return features of an image of a size; odd sizes are rounded up, as strided convolutions do."""
    maps, h, w = {}, -(-height // 4), -(-width // 4)
    for name, channels in CHANNELS.items():
        maps[name] = torch.randn(n, channels, h, w)
        h, w = (h + 1) // 2, (w + 1) // 2
    return {name: maps[name] for name in maps if name >= first}


def build(interpolator="nearest", in_features=tuple(CHANNELS), **options):
    torch.manual_seed(0)
    return InterpolatedFPN(
        bottom_up=GivenFeatures(), in_features=list(in_features), out_channels=C, interpolator=interpolator, **options
    ).eval()


PYRAMIDS = {
    "P2-P6": (list(CHANNELS), LastLevelMaxPool, ""),
    "P3-P7": (list(CHANNELS)[1:], lambda: LastLevelP6P7(CHANNELS["res5"], C, "res5"), ""),
    "P2-P5, normalised": (list(CHANNELS), lambda: None, "BN"),
}


@pytest.mark.parametrize("kind", PYRAMIDS)
def test_nearest_is_detectron2s_fpn_bit_for_bit(kind):
    in_features, top_block, norm = PYRAMIDS[kind]
    theirs = FPN(GivenFeatures(), in_features, C, norm=norm, top_block=top_block()).eval()
    ours = build("nearest", in_features, norm=norm, top_block=top_block())
    ours.load_state_dict(theirs.state_dict())
    x = features(128, 192, first=in_features[0])
    expected, actual = theirs(x), ours(x)
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert ours.output_shape() == theirs.output_shape()
    assert ours.size_divisibility == theirs.size_divisibility


@every
def test_other_weights_keep_detectron2s_names(interpolator):
    theirs = FPN(GivenFeatures(), list(CHANNELS), C).state_dict().keys()
    ours = build(interpolator).state_dict().keys()
    assert ours >= theirs
    assert {name.split(".")[0] for name in ours - theirs} <= {"upsample"}


def test_modules_of_different_places_start_different():
    first, second, third = build("deconv").upsample
    assert not torch.equal(first[0].weight, second[0].weight)
    assert not torch.equal(second[0].weight, third[0].weight)


def test_merged_maps_are_laterals_plus_what_comes_from_above_cropped():
    fpn, x = build("bilinear"), features(72, 104)
    laterals = [getattr(fpn, f"fpn_lateral{i}")(x[f"res{i}"]) for i in (5, 4, 3, 2)]
    expected = laterals[:1]
    for lateral in laterals[1:]:
        h, w = lateral.shape[-2:]
        upsampled = F.interpolate(expected[-1], scale_factor=2, mode="bilinear", align_corners=False)[:, :, :h, :w]
        expected.append(lateral + upsampled)
    merged = fpn.top_down(x)
    assert expected[0].shape[-1] * 2 > expected[1].shape[-1]  # something was cropped
    for actual, value in zip(merged, expected, strict=True):
        torch.testing.assert_close(actual, value)
    outputs = fpn(x)
    for level, value in zip((5, 4, 3, 2), merged, strict=True):
        assert torch.equal(outputs[f"p{level}"], getattr(fpn, f"fpn_output{level}")(value))


def gradients(fpn, x, output):
    """Return the features on which a map depends."""
    x = {name: value.requires_grad_() for name, value in x.items()}
    output(fpn, x).square().sum().backward()
    return {name for name, value in x.items() if value.grad is not None and value.grad.any()}


OUTPUTS = {"p2": lambda fpn, x: fpn(x)["p2"], "merged": lambda fpn, x: fpn.top_down(x)[-1]}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize("interpolator", ["nearest", "afi", "deconv"])
def test_iterated_p2_depends_only_on_the_coarsest_map(interpolator, output):
    assert gradients(build(interpolator, upsampling="iterated"), features(65, 64), output) == {"res5"}
    assert gradients(build(interpolator), features(65, 64), output) == set(CHANNELS)


def test_a_guide_is_the_lateral_map_of_its_place():
    fpn, x, given = build("fade"), features(65, 97), []
    for module in fpn.upsample:
        module.register_forward_pre_hook(lambda module, arguments: given.append(arguments[1]))
    fpn(x)
    laterals = [conv(x[name]) for conv, name in zip(fpn.lateral_convs[1:], ["res4", "res3", "res2"], strict=True)]
    assert len(given) == 3 and all(torch.equal(*pair) for pair in zip(given, laterals, strict=True))


def test_a_guided_interpolator_is_refused_without_lateral_maps():
    with pytest.raises(ValueError, match="iterated upsampling has no lateral maps, and fade needs them: set per_level"):
        build("fade", upsampling="iterated")


def test_iterated_has_no_lateral_convolutions_of_finer_levels():
    iterated, plain = build("afi", upsampling="iterated").state_dict(), build("afi").state_dict()
    finer = {f"fpn_lateral{i}.{kind}" for i in (2, 3, 4) for kind in ("weight", "bias")}
    assert plain.keys() - iterated.keys() == finer
    assert all(torch.equal(plain[name], value) for name, value in iterated.items())


def test_iterated_upsamples_repeatedly():
    fpn, x = build("nearest", upsampling="iterated"), features(64, 96)
    top = fpn.fpn_lateral5(x["res5"])
    for place, merged in enumerate(fpn.top_down(x)):
        assert torch.equal(merged, F.interpolate(top, scale_factor=2**place, mode="nearest"))


def test_errors():
    with pytest.raises(ValueError, match=r"'once'.*per_level or iterated"):
        build(upsampling="once")
    with pytest.raises(ValueError, match=r"unknown interpolator 'cubic'"):
        build("cubic")
    with pytest.raises(ValueError, match=r"'nearest' has no option blocks"):
        build("nearest", options={"blocks": "rb"})


def test_options_reach_the_interpolator():
    assert len(build("afi", options={"blocks": "rb"}).upsample[0].blocks) == 5


def test_a_place_never_stretches():
    """A target larger than x2 is a mistake of ours, not to be hidden."""
    upsampling = Upsampling("nearest", C, 1)
    assert upsampling(torch.ones(1, C, 3, 3), 0, (5, 6)).shape[-2:] == (5, 6)
    with pytest.raises(AssertionError):
        upsampling(torch.ones(1, C, 3, 3), 0, (7, 6))
