"""Kill the stage `pairs` in the middle and run it again; measure what the second run does, and check what it keeps.

    python benchmarks/pairs_killed.py runs/benchmarks/prepared --out runs/benchmarks/slice --images 20000

The folder is that of `prepare.py --out`. The stage is killed with SIGKILL as soon as half of its shards are complete.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from usage import Usage, run

ROOT = Path(__file__).resolve().parents[1]
STAGE = [sys.executable, str(ROOT / "workflow/scripts/pairs.py"), "--degradation", "bilinear"]


@dataclass(frozen=True)
class Resumed:
    """Shards in all, those complete when the stage was killed, and images and resources of the second run."""

    shards: int
    kept: int
    images: int
    usage: Usage


def write_slice(prepared: Path, out: Path, images: int) -> int:
    """Write `out` with the first images of a prepared training set and its parameters; return their number."""
    values = json.loads((prepared / "data/prepared/train.json").read_bytes())
    chosen = values["images"][:images] if images else values["images"]
    ids = {image["id"] for image in chosen}
    annotations = [item for item in values["annotations"] if item["image_id"] in ids]
    shutil.rmtree(out, ignore_errors=True)
    (out / "data/prepared").mkdir(parents=True)
    (out / "datasets").symlink_to((prepared / "datasets").resolve())
    part = values | {"images": chosen, "annotations": annotations}
    (out / "data/prepared/train.json").write_text(json.dumps(part), "utf-8")
    shutil.copy(prepared / "params.yaml", out)
    return len(chosen)


def configure(out: Path, **pairs: Any) -> int:
    """Change values of params.yaml's section `pairs`; return the size of a shard."""
    values = yaml.safe_load((out / "params.yaml").read_text("utf-8"))
    values["pairs"] |= pairs
    (out / "params.yaml").write_text(yaml.safe_dump(values), "utf-8")
    return int(values["pairs"]["shard_size"])


def measure(out: Path, images: int, shard_size: int) -> Resumed:
    """Run the stage in the folder of `write_slice`, kill it, run it again.

    Raises:
        RuntimeError: the stage was over before it could be killed, or the second run wrote a complete shard again.
    """
    shards = -(-images // shard_size)
    process = subprocess.Popen(STAGE, cwd=out, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(complete(out)) < max(1, shards // 2):
        if process.poll() is not None:
            raise RuntimeError(f"pairs has ended, with {process.returncode}, before it could be killed")
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2)  # until its processes have noticed
    kept = complete(out)
    usage = run(STAGE, out)
    folder = out / "data/pairs/bilinear"
    index = json.loads((folder / "index.json").read_bytes())
    assert len(index["images"]) == images
    for name, place in kept.items():
        if place != identity(folder / name):
            raise RuntimeError(f"{name} was complete, and the second run has written it again")
    return Resumed(shards, len(kept), images - len(kept) * shard_size, usage)


def complete(out: Path) -> dict[str, tuple[int, int]]:
    """Return the complete shards of an unfinished run: the file with a shard's places is written last."""
    tars = [path.with_suffix(".tar") for path in out.glob("runs/pairs/bilinear-*/shard-*.json")]
    return {path.name: identity(path) for path in tars}


def identity(path: Path) -> tuple[int, int]:
    """Return a file's number and time of change: another file of the same name has others."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path, help="the folder of benchmarks/prepare.py --out")
    parser.add_argument("--out", type=Path, required=True, help="where to keep the slice and its pairs; overwritten")
    parser.add_argument("--images", type=int, default=0, help="of the training set (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    count = write_slice(arguments.prepared, arguments.out, arguments.images)
    found = measure(arguments.out, count, configure(arguments.out, workers=arguments.workers))
    print(f"pairs: killed with {found.kept} of {found.shards} shards complete, which the second run has kept")
    used = found.usage
    line = f"the second run: {found.images} images in {used.wall:.0f} s, of processor {used.cpu:.0f} s"
    print(f"{line}: {1000 * used.cpu / found.images:.1f} ms an image")
