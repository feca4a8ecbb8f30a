"""Records in the results: the hash of their parameters, and of the files that they were created from.

An engine knows what has changed since it created something. It knows nothing of the results of another engine, or of
files that somebody copied there. These records are in the results, so they are valid for results of any origin.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from afigan.params.lineage import Node
from afigan.runtime.files import sha256_file


def sums(files: Iterable[Path]) -> dict[str, str]:
    """Return {file: hex SHA-256 of its bytes}; call this when the files are read, not days later."""
    return {path.as_posix(): sha256_file(path) for path in files}


def record(node: Node, inputs: dict[str, str]) -> dict[str, Any]:
    """Return the record of a node's result: the hash of its parameters, and its `inputs`, as `sums` gives them."""
    return {"params_hash": node.params_hash, "inputs": inputs}
