"""Every interpolator: x2 of any map, its number of parameters, G's start, and imports of weights."""

import inspect
import re
from dataclasses import fields

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from torch.nn import functional as F
from upsampled import accepted, formula_of_g, inputs, shaken

from afigan.interpolators import INTERPOLATORS, AFInterpolator, Traits, build_interpolator
from afigan.interpolators.released import convert_released
from afigan.params import registered

VARIANTS = {name: (name, {}) for name in INTERPOLATORS if name != "afi"} | {
    f"afi-{blocks}": ("afi", {"blocks": blocks}) for blocks in ("rdb", "rb")
}
every = pytest.mark.parametrize("variant", VARIANTS)
generators = pytest.mark.parametrize("blocks", ["rdb", "rb"])


def build(variant, channels):
    torch.manual_seed(0)
    name, options = VARIANTS[variant]
    return build_interpolator(name, channels, **options)


def given(variant, *shape):
    """Return the inputs of a variant: a map of a shape, and its guide if it needs one."""
    return inputs(VARIANTS[variant][0], *shape)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_the_names_of_table_6_are_registered():
    resized = {"nearest", "bilinear", "bicubic"}
    learned = {f"{name}-5conv" for name in resized} | {"deconv", "afi"}
    assert resized | learned <= set(INTERPOLATORS)
    assert {name for name in resized | learned if INTERPOLATORS[name].learned} == learned
    assert {name for name in resized | learned if INTERPOLATORS[name].shared} == {"afi"}


def test_params_yaml_knows_the_registered_names_traits_and_options_from_the_source():
    found = registered.interpolators()
    assert set(found) == set(INTERPOLATORS)
    for name, traits in INTERPOLATORS.items():
        ours = {field.name: found[name].traits.get(field.name, False) for field in fields(Traits)}
        assert Traits(**ours) == traits
        built = build_interpolator(name, 8)
        signature = inspect.signature(type(built)).parameters
        options = {option: value.default for option, value in found[name].options.items()}
        assert options == {key: signature[key].default for key in options}
        assert set(signature) - {"channels"} - set(found[name].traits) == set(options)
    assert registered.wrong_options("afi", {"blocks": "rb"}) == []
    assert registered.wrong_options("afi", {"blocks": "rrdb"}) == ["blocks: 'rrdb', but it has to be rdb or rb"]
    assert registered.wrong_options("deconv", {"blocks": "rb"}) == ["blocks: deconv has no such option; it has none"]


@every
@settings(max_examples=15, deadline=None, derandomize=True)
@drawn(st.integers(1, 3), st.integers(1, 9), st.integers(1, 8), st.integers(1, 8))
def test_twice_the_size_of_any_map(variant, n, c, h, w):
    name, options = VARIANTS[variant]
    c = accepted(name, c, **options)
    assert build(variant, c).eval()(*given(variant, n, c, h, w)).shape == (n, c, 2 * h, 2 * w)


@every
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 3), (25, 34)])
def test_twice_the_size_at_the_size_of_features(variant, size):
    assert build(variant, 16).eval()(*given(variant, 1, 16, *size)).shape == (1, 16, 2 * size[0], 2 * size[1])


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "afi-rb"])  # its BN needs two positions in training
def test_a_single_position_in_training(variant):
    assert build(variant, 8)(*given(variant, 1, 8, 1, 1)).shape == (1, 8, 2, 2)


@every
def test_a_batch_is_its_images_one_by_one(variant):
    module = build(variant, 8)
    module(*given(variant, 4, 8, 6, 6))  # statistics other than the first ones
    module.eval()
    maps = given(variant, 3, 8, 5, 7)
    alone = [module(*(x[i : i + 1] for x in maps)) for i in range(3)]
    torch.testing.assert_close(module(*maps), torch.cat(alone))


@every
def test_gradients_reach_every_parameter_and_the_input(variant):
    module = shaken(build(variant, 16)).eval()  # in training BN cancels the bias before it
    maps = [x.requires_grad_() for x in given(variant, 2, 16, 5, 5)]
    output = module(*maps)
    (output * torch.randn_like(output)).sum().backward()
    # more than what rounding leaves
    assert [name for name, p in module.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-3] == []
    assert all(x.grad.any() for x in maps)


@every
def test_the_input_is_left_as_it_is(variant):
    maps = given(variant, 1, 8, 4, 4)
    before = [x.clone() for x in maps]
    build(variant, 8)(*maps)
    assert all(torch.equal(x, copy) for x, copy in zip(maps, before, strict=True))


