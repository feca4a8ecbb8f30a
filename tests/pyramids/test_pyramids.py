"""FPN, PAFPN and BiFPN: their common behaviour, the numbers of the latter two, and the registered backbones."""

import math
from functools import partial

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import build_backbone as build_registered
from detectron2.modeling.backbone import FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from upsampled import accepted

import afigan
from afigan.backbones import build_backbone
from afigan.interpolators import INTERPOLATORS, AFInterpolator
from afigan.pyramids.base import Pyramid
from afigan.pyramids.bifpn import Fusion, InterpolatedBiFPN, halve
from afigan.pyramids.fpn import InterpolatedFPN
from afigan.pyramids.pafpn import InterpolatedPAFPN

C = 8
CHANNELS = (6, 10, 14, 22)
NAMES = ("res2", "res3", "res4", "res5")


class TinyBackbone(Backbone):
    """Four maps of strides 4 to 32 with any channels, as timm's models have them; odd sizes are rounded up."""

    def __init__(self, channels=CHANNELS):
        super().__init__()
        self.channels = channels
        self.stem = nn.Conv2d(3, channels[0], 3, stride=2, padding=1)
        self.stages = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1)
            for before, after in zip((channels[0], *channels), channels, strict=False)
        )

    def forward(self, x):
        x, maps = self.stem(x), {}
        for name, stage in zip(NAMES, self.stages, strict=True):
            x = maps[name] = stage(x)
        return maps

    def output_shape(self):
        return {
            n: ShapeSpec(channels=c, stride=4 << i) for i, (n, c) in enumerate(zip(NAMES, self.channels, strict=True))
        }


def p2_p6(cls):
    return lambda **given: cls(in_features=list(NAMES), top_block=LastLevelMaxPool(), **given)


def p3_p7(cls, source="res5"):
    def make(bottom_up, out_channels, **given):
        channels = out_channels if source == "p5" else bottom_up.output_shape()["res5"].channels
        top_block = LastLevelP6P7(channels, out_channels, source)
        in_features = list(NAMES[1:])
        return cls(
            bottom_up=bottom_up, out_channels=out_channels, in_features=in_features, top_block=top_block, **given
        )

    return make


MAKE = {
    "FPN P2-P6": p2_p6(InterpolatedFPN),
    "FPN P3-P7": p3_p7(InterpolatedFPN),
    "PAFPN P2-P6": p2_p6(InterpolatedPAFPN),
    "PAFPN P3-P7": p3_p7(InterpolatedPAFPN, "p5"),
    "BiFPN": lambda **given: InterpolatedBiFPN(repeats=2, **given),
}
PLACES = {"FPN P2-P6": 3, "FPN P3-P7": 2, "PAFPN P2-P6": 3, "PAFPN P3-P7": 2, "BiFPN": 8}
LEVELS = {kind: ["p2", "p3", "p4", "p5", "p6"] if "P2" in kind else ["p3", "p4", "p5", "p6", "p7"] for kind in MAKE}
kinds = pytest.mark.parametrize("kind", MAKE)
every = pytest.mark.parametrize("interpolator", INTERPOLATORS)


def build(kind, interpolator="nearest", channels=CHANNELS, out_channels=C, **options):
    torch.manual_seed(0)
    bottom_up = TinyBackbone(channels)
    return MAKE[kind](bottom_up=bottom_up, out_channels=out_channels, interpolator=interpolator, **options).eval()


def shake(module):
    """Fill all weights and statistics with random numbers, so that no module is the identity by initialisation."""
    torch.manual_seed(1)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            positive = name.endswith(("running_var", ".weights"))  # no fused map is left out
            value.copy_(torch.rand_like(value) + 0.5 if positive else torch.randn_like(value) / 2)
    return module


# ---- all of them


