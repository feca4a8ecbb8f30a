"""Communication among the processes of a stage; on one process every function returns at once.

The names are those of `detectron2.utils.comm` where it has the same function.

The modules are not wrapped. DistributedDataParallel averages gradients by hooks around a module's own `forward`, and
G, M and D are called in other ways too (a pyramid's parts, D inside the loss of G). Gradients of calls around the
wrapper are not averaged, as in the authors' released code. Here `engine.Learner.update` averages the gradients that it
is about to use. The average does not overlap with the backward pass; it costs as much as sending the weights once.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

BUCKET = 1 << 24  # elements averaged at a time: 64 MiB of memory beside the gradients


def get_rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def get_world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Return True on rank 0, the only rank that writes."""
    return get_rank() == 0


def synchronize() -> None:
    """Wait until every rank has called this."""
    if get_world_size() > 1:
        dist.all_reduce(torch.zeros(1))  # dist.barrier would use the GPUs


def average(values: Tensor) -> Tensor:
    """Average a tensor over the ranks, in place; all ranks get the same bits."""
    if get_world_size() > 1:
        dist.all_reduce(values)
        values /= get_world_size()
    return values


def anywhere(fact: bool) -> bool:
    """Return True, on all ranks, if the fact holds on any rank."""
    if get_world_size() == 1:
        return fact
    holds = torch.tensor(int(fact), dtype=torch.int32)
    dist.all_reduce(holds, dist.ReduceOp.MAX)
    return bool(holds)


def average_scalars(terms: dict[str, Tensor]) -> dict[str, float]:
    """Return the mean over the ranks of each scalar, in float64. All ranks pass the same names in the same order."""
    means = average(torch.stack([term.detach().double() for term in terms.values()]))
    return dict(zip(terms, means.tolist(), strict=True))


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace gradients by their means over the ranks, computed in float32.

    A parameter without a gradient counts as zero on that rank; if no rank has one for it, it has none afterwards.

    Args:
        parameters: the same parameters in the same order on all ranks, all on one device.
    """
    if get_world_size() == 1:
        return
    present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32)
    dist.all_reduce(present, dist.ReduceOp.MAX)
    used = [p for p, anywhere in zip(parameters, present.tolist(), strict=True) if anywhere]
    for bucket in _buckets(used):
        gradients = []
        for p in bucket:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            gradients.append(p.grad)
        means = average(torch.cat([gradient.float().flatten() for gradient in gradients]))
        for gradient, mean in zip(gradients, means.split([p.numel() for p in bucket]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def _buckets(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """Split parameters into runs of at most BUCKET elements; a larger parameter has its own."""
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
    """Copy the weights and buffers of rank 0 to every rank."""
    if get_world_size() > 1:
        for value in (*module.parameters(), *module.buffers()):
            dist.broadcast(value, src=0)


def from_main(value: Any) -> Any:
    """Return rank 0's value on every rank; it is pickled."""
    box = [value]
    if get_world_size() > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: Any) -> list[Any] | None:
    """Return the values of all ranks by rank, on rank 0; None elsewhere. They are pickled, including CPU tensors."""
    if get_world_size() == 1:
        return [value]
    values = [None] * get_world_size() if is_main_process() else None
    dist.gather_object(value, values, dst=0)
    return values
