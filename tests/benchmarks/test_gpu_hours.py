"""benchmarks/costs.py: GPU hours of profile paper, by hand for one row."""

import re
from pathlib import Path

import pytest

from afigan.params.loading import check_params, compose

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def costs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import costs

    return costs


def test_hours_of_a5_by_hand(costs, monkeypatch):
    monkeypatch.setattr(costs, "GPU_SECONDS", {"train_afigan": 0.1, "train_extractor": 0.2, "train_detector": 0.05})
    text = costs.markdown(check_params(compose("paper", ROOT / "conf")))
    # 16 images an iteration are 8 GPUs with two each; Table 4's A1 is F
    stages = [150_000 * 8 * 0.1, 270_000 * 8 * 0.2, 90_000 * 8 * 0.05]
    needed, own = (sum(stages) + stages[2]) / 3600, stages[2] / 3600
    row = re.search(r"^\| 4 \| A4; A5 \| (\d+) \| (\d+) \|$", text, re.M)
    assert [int(hours) for hours in row.groups()] == [round(needed), round(own)]
    assert re.search(r"^\| afigan \| 16 \| 533 \|$", text, re.M)


def test_every_row_of_the_papers_tables_has_a_line(costs):
    params = check_params(compose("paper", ROOT / "conf"))
    rows = [line.split("|") for line in costs.markdown(params).split("\n\n")[0].splitlines()[2:]]
    found = {(f"table{cells[1].strip()}", row.strip()) for cells in rows for row in cells[2].split(";")}
    assert found == {(table, row) for table, entries in params.tables.items() for row in entries}
