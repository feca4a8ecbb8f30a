"""Train on two nodes of a real Slurm, kill ranks and jobs, compare with one machine: part of `make test-slurm`.

Every training stage of the profile `smoke` that stage 1 needs has two ranks, one on each node (gloo, without a GPU).
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from cluster import output, slurm, wait_for
from run import PATIENCE, SLURM, fail, job_of, kill, limited, project, start

TARGET = "models/afigan/main/model.safetensors"
COMPARED = ("models/*/*/*",)
PROFILE = "workflow/profiles/slurm/config.yaml"


def ranks(job: str) -> dict[int, tuple[int, str]]:
    """Return {rank: (process, node)} of a job's ranks that run now."""
    found = {}
    for process, environment in environments():
        if environment.get("SLURM_JOB_ID") == job and "LOCAL_RANK" in environment and started_by_torchrun(process):
            found[int(environment["RANK"])] = (process, environment["SLURMD_NODENAME"])
    return found


def environments() -> Iterator[tuple[int, dict[str, str]]]:
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            lines = path.read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:  # it has ended
            continue
        yield int(path.parent.name), dict(line.split("=", 1) for line in lines if "=" in line)


def started_by_torchrun(process: int) -> bool:
    """Return True for a rank, False for the processes that load its data."""
    try:
        parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
        return b"torch.distributed.run" in Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return False


def kill_rank(rank: int, job: str) -> None:
    """Kill a rank with SIGKILL, as the system does when memory runs out."""
    os.kill(ranks(job)[rank][0], signal.SIGKILL)


# the training that is interrupted, how, and whether its job then: goes on, is requeued by Slurm, or submitted again
INTERRUPTIONS = (
    ("train_detector", "detectors/a1", "SIGKILL of rank 1", lambda job: kill_rank(1, job), "goes on"),
    ("train_detector", "detectors/a1", "SIGKILL of rank 0", lambda job: kill_rank(0, job), "goes on"),
    ("train_detector", "detectors/a1", "scontrol requeue", lambda job: output("scontrol", "requeue", job), "requeued"),
    ("train_afigan", "afigan/main", "scancel", lambda job: output("scancel", job), "submitted again"),
)


def spread(root: Path) -> Path:
    """Let the profile put one process on each node."""
    path = root / PROFILE
    values = yaml.safe_load(path.read_text("utf-8"))
    values["default-resources"]["processes_per_node"] = 1
    path.write_text(yaml.safe_dump(values), "utf-8")
    return root


def interrupt(
    root: Path, snakemake: subprocess.Popen, rule: str, node: str, name: str, act: Callable[[str], object], then: str
) -> None:
    """Interrupt a training after a checkpoint that it has written itself, and check that it continues from one."""
    key = node.partition("/")[2]
    before = newest(root, node)

    def ready() -> bool:
        if snakemake.poll() is not None:
            fail(root, f"Snakemake has ended, with {snakemake.returncode}, before {name} of {node}")
        return newest(root, node) > before

    wait_for(f"a checkpoint of {node}", ready, PATIENCE)
    job = job_of(rule, key)
    running = ranks(job)
    if sorted(running) != [0, 1] or len({place for _, place in running.values()}) != 2:
        fail(root, f"{node}: not one rank on each node, but {running}")
    logs = resumptions(root, rule, key)
    act(job)

    def restarted() -> bool:
        if (root / f"models/{node}/config.json").exists():
            fail(root, f"{node} was over before it could be interrupted: lengthen LENGTHS")
        after = job_of(rule, key)
        now = ranks(after) if after else {}
        both = sorted(now) == [0, 1] and not {process for process, _ in now.values()} & {p for p, _ in running.values()}
        return both and resumptions(root, rule, key) > logs

    wait_for(f"{node} going on after {name}, with two new ranks", restarted, PATIENCE)
    after = job_of(rule, key)
    if (after != job) != (then == "submitted again"):
        fail(root, f"{node} after {name}: was job {job}, continues as job {after}")
    print(f"{node}: {name} in job {job}, continues as job {after} ({then})", flush=True)


def newest(root: Path, node: str) -> str:
    """Return the name of a training's last checkpoint; empty if there is none."""
    return max((path.name for path in root.glob(f"runs/{node}-*/checkpoint-*.pt")), default="")


def resumptions(root: Path, rule: str, key: str) -> int:
    """Return how often a training has continued from a checkpoint, by the logs of all its jobs."""
    logs = (root / f"logs/slurm/rule_{rule}/{key}").glob("*.log")
    return sum(path.read_text("utf-8").count("resumed from") for path in logs)


def check(root: Path, local: Path) -> None:
    """Check that results are equal to the last bit, and that every training had two nodes and a GPU's share of each."""
    files = [path.relative_to(local) for pattern in COMPARED for path in sorted(local.glob(pattern))]
    assert len(files) == 9, files
    if different := [
        str(path)
        for path in files
        if not (root / path).is_file() or (root / path).read_bytes() != (local / path).read_bytes()
    ]:
        fail(root, f"not as on one machine: {', '.join(different)}")
    jobs = [job for job in output("scontrol", "-o", "show", "jobs").splitlines() if "Comment=rule_" in job]
    for job in jobs:
        trains = "Comment=rule_prepare" not in job and "Comment=rule_pairs" not in job
        if (" NumNodes=2 " in job) != trains or ("gres:gpu:1" in job) != trains:
            fail(root, f"wrong nodes or GPUs in {job}")
    print(f"{len(jobs)} jobs; {len(files)} files are those of one machine, bit by bit", flush=True)


def main() -> None:
    began = time.monotonic()
    with limited():
        scratch = Path(tempfile.mkdtemp(prefix="afigan-slurm-"))
        local, root = project(scratch / "local", processes=2), spread(project(scratch / "cluster", processes=2))
        (scratch / "slurm").mkdir()
        running = start(["snakemake", "--cores", "2", TARGET], local)
        try:
            if running.wait(timeout=PATIENCE):
                fail(local, "the local run has failed")
            print(f"on one machine: {time.monotonic() - began:.0f} s", flush=True)
            with slurm(scratch / "slurm", nodes=2):
                running = start([*SLURM, TARGET], root)
                try:
                    for interruption in INTERRUPTIONS:
                        interrupt(root, running, *interruption)
                    if running.wait(timeout=PATIENCE):
                        fail(root, "the run on two nodes has failed")
                    check(root, local)
                except TimeoutError as error:
                    fail(root, str(error))
                finally:
                    kill(running)
        finally:
            kill(running)
    shutil.rmtree(scratch)  # kept where something was wrong
    print(f"nodes: passed in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