@kinds
@every
@settings(max_examples=2, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(1, 140), st.integers(1, 140)),
    st.integers(1, 2),
    st.integers(1, 9),
    st.tuples(*[st.integers(1, 12)] * 4),
)
@example((101, 135), 1, 8, (24, 48, 120, 352))
@example((1, 1), 1, 1, (1, 1, 1, 1))
def test_any_image_any_channels(kind, interpolator, size, n, c, channels):
    c = accepted(interpolator, c)
    pyramid = build(kind, interpolator, channels, c)
    maps = pyramid(torch.randn(n, 3, *size))
    assert list(maps) == list(pyramid.output_shape()) == LEVELS[kind]
    for level, shape in pyramid.output_shape().items():
        assert (shape.stride, shape.channels) == (2 ** int(level[1:]), c)
        assert maps[level].shape == (n, c, *(math.ceil(side / shape.stride) for side in size))


@kinds
def test_a_pyramid_is_a_detectron2_backbone(kind):
    pyramid, theirs = build(kind), FPN(TinyBackbone(), list(NAMES), C)
    assert isinstance(pyramid, Pyramid) and isinstance(pyramid, Backbone)
    assert pyramid.size_divisibility == theirs.size_divisibility
    # v0.6 has no such property, and ignores it
    assert pyramid.padding_constraints == getattr(theirs, "padding_constraints", {"square_size": 0})


@kinds
@every
def test_afi_is_one_module_and_the_others_have_one_per_place(kind, interpolator):
    pyramid = build(kind, interpolator)
    calls = [0] * len(pyramid.upsample)
    for number, module in enumerate(pyramid.upsample):
        module.register_forward_hook(lambda *_, number=number: calls.__setitem__(number, calls[number] + 1))
    pyramid(torch.randn(1, 3, 64, 64))
    assert calls == ([PLACES[kind]] if INTERPOLATORS[interpolator].shared else [1] * PLACES[kind])
    assert pyramid.upsample.places == PLACES[kind]
    weights = [p.data_ptr() for p in pyramid.upsample.parameters()]
    assert len(set(weights)) == len(weights)


@kinds
@every
def test_other_weights_do_not_depend_on_the_interpolator(kind, interpolator):
    plain = build(kind).state_dict()
    following = torch.rand(4)  # a detector's heads are built after its pyramid
    changed = build(kind, interpolator).state_dict()
    assert torch.equal(torch.rand(4), following)
    assert all(torch.equal(changed[name], value) for name, value in plain.items())
    assert {name.split(".")[0] for name in changed.keys() - plain.keys()} <= {"upsample"}


TOUCHED = {  # a map that was not interpolated has no gradient for the interpolator
    "FPN P2-P6": {"p2", "p3", "p4"},
    "FPN P3-P7": {"p3", "p4"},
    "PAFPN P2-P6": {"p2", "p3", "p4", "p5", "p6"},
    "PAFPN P3-P7": {"p3", "p4", "p5", "p6", "p7"},
    "BiFPN": {"p3", "p4", "p5", "p6", "p7"},
}


@kinds
@pytest.mark.parametrize("interpolator", ["afi", "deconv"])
def test_maps_whose_gradients_reach_the_interpolator(kind, interpolator):
    pyramid = shake(build(kind, interpolator))
    touched = set()
    for level in LEVELS[kind]:
        pyramid.zero_grad()
        pyramid(torch.randn(1, 3, 128, 128))[level].square().sum().backward()
        if any(p.grad is not None and p.grad.any() for p in pyramid.upsample.parameters()):
            touched.add(level)
    assert touched == TOUCHED[kind]


@kinds
@pytest.mark.parametrize("interpolator", ["nearest", "afi", "nearest-5conv"])
def test_a_batch_gives_the_results_of_single_images(kind, interpolator):
    pyramid, images = build(kind, interpolator), torch.randn(3, 3, 65, 140)
    together = pyramid(images)
    for i in range(3):
        alone = pyramid(images[i : i + 1])
        for level in together:
            torch.testing.assert_close(together[level][i : i + 1], alone[level])


@kinds
def test_all_weights_learn(kind):
    """Every layer is used, because distributed training would wait for the gradient of an unused one."""
    pyramid = build(kind, "deconv").train()
    sum(value.square().sum() for value in pyramid(torch.randn(2, 3, 96, 200)).values()).backward()
    assert not [name for name, p in pyramid.named_parameters() if p.grad is None]


