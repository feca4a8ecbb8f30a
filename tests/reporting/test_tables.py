"""The tables: each cell is that of its evaluations; stale, missing or malformed files never give a number."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lineages import fingerprint
from measured import Measured, Resampled, detailed
from reported import write_embedded
from summaries import summary

from afigan.params.loading import check_params, compose
from afigan.params.schema import Params
from afigan.reporting import report
from afigan.reporting.benchmark import PaperSize, read_benchmark
from afigan.reporting.coco_classes import COCO_CLASSES
from afigan.reporting.judged import judge_run
from afigan.reporting.layout import LAYOUTS
from afigan.reporting.paper import metric_columns, printed_records, printed_rows, printed_table
from afigan.reporting.results import read_results
from afigan.reporting.summary import readme_text
from afigan.reporting.tables import tables_text

CONF = Path(__file__).parents[2] / "conf"
NUMBERS = tuple(LAYOUTS)
SEEDS = (0, 1, 2)
AP_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
APS = [f"{kind}_{name}" for kind in ("box", "mask") for name in AP_NAMES]
HEADLINE = ("box_AP", "mask_AP")  # whose differences have intervals
UNPRINTED = (2, 10)  # tables without printed values
UPSAMPLING = ("upsampling_params_K", "upsampling_multiply_adds_M")


ROWS = {number: printed_rows(number) for number in NUMBERS}


def key_of(number: int, label: str, seed: int = 0) -> str:
    return f"t{number}_{ROWS[number].index(label)}_s{seed}"


TABLES = {f"table{n}": {label: [key_of(n, label, s) for s in SEEDS] for label in ROWS[n]} for n in NUMBERS}
KEYS = {key: i for i, key in enumerate(key for rows in TABLES.values() for keys in rows.values() for key in keys)}
HASHES = {key: f"hash-of-{key}" for key in KEYS}
LABELS = {key: label for rows in TABLES.values() for label, keys in rows.items() for key in keys}


def value_of(key: str, column: str) -> float:
    """Return a different number for every cell of every evaluation, with more digits than the Markdown, below 100."""
    cell = KEYS[key] * 16 + [*APS, "params_M", "time_ms", *UPSAMPLING].index(column)
    value = 1 + (cell * 7919 % 9973) / 101  # 7919 and 9973 are primes: no two cells of a table agree
    return round(value, 3) if column in UPSAMPLING else value  # from counts


def upsampling_of(key: str) -> dict[str, int]:
    thousands, millions = (value_of(key, column) for column in UPSAMPLING)
    return {"params": round(thousands * 1e3), "multiply_adds": round(millions * 1e6)}


def trained(iterations: int) -> dict:
    return {"stage": 3, "iterations": iterations, "batch_size": 4, "short_sides": [96, 64, 80], "pseudo_labels": False}


def words(iterations: int) -> str:
    return f"stage 3: {iterations} iterations of 4 images, short side 64-96 px"


def metrics_of(key: str) -> dict:
    return {
        "key": key,
        "model": f"detectors/{key}",
        "params_hash": HASHES[key],
        "data": {"source": "shapes", "train_images": 400, "val_images": 100},
        "schedule": trained(160),
        "seed": int(key[-1]),
        "multi_scale": "multi-scale" in LABELS[key],
        "params_M": value_of(key, "params_M"),
        "box": {name: value_of(key, f"box_{name}") for name in AP_NAMES},
        "mask": {name: value_of(key, f"mask_{name}") for name in AP_NAMES},
    }


FILES = {key: json.dumps(metrics_of(key)) for key in KEYS}


class Results:
    """A results/ in a temporary folder; of the metrics in `files`, a call of `write` writes only those it names."""

    def __init__(self, root: Path) -> None:
        self.metrics, self.tables, self.benchmark = root / "metrics", root / "tables", root / "benchmark.json"
        self.metrics.mkdir()
        self.files = dict(FILES)
        self.resamples = Resampled()
        self.time({key: {"time_ms": value_of(key, "time_ms"), "upsampling": upsampling_of(key)} for key in KEYS})

    def put(self, key: str, /, **changes: object) -> None:
        self.files[key] = json.dumps(metrics_of(key) | changes)

    def put_row(self, number: int, label: str, values: dict[int, float | None], **changes: object) -> None:
        """Set box AP etc., seed -> value; the row's other seeds have not been run."""
        for seed in SEEDS:
            key = key_of(number, label, seed)
            if seed in values:
                self.put(key, box=dict.fromkeys(AP_NAMES, values[seed]), **changes)
            else:
                del self.files[key]

    def time(self, rows: dict, /, **changes: object) -> None:
        rows = {key: {"model": "m", "params_hash": HASHES.get(key), "params_M": 1.0} | row for key, row in rows.items()}
        content = {"device": "AMD EPYC", "threads": 2, "runs": 50, "rows": rows}
        self.benchmark.write_text(json.dumps(content | changes))

    def write(self, *numbers: int, tables: dict | None = None, hashes: dict = HASHES) -> None:
        """Write these tables (all if none is named)."""
        if tables is None:
            tables = {name: rows for name, rows in TABLES.items() if not numbers or int(name[5:]) in numbers}
        for rows in tables.values():
            for named in rows.values():
                for key in [named] if isinstance(named, str) else named:
                    if key in self.files:
                        (self.metrics / f"{key}.json").write_text(self.files[key])
        results = replace(read_results(tables, self.metrics, hashes, self.benchmark), resamples=self.resamples)
        written = tables_text(results)
        self.tables.mkdir(exist_ok=True)
        for name, text in written.items():
            (self.tables / name).write_text(text)

    def csv(self, number: int) -> pd.DataFrame:
        """Return the CSV as text, label -> cells; an empty cell is ''."""
        frame = pd.read_csv(self.tables / f"table{number}.csv", dtype=str, keep_default_na=False)
        return frame.set_index("row", drop=False)

    def markdown(self, number: int) -> str:
        return (self.tables / f"table{number}.md").read_text()

    def markdown_rows(self, number: int, grid: int = 0) -> list[dict[str, str]]:
        """Return rows of the Markdown's first grid (headline) or a later one, heading -> cell."""
        grids = [part for part in self.markdown(number).split("\n\n") if part.startswith("|")]
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in grids[grid].splitlines()]
        return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


