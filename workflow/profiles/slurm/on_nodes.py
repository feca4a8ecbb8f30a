"""Start a training on all nodes of a Slurm job: srun starts one torchrun on each node, which starts its ranks.

    python on_nodes.py PROCESSES python workflow/scripts/train_detector.py --key a5

This program runs on the job's first node. A job of one node runs the command as it is. If a rank ends early, torchrun
ends all ranks on all nodes and starts them again; they continue from the last checkpoint. After RESTARTS times the job
ends, and its queue decides.
"""

import os
import re
import socket
import subprocess
import sys

RESTARTS = 3
SETTINGS = {
    # seconds that torchrun waits for its ranks' last checkpoint before it kills them; less than the profile's TERM@120
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "100",
    # torch 2.15 keeps one store for all restarts: ranks of gloo then connect to the addresses of those before them
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}
# rank 0's node may be another one; SLURM_LAUNCH_NODE_IPADDR is the first node's address. c10d: every node learns of
# another node's restart
TORCHRUN = (
    "exec {python} -m torch.distributed.run --nnodes={nodes} --nproc-per-node={ranks} --max-restarts={restarts}"
    " --rdzv-backend=c10d --rdzv-endpoint=$SLURM_LAUNCH_NODE_IPADDR:{port} --rdzv-conf=is_host=$((SLURM_NODEID == 0))"
    ' --rdzv-id={job} --no-python "$@"'
)


def allocation(text: str) -> tuple[int, int]:
    """Return the number of nodes, and of CPUs on each, from the answer of `scontrol show job`."""
    nodes, cpus = re.search(r"\bNumNodes=(\d+)", text), re.search(r"\bCPUs/Task=(\d+)", text)
    if not (nodes and cpus):
        raise ValueError(f"`scontrol show job` does not name nodes and CPUs:\n{text}")
    return int(nodes[1]), int(cpus[1])


def command(stage: list[str], *, processes: int, nodes: int, cpus: int, port: int, job: str) -> list[str]:
    """Return the command that starts `stage` as `processes` ranks on the nodes of this job.

    Raises:
        ValueError: the nodes cannot have the same number of ranks.
    """
    if nodes == 1:
        return stage
    if processes % nodes:
        raise ValueError(f"{processes} processes cannot be split evenly among {nodes} nodes")
    torchrun = TORCHRUN.format(
        python=sys.executable, nodes=nodes, ranks=processes // nodes, restarts=RESTARTS, port=port, job=job
    )
    one_each = (f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cpus}")
    return ["srun", *one_each, "--kill-on-bad-exit=1", "sh", "-c", torchrun, "torchrun", *stage]


def free_port() -> int:
    """Return a port that is free on this node."""
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


def main() -> None:
    processes, *stage = sys.argv[1:]
    job = os.environ["SLURM_JOB_ID"]
    answer = subprocess.run(["scontrol", "show", "job", "-o", job], check=True, capture_output=True, text=True)
    nodes, cpus = allocation(answer.stdout)
    os.environ |= SETTINGS
    started = command(stage, processes=int(processes), nodes=nodes, cpus=cpus, port=free_port(), job=job)
    os.execvp(started[0], started)


if __name__ == "__main__":
    main()
