"""The registry of interpolators: a class names itself and its traits in a decorator, and nobody lists it elsewhere.

`afigan.params.registered` reads the arguments of the decorator and of the constructor from the source, so that
params.yaml can be checked without torch. They therefore have to be literals.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from torch import nn

Module = TypeVar("Module", bound=type[nn.Module])


@dataclass(frozen=True)
class Traits:
    """Properties of an interpolator that pyramids and stages ask for.

    Args:
        learned: it has weights, so that stages 1 and 2 can train it as G.
        shared: a pyramid has one module for all its upsampling places; otherwise one module a place.
        guided: it needs the finer lateral map as `guide`.
        unrepeatable: on a GPU its gradient is added in a changing order, and torch has no other implementation.
    """

    learned: bool = False
    shared: bool = False
    guided: bool = False
    unrepeatable: bool = False


_CLASSES: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {}
_TRAITS: dict[str, Traits] = {}
INTERPOLATORS: Mapping[str, Traits] = MappingProxyType(_TRAITS)
"""The names of all registered interpolators, with their traits."""


def register_interpolator(
    name: str,
    *,
    learned: bool = False,
    shared: bool = False,
    guided: bool = False,
    unrepeatable: bool = False,
    **fixed: Any,
) -> Callable[[Module], Module]:
    """Register a class under a name; its constructor takes the number of channels, then its options with defaults.

    Args:
        name: in params.yaml and for `build_interpolator`.
        learned: see `Traits`.
        shared: see `Traits`.
        guided: see `Traits`.
        unrepeatable: see `Traits`.
        fixed: constructor arguments that this name stands for; they are no options.

    Raises:
        ValueError: the name is taken.
    """
    if name in _CLASSES:
        raise ValueError(f"an interpolator {name!r} is registered already: choose another name")

    def decorate(cls: Module) -> Module:
        _CLASSES[name] = (cls, fixed)
        _TRAITS[name] = Traits(learned, shared, guided, unrepeatable)
        return cls

    return decorate


def interpolator_traits(name: str) -> Traits:
    """Return the traits of an interpolator.

    Raises:
        ValueError: unknown name.
    """
    if name not in _TRAITS:
        raise ValueError(f"unknown interpolator {name!r}: choose one of {', '.join(INTERPOLATORS)}")
    return _TRAITS[name]


def build_interpolator(name: str, channels: int, **options: Any) -> nn.Module:
    """Build an interpolator by its name.

    Args:
        name: one of `INTERPOLATORS`.
        channels: C, of both its input and its output.
        options: the further arguments of the class's constructor, such as `blocks="rdb"|"rb"` of `afi`.

    Returns:
        A module `(x, guide=None)`: (N, C, H, W) -> (N, C, 2H, 2W), any H, W >= 1.

    Raises:
        ValueError: unknown name, an option that the interpolator does not have, or a value that the option cannot have.
    """
    interpolator_traits(name)  # refuses an unknown name
    cls, fixed = _CLASSES[name]
    known = list(inspect.signature(cls).parameters)[1:]
    if unknown := sorted(option for option in options if option not in known or option in fixed):
        raise ValueError(f"interpolator {name!r} has no option {', '.join(unknown)}: remove it")
    return cls(channels, **fixed, **options)
