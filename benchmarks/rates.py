"""Measure the processor time that the loaders of stages 1 to 3 take for an image, at the sizes of the profile `paper`.

    python benchmarks/rates.py runs/benchmarks/slice --images 1000

The folder is that of `pairs_killed.py`. From the time and from the rate at which a GPU takes images follow the
processes that must load data beside it. The GPU's rates are those of docs/benchmarks.md.
"""

import argparse
import json
import math
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

BATCH = 2  # images of a GPU's iteration
# seconds of an iteration on an H200 in bfloat16; the better of the two memory orders
GPU_SECONDS = {"train_afigan": 0.114, "train_extractor": 0.126, "train_detector": 0.084}


@dataclass(frozen=True)
class Rate:
    """Seconds an image, or a pair: processor time of the loading process and of the training's, and wall time."""

    loading: float
    receiving: float
    wall: float


def workers(rate: Rate, seconds: float) -> int:
    """Return the processes that load as fast as a GPU takes a batch in so many seconds."""
    return math.ceil(rate.loading * BATCH / seconds)


def measure(folder: Path, images: int, inputs: Any) -> dict[str, Rate]:
    """Load `images` images for each stage, in one process beside this one.

    Args:
        folder: its data/ has train.json and the pairs of the same images.
        inputs: params.yaml's `input`.
    """
    import afigan  # noqa: F401 - before detectron2
    from afigan.data.loader import TrainingSet
    from afigan.data.pairs import PairReader
    from afigan.data.split import read_split

    os.chdir(folder)  # the paths of the images are relative to it
    split, reader = read_split("data/prepared/train.json"), PairReader("data/pairs/bilinear")
    return {
        "train_afigan": _rate(TrainingSet(split, inputs, "BGR", 0, reader, annotated=False), images),
        "train_extractor": _rate(TrainingSet(split, inputs, "BGR", 0, reader), images),
        "train_detector": _rate(TrainingSet(split, inputs, "BGR", 0), images),
    }


def _rate(data: Any, images: int) -> Rate:
    from afigan.data.loader import batches
    from afigan.params.schema import Schedule

    schedule = Schedule(iterations=images // BATCH, batch_size=BATCH, lr=0.1, workers=1)
    wall, own, theirs = time.monotonic(), time.process_time(), _children()
    seen = sum(len(batch) for batch in batches(data, schedule, 0))  # the processes have ended when the loop has
    wall, own, theirs = time.monotonic() - wall, time.process_time() - own, _children() - theirs
    return Rate(theirs / seen, own / seen, wall / seen)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    from afigan.params.loading import compose
    from afigan.params.schema import Input

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of benchmarks/pairs_killed.py --out")
    parser.add_argument("--images", type=int, default=1000, help="of each stage (default: %(default)s)")
    arguments = parser.parse_args()
    inputs = Input(**json.loads(json.dumps(compose("paper", ROOT / "conf")["input"])))
    for stage, rate in measure(arguments.folder, arguments.images, inputs).items():
        core, taken = 1 / rate.loading, BATCH / GPU_SECONDS[stage]
        line = f"{stage}: {1000 * rate.loading:.1f} ms of processor time an image, {core:.0f} images/s a core "
        line += f"({1000 * rate.receiving:.1f} ms more in the training's process); a GPU takes {taken:.0f} images/s"
        print(f"{line}; processes that keep up: {workers(rate, GPU_SECONDS[stage])}", flush=True)


if __name__ == "__main__":
    main()
