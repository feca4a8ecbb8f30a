"""Parameters and time per image (SPEC 7; claim C8)."""

import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from afigan.data.split import PREPARED, read_split
from afigan.evaluation.predict import Predictor
from afigan.files import write_json
from afigan.lineage import fingerprint
from afigan.schema import Params
from afigan.training.device import choose_device

BENCHMARK = Path("results/benchmark.json")


def benchmark(params: Params) -> None:
    """Time every evaluation's detector, one after the other in one process, and write `results/benchmark.json`.

    The time is of the detector's forward pass with its post-processing on one validation image, reading the image left
    out: the median of `benchmark.runs` after `benchmark.warm_up` that do not count.

    Raises:
        ValueError: a model or the data are missing or do not fit.
    """
    rows, device = {}, choose_device(params)
    images = read_split(PREPARED / "val.json")["images"]
    for key in params.experiments.evaluations:
        rows[key] = {"params_hash": fingerprint(params, f"evaluations/{key}"), **measure(params, key, images)}
    name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    about = {"device": name, "threads": params.threads, "runs": params.benchmark.runs}
    write_json(BENCHMARK, {**about, "rows": rows})


def measure(params: Params, key: str, images: list[dict[str, Any]]) -> dict[str, Any]:
    """The model of an evaluation, its parameters in millions and its milliseconds an image."""
    item = params.experiments.evaluations[key]
    predictor = Predictor(params, item.model, item.multi_scale)
    batches = [[predictor.read(image)] for image in images[: params.benchmark.runs]]
    times = []
    with torch.no_grad():
        for run in range(params.benchmark.warm_up + params.benchmark.runs):
            begin = time.perf_counter()
            predictor.detector(batches[run % len(batches)])
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - begin))
    median = statistics.median(times[params.benchmark.warm_up :])
    return {"model": item.model, "params_M": predictor.parameters / 1e6, "time_ms": median}


def processor() -> str:
    """The processor's name; `platform` knows it on few systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