@pytest.fixture(scope="module")
def resnet50():
    return build_backbone("resnet50")


@kinds
def test_what_afi_costs_at_the_papers_size(kind, resnet50):
    sizes = {}
    for interpolator in ("nearest", "afi"):
        pyramid = MAKE[kind](bottom_up=resnet50, out_channels=256, interpolator=interpolator)
        sizes[interpolator] = sum(p.numel() for p in pyramid.parameters())
    assert sizes["afi"] - sizes["nearest"] == 7_834_624


# ---- what the stages and figures ask


@kinds
def test_interpolated_levels(kind):
    expected = {"BiFPN": ("p3", "p4", "p5", "p6", "p7")}.get(kind, ("p2", "p3", "p4", "p5")[-PLACES[kind] - 1 :])
    assert build(kind).interpolated_levels == expected


@kinds
@pytest.mark.parametrize("interpolator", ["deconv", "afi"])
def test_interpolate_is_the_last_upsampling_towards_a_level(kind, interpolator):
    pyramid, last = build(kind, interpolator), {}
    pyramid.upsample.register_forward_hook(lambda _, args, output: last.__setitem__(args[2], (args[0], output)))
    maps = pyramid(torch.randn(1, 3, 101, 300))
    levels = pyramid.interpolated_levels
    assert len(last) == len(levels) - 1
    for level in levels[:-1]:
        coarse, expected = last[maps[level].shape[-2:]]
        assert torch.equal(pyramid.interpolate(coarse, level, expected.shape[-2:]), expected)
    for level in (levels[-1], "p1"):
        with pytest.raises(ValueError, match=rf"to '{level}'.*{', '.join(levels[:-1])}$"):
            pyramid.interpolate(torch.ones(1, C, 2, 2), level, (4, 4))


@kinds
def test_output_module_gives_the_map(kind):
    pyramid, seen = build(kind), {}
    for level in pyramid.interpolated_levels:
        hook = lambda module, args, output, level=level: seen.__setitem__(level, output)  # noqa: E731
        pyramid.output_module(level).register_forward_hook(hook)
    maps = pyramid(torch.randn(1, 3, 64, 64))
    assert list(pyramid.interpolated_levels) == [level for level in maps if seen.get(level) is maps[level]]
    with pytest.raises(ValueError, match=r"level 'p1'.*choose one of p"):
        pyramid.output_module("p1")


@pytest.mark.parametrize("kind", [kind for kind in MAKE if kind != "BiFPN"])
def test_merged_maps_become_the_outputs(kind):
    pyramid, images = build(kind, "bilinear"), torch.randn(1, 3, 101, 135)
    merged, maps = pyramid.merged(images), pyramid(images)
    assert tuple(merged) == pyramid.interpolated_levels
    for place, level in enumerate(reversed(merged)):
        assert torch.equal(merged[level], pyramid.top_down(pyramid.bottom_up(images))[place])
    expected = {level: getattr(pyramid, f"fpn_output{level[1]}")(value) for level, value in merged.items()}
    if "PAFPN" in kind:
        assert not torch.equal(expected["p5"], maps["p5"])
        expected = {level: expected[level] for level in list(expected)[:1]}  # N_2 = P_2
    assert all(torch.equal(maps[level], value) for level, value in expected.items())


def test_bifpn_has_no_merged_maps():
    with pytest.raises(ValueError, match="use features: output"):
        build("BiFPN").merged(torch.randn(1, 3, 64, 64))


# ---- PAFPN's numbers


def convolve(state, name, x, eps=1e-5, **options):
    """Apply a convolution of a state dict, with its batch normalisation in evaluation if it has one."""
    x = F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)
    if f"{name}.norm.weight" in state:
        mean, variance = state[f"{name}.norm.running_mean"], state[f"{name}.norm.running_var"]
        scale = state[f"{name}.norm.weight"] / (variance + eps).sqrt()
        x = x * scale.view(-1, 1, 1) + (state[f"{name}.norm.bias"] - mean * scale).view(-1, 1, 1)
    return x


