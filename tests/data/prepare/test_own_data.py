"""People's own data, as exporters and scripts write them: wrong files are refused for what they are, odd ones told.

Each kind has the case that a user met and others of its kind. Every case is in both splits.
"""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from own_data import PREPARED, OwnData, rectangle
from PIL import Image
from pycocotools import mask as coco_mask

from afigan.data.prepare.stage import prepare

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow/scripts"
WIDTH, HEIGHT = 96, 64
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def own(tmp_path, monkeypatch) -> OwnData:
    monkeypatch.chdir(tmp_path)
    return OwnData()


def box(change: Callable[..., list[float]]) -> Change:
    return lambda entry: entry.update(bbox=change(*entry["bbox"]))


def area(value: Callable[[dict[str, Any]], float]) -> Change:
    return lambda entry: entry.update(area=value(entry))


# --- areas, boxes, masks: refused -------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Change, str, str]] = {  # the change; the reason; the remedy
    "area is one": (area(lambda a: 1.0), "its area is 1.0, far below that of its mask, ", "leave it out"),
    "area is nothing": (area(lambda a: 0), "its area is 0, far below that of its mask, ", "leave it out"),
    "area is that of the image": (
        area(lambda a: WIDTH * HEIGHT),
        "its area is 6144, more than that of",
        "leave it out",
    ),
    "area is a part of the image": (area(lambda a: a["area"] / 6144), "far below that of its mask, ", "leave it out"),
    "area is the width": (area(lambda a: a["bbox"][2]), "far below that of its mask, ", "leave it out"),
    "area is one of all": (area(lambda a: 150.0), "its area is 150.0, far below that of its mask", "leave it out"),
    "box is from the centre": (
        box(lambda x, y, w, h: [x + w / 2, y + h / 2, w, h]),
        "is (x and y of the centre, width, height) of its mask, which extends from (5, 6) to (25, 30)",
        "write bbox as x and y of the top left corner, width, height, in pixels",
    ),
    "box is corners": (
        box(lambda x, y, w, h: [x, y, x + w, y + h]),
        "is (left, top, right, bottom) of its mask, which extends from (5, 6) to (25, 30)",
        "write bbox as x and y of the top left corner",
    ),
    "box is normalised": (
        box(lambda x, y, w, h: [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]),
        "looks normalised to 0..1",
        "write bbox as x and y of the top left corner, width, height, in pixels, and so the polygons",
    ),
    "box has height and width": (
        box(lambda x, y, w, h: [x, y, h, w]),
        "is (x, y, height, width) of its mask",
        "write bbox as x and y of the top left corner",
    ),
    "box is of a smaller picture": (
        box(lambda x, y, w, h: [x / 2, y / 2, w / 2, h / 2]),
        "in other units, about 0.5 times the mask's pixels) of its mask",
        "write bbox as x and y of the top left corner",
    ),
    "box is of anything": (
        lambda entry: entry.update(bbox=[30 + entry["id"] ** 2 % 7, 2 + entry["id"] ** 2 % 5, 15, 11], area=150),
        "(x, y, width, height) is not that of its mask",
        "correct the box or the mask",
    ),
}


@pytest.mark.parametrize(("change", "reason", "remedy"), WRONG.values(), ids=WRONG)
def test_wrong_areas_and_boxes_are_refused(own, change, reason, remedy):
    own.each(change)
    lines = own.refused()
    assert {line.partition(":")[0] for line in lines} == {"train.json", "val.json"}
    assert sum(reason.replace("(5, 6) to (25, 30)", "") in line for line in lines) >= 0.7 * 12, lines
    assert any(reason in line and remedy in line for line in lines) and not any("clip" in line for line in lines)


# --- masks missing ----------------------------------------------------------------------------------------------------

WITHOUT_MASKS: dict[str, Change] = {
    "empty lists": lambda entry: entry.update(segmentation=[]),
    "no key": lambda entry: entry.pop("segmentation"),
    "null": lambda entry: entry.update(segmentation=None),
    "empty texts": lambda entry: entry.update(segmentation=""),
    "empty objects": lambda entry: entry.update(segmentation={}),
}


