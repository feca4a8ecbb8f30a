"""Details of evaluations: what is read from metrics files, old ones included, and the tables of the report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from measured import detailed

import afigan.compat  # noqa: F401 - lets detectron2 be imported
from afigan.evaluation import coco, errors
from afigan.reporting import metrics as reader
from afigan.reporting.breakdown_markdown import MEANS, breakdown_markdown
from afigan.reporting.coco_classes import COCO_CLASSES
from afigan.reporting.metrics import AP_NAMES, AR_NAMES, ERROR_KINDS, Metrics, read_metrics

CLASSES = ["scratch", "dent"]


def read(folder: Path, box: Any, mask: Any = None, key: str = "a1") -> Metrics:
    """Write a metrics file and read it."""
    about = {
        "key": key,
        "model": f"detectors/{key}",
        "params_hash": "h",
        "schedule": {"stage": 3, "iterations": 160, "batch_size": 4},
        "seed": 0,
    }
    about |= {"data": {"source": "coco", "train_images": 4, "val_images": 2}, "multi_scale": False, "params_M": 1.5}
    path = folder / f"{key}.json"
    path.write_text(json.dumps(about | {"box": box, "mask": mask}))
    return read_metrics(path, key, "h")


def tables(text: str) -> list[list[dict[str, str]]]:
    """Return the rows of each table of the Markdown, heading -> cell."""
    found = []
    for part in text.split("\n\n"):
        if part.startswith("|"):
            lines = [[cell.strip() for cell in line[1:-1].split(" |")] for line in part.splitlines()]
            found.append([dict(zip(lines[0], line, strict=True)) for line in lines[2:]])
    return found


# --- reading ---------------------------------------------------------------------------------------------------------


def test_names_are_those_that_an_evaluation_writes() -> None:
    assert (AP_NAMES, AR_NAMES, ERROR_KINDS) == (coco.NAMES, coco.RECALLS, errors.KINDS)
    assert set(MEANS) == set(ERROR_KINDS)


def test_coco_classes_are_detectron2s() -> None:
    from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

    assert {category["name"] for category in COCO_CATEGORIES if category["isthing"]} == COCO_CLASSES


def test_details_are_read_as_written(tmp_path: Path) -> None:
    run = read(tmp_path, detailed(CLASSES), detailed(CLASSES, 50.0))
    assert list(run.breakdowns) == ["box", "mask"] and run.values["mask_AP"] == 50.0
    box = run.breakdowns["box"]
    assert box.recalls == {name: 11.5 + i / 4 for i, name in enumerate(AR_NAMES)}
    assert [(c.name, c.objects, c.AP, c.AP50) for c in box.classes] == [
        ("scratch", 1000, 10.0, 10.5),
        ("dent", 1001, 11.0, 11.5),
    ]
    assert [(kind, e.count, e.dAP) for kind, e in box.errors.items()] == [
        (kind, 2000 + i, 10.0 + i) for i, kind in enumerate(ERROR_KINDS)
    ]
    assert list(read(tmp_path, detailed(CLASSES)).breakdowns) == ["box"]


def test_a_file_without_details_is_read(tmp_path: Path) -> None:
    """Its AP is as good as that of a new file, and evaluating COCO again takes time."""
    run = read(tmp_path, dict.fromkeys(AP_NAMES, 30.0))
    assert run.breakdowns == {} and run.values["box_AP"] == 30.0
    values = detailed(CLASSES)
    old = read(tmp_path, {name: values[name] for name in AP_NAMES})
    assert old.values == read(tmp_path, values).values and not old.breakdowns


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("AR1",), -1, "'AR1' is -1"),
        (("ARs",), "3", "'ARs' is '3'"),
        (("AR100",), ..., "'AR100' is missing"),
        (("classes",), ..., "'classes' is missing"),
        (("classes",), {}, "'classes' is {}"),
        (("classes", 0), 3, "'name' is missing"),
        (("classes", 1, "name"), None, "'name' is None"),
        (("classes", 1, "objects"), -1, "'objects' is -1"),
        (("classes", 0, "AP"), 101, "'AP of a class' is 101"),
        (("classes", 0, "AP50"), ..., "'AP50' is missing"),
        (("errors",), ..., "'errors' is missing"),
        (("errors", "both"), ..., "'both' is missing"),
        (("errors", "both", "count"), 1.5, "'count' is 1.5"),
        (("errors", "missed", "dAP"), float("nan"), "'dAP of missed' is nan"),
    ],
)
def test_malformed_details_are_refused(tmp_path: Path, place: tuple, value: Any, named: str) -> None:
    box = inner = detailed(CLASSES)
    for name in place[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    with pytest.raises(ValueError, match=rf"a1\.json is not a metrics file: {named}.*{reader.REDO}"):
        read(tmp_path, box)


# --- tables ----------------------------------------------------------------------------------------------------------


def test_every_number_is_in_its_cell(tmp_path: Path) -> None:
    runs = [
        read(tmp_path, detailed(CLASSES), detailed(CLASSES, 30.0)),
        read(tmp_path, detailed(CLASSES, 50.0), key="a5"),
    ]
    text = breakdown_markdown(runs)
    assert "`a1` is `detectors/a1`, `a5` is `detectors/a5`." in text
    averages, classes, kinds = tables(text)
    assert [(row["evaluation"], row["of"]) for row in averages] == [
        ("`a1`", "boxes"),
        ("`a1`", "masks"),
        ("`a5`", "boxes"),
    ]
    for row, first in zip(averages, (10, 30, 50), strict=True):
        for i, name in enumerate((*AP_NAMES, *AR_NAMES)):
            assert abs(float(row[name]) - (first + i / 4)) < 0.0501
    assert [row["class"] for row in classes] == CLASSES and [row["objects"] for row in classes] == ["1,000", "1,001"]
    for i, row in enumerate(classes):
        for column, first in (("`a1` box", 10), ("`a1` mask", 30), ("`a5` box", 50)):
            assert (row[f"{column} AP"], row[f"{column} AP50"]) == (f"{first + i}.0", f"{first + i}.5")
        assert len(row) == 2 + 6
    assert [row["error"] for row in kinds] == list(reversed(ERROR_KINDS))  # the largest dAP first
    for row in kinds:
        i = ERROR_KINDS.index(row["error"])
        assert row["meaning"] == MEANS[row["error"]] and row["`a5` box: number"] == f"{2000 + i:,}"
        assert (row["`a1` mask: dAP"], row["`a5` box: dAP"]) == (f"{30 + i}.0", f"{50 + i}.0")


def test_undefined_values_and_no_runs(tmp_path: Path) -> None:
    box = detailed(CLASSES) | {"ARs": None, "APs": None}
    box["classes"][1] |= {"objects": 0, "AP": None, "AP50": None}
    box["errors"]["missed"]["dAP"] = None
    averages, classes, kinds = tables(breakdown_markdown([read(tmp_path, box)]))
    assert averages[0]["ARs"] == averages[0]["APs"] == "n/a"
    assert (classes[1]["objects"], classes[1]["`a1` box AP"]) == ("0", "n/a")
    assert (kinds[-1]["error"], kinds[-1]["`a1` box: dAP"]) == ("missed", "n/a")
    assert "have not been run yet" in breakdown_markdown([])


def test_an_old_file_has_its_ap_and_a_note(tmp_path: Path) -> None:
    old, new = read(tmp_path, dict.fromkeys(AP_NAMES, 30.0)), read(tmp_path, detailed(CLASSES), key="a5")
    text = breakdown_markdown([old, new])
    averages, classes, _ = tables(text)
    assert (averages[0]["AP"], averages[0]["AR1"]) == ("30.0", "—") and "`a5` box AP" in classes[0]
    assert "The metrics of `a1` lack this" in text and "run the stage `evaluate` again" in text
    assert "lack this" not in breakdown_markdown([new])
    assert len(tables(breakdown_markdown([old]))) == 1


def test_evaluations_of_different_images_are_refused(tmp_path: Path) -> None:
    first = read(tmp_path, detailed(CLASSES))
    other = read(tmp_path, detailed([*CLASSES, "rust"]), key="a5")
    with pytest.raises(ValueError, match="'a1' and 'a5' are of different validation images"):
        breakdown_markdown([first, other])
    breakdown_markdown([first, replace(first, key="a5")])


def test_many_classes_are_folded_and_odd_names_are_cells(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(31)]
    assert "<details><summary>31 classes</summary>" in breakdown_markdown([read(tmp_path, detailed(names))])
    text = breakdown_markdown([read(tmp_path, detailed(["a|b", "<b>\nbold"]))])
    assert "| a\\|b " in text and "| &lt;b&gt; bold " in text and "<details>" not in text