def values_of(number: int, label: str, column: str) -> np.ndarray:
    return np.array([value_of(key_of(number, label, seed), column) for seed in SEEDS])


# --- what the paper prints -------------------------------------------------------------------------------------------


def test_paper_values_spot_checked() -> None:
    row = printed_table(6).set_index("interpolation").loc["deconv"]
    assert (row["box_AP"], row["mask_APl"], row["params_M"]) == (40.2, 52.9, 53)
    assert printed_records(3)["RetinaNet, afi, CenterMask"]["time_ms"] == 107
    assert printed_records(3)["RetinaNet, afi, CenterMask"]["mask_AP"] is None
    with pytest.raises(ValueError, match="no Table 11"):
        printed_table(11)


def test_rows_to_fill() -> None:
    """Counted in the paper, but for Table 10, our own: Table 1 has 42 rows, 13 of them cited."""
    assert [len(printed_rows(number)) for number in NUMBERS] == [29, 25, 12, 6, 6, 8, 2, 3, 2, 27]
    assert len(printed_records(1)) == 42
    assert {"R-50-FPN, Mask R-CNN, nearest", "Swin-L-BiFPN, Cascade R-CNN, afi, multi-scale, self-training"} < {
        *printed_rows(1)
    }
    assert not {label for label in printed_rows(1) if "MALF" in label or "DCN" in label}
    assert printed_rows(3)[:2] == ["Mask R-CNN, nearest", "Mask R-CNN, afi, Mask R-CNN"]
    assert printed_rows(4) == ["A1", "A2", "A3", "A4", "A5", "A6"]
    assert set(printed_rows(5)) == {f"{p}, {i}" for p in ("FPN", "PAFPN", "BiFPN") for i in ("nearest", "afi")}


def test_table_2_has_rows_but_no_values() -> None:
    rows = ("nearest", "G, rdb", "G, rb", "M, rdb", "M, rb")
    detectors = ("RetinaNet", "FCOS", "Faster R-CNN", "Mask R-CNN", "CenterMask")
    assert printed_rows(2) == [f"{detector}, {row}" for detector in detectors for row in rows]
    table = printed_table(2)
    assert table[metric_columns(table)].isna().all(axis=None) and len(metric_columns(table)) == 6
    assert list(table.columns[:4]) == ["detector", "interpolator", "extractor", "blocks"]


@pytest.mark.parametrize(
    ("number", "label", "reference"),
    [
        (1, "R-50-BiFPN, FCOS, afi", "R-50-BiFPN, FCOS, nearest"),
        (1, "R-50-FPN, FCOS, nearest", "R-50-FPN, FCOS, nearest"),
        (1, "S-101-FPN, Cascade R-CNN, afi, multi-scale", "S-101-FPN, Cascade R-CNN, nearest"),
        (
            1,
            "Swin-T-BiFPN, Cascade R-CNN, afi, multi-scale, self-training",
            "Swin-T-BiFPN, Cascade R-CNN, nearest, self-training",
        ),
        (1, "Swin-T-BiFPN, Cascade R-CNN, afi", "Swin-T-BiFPN, Cascade R-CNN, nearest"),
        (1, "Swin-L-BiFPN, Cascade R-CNN, afi, self-training", None),
        (2, "CenterMask, M, rb", "CenterMask, nearest"),
        (3, "RetinaNet, afi, Mask R-CNN", "RetinaNet, nearest"),
        (4, "A3", "A1"),
        (5, "PAFPN, afi", "PAFPN, nearest"),
        (6, "bicubic-5conv", "nearest"),
        (7, "different", "same"),
        (8, "nearest", "bilinear"),
        (9, "B1", "B2"),
        (10, "carafe, AFI", "nearest, alone"),
    ],
)
def test_what_a_row_is_compared_to(number: int, label: str, reference: str | None) -> None:
    assert label in printed_rows(number)
    assert LAYOUTS[number].reference_of(label, printed_rows(number)) == reference


def test_a_row_of_several_scales_is_compared_to_one_if_there_is_one() -> None:
    """None is printed; a run may add it."""
    afi, nearest = (f"S-101-FPN, Cascade R-CNN, {name}" for name in ("afi, multi-scale", "nearest"))
    added = f"{nearest}, multi-scale"
    assert LAYOUTS[1].reference_of(afi, [nearest, added]) == added
    assert LAYOUTS[1].reference_of(afi, [f"{nearest}, self-training"]) is None


