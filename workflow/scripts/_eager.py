"""Keep torch's compiler out of processes that never compile: importing it takes as long as a small stage.

torchvision imports `torch._dynamo` to ask whether it can compile, and torch's optimizers import it to disable it. In a
process that compiles nothing, the answers are known, and a stand-in gives them. Any other use of the compiler imports
the real one. Results do not depend on the stand-in: tests/test_scripts.py compares them.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

COMPILER = "torch._dynamo"


def _disable(function: Callable | None = None, *arguments: Any, **options: Any) -> Callable:
    """Return the function itself, because nothing is compiled."""
    return function if function is not None else lambda decorated: decorated


_ANSWERS: dict[str, dict[str, Any]] = {
    COMPILER: {"graph_break": lambda *_, **__: None, "disable": _disable},
    f"{COMPILER}.utils": {"is_compile_supported": lambda device: False},
}


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A finder that gives the stand-ins in place of the compiler, until the compiler itself is needed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in _ANSWERS:
            spec = importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == COMPILER)
            if fullname == COMPILER:
                spec.submodule_search_locations = [f"{folder}/_dynamo" for folder in path or ()]
            return spec
        if fullname.startswith(f"{COMPILER}."):
            self._retire()
            importlib.import_module(COMPILER)
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module).update(_ANSWERS[module.__name__])
        module.__getattr__ = lambda name: self._real(module.__name__, name)  # type: ignore[method-assign]

    def _retire(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            for stand_in in _ANSWERS:
                sys.modules.pop(stand_in, None)

    def _real(self, module: str, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._retire()
        return getattr(importlib.import_module(module), name)


def install() -> None:
    """Let `import torch._dynamo` give the stand-in from here on."""
    sys.meta_path.insert(0, _StandIn())
