"""Exported interpolators compute in onnxruntime and in torch alone what they compute here, at any size."""

import json
import os

import alone
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from afigan.export.formats import FORMATS, check, export_interpolator, write_onnx, write_safetensors, write_torch
from afigan.export.source import Trained, load_interpolator
from afigan.interpolators import INTERPOLATORS, build_interpolator
from afigan.outputs.find import find_model

C = 8
VARIANTS = [(name, {}) for name in INTERPOLATORS] + [("afi", {"blocks": "rb"})]
every = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=lambda value: str(value))
# none of them is a size of the checks before a file gets its name
SHAPES = [(1, C, 1, 9), (4, C, 3, 1), (1, C, 23, 31)]


def trained(name, channels=C, **options):
    """Return an interpolator whose batch normalisations have statistics of their own."""
    torch.manual_seed(1)
    module = build_interpolator(name, channels, **options)
    interpolator = Trained(module, name, channels, options, "afigan/test", INTERPOLATORS[name].guided)
    module(*inputs(interpolator, (4, channels, 6, 6)))
    for p in module.parameters():  # some layers are zero at the start, and would hide what is before them
        torch.nn.init.normal_(p, std=0.1)
    module.eval().requires_grad_(False)
    return interpolator


def inputs(interpolator, shape):
    """Return a map of a shape, and the finer map if the interpolator needs it."""
    n, c, height, width = shape
    shapes = [shape, (n, c, 2 * height, 2 * width)] if interpolator.guided else [shape]
    return [torch.randn(one) + 1 for one in shapes]


def unless_torch_cannot(*names):
    """Expect a failure of these interpolators under torch 2.8, whose exporter refuses them."""
    old = torch.__version__.startswith("2.8.")
    marks = pytest.mark.xfail(old, reason="torch 2.8 cannot export it", raises=ValueError, strict=True)
    return pytest.mark.parametrize(
        ("name", "options"), [pytest.param(*one, marks=marks) if one[0] in names else one for one in VARIANTS], ids=str
    )


@unless_torch_cannot("fade")
def test_onnxruntime_computes_the_same_at_any_size(tmp_path, name, options):
    interpolator = trained(name, **options)
    write_onnx(interpolator, tmp_path / "g.onnx")
    assert os.listdir(tmp_path) == ["g.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    given, (result,) = session.get_inputs(), session.get_outputs()
    names = [one.name for one in given]
    assert (names, result.name) == (["features", "guide"] if interpolator.guided else ["features"], "upsampled")
    assert given[0].shape == ["N", C, "H", "W"]
    for shape in SHAPES:
        x = inputs(interpolator, shape)
        found = session.run(None, {name: value.numpy() for name, value in zip(names, x, strict=True)})[0]
        np.testing.assert_allclose(found, interpolator.module(*x).numpy(), rtol=0, atol=1e-5)
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "g.onnx").metadata_props}
    assert metadata["interpolator"] == name and json.loads(metadata["options"]) == options


@unless_torch_cannot("bicubic", "bicubic-5conv")
def test_a_program_computes_the_same_at_any_size(tmp_path, name, options):
    interpolator = trained(name, **options)
    write_torch(interpolator, tmp_path / "g.pt2")
    program = torch.export.load(tmp_path / "g.pt2").module()
    for shape in SHAPES:
        x = inputs(interpolator, shape)
        torch.testing.assert_close(program(*x), interpolator.module(*x), rtol=0, atol=1e-6)


def test_a_program_needs_torch_alone(tmp_path):
    interpolator = trained("afi")
    write_torch(interpolator, tmp_path / "g.pt2")
    x = torch.randn(1, C, 3, 5)
    torch.save((x, interpolator.module(x)), tmp_path / "pair.pt")
    code = """
        import sys, torch
        x, expected = torch.load("pair.pt")
        torch.testing.assert_close(torch.export.load("g.pt2").module()(x), expected)
        assert "afigan" not in sys.modules
    """
    done = alone.run(code, "torch", root=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@every
def test_safetensors_have_the_weights_and_what_to_build(tmp_path, name, options):
    interpolator = trained(name, **options)
    path = tmp_path / "g.safetensors"
    if not interpolator.learned:
        with pytest.raises(ValueError, match=rf"{name} has no weights.*build_interpolator\('{name}', {C}\)"):
            write_safetensors(interpolator, path)
        assert not path.exists()
        return
    write_safetensors(interpolator, path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    module = build_interpolator(
        metadata["interpolator"], int(metadata["channels"]), **json.loads(metadata["options"])
    ).eval()
    module.load_state_dict(load_file(path))
    x = inputs(interpolator, SHAPES[0])
    assert torch.equal(module(*x), interpolator.module(*x))


def test_nothing_is_written_when_another_program_disagrees(tmp_path, monkeypatch):
    interpolator = trained("deconv")
    real = onnxruntime.InferenceSession

    class Wrong:
        def __init__(self, *arguments, **options):
            self.session = real(*arguments, **options)

        def run(self, names, values):
            return [self.session.run(names, values)[0] + 2e-4]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
    with pytest.raises(
        ValueError, match="onnxruntime does not compute what torch computes for deconv at N, H, W = 1, 1"
    ):
        write_onnx(interpolator, tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [lambda x: x[:, :, :-1], lambda x: x + 1e-3, lambda x: x * float("nan")])
def test_another_shape_or_value_is_a_difference(wrong):
    interpolator = trained("bilinear")
    check(interpolator.module, interpolator, "the same")
    with pytest.raises(ValueError, match="another does not compute"):
        check(lambda x: wrong(interpolator.module(x)), interpolator, "another")


def test_a_module_that_is_not_for_any_size_says_so(tmp_path):
    class Six(torch.nn.Module):
        def forward(self, x):
            return x if x.shape[2] == 6 else x.flip(2)

    with pytest.raises(ValueError, match="torch cannot export six for any size: "):
        write_torch(Trained(Six(), "six", C, {}, "afigan/test"), tmp_path / "g.pt2")
    assert not list(tmp_path.iterdir())


# --- from the folders of models --------------------------------------------------------------------------------------


def folder(path, config, weights):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"node": "/".join(path.parts[-2:]), "params_hash": "x", **config}))
    save_file(weights, path / "model.safetensors")
    return path


