"""What detectron2 v0.6 misses on a current Python, supplied only where it is missing.

The Python sources of v0.6 lack their compiled operators (`detectron2._C`), which they import but do not need for what
this project runs: NMS and RoIAlign come from torchvision. They also use a name that Pillow has dropped. A compiled
detectron2 of any version is used as it is.
"""

import importlib.abc
import importlib.machinery
import sys
import types
import warnings
from collections.abc import Sequence


class _EmptyOperators(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds an empty `detectron2._C`; asked last, so that a compiled one is found before."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == "detectron2._C" else None

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def install() -> None:
    """Make `import detectron2` work from here on; does nothing the second time."""
    if any(isinstance(finder, _EmptyOperators) for finder in sys.meta_path):
        return
    sys.meta_path.append(_EmptyOperators())
    from PIL import Image

    if not hasattr(Image, "LINEAR"):
        Image.LINEAR = Image.Resampling.BILINEAR
    # v0.6 scripts two functions when it is imported; torch deprecates that, and no user can do anything about it
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
    # v0.6 lays out anchors with torch.meshgrid's old default; torch warns of a change to come
    warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
