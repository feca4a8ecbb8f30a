"""Feature interpolators: modules (N, C, H, W) -> (N, C, 2H, 2W) for any C and any H, W >= 1 (sections 3.1 and 5.3)."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from afigan.interpolators.afi import AFInterpolator
from afigan.interpolators.deconv import DeconvInterpolator
from afigan.interpolators.resize import ResizeConvInterpolator, ResizeInterpolator

__all__ = ["INTERPOLATORS", "AFInterpolator", "build_interpolator"]

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "nearest": partial(ResizeInterpolator, mode="nearest"),
    "bilinear": partial(ResizeInterpolator, mode="bilinear"),
    "bicubic": partial(ResizeInterpolator, mode="bicubic"),
    "nearest-5conv": partial(ResizeConvInterpolator, mode="nearest"),
    "bilinear-5conv": partial(ResizeConvInterpolator, mode="bilinear"),
    "bicubic-5conv": partial(ResizeConvInterpolator, mode="bicubic"),
    "deconv": DeconvInterpolator,
    "afi": AFInterpolator,
}

INTERPOLATORS = tuple(_BUILDERS)


def build_interpolator(name: str, channels: int, **options: Any) -> nn.Module:
    """Build an interpolator by its name in Table 6.

    Args:
        name: one of `INTERPOLATORS`.
        channels: C, of both its input and its output.
        options: `blocks="rdb"|"rb"` for `afi`; the others have none.

    Raises:
        ValueError: unknown name, or an option that the interpolator does not have.
    """
    if name not in _BUILDERS:
        raise ValueError(f"unknown interpolator {name!r}: choose one of {', '.join(INTERPOLATORS)}")
    if unknown := options.keys() - ({"blocks"} if name == "afi" else set()):
        raise ValueError(f"interpolator {name!r} has no option {', '.join(sorted(unknown))}: remove it")
    return _BUILDERS[name](channels, **options)
