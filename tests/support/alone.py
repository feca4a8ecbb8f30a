"""A Python process that finds some of the installed packages and what they require, as in a smaller environment."""

import re
import subprocess
import sys
import textwrap
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HIDE = """
import sys
from importlib.machinery import PathFinder

class Few(PathFinder):
    allowed = frozenset({allowed!r}) | sys.stdlib_module_names

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        known = path is not None or fullname.split(".")[0] in cls.allowed or fullname.startswith("_sysconfigdata")
        return super().find_spec(fullname, path, target) if known else None

sys.meta_path[:] = [Few if finder is PathFinder else finder for finder in sys.meta_path]
sys.path.insert(0, {root!r})
"""


def closure(names: tuple[str, ...]) -> set[str]:
    """Return the names of distributions with all that they require, without extras, in lower case and with hyphens."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = _normal(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:  # of another platform
            continue
        waiting += [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needed if "extra ==" not in text]
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def top_level(names: tuple[str, ...]) -> set[str]:
    """Return the names that code can import from distributions and from what they require."""
    of = packages_distributions()
    found = closure(names)
    return {module for module, owners in of.items() if any(_normal(owner) in found for owner in owners)}


def run(
    code: str, *packages: str, root: Path | str = ROOT, cwd: Path | str = ROOT, extra: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run code in a process that finds `afigan` in `root`, Python's own modules, and `packages` with what they require.

    Args:
        extra: names of other modules that the code may import.
    """
    allowed = sorted({"afigan", *extra} | top_level(packages))
    code = HIDE.format(allowed=allowed, root=str(root)) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
