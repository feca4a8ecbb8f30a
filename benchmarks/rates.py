"""Measure the processor time that the loaders of stages 1 to 3 take for an image, at the sizes of the profile `paper`.

    python benchmarks/rates.py runs/benchmarks/slice --images 1000
    python benchmarks/rates.py runs/benchmarks/slice --images all    # a whole epoch of each stage

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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

BATCH = 2  # images of a GPU's iteration
# seconds of an iteration on an H200 in bfloat16; the better of the two memory orders
GPU_SECONDS = {"train_afigan": 0.114, "train_extractor": 0.126, "train_detector": 0.084}
STAGES = tuple(GPU_SECONDS)


SAMPLE = 100  # iterations between two looks at the memory


@dataclass(frozen=True)
class Rate:
    """Seconds an image, or a pair: processor time of the loading process and of the training's, and wall time.

    `images` were loaded. `growth`: MiB that the processes' own memory has grown by since the first hundred iterations.
    """

    loading: float
    receiving: float
    wall: float
    images: int
    growth: float


def workers(rate: Rate, seconds: float) -> int:
    """Return the processes that load as fast as a GPU takes a batch in so many seconds."""
    return math.ceil(rate.loading * BATCH / seconds)


def measure(
    folder: Path, images: int | None, inputs: Any, stages: Iterable[str] = STAGES
) -> Iterator[tuple[str, Rate]]:
    """Load `images` images for each stage, in one process beside this one, and yield the stage's rate.

    Args:
        folder: its data/ has train.json and the pairs of the same images.
        images: None for an epoch, which is all images of the stage.
        inputs: params.yaml's `input`.
        stages: of STAGES.
    """
    import afigan  # noqa: F401 - before detectron2
    from afigan.data.loader import TrainingSet
    from afigan.data.pairs import PairReader
    from afigan.data.split import read_split

    os.chdir(folder)  # the paths of the images are relative to it
    split, reader = read_split("data/prepared/train.json"), PairReader("data/pairs/bilinear")
    sources: dict[str, dict[str, Any]] = {
        "train_afigan": {"pairs": reader, "annotated": False},
        "train_extractor": {"pairs": reader},
        "train_detector": {},
    }
    for stage in stages:
        data = TrainingSet(split, inputs, "BGR", 0, **sources[stage])
        yield stage, _rate(data, images or data.epoch)


def _rate(data: Any, images: int) -> Rate:
    from usage import memory, tree

    from afigan.data.loader import batches
    from afigan.params.schema import Schedule

    schedule = Schedule(iterations=math.ceil(images / BATCH), batch_size=BATCH, lr=0.1, workers=1)
    seen, private = 0, []
    wall, own, theirs = time.monotonic(), time.process_time(), _children()
    for iteration, batch in enumerate(batches(data, schedule, 0), 1):
        seen += len(batch)
        if iteration % SAMPLE == 0:
            private.append(sum(memory(process)["Private"] for process in tree(os.getpid())))
    # the processes have ended when the loop has
    wall, own, theirs = time.monotonic() - wall, time.process_time() - own, _children() - theirs
    return Rate(theirs / seen, own / seen, wall / seen, seen, private[-1] - private[0] if private else 0.0)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    from afigan.params.loading import compose
    from afigan.params.schema import Input

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of benchmarks/pairs_killed.py --out")
    parser.add_argument("--images", default="1000", metavar="N", help="of each stage, or `all` (default: %(default)s)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="default: all three")
    arguments = parser.parse_args()
    inputs = Input(**json.loads(json.dumps(compose("paper", ROOT / "conf")["input"])))
    images = None if arguments.images == "all" else int(arguments.images)
    for stage, rate in measure(arguments.folder, images, inputs, arguments.stages):
        core, taken = 1 / rate.loading, BATCH / GPU_SECONDS[stage]
        line = f"{stage}: {rate.images:,} images in {rate.images * rate.wall:.0f} s, {1000 * rate.loading:.1f} ms of "
        line += f"processor time an image, {core:.0f} images/s a core ({1000 * rate.receiving:.1f} ms more in the "
        line += f"training's process), memory grew by {rate.growth:.0f} MiB; a GPU takes {taken:.0f} images/s"
        print(f"{line}; processes that keep up: {workers(rate, GPU_SECONDS[stage])}", flush=True)


if __name__ == "__main__":
    main()