@every
def test_a_bfloat16_map_stays_one(variant):
    module = build(variant, 8).bfloat16()
    assert module(*(x.bfloat16() for x in given(variant, 1, 8, 3, 3))).dtype == torch.bfloat16


def test_what_torch_samples_at_any_position_has_no_repeatable_gradient_on_a_gpu():
    found = {name for name, traits in INTERPOLATORS.items() if traits.unrepeatable}
    assert found == {"bicubic", "bicubic-5conv", "dysample", "dysample-plus", "lda-aqu"}


@every
def test_bfloat16_autocast_is_close_to_float32(variant):
    module, maps = build(variant, 16).eval(), given(variant, 2, 16, 5, 7)
    expected = module(*maps)
    with torch.autocast("cpu", torch.bfloat16):
        output = module(*maps)
    output.float().sum().backward() if list(module.parameters()) else None
    assert (output - expected).abs().max() < 0.03 * expected.abs().max()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@every
def test_bfloat16_maps_are_close_to_float32_ones(variant):
    """In a pyramid under autocast the maps are in bfloat16 too."""
    torch.manual_seed(0)
    module, maps = build(variant, 16).eval(), [x.bfloat16() for x in given(variant, 2, 16, 5, 7)]
    expected = module(*(x.float() for x in maps))
    with torch.autocast("cpu", torch.bfloat16):
        output = module(*maps)
    assert (output - expected).abs().max() < 0.02 * expected.abs().max()


def test_a_guided_interpolator_asks_for_its_guide():
    x = torch.randn(2, 8, 3, 4)
    for name in (name for name in INTERPOLATORS if INTERPOLATORS[name].guided):
        module = build_interpolator(name, 8)
        with pytest.raises(ValueError, match=f"{name} upsamples a map only together with the finer lateral map: give"):
            module(x)
        for shape in [(2, 8, 4, 8), (2, 8, 6, 9), (2, 8, 7, 8), (1, 8, 6, 8), (2, 4, 6, 8)]:
            with pytest.raises(ValueError, match=re.escape(f"{name} cannot guide a map of the shape (2, 8, 3, 4) by")):
                module(x, torch.randn(shape))
        for shape in [(2, 8, 6, 8), (2, 8, 5, 8), (2, 8, 6, 7), (2, 8, 5, 7)]:
            assert module(x, torch.randn(shape)).shape == (2, 8, 6, 8)


# --- those without learned weights, and the baselines ----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_resizing_is_that_of_torch(mode):
    module, x = build(mode, 3), torch.randn(2, 3, 5, 4)
    corners = {} if mode == "nearest" else {"align_corners": False}
    assert torch.equal(module(x), F.interpolate(x, scale_factor=2, mode=mode, **corners))
    assert parameters(module) == 0 and not module.state_dict()


def test_nearest_by_hand():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    rows = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert build("nearest", 1)(x)[0, 0].tolist() == rows


def test_bilinear_by_hand():
    x = torch.tensor([[[[0.0, 4.0]]]])
    assert build("bilinear", 1)(x)[0, 0].tolist() == [[0, 1, 3, 4]] * 2


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_five_convolutions_with_four_normalisations(mode):
    module = build(f"{mode}-5conv", 256)
    kinds = [type(m).__name__ for m in module]
    assert kinds == ["ResizeInterpolator", *["Conv2d", "BatchNorm2d"] * 4, "Conv2d"]
    assert module[0].mode == mode
    assert parameters(module) == pytest.approx(2.95e6, rel=0.005)  # three of them make 44 M into 53 M


def test_deconvolution():
    module = build("deconv", 256)
    deconv, conv = module
    assert (deconv.kernel_size, deconv.stride, deconv.padding, conv.kernel_size) == ((6, 6), (2, 2), (2, 2), (3, 3))
    assert parameters(module) == pytest.approx(2.95e6, rel=0.005)


def test_unknown_names_and_options_are_refused():
    with pytest.raises(ValueError, match=r"'lanczos'.*choose one of .*nearest, bilinear"):
        build_interpolator("lanczos", 4)
    with pytest.raises(ValueError, match=r"'deconv' has no option blocks"):
        build_interpolator("deconv", 4, blocks="rdb")
    with pytest.raises(ValueError, match=r"'afi' has no option depth"):
        build_interpolator("afi", 4, blocks="rdb", depth=3)
    with pytest.raises(ValueError, match=r"'rrdb'.*rdb or rb"):
        build_interpolator("afi", 4, blocks="rrdb")


# --- G ---------------------------------------------------------------------------------------------------------------


def test_parameters_at_paper_scale():
    assert parameters(AFInterpolator(256)) == 7_834_624


