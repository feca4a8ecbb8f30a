"""Hashes, parents and seeds of nodes by their names, for tests that ask for one at a time."""

from afigan.params.lineage import Lineage
from afigan.params.schema import Params


def fingerprint(params: Params, node: str) -> str:
    """Return a node's hash of parameters."""
    return Lineage(params)[node].params_hash


def parents(params: Params, node: str) -> list[str]:
    """Return the names of a node's parents."""
    return [parent.name for parent in Lineage(params)[node].parents]
