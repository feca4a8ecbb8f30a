"""The registry of detection heads: a head's configuration names itself and its traits in a decorator.

`afigan.params.registered` reads the decorators from the source, so that params.yaml can be checked without torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from detectron2.config import CfgNode

from afigan.detectors.architecture import Architecture

Configure: TypeAlias = Callable[[CfgNode, Architecture, list[str], float], None]


@dataclass(frozen=True)
class Head:
    """A detection head.

    Args:
        configure: sets `cfg.MODEL` for it, from the architecture, the names of the pyramid's levels, and the scale of
            the images that the detector will see (0.5 for M).
        finest: its finest level on an FPN, p2 or p3; it has five levels. Every BiFPN has P3-P7.
        masks: whether it predicts masks.
        family: `rcnn` for detectron2's R-CNN family, which alone has test-time augmentation; or `dense`.
    """

    configure: Configure
    finest: Literal["p2", "p3"]
    masks: bool
    family: Literal["rcnn", "dense"]


_HEADS: dict[str, Head] = {}
HEADS: Mapping[str, Head] = MappingProxyType(_HEADS)


def register_head(
    name: str, *, finest: Literal["p2", "p3"], masks: bool, family: Literal["rcnn", "dense"]
) -> Callable[[Configure], Configure]:
    """Register the function that configures a head under a name; see `Head` for the traits."""
    assert name not in _HEADS, name

    def decorate(configure: Configure) -> Configure:
        _HEADS[name] = Head(configure, finest, masks, family)
        return configure

    return decorate
