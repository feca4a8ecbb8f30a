"""Parameters and time per image (SPEC 7; claim C8)."""

import platform
import statistics
import time
from pathlib import Path

import torch

from afigan.data.loader import read_split
from afigan.evaluation.coco import test_input
from afigan.files import write_json
from afigan.lineage import fingerprint
from afigan.schema import Params
from afigan.training.models import load_detector
from afigan.training.stage import PREPARED, choose_device, seed_everything

BENCHMARK = Path("results/benchmark")
WARM_UP, RUNS = 5, 30


def benchmark(params: Params, key: str) -> None:
    """Time evaluation `key`'s model on validation images, batch 1, and write `results/benchmark/KEY.json`.

    The time is of the detector's forward pass with its post-processing, reading the image left out: the median of 30
    images after 5 that do not count.

    Raises:
        ValueError: the model or the data are missing or do not fit.
    """
    seed_everything(params)
    device = choose_device(params)
    node = params.experiments.evaluations[key].model
    detector = load_detector(node, device)
    images = read_split(PREPARED / "val.json")["images"]
    times = []
    with torch.no_grad():
        for run in range(WARM_UP + RUNS):
            item = test_input(images[run % len(images)], params.input, params.model.pixel_format)
            begin = time.perf_counter()
            detector([item])
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - begin))
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    write_json(
        BENCHMARK / f"{key}.json",
        {
            "key": key,
            "model": node,
            "params_hash": fingerprint(params, f"evaluations/{key}"),
            "device": name,
            "threads": params.threads,
            "params_M": sum(p.numel() for p in detector.parameters()) / 1e6,
            "time_ms": statistics.median(times[WARM_UP:]),
        },
    )
