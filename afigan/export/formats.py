"""Files of an interpolator for other programs: ONNX, a torch program, or its weights; any batch, height and width."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from afigan.export.source import Trained, load_interpolator
from afigan.runtime.files import atomic_path

TOLERANCE = 1e-4  # largest difference from torch, of values of order 1
SIZES = ((1, 1, 1), (2, 5, 8), (3, 17, 12))  # N, H, W that a program is checked at
EXAMPLE = (2, 6, 7)  # of the tracing; no size of it is special
INPUTS, OUTPUT = ("features", "guide"), "upsampled"


def write_onnx(interpolator: Trained, path: Path) -> None:
    """Write an ONNX model with input `features` (N, C, H, W) and output `upsampled` (N, C, 2H, 2W), any N, H, W >= 1.

    A guided interpolator has a second input, `guide` (N, C, 2H, 2W), the finer lateral map. onnxruntime runs the model
    at three sizes before the file gets its name.

    Raises:
        ValueError: the interpolator cannot be exported, or onnxruntime's result differs from torch's.
    """
    import onnxruntime

    example, sizes = _example(interpolator)
    with _exporting(interpolator):
        exported = torch.onnx.export(
            interpolator.module,
            example,
            dynamo=True,
            dynamic_shapes=sizes,
            input_names=list(INPUTS[: len(example)]),
            output_names=[OUTPUT],
            verbose=False,
        )
    assert exported is not None
    exported.model.metadata_props.update(description(interpolator))
    with atomic_path(path) as temporary:
        exported.save(temporary, external_data=False)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])

        def run(*given: Tensor) -> Tensor:
            named = {name: value.numpy() for name, value in zip(INPUTS, given, strict=False)}
            return torch.from_numpy(session.run([OUTPUT], named)[0])

        check(run, interpolator, "onnxruntime")


def write_torch(interpolator: Trained, path: Path) -> None:
    """Write a program for `torch.export.load(path).module()`, which needs no code of this project.

    The loaded program runs at three sizes before the file gets its name.

    Raises:
        ValueError: the interpolator cannot be exported, or the loaded program's result differs.
    """
    example, sizes = _example(interpolator)
    with _exporting(interpolator):
        program = torch.export.export(interpolator.module, example, dynamic_shapes=sizes)
    with atomic_path(path) as temporary, _quiet():
        torch.export.save(program, temporary)
        check(torch.export.load(temporary).module(), interpolator, "the loaded program")


def write_safetensors(interpolator: Trained, path: Path) -> None:
    """Write the state dict of `build_interpolator(name, channels, **options)`; the metadata has these arguments.

    Raises:
        ValueError: the interpolator has no weights.
    """
    from safetensors.torch import save

    if not interpolator.learned:
        raise ValueError(
            f"{interpolator.name} has no weights to write: build it with build_interpolator({interpolator.name!r}, "
            f"{interpolator.channels})"
        )
    weights = {name: value.contiguous() for name, value in interpolator.module.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(weights, description(interpolator)))


FORMATS: dict[str, tuple[str, Callable[[Trained, Path], None]]] = {
    "onnx": (".onnx", write_onnx),
    "torch": (".pt2", write_torch),
    "safetensors": (".safetensors", write_safetensors),
}


def export_interpolator(
    model: str | Path, out: str | Path | None = None, format: str = "onnx", place: int | None = None
) -> Path:
    """Write the interpolator of a trained model as a file for other programs, and return the file's path.

    Args:
        model: a folder, or a name in `models/`, as in `afigan/main`.
        out: the file; None: a name like `afigan-main.onnx`, in the current folder.
        format: one of `FORMATS`.
        place: as in `load_interpolator`.

    Raises:
        ValueError: the model, the place, the format or the file's suffix is not possible, or the file fails its check.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    suffix, write = FORMATS[format]
    if out is not None and Path(out).suffix != suffix:
        raise ValueError(f"{out}: the name of a file of format {format} ends with {suffix}")
    interpolator = load_interpolator(model, place)
    name = interpolator.source.replace("/", "-") + ("" if place is None else f"-{place}") + suffix
    path = Path(out or name)
    write(interpolator, path)
    return path


def description(interpolator: Trained) -> dict[str, str]:
    """Return the metadata of a file: the arguments of `build_interpolator`, and the model that the weights are from."""
    return {
        "interpolator": interpolator.name,
        "channels": str(interpolator.channels),
        "options": json.dumps(interpolator.options),
        "source": interpolator.source,
    }


def check(run: Callable[..., Tensor], interpolator: Trained, who: str) -> None:
    """Compare another program's results, of one input or of a map and its guide, with those of torch at three sizes.

    Raises:
        ValueError: a shape or a value differs.
    """
    generator = torch.Generator().manual_seed(0)
    for n, height, width in SIZES:
        shapes = _shapes(interpolator, n, height, width)
        given = [torch.randn(shape, generator=generator) for shape in shapes]
        with torch.no_grad():
            expected, found = interpolator.module(*given), run(*given)
        scale = max(1.0, float(expected.abs().max()))
        if found.shape != expected.shape or not (found - expected).abs().max() <= TOLERANCE * scale:
            raise ValueError(
                f"{who} does not compute what torch computes for {interpolator.name} at N, H, W = {n}, {height}, "
                f"{width}: no file is written. Please report it with the versions of torch, onnx and onnxruntime"
            )


def _shapes(interpolator: Trained, n: int, height: int, width: int) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs: of a map (N, C, H, W), and of its guide if the interpolator needs one."""
    shapes: list[tuple[int, ...]] = [
        (n, interpolator.channels, height, width),
        (n, interpolator.channels, 2 * height, 2 * width),
    ]
    return shapes if interpolator.guided else shapes[:1]


def _example(interpolator: Trained) -> tuple[tuple[Tensor, ...], tuple[dict[int, Any], ...]]:
    """Return example inputs, and which of their sizes are free."""
    example = tuple(torch.zeros(shape) for shape in _shapes(interpolator, *EXAMPLE))
    n, height, width = Dim("N", min=1), Dim("H", min=1), Dim("W", min=1)
    free = {0: n, 2: height, 3: width}, {0: n, 2: 2 * height, 3: 2 * width}
    return example, free[: len(example)]


@contextmanager
def _exporting(interpolator: Trained) -> Iterator[None]:
    """Silence torch's warnings about its own exporters, and say what cannot be exported."""
    try:
        with _quiet():
            yield
    except Exception as error:  # torch's errors of tracing have many types
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"torch cannot export {interpolator.name} for any size: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's warnings about its own exporters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
