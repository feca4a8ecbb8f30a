"""Measure the training loader on a split of COCO's size: memory of each further process, time to the first batch.

The memory of one more process is the sum of all shares (PSS) with n + 1 processes minus that with n, once each has
loaded many images: a page of only one process counts in full, a page that all share counts once.
"""

import argparse
import os
import resource
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WORKERS = (1, 2, 4)
BATCH = 16


def measure(split: Path, images: int, plain: bool) -> None:
    """Print one line for each number of processes; `plain`: with a list of Python objects in place of the buffer."""
    start = time.monotonic()
    from usage import memory, tree

    import afigan  # noqa: F401 - before detectron2
    from afigan.data.loader import TrainingSet, batches
    from afigan.data.split import read_split
    from afigan.params.schema import Input, Schedule

    imported = time.monotonic()
    split = split.resolve()
    os.chdir(split.parents[2])  # the paths of its images are relative to this folder
    values = read_split(split)
    if plain:
        values["images"] = list(values["images"])
    inputs = Input(short_sides=[96], max_side=192, test_short_side=96)
    data = TrainingSet(values, inputs, "BGR", seed=0)
    ready = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    alone = memory(os.getpid())["Pss"]
    line = f"import {imported - start:.1f} s, read {ready - imported:.1f} s, of processor {time.process_time():.1f} s; "
    print(f"{line}{alone:.0f} MiB, at most {peak:.0f} MiB", flush=True)
    before = None
    for workers in WORKERS:
        schedule = Schedule(iterations=images * workers // BATCH, batch_size=BATCH, lr=0.1, workers=workers)
        start = time.monotonic()
        loader = batches(data, schedule, 0)
        next(loader)
        first = time.monotonic() - start
        for _ in range(schedule.iterations - 2):
            next(loader)
        seconds = time.monotonic() - start
        held = [memory(process) for process in tree(os.getpid())]
        total, private = sum(m["Pss"] for m in held), max(m["Private"] for m in held[1:])
        line = f"{workers} processes: first batch {first:.1f} s, {schedule.iterations * BATCH / seconds:.0f} images/s, "
        line += f"{total:.0f} MiB in all, up to {private:.0f} MiB of its own in one"
        if before is not None:
            line += f", +{(total - before[1]) / (workers - before[0]):.0f} MiB a process"
        print(line, flush=True)
        before = workers, total
        del loader


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path, help="data/prepared/train.json that benchmarks/prepare.py --out wrote")
    parser.add_argument("--images", type=int, default=8000, help="images per process (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="use Python objects, for comparison")
    arguments = parser.parse_args()
    measure(arguments.split, arguments.images, arguments.plain)