# --- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", NUMBERS)
def test_every_cell_is_its_own(results: Results, number: int) -> None:
    results.write(number)
    csv, printed = results.csv(number), printed_records(number)
    measured = metric_columns(printed_table(number))
    assert list(csv.index) == list(printed)
    for label in printed_rows(number):
        paper, ours = printed[label], csv.loc[label]
        keys = [key_of(number, label, seed) for seed in SEEDS]
        assert (ours["evaluation"], ours["seeds"], ours["printed"]) == ("; ".join(keys), "3", "1")
        assert ours["model"] == "; ".join(f"detectors/{key}" for key in keys)
        assert (ours["schedule"], ours["data_source"], ours["train_images"]) == (words(160), "shapes", "400")
        for column in set(paper) - set(measured):
            assert ours[column] == ("" if paper[column] is None else str(paper[column]))
        reference = ours["reference"]
        for column in [*measured, *(c for c in LAYOUTS[number].costs if c not in measured)]:
            value, base = paper.get(column), printed[reference].get(column) if reference else None
            assert ours[f"{column}_paper"] == ("" if value is None else str(value))
            values = values_of(number, label, column)
            assert float(ours[f"{column}_ours"]) == pytest.approx(values.mean(), abs=1e-6)
            assert float(ours[f"{column}_ours_spread"]) == pytest.approx(values.std(ddof=1), abs=1e-6)
            if column in APS and not reference:
                assert ours[f"{column}_paper_delta"] == ours[f"{column}_ours_delta"] == ""
            elif column in APS:
                differences = values - values_of(number, reference, column)
                assert float(ours[f"{column}_ours_delta"]) == pytest.approx(differences.mean(), abs=1e-6)
                if column in HEADLINE and reference != label:  # 4.302653: 97.5 % of t with two degrees
                    half = 4.302653 * differences.std(ddof=1) / 3**0.5
                    ends = (float(ours[f"{column}_ours_delta_{end}"]) for end in ("low", "high"))
                    assert tuple(ends) == pytest.approx(
                        (differences.mean() - half, differences.mean() + half), abs=1e-4
                    )
                else:
                    assert ours.get(f"{column}_ours_delta_low", "") == ours.get(f"{column}_ours_delta_high", "") == ""
                delta = ours[f"{column}_paper_delta"]
                assert delta == "" if value is None else float(delta) == pytest.approx(value - base, abs=1e-6)
        if LAYOUTS[number].costs and reference:
            times = [values_of(number, row, "time_ms").mean() for row in (label, reference)]
            assert float(ours["time_ratio_ours"]) == pytest.approx(times[0] / times[1], abs=1e-6)


def shown(value: str, spread: str = "", signed: bool = False, digits: int = 1) -> str:
    """Format a CSV cell as the Markdown does."""
    text = f"{float(value):{'+' if signed else ''}.{digits}f}".replace("+0.0", "0.0").replace("-0.0", "0.0")
    return text + (f" ± {float(spread):.{digits}f}" if spread else "")


def shown_delta(ours: pd.Series, column: str) -> str:
    ends = [ours[f"{column}_ours_delta_{end}"] for end in ("low", "high")]
    return f"{shown(ours[f'{column}_ours_delta'], signed=True)} [{', '.join(shown(end, signed=True) for end in ends)}]"


@pytest.mark.parametrize("number", NUMBERS)
def test_markdown_says_what_the_csv_says(results: Results, number: int) -> None:
    results.write(number)
    csv, printed = results.csv(number), printed_table(number)
    measured = metric_columns(printed)
    rows = results.markdown_rows(number)
    others = [c for c in measured if c not in ("box_AP", "mask_AP", "params_M", "time_ms")]
    rest = results.markdown_rows(number, grid=1) if others else []
    labels = [row["row"] for row in rest] if others else list(csv.index)
    assert sorted(labels) == sorted(printed_rows(number)) and len(rows) == len(labels)
    if number == 1:  # pairs are together
        assert labels[:3] == ["R-50-FPN, RetinaNet, nearest", "R-50-FPN, RetinaNet, afi", "R-50-FPN, FCOS, nearest"]
    for i, (label, row) in enumerate(zip(labels, rows, strict=True)):
        ours = csv.loc[label]
        first = LAYOUTS[number].shown[0]
        assert row[first.replace("_", " ")] == ours[first]
        for column in (c for c in ("box_AP", "mask_AP") if c in measured):
            name, reference = column.replace("_", " "), ours["reference"]
            assert row[f"{name} ours"] == shown(ours[f"{column}_ours"], ours[f"{column}_ours_spread"])
            delta = "ref." if reference == label else shown_delta(ours, column) if reference else ""
            assert row[f"Δ {name} ours"] == delta
            if number in UNPRINTED:
                assert f"{name} paper" not in row
                continue
            value, delta = ours[f"{column}_paper"], ours[f"{column}_paper_delta"]
            assert row[f"{name} paper"] == ((value and shown(value)) or "·")
            delta = ("ref." if reference == label else shown(delta, signed=True)) if delta else "·" if reference else ""
            assert row[f"Δ {name} paper"] == delta
        if LAYOUTS[number].costs:
            ratio = ours["time_ratio_ours"], ours["time_ratio_ours_spread"]
            ratio = shown(*ratio, digits=2) if ours["reference"] not in ("", label) else ""
            cells = [
                shown(ours["params_M_ours"], digits=2),  # a count: the spread of these made-up ones is not shown
                shown(ours["time_ms_ours"], ours["time_ms_ours_spread"]),
                "ref." if ours["reference"] == label else ratio,
            ]
            names = ["params (M)", "time (ms)", "time ratio"]
            if number == 3:
                names = [f"{name} paper / ours" for name in names]
                cells = [f"{ours['params_M_paper']} / {cells[0]}", f"{ours['time_ms_paper']} / {cells[1]}", cells[2]]
                if ours["reference"] != label:
                    cells[2] = f"{shown(ours['time_ratio_paper'], digits=2)} / {cells[2]}"
            if number == 10:
                names[1:1] = ["upsampling: params (k)", "upsampling: multiply-adds (M)"]
                cells[1:1] = [shown(ours[f"{column}_ours"], digits=i) for i, column in enumerate(UPSAMPLING, start=1)]
            assert [row[name] for name in names] == cells
        for column in others:
            cell = shown(ours[f"{column}_ours"], ours[f"{column}_ours_spread"])
            printed_value = ours[f"{column}_paper"]
            if number not in UNPRINTED:
                cell = f"{(printed_value and shown(printed_value)) or '·'} / {cell}"
            assert rest[i][column.replace("_", " ")] == cell


