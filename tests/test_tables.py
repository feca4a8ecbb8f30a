"""The tables: each cell is that of the evaluation it names; nothing stale, missing or malformed passes for a number."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from afigan.reporting.paper import KEY, REFERENCE, metric_columns, printed_table
from afigan.reporting.summary import write_readme
from afigan.reporting.tables import write_tables

ROOT = Path(__file__).parents[1]
SPINE = yaml.safe_load((ROOT / "conf/experiments/spine.yaml").read_text())
TABLES = SPINE["tables"]
MODELS = {key: evaluation["model"] for key, evaluation in SPINE["experiments"]["evaluations"].items()}
HASHES = {key: f"hash-of-{key}" for key in MODELS}
AP_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def value_of(key: str, column: str) -> float:
    """A different number for every cell of every evaluation, with more digits than the Markdown shows."""
    columns = [f"{kind}_{name}" for kind in ("box", "mask") for name in AP_NAMES] + ["params_M"]
    return 1 + list(MODELS).index(key) * len(columns) / 3 + columns.index(column) / 3.01


def metrics_of(key: str) -> dict:
    return {
        "key": key,
        "model": MODELS[key],
        "params_hash": HASHES[key],
        "data": {"source": "shapes", "train_images": 400, "val_images": 100},
        "schedule": "160 iterations",
        "params_M": value_of(key, "params_M"),
        "box": {name: value_of(key, f"box_{name}") for name in AP_NAMES},
        "mask": {name: value_of(key, f"mask_{name}") for name in AP_NAMES},
    }


class Results:
    """results/ in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.metrics, self.tables = root / "metrics", root / "tables"
        self.metrics.mkdir()
        for key in MODELS:
            self.put(key)

    def put(self, key: str, /, **changes: object) -> None:
        (self.metrics / f"{key}.json").write_text(json.dumps(metrics_of(key) | changes))

    def write(self, tables: dict = TABLES, hashes: dict = HASHES) -> None:
        write_tables(tables, self.metrics, hashes, self.tables)

    def csv(self, number: int) -> pd.DataFrame:
        """As text, row key -> cells; an empty cell is ''."""
        frame = pd.read_csv(self.tables / f"table{number}.csv", dtype=str, keep_default_na=False)
        return frame.set_index(KEY[number], drop=False)

    def markdown(self, number: int) -> str:
        return (self.tables / f"table{number}.md").read_text()

    def markdown_rows(self, number: int, grid: int = 0) -> list[list[str]]:
        """Cells of the Markdown's first grid (headline) or second (the other metrics), without heading and rule."""
        grids = [part for part in self.markdown(number).split("\n\n") if part.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in grids[grid].splitlines()[2:]]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


def test_spine_fills_every_printed_row() -> None:
    assert set(TABLES) == {f"table{number}" for number in KEY}
    for number, key in KEY.items():
        assert set(TABLES[f"table{number}"]) == set(printed_table(number)[key])
        assert REFERENCE[number] in TABLES[f"table{number}"]
    assert {key for rows in TABLES.values() for key in rows.values()} == set(MODELS)


def test_paper_values_spot_checked() -> None:
    row = printed_table(6).set_index("interpolation").loc["deconv"]
    assert (row["box_AP"], row["mask_APl"], row["params_M"]) == (40.2, 52.9, 53)
    assert printed_table(1)["mask_AP"].isna().any()
    with pytest.raises(ValueError, match="Table 2"):
        printed_table(2)


@pytest.mark.parametrize("number", KEY)
def test_every_cell_is_its_own(results: Results, number: int) -> None:
    results.write()
    csv, printed = results.csv(number), printed_table(number)
    assert list(csv.index) == list(printed[KEY[number]])
    reference = REFERENCE[number]
    for _, paper in printed.iterrows():
        row = paper[KEY[number]]
        evaluation = TABLES[f"table{number}"][row]
        ours = csv.loc[row]
        assert (ours["evaluation"], ours["model"], ours["printed"]) == (evaluation, MODELS[evaluation], "1")
        assert (ours["schedule"], ours["data_source"], ours["train_images"]) == ("160 iterations", "shapes", "400")
        for column in set(printed) - set(metric_columns(printed)):
            assert ours[column] == str(paper[column])
        for column in metric_columns(printed):
            assert float(ours[f"{column}_paper"]) == paper[column]
            assert float(ours[f"{column}_ours"]) == value_of(evaluation, column)
            if column != "params_M":
                base = value_of(TABLES[f"table{number}"][reference], column)
                assert float(ours[f"{column}_ours_delta"]) == pytest.approx(
                    value_of(evaluation, column) - base, abs=1e-6
                )
                base = printed.set_index(KEY[number]).loc[reference, column]
                assert float(ours[f"{column}_paper_delta"]) == pytest.approx(paper[column] - base, abs=1e-6)


