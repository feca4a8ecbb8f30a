"""Feature interpolators: modules (N, C, H, W) -> (N, C, 2H, 2W) for any C and any H, W >= 1 (sections 3.1 and 5.3)."""

import importlib
import pkgutil

from afigan.interpolators.afi import AFInterpolator
from afigan.interpolators.registry import (
    INTERPOLATORS,
    Traits,
    build_interpolator,
    interpolator_traits,
    register_interpolator,
)

__all__ = [
    "INTERPOLATORS",
    "AFInterpolator",
    "Traits",
    "build_interpolator",
    "interpolator_traits",
    "register_interpolator",
]

for _module in pkgutil.iter_modules(__path__):  # each registers its classes
    importlib.import_module(f"{__name__}.{_module.name}")
