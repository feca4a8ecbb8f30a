"""GPUs of this machine for a stage, when several stages run at a time: each takes GPUs that no other stage holds.

Snakemake counts GPUs (`--resources gpu=N`) but does not choose them. Without this module every stage would compute on
the first GPU. Queues that choose GPUs, such as Slurm and Kubernetes, show a job no more than it asked for; then this
module does nothing.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_held = contextlib.ExitStack()  # the locks of this process's GPUs, until it ends


def take(count: int) -> None:
    """Let CUDA see `count` of the visible GPUs, free ones first, and hold them until this process ends."""
    from afigan.runtime.files import exclusive

    visible = visible_gpus()
    if len(visible) <= count:
        return
    folder = Path(tempfile.gettempdir(), f"afigan-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    chosen: list[str] = []
    for gpu in visible:
        if len(chosen) == count:
            break
        with contextlib.suppress(ValueError):  # another stage holds it
            _held.enter_context(exclusive(folder / gpu.replace("/", "_")))
            chosen.append(gpu)
    chosen += [gpu for gpu in visible if gpu not in chosen][: count - len(chosen)]  # more stages than GPUs: they share
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)


def visible_gpus() -> list[str]:
    """Return names of GPUs for CUDA_VISIBLE_DEVICES: its current ones, else the identifiers of all GPUs."""
    if (names := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in names.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    return []
