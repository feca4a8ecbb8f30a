"""Several nodes of a Slurm job, with stand-ins for `srun` and `scontrol`; `make test-slurm` has the real ones."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dags import ROOT, environment

sys.path.append(str(ROOT / "workflow/profiles/slurm"))
import on_nodes

JOB = "JobId=7 JobName=x NumNodes=2 NumCPUs=12 NumTasks=2 CPUs/Task=6 ReqB:S:C:T=0:0:*:* TRES=cpu=12,node=2,gres/gpu=4"
SCONTROL = f"#!/bin/sh\necho '{JOB}'\n"
# one task a node, both on this machine; the first task that fails ends the step, as with --kill-on-bad-exit
SRUN = """#!{python}
import os, subprocess, sys, time
command = sys.argv[sys.argv.index("sh"):]
launched = os.environ | {{"SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1"}}
tasks = [subprocess.Popen(command, env=launched | {{"SLURM_NODEID": str(node)}}) for node in range(2)]
while any(task.poll() is None for task in tasks) and not any(task.poll() for task in tasks):
    time.sleep(0.1)
for task in tasks:
    task.terminate()
sys.exit(max(abs(task.wait()) for task in tasks))
"""
# a stage of two ranks that counts its starts in files: in its first one rank 1 is killed, in its second one rank 0
STAGE = """
import os, signal, sys
from pathlib import Path
import torch
from torch import distributed as dist
rank, folder = int(os.environ["RANK"]), Path(sys.argv[1])
starts = len(list(folder.glob(f"{rank}-*")))
(folder / f"{rank}-{starts}").touch()
dist.init_process_group("gloo")
total = torch.tensor([rank + 1.0])
dist.all_reduce(total)
assert total == 3
if (starts, rank) in ((0, 1), (1, 0)):
    os.kill(os.getpid(), signal.SIGKILL)
dist.all_reduce(total)  # a rank that was left alone fails here
(folder / f"done-{rank}").write_text(os.environ["WORLD_SIZE"])
dist.destroy_process_group()
"""


def test_the_allocation_is_read_from_scontrol():
    assert on_nodes.allocation(JOB) == (2, 6)
    with pytest.raises(ValueError, match="does not name nodes and CPUs"):
        on_nodes.allocation("slurm_load_jobs error: Invalid job id specified")


def test_each_node_has_its_share_of_the_ranks():
    stage = ["python", "workflow/scripts/train_detector.py", "--key", "a5"]
    found = on_nodes.command(stage, processes=16, nodes=2, cpus=40, port=29400, job="7")
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=40"} < set(found)
    assert found[-4:] == stage and "--nnodes=2 --nproc-per-node=8 " in " ".join(found)
    assert on_nodes.command(stage, processes=8, nodes=1, cpus=40, port=29400, job="7") == stage
    with pytest.raises(ValueError, match="16 processes cannot be split evenly among 3 nodes"):
        on_nodes.command(stage, processes=16, nodes=3, cpus=40, port=29400, job="7")


def test_a_killed_rank_starts_all_ranks_again(tmp_path: Path):
    """Three starts of two ranks with torch take ten seconds. The kills are of both nodes, one after the other.

    With torch's shared store ranks of the third start look for those of the second one, and more starts follow.
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("scontrol", SCONTROL), ("srun", SRUN.format(python=sys.executable))):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "starts").mkdir()
    start = [sys.executable, str(ROOT / "workflow/profiles/slurm/on_nodes.py"), "2"]
    stage = [sys.executable, str(tmp_path / "stage.py"), str(tmp_path / "starts")]
    environ = environment()
    environ |= {"PATH": f"{programs}{os.pathsep}{environ['PATH']}", "SLURM_JOB_ID": "7"}
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen([*start, *stage], env=environ, stdout=file, stderr=file, start_new_session=True)
    try:
        assert process.wait(timeout=600) == 0, log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # both torchruns, which then end their ranks
    starts = {path.name for path in (tmp_path / "starts").iterdir()}
    assert starts == {f"{rank}-{start}" for rank in (0, 1) for start in range(3)} | {"done-0", "done-1"}
    assert (tmp_path / "starts/done-0").read_text() == "2"
