#!/usr/bin/env python
"""Submit a script as a Kubernetes Job, through kubectl, and print the Job's name; Snakemake calls it (config.yaml).

Environment variables, which `snakemake` itself needs too:
    AFIGAN_IMAGE   image of the pods, with the Python that `.venv` was created with
    AFIGAN_CLAIM   a PersistentVolumeClaim, ReadWriteMany, that holds the checkout
    AFIGAN_MOUNT   its mount point, here and in the pods
A job's output goes to logs/kubernetes/JOB.log.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

GRACE = 120  # seconds from SIGTERM to SIGKILL: enough for a checkpoint
# Only the first process of a container gets SIGTERM, and it ignores signals that it does not handle. So it passes the
# signal on to all others and waits until they have ended, because the container ends with it
RUN = """\
trap 'kill -TERM -1; while kill -0 -1 2>/dev/null; do sleep 1; done; exit 75' TERM
{script} >> {log} 2>&1 &
wait $!
"""


def manifest(name: str, log: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the Job that runs the script once; Snakemake submits another one if it fails."""
    needs = {"cpu": str(arguments.cpus), "memory": f"{arguments.megabytes}M"}
    if arguments.gpus:
        needs["nvidia.com/gpu"] = str(arguments.gpus)
    container = {
        "name": "stage",
        "image": os.environ["AFIGAN_IMAGE"],
        "command": ["bash", "-c", RUN.format(script=shlex.quote(str(arguments.script)), log=shlex.quote(str(log)))],
        "workingDir": str(Path.cwd()),
        "env": [{"name": "PATH", "value": os.environ["PATH"]}, {"name": "HOME", "value": "/tmp"}],
        "resources": {"requests": needs, "limits": needs},
        "volumeMounts": [
            {"name": "work", "mountPath": os.environ["AFIGAN_MOUNT"]},
            {"name": "shm", "mountPath": "/dev/shm"},  # loaders pass their batches through it; 64 MB by default
        ],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE,
        "containers": [container],
        "volumes": [
            {"name": "work", "persistentVolumeClaim": {"claimName": os.environ["AFIGAN_CLAIM"]}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"app": "afigan"}},
        "spec": {"backoffLimit": 0, "activeDeadlineSeconds": 60 * arguments.minutes, "template": {"spec": pod}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", required=True)
    for number in ("gpus", "cpus", "megabytes", "minutes"):
        parser.add_argument(f"--{number}", type=int, required=True)
    parser.add_argument("script", type=Path)
    arguments = parser.parse_args()
    if missing := [name for name in ("AFIGAN_IMAGE", "AFIGAN_CLAIM", "AFIGAN_MOUNT") if not os.environ.get(name)]:
        sys.exit(f"{', '.join(missing)} not set: docs/cluster.md says what has to be in the environment")
    name = f"afigan-{arguments.rule.replace('_', '-')}-{uuid.uuid4().hex[:8]}"
    log = Path.cwd() / "logs/kubernetes" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    job = json.dumps(manifest(name, log, arguments))
    if subprocess.run(["kubectl", "create", "-f", "-"], input=job, text=True, stdout=sys.stderr).returncode:
        sys.exit("kubectl could not create the job")
    print(name)


if __name__ == "__main__":
    main()
