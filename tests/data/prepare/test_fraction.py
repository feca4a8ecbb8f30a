"""A validation set out of the training file: by name alone, for ever, in whole groups, with no side empty."""

import copy
import itertools
import json
import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_coco
from composed import composed, put

from afigan.data.prepare.fraction import divide, position, side_key
from afigan.data.prepare.problems import DataError
from afigan.data.prepare.stage import prepare
from afigan.params.loading import check_params

GROUP = r"(.*)_\d+"


def numbered(scenes: int, frames: int = 4) -> dict[str, Any]:
    """Return images SCENE_FRAME.png with an object each; ids do not follow the names."""
    names = [f"scene{s}_{f}.png" for s in range(scenes) for f in range(frames)]
    images = [{"id": 5 + 3 * k, "file_name": name, "width": 40, "height": 30} for k, name in enumerate(names)]
    objects = [
        {"id": 9 + k, "image_id": image["id"], "category_id": 3, "bbox": [2, 3, 20, 10], "area": 200, "iscrowd": 0}
        for k, image in enumerate(images)
    ]
    return {"images": images, "annotations": objects, "categories": copy.deepcopy(tiny_coco.CATEGORIES)}


def names(split: dict[str, Any]) -> set[str]:
    return {image["file_name"] for image in split["images"]}


def test_every_image_and_object_is_on_one_side():
    whole = numbered(50)
    train, val, problems = divide(whole, 0.3, None, file="a.json")
    assert not problems and not names(train) & names(val) and names(train) | names(val) == names(whole)
    for side in (train, val):
        ids = {image["id"] for image in side["images"]}
        assert {item["image_id"] for item in side["annotations"]} == ids
        assert side["categories"] == whole["categories"]
    assert len(train["annotations"]) + len(val["annotations"]) == 200


def test_an_image_keeps_its_side_whatever_else_is_in_the_file():
    whole, more = numbered(20), numbered(60)
    before = names(divide(whole, 0.2, None, file="")[1])
    random.Random(0).shuffle(more["images"])
    for number, image in enumerate(more["images"]):  # other order, other ids, three times the images
        image["id"] = 1000 + number
    for item, image in zip(more["annotations"], more["images"], strict=True):
        item["image_id"] = image["id"]
    after = names(divide(more, 0.2, None, file="")[1])
    assert before and after & names(whole) == before and len(after) > len(before)


def test_a_larger_fraction_only_adds_to_val():
    sides = [names(divide(numbered(50), f, None, file="")[1]) for f in (0.1, 0.2, 0.5, 0.9)]
    assert all(small < large for small, large in itertools.pairwise(sides))


def test_the_fraction_is_that_of_many_names():
    places = [position(f"{k:012}.jpg") for k in range(20_000)]
    assert all(0 <= place < 1 for place in places)
    for fraction in (0.05, 0.2, 0.5):
        share = sum(place < fraction for place in places) / len(places)
        assert abs(share - fraction) < 4 * (fraction * (1 - fraction) / len(places)) ** 0.5


def test_the_side_of_a_name_never_changes():
    """Written down once: another value would move the images of all existing data sets."""
    assert position("000000000139.jpg") == 0.12376515245947828


def test_a_group_is_not_divided():
    whole = numbered(40)
    train, val, problems = divide(whole, 0.3, GROUP, file="")
    scenes = [{name.split("_")[0] for name in names(side)} for side in (train, val)]
    assert not problems and not scenes[0] & scenes[1] and len(val["images"]) == 4 * len(scenes[1])
    plain = divide(whole, 0.3, None, file="")[1]
    assert {name.split("_")[0] for name in names(plain)} & {name.split("_")[0] for name in names(whole) - names(plain)}


@pytest.mark.parametrize(
    ("name", "group", "key"),
    [
        ("a/./b.jpg", None, "a/b.jpg"),
        ("a\\b.jpg", None, "a/b.jpg"),  # of the same file, written on another system
        ("day1/cam2_0007.png", GROUP, "day1/cam2"),
        ("day1/cam2_0007.png", r"(cam\d)", "cam2"),
        ("day1/cam2_0007.png", "^(day)", "day"),
        ("x.png", GROUP, None),
        ("x.png", "x|(y)", None),
    ],
)
def test_what_decides_a_side(name, group, key):
    assert side_key(name, group) == key


@pytest.mark.parametrize("fraction", [1e-6, 0.999999])
@pytest.mark.parametrize("group", [None, GROUP])
@pytest.mark.parametrize("scenes", [2, 3, 9])
def test_an_empty_side_names_a_fraction_that_works(fraction, group, scenes):
    whole = numbered(scenes)
    *_, [problem] = divide(whole, fraction, group, file="a.json")
    side = "train" if fraction > 0.5 else "val"
    assert str(fraction) in problem.reason and problem.reason.endswith(f"for {side}")
    better = float(re.fullmatch(r"set data.val.fraction to (0\.\d+)", problem.remedy)[1])
    train, val, problems = divide(whole, better, group, file="a.json")
    assert not problems and train["images"] and val["images"]


def test_a_side_of_crowds_and_images_without_objects_counts_as_empty():
    whole = numbered(20)
    _, val, _ = divide(whole, 0.3, None, file="")
    in_val = {image["id"] for image in val["images"]}
    for item in whole["annotations"]:
        item["iscrowd"] = int(item["image_id"] in in_val)
    assert "no image with usable objects for val" in divide(whole, 0.3, None, file="")[2][0].reason
    whole["annotations"] = [item for item in whole["annotations"] if item["image_id"] in in_val]
    for item in whole["annotations"]:
        item["iscrowd"] = 0
    assert "no image with usable objects for train" in divide(whole, 0.3, None, file="")[2][0].reason