def architecture(interpolator, **options):
    return {"architecture": {"interpolator": interpolator, "options": options, "model": {"channels": C}}}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Folders of models/ with weights of interpolators: G of stage 1, and those in detectors."""
    monkeypatch.chdir(tmp_path)
    found = {}
    g = found["afigan/rb"] = trained("afi", blocks="rb").module
    state = {f"interpolator.{name}": value for name, value in g.state_dict().items()}
    folder(
        tmp_path / "models/afigan/rb",
        {"channels": C, "interpolator": "afi", "options": {"blocks": "rb"}},
        state | {"discriminator.x": torch.ones(1)},
    )
    found["detectors/a5"] = trained("afi").module
    state = {f"backbone.upsample.0.{name}": value for name, value in found["detectors/a5"].state_dict().items()}
    folder(tmp_path / "models/detectors/a5", architecture("afi"), state)
    state = {"backbone.fpn_lateral2.weight": torch.ones(1)}
    folder(tmp_path / "models/detectors/a1", architecture("nearest"), state)
    for place in range(3):
        torch.manual_seed(place)
        module = found[f"detectors/deconv {place}"] = build_interpolator("deconv", C)
        state |= {f"backbone.upsample.{place}.{name}": value for name, value in module.state_dict().items()}
    folder(tmp_path / "models/detectors/deconv", architecture("deconv"), state)
    folder(tmp_path / "models/backbones/main", {}, {"stem.weight": torch.ones(1)})
    return found


@pytest.mark.parametrize("node", ["afigan/rb", "detectors/a5", "detectors/deconv 1", "detectors/a1"])
def test_the_interpolator_of_a_model(models, node):
    model, _, place = node.partition(" ")
    interpolator = load_interpolator(model, int(place) if place else None)
    expected = models.get(node) or build_interpolator("nearest", C)
    x = torch.randn(1, C, 3, 4)
    assert torch.equal(interpolator.module(x), expected.eval()(x))
    assert interpolator.source == model and not interpolator.module.training


def test_a_folder_that_was_copied_elsewhere(models, tmp_path, monkeypatch):
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere/afigan")
    for format, (suffix, _) in FORMATS.items():
        assert export_interpolator("rb", format=format).name == f"afigan-rb{suffix}"
    assert export_interpolator(tmp_path / "elsewhere/detectors/deconv", "d2.pt2", "torch", place=2).is_file()
    x = torch.randn(1, C, 3, 4)
    torch.testing.assert_close(torch.export.load("d2.pt2").module()(x), models["detectors/deconv 2"](x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"model": "detectors/a6"},
            "detectors/a6 is not the folder of a trained model .*has afigan/rb, back",
        ),
        ({"model": "backbones/main"}, "backbones/main has no interpolator"),
        ({"model": "detectors/deconv"}, r"3 interpolators with weights of their own.*0 \(from the coarsest map\) to 2"),
        ({"model": "detectors/deconv", "place": 3}, "has no place 3: choose 0"),
        ({"model": "afigan/rb", "place": 1}, "has no place 1"),
        ({"model": "afigan/rb", "format": "tflite"}, "unknown format 'tflite': choose one of onnx, torch, safetensors"),
        ({"model": "afigan/rb", "out": "g.pt"}, "g.pt: the name of a file of format onnx ends with .onnx"),
    ],
)
def test_errors(models, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_interpolator(**arguments)


def test_without_models_the_error_asks_for_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="give the path of a folder"):
        find_model("detectors/a5")


def test_exporting_needs_no_detector(models, tmp_path):
    """Neither detectron2 nor torchvision: whoever exports may have the interpolators alone."""
    code = """
        from afigan.export.formats import export_interpolator
        export_interpolator("afigan/rb", format="safetensors")
    """
    done = alone.run(code, "torch", "safetensors", "numpy", "pydantic", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "afigan-rb.safetensors").is_file()
