"""AFI-GAN: adversarially trained feature interpolation for feature pyramid networks (Lee & Bae, 2023), on detectron2.

`import afigan` is light: the modules that need torch and detectron2 import them. After it, this process can import
detectron2 v0.6's Python sources; see `afigan.compat`.
"""

from typing import Any

from afigan import compat

compat.install()

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "add_afigan_config":  # imports detectron2, because it registers the backbones there
        from afigan.pyramids.registry import add_afigan_config

        return add_afigan_config
    raise AttributeError(f"module 'afigan' has no attribute {name!r}")
