"""Names and traits of interpolators and detection heads, read from the source that registers them; tables' names.

To import these modules would load torch, and params.yaml is checked by processes that do not need it. The decorators'
arguments, and the defaults and the annotations of options, are literals.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
TYPES: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "bool": bool, "str": str}


@dataclass(frozen=True)
class Option:
    """An option of an interpolator: its default, and the values that it can have, or else their type's name."""

    default: Any
    values: tuple[Any, ...] = ()
    type: str = ""

    def accepts(self, value: Any) -> bool:
        if self.values:
            return any(type(value) is type(known) and value == known for known in self.values)
        return isinstance(value, TYPES[self.type]) and (self.type == "bool" or not isinstance(value, bool))


@dataclass(frozen=True)
class Registered:
    """A registered name: the literal arguments of its decorator, and the options of a class."""

    traits: dict[str, Any]
    options: dict[str, Option]


@cache
def interpolators() -> dict[str, Registered]:
    """Return all interpolators by name: see `afigan.interpolators.registry`."""
    return _registered(PACKAGE / "interpolators", "register_interpolator")


@cache
def heads() -> dict[str, Registered]:
    """Return all detection heads by name: see `afigan.detectors.heads`."""
    return _registered(PACKAGE / "detectors", "register_head")


@cache
def tables() -> list[str]:
    """Return the names of all tables, `table1` and so on: those whose rows are in afigan/reporting/paper."""
    found = (PACKAGE / "reporting" / "paper").glob("table*.csv")
    return sorted((path.stem for path in found), key=lambda name: int(name.removeprefix("table")))


def is_learned(interpolator: str) -> bool:
    """Return whether an interpolator can be trained as G."""
    return interpolators()[interpolator].traits.get("learned", False)


def has_masks(head: str) -> bool:
    """Return whether a head predicts masks."""
    return heads()[head].traits.get("masks", False)


def wrong_options(interpolator: str, options: dict[str, Any]) -> list[str]:
    """Return what is wrong with the options of an interpolator; empty if nothing is."""
    known = interpolators()[interpolator].options
    found = []
    for name, value in options.items():
        if name not in known:
            has = f"its options: {', '.join(known)}" if known else "it has none"
            found.append(f"{name}: {interpolator} has no such option; {has}")
        elif not known[name].accepts(value):
            choice = " or ".join(map(str, known[name].values)) or known[name].type
            found.append(f"{name}: {value!r}, but it has to be {choice}")
    return found


def _registered(folder: Path, decorator: str) -> dict[str, Registered]:
    found = {}
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text("utf-8")
        if f"@{decorator}(" not in text:
            continue
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                for call in reversed(node.decorator_list):  # Python applies the last one first
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == decorator:
                        traits = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
                        options = _options(node) if isinstance(node, ast.ClassDef) else {}
                        found[ast.literal_eval(call.args[0])] = Registered(
                            traits, {name: option for name, option in options.items() if name not in traits}
                        )
    return found


def _options(cls: ast.ClassDef) -> dict[str, Option]:
    """Return the constructor's arguments that have a default, after `self` and `channels`."""
    methods = [node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    if not methods:
        return {}
    arguments = methods[0].args
    positional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    pairs = [*zip(positional, arguments.defaults, strict=True)]
    pairs += [
        (word, default)
        for word, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    ]
    return {word.arg: _option(word, default) for word, default in pairs}


def _option(word: ast.arg, default: ast.expr) -> Option:
    value, kind = ast.literal_eval(default), word.annotation
    if isinstance(kind, ast.Subscript) and isinstance(kind.value, ast.Name) and kind.value.id == "Literal":
        choices = ast.literal_eval(kind.slice)
        return Option(value, choices if isinstance(choices, tuple) else (choices,))
    assert isinstance(kind, ast.Name) and kind.id in TYPES, (
        f"{word.arg}: annotate it with Literal or {', '.join(TYPES)}"
    )
    return Option(value, type=kind.id)