@pytest.mark.parametrize("norm", ["", "BN"])
@pytest.mark.parametrize("kind", ["PAFPN P2-P6", "PAFPN P3-P7"])
def test_pafpn_is_detectron2s_fpn_and_panets_bottom_up_path(kind, norm):
    ours = shake(build(kind, norm=norm)).double()
    in_features = NAMES if "P2" in kind else NAMES[1:]
    theirs = FPN(TinyBackbone(), list(in_features), C, norm=norm).double().eval()
    theirs.load_state_dict({name: value for name, value in ours.state_dict().items() if name in theirs.state_dict()})
    images, state = torch.randn(2, 3, 128, 192, dtype=torch.float64), ours.state_dict()
    with torch.no_grad():
        p, actual = theirs(images), ours(images)
        expected = {LEVELS[kind][0]: p[LEVELS[kind][0]]}
        for finer, level in zip(ours.interpolated_levels, ours.interpolated_levels[1:], strict=False):
            down = convolve(state, f"augment_down.{level}", expected[finer], stride=2, padding=1)
            expected[level] = convolve(state, f"augment_output.{level}", down + p[level], padding=1)
        if "P2" in kind:
            expected["p6"] = expected["p5"][:, :, ::2, ::2]
        else:
            expected["p6"] = convolve(state, "top_block.p6", expected["p5"], stride=2, padding=1)
            expected["p7"] = convolve(state, "top_block.p7", expected["p6"].clamp(min=0), stride=2, padding=1)
    assert list(actual) == list(expected)
    for level, value in expected.items():
        torch.testing.assert_close(actual[level], value)


@pytest.mark.parametrize(("norm", "more"), [("", C), ("BN", 2 * C)])
@pytest.mark.parametrize("levels", ["P2-P6", "P3-P7"])
def test_pafpn_costs_two_convolutions_per_level(levels, norm, more):
    def size(kind):
        named = build(kind, norm=norm).named_parameters()
        return sum(p.numel() for name, p in named if not name.startswith("top_block"))

    assert size(f"PAFPN {levels}") - size(f"FPN {levels}") == (3 if "2" in levels else 2) * 2 * (9 * C * C + more)


# ---- BiFPN's numbers


def test_halve_is_the_maximum_of_three_by_three():
    x = torch.randn(1, 2, 5, 6)
    actual = halve(x)
    assert actual.shape == (1, 2, 3, 3)
    for i in range(3):
        for j in range(3):
            window = x[0, :, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            assert torch.equal(actual[0, :, i, j], window.amax(dim=(1, 2)))


def plain_fusion(weights):
    """Return a fusion whose separable convolution and normalisation are the identity."""
    fusion = Fusion(2, len(weights), "BN").eval()
    fusion.conv.depthwise.weight.data = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]).expand(2, 1, 3, 3)
    fusion.conv.pointwise.weight.data = torch.eye(2).view(2, 2, 1, 1)
    fusion.conv.pointwise.norm.running_var.fill_(1 - fusion.conv.pointwise.norm.eps)
    fusion.weights.data = torch.tensor(weights)
    return fusion


@pytest.mark.parametrize(
    ("weights", "mean"),
    [
        ([1.0, 2.0, -3.0], (1 * 4 + 2 * 7) / 3.0001),
        ([0.5, 0.0, 0.5], (0.5 * 4 + 0.5 * 100) / 1.0001),
        ([-1.0, -2.0, -3.0], 0.0),
        ([1.0, 1.0, 1.0], 111 / 3.0001),
        ([1e-4, 0.0, 0.0], 2.0),  # as much as the epsilon
    ],
)
def test_fusion_by_hand(weights, mean):
    maps = [torch.full((1, 2, 3, 4), value) for value in (4.0, 7.0, 100.0)]
    expected = torch.full((1, 2, 3, 4), mean / (1 + math.exp(-mean)))  # Swish
    torch.testing.assert_close(plain_fusion(weights)(*maps), expected)


