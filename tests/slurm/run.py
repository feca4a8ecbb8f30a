"""Run the smoke profile through a real Slurm, disturb it, compare its results with a local run: `make test-slurm`.

Four training jobs, of all three stages, are interrupted after their first checkpoint, each in a way of its own.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import yaml
from cluster import output, slurm, wait_for

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "support"), str(TESTS.parent)]
from dags import copy_project, environment, write_params  # noqa: E402 - found there

LIMIT = 3600  # seconds for all of it: an executor that waits for ever ignores SIGTERM too
PATIENCE = 1200  # for one step of it; other work may be on the machine
# long enough to be interrupted in the middle
LENGTHS = {"iterations": 60, "checkpoint_every": 4}
STAGES = ("train_afigan", "train_extractor", "train_detector")
SLURM = [
    *("snakemake", "--workflow-profile", "workflow/profiles/slurm"),
    *("--slurm-no-account", "--slurm-status-command", "squeue"),  # there is no accounting
    *("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10"),
]
COMPARED = ("models/*/*/*", "data/pseudo/*", "results/metrics/*", "results/tables/*", "results/*.md")


def preempt(job: str) -> None:
    """Take both GPUs for a job that is more urgent."""
    output("sbatch", "--partition=urgent", "--gpus=2", "--output=/dev/null", "--wrap=sleep 3")


# the stage that is interrupted, how, and whether Slurm starts it again by itself or Snakemake submits another job
INTERRUPTIONS = (
    ("train_detector", "detectors/a1", "scontrol requeue", lambda job: output("scontrol", "requeue", job), True),
    ("train_afigan", "afigan/main", "scancel", lambda job: output("scancel", job), False),
    ("train_extractor", "extractors/main", "SIGTERM", lambda job: output("scancel", "--signal=TERM", job), False),
    ("train_detector", "detectors/a5", "preemption", preempt, True),
)


def project(folder: Path, processes: int = 1) -> Path:
    """Create a checkout with the smoke profile's parameters, its training stages lengthened."""
    folder.mkdir()
    copy_project(folder, "smoke")
    values = yaml.safe_load((folder / "params.yaml").read_text("utf-8"))
    values["processes"] = processes
    for stage in STAGES:
        values[stage] |= LENGTHS
    write_params(folder, values)
    return folder


def start(command: list[str], root: Path) -> subprocess.Popen:
    with (root / "run.log").open("w") as log:
        return subprocess.Popen(command, cwd=root, env=environment(), stdout=log, stderr=log, start_new_session=True)


def kill(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def fail(root: Path, why: str) -> NoReturn:
    """Fail with a reason and the ends of the logs."""
    logs = [root / "run.log", *sorted((root / "logs").rglob("*.log"), key=lambda path: path.stat().st_mtime)[-3:]]
    tails = [f"==> {path}\n" + "\n".join(path.read_text("utf-8").splitlines()[-40:]) for path in logs]
    sys.exit("\n".join([*tails, f"test-slurm: {why}"]))


def job_of(rule: str, key: str) -> str:
    """Return the id of the running job of a rule for an experiment; empty if there is none."""
    jobs = [line.split() for line in output("squeue", "-h", "--states=R", "-o", "%i %k").splitlines()]
    return next((job for job, comment in jobs if comment == f"rule_{rule}_wildcards_{key}"), "")


def interrupt_all(root: Path, snakemake: subprocess.Popen) -> None:
    """Interrupt each of these jobs once it has a checkpoint, and check that it continues from one."""
    for rule, node, name, act, requeued in INTERRUPTIONS:
        key = node.partition("/")[2]

        def ready(node: str = node) -> bool:
            if snakemake.poll() is not None:
                fail(root, f"Snakemake has ended, with {snakemake.returncode}, before {node} had a checkpoint")
            return any(root.glob(f"runs/{node}-*/checkpoint-*.pt"))

        wait_for(f"{node}'s first checkpoint", ready, PATIENCE)
        job = job_of(rule, key)
        act(job)
        wait_for(f"the end of {node} by {name}", lambda rule=rule, key=key: not job_of(rule, key), PATIENCE)
        if (root / f"models/{node}/config.json").exists():
            fail(root, f"{node} was over before it could be interrupted: lengthen LENGTHS")
        after = str(wait_for(f"{node}'s next attempt", lambda rule=rule, key=key: job_of(rule, key), PATIENCE))
        if (after == job) != requeued:
            fail(root, f"{node} after {name}: was job {job}, continues as job {after}")

        def resumed(rule: str = rule, key: str = key, job: str = after) -> bool:
            log = root / f"logs/slurm/rule_{rule}/{key}/{job}.log"  # which comes a moment after the job is running
            return log.is_file() and "resumed from" in log.read_text("utf-8")

        wait_for(f"{node} going on from a checkpoint", resumed, PATIENCE)
        print(f"{node}: {name} of job {job}, continues as job {after}", flush=True)


def check(root: Path, local: Path) -> None:
    """Check that results are equal to the last bit, every training job had a GPU, and logs exist."""
    files = [path.relative_to(local) for pattern in COMPARED for path in sorted(local.glob(pattern)) if path.is_file()]
    assert len(files) > 30, files
    if different := [
        str(path)
        for path in files
        if not (root / path).is_file() or (root / path).read_bytes() != (local / path).read_bytes()
    ]:
        fail(root, f"not as in the local run: {', '.join(different)}")
    jobs = [job for job in output("scontrol", "-o", "show", "jobs").splitlines() if "Comment=rule_" in job]
    for job in jobs:
        rule = job.partition("Comment=rule_")[2].split("_wildcards_")[0].split()[0]
        if ("gres:gpu:1" in job) != (rule not in ("prepare", "pairs", "tables")):
            fail(root, f"{rule}: wrong GPUs in {job}")
    logs = {path.stem for path in (root / "logs/slurm").rglob("*.log")}
    assert logs == {job.split()[0].partition("=")[2] for job in jobs}, "each job's log is kept"
    print(f"{len(jobs)} jobs; {len(files)} files are those of the local run, bit by bit", flush=True)


def adopt(root: Path) -> None:
    """Check that DVC adopts a run through Slurm like any other."""
    command = [sys.executable, "workflow/scripts/adopt.py", "--to", "dvc"]
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True)
    if done.returncode:
        fail(root, done.stderr)
    print(done.stdout.strip(), flush=True)


@contextmanager
def limited() -> Iterator[None]:
    """End the body with an error after LIMIT seconds."""

    def too_long(*_: object) -> NoReturn:
        raise TimeoutError(f"not done after {LIMIT} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)


def main() -> None:
    began = time.monotonic()
    with limited():
        run(began)
    print(f"test-slurm: passed in {time.monotonic() - began:.0f} s", flush=True)


def run(began: float) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="afigan-slurm-"))
    local, root = project(scratch / "local"), project(scratch / "cluster")
    (scratch / "slurm").mkdir()
    running = start(["snakemake", "--cores", "2"], local)
    try:
        if running.wait(timeout=PATIENCE):
            fail(local, "the local run has failed")
        print(f"local run: {time.monotonic() - began:.0f} s", flush=True)
        with slurm(scratch / "slurm"):
            running = start(SLURM, root)
            try:
                interrupt_all(root, running)
                if running.wait(timeout=PATIENCE):
                    fail(root, "the run through Slurm has failed")
                check(root, local)
                adopt(root)
            except TimeoutError as error:
                fail(root, str(error))
            finally:
                kill(running)
    finally:
        kill(running)
    shutil.rmtree(scratch)  # kept where something was wrong


if __name__ == "__main__":
    main()
