"""GPUs of this machine for a stage, when several stages run at a time: each takes those that no other one holds.

Snakemake counts GPUs (`--resources gpu=N`) and does not say which; left alone, every stage would compute on the first.
A queue that has already chosen, as Slurm and Kubernetes do, shows a job no more GPUs than it asked for: nothing is done
here then.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO

_held: list[IO[str]] = []  # open files hold the locks; the system lets go of them however the process ends


def take(count: int) -> None:
    """Let CUDA see `count` of the visible GPUs, free ones first, and hold them until this process ends."""
    visible = visible_gpus()
    if len(visible) <= count:
        return
    folder = Path(tempfile.gettempdir(), f"afigan-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    chosen: list[str] = []
    for gpu in visible:
        if len(chosen) == count:
            break
        file = (folder / gpu.replace("/", "_")).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _held.append(file)
        chosen.append(gpu)
    chosen += [gpu for gpu in visible if gpu not in chosen][: count - len(chosen)]  # more stages than GPUs: share
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)


def visible_gpus() -> list[str]:
    """Names that CUDA_VISIBLE_DEVICES takes: those that stand there, else the identifiers of all GPUs."""
    if (names := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in names.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    return []