def test_fusion_starts_as_the_mean():
    assert all(
        torch.equal(module.weights, torch.ones(len(module.weights)))
        for module in build("BiFPN").modules()
        if isinstance(module, Fusion)
    )


def reference_bifpn(state, features, repeats):
    """Compute BiFPN with nearest-neighbour upsampling, written out node by node."""
    conv = partial(convolve, state, eps=1e-3)

    def fuse(name, *maps):
        weights = [max(weight, 0.0) for weight in state[f"{name}.weights"].tolist()]
        assert len(weights) == len(maps)
        x = torch.zeros_like(maps[0])
        for weight, value in zip(weights, maps, strict=True):
            x = x + weight * value / (sum(weights) + 1e-4)
        x = x / (1 + torch.exp(-x))
        x = conv(f"{name}.conv.depthwise", x, padding=1, groups=x.shape[1])
        return conv(f"{name}.conv.pointwise", x)

    def up(x, like):
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[:, :, : like.shape[2], : like.shape[3]]

    def down(x):
        h, w = (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2
        windows = [
            [x[:, :, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2] for j in range(w)] for i in range(h)
        ]
        return torch.stack([torch.stack([v.amax(dim=(2, 3)) for v in row], dim=-1) for row in windows], dim=-2)

    p3 = conv("laterals.p3", features["res3"])
    p4 = conv("laterals.p4", features["res4"])
    p5 = conv("laterals.p5", features["res5"])
    p6 = down(conv("laterals.p6", features["res5"]))
    p7 = down(p6)
    p4_again = conv("laterals_again.p4", features["res4"])
    p5_again = conv("laterals_again.p5", features["res5"])
    for i in range(repeats):
        m6 = fuse(f"repeats.{i}.top_down.p6", p6, up(p7, p6))
        m5 = fuse(f"repeats.{i}.top_down.p5", p5, up(m6, p5))
        m4 = fuse(f"repeats.{i}.top_down.p4", p4, up(m5, p4))
        p3 = fuse(f"repeats.{i}.top_down.p3", p3, up(m4, p3))
        p4 = fuse(f"repeats.{i}.bottom_up.p4", p4_again if i == 0 else p4, m4, down(p3))
        p5 = fuse(f"repeats.{i}.bottom_up.p5", p5_again if i == 0 else p5, m5, down(p4))
        p6 = fuse(f"repeats.{i}.bottom_up.p6", p6, m6, down(p5))
        p7 = fuse(f"repeats.{i}.bottom_up.p7", p7, down(p6))
    return {"p3": p3, "p4": p4, "p5": p5, "p6": p6, "p7": p7}


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("size", [(128, 256), (101, 300)])
def test_bifpn_against_one_written_out(repeats, size):
    bifpn = InterpolatedBiFPN(bottom_up=TinyBackbone(), out_channels=C, interpolator="nearest", repeats=repeats)
    shake(bifpn).double().eval()
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = reference_bifpn(bifpn.state_dict(), bifpn.bottom_up(images), repeats)
        actual = bifpn(images)
    for level, value in expected.items():
        torch.testing.assert_close(actual[level], value)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(1, 4), st.tuples(*[st.integers(1, 20)] * 4))
def test_bifpn_size(c, repeats, channels):
    bifpn = InterpolatedBiFPN(bottom_up=TinyBackbone(channels), out_channels=c, interpolator="nearest", repeats=repeats)
    laterals = c * (channels[1] + 2 * channels[2] + 3 * channels[3]) + 6 * 2 * c  # P4, P5 twice, P6 of res5; BN
    nodes = 8 * ((9 * c + c) + c * c + 2 * c)  # depthwise with bias, pointwise, BN
    weights = 2 + 2 + 2 + 2 + 3 + 3 + 3 + 2
    actual = sum(p.numel() for name, p in bifpn.named_parameters() if not name.startswith("bottom_up."))
    assert actual == laterals + repeats * (nodes + weights)


