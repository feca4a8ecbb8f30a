"""Upsamplers of other papers and the light G: each equals a slow loop over its definition."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F
from upsampled import formula_of_g, shaken

from afigan.interpolators import INTERPOLATORS, build_interpolator

SIZES = [(1, 1), (1, 4), (3, 2), (5, 4)]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)
COUNTS = {
    "dysample": 8_224,
    "dysample-plus": 16_416,
    "carafe": 74_148,
    "lda-aqu": 39_410,
    "fade": 47_514,
    "afi-light": 503_296,
}


def build(name, channels, **options):
    torch.manual_seed(0)
    return build_interpolator(name, channels, **options)


def trained(name, channels, **options):
    """Return a module whose weights are not those of the start."""
    return shaken(build(name, channels, **options)).requires_grad_(False)


def close(found, expected):
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_at_paper_scale(name):
    assert sum(p.numel() for p in build(name, 256).parameters()) == COUNTS[name]
    assert INTERPOLATORS[name].learned


def test_one_light_g_serves_all_places_and_fade_alone_has_a_guide():
    assert [name for name in COUNTS if INTERPOLATORS[name].shared] == ["afi-light"]
    assert [name for name in COUNTS if INTERPOLATORS[name].guided] == ["fade"]


# --- oracles, in Python's floats --------------------------------------------------------------------------------------


def read(plane, row, column, outside):
    """Return a value of a plane, a list of rows; outside it 0, or the value of the border."""
    height, width = len(plane), len(plane[0])
    if outside == "border":
        row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    return plane[row][column] if 0 <= row < height and 0 <= column < width else 0.0


def bilinear(plane, row, column, outside):
    """Return the value of a plane at a position between its pixels, whose centres are at whole numbers."""
    top, left = math.floor(row), math.floor(column)
    found = 0.0
    for y, x in itertools.product((top, top + 1), (left, left + 1)):
        found += (1 - abs(row - y)) * (1 - abs(column - x)) * read(plane, y, x, outside)
    return found


def pixels(x):
    """Yield the place of every value of the output: image, channel, row, column."""
    n, channels, height, width = x.shape
    return itertools.product(range(n), range(channels), range(2 * height), range(2 * width))


# --- DySample ---------------------------------------------------------------------------------------------------------


@sizes
@pytest.mark.parametrize(
    ("name", "channels", "groups"), [("dysample", 8, 4), ("dysample-plus", 8, 4), ("dysample", 6, 3)]
)
def test_dysample_samples_each_group_at_its_own_offsets(name, channels, groups, size):
    module, x = trained(name, channels, groups=groups), torch.randn(2, channels, *size)
    offset = 0.25 * module.offset(x)
    if name == "dysample-plus":
        offset = 2 * offset * torch.sigmoid(module.scope(x))
    expected, planes = torch.empty(2, channels, 2 * size[0], 2 * size[1]), x.tolist()
    for n, c, i, j in pixels(x):
        # channels of the offset: x and y, group, row and column of the 2x2 output pixels
        group, sub = c // (channels // groups), 2 * (i % 2) + j % 2
        dx, dy = (offset[n, (axis * groups + group) * 4 + sub, i // 2, j // 2].item() for axis in (0, 1))
        row, column = i // 2 + (-0.25, 0.25)[i % 2] + dy, j // 2 + (-0.25, 0.25)[j % 2] + dx
        expected[n, c, i, j] = bilinear(planes[n][c], row, column, "border")
    close(module(x), expected)


@pytest.mark.parametrize("name", ["dysample", "dysample-plus"])
def test_dysample_starts_as_bilinear(name):
    x = torch.randn(2, 64, 9, 12)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    module = build(name, 64)
    assert module.offset.weight.std().item() == pytest.approx(0.001, rel=0.1) and not module.offset.bias.any()
    assert name == "dysample" or not module.scope.weight.any()
    assert 0 < (module(x) - expected).abs().max() < 0.05
    torch.nn.init.zeros_(module.offset.weight)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=2e-6)


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(
        ValueError, match=r"cannot split 6 channels into 4 groups: set its option groups to a divisor of 6"
    ):
        build("dysample", 6)
    with pytest.raises(ValueError, match="into 0 groups"):
        build("dysample-plus", 8, groups=0)
    with pytest.raises(
        ValueError, match=r"lda-aqu cannot split 12 / 4 channels into 2 groups: .* a multiple of 4 times"
    ):
        build("lda-aqu", 12)


# --- CARAFE -----------------------------------------------------------------------------------------------------------


@sizes
@pytest.mark.parametrize("channels", [1, 5])
def test_carafe_is_a_weighted_sum_over_a_window(size, channels):
    module, x = trained("carafe", channels), torch.randn(2, channels, *size)
    logits = F.pixel_shuffle(module.content_encoder(module.channel_compressor(x)), 2)
    expected = windows(x, logits)
    close(module(x), expected)


def windows(x, logits):
    """Sum 5x5 windows around each output pixel's nearest input pixel, with a softmax of 25 logits an output pixel."""
    kernels = logits.double().softmax(dim=1).tolist()
    expected, planes = torch.empty(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]), x.tolist()
    for n, c, i, j in pixels(x):
        expected[n, c, i, j] = sum(
            kernels[n][k][i][j] * read(planes[n][c], i // 2 + k // 5 - 2, j // 2 + k % 5 - 2, "zero") for k in range(25)
        )
    return expected


# --- FADE -------------------------------------------------------------------------------------------------------------


@sizes
@pytest.mark.parametrize("less", [(0, 0), (1, 0), (1, 1)])
def test_fade_adds_the_logits_of_both_maps_and_lets_the_guide_through(size, less):
    module, x = trained("fade", 3), torch.randn(2, 3, *size)
    guide = torch.randn(2, 3, 2 * size[0] - less[0], 2 * size[1] - less[1])
    full = F.pad(guide, (0, less[1], 0, less[0]), mode="replicate")
    coarse, fine = module.kernel(module.decoder(x)), module.kernel(module.encoder(full))
    logits, gates = torch.empty_like(fine), torch.empty_like(full)
    for n, _, i, j in pixels(x):
        logits[n, :, i, j] = fine[n, :, i, j] + coarse[n, :, i // 2, j // 2]
        gates[n, :, i, j] = torch.sigmoid(module.gate(x))[n, :, i // 2, j // 2]
    close(module(x, guide), gates * full + (1 - gates) * windows(x, logits))


# --- LDA-AQU ----------------------------------------------------------------------------------------------------------


@sizes
# with one channel a group, layer normalisation makes the offsets of all groups alike
@pytest.mark.parametrize(("channels", "groups"), [(16, 2), (24, 3), (8, 1), (8, 2)])
def test_lda_aqu_attends_to_nine_points_of_its_own(size, channels, groups):
    module, x = trained("lda-aqu", channels, groups=groups), torch.randn(2, channels, *size)
    (height, width), reduced = size, channels // 4
    normal = F.layer_norm(x.movedim(1, -1), (channels,), module.norm.weight, module.norm.bias).movedim(-1, 1)
    coarse, key = module.query(normal).tolist(), module.key(normal).tolist()
    steps = (height - 1) / (2 * height - 1), (width - 1) / (2 * width - 1)  # input pixels an output pixel
    query = torch.empty(2, reduced, 2 * height, 2 * width)
    for n, c, i, j in itertools.product(range(2), range(reduced), range(2 * height), range(2 * width)):
        query[n, c, i, j] = bilinear(coarse[n][c], i * steps[0], j * steps[1], "border")
    first, norm, _, last = module.offset
    offsets = []
    for part in query.chunk(groups, dim=1):  # each group's offsets come from its own part of the query
        h = F.conv2d(part, first.weight, padding=1, groups=reduced // groups).movedim(1, -1)
        h = F.gelu(F.layer_norm(h, (reduced // groups,), norm.weight, norm.bias)).movedim(-1, 1)
        offsets.append(11 * torch.tanh(F.conv2d(h, last.weight, last.bias, padding=1)))
    planes, expected = x.tolist(), torch.empty(2, channels, 2 * height, 2 * width)

    def point(n, c, of, k, i, j):
        """Return a channel's position of point k, in input pixels."""
        dx, dy = offsets[c // (of // groups)][n, 2 * k : 2 * k + 2, i, j].tolist()
        return (i + k // 3 - 1 + dy) * steps[0], (j + k % 3 - 1 + dx) * steps[1]

    for n, i, j in itertools.product(range(2), range(2 * height), range(2 * width)):
        scores = [0.0] * 9
        for k, c in itertools.product(range(9), range(reduced)):
            near = bilinear(key[n][c], *point(n, c, reduced, k, i, j), "zero")
            scores[k] += query[n, c, i, j].item() * (near + module.bias[k, c].item()) / math.sqrt(reduced)
        weights = torch.tensor(scores).softmax(dim=0).tolist()
        for c in range(channels):
            values = [bilinear(planes[n][c], *point(n, c, channels, k, i, j), "zero") for k in range(9)]
            expected[n, c, i, j] = sum(w * v for w, v in zip(weights, values, strict=True))
    close(module(x), expected)


def test_first_weights_of_lda_aqu():
    module = build("lda-aqu", 256)
    first, _, _, last = module.offset
    assert not last.weight.any() and not last.bias.any()  # the points start on their grid
    assert module.bias.std().item() == pytest.approx(0.02, rel=0.1)
    for conv in (module.query, module.key, first):
        assert_xavier(conv.weight)


def assert_xavier(weight):
    """Xavier's uniform distribution (Glorot and Bengio 2010, Eq. 16), by its bound and its deviation."""
    positions = weight[0, 0].numel()
    bound = math.sqrt(6 / (positions * (weight.shape[0] + weight.shape[1])))
    assert 0.9 * bound < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_first_weights_of_carafe_and_fade():
    carafe, fade = build("carafe", 256), build("fade", 256)
    assert_xavier(carafe.channel_compressor.weight)
    assert carafe.content_encoder.weight.std().item() == pytest.approx(0.001, rel=0.05)
    for conv in (fade.encoder, fade.decoder, fade.kernel, fade.gate):
        assert_xavier(conv.weight)
    for conv in (carafe.channel_compressor, carafe.content_encoder, fade.encoder, fade.kernel, fade.gate):
        assert not conv.bias.any()
    assert fade.decoder.bias is None


# --- bfloat16 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["carafe", "fade"])
def test_a_window_of_ones_sums_to_one_in_bfloat16(name):
    module = build(name, 16)
    for p in module.parameters():
        torch.nn.init.zeros_(p)
    if name == "fade":
        torch.nn.init.constant_(module.gate.bias, -20.0)  # closed: the guide does not come through
    maps = [torch.ones(1, 16, 9, 9), torch.zeros(1, 16, 18, 18)]
    with torch.autocast("cpu", torch.bfloat16):
        found = module(*(x.bfloat16() for x in maps))
    inner = found[..., 4:-4, 4:-4].float()  # the windows of the others reach outside the map
    assert found.dtype == torch.bfloat16 and (inner - 1).abs().max() <= 2**-8


# --- weights of the public modules ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dysample", "dysample-plus"])
def test_weights_of_the_public_dysample_load_without_its_buffer(name):
    module, other = trained(name, 8), build(name, 8)
    corners = [(axis, y, x) for axis in (0, 1) for _ in range(4) for y in (-0.25, 0.25) for x in (-0.25, 0.25)]
    start = torch.tensor([(x, y)[axis] for axis, y, x in corners]).view(1, 32, 1, 1)
    # what the public module adds to its offsets is what ours samples at if the convolutions give 0
    still = build(name, 8)
    torch.nn.init.zeros_(still.offset.weight)
    x = torch.randn(1, 8, 3, 5)
    planes, sampled = x.tolist(), still(x)
    for n, c, i, j in pixels(x):
        dx, dy = (start[0, (axis * 4 + c // 2) * 4 + 2 * (i % 2) + j % 2].item() for axis in (0, 1))
        near = bilinear(planes[n][c], i // 2 + dy, j // 2 + dx, "border")
        assert sampled[n, c, i, j].item() == pytest.approx(near, abs=1e-5)
    file = {"offset.weight": module.offset.weight, "offset.bias": module.offset.bias, "init_pos": start}
    if name == "dysample-plus":
        file["scope.weight"] = module.scope.weight
    other.load_state_dict({key: value for key, value in file.items() if key != "init_pos"})
    x = torch.randn(2, 8, 3, 5)
    assert torch.equal(other(x), module(x))


def test_weights_of_the_public_carafe_load_as_they_are():
    file = {
        "channel_compressor.weight": torch.randn(64, 8, 1, 1),
        "channel_compressor.bias": torch.randn(64),
        "content_encoder.weight": torch.randn(100, 64, 3, 3),
        "content_encoder.bias": torch.randn(100),
    }
    module = build("carafe", 8)
    module.load_state_dict(file)
    assert list(module.state_dict()) == list(file)


# --- the light G ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 8, 256])
def test_the_light_g_starts_near_bilinear(channels):
    module, x = build("afi-light", channels), torch.randn(2, channels, 10, 12)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    assert 0 < (module(x) - expected).std() < 0.02 * expected.std()


@sizes
def test_the_light_g_is_gs_formula_at_a_quarter_of_the_channels(size):
    module, x = build("afi-light", 8), torch.randn(2, 8, *size)
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.2)
    state = module.state_dict()
    reduced = F.conv2d(x, state["reduce.weight"], state["reduce.bias"])
    torch.testing.assert_close(module(x), formula_of_g(state, x, reduced, blocks=2), rtol=1e-4, atol=1e-4)
    assert (state["reduce.weight"].shape[0], state["blocks.0.convs.0.weight"].shape[0]) == (2, 16)


def test_the_light_g_has_a_tenth_of_gs_multiply_adds():
    from torch.utils.flop_counter import FlopCounterMode

    counted = {}
    for name in ("afi", "afi-light"):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            build(name, 256)(torch.zeros(1, 256, 4, 4))
        counted[name] = counter.get_total_flops()
    assert counted["afi"] == 2 * 16 * 9_603_072
    assert counted["afi-light"] / counted["afi"] == pytest.approx(0.0575, abs=0.001)
