# What a job asks for. Another machine's scheduler goes by all of it; here, only threads and gpu are shared out, if
# --cores and --resources gpu=N say so. A profile's `set-resources` goes before what stands here.

# Others run the jobs: their number is limited then, and in such a job Snakemake runs once more
ELSEWHERE = workflow.remote_exec or workflow.nodes is not None
if ELSEWHERE and PARAMS.device == "auto" and not GPU:
    raise WorkflowError("device: auto looks for GPUs on this machine, others run the jobs: set it to cuda or cpu.")
# The shell gives its place to the stage: a signal for the stage must not end a shell between it and Snakemake first
shell.prefix("set -euo pipefail; exec ")


def once_more(amount):
    """`amount`, and twice as much at the second attempt. No more at later ones: the first few may have been preempted."""
    return lambda wildcards, attempt: amount * min(attempt, 2)


def asks(*, gpus=0, cpus=PARAMS.threads, gigabytes, hours):
    """The resources of a job that starts from nothing each time: memory and time are doubled when it has failed."""
    return {
        "gpu": GPU * gpus,
        "cpus_per_task": cpus,
        "mem_mb": once_more(1000 * gigabytes),
        "runtime": once_more(60 * hours),  # minutes
    }


def training(stage):
    """Those of a training stage, a section of params.yaml. It goes on where it was: each attempt may have a day."""
    workers = getattr(PARAMS, stage).workers
    processes = PARAMS.processes
    needs = asks(
        gpus=processes, cpus=processes * (PARAMS.threads + workers), gigabytes=processes * (4 + workers), hours=24
    )
    return needs | {"runtime": 24 * 60}
