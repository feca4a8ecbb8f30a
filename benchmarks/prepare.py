"""Measure time and memory of the script of the stage `prepare` on a data set of COCO's size."""

import argparse
import sys
import tempfile
from pathlib import Path

from usage import Usage, run

ROOT = Path(__file__).resolve().parents[1]


def measure(data: Path, out: Path) -> Usage:
    """Run the script in the folder `out`, which keeps data/prepared, on the folder `data` of `coco_sized.py`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "datasets").mkdir(exist_ok=True)
    (out / "datasets/coco").unlink(missing_ok=True)
    (out / "datasets/coco").symlink_to(data.resolve())
    scripts, params = ROOT / "workflow/scripts", out / "params.yaml"
    run([sys.executable, f"{scripts}/compose.py", "--profile=paper", f"--conf={ROOT}/conf", f"-o={params}"], out)
    return run([sys.executable, f"{scripts}/prepare.py"], out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a folder of benchmarks/coco_sized.py")
    parser.add_argument("--out", type=Path, help="where to keep the prepared data")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="afigan-prepare-") as temporary:
        usage = measure(arguments.data, arguments.out or Path(temporary))
    print(f"prepare: {usage.wall:.0f} s, of processor {usage.cpu:.0f} s; peak memory {usage.memory / 1024:.2f} GiB")
