"""The start and the end of a stage's processes, one GPU each.

This module starts `processes` of params.yaml on one machine; `torchrun` can start them on one or on several.
"""

import contextlib
import logging
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing

from afigan.runtime.comm import synchronize
from afigan.runtime.files import atomic_path
from afigan.runtime.preemption import noted

HOST = "127.0.0.1"
BACKENDS = "cpu:gloo,cuda:nccl"  # gloo: values on the CPU are sent without a GPU


def launch(processes: int, function: Callable[..., None], *arguments: Any, device: torch.device) -> None:
    """Call `function(*arguments)` on every rank: here if there is one process, else in new processes.

    Rank r computes on the r-th GPU, which is `torch.device("cuda")` there, or on the CPU with as many threads as this
    process has. No process outlives the call. Under torchrun this process is itself one of the ranks.

    Args:
        processes: the number of ranks.
        function: importable by its name, because new processes import it; its arguments can be pickled.
        device: the ranks compute on a device of its type.

    Raises:
        ValueError: there are fewer GPUs than processes, or torchrun has started another number of processes.
        Exception: the first error that a rank has raised; the other ranks are ended.
        Preempted: SIGTERM has come, here or to the ranks, and they have ended.
        RuntimeError: a rank was killed.
    """
    if dist.is_torchelastic_launched():
        _join(processes, function, arguments, cuda=device.type == "cuda")
        return
    if device.type == "cuda" and (found := torch.cuda.device_count()) < processes:
        raise ValueError(f"processes: {processes}, one GPU each, but torch sees {found}; lower it or set device: cpu")
    if processes == 1:
        function(*arguments)
        return
    store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)  # port 0: any free port
    with tempfile.TemporaryDirectory(prefix="afigan-") as folder:
        settings = {
            "processes": processes,
            "cuda": device.type == "cuda",
            "port": store.port,
            "parent": os.getpid(),
            "threads": torch.get_num_threads(),
            "start_method": multiprocessing.get_start_method(allow_none=True),
            "log_level": logging.getLogger("afigan").level,
            "errors": Path(folder),
        }
        with noted() as sigterm:
            ranks = multiprocessing.spawn(_run, (function, arguments, settings), processes, join=False).processes
            try:
                _watch(ranks, Path(folder), sigterm)
            finally:
                for process in ranks:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)  # the processes that load its data too
                    process.kill()
                    process.join()


def _join(processes: int, function: Callable[..., None], arguments: tuple[Any, ...], *, cuda: bool) -> None:
    """Run as the rank that torchrun's variables name."""
    if (started := int(os.environ["WORLD_SIZE"])) != processes:
        raise ValueError(f"torchrun has started {started} processes: set processes: {started}, or start {processes}")
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(BACKENDS if cuda else "gloo")
    function(*arguments)
    synchronize()
    dist.destroy_process_group()


def _watch(ranks: Sequence[BaseProcess], errors: Path, sigterm: Callable[[], bool]) -> None:
    """Wait until the ranks have ended; pass SIGTERM on, because perhaps only this process has got it.

    Raises:
        Exception: as `launch`.
    """
    told = False
    while running := [process for process in ranks if process.exitcode is None]:
        # not for ever: processes that load data share the sentinel, and may outlive a rank that was killed
        wait([process.sentinel for process in running], timeout=1)
        if any(process.exitcode for process in ranks):
            raise _error(ranks, errors)
        if sigterm() and not told:
            told = True
            for process in running:
                process.terminate()


def _error(ranks: Sequence[BaseProcess], errors: Path) -> Exception:
    """Return the first rank's error: the others follow from it, because they lose their connection to that rank."""
    for rank, process in enumerate(ranks):
        if process.exitcode is not None and process.exitcode < 0:
            name = signal.strsignal(-process.exitcode)
            hint = ", as the system does when memory runs out" if process.exitcode == -signal.SIGKILL else ""
            return RuntimeError(f"process {rank} of {len(ranks)} was ended by a signal ({name}){hint}")
    for path in sorted(errors.glob("*.pickle")):  # names begin with the time
        return pickle.loads(path.read_bytes())
    return RuntimeError(f"one of {len(ranks)} processes has ended early; its output says why")


def _run(rank: int, function: Callable[..., None], arguments: tuple[Any, ...], settings: dict[str, Any]) -> None:
    """Set up a rank, call the function, and leave an error for the parent."""
    os.setpgrp()  # a group with the processes that load its data: they are ended together
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted parent ends the ranks itself
    threading.Thread(target=_follow, args=(settings["parent"],), daemon=True).start()
    multiprocessing.set_start_method(settings["start_method"], force=True)  # the parent's, not spawn, for loaders
    logging.basicConfig(format=f"{Path(sys.argv[0]).stem}: %(message)s")  # as in the stage scripts
    logging.getLogger("afigan").setLevel(settings["log_level"])
    try:
        torch.set_num_threads(settings["threads"])
        if settings["cuda"]:
            torch.cuda.set_device(rank)
        dist.init_process_group(
            BACKENDS if settings["cuda"] else "gloo",
            store=dist.TCPStore(HOST, settings["port"]),
            rank=rank,
            world_size=settings["processes"],
        )
        function(*arguments)
        synchronize()
        dist.destroy_process_group()
    except Exception as error:
        _tell(error, settings["errors"] / f"{time.monotonic_ns():020}-{rank}.pickle")
        for child in multiprocessing.active_children():
            child.kill()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # an orderly end may wait for ranks that wait for this one


def _follow(parent: int) -> None:
    """End this process when the parent has ended, for any reason."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def _tell(error: Exception, path: Path) -> None:
    """Leave an error for the parent, with its traceback; print it if it cannot be left."""
    error.add_note(traceback.format_exc())
    try:
        content = pickle.dumps(error)
        pickle.loads(content)  # some exceptions can be pickled but not unpickled
    except Exception:
        traceback.print_exc()
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
