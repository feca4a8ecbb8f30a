"""The paper's tables as data: every value as printed, read from `paper/*.csv` (part of the package)."""

from importlib.resources import files

import pandas as pd

from afigan.reporting.layout import LAYOUTS, Record

METRIC_PREFIXES = ("box_", "mask_", "params_", "time_", "upsampling_")
CITED = "cited"


def printed_table(number: int) -> pd.DataFrame:
    """Return Table `number` of the paper, rows and columns in printed order; NaN where the paper prints a dash.

    Table 2 has rows but no values, because it is not legible in our copy of the paper.
    Raises ValueError for a table that the paper does not have.
    """
    path = files("afigan.reporting") / "paper" / f"table{number}.csv"
    if not path.is_file():
        raise ValueError(f"the paper has no Table {number}; its tables are {', '.join(map(str, LAYOUTS))}")
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file)


def metric_columns(table: pd.DataFrame) -> list[str]:
    """Return the measured columns of a printed table; the other columns identify the row."""
    return [column for column in table.columns if column.startswith(METRIC_PREFIXES)]


def printed_records(number: int) -> dict[str, Record]:
    """Return label -> printed row of Table `number`, None where the paper prints a dash; in printed order."""
    table = printed_table(number)
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    labelled = {LAYOUTS[number].label(record): record for record in records}
    assert len(labelled) == len(records), f"labels of the paper's Table {number} are not unique"
    return labelled


def is_cited(record: Record) -> bool:
    """Return True if the paper cites the row from other authors, in which case we have no row to compare with it."""
    return record.get("source") == CITED


def printed_rows(number: int) -> list[str]:
    """Return the labels of the rows of Table `number` that our experiments have to fill: all but the cited ones."""
    return [label for label, record in printed_records(number).items() if not is_cited(record)]
