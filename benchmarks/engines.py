"""Time `dvc status`, `snakemake -n` and `make status` for the profile `paper`, without and with all outputs.

The outputs are stand-ins of a few bytes, because both engines go by size and time of change. Both run in a clone of the
last commit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from usage import Usage, run

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
QUESTIONS = {"dvc status": ["dvc", "status"], "snakemake -n": ["snakemake", "-n", "-q"]}
# the program of `make status`, whose own PATH begins with the checkout's environment
STATUS = {"make status": [sys.executable, "workflow/scripts/status.py"]}


def measure(data: Path) -> dict[str, Usage]:
    """Measure both engines; `data` is a folder of `coco_sized.py`, or COCO itself."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="afigan-engines-") as name:
        clone = Path(name) / "clone"
        os.environ["PYTHONPYCACHEPREFIX"] = f"{name}/bytecode"  # without bytecode, imports take most of the time
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        (clone / "datasets").mkdir()
        (clone / "datasets/coco").symlink_to(data.resolve())
        run([sys.executable, "workflow/scripts/compose.py", "--profile", "paper"], clone)
        for state in ("no outputs", "all outputs"):
            if state == "all outputs":
                make_everything(clone)
            for question, command in (QUESTIONS | STATUS).items():
                run(command, clone)  # to have bytecode, and DVC's hashes of the annotation files
                found[f"{question}, {state}"] = run(command, clone)
        check(clone)
    return found


def make_everything(clone: Path) -> None:
    """Write a stand-in for every output, and both engines' records of it."""
    from dvc.repo import Repo

    from afigan.params.lineage import Lineage
    from afigan.params.loading import load_params

    params = load_params(clone / "params.yaml")
    lineage = Lineage(params)
    with Repo(str(clone)) as repo:
        outs = [Path(out.fs_path) for stage in repo.index.stages for out in stage.outs]
    for path in outs:
        if not path.suffix:
            path.mkdir(parents=True)
            path /= "index.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"stand-in": str(path.relative_to(clone))}
        if path.name == "config.json":
            node = path.parent.relative_to(clone / "models").as_posix()
            content["params_hash"] = lineage[node].params_hash
        path.write_text(json.dumps(content))
    run(["snakemake", "--touch", "--forceall", "--cores", "1"], clone)
    run(["dvc", "commit", "--force", "--no-relink"], clone)


def check(clone: Path) -> None:
    """Check that both engines find every output; otherwise the stand-ins do not work."""
    answers = [subprocess.run(command, cwd=clone, capture_output=True, text=True) for command in QUESTIONS.values()]
    status, dry_run = (answer.stdout + answer.stderr for answer in answers)
    assert "up to date" in status, status
    assert "Nothing to be done" in dry_run or "job" not in dry_run.split("DAG of jobs")[-1], dry_run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a folder of benchmarks/coco_sized.py")
    for question, usage in measure(parser.parse_args().data).items():
        print(f"{question}: {usage.wall:.1f} s, of processor {usage.cpu:.1f} s, {usage.memory:.0f} MiB", flush=True)