@pytest.mark.parametrize(("norm", "kind"), [("BN", nn.BatchNorm2d), ("SyncBN", nn.SyncBatchNorm), ("GN", nn.GroupNorm)])
def test_bifpn_normalises_every_pointwise_convolution(norm, kind):
    bifpn = build("BiFPN", out_channels=32, norm=norm)
    assert sum(isinstance(module, kind) for module in bifpn.modules()) == 6 + 2 * 8


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "naiveSyncBN"])
def test_bifpns_batch_normalisation_is_efficientdets(norm):
    bifpn = build("BiFPN", norm=norm)
    found = [(m.eps, m.momentum) for m in bifpn.modules() if isinstance(m, nn.BatchNorm2d | nn.SyncBatchNorm)]
    assert found == [(1e-3, 0.01)] * (6 + 2 * 8)


def test_bifpns_batch_normalisation_by_hand():
    """Over a batch, with its eps; a hundredth of the running statistics is new."""
    norm = build("BiFPN").laterals["p3"].norm.train()
    x = 0.05 * torch.randn(4, C, 5, 6) + 2
    mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
    expected = (x - mean[:, None, None]) / (var[:, None, None] + 0.001).sqrt()
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm.running_mean, 0.01 * mean)
    torch.testing.assert_close(norm.running_var, 0.99 + 0.01 * x.var(dim=(0, 2, 3)))


def test_other_normalisation_of_a_bifpn_does_not_change():
    for norm, kind in (("GN", nn.GroupNorm), ("FrozenBN", FrozenBatchNorm2d)):
        bifpn = build("BiFPN", out_channels=32, norm=norm)
        assert {m.eps for m in bifpn.modules() if isinstance(m, kind)} == {1e-5}


def test_batch_normalisation_under_a_bifpn_is_the_backbones_own():
    built = registered(P3, AFIGAN__PYRAMID="bifpn", AFIGAN__NORM="BN")
    own = [m for m in built.bottom_up.modules() if isinstance(m, nn.BatchNorm2d)]
    assert own and {(m.eps, m.momentum) for m in own} == {(1e-5, 0.1)}


def test_bifpn_errors():
    with pytest.raises(ValueError, match="0 repeats"):
        InterpolatedBiFPN(bottom_up=TinyBackbone(), out_channels=C, interpolator="nearest", repeats=0)
    with pytest.raises(ValueError, match="choose BN"):
        build("BiFPN", norm="")
    with pytest.raises(ValueError, match="unknown interpolator 'cubic'"):
        build("BiFPN", "cubic")


# ---- the registered backbones

P2 = "build_afigan_fpn_backbone"
P3 = "build_afigan_retinanet_fpn_backbone"


def registered(name, **changes):
    """Build a pyramid through detectron2's registry, on our smallest backbone; `FPN__NORM` means MODEL.FPN.NORM."""
    torch.manual_seed(0)
    cfg = get_cfg()
    afigan.add_afigan_config(cfg)
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.AFIGAN.BACKBONE = "resnet_mini"
    cfg.MODEL.FPN.OUT_CHANNELS = C
    cfg.merge_from_list([part for key, value in changes.items() for part in (f"MODEL.{key.replace('__', '.')}", value)])
    return build_registered(cfg)


@pytest.mark.parametrize(
    ("name", "pyramid", "cls", "levels", "places"),
    [
        (P2, "fpn", InterpolatedFPN, "P2-P6", 3),
        (P3, "fpn", InterpolatedFPN, "P3-P7", 2),
        (P2, "pafpn", InterpolatedPAFPN, "P2-P6", 3),
        (P3, "pafpn", InterpolatedPAFPN, "P3-P7", 2),
        (P3, "bifpn", InterpolatedBiFPN, "P3-P7", 12),
    ],
)
def test_pyramids_by_config(name, pyramid, cls, levels, places):
    built = registered(name, AFIGAN__PYRAMID=pyramid, AFIGAN__INTERPOLATOR="deconv")
    assert type(built) is cls and len(built.upsample) == built.upsample.places == places
    assert list(built(torch.randn(2, 3, 64, 96))) == LEVELS[f"FPN {levels}"]
    same = registered(
        name,
        AFIGAN__PYRAMID=pyramid,
        AFIGAN__INTERPOLATOR="deconv",
        FPN__IN_FEATURES=["res2", "res3", "res4", "res5"] if name == P2 else ["res3", "res4", "res5"],
    )
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), same.parameters(), strict=True))
    assert len(registered(name, AFIGAN__PYRAMID=pyramid, AFIGAN__OPTIONS={"blocks": "rb"}).upsample[0].blocks) == 5


