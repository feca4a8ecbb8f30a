"""The profiles of conf/, each composed once a session: Hydra takes a second for a large one."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

from afigan.config import compose

CONF = Path(__file__).resolve().parents[1] / "conf"


@cache
def _composed(profile: str) -> dict[str, Any]:
    return compose(profile, CONF)


def composed(profile: str) -> dict[str, Any]:
    """The values of params.yaml for a profile, to be changed at will."""
    return copy.deepcopy(_composed(profile))
