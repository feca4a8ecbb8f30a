"""Reader of results/benchmark.json: time per image on one device, refused if it belongs to other parameters."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from afigan.outputs.currency import REDO, check_hash
from afigan.reporting.metrics import get

INTERPOLATIONS = ("nearest", "afi")


@dataclass(frozen=True)
class PaperSize:
    """The paper's Mask R-CNN with `nearest` and with `afi` interpolation, timed in turns on one image.

    Args:
        channels: C.
        height, width: of the image, in pixels.
        params_M: millions of parameters, by interpolation.
        time_ms: the median milliseconds per image, by interpolation.
    """

    channels: int
    height: int
    width: int
    params_M: dict[str, float]
    time_ms: dict[str, float]


@dataclass(frozen=True)
class Benchmark:
    """Evaluation -> ms per image at batch 1, the median of `runs` images, on a `device` with `threads` CPU threads.

    `paper_size` is None if it has not been measured. `params_K` and `multiply_adds_M` are those of the upsampling:
    thousands of parameters, and millions of multiply-adds for one image. Files of earlier versions have neither.
    """

    device: str
    threads: int
    runs: int
    time_ms: dict[str, float]
    paper_size: PaperSize | None = None
    params_K: dict[str, float] = field(default_factory=dict)
    multiply_adds_M: dict[str, float] = field(default_factory=dict)

    @property
    def setting(self) -> str:
        return f"median of {self.runs} images after a warm-up, batch 1, {self.device}, CPU threads: {self.threads}"


def read_benchmark(path: Path, hashes: dict[str, str]) -> Benchmark | None:
    """Read `path`; return None if it does not exist, because nothing has been timed.

    hashes: evaluation -> its current params hash.
    Raises ValueError, which names the file and what to do, if the file is malformed or a row's hash is not current.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
        rows = get(content, "rows", dict)
        times = {key: _positive(row, "time_ms") for key, row in rows.items()}
        found = {key: get(row, "params_hash", str) for key, row in rows.items()}
        upsampling = {key: get(row, "upsampling", dict) for key, row in rows.items() if "upsampling" in row}
        benchmark = Benchmark(
            device=get(content, "device", str),
            threads=get(content, "threads", int),
            runs=get(content, "runs", int),
            time_ms=times,
            paper_size=_paper_size(content.get("paper_size")),
            params_K={key: get(counts, "params", int) / 1e3 for key, counts in upsampling.items()},
            multiply_adds_M={key: get(counts, "multiply_adds", int) / 1e6 for key, counts in upsampling.items()},
        )
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"{path} is not a benchmark: {error}; delete it and {REDO}") from error
    for key, value in found.items():
        if key not in hashes:
            raise ValueError(f"{path} has a row '{key}', which is not in experiments.evaluations; {REDO}")
        check_hash(path, value, hashes[key])
    return benchmark


def _paper_size(content: Any) -> PaperSize | None:
    if content is None:
        return None
    params, times = get(content, "params_M", dict), get(content, "time_ms", dict)
    return PaperSize(
        channels=get(content, "channels", int),
        height=get(content, "height", int),
        width=get(content, "width", int),
        params_M={name: _positive(params, name) for name in INTERPOLATIONS},
        time_ms={name: _positive(times, name) for name in INTERPOLATIONS},
    )


def _positive(row: Any, name: str) -> float:
    value = get(row, name, int | float)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"'{name}' is {value!r}, not a positive number")
    return float(value)