@pytest.mark.parametrize("number", KEY)
def test_markdown_says_what_the_csv_says(results: Results, number: int) -> None:
    results.write()
    csv, printed = results.csv(number), printed_table(number)
    rows, rest = results.markdown_rows(number), results.markdown_rows(number, grid=1)
    described = len(printed.columns) - len(metric_columns(printed))
    assert len(rows) == len(rest) == len(csv)
    for cells, others, (row, ours) in zip(rows, rest, csv.iterrows(), strict=True):
        assert cells[0].split(" ")[0] == others[0].split(" ")[0] == row
        expected = []
        for column in ("box_AP", "mask_AP"):
            expected += [f"{float(ours[f'{column}_{side}']):.1f}" for side in ("paper", "ours")]
            for side in ("paper", "ours"):
                delta = f"{float(ours[f'{column}_{side}_delta']):+.1f}"
                expected.append("ref." if row == REFERENCE[number] else "0.0" if delta in ("+0.0", "-0.0") else delta)
        if "params_M" in printed:
            expected += [ours["params_M_paper"], f"{float(ours['params_M_ours']):.1f}"]
        assert cells[described:] == expected
        names = [column for column in metric_columns(printed) if column not in ("box_AP", "mask_AP", "params_M")]
        assert others[1:] == [f"{float(ours[f'{c}_paper']):.1f} / {float(ours[f'{c}_ours']):.1f}" for c in names]


def test_differences_by_hand(results: Results) -> None:
    results.put("a1", box=dict.fromkeys(AP_NAMES, 20.0))
    results.put("a5", box=dict.fromkeys(AP_NAMES, 23.46))
    results.put("b1", box=dict.fromkeys(AP_NAMES, 23.5))
    results.write()
    a5 = results.csv(4).loc["A5"]
    assert (a5["box_AP_paper_delta"], a5["box_AP_ours_delta"]) == ("2.6", "3.46")  # 41.2 - 38.6, 23.46 - 20
    assert results.csv(4).loc["A3", "box_AP_paper_delta"] == "-6.5"  # 32.1 - 38.6
    assert results.csv(9).loc["B1", "mask_AP_paper_delta"] == "-4.8"  # against B2, not the first row
    assert results.csv(9).loc["B1", "box_AP_ours_delta"] == "0.04"
    assert results.markdown_rows(4)[4][8:10] == ["+2.6", "+3.5"]
    assert results.markdown_rows(9)[0][5] == "0.0"  # neither +0.0 nor -0.0


def test_a_row_that_was_not_run_says_so(results: Results) -> None:
    (results.metrics / "a4.json").unlink()
    tables = TABLES | {"table4": {row: key for row, key in TABLES["table4"].items() if row != "A6"}}
    results.write(tables)
    csv = results.csv(4)
    assert list(csv.index) == ["A1", "A2", "A3", "A4", "A5", "A6"]
    assert list(csv["evaluation"]) == ["a1", "a2", "a3", "a4", "a5", "—"]
    ours = [column for column in csv if column.endswith(("_ours", "_ours_delta", "schedule", "model"))]
    assert (csv.loc[["A4", "A6"], ours] == "—").all(axis=None)
    assert not (csv.loc[["A1", "A2", "A3", "A5"], ours] == "—").any(axis=None)
    assert csv.loc["A4", "box_AP_paper"] == "39.9"
    assert results.markdown_rows(4)[3][6:10] == ["39.9", "—", "+1.3", "—"]
    assert "`—` not run" in results.markdown(4) and "`—` not run" not in results.markdown(9)


def test_nothing_run(results: Results) -> None:
    for path in results.metrics.iterdir():
        path.unlink()
    results.write()
    assert "Ours: not run yet." in results.markdown(6)
    assert [row[2] for row in results.markdown_rows(6)] == ["—"] * 8


def test_without_the_reference_there_are_no_differences(results: Results) -> None:
    (results.metrics / "a1.json").unlink()
    results.write()
    assert list(results.csv(4)["box_AP_ours_delta"]) == ["—"] * 6
    assert results.csv(4).loc["A2", "box_AP_paper_delta"] == "0.8"


def test_undefined_values_and_no_masks(results: Results) -> None:
    box = dict.fromkeys(AP_NAMES, 30.0) | {"APs": None}
    results.put("bilinear", box=box, mask=None)
    results.write()
    row = results.csv(6).loc["bilinear"]
    assert (row["box_AP_ours"], row["box_APs_ours"], row["mask_AP_ours"]) == ("30.0", "", "")
    assert (row["mask_AP_ours_delta"], row["mask_AP_paper"]) == ("", "35.2")
    assert results.markdown_rows(6)[1][6] == "n/a"
    assert results.markdown_rows(6, grid=1)[1][3] == "22.5 / n/a"
    assert "`n/a` undefined" in results.markdown(6)


