"""Tables of the page that come straight from files: AP of each class, and the summary of the data."""

from collections.abc import Iterator, Mapping
from typing import Any

from afigan.reporting.text import Grid, number

PER_CLASS = ("per_class", "classes", "by_class")  # names of the values by class in a metrics file


def class_grids(contents: Mapping[str, Any]) -> dict[str, Grid]:
    """Return metric (`box AP`, ...) -> a row for each run with a column for each class; empty if no run has such.

    contents: evaluation -> its metrics file. A class's value is a number, or a dictionary with several.
    """
    found: dict[str, dict[str, dict[str, float | None]]] = {}  # metric -> run -> class -> value
    for run, content in contents.items():
        for kind in ("box", "mask"):
            for name, values in _by_class(content, kind).items():
                for metric, value in values.items() if isinstance(values, Mapping) else [("AP", values)]:
                    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
                        found.setdefault(f"{kind} {metric}", {}).setdefault(run, {})[name] = value
    grids = {}
    for metric, rows in found.items():
        classes = dict.fromkeys(name for values in rows.values() for name in values)
        grids[metric] = {"run": list(rows)} | {
            name: [_cell(values.get(name)) for values in rows.values()] for name in classes
        }
    return grids


def _by_class(content: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return class -> value or values of one kind, box or mask, wherever the metrics file has them."""
    for name in PER_CLASS:
        for outer, inner in ((kind, name), (name, kind)):
            section = content.get(outer)
            if isinstance(section, Mapping) and isinstance(section.get(inner), Mapping):
                return section[inner]
    return {}


def _cell(value: float | None) -> str:
    return "n/a" if value is None else number(value)


def data_grid(summary: Mapping[str, Any]) -> Grid:
    """Return data/prepared/summary.json with a row for each value and a column for each split that has images."""
    splits = {name: values for name, values in summary.items() if isinstance(values, Mapping) and values.get("images")}
    flat = {name: dict(_facts(values)) for name, values in splits.items()}
    facts = list(dict.fromkeys(fact for values in flat.values() for fact in values))
    return {"": facts} | {name: [values.get(fact, "") for fact in facts] for name, values in flat.items()}


def _facts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _facts(item, f"{name}: {key}" if name else str(key).replace("_", " "))
    elif isinstance(value, bool):
        yield name, "yes" if value else "no"
    elif isinstance(value, int):
        yield name, f"{value:,}"
    elif isinstance(value, float):
        yield name, f"{value:.4g}"
    elif isinstance(value, list):
        if len(value) <= 12 and all(isinstance(item, str | int | float) for item in value):
            yield name, ", ".join(map(str, value))
        # longer lists belong to the file
    elif value is not None:
        yield name, str(value)
