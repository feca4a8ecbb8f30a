"""Supply what detectron2 v0.6 misses on a current Python, only where it is missing.

The Python sources of v0.6 import compiled operators (`detectron2._C`) that they lack. This project does not need them:
NMS and RoIAlign come from torchvision. The sources also use a name that Pillow has dropped. A compiled detectron2 of
any version is used as it is.
"""

import contextlib
import importlib.abc
import importlib.machinery
import sys
import types
import warnings
from collections.abc import Sequence


class _EmptyOperators(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A finder of a `detectron2._C` without operators; Python asks it last, so a compiled one takes precedence."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == "detectron2._C" else None

    def exec_module(self, module: types.ModuleType) -> None:
        # `default_setup` asks for these three, for its report of the environment
        vars(module).update(
            get_compiler_version=lambda: "none: no compiled operators",
            get_cuda_version=lambda: "none: no compiled operators",
            has_cuda=lambda: False,
        )


class _PillowFirst(importlib.abc.MetaPathFinder):
    """A finder that finds nothing; Python asks it first, and when it looks for detectron2, Pillow is prepared.

    Not earlier, because whoever takes only an interpolator may have no Pillow.
    """

    done = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> None:
        if fullname.split(".")[0] == "detectron2" and not self.done:
            self.done = True
            prepare_pillow()


def prepare_pillow() -> None:
    """Give Pillow back the name that detectron2 v0.6 uses, if Pillow is there and lacks it."""
    with contextlib.suppress(ModuleNotFoundError):  # detectron2 itself says that it needs Pillow
        from PIL import Image

        if not hasattr(Image, "LINEAR"):
            Image.LINEAR = Image.Resampling.BILINEAR  # type: ignore[attr-defined]


def install() -> None:
    """Make `import detectron2` work from here on; a second call does nothing."""
    if any(isinstance(finder, _EmptyOperators) for finder in sys.meta_path):
        return
    sys.meta_path.append(_EmptyOperators())
    sys.meta_path.insert(0, _PillowFirst())
    # importing v0.6 scripts two functions; torch deprecates that, and no user can do anything about it
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
    # v0.6 creates its grid of anchors with torch.meshgrid's old default; torch warns that this default will change
    warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
