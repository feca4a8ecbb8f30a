"""Repair: what has one meaning becomes what was meant, to the byte; what has two is left alone; both are said."""

import copy
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_data import PREPARED, OwnData, rectangle, rectangles, written

from afigan.data.prepare.entries import by_id
from afigan.data.prepare.problems import Problem
from afigan.data.prepare.repair import SUPERCATEGORIES, Source, marked, repaired
from afigan.data.prepare.repair_entries import BACKSLASHES, CONTOURS, EMPTY, FLOATS, NO_SIZE, OUTSIDE
from afigan.params.dataset import Data

REPAIR = "data.repair: true would repair it"


@pytest.fixture
def own(tmp_path, monkeypatch) -> OwnData:
    monkeypatch.chdir(tmp_path)
    return OwnData()


def floats(*fields: str) -> Callable[[dict], None]:
    return lambda entry: entry.update({field: float(entry[field]) for field in fields})


def more(*entries: Any) -> Callable[[OwnData], None]:
    """Return a change that adds annotations to image 1 of the training set."""

    def add(own: OwnData) -> None:
        for number, entry in enumerate(entries):
            known = {"id": 100 + number, "image_id": 1, "category_id": 1} if entry else entry
            own.train["annotations"].insert(2 * number, entry and known | entry)

    return add


def contour(*short: list[float], first: bool = False) -> Callable[[OwnData], None]:
    def add(own: OwnData) -> None:
        mask = own.train["annotations"][1]["segmentation"]
        mask[0 if first else 1 : 0 if first else 1] = short

    return add


