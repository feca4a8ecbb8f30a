"""The paper's tables as data: every value as printed, read from `paper/*.csv` (part of the package)."""

from importlib.resources import files

import pandas as pd

# Per table that we fill: the column that names a row, the row that the paper takes the differences against, and what
# the table compares. A table not listed is still readable by `printed_table`.
KEY = {4: "name", 6: "interpolation", 7: "semantic_level", 8: "degradation", 9: "name"}
REFERENCE = {4: "A1", 6: "nearest", 7: "same", 8: "bilinear", 9: "B2"}
TITLE = {
    4: "Progressive training: what each stage adds",
    6: "Interpolation methods in the pyramid's top-down path",
    7: "Semantic level of the maps compared in L_AF",
    8: "Degradation that makes the low-resolution image",
    9: "Upsampling P5 repeatedly against upsampling level by level",
}
METRIC_PREFIXES = ("box_", "mask_", "params_", "time_")


def printed_table(number: int) -> pd.DataFrame:
    """Table `number` of the paper, rows and columns in printed order; NaN where the paper prints a dash.

    Raises ValueError for a table of which no values are known (Table 2 is not legible in the copy this was read from).
    """
    path = files("afigan.reporting") / "paper" / f"table{number}.csv"
    if not path.is_file():
        raise ValueError(f"the paper's Table {number} is not among the package's data (Table 2 is not legible)")
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file)


def metric_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a printed table that were measured; the others say what the row is."""
    return [column for column in table.columns if column.startswith(METRIC_PREFIXES)]
