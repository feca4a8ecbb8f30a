"""The profiles of conf/, each composed once a session, because Hydra takes a second; changes of their values."""

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from afigan.params.loading import compose

CONF = Path(__file__).resolve().parents[2] / "conf"


@cache
def _composed(profile: str) -> dict[str, Any]:
    return compose(profile, CONF)


def composed(profile: str) -> dict[str, Any]:
    """Return the values of params.yaml for a profile, which the caller may change."""
    return copy.deepcopy(_composed(profile))


def put(values: Any, way: Sequence[str | int], value: Any) -> None:
    """Set the value at the keys and positions of `way`; ... removes it."""
    *sections, last = way
    for section in sections:
        values = values[section]
    if value is ...:
        del values[last]
    else:
        values[last] = value
