"""Records in the results: the hash of their parameters, and of the files that they were created from.

An engine knows what has changed since it created something. It knows nothing of the results of another engine, or of
files that somebody copied there. These records are in the results, so they are valid for results of any origin.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from afigan.params.lineage import fingerprint
from afigan.params.schema import Params
from afigan.params.stages import STAGES
from afigan.runtime.files import sha256_file

# where the record of a node is; a model has it in its config.json
_RECORDS = {
    "pseudo_labels": "data/pseudo/{}.json",
    "evaluations": "results/metrics/{}.json",
    "submissions": "results/submissions/{}/about.json",
}


def sums(files: Iterable[Path]) -> dict[str, str]:
    """Return {file: hex SHA-256 of its bytes}; call this when the files are read, not days later."""
    return {path.as_posix(): sha256_file(path) for path in files}


def record(params: Params, node: str, inputs: dict[str, str]) -> dict[str, Any]:
    """Return the record of the result at `node`: the hash of its parameters, and its `inputs`, as `sums` gives them."""
    return {"params_hash": fingerprint(params, node), "inputs": inputs}


def stale(params: Params) -> dict[str, str]:
    """Return {file: why it is not current} for all experiments' results that have a record; empty if all are current.

    A current result exists, has the current parameters, and was created from exactly the files that are there now. The
    weights of a model, and the matches of an evaluation, are those that the record was written with. If a result and
    its input do not fit, the input is named: to create it again also creates its descendants again.
    """
    found: dict[str, str] = {}
    today: dict[str, str | None] = {}  # {file: its sum}: many have the same inputs
    made_from: list[tuple[str, str, str]] = []

    def now(path: str) -> str | None:
        if path not in today:
            today[path] = sha256_file(path) if Path(path).is_file() else None
        return today[path]

    for kind, experiments in params.experiments:
        for key in experiments:
            node = f"{kind}/{key}"
            path = _RECORDS.get(kind, f"models/{kind}/{{}}/config.json").format(key)
            try:
                content = json.loads(Path(path).read_text("utf-8"))
                content = content["info"] if kind == "pseudo_labels" else content
                params_hash, inputs = content["params_hash"], content["inputs"].items()
                beside = {}  # the files that the record was written with
                if kind in STAGES:
                    beside = {f"models/{node}/model.safetensors": content["sha256"]}
                elif kind == "evaluations":
                    beside = {f"results/metrics/{key}.matches.npz": content["matches"]}
            except FileNotFoundError:
                found[path] = "is not there"
                continue
            except (ValueError, TypeError, KeyError, AttributeError):
                found[path] = "does not say what it was created from"
                continue
            if params_hash != fingerprint(params, node):
                found[path] = "has other parameters than the current ones"
            for file, total in beside.items():
                if now(file) != total:
                    found[file] = "is not what its stage wrote" if now(file) else "is not there"
            made_from += [(path, file, total) for file, total in inputs]
    for path, file, total in made_from:
        if now(file) != total and path not in found:
            found.setdefault(file, f"is not what {path} was created from" if now(file) else "is not there")
    return found
