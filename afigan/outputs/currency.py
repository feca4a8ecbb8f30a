"""The one answer to "is this result current?", from the record that each result has of its parameters and inputs."""

import json
import re
from pathlib import Path

from afigan.outputs.paths import last_output
from afigan.params.lineage import Lineage, Node
from afigan.params.schema import Params
from afigan.params.stages import KINDS, is_trained
from afigan.runtime.files import sha256_file

HEAD = 1 << 16  # bytes of an output: its hash is near the beginning, and pseudo-labels are large
REDO = "create it again with `dvc repro` or `snakemake`"


def recorded_hash(node: str) -> str | None:
    """Return the hash of the parameters that a node's result was created with; None if there is no complete result.

    The hash is empty if the result has no record of it.
    """
    path = last_output(node)
    try:
        found = _hash_in(path)
        if is_trained(node):
            (path.parent / "model.safetensors").stat()  # without it, the config is of an interrupted download
    except OSError:
        return None
    return found


def _hash_in(path: Path) -> str:
    with open(path, "rb") as file:
        found = re.search(rb'"params_hash": *"(\w+)"', file.read(HEAD))
    return found[1].decode() if found else ""


def check_hash(path: Path | str, found: str, current: str) -> None:
    """Refuse a result that was created with other parameters than the current ones.

    Args:
        path: the result, for the message.
        found: the hash in its record.
        current: the hash of the current parameters.

    Raises:
        ValueError: it was created with other parameters.
    """
    if found != current:
        raise ValueError(
            f"{path} was created with other parameters than the current ones (its params_hash is {found[:12]}, the "
            f"current one is {current[:12]}); {REDO}"
        )


def check_current(node: Node) -> None:
    """Refuse the result of a node if it is missing or was created with other parameters than the current ones.

    Raises:
        ValueError: it is missing or damaged, or was created with other parameters.
    """
    path = last_output(node.name)
    if not path.is_file():
        raise ValueError(f"{path} does not exist: create it first (`dvc repro` or `snakemake` does)")
    if not (found := _hash_in(path)):
        raise ValueError(f"{path} is damaged: it does not say what it was created with; remove it and {REDO}")
    check_hash(path, found, node.params_hash)


def stale(params: Params) -> dict[str, str]:
    """Return {file: why it is not current} for all experiments' results that have a record; empty if all are current.

    A current result exists, has the current parameters, and was created from exactly the files that are there now. The
    weights of a model, and the matches of an evaluation, are those that the record was written with. If a result and
    its input do not fit, the input is named: to create it again also creates its descendants again.
    """
    found: dict[str, str] = {}
    known: dict[str, str | None] = {}  # {file: its sum}: many have the same inputs
    created_from: list[tuple[str, str, str]] = []

    def now(path: str) -> str | None:
        if path not in known:
            known[path] = sha256_file(path) if Path(path).is_file() else None
        return known[path]

    for node in Lineage(params).of_kind(*KINDS):
        path = last_output(node.name)
        place = path.as_posix()
        try:
            content = json.loads(path.read_text("utf-8"))
            content = content["info"] if node.kind == "pseudo_labels" else content
            params_hash, inputs = content["params_hash"], content["inputs"].items()
            beside = {}  # the file that the record was written with
            if is_trained(node.name):
                beside = {path.with_name("model.safetensors").as_posix(): content["sha256"]}
            elif node.kind == "evaluations":
                beside = {path.with_suffix(".matches.npz").as_posix(): content["matches"]}
        except FileNotFoundError:
            found[place] = "is not there"
            continue
        except (ValueError, TypeError, KeyError, AttributeError):
            found[place] = "does not say what it was created from"
            continue
        if params_hash != node.params_hash:
            found[place] = "has other parameters than the current ones"
        for file, total in beside.items():
            if now(file) != total:
                found[file] = "is not what its stage wrote" if now(file) else "is not there"
        created_from += [(place, file, total) for file, total in inputs]
    for place, file, total in created_from:
        if now(file) != total and place not in found:
            found.setdefault(file, f"is not what {place} was created from" if now(file) else "is not there")
    return found