def test_defaults_are_an_fpn():
    pyramid = registered(P2)
    assert type(pyramid) is InterpolatedFPN and type(pyramid.upsample[0]) is AFInterpolator


@pytest.mark.parametrize("pyramid", ["fpn", "pafpn"])
def test_p6_has_the_source_of_the_config(pyramid):
    images = torch.randn(1, 3, 64, 96)
    for source in ("res5", "p5"):
        built = registered(P3, AFIGAN__PYRAMID=pyramid, AFIGAN__P6_FROM=source).eval()
        maps = built(images) | built.bottom_up(images)
        assert torch.equal(maps["p6"], built.top_block.p6(maps[source]))
    retinanets = registered(P3, AFIGAN__PYRAMID=pyramid)
    assert retinanets.top_block.in_feature == "res5"


def test_bifpn_by_config():
    assert len(registered(P3, AFIGAN__PYRAMID="bifpn", AFIGAN__REPEATS=7).repeats) == 7
    assert len(registered(P3, AFIGAN__PYRAMID="bifpn").repeats) == 3
    for changes, kind in (({}, nn.BatchNorm2d), ({"FPN__NORM": "SyncBN"}, nn.SyncBatchNorm)):
        built = registered(P3, AFIGAN__PYRAMID="bifpn", **changes)
        assert isinstance(built.repeats[0].top_down["p6"].conv.pointwise.norm, kind)
        assert isinstance(built.laterals["p3"].norm, kind)


def test_norm_reaches_every_convolution_of_a_pafpn():
    built = registered(P2, AFIGAN__PYRAMID="pafpn", FPN__NORM="SyncBN")
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in built.modules()) == 4 * 2 + 3 * 2


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (P2, {"AFIGAN__PYRAMID": "nasfpn"}, "PYRAMID 'nasfpn': choose one of fpn, pafpn, bifpn"),
        (P2, {"AFIGAN__PYRAMID": "bifpn"}, f"bifpn has P3-P7: set MODEL.BACKBONE.NAME to {P3}"),
        (
            P2,
            {"AFIGAN__PYRAMID": "pafpn", "AFIGAN__UPSAMPLING": "iterated"},
            "'iterated' needs pyramid fpn: pafpn needs",
        ),
        (
            P3,
            {"AFIGAN__PYRAMID": "bifpn", "AFIGAN__UPSAMPLING": "iterated"},
            "'iterated' needs pyramid fpn: bifpn needs",
        ),
        (P3, {"AFIGAN__P6_FROM": "p6"}, "P6_FROM 'p6': choose res5 or p5"),
        (P3, {"FPN__IN_FEATURES": list(NAMES)}, r"IN_FEATURES is .*'res2'.* from p3 on need \['res3'"),
        (P3, {"AFIGAN__PYRAMID": "bifpn", "FPN__IN_FEATURES": list(NAMES)}, "IN_FEATURES is .*'res2'"),
        (P2, {"FPN__IN_FEATURES": list(NAMES[1:])}, r"from p2 on need \['res2'"),
        (P3, {"AFIGAN__BACKBONE": ""}, "no output res3, res5: add it to MODEL.RESNETS.OUT_FEATURES"),
    ],
)
def test_impossible_configs_are_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        registered(name, **changes)


def test_iterated_by_config():
    assert registered(P3, AFIGAN__UPSAMPLING="iterated").upsampling == "iterated"
