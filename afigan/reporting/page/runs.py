"""Runs of the page: every evaluation with its numbers, its parameters and those of the models that it comes from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from afigan.outputs.currency import check_hash
from afigan.params.lineage import Lineage, Node
from afigan.params.schema import Params
from afigan.reporting.text import words
from afigan.runtime.files import read_json

BOOKKEEPING = ("key", "params_hash", "inputs", "matches")  # of a metrics file; shown elsewhere, or no measurement


@dataclass(frozen=True)
class Run:
    """An evaluation.

    file: its metrics file, relative to the page. values: (name, value) of everything measured. settings: (node, its
    parameters), the evaluation first, then the models that it comes from. inputs: (file, SHA-256).
    """

    key: str
    model: str
    file: str
    values: Sequence[tuple[str, str]]
    settings: Sequence[tuple[str, str]]
    params_hash: str
    inputs: Sequence[tuple[str, str]]


def read_contents(params: Params, results: Path) -> dict[str, Any]:
    """Return evaluation -> the content of its metrics file, for those that have been run, in the order of params.yaml.

    Raises:
        ValueError: a file is damaged, or has other parameters than the current ones.
    """
    found = {}
    for node in Lineage(params).of_kind("evaluations"):
        path = results / "metrics" / f"{node.key}.json"
        if path.is_file():
            found[node.key] = read_json(path)
            check_hash(path, found[node.key].get("params_hash", ""), node.params_hash)
    return found


def runs(params: Params, contents: Mapping[str, Any]) -> list[Run]:
    """Return the runs of `read_contents`."""
    lineage = Lineage(params)
    return [
        Run(
            key=key,
            model=content["model"],
            file=f"metrics/{key}.json",
            values=[
                pair for name, value in content.items() if name not in BOOKKEEPING for pair in flat(value, words(name))
            ],
            settings=[(node.name, settings(node)) for node in ancestry(lineage[f"evaluations/{key}"])],
            params_hash=content["params_hash"],
            inputs=sorted(content.get("inputs", {}).items()),
        )
        for key, content in contents.items()
    ]


def ancestry(node: Node) -> list[Node]:
    """Return a node and all its ancestors, the nearest first, each once."""
    found = {node: None}
    waiting = [node]
    while waiting:
        for parent in waiting.pop(0).parents:
            if parent not in found:
                found[parent] = None
                waiting.append(parent)
    return list(found)


def settings(node: Node) -> str:
    """Return what params.yaml says of an experiment, without what has its default value, as one line of YAML."""
    values = node.experiment.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=True, width=10_000, allow_unicode=True).strip()[
        1:-1
    ]


def flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of every number and word in nested dictionaries and lists; numbers to four digits."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flat(item, f"{name} {words(key)}")
    elif isinstance(value, list):
        if all(isinstance(item, str | int) for item in value) and len(value) < 10:
            yield name, ", ".join(map(str, value))
        # longer lists are curves or samples: the metrics file has them
    elif isinstance(value, float):
        yield name, f"{value:.4f}".rstrip("0").rstrip(".")
    elif isinstance(value, bool):
        yield name, "yes" if value else "no"
    else:
        yield name, "undefined" if value is None else str(value)