@pytest.mark.parametrize("change", WITHOUT_MASKS.values(), ids=WITHOUT_MASKS)
def test_boxes_alone_are_refused_for_a_mask_head_and_taken_for_others(own, change):
    own.each(change)
    (line,) = own.refused()
    assert line == (
        "train.json: this file: has only boxes, but mask_rcnn, the head of experiments.extractors.main, needs masks; "
        "3 other experiments have such a head (set its head, or model.head, to faster_rcnn, cascade_rcnn, retinanet or "
        "fcos)"
    )
    own.set("model.head", "faster_rcnn")
    summary, _ = own.prepare()
    assert not summary["train"]["masks"] and summary["train"]["objects"] == 8


@pytest.mark.parametrize(
    ("name", "head"),
    [("detectors.a5", "cascade_mask_rcnn"), ("extractors.main", "mask_rcnn"), ("detectors.a5", "centermask")],
)
def test_one_mask_head_is_enough_and_is_named(own, name, head):
    own.each(WITHOUT_MASKS["no key"])
    own.set("model.head", "faster_rcnn")
    own.set(f"experiments.{name}.head", head)
    (line,) = own.refused()
    assert f"has only boxes, but {head}, the head of experiments.{name}, needs masks (set its head" in line


def test_missing_masks_are_said_with_all_other_problems(own):
    own.each(WITHOUT_MASKS["empty lists"])
    own.val["annotations"][0]["category_id"] = 9
    Path("photographs", own.train["images"][0]["file_name"]).unlink()
    assert [words in line for words, line in zip(("only boxes", "image 1", "annotation 1"), own.refused(), strict=True)]


def test_without_parameters_only_the_data_are_checked(own):
    own.each(WITHOUT_MASKS["no key"])
    params = own.write()
    assert not prepare(params.data, 0, PREPARED, workers=1)["train"]["masks"]


# --- names and pictures -----------------------------------------------------------------------------------------------

NAMES = {
    "backslashes": (
        lambda name: name.replace("/", "\\"),
        "the name has backslashes",
        "write / between the folders",
        True,
    ),
    "backslashes from here": (lambda name: f".\\{name}", "the name has backslashes", "write / between", True),
    "backslashes to nowhere": (lambda name: f"set\\{name}", "the name has backslashes", "write / between", False),
    "a drive": (lambda name: f"D:\\set\\{name}", "the name has a drive of Windows", "write the path that the", False),
    "a drive with slashes": (lambda name: f"c:/set/{name}", "the name has a drive of Windows", "write the path", False),
    "a URL": (lambda name: f"https://example.org/{name}", "the name is a URL", "download the file", False),
    "a bucket": (lambda name: f"gs://set/{name}", "the name is a URL", "download the file", False),
    "the home folder": (lambda name: f"~/{name}", "~ is not replaced by your home folder", "without ~", False),
    "a suffix": (lambda name: f"{name}.rf.0a1b", "the file does not exist (put a complete", "image there", False),
}


@pytest.mark.parametrize(("change", "reason", "remedy", "repairable"), NAMES.values(), ids=NAMES)
def test_names_of_no_file_say_why(own, change, reason, remedy, repairable):
    own.each(lambda entry: entry.update(file_name=change(entry["file_name"])), "images")
    lines = [line for line in own.refused() if ": image " in line]
    assert len(lines) == 6
    assert all(reason in line and remedy in line for line in lines), lines
    assert all(line.endswith("; data.repair: true would repair it)") == repairable for line in lines)


