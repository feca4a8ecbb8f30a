"""Multiply-adds of a module, counted by torch while it runs (`torch.utils.flop_counter`)."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def _each(multiply_adds: int) -> Callable[..., int]:
    """Return a formula for an operation that needs so many multiply-adds for each element of a map, its output.

    Vectors are no maps: torch 2.8 computes the indices of nearest interpolation with products.
    """

    def flops(*_: Any, out_shape: torch.Size, **__: Any) -> int:
        return 2 * multiply_adds * math.prod(out_shape) if len(out_shape) > 2 else 0

    return flops


_ATEN = torch.ops.aten
# torch knows convolutions and matrix products. These are the other sums of products in interpolators; additions,
# comparisons, softmax and normalisation do not count
_OTHERS = {
    _ATEN.mul: _each(1),
    _ATEN.addcmul: _each(1),
    _ATEN.addcmul_: _each(1),
    _ATEN.lerp: _each(1),
    _ATEN.grid_sampler_2d: _each(4),
    _ATEN.upsample_nearest2d: _each(0),  # torch would count the computation of its indices
    _ATEN.upsample_bilinear2d: _each(4),
    _ATEN.upsample_bicubic2d: _each(16),
}


class MultiplyAdds:
    """The sum over all calls of the modules that are counted. total: multiply-adds; half of torch's FLOP."""

    def __init__(self) -> None:
        self.total = 0


@contextmanager
def counted(module: nn.Module) -> Iterator[MultiplyAdds]:
    """Count the multiply-adds of every call of a module within the context.

    A transposed convolution counts each position of its input times its kernel, as if the output had no border.

    Args:
        module: it may be a part of what is called; only its own work counts.
    """
    found = MultiplyAdds()
    modes: list[FlopCounterMode] = []

    def begin(*_: Any) -> None:
        modes.append(FlopCounterMode(display=False, custom_mapping=_OTHERS))
        modes[-1].__enter__()

    def end(*_: Any) -> None:
        mode = modes.pop()
        mode.__exit__(None, None, None)
        found.total += mode.get_total_flops() // 2

    hooks = [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
