"""Tables of the page that come straight from files: AP of each class, kinds of errors, and the summary of the data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from afigan.reporting.text import Grid, number

RUNS = 20  # columns of a table; the metrics files have the classes of all runs


def class_grids(contents: Mapping[str, Any], first: Sequence[str] = ()) -> dict[str, Grid]:
    """Return `box AP`, ... -> a row for each class with its number of objects and its AP in each of at most RUNS runs.

    contents: evaluation -> its metrics file, whose `box` and `mask` have a list `classes`; empty if none has.
    first: the evaluations of the first columns.
    """
    keys = sorted(contents, key=lambda key: first.index(key) if key in first else len(first))
    grids = {}
    for kind in ("box", "mask"):
        runs = {key: found for key in keys if (found := _part(contents[key], kind, "classes"))}
        runs = dict(list(runs.items())[:RUNS])
        for metric in ("AP", "AP50"):
            if runs:
                entries = next(iter(runs.values()))  # all runs have the same validation images
                grids[f"{kind} {metric}"] = {
                    "class": [entry["name"] for entry in entries],
                    "objects": [f"{entry['objects']:,}" for entry in entries],
                } | {key: [_percent(entry[metric]) for entry in found] for key, found in runs.items()}
    return grids


def error_grids(contents: Mapping[str, Any]) -> dict[str, Grid]:
    """Return `box`, `mask` -> a row for each run with the number of errors of each kind, and the AP50 lost by them."""
    grids = {}
    for kind in ("box", "mask"):
        runs = {key: found for key in contents if (found := _part(contents[key], kind, "errors"))}
        if runs:
            names = dict.fromkeys(name for errors in runs.values() for name in errors)
            grids[kind] = {"run": list(runs)} | {
                name: [_error(errors.get(name)) for errors in runs.values()] for name in names
            }
    return grids


def data_grid(summary: Mapping[str, Any]) -> Grid:
    """Return data/prepared/summary.json with a row for each value and a column for each split that has images."""
    splits = {name: values for name, values in summary.items() if isinstance(values, Mapping) and values.get("images")}
    flat = {name: dict(_facts(values)) for name, values in splits.items()}
    facts = list(dict.fromkeys(fact for values in flat.values() for fact in values))
    return {"": facts} | {name: [values.get(fact, "") for fact in facts] for name, values in flat.items()}


def _part(content: Mapping[str, Any], kind: str, name: str) -> Any:
    return (content.get(kind) or {}).get(name)  # a detector without masks has null; older files have no such part


def _percent(value: float | None) -> str:
    return "n/a" if value is None else number(value)


def _error(error: Mapping[str, Any] | None) -> str:
    if error is None:
        return ""
    return f"{error['count']:,} ({'n/a' if error['dAP'] is None else number(error['dAP'], signed=True)})"


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