def test_table_1_says_which_set_it_is_of_and_which_rows_are_cited(results: Results) -> None:
    results.write(1)
    text = results.markdown(1)
    assert "Paper: COCO test-dev; ours: the validation set" in text
    assert "the nearest row of the same backbone and detector" in text
    cited = results.markdown_rows(1, grid=2)
    assert len(cited) == 13 and text.index("cited by the paper") < text.index("MALF")
    assert (cited[1]["cited row"], cited[1]["box AP"]) == ("VoVNetV2-99-FPN, CenterMask, nearest", "46.5")
    assert (cited[1]["box AP50"], cited[1]["mask AP"], cited[1]["mask APl"]) == ("·", "41.8", "54.3")
    row = results.csv(1).loc["VoVNetV2-99-FPN, CenterMask, nearest"]
    assert (row["source"], row["box_AP_paper"], row["mask_APl_paper"]) == ("cited", "46.5", "54.3")
    ours = [column for column in row.index if "_ours" in column or column in ("evaluation", "seeds", "model")]
    assert set(row[ours]) == {""} and row["reference"] == row["box_AP_paper_delta"] == ""


def test_table_2_says_that_its_print_is_not_legible(results: Results) -> None:
    results.write(2)
    assert "not legible" in results.markdown(2) and "paper" not in results.markdown_rows(2)[0]
    row = results.markdown_rows(2)[3]
    assert list(row.values())[:4] == ["RetinaNet", "afi", "✓", "rdb"]


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_means_and_spreads_by_hand(results: Results) -> None:
    results.put_row(4, "A1", {0: 10.0, 1: 11.0, 2: 15.0})  # mean 12, deviations -2, -1, 3: variance 14 / 2
    results.put_row(4, "A5", {0: 13.0, 1: 13.0, 2: 19.0})  # differences 3, 2, 4: mean 3, error 1 / sqrt(3)
    results.write(4)
    a1, a5 = (results.csv(4).loc[label] for label in ("A1", "A5"))
    assert (a1["box_AP_ours"], a1["box_AP_ours_spread"]) == ("12.0", "2.645751")
    assert a5["box_AP_ours_delta"] == "3.0" and a5["box_AP_ours_delta_low"].startswith("0.515")  # 3 - 2.4841
    row = results.markdown_rows(4)[4]
    assert (row["box AP ours"], row["Δ box AP ours"]) == ("15.0 ± 3.5", "+3.0 [+0.5, +5.5]")
    assert "3 seeds, as mean ± sample standard deviation" in results.markdown(4)
    assert "ours with its 95 % interval over seeds and images" in results.markdown(4)


def test_the_images_widen_the_interval(results: Results) -> None:
    results.put_row(9, "B2", {0: 10.0, 1: 11.0, 2: 15.0})
    results.put_row(9, "B1", {0: 13.0, 1: 13.0, 2: 19.0}, model="detectors/b1")
    results.write(9)
    narrow = results.markdown_rows(9)[0]["Δ box AP ours"]
    results.resamples.noise["b1", "box"] = np.array([-1.0, 1.0] * 25)  # a deviation of 1.01
    results.write(9)
    # variance 1 / 3 + 1.02; 1.35 / (0.33 / 2 + 1.02 / 99) = 7.7 degrees of freedom: 2.32
    assert (narrow, results.markdown_rows(9)[0]["Δ box AP ours"]) == ("+3.0 [+0.5, +5.5]", "+3.0 [+0.3, +5.7]")


def test_only_common_seeds_are_compared(results: Results) -> None:
    results.put_row(4, "A1", {0: 10.0, 1: 14.0})
    results.put_row(4, "A5", {1: 13.0, 2: 19.0})
    results.write(4)
    a5 = results.csv(4).loc["A5"]
    assert (a5["box_AP_ours"], a5["box_AP_ours_delta"]) == ("16.0", "-1.0")
    assert (a5["seeds"], a5["seeds_named"]) == ("2", "3")
    assert (a5["box_AP_ours_delta_seeds"], a5["box_AP_ours_delta_low"]) == ("1", "-1.0")  # of the images alone
    assert results.markdown_rows(4)[4]["Δ box AP ours"] == "-1.0 [-1.0, -1.0] (one seed)"
    results.put_row(9, "B2", {0: 10.0})
    results.put_row(9, "B1", {1: 13.0, 2: 19.0})
    results.write(9)
    b1 = results.csv(9).loc["B1"]
    assert b1["box_AP_ours_delta"] == b1["box_AP_ours_delta_low"] == b1["box_AP_ours_delta_seeds"] == ""
    assert results.markdown_rows(9)[0]["Δ box AP ours"] == "n/a" and "no seed in common" in results.markdown(9)


def test_the_order_of_seeds_does_not_matter(results: Results) -> None:
    results.write(4)
    before = results.csv(4)
    results.write(tables={"table4": TABLES["table4"] | {"A5": list(reversed(TABLES["table4"]["A5"]))}})
    columns = [column for column in before if "_ours" in column]
    assert results.csv(4)[columns].equals(before[columns])


def test_a_missing_seed_is_named(results: Results) -> None:
    del results.files[key_of(4, "A5", 1)]
    results.write(4)
    a5 = results.csv(4).loc["A5"]
    assert (a5["seeds"], a5["seeds_named"], len(a5["evaluation"].split("; "))) == ("2", "3", 3)
    left = values_of(4, "A5", "box_AP")[[0, 2]]
    assert float(a5["box_AP_ours"]) == pytest.approx(left.mean(), abs=1e-6)
    assert float(a5["box_AP_ours_spread"]) == pytest.approx(left.std(ddof=1), abs=1e-6)
    assert results.markdown_rows(4)[4]["name"] == "A5 ¹"
    assert "¹ Differs from the other rows: 2 of 3 seeds have been run." in results.markdown(4)


def test_one_seed_has_no_spread(results: Results) -> None:
    tables = {"table4": {label: keys[0] if label != "A2" else keys[:1] for label, keys in TABLES["table4"].items()}}
    results.write(tables=tables)
    csv = results.csv(4)
    assert set(csv["seeds"]) == {"1"}
    assert set(csv["box_AP_ours_spread"]) == {""}
    assert csv.loc["A2", "box_AP_ours"] == str(value_of(key_of(4, "A2"), "box_AP"))  # not rounded
    assert "one seed" in results.markdown(4) and "±" not in results.markdown(4)
    assert "ours with its 95 % interval over images alone" in results.markdown(4)