def runs(own: OwnData) -> None:
    """Add a crowd whose run lengths are floats."""
    mask = {"size": [64.0, 96.0], "counts": [10.0, 40.0, 64 * 96 - 50]}
    crowd = {"id": 100, "image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 1, 54], "area": 40}
    own.train["annotations"].append(crowd | {"segmentation": mask})


def backslashes(change: Callable[[str], str], count: int) -> Callable[[OwnData], None]:
    def spoil(own: OwnData) -> None:
        for image in own.train["images"][:count]:
            image["file_name"] = change(image["file_name"])

    return spoil


def roboflow(own: OwnData) -> None:
    """Number the classes from 1 behind the project's name, which is a category too, and the name of one of them."""
    project = {"id": 0, "name": "dog", "supercategory": "none"}
    for split in (own.train, own.val):
        split["categories"] = [project, *(entry | {"supercategory": "dog"} for entry in split["categories"])]


# what is wrong -> (the change, the kind of repair, how often in the training set)
SPOILT: dict[str, tuple[Callable[[OwnData], Any], str, int]] = {
    "ids as floats": (lambda own: own.each(floats("id")), FLOATS, 8),
    "image_ids as floats": (lambda own: own.each(floats("image_id")), FLOATS, 8),
    "category ids as floats, everywhere": (
        lambda own: (own.each(floats("id"), "categories"), own.each(floats("category_id"))),
        FLOATS,
        10,
    ),
    "images' numbers as floats": (lambda own: own.each(floats("id", "width", "height"), "images"), FLOATS, 4),
    "iscrowd as a float": (lambda own: own.each(floats("iscrowd")), FLOATS, 8),
    "backslashes": (backslashes(lambda name: name.replace("/", "\\"), 4), BACKSLASHES, 4),
    "some backslashes": (backslashes(lambda name: name.replace("/", "\\"), 2), BACKSLASHES, 2),
    "an object without width": (more({"bbox": [3, 3, 0, 9], "area": 0, "segmentation": []}), NO_SIZE, 1),
    "an object of one point": (more({"bbox": [3, 3, 0, 0], "segmentation": [[3, 3]], "iscrowd": 0}), NO_SIZE, 1),
    "an object of a line": (more({"bbox": [3, 3, 8, 0.0], "area": 8, "segmentation": [[3, 3, 11, 3]]}), NO_SIZE, 1),
    "two objects of zeros": (more(*[{"bbox": [0, 0, 0, 0], "area": 0, "segmentation": []}] * 2), NO_SIZE, 2),
    "a short contour": (contour([7.0, 9.0]), CONTOURS, 1),
    "a short contour first": (contour([7.0, 9.0, 8.0, 9.0], first=True), CONTOURS, 1),
    "an empty contour": (contour([]), CONTOURS, 1),
    "several short contours": (contour([7, 9], [], [9, 9, 10, 10]), CONTOURS, 1),
    "an annotation of nothing": (more({}), EMPTY, 1),
    "an annotation null": (more(None), EMPTY, 1),
    "annotations without box and mask": (more({"iscrowd": 0}, {"bbox": [], "segmentation": []}), EMPTY, 2),
    "an annotation of empty lists": (more({"bbox": None, "segmentation": [[]], "area": 0, "keypoints": []}), EMPTY, 1),
}


@pytest.mark.parametrize(("spoil", "kind", "count"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_set_becomes_the_sound_one(own, spoil, kind, count):
    own.prepare()
    sound = written()
    spoil(own)
    lines = own.refused()
    assert lines and all(line.endswith(f"; {REPAIR})") for line in lines), lines

    own.set("data.repair", True)
    summary, _ = own.prepare()
    assert written() == sound
    assert summary["train"]["repairs"] == {kind: count}
    listed = json.loads((PREPARED / "repairs.json").read_text())
    assert [entry["repair"] for entry in listed["train"]] == [kind] * count
    assert all(
        entry["file"] == "train.json" and repr(entry["before"]) != repr(entry["after"]) for entry in listed["train"]
    )
    assert json.loads(Path("train.json").read_text()) == own.train  # the user's file is as it was


@pytest.mark.parametrize("change", [lambda name: ".\\" + name, lambda name: f"images/..\\{name}"], ids=["point", "up"])
def test_backslashes_among_slashes_point_to_the_same_file(own, change):
    backslashes(change, 3)(own)
    assert sum(REPAIR in line for line in own.refused()) == 3
    own.set("data.repair", True)
    summary, _ = own.prepare()
    assert summary["train"]["repairs"] == {BACKSLASHES: 3}
    paths = [Path("photographs", image["file_name"]) for image in json.loads(written()["train"])["images"]]
    assert [path.resolve().name for path in paths] == [f"train_{n}.png" for n in range(4)]
    assert all(path.is_file() for path in paths)


def test_run_lengths_as_floats(own):
    runs(own)
    assert all(REPAIR in line for line in own.refused())
    own.set("data.repair", True)
    summary, _ = own.prepare()
    assert summary["train"]["repairs"] == {FLOATS: 1} and summary["train"]["crowds"] == 1
    mask = json.loads(written()["train"])["annotations"][-1]["segmentation"]
    assert mask == {"size": [64, 96], "counts": [10, 40, 6094]} and "." not in json.dumps(mask)


@pytest.mark.parametrize("spare", [False, True], ids=["named as a class", "of its own name"])
def test_the_category_of_a_project_is_left_out(own, spare):
    own.prepare()
    sound = written()
    roboflow(own)
    if spare:
        own.each(lambda entry: entry.update(name="pets") if not entry["id"] else None, "categories")
        own.each(lambda entry: entry.update(supercategory="pets") if entry["id"] else None, "categories")
        _, warnings = own.prepare()  # no error, but a class that never occurs
        assert any(warning.startswith("the class 'pets' ") and "data.repair: true" in warning for warning in warnings)
    else:
        (train, val) = own.refused()
        assert "its name 'dog' is also that of category 0" in train and REPAIR in train and REPAIR in val
    own.set("data.repair", True)
    summary, warnings = own.prepare()
    assert written() == sound and not any("supercategory" in warning for warning in warnings)
    assert [summary[name]["repairs"] for name in ("train", "val")] == [{SUPERCATEGORIES: 1}] * 2


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ([-1, 6, 20, 24], [0, 6, 19, 24]),
        ([5, -0.5, 20, 24], [5, 0, 20, 23.5]),
        ([77, 41, 20, 24], [77, 41, 19, 23]),
        ([-0.25, -1, 97.25, 66], [0, 0, 96, 64]),
        ([76, 40, 20 + 1e-9, 24], [76, 40, 20 + 1e-9, 24]),  # rounding
    ],
)
def test_boxes_a_pixel_outside_are_clipped_with_their_areas(own, box, clipped, masks):
    own.train["annotations"][0] |= {"bbox": box, "area": box[2] * box[3], "segmentation": [rectangle(*box)]}
    if not masks:
        own.each(lambda entry: entry.pop("segmentation"))
        own.set("model.head", "faster_rcnn")
    own.prepare()  # is no error
    before = json.loads(written()["train"])["annotations"]
    assert before[0]["bbox"] == box
    own.set("data.repair", True)
    summary, _ = own.prepare()
    first, *others = json.loads(written()["train"])["annotations"]
    assert first["bbox"] == clipped and first["area"] == clipped[2] * clipped[3] and others == before[1:]
    assert summary["train"]["repairs"] == ({OUTSIDE: 1} if clipped != box else {})


# --- not repaired -----------------------------------------------------------------------------------------------------


def first(**fields: Any) -> Callable[[OwnData], None]:
    return lambda own: own.train["annotations"][0].update(fields)


AMBIGUOUS: dict[str, Callable[[OwnData], Any]] = {
    "ids as texts": lambda own: own.each(lambda entry: entry.update(id=str(entry["id"]))),
    "an id with a fraction": first(id=1.5),
    "an id beyond 53 bits": first(id=1e30),
    "a width with a fraction": lambda own: own.train["images"][0].update(width=96.5),
    "a drive": backslashes(lambda name: "C:\\set\\" + name, 1),
    "backslashes out of the folder": backslashes(lambda name: "..\\photographs\\" + name, 1),
    "backslashes of a missing file": backslashes(lambda name: "elsewhere\\" + name, 1),
    "backslashes from the root": lambda own: own.train["images"][0].update(
        file_name=str(Path("photographs", own.train["images"][0]["file_name"]).resolve()).replace("/", "\\")
    ),
    "backslashes of another image": lambda own: own.train["images"][0].update(file_name="images\\train_1.png"),
    "a negative width": first(bbox=[25, 6, -20, 24]),
    "no width beside a sound mask": first(bbox=[5, 6, 0, 24]),
    "no width but an area": more({"bbox": [5, 6, 0, 24], "area": 480, "segmentation": []}),
    "a box but no mask": first(segmentation=[]),
    "a mask but no box": first(bbox=[]),
    "no mask, no box, but an area": more({"area": 480}),
    "keypoints alone": more({"keypoints": [1, 2, 2], "num_keypoints": 1}),
    "short contours alone": first(segmentation=[[5, 6], [25, 30]]),
    "a contour of an odd count": contour([7.0, 9.0, 11.0]),
    "a contour of NaN": contour([float("nan"), 9.0]),
    "a box two pixels outside": first(bbox=[-2, 6, 27, 24], area=500, segmentation=[rectangle(-2, 6, 27, 24)]),
    "an area above the box": first(area=5000),
    "a box of another object": first(bbox=[50, 30, 20, 24]),
    "a category twice": lambda own: own.each(lambda entry: entry.update(name="cat"), "categories"),
    "an annotated supercategory": lambda own: own.each(
        lambda entry: entry.update(name="dog", supercategory="dog"), "categories"
    ),
}


@pytest.mark.parametrize("spoil", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_has_two_meanings_is_refused_with_repair_too(own, spoil):
    spoil(own)
    lines = own.refused()
    assert lines and not any("data.repair" in line for line in lines), lines
    own.set("data.repair", True)
    assert own.refused() == lines


def test_only_the_errors_that_repair_would_end_say_so(own):
    own.train["annotations"][0] |= {"id": 1.0, "area": 5000}
    own.train["annotations"][2] |= {"iscrowd": 0.0, "bbox": [50, 30, 20, 24]}
    own.train["annotations"][4]["category_id"] = 2.0
    more({})(own)  # everything after it has another position after repair
    own.train["annotations"][-1]["id"] = "8"
    lines = own.refused()
    assert Counter(REPAIR in line for line in lines) == {True: 4, False: 2}
    assert [line for line in lines if REPAIR not in line] == [
        "train.json: annotation number 9 of the list: its id is '8', not a whole number from 0 to 2^53 "
        "(give it a whole number as id)",
        next(line for line in lines if "annotation 3: its bbox [50, 30, 20, 24] (x, y, width, height) is not" in line),
    ]


def test_an_error_that_gives_way_to_another_has_not_ended():
    def problem(key: int, reason: str) -> Problem:
        return Problem("a.json", "annotation", key, reason, "mend it")

    before = [
        problem(1, "its id is 1.5"),
        problem(2, "its box [1, 2] is bad"),
        problem(3, "is odd"),
        problem(3, "is x"),
    ]
    after = [problem(2, "its box [3, 4] is bad"), problem(3, "is x"), problem(1, "is new")]
    assert [found.repairable for found in marked(before, after)] == [False, False, True, False]


def test_repair_is_off_and_leaves_no_list(own):
    own.prepare()
    assert not (PREPARED / "repairs.json").exists()
    assert Data.model_fields["repair"].default is False
    own.set("data.repair", True)
    summary, _ = own.prepare()
    assert json.loads((PREPARED / "repairs.json").read_text()) == {"train": [], "val": [], "test": []}
    assert summary["train"]["repairs"] == {}


# --- any values -------------------------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.sampled_from([0, 1, -1, 1.0, 64.0, 96.0, 2.5, float("nan"), 1e30, 10**400, "", "a", "a\\b", True]),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=12,
)
FIELDS = ("id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "file_name", "width", "name")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_values_are_repaired_once_and_those_given_stay(data):
    value = rectangles("train", 2)
    for entries in value.values():
        for number, entry in enumerate(entries):
            if data.draw(st.integers(0, 2)) == 0:
                entries[number] = data.draw(JUNK | st.dictionaries(st.sampled_from(FIELDS), JUNK)) or entry
            elif data.draw(st.booleans()):
                entry[data.draw(st.sampled_from(FIELDS))] = data.draw(JUNK)
    before = copy.deepcopy(value)
    (once,), (repairs,) = repaired([Source("a.json", Path("nowhere"), value)])
    assert repr(value) == repr(before)
    (twice,), (again,) = repaired([Source("a.json", Path("nowhere"), once)])
    assert again == [] and repr(twice) == repr(once)
    json.dumps([[repair.before, repair.after] for repair in repairs], allow_nan=False)
    left_out = Counter(repair.kind for repair in repairs if repair.after is None)
    for kind, name in (("image", "images"), ("category", "categories"), ("annotation", "annotations")):
        assert len(once[name]) == len(value[name]) - left_out[kind]
        assert places(once[name], kind) <= places(value[name], kind)  # those of the file, not of what is left


def places(entries: list[Any], kind: str) -> set[str]:
    """Return the places of the entries without an id, as problems name them."""
    problems: list[Problem] = []
    by_id(entries, kind, "a.json", problems)
    return {str(problem.id) for problem in problems if str(problem.id).endswith("of the list")}


@pytest.mark.parametrize("value", [None, [], {}, {"images": [], "annotations": {}, "categories": []}])
def test_a_file_that_is_not_cocos_is_left_alone(value):
    sound = rectangles("train", 1)
    values, repairs = repaired([Source("a.json", Path(), value), Source("b.json", Path(), sound)])
    assert values[0] is value and values[1] == sound and repairs == [[], []]