def test_rows_the_paper_does_not_print_are_appended(results: Results) -> None:
    results.write({"table6": {"detached": "a2"} | TABLES["table6"]})
    csv = results.csv(6)
    assert list(csv.index) == [*printed_table(6)["interpolation"], "detached"]
    assert (csv.loc["detached", "printed"], csv.loc["detached", "box_AP_paper"]) == ("0", "")
    assert float(csv.loc["detached", "box_AP_ours"]) == value_of("a2", "box_AP")
    assert csv.loc["afi", "params_M_paper"] == "54"  # not 54.0 because of the empty cell below
    assert results.markdown_rows(6)[-1][:2] == ["detached (ours only)", "·"]


def test_rows_on_other_terms_have_a_footnote(results: Results) -> None:
    results.put("a3", schedule="80 iterations")
    results.put("a6", data={"source": "coco", "train_images": 7, "val_images": 5})
    results.write()
    assert "Ours: shapes, 400 training and 100 validation images; 160 iterations." in results.markdown(4)
    assert [row[0] for row in results.markdown_rows(4)] == ["A1", "A2", "A3 ¹", "A4", "A5", "A6 ²"]
    assert "¹ Not like the other rows: the extractor M itself is evaluated" in results.markdown(4)
    assert "another schedule: 80 iterations" in results.markdown(4)
    assert "² Not like the other rows: other data: coco, 7 training and 5 validation images." in results.markdown(4)
    assert "Not like" not in results.markdown(9)


def test_stale_metrics_are_refused(results: Results) -> None:
    with pytest.raises(
        ValueError, match=r"table7, row same, evaluation 'a5': .*a5\.json .*other parameters.*dvc repro"
    ):
        results.write({"table7": TABLES["table7"]}, HASHES | {"a5": "another"})
    assert not results.tables.exists()


def test_a_key_that_is_no_evaluation_is_refused(results: Results) -> None:
    with pytest.raises(ValueError, match=r"table9, row B1, evaluation 'nope': .*experiments\.evaluations"):
        results.write({"table9": {"B1": "nope"}})


@pytest.mark.parametrize("name", ["table2", "table10", "ablations"])
def test_unknown_tables_are_refused(results: Results, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*table4, table6"):
        results.write({name: {}})


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "a2"},
        {"box": None},
        {"box": {"AP": 3.0}},
        {"box": dict.fromkeys(AP_NAMES, 30.0) | {"AP": "30"}},
        {"box": dict.fromkeys(AP_NAMES, 30.0) | {"APs": -1}},
        {"box": dict.fromkeys(AP_NAMES, 30.0) | {"AP": float("nan")}},
        {"mask": []},
        {"params_M": None},
        {"schedule": 3},
        {"data": {"source": "shapes"}},
    ],
)
def test_malformed_metrics_are_refused(results: Results, changes: dict) -> None:
    results.put("a1", **changes)
    with pytest.raises(ValueError, match=r"table4, row A1, evaluation 'a1': .*a1\.json.*dvc repro"):
        results.write()


def test_a_file_that_is_not_json_is_refused(results: Results) -> None:
    (results.metrics / "a1.json").write_text('{"key": "a1"')
    with pytest.raises(ValueError, match=r"a1\.json is not a metrics file"):
        results.write()


def test_writing_again_gives_the_same_bytes_and_drops_other_tables(results: Results) -> None:
    results.write()
    before = {path.name: path.read_bytes() for path in results.tables.iterdir()}
    assert set(before) == {f"table{number}.{suffix}" for number in KEY for suffix in ("csv", "md")}
    results.write()
    assert before == {path.name: path.read_bytes() for path in results.tables.iterdir()}
    results.write({"table7": TABLES["table7"]})
    assert sorted(path.name for path in results.tables.iterdir()) == ["table7.csv", "table7.md"]


def test_readme_shows_every_table_and_figure(results: Results, tmp_path: Path) -> None:
    results.write()
    picture = tmp_path / "figures" / "losses.png"
    picture.parent.mkdir()
    picture.touch()
    arguments = {
        "profile": "mini",
        "dataset": "shapes, 400 images",
        "schedules": {"stage 1": "60 iterations"},
        "tables_dir": results.tables,
    }
    readme = tmp_path / "README.md"
    write_readme(readme, figures={"Losses": picture}, **arguments)
    text = readme.read_text()
    assert text.startswith(
        "# Results of the profile `mini`\n\n> **The numbers of ours below are this profile's, not COCO's"
    )
    for number in KEY:
        assert results.markdown(number).strip() in text
        assert f"(tables/table{number}.csv)" in text
    assert "![Losses](figures/losses.png)" in text and "- stage 1: 60 iterations" in text
    write_readme(readme, figures={}, comparable=True, **arguments)
    assert "not COCO's" not in readme.read_text()
    with pytest.raises(ValueError, match=r"gone\.png"):
        write_readme(readme, figures={"Losses": tmp_path / "gone.png"}, **arguments)
    with pytest.raises(ValueError, match="no tables"):
        write_readme(readme, figures={}, **arguments | {"tables_dir": tmp_path / "none"})
