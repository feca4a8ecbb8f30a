"""The summary of the prepared data set, for whoever needs its counts and not its annotations."""

from typing import Any

from afigan.outputs.paths import PREPARED
from afigan.runtime.files import read_json


def read_summary() -> dict[str, Any]:
    """Read the findings that `prepare` wrote, by split: see `afigan.data.prepare.findings.summarise`.

    Raises:
        FileNotFoundError: `prepare` has not run.
        ValueError: the file is damaged.
    """
    return read_json(PREPARED / "summary.json")
