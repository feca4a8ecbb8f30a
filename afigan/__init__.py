"""AFI-GAN: adversarially trained feature interpolation for feature pyramid networks (Lee & Bae, 2023), on detectron2.

`import afigan` is light: torch and detectron2 are imported by the modules that need them. From here on this process can
import detectron2 v0.6's Python sources; see `afigan.compat`.
"""

from typing import Any

from afigan import compat

compat.install()

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "add_afigan_config":  # registers the backbones with detectron2, hence imports it
        from afigan.pyramids.registry import add_afigan_config

        return add_afigan_config
    raise AttributeError(f"module 'afigan' has no attribute {name!r}")
