# Resources of a job. Another machine's scheduler uses all of them; here Snakemake limits only threads and gpu, by
# --cores and --resources gpu=N. A profile's `set-resources` overrides these values.

# True if other machines run the jobs: then their number is limited, and in such a job Snakemake runs once more
ELSEWHERE = workflow.remote_exec or workflow.nodes is not None
if ELSEWHERE and PARAMS.device == "auto" and not GPU:
    raise WorkflowError("device: auto looks for GPUs on this machine, others run the jobs: set it to cuda or cpu.")
# A profile's default resource: so many of a training's processes run on one node. Without it all of them do
DEFAULTS = workflow.resource_settings.default_resources or {}
PER_NODE = DEFAULTS["processes_per_node"] if "processes_per_node" in DEFAULTS else PARAMS.processes
PER_NODE = getattr(PER_NODE, "value", PER_NODE)
if not isinstance(PER_NODE, int) or PER_NODE < 1 or PARAMS.processes % min(PER_NODE, PARAMS.processes):
    raise WorkflowError(
        f"processes: {PARAMS.processes} cannot be split into nodes of processes_per_node: {PER_NODE} of the profile."
    )
NODES = max(1, PARAMS.processes // PER_NODE)
# The stage replaces the shell, because a signal for the stage must not first end a shell between it and Snakemake
START = f"python workflow/profiles/slurm/on_nodes.py {PARAMS.processes} " if NODES > 1 and workflow.remote_exec else ""
shell.prefix(f"set -euo pipefail; exec {START}")


def once_more(amount):
    """Return `amount`, doubled from the second attempt on, not more, because attempts may have been preempted."""
    return lambda wildcards, attempt: amount * min(attempt, 2)


def asks(*, gpus=0, cpus=PARAMS.threads, gigabytes, hours):
    """Return the resources of a job without checkpoints: memory and time are doubled when it has failed."""
    return {
        "gpu": GPU * gpus,
        "cpus_per_task": cpus,
        "mem_mb": once_more(1000 * gigabytes),
        "runtime": once_more(60 * hours),  # minutes
    }


def training(stage):
    """Return the resources of a training stage, a section of params.yaml. Each attempt has a day: the next one continues.

    On several nodes, CPUs, memory and `gres` are those of a node; `mpi` lets the stage itself call srun, one task a node.
    """
    workers = getattr(PARAMS, stage).workers
    here = PARAMS.processes // NODES
    needs = asks(
        gpus=PARAMS.processes, cpus=here * (PARAMS.threads + workers), gigabytes=here * (4 + workers), hours=24
    )
    needs |= {"runtime": 24 * 60}
    if NODES > 1:
        # tasks_per_gpu: 0, or Slurm's plugin would take `tasks` for the number of tasks on each GPU
        needs |= {"nodes": NODES, "tasks": NODES, "mpi": "srun", "tasks_per_gpu": 0}
        needs |= {"gres": f"gpu:{here}"} if GPU else {}
    return needs