def test_seeds_must_differ(results: Results) -> None:
    keys = TABLES["table4"]["A5"]
    for named in ([keys[0], keys[0]], [keys[0], key_of(4, "A6", 0)]):
        with pytest.raises(ValueError, match=r"table4, row A5: .* need different seeds, but have \[0, 0\]"):
            results.write(tables={"table4": {"A5": named}})
    with pytest.raises(ValueError, match="table4, row A5: no evaluation is named"):
        results.write(tables={"table4": {"A5": []}})


# --- time ------------------------------------------------------------------------------------------------------------


def test_times_by_hand(results: Results) -> None:
    """Only what has been timed counts; the ratio is of the means."""
    nearest, afi = "Mask R-CNN, nearest", "Mask R-CNN, afi, Mask R-CNN"
    times = {key_of(3, nearest, 0): 20.0, key_of(3, nearest, 2): 30.0, key_of(3, afi, 1): 40.0}
    results.time({key: {"time_ms": value} for key, value in times.items()})
    results.write(3)
    csv = results.csv(3)
    columns = ["time_ms_paper", "time_ratio_paper", "time_ms_ours", "time_ms_ours_spread", "time_ratio_ours"]
    assert list(csv.loc[nearest, columns]) == ["72", "1.0", "25.0", "7.071068", "1.0"]
    assert list(csv.loc[afi, columns]) == ["118", "1.638889", "40.0", "", "1.6"]
    assert list(csv.loc["RetinaNet, nearest", columns[2:]]) == ["—", "—", "—"]
    row = results.markdown_rows(3)[1]
    assert (row["time (ms) paper / ours"], row["time ratio paper / ours"]) == ("118 / 40.0", "1.64 / 1.60")
    text = results.markdown(3)
    assert "Titan Xp" in text and "median of 50 images after a warm-up, batch 1, AMD EPYC, CPU threads: 2" in text


def test_without_a_benchmark_times_are_not_run(results: Results) -> None:
    results.benchmark.unlink()
    results.write(1)
    csv = results.csv(1).loc[printed_rows(1)]
    assert set(csv["time_ms_ours"]) == {"—"} and set(csv["params_M_ours"]) != {"—"}
    assert set(csv["time_ratio_ours"]) == {"—", ""}  # there is no row that Swin-L's are compared to
    assert "Our time: not run yet" in results.markdown(1)


PAPER_SIZE = {
    "channels": 256,
    "height": 480,
    "width": 640,
    "params_M": {"nearest": 44.4, "afi": 52.2},
    "time_ms": {"nearest": 2000, "afi": 3500.5},
}


def test_the_papers_size_is_read_where_it_was_measured(results: Results) -> None:
    assert read_benchmark(results.benchmark, HASHES).paper_size is None  # a file from before there was any
    results.time({}, paper_size=None)
    assert read_benchmark(results.benchmark, HASHES).paper_size is None
    results.time({}, paper_size=PAPER_SIZE)
    found = read_benchmark(results.benchmark, HASHES).paper_size
    times = {"nearest": 2000.0, "afi": 3500.5}
    assert found == PaperSize(channels=256, height=480, width=640, params_M=PAPER_SIZE["params_M"], time_ms=times)


def test_a_stale_benchmark_is_refused(results: Results) -> None:
    key = key_of(4, "A1")
    results.time({key: {"time_ms": 3.0, "params_hash": "another"}})
    with pytest.raises(ValueError, match=r"benchmark\.json .*other parameters.*dvc repro"):
        results.write(4)
    results.time({"gone": {"time_ms": 3.0, "params_hash": "x"}})
    with pytest.raises(ValueError, match=r"benchmark\.json .*'gone'.*experiments\.evaluations"):
        results.write(4)


@pytest.mark.parametrize(
    ("row", "changes"),
    [
        ({"time_ms": None}, {}),
        ({"time_ms": -1.0}, {}),
        ({"time_ms": float("inf")}, {}),
        ({"time_ms": "3"}, {}),
        ({"time_ms": 3.0}, {"device": None}),
        ({"time_ms": 3.0}, {"threads": True}),
        ({"time_ms": 3.0}, {"rows": []}),
        ({"time_ms": 3.0}, {"paper_size": []}),
        ({"time_ms": 3.0}, {"paper_size": {**PAPER_SIZE, "channels": "256"}}),
        ({"time_ms": 3.0}, {"paper_size": {**PAPER_SIZE, "params_M": {"nearest": 44.4}}}),
        ({"time_ms": 3.0}, {"paper_size": {**PAPER_SIZE, "time_ms": {"nearest": 0.0, "afi": 3.0}}}),
    ],
)
def test_a_malformed_benchmark_is_refused(results: Results, row: dict, changes: dict) -> None:
    results.time({key_of(4, "A1"): row}, **changes)
    with pytest.raises(ValueError, match=r"benchmark\.json is not a benchmark"):
        results.write(4)


# --- what is missing, other or wrong ---------------------------------------------------------------------------------


def test_differences_in_the_paper_by_hand(results: Results) -> None:
    results.write(4, 9)
    assert results.csv(4).loc["A5", "box_AP_paper_delta"] == "2.6"  # 41.2 - 38.6
    assert results.csv(4).loc["A3", "box_AP_paper_delta"] == "-6.5"  # 32.1 - 38.6
    assert results.csv(9).loc["B1", "mask_AP_paper_delta"] == "-4.8"  # against B2, not the first row
    shown = [row["Δ box AP paper"] for row in results.markdown_rows(4)]
    assert shown == ["ref.", "+0.8", "-6.5", "+1.3", "+2.6", "+0.2"]


