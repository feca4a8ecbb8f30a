"""Runs of a stage in a process that is killed, again and again, until the stage has finished."""

import contextlib
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from afigan.params.schema import Params
from afigan.runtime.files import exclusive, sha256_file
from afigan.runtime.preemption import EXIT_STATUS, Preempted, asked, exit_at_once

WRITING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


@dataclass(frozen=True)
class Stage:
    """A stage as its script runs it.

    Args:
        name: the name of its lock.
        run: the function that the script calls.
        outputs: files and folders, relative to the root.
    """

    name: str
    run: Callable[[Params], None]
    outputs: tuple[str, ...]

    def contents(self, root: Path) -> dict[str, str]:
        """Return the SHA-256 of every existing file of the outputs, by its name."""
        places = [root / output for output in self.outputs]
        files = [f for place in places for f in ([place] if place.is_file() else place.rglob("*")) if f.is_file()]
        whole = [file for file in sorted(files) if ".tmp" not in file.name]  # what has its name already
        return {str(file.relative_to(root)): sha256_file(file) for file in whole}


@dataclass(frozen=True)
class Fault:
    """A fault of a process: a signal after some seconds, SIGKILL at its n-th change of a file, or a full disk."""

    number: int = 0
    seconds: float | None = None
    writes: int | None = None
    file_size: int | None = None  # in bytes; no file can grow beyond it


def start(stage: Stage, params: Params, root: Path, log: Path, fault: Fault) -> int:
    """Fork a process, with a group of its own, that runs a stage; return its id. Its output goes to `log`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # until the child is ready for it
    if pid := os.fork():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        with contextlib.suppress(OSError):  # whoever of the two is first
            os.setpgid(pid, pid)
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        with log.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(root)
        exit_at_once()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        if fault.writes is not None:
            _die_at(fault.writes)
        if fault.file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_size, fault.file_size))
        with exclusive(Path("runs/locks") / stage.name):
            stage.run(params)
        status = 0
    except Preempted:
        status = EXIT_STATUS
    except BaseException as error:
        if asked():
            status = EXIT_STATUS
        elif isinstance(error, OSError):
            status = 100 + (error.errno or 0)
        _print_error()
    finally:
        os._exit(status)


def _print_error() -> None:
    with contextlib.suppress(OSError):  # the disk may be full for the log, too
        os.write(2, traceback.format_exc().encode())  # sys.stderr may be pytest's


def run(stage: Stage, params: Params, root: Path, log: Path, fault: Fault | None = None) -> int | None:
    """Run a stage to its end or to its fault; return its exit status, None if it was killed."""
    fault = fault or Fault()
    pid = start(stage, params, root, log, fault)
    try:
        if fault.seconds is not None:
            end = time.monotonic() + fault.seconds
            while time.monotonic() < end:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    pid = 0
                    return _status(status)
                time.sleep(0.002)
            os.killpg(pid, fault.number)
        _, status = os.waitpid(pid, 0)
        return _status(status)
    finally:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # the processes that load data


def _status(status: int) -> int | None:
    return None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _die_at(writes: int) -> None:
    """Kill this process's group just before it renames a file or opens one for writing for the n-th time."""
    left, owner = [writes], os.getpid()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if os.getpid() != owner:
            return
        opens = event == "open" and isinstance(arguments[1], str) and arguments[1][:1] in ("w", "a", "x")
        if opens or event in WRITING:
            left[0] -= 1
            if left[0] == 0:
                os.killpg(owner, signal.SIGKILL)

    sys.addaudithook(hook)


def draw(chance: random.Random, seconds: float, writes: int) -> Fault:
    """Draw a fault somewhere in a run that takes `seconds` and changes `writes` files."""
    kind = chance.choice(("time", "write", "term"))
    if kind == "write":
        return Fault(writes=chance.randint(1, writes))
    number = signal.SIGTERM if kind == "term" else signal.SIGKILL
    return Fault(number=number, seconds=chance.uniform(0, seconds))
