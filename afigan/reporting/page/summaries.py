"""Tables of the page that come straight from metrics files: AP of each class, and kinds of errors."""

from collections.abc import Mapping, Sequence
from typing import Any

from afigan.reporting.text import Grid, number

RUNS = 20  # columns of a table; the metrics files have the classes of all runs
FEW = 10  # classes, which fit into the columns of a table


def class_grids(contents: Mapping[str, Any], first: Sequence[str] = ()) -> dict[str, Grid]:
    """Return `box AP`, ... -> the AP of each class in each run.

    Few classes are columns, with their numbers of objects in the headings, and each run is a row. Many classes are
    rows, with a column for each of at most RUNS runs.

    contents: evaluation -> its metrics file, whose `box` and `mask` have a list `classes`; empty if none has.
    first: the evaluations that come first.
    """
    keys = sorted(contents, key=lambda key: first.index(key) if key in first else len(first))
    grids = {}
    for kind in ("box", "mask"):
        runs = {key: found for key in keys if (found := _part(contents[key], kind, "classes"))}
        if not runs:
            continue
        entries = next(iter(runs.values()))  # all runs have the same validation images
        for metric in ("AP", "AP50"):
            if len(entries) <= FEW:
                grids[f"{kind} {metric}"] = {"run": list(runs)} | {
                    f"{entry['name']} ({entry['objects']:,})": [_percent(found[i][metric]) for found in runs.values()]
                    for i, entry in enumerate(entries)
                }
            else:
                grids[f"{kind} {metric}"] = {
                    "class": [entry["name"] for entry in entries],
                    "objects": [f"{entry['objects']:,}" for entry in entries],
                } | {key: [_percent(entry[metric]) for entry in found] for key, found in list(runs.items())[:RUNS]}
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


def _part(content: Mapping[str, Any], kind: str, name: str) -> Any:
    return (content.get(kind) or {}).get(name)  # a detector without masks has null; older files have no such part


def _percent(value: float | None) -> str:
    return "n/a" if value is None else number(value)


def _error(error: Mapping[str, Any] | None) -> str:
    if error is None:
        return ""
    return f"{error['count']:,} ({'n/a' if error['dAP'] is None else number(error['dAP'], signed=True)})"