def test_a_difference_of_nothing_has_no_sign(results: Results) -> None:
    results.put_row(9, "B2", {0: 23.46})
    results.put_row(9, "B1", {0: 23.45})
    results.write(9)
    assert results.csv(9).loc["B1", "box_AP_ours_delta"] == "-0.01"
    assert results.markdown_rows(9)[0]["Δ box AP ours"] == "0.0 [-0.01, -0.01]"  # but an interval's sides do


def test_a_row_that_was_not_run_says_so(results: Results) -> None:
    results.put_row(4, "A4", {})
    a6_left_out = {label: keys for label, keys in TABLES["table4"].items() if label != "A6"}
    results.write(tables={"table4": a6_left_out, "table9": TABLES["table9"]})
    csv = results.csv(4)
    assert list(csv.index) == ["A1", "A2", "A3", "A4", "A5", "A6"]
    assert csv.loc["A6", "evaluation"] == "—" and csv.loc["A4", "evaluation"] != "—"
    assert (csv.loc["A4", "seeds"], csv.loc["A4", "seeds_named"], csv.loc["A6", "seeds"]) == ("0", "3", "—")
    ends = ("_ours", "_ours_delta", "_low", "_high", "_delta_seeds", "_spread", "schedule", "model")
    ours = [column for column in csv if column.endswith(ends)]
    assert (csv.loc[["A4", "A6"], ours] == "—").all(axis=None)
    assert not csv.loc[["A2", "A3", "A5"], ours].isin(["—", ""]).any(axis=None)
    assert csv.loc["A4", "box_AP_paper"] == "39.9"
    row = results.markdown_rows(4)[3]
    assert [row[f"{name} AP {side}"] for name in ("box", "Δ box") for side in ("paper", "ours")] == [
        "39.9",
        "—",
        "+1.3",
        "—",
    ]
    assert "`—` not run" in results.markdown(4) and "`—` not run" not in results.markdown(9)


def test_nothing_run(results: Results) -> None:
    results.files.clear()
    results.write()
    for number in NUMBERS:
        assert "Ours: not run yet." in results.markdown(number)
        assert {row["box AP ours"] for row in results.markdown_rows(number)} == {"—"}


def test_without_the_reference_there_are_no_differences(results: Results) -> None:
    results.put_row(3, "RetinaNet, nearest", {})
    results.write(3)
    csv = results.csv(3)
    retina = [label for label in csv.index if label.startswith("RetinaNet")]
    assert set(csv.loc[retina, "box_AP_ours_delta"]) == set(csv.loc[retina, "time_ratio_ours"]) == {"—"}
    assert "—" not in set(csv.drop(retina)["box_AP_ours_delta"])
    assert csv.loc["RetinaNet, afi, Mask R-CNN", "box_AP_paper_delta"] == "2.2"


def test_undefined_values_and_no_masks(results: Results) -> None:
    box = dict.fromkeys(AP_NAMES, 30.0) | {"APs": None}
    for seed in SEEDS:
        results.put(key_of(6, "bilinear", seed), box=box, mask=None)
    results.put(key_of(6, "bicubic", 1), mask=None)  # of one seed: then there is no mean
    results.write(6)
    row = results.csv(6).loc["bilinear"]
    assert (row["box_AP_ours"], row["box_APs_ours"], row["mask_AP_ours"]) == ("30.0", "", "")
    assert (row["mask_AP_ours_delta"], row["mask_AP_paper"]) == ("", "35.2")
    assert results.csv(6).loc["bicubic", "mask_AP_ours"] == ""
    assert results.markdown_rows(6)[1]["mask AP ours"] == results.markdown_rows(6)[1]["Δ mask AP ours"] == "n/a"
    assert results.markdown_rows(6, grid=1)[1]["box APs"] == "22.5 / n/a"
    assert "`n/a` undefined" in results.markdown(6)


def test_rows_the_paper_does_not_print_are_appended(results: Results) -> None:
    added = {"detached": key_of(4, "A2")}
    results.write(tables={"table6": added | TABLES["table6"]})
    csv = results.csv(6)
    assert list(csv.index) == [*printed_rows(6), "detached"]
    assert (csv.loc["detached", "printed"], csv.loc["detached", "box_AP_paper"]) == ("0", "")
    assert float(csv.loc["detached", "box_AP_ours"]) == value_of(key_of(4, "A2"), "box_AP")
    assert csv.loc["detached", "reference"] == "nearest"
    assert csv.loc["afi", "params_M_paper"] == "54"  # not 54.0 because of the empty cell below
    row = results.markdown_rows(6)[-1]
    assert (row["interpolation"], row["box AP paper"]) == ("detached (ours only) ¹", "·")
    assert "¹ Differs from the other rows: one seed." in results.markdown(6)


def test_an_added_row_is_beside_the_rows_it_is_compared_to(results: Results) -> None:
    results.write(tables={"table5": TABLES["table5"] | {"PAFPN, deconv": TABLES["table4"]["A2"]}})
    csv = results.csv(5).loc["PAFPN, deconv"]
    difference = values_of(4, "A2", "box_AP") - values_of(5, "PAFPN, nearest", "box_AP")
    assert csv["reference"] == "PAFPN, nearest"
    assert float(csv["box_AP_ours_delta"]) == pytest.approx(difference.mean(), abs=1e-6)
    assert [row["pyramid"] for row in results.markdown_rows(5)] == [
        *("FPN", "FPN", "PAFPN", "PAFPN", "PAFPN, deconv (ours only)", "BiFPN", "BiFPN")
    ]


def test_a_cited_row_cannot_be_filled(results: Results) -> None:
    cited = "X-101-64x4d-FPN, MALF, nearest"
    with pytest.raises(ValueError, match=f"table1, row {cited}: the paper cites it"):
        results.write(tables={"table1": {cited: key_of(4, "A1")}})


