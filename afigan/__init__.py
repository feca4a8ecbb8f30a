"""AFI-GAN: adversarially trained feature interpolation for feature pyramid networks (Lee & Bae, 2023), on detectron2.

`import afigan` is light: the modules that need torch and detectron2 import them. After it, this process can import
detectron2 v0.6's Python sources; see `afigan.compat`. The names below are imported when they are used:

    load_detector, predict    a trained detector for one's own images
    add_afigan_config         the interpolators in a detectron2 project
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from afigan import compat

if TYPE_CHECKING:
    from afigan.prediction.detector import load_detector, predict
    from afigan.pyramids.registry import add_afigan_config

__all__ = ["add_afigan_config", "load_detector", "predict"]

compat.install()

__version__ = "0.1.0"

_MODULES = {
    "add_afigan_config": "afigan.pyramids.registry",  # imports detectron2, because it registers the backbones there
    "load_detector": "afigan.prediction.detector",
    "predict": "afigan.prediction.detector",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'afigan' has no attribute {name!r}")