@pytest.mark.parametrize("channels", [16, 32, 64, 128, 256])
def test_residual_blocks_cost_what_dense_blocks_cost(channels):
    dense, plain = (parameters(AFInterpolator(channels, blocks)) for blocks in ("rdb", "rb"))
    assert plain == pytest.approx(dense, rel=0.02)
    assert len(AFInterpolator(channels, "rdb").blocks) == 3 and len(AFInterpolator(channels, "rb").blocks) == 5


@generators
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels", [8, 64, 256])
def test_it_starts_near_bilinear(blocks, channels, training):
    torch.manual_seed(0)
    module, x = AFInterpolator(channels, blocks).train(training), torch.randn(2, channels, 10, 12)
    bilinear = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    with torch.no_grad():
        correction = module(x) - bilinear
    assert 0 < correction.std() < 0.02 * bilinear.std()


def test_initial_weights_are_a_tenth_of_kaimings():
    torch.manual_seed(0)
    module = AFInterpolator(64)
    for name, value in module.named_parameters():
        if name.endswith("bias"):
            assert not value.any(), name
        else:
            fan_in = value[0].numel()
            assert value.std().item() == pytest.approx(0.1 * (2 / fan_in) ** 0.5, rel=0.05), name


def test_dense_blocks_have_no_bias():
    names = [name for name, _ in AFInterpolator(4).named_parameters() if name.endswith("bias")]
    assert names == ["head.bias", "conv.bias", "deconv.bias", "tail.bias"]


def trained(channels):
    """Return G with weights that are not those of the start."""
    module = AFInterpolator(channels)
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return module


def test_it_is_the_formula_of_section_3_1():
    torch.manual_seed(0)
    module, x = trained(6), torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(module(x), formula_of_g(module.state_dict(), x, x, blocks=3), rtol=1e-4, atol=1e-4)


def test_state_dict_keys_of_ours():
    """Existing files have them."""
    plain = [f"{name}.{kind}" for name in ("conv", "deconv", "tail") for kind in ("weight", "bias")]
    dense = [f"blocks.{b}.convs.{k}.weight" for b in range(3) for k in range(5)]
    assert list(AFInterpolator(4).state_dict()) == ["head.weight", "head.bias", *dense, *plain]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    block = ["0.weight", *(f"1.{n}" for n in norm), "3.weight", *(f"4.{n}" for n in norm)]
    residual = [f"blocks.{b}.{name}" for b in range(5) for name in block]
    assert list(AFInterpolator(4, "rb").state_dict()) == ["head.weight", "head.bias", *residual, *plain]


# --- the weights that the authors released ---------------------------------------------------------------------------


def released(state, prefix=""):
    """Convert our state dict to the layout of the authors' released weights."""
    names = {"head": "0.0", "conv": "2.0", "deconv": "3.0", "tail": "4.0"}
    renamed = {}
    for name, value in state.items():
        if dense := re.fullmatch(r"blocks\.(\d)\.convs\.(\d)\.weight", name):
            number = int(dense[2]) + 1
            name = f"1.RDBs.{dense[1]}.conv{number}{'' if number == 5 else '.0'}.weight"
        else:
            layer, kind = name.split(".")
            name = f"{names[layer]}.{kind}"
        renamed[f"{prefix}Generators.0.{name}"] = value
    return renamed


@pytest.mark.parametrize("prefix", ["", "backbone.srf_module."])
def test_released_weights_fit(prefix):
    torch.manual_seed(0)
    module, other = trained(4), AFInterpolator(4)
    file = released(module.state_dict(), prefix)
    assert f"{prefix}Generators.0.1.RDBs.2.conv4.0.weight" in file and f"{prefix}Generators.0.4.0.bias" in file
    assert len(file) == len(module.state_dict())
    if prefix:  # a detector's other entries are not G's
        file |= {"backbone.fpn_lateral2.weight": torch.zeros(1), "roi_heads.box_head.fc1.bias": torch.zeros(1)}
    other.load_state_dict(convert_released(file))
    x = torch.randn(1, 4, 3, 3)
    assert torch.equal(other(x), module(x))


@pytest.mark.parametrize(
    "name",
    ["Generators.0.5.0.weight", "Generators.0.1.RDBs.3.conv1.0.weight", "backbone.srf_module.Generators.0.1.0.weight"],
)
def test_released_entries_that_are_not_known_are_refused(name):
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        convert_released(released(AFInterpolator(4).state_dict()) | {name: torch.zeros(1)})


def test_a_file_without_g_is_refused():
    with pytest.raises(ValueError, match="no AF interpolator in this file"):
        convert_released({"backbone.fpn_lateral2.weight": torch.zeros(1)})
