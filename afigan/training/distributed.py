"""A stage on several processes, one GPU each: starting them, ending them, what they tell each other.

`processes` of params.yaml are started here, on one machine; or `torchrun` has started them, on one or on several.

The modules stay as they are. DistributedDataParallel averages gradients by hooks around a module's own `forward`, and
G, M and D are called in other ways too (a pyramid's parts, D inside the loss of G). What is called around the wrapper
is not averaged: that is what happened to the authors' released code (SPEC 9). Here `engine.Learner.update` averages
what it is about to use. It does not overlap with the backward pass; the price is that of sending the weights once.
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
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, multiprocessing, nn
from torch import distributed as dist

from afigan.files import atomic_path
from afigan.preemption import noted

HOST = "127.0.0.1"
BACKENDS = "cpu:gloo,cuda:nccl"  # gloo: what is on the CPU needs no GPU to be told
BUCKET = 1 << 24  # elements averaged at a time: 64 MiB of memory beside the gradients

# --- starting and ending ----------------------------------------------------------------------------------------------


def launch(processes: int, function: Callable[..., None], *arguments: Any, device: torch.device) -> None:
    """Call `function(*arguments)` on every rank: here if there is one process, else in processes of their own.

    Rank r computes on the r-th GPU, which is what `torch.device("cuda")` means there, or on the CPU with as many
    threads as this process has. Nothing outlives the call. Under torchrun this process is one of the ranks itself.

    Args:
        processes: how many ranks there are.
        function: importable by its name, for new processes import it; its arguments can be pickled.
        device: what the ranks compute on, its type.

    Raises:
        ValueError: there are fewer GPUs than processes, or torchrun has started another number of them.
        Exception: what a rank has raised, the first of them; the others are ended.
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
    store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)  # port 0: any that is free
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
                        os.killpg(process.pid, signal.SIGKILL)  # what loads its data too
                    process.kill()
                    process.join()


def _join(processes: int, function: Callable[..., None], arguments: tuple[Any, ...], *, cuda: bool) -> None:
    """Be the rank that torchrun's variables say."""
    if (started := int(os.environ["WORLD_SIZE"])) != processes:
        raise ValueError(f"torchrun has started {started} processes: set processes: {started}, or start {processes}")
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(BACKENDS if cuda else "gloo")
    function(*arguments)
    barrier()
    dist.destroy_process_group()


def _watch(ranks: Sequence[BaseProcess], errors: Path, sigterm: Callable[[], bool]) -> None:
    """Wait until the ranks have ended; hand on SIGTERM, which only this process may have got.

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
    """Why the ranks ended: whatever came first, for the others then lose their connection to that rank."""
    for rank, process in enumerate(ranks):
        if process.exitcode is not None and process.exitcode < 0:
            name = signal.strsignal(-process.exitcode)
            hint = ", as the system does when memory runs out" if process.exitcode == -signal.SIGKILL else ""
            return RuntimeError(f"process {rank} of {len(ranks)} was ended by a signal ({name}){hint}")
    for path in sorted(errors.glob("*.pickle")):  # named by the time
        return pickle.loads(path.read_bytes())
    return RuntimeError(f"one of {len(ranks)} processes has ended early; what it printed says why")


def _run(rank: int, function: Callable[..., None], arguments: tuple[Any, ...], settings: dict[str, Any]) -> None:
    """The life of a rank."""
    os.setpgrp()  # a group with what loads its data: they are ended together
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever interrupts the parent has it end the ranks
    threading.Thread(target=_follow, args=(settings["parent"],), daemon=True).start()
    multiprocessing.set_start_method(settings["start_method"], force=True)  # its loaders' is the parent's, not spawn
    logging.basicConfig(format=f"{Path(sys.argv[0]).stem}: %(message)s")  # as the stage scripts have it
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
        barrier()
        dist.destroy_process_group()
    except Exception as error:
        _tell(error, settings["errors"] / f"{time.monotonic_ns():020}-{rank}.pickle")
        for child in multiprocessing.active_children():
            child.kill()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # an orderly end may wait for ranks that wait for this one


def _follow(parent: int) -> None:
    """End when the parent has ended, however it did."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def _tell(error: Exception, path: Path) -> None:
    """Leave an error for the parent, with its traceback; print it if it cannot be left."""
    error.add_note(traceback.format_exc())
    try:
        content = pickle.dumps(error)
        pickle.loads(content)  # some exceptions can be written and not read
    except Exception:
        traceback.print_exc()
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


# --- among the ranks --------------------------------------------------------------------------------------------------


def rank() -> int:
    """Which of the processes this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is rank 0, which alone writes."""
    return rank() == 0


def barrier() -> None:
    """Wait until every rank is here."""
    if world_size() > 1:
        dist.all_reduce(torch.zeros(1))  # dist.barrier would go by way of the GPUs


def average(values: Tensor) -> Tensor:
    """The mean of a tensor over the ranks, in place; the same bits on all of them."""
    if world_size() > 1:
        dist.all_reduce(values)
        values /= world_size()
    return values


def anywhere(fact: bool) -> bool:
    """Whether it holds on any rank; the same answer on all of them."""
    if world_size() == 1:
        return fact
    holds = torch.tensor(int(fact), dtype=torch.int32)
    dist.all_reduce(holds, dist.ReduceOp.MAX)
    return bool(holds)


def average_scalars(terms: dict[str, Tensor]) -> dict[str, float]:
    """The mean of each of some scalars over the ranks, in float64. All ranks name the same ones in the same order."""
    means = average(torch.stack([term.detach().double() for term in terms.values()]))
    return dict(zip(terms, means.tolist(), strict=True))


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace gradients by their means over the ranks, computed in float32.

    A parameter without a gradient counts as zero on that rank; if no rank has one for it, it has none afterwards.

    Args:
        parameters: the same ones in the same order on all ranks, all on one device.
    """
    if world_size() == 1:
        return
    present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32)
    dist.all_reduce(present, dist.ReduceOp.MAX)
    used = [p for p, anywhere in zip(parameters, present.tolist(), strict=True) if anywhere]
    for bucket in _buckets(used):
        for p in bucket:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        means = average(torch.cat([p.grad.float().flatten() for p in bucket]))
        for p, mean in zip(bucket, means.split([p.numel() for p in bucket]), strict=True):
            p.grad.copy_(mean.view_as(p))


def _buckets(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """Runs of parameters of at most BUCKET elements; a larger parameter is alone."""
    buckets: list[list[Tensor]] = []
    size = 0
    for p in parameters:
        if not buckets or size + p.numel() > BUCKET:
            buckets.append([])
            size = 0
        buckets[-1].append(p)
        size += p.numel()
    return buckets


@torch.no_grad()
def broadcast(module: nn.Module) -> None:
    """Give every rank the weights and buffers that rank 0 has."""
    if world_size() > 1:
        for value in (*module.parameters(), *module.buffers()):
            dist.broadcast(value, src=0)


def from_main(value: Any) -> Any:
    """What rank 0 has given, on every rank; it is pickled."""
    box = [value]
    if world_size() > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: Any) -> list[Any] | None:
    """The values of all ranks by rank, on rank 0; None elsewhere. They are pickled, tensors on the CPU among them."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size() if is_main() else None
    dist.gather_object(value, values, dst=0)
    return values
