# Resources of a job. Another machine's scheduler uses all of them; here Snakemake limits only threads and gpu, by
# --cores and --resources gpu=N. A profile's `set-resources` overrides these values.

# True if other machines run the jobs: then their number is limited, and in such a job Snakemake runs once more
ELSEWHERE = workflow.remote_exec or workflow.nodes is not None
if ELSEWHERE and PARAMS.device == "auto" and not GPU:
    raise WorkflowError("device: auto looks for GPUs on this machine, others run the jobs: set it to cuda or cpu.")
# The stage replaces the shell, because a signal for the stage must not first end a shell between it and Snakemake
shell.prefix("set -euo pipefail; exec ")


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
    """Return the resources of a training stage, a section of params.yaml. Each attempt has a day: the next one continues."""
    workers = getattr(PARAMS, stage).workers
    processes = PARAMS.processes
    needs = asks(
        gpus=processes, cpus=processes * (PARAMS.threads + workers), gigabytes=processes * (4 + workers), hours=24
    )
    return needs | {"runtime": 24 * 60}