def picture(path: Path, size: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (90, 120, 30)).save(path, "JPEG", exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tag_that_turns_the_stored_pixels_is_named_with_both_remedies(own, orientation):
    for split in (own.train, own.val):
        for image in split["images"]:
            picture(Path("photographs", image["file_name"]), (WIDTH, HEIGHT), orientation)
    if orientation < 5:  # upright already, or on its head
        own.prepare()
        return
    lines = own.refused()
    assert len(lines) == 6
    for line in lines:
        assert "is 64x96 pixels upright, but declared as 96x64, as its pixels are stored" in line
        assert f"its EXIF orientation tag is {orientation}, and turns it" in line
        assert "if the boxes fit the upright picture, declare 64x96" in line and "remove the tag from the file" in line


SIDES: dict[str, tuple[Callable[[dict], Any], str]] = {
    "all": (lambda image: True, "is 96x64 pixels upright, but declared as 64x96: width and height are exchanged"),
    "half": (
        lambda image: image["id"] % 2,
        "is 96x64 pixels upright, but declared as 64x96: width and height are exch",
    ),
    "one": (
        lambda image: image["id"] == 1,
        "is 96x64 pixels upright, but declared as 64x96: width and height are exch",
    ),
}


@pytest.mark.parametrize(("which", "reason"), SIDES.values(), ids=SIDES)
def test_exchanged_sides_come_before_the_boxes_that_they_push_out(tmp_path, monkeypatch, which, reason):
    monkeypatch.chdir(tmp_path)
    own = OwnData(train=30, val=30)
    for split in (own.train, own.val):
        for image in filter(which, split["images"]):
            image |= {"width": HEIGHT, "height": WIDTH}
    lines = own.refused()
    images = sum(1 for image in own.train["images"] if image["width"] == HEIGHT)
    assert all(reason in line for line in lines[: 2 * images]) and len(lines) > 2 * images
    assert all(": annotation " in line for line in lines[2 * images :])
    # a single one leaves open which of them is wrong
    assert all(("clip" in line) == (images == 1) for line in lines[2 * images :])


def test_declared_sizes_of_a_larger_picture_are_named(own):
    own.each(lambda image: image.update(width=2 * WIDTH, height=2 * HEIGHT), "images")
    lines = own.refused()
    assert len(lines) == 6 and all("is 96x64 pixels upright, but declared as 192x128 (" in line for line in lines)


# --- crowds: told -----------------------------------------------------------------------------------------------------


def as_runs(entry: dict[str, Any]) -> None:
    rle = coco_mask.merge(coco_mask.frPyObjects(entry["segmentation"], HEIGHT, WIDTH))
    entry["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}


CROWDS: dict[str, Change] = {
    "all but one": lambda entry: entry.update(iscrowd=int(entry["id"] > 1)),
    "true": lambda entry: entry.update(iscrowd=entry["id"] > 1),
    "as run lengths": lambda entry: (as_runs(entry), entry.update(iscrowd=int(entry["id"] > 1))),
    "three of four": lambda entry: entry.update(iscrowd=int(entry["id"] % 4 != 0)),
}


@pytest.mark.parametrize("change", CROWDS.values(), ids=CROWDS)
def test_mostly_crowds_are_told(own, change):
    own.each(change)
    summary, warnings = own.prepare()
    for name in ("train", "val"):
        crowds = sum(bool(entry["iscrowd"]) for entry in getattr(own, name)["annotations"])
        assert summary[name]["crowds"] == crowds and summary[name]["sizes"]["small"] == summary[name]["objects"]
        assert any(
            text.startswith(f"{crowds} of {summary[name]['annotations']} annotations of {name}") for text in warnings
        )


# --- through the script -----------------------------------------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, own: OwnData) -> int:
    own.write()
    Path("params.yaml").write_text(yaml.safe_dump(own.values))
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", ["workflow/scripts/prepare.py"])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(SystemExit) as raised:
        runpy.run_path(str(SCRIPTS / "prepare.py"), run_name="__main__")
    return int(raised.value.code or 0)


def test_the_script_shows_table_and_warnings(own, monkeypatch, capsys):
    own.each(CROWDS["all but one"])
    own.train["annotations"].append({})
    own.set("data.repair", True)
    assert run(monkeypatch, own) == 0
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines()]
    assert ["train", "val", "unlabeled"] in rows and ["crowds,", "left", "out", "7", "3"] in rows
    assert ["repaired:", "empty", "annotations,", "left", "out", "1", "0", "0"] in rows
    assert ["class", "cat", "1", "1"] in rows and ["class", "dog", "none", "none"] in rows
    warnings = [line for line in text.splitlines() if line.startswith("warning: ")]
    assert any("7 of 8 annotations of train are crowds" in line for line in warnings)
    assert any("2 iterations of batch_size 2 see each of the 1 images of train" in line for line in warnings)
    assert len(json.loads((PREPARED / "repairs.json").read_text())["train"]) == 1


def test_the_script_refuses_boxes_for_a_mask_head(own, monkeypatch, capsys):
    own.each(WITHOUT_MASKS["no key"])
    assert run(monkeypatch, own) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "has only boxes, but mask_rcnn, the head of" in captured.err
    assert not PREPARED.exists()


def test_the_rectangles_are_sound(own):
    summary, _ = own.prepare()
    assert summary["train"]["objects"] == 8 and own.train["annotations"][0]["segmentation"] == [rectangle(5, 6, 20, 24)]