def test_one_group_cannot_be_divided():
    *_, [problem] = divide(numbered(1), 0.5, GROUP, file="")
    assert problem.reason.startswith("has one group of images") and "correct data.val.group" in problem.remedy


# --- the stage --------------------------------------------------------------------------------------------------------


def section(folder: Path, whole: dict[str, Any], **val: Any) -> SimpleNamespace:
    """Return the section `data` for one annotation file in `folder`, with its images."""
    train = tiny_coco.write_split(folder, "train", whole)
    tiny_coco.write_images(whole, folder / "train")
    val = {"images": None, "annotations": None, "fraction": 0.3, "group": None} | val
    nothing = SimpleNamespace(images=None)
    return SimpleNamespace(
        source="coco", train=train, val=SimpleNamespace(**val), unlabeled=nothing, test=None, repair=False
    )


def prepared(data: SimpleNamespace, out: Path) -> dict[str, dict[str, Any]]:
    prepare(data, 0, out, workers=1)
    return {name: json.loads((out / f"{name}.json").read_text("utf-8")) for name in ("train", "val", "test")}


def test_prepare_writes_what_two_files_would_give(tmp_path):
    whole = numbered(6)
    splits = prepared(section(tmp_path, whole), tmp_path / "one")
    assert splits["train"]["info"]["root"] == splits["val"]["info"]["root"] == str(tmp_path / "train")
    assert splits["val"]["info"]["split"] == "val" and not splits["test"]["images"]

    train, val, _ = divide(whole, 0.3, None, file="")
    data = section(tmp_path, whole)
    for name, part in (("train", train), ("val", val)):
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
        own = SimpleNamespace(images=str(tmp_path / "train"), annotations=str(tmp_path / f"{name}.json"), fraction=None)
        setattr(data, name, own)
    assert prepared(data, tmp_path / "two") == splits


@pytest.mark.parametrize(
    ("change", "val", "messages"),
    [
        ({}, {"fraction": 1e-9}, ["data.val.fraction 1e-09 leaves no image with usable objects for val"]),
        (
            {},
            {"group": "x(.*)y"},
            ["data.val.group 'x(.*)y' has no group in its file_name 'scene0_0.png'", "24 images"],
        ),
        (
            {"width": -1},
            {"group": r"(scene[1-9])_"},
            ["image 5: its size is -1 x 30", "'scene0_0.png'", "4 images of", "correct data.val.group"],
        ),
    ],
)
def test_prepare_refuses_what_cannot_be_divided(tmp_path, change, val, messages):
    whole = numbered(6)
    data = section(tmp_path, whole, **val)
    whole["images"][0] |= change
    Path(data.train.annotations).write_text(json.dumps(whole))
    with pytest.raises(DataError) as raised:
        prepare(data, 0, tmp_path / "out", workers=1)
    assert all(message in str(raised.value) for message in messages), raised.value
    assert str(raised.value).count("train.json: this file") <= 1  # each problem is listed once
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_missing_is_one_problem(tmp_path):
    data = section(tmp_path, numbered(2))
    Path(data.train.annotations).unlink()
    with pytest.raises(DataError) as raised:
        prepare(data, 0, tmp_path / "out", workers=1)
    assert len(raised.value.problems) == 1 and "cannot be read" in str(raised.value)


# --- the keys ---------------------------------------------------------------------------------------------------------


def values(val: Any) -> dict[str, Any]:
    values = composed("photos")
    put(values, ["data"], {"source": "coco", "train": {"images": "i", "annotations": "a.json"}, "val": val})
    return values


@pytest.mark.parametrize("val", [{"fraction": 0.2}, {"fraction": 0.2, "group": GROUP}])
def test_a_fraction_is_all_that_a_data_set_needs(val):
    data = check_params(values(val)).data
    assert data.test is None and data.annotation_files == {"train": "a.json"}


@pytest.mark.parametrize(
    ("val", "message"),
    [
        ({"fraction": 0}, "data.val.fraction: Input should be greater than 0"),
        ({"fraction": 0.0}, "data.val.fraction: Input should be greater than 0"),
        ({"fraction": 1}, "data.val.fraction: Input should be less than 1"),
        ({"fraction": 20}, "data.val.fraction: Input should be less than 1"),
        ({"fraction": float("nan")}, "data.val.fraction: "),
        ({"fraction": "20%"}, "data.val.fraction: "),
        ({"fraction": True}, "data.val.fraction: "),
        (
            {"fraction": 0.2, "images": "i"},
            "data.val: fraction takes images of the training file: remove it, or images",
        ),
        ({"fraction": 0.2, "images": "i", "annotations": "b.json"}, "remove it, or images and annotations"),
        ({"fraction": 0.2, "group": "(.*"}, "data.val.group: is not a regular expression: "),
        ({"fraction": 0.2, "group": r".*_\d+"}, "data.val.group: has no group: put brackets around"),
        ({"fraction": 0.2, "group": 3}, "data.val.group: "),
        ({"group": GROUP}, "data.val: group needs fraction"),
        ({"images": "i", "annotations": "b.json", "group": GROUP}, "data.val: group needs fraction"),
        ({}, "data: val.images: a coco data set needs the folder of its images"),
        ({"images": "i"}, "data: val.annotations: a coco data set needs a .json file"),
        (None, "data: val: missing; give images and annotations, or {fraction: 0.2}"),
        (0.2, "data.val: "),
    ],
)
def test_a_wrong_key_is_named(val, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_params(values(val))


def test_the_embedded_set_has_a_validation_set_of_its_own():
    wrong = composed("photos")
    put(wrong, ["data", "val"], {"fraction": 0.2})
    with pytest.raises(ValueError, match=r"data: val\.fraction: the embedded set draws shapes\.val images"):
        check_params(wrong)
