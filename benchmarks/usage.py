"""Resources of a command: wall and processor time, and the memory of all its processes together."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 1.0


@dataclass(frozen=True)
class Usage:
    """Seconds, and MiB: `memory` is the highest sampled sum of the processes' proportional shares (PSS)."""

    wall: float
    cpu: float
    memory: float


def run(command: list[str], cwd: Path) -> Usage:
    """Run a command with its output in `cwd`/output.txt. Raises CalledProcessError if it fails."""
    with (cwd / "output.txt").open("wb") as output:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        peak, ended = [0.0], threading.Event()
        watch = threading.Thread(target=_watch, args=(process.pid, peak, ended))
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        ended.set()
        watch.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, (cwd / "output.txt").read_bytes())
    # between two samples memory may have been higher: the largest process's maximum is a lower bound too
    return Usage(wall, used.ru_utime + used.ru_stime, max(peak[0], used.ru_maxrss / 1024))


def _watch(pid: int, peak: list[float], ended: threading.Event) -> None:
    while not ended.wait(_SAMPLE_SECONDS):
        peak[0] = max(peak[0], sum(memory(process)["Pss"] for process in tree(pid)))


def tree(pid: int) -> Iterator[int]:
    """Yield a process and all its living descendants."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:  # it has ended
            continue
        for child in children:
            yield from tree(int(child))


def memory(pid: int) -> dict[str, float]:
    """Return MiB of a process: `Rss`; `Pss`, where a page of n processes counts 1/n; `Private`, its own pages."""
    found = dict.fromkeys(("Rss", "Pss", "Private"), 0.0)
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # it has ended
        return found
    for line in lines:
        name, kib = line.split()[:2]
        name = "Private" if name.startswith("Private_") else name.rstrip(":")
        if name in found:
            found[name] += int(kib) / 1024
    return found