def test_rows_with_other_settings_have_a_footnote(results: Results) -> None:
    for seed in SEEDS:
        results.put(key_of(4, "A3", seed), schedule=trained(80), model="extractors/main")
        results.put(key_of(4, "A6", seed), data={"source": "coco", "train_images": 7, "val_images": 5})
    results.put(key_of(4, "A4", 1), schedule=trained(90))
    results.put(key_of(4, "A5", 2), multi_scale=True)
    results.write(4, 9)
    text = results.markdown(4)
    assert f"Ours: shapes, 400 training and 100 validation images; {words(160)}; 3 seeds" in text
    assert [row["name"] for row in results.markdown_rows(4)] == ["A1", "A2", "A3 ¹", "A4 ²", "A5 ³", "A6 ⁴"]
    assert "¹ Differs from the other rows: the extractor M itself is evaluated" in text
    assert f"another schedule: {words(80)}" in text
    assert f"² Differs from the other rows: another schedule: {words(160)} or {words(90)}." in text
    assert "³ Differs from the other rows: tested at one scale or several scales." in text
    assert "⁴ Differs from the other rows: other data: coco, 7 training and 5 validation images." in text
    assert "Differs from" not in results.markdown(9)


def test_a_row_that_is_not_tested_as_it_says_has_a_footnote(results: Results) -> None:
    label = "S-101-FPN, Cascade R-CNN, afi, multi-scale"
    for seed in SEEDS:
        results.put(key_of(1, label, seed), multi_scale=False)
    results.write(1)
    assert "¹ Differs from the other rows: tested at one scale." in results.markdown(1)
    marked = [row for row in results.markdown_rows(1) if "¹" in row["backbone"]]
    assert [(row["backbone"], row["interpolation"]) for row in marked] == [("S-101-FPN ¹", "afi, multi-scale")]


def test_stale_metrics_are_refused(results: Results) -> None:
    key = key_of(7, "same", 1)
    results.benchmark.unlink()
    with pytest.raises(
        ValueError, match=rf"table7, row same, evaluation '{key}': .*{key}\.json .*other parameters.*dvc repro"
    ):
        results.write(7, hashes=HASHES | {key: "another"})
    assert not results.tables.exists()


def test_a_key_that_is_no_evaluation_is_refused(results: Results) -> None:
    for named in ("nope", [key_of(9, "B1"), "nope"]):
        with pytest.raises(ValueError, match=r"table9, row B1, evaluation 'nope': .*experiments\.evaluations"):
            results.write(tables={"table9": {"B1": named}})


@pytest.mark.parametrize("name", ["table0", "table99", "ablations"])
def test_unknown_tables_are_refused(results: Results, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*table1, table2"):
        results.write(tables={name: {}})


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
        {"seed": None},
        {"seed": True},
        {"multi_scale": 1},
        {"data": {"source": "shapes"}},
    ],
)
def test_malformed_metrics_are_refused(results: Results, changes: dict) -> None:
    key = key_of(4, "A1", 2)
    results.put(key, **changes)
    with pytest.raises(ValueError, match=rf"table4, row A1, evaluation '{key}': .*{key}\.json.*dvc repro"):
        results.write(4)


def test_a_file_that_is_not_json_is_refused(results: Results) -> None:
    key = key_of(4, "A1")
    results.files[key] = '{"key": "a1"'
    with pytest.raises(ValueError, match=rf"{key}\.json is not a metrics file"):
        results.write(4)


def test_readme_begins_with_the_verdicts_and_their_plot() -> None:
    run = Measured()
    run.put_printed(seeds=2)
    tables = {f"tables/{name}": text for name, text in tables_text(run.results).items() if name.endswith(".md")}
    arguments = {
        "profile": "mini",
        "dataset": "shapes, 400 images",
        "schedules": {"stage 1": "60 iterations"},
        "plot": "figures/claims.png",
        "tables": tables,
    }
    text = readme_text(judge_run(run.results), figures={"Losses": "figures/losses.png"}, **arguments)
    assert text.startswith("# Results of the profile `mini`\n\n> **Our numbers below are this profile's, not COCO's")
    order = [
        "| C1 ",
        "| C8 ",
        "(figures/claims.png)",
        "| Q1 ",
        "- stage 1: 60 iterations",
        "## Table 1.",
        "## Table 9.",
    ]
    places = [text.index(words) for words in [*order, "![Losses](figures/losses.png)"]]
    assert places == sorted(places)
    for path, table in tables.items():
        assert table.strip() in text and f"({path.removesuffix('.md')}.csv)" in text
    assert "not COCO's" not in readme_text(judge_run(run.results), figures={}, comparable=True, **arguments)


@pytest.fixture
def reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A working directory with the inputs of the stage `tables`, with parameters of the profile `mini`."""
    params = check_params(compose("mini", CONF))
    table3 = {"Mask R-CNN, nearest": "a1", "Mask R-CNN, afi, Mask R-CNN": ["a5"]}
    params = params.model_copy(update={"tables": {**params.tables, "table3": table3}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("afigan.reporting.results.Resamples", lambda folder: Resampled())
    for folder in ("data/prepared", "results/metrics", "results/figures"):
        Path(folder).mkdir(parents=True)
    for name in report.CAPTIONS.values():
        Path(f"results/figures/{name}.png").touch()
    write_embedded(params)
    write_run(params, ["a", "b"])
    return params


def write_run(params: Params, classes: list[str], **changes: object) -> None:
    """Write the summary of data of these classes, every evaluation's metrics, changed, and its time."""
    Path("data/prepared/summary.json").write_text(json.dumps(summary(7, dict.fromkeys(classes, 40))))
    timed = {}
    for seed, key in enumerate(params.experiments.evaluations):
        hashed = {"key": key, "params_hash": fingerprint(params, f"evaluations/{key}"), "seed": seed}
        Path(f"results/metrics/{key}.json").write_text(json.dumps(metrics_of(key_of(4, "A1")) | hashed | changes))
        timed[key] = hashed | {"model": "m", "params_M": 1.0, "time_ms": 6.0 if key == "a5" else 3.0}
    benchmark = {"device": "AMD EPYC", "threads": 2, "runs": 50, "rows": timed}
    Path("results/benchmark.json").write_text(json.dumps(benchmark))


