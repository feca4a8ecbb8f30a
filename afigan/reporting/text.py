"""Numbers and grids as Markdown."""

import pandas as pd

Grid = dict[str, list[str]]  # heading -> cells


def number(value: float, digits: int = 1, signed: bool = False) -> str:
    """Format 2.64 as 2.6, or +2.6 if signed; a zero has no sign."""
    value = round(value, 6)  # 1.5499999999999998 is 1.55 with a sum's rounding error
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def with_spread(value: float, spread: float | None, digits: int = 1, signed: bool = False) -> str:
    """Format as 15.1 ± 0.4; 15.1 if there is no spread."""
    text = number(value, digits, signed)
    return text if spread is None else f"{text} ± {number(spread, digits)}"


def with_interval(value: float, interval: tuple[float, float] | None) -> str:
    """Format as +2.6 [+0.4, +4.8]; +2.6 if there is no interval."""
    text = number(value, signed=True)
    return text if interval is None else f"{text} [{', '.join(map(_end, interval))}]"


def _end(value: float) -> str:
    """Format the end of an interval, whose sign shows whether 0 is inside: -0.03 keeps it, where -0.0 would not."""
    digits = next((digits for digits in (1, 2, 3) if float(f"{value:.{digits}f}") != 0), 1)
    return number(value, digits, signed=True)


def probability(value: float) -> str:
    """Format 0.0312 as 0.031; a p value below a thousandth as < 0.001."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def grid(columns: Grid, left: int) -> str:
    """Return a Markdown table; its first `left` columns are words, the others numbers."""
    frame = pd.DataFrame(columns, dtype=object)
    align = ["left"] * left + ["right"] * (len(columns) - left)
    return frame.to_markdown(index=False, disable_numparse=True, colalign=align)


def folded(summary: str, body: str) -> str:
    """Hide `body` until a reader clicks on `summary`."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def words(column: str) -> str:
    """Return the heading of a column: box_AP50 -> box AP50, stage1_afigan -> stage1 afigan."""
    return column.replace("_", " ")
