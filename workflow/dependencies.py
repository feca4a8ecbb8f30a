"""The modules of afigan that each stage runs, computed from imports: both engines' dependencies on code.

The Snakefile calls `code`. dvc.yaml cannot call anything, so `make dvc-yaml` writes the modules into it, and a test
fails when they are not the current ones. Nobody lists modules by hand.
"""

import ast
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Modules that every script imports and that cannot change a result. The last three act through the params hash: the
# metrics of another hash are refused by `tables`, which depends on them.
EVERYWHERE = (
    *("__init__", "compat", "outputs/currency", "outputs/paths", "outputs/provenance"),
    *("params/loading", "params/references", "params/registered", "params/seeds"),
    *("runtime/files", "runtime/messages", "runtime/preemption", "runtime/state"),
)
HASHED = tuple(f"params/{name}" for name in ("dataset", "experiments", "lineage", "schema", "stages", "types"))
COMPARES_HASHES = "tables"


def code(stage: str) -> list[str]:
    """Return a stage's script and the modules that it imports, in functions too, directly or not, from the root.

    Args:
        stage: the name of a script in workflow/scripts.
    """
    script = f"workflow/scripts/{stage}.py"
    without = EVERYWHERE if stage == COMPARES_HASHES else EVERYWHERE + HASHED
    hidden = {f"afigan/{name}.py" for name in without}
    return [script, *sorted(_closure(ROOT / script) - hidden)]


def _closure(start: Path) -> set[str]:
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        for path in _imports(waiting.pop()) - found:
            found.add(path)
            waiting.append(path)
    # an empty __init__.py says nothing
    return {path.relative_to(ROOT).as_posix() for path in found if path.stat().st_size}


@cache
def _imports(path: Path) -> set[Path]:
    """Return the files of afigan that a file imports, with the packages that they are in."""
    names, text = set(), path.read_text("utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    # a package that finds its modules by itself imports all of them
    found = {*path.parent.rglob("*.py")} - {path} if ".iter_modules(" in text or ".walk_packages(" in text else set()
    for parts in (name.split(".") for name in names):
        if parts[0] == "afigan":
            for depth in range(2, len(parts) + 1):
                place = ROOT.joinpath(*parts[:depth])
                found |= {file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()}
    return found


def folded(paths: list[str]) -> list[str]:
    """Return the paths with a folder in place of its modules where all are there: DVC is faster with fewer paths."""
    known = set(paths)
    whole = [
        folder
        for folder in sorted(ROOT.glob("afigan/*/"))
        if known.issuperset(file.relative_to(ROOT).as_posix() for file in folder.rglob("*.*") if file.suffix != ".pyc")
    ]
    names = [folder.relative_to(ROOT).as_posix() for folder in whole]
    return sorted({next((name for name in names if path.startswith(f"{name}/")), path) for path in paths})


def written(text: str) -> str:
    """Return the text of dvc.yaml with each stage's modules behind its script."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if script := re.fullmatch(r"( *)- workflow/scripts/(\w+)\.py\n", line):
            first, *modules = code(script[2])
            lines += [f"{script[1]}- {path}\n" for path in (first, *folded(modules))]
            inside = True
        elif not (inside and re.fullmatch(r" *- afigan/[\w/]+(\.py)?\n", line)):
            lines.append(line)
            inside = False
    return "".join(lines)


if __name__ == "__main__":
    file = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dvc.yaml")
    file.write_text(written(file.read_text("utf-8")), "utf-8")