def contents() -> dict[str, bytes]:
    return {path.as_posix(): path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}


def test_report_of_a_run(reported: Params) -> None:
    Path("results/tables").mkdir()
    Path("results/tables/table1.md").write_text("of another profile")
    before = set(contents()) - {"results/tables/table1.md"}
    report.write_report(reported)
    tables = {f"results/tables/{name}.{suffix}" for name in reported.tables for suffix in ("csv", "md")}
    written = {
        f"results/{name}" for name in ("claims.md", "claims.csv", "index.html", "README.md", "figures/claims.png")
    }
    assert set(contents()) == before | tables | written
    text = Path("results/README.md").read_text()
    assert "![Detections, nearest beside AFI](figures/detections.png)" in text and "(figures/gradcam.png)" in text
    assert "× 2.00 time" in text and Path("results/tables/table4.md").read_text().strip() in text
    assert text[text.index("<!--") : text.index("<!-- /")] in Path("results/claims.md").read_text()
    once = contents()
    report.write_report(reported)
    assert contents() == once


def test_the_report_has_classes_recall_and_errors(reported: Params) -> None:
    """Of `figures.nearest` and `figures.afi`, because there are many evaluations; after the tables."""
    write_run(reported, ["a", "b"], box=detailed(["a", "b"]), mask=None)
    report.write_report(reported)
    text = Path("results/README.md").read_text()
    assert text.index("## Table 9.") < text.index("## Classes, recall and errors") < text.index("## Figures")
    assert "`a1` is `detectors/t4_0_s0`, `a5` is" in text and "`a5` box AP50 |" in text and "`a2`" not in text
    few = {key: reported.experiments.evaluations[key] for key in ("a1", "a2", "a5")}
    experiments = reported.experiments.model_copy(update={"evaluations": few})
    assert report.detailed(reported.model_copy(update={"experiments": experiments})) == ["a1", "a2", "a5"]


def test_the_numbers_of_ones_own_data_come_first(reported: Params) -> None:
    own = reported.data.model_copy(update={"source": "coco"})
    params = reported.model_copy(update={"data": own, "tables": {"table4": {"A1": "a1"}}})
    write_run(params, ["scratch", "dent"], box=detailed(["scratch", "dent"]), mask=None)
    report.write_report(params)
    text = Path("results/README.md").read_text()
    order = ["the numbers below are those of your data set", "## Classes, recall and errors", "| scratch ", "| dent "]
    order += ["| localisation ", "## How the numbers were produced", "## Table 4.", "## The paper's claims"]
    places = [
        text.lower().index(words.lower()) for words in [*order, "<details><summary>Claims of the paper", "## Fig"]
    ]
    assert places == sorted(places)
    claims = text[places[-3] : places[-1]].split("\n\n")
    assert claims[1] == (
        "<details><summary>Claims of the paper that were not run here: C1, C2, C3, C4, C5, C6, C7, C8</summary>"
    )
    # the folded table is all; no verdict, no plot, no question
    assert claims[2].startswith("| claim") and claims[3:] == ["</details>", ""]
    assert "not run" not in claims[2] and "claims.png" not in text and "Q1" not in text


@pytest.mark.parametrize(("source", "classes"), [("shapes", ["a"]), ("coco", COCO_CLASSES)])
def test_on_shapes_and_on_coco_the_verdicts_come_first(reported: Params, source: str, classes: list[str]) -> None:
    data = reported.data.model_copy(update={"source": source})
    params = reported.model_copy(update={"data": data})
    write_run(params, sorted(classes))
    report.write_report(params)
    text = Path("results/README.md").read_text()
    assert 0 < text.index("| C1 ") < text.index("| Q1 ") < text.index("## How the numbers") and "Claims of" not in text
    assert not report.is_own(params, classes)


def test_own_data_keep_the_verdicts_that_were_run(reported: Params) -> None:
    params = reported.model_copy(update={"data": reported.data.model_copy(update={"source": "coco"})})
    write_run(params, ["a", "b"])
    report.write_report(params)
    text = Path("results/README.md").read_text()
    folded = re.search(r"not run here: (.*)</summary>", text)
    sections = dict(re.findall(r"^### (C\d): (.*)$", Path("results/claims.md").read_text(), re.MULTILINE))
    assert folded and folded[1].split(", ") == [name for name, verdict in sections.items() if verdict == "not run"]
    verdicts = text[text.index("<!-- verdicts") : text.index("<!-- /")]
    shown = re.findall(r"^\| (C\d)", verdicts, re.MULTILINE)
    assert shown == [name for name, verdict in sections.items() if verdict != "not run"] and len(sections) == 8
    assert {"C1", "C2"} == set(folded[1].split(", "))  # the profile lacks Tables 1 and 2
    assert text.index("## Classes, recall and errors") < text.index("## Table 4.") < text.index("<!-- verdicts")
    assert "(figures/claims.png)" in text


def test_a_report_of_what_is_stale_or_missing_is_refused(reported: Params) -> None:
    picture = Path("results/figures/gradcam.png")
    picture.unlink()
    with pytest.raises(ValueError, match=r"the figure results/figures/gradcam\.png does not exist"):
        report.write_report(reported)
    picture.touch()
    benchmark = json.loads(Path("results/benchmark.json").read_text())
    benchmark["rows"]["a1"]["params_hash"] = "another"
    Path("results/benchmark.json").write_text(json.dumps(benchmark))
    with pytest.raises(ValueError, match=r"benchmark\.json .*other parameters"):
        report.write_report(reported)
    assert not Path("results/tables").exists() and not Path("results/claims.md").exists()
