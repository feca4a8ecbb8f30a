"""The data set on the page of results: the findings of `prepare`, and its warnings under the current parameters."""

import re

from afigan.data.prepare.cautions import cautions
from afigan.data.prepare.findings import Summary, table
from afigan.params.schema import Params
from afigan.reporting.text import folded, grid

# an underscore between letters or digits is none
_MARKS = re.compile(r"[\\`*\[\]<|]|(?<![^\W_])_|_(?![^\W_])")
_SHOWN = 40  # rows; a longer table is folded


def data_set(summary: Summary, params: Params) -> str:
    """Return Markdown: a list of the warnings, and the table of images, objects and classes of each split."""
    columns = {heading: [_cell(cell) for cell in cells] for heading, cells in table(summary).items()}
    text, rows = grid(columns, left=1), len(columns[""])
    warnings = "\n".join(f"- **Warning**: {_cell(warning)}" for warning in cautions(summary, params))
    return "\n\n".join([*[warnings] * bool(warnings), text if rows <= _SHOWN else folded(f"{rows} rows", text)])


def _cell(text: str) -> str:
    """Return a class name, or other words, that Markdown shows as they are written."""
    return _MARKS.sub(r"\\\g<0>", text)
