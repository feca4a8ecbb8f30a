"""Normalisers of dense detectors' losses: over the complete batch, for any number of processes."""

from torch import Tensor
from torch import distributed as dist


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a scalar over all processes that train together; the scalar itself if there is one process."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
