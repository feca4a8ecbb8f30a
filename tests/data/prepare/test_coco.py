"""COCO checks: valid files pass, and all faults are reported at once with file, id and reason."""

import copy

import numpy as np
import pytest
import tiny_coco
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from afigan.data.images import find_images
from afigan.data.prepare.coco import check_annotations, check_same_categories, clean, has_masks
from afigan.data.prepare.segmentations import is_flat

NAN, INF = float("nan"), float("inf")


def reasons(value, **options):
    return [str(problem) for problem in check_annotations(value, file="set.json", **options)]


def boxes_only(value):
    for annotation in value["annotations"]:
        del annotation["segmentation"]
    return value


def test_a_valid_set_has_no_problems():
    value = tiny_coco.annotations()
    assert reasons(value) == []
    assert has_masks(value)
    assert reasons(boxes_only(value)) == []
    assert not has_masks(value)


def test_the_peculiarities_of_coco_2017_are_accepted():
    data = tiny_coco.annotations()
    data["annotations"][0] |= {  # out of the image by fractions of a pixel
        "bbox": [-0.4, 0, 31.9, 20.5],
        "segmentation": [[-0.4, 0, 31.5, 0, 31.5, 20.5]],
        "area": 327.0,
    }
    flat = [[2.65, 8.33, 2.65, 8.33, 3.68, 8.33, 3.68, 8.33]]  # as annotation 918 of train2017
    data["annotations"][1] |= {"bbox": [2.65, 8.33, 1.03, 0.0], "area": 0.0, "segmentation": flat}
    assert reasons(data) == []
    assert is_flat(data["annotations"][1])
    cleaned, left_out = clean(data, masks=True)
    assert left_out == 1
    assert [a["id"] for a in cleaned["annotations"]] == [100, 900100000007]


@pytest.mark.parametrize("change", [{"bbox": [2.0, 3.0, 10.0, 0.0]}, {"bbox": [2, 3, 0, 8], "segmentation": None}])
def test_an_empty_box_around_something_is_a_fault(change):
    data = tiny_coco.annotations()
    data["annotations"][0] |= change
    assert any("has no width or no height" in text for text in reasons(data))


def test_masks_can_be_demanded_or_ignored():
    data = tiny_coco.annotations()
    data["annotations"][0]["segmentation"] = [[1, 2]]
    assert reasons(data, masks=False) == []
    assert len(reasons(boxes_only(data), masks=True)) == 3


def test_clean_keeps_what_is_read_and_fills_in_what_is_missing():
    data = tiny_coco.annotations()
    data["annotations"][0] |= {"extra": 1, "iscrowd": None}
    for annotation in data["annotations"]:
        del annotation["area"]
    cleaned, _ = clean(data, masks=True)
    assert set(cleaned) == {"images", "annotations", "categories"}
    assert cleaned["categories"] == [{"id": 3, "name": "naïve dog"}, {"id": 90, "name": "cup"}]
    assert set(cleaned["images"][0]) == {"id", "file_name", "width", "height"}
    keys = {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"}
    assert all(set(annotation) == keys for annotation in cleaned["annotations"])
    assert [a["area"] for a in cleaned["annotations"]] == [80.0, 80.0, 30.0]
    assert [a["iscrowd"] for a in cleaned["annotations"]] == [0, 0, 1]
    without, _ = clean(data, masks=False)
    assert [a["area"] for a in without["annotations"]] == [80.0, 80.0, 30.0]
    assert not any("segmentation" in a for a in without["annotations"])


def test_annotation_ids_below_one_are_renumbered():
    data = tiny_coco.annotations()
    data["annotations"][0]["id"] = 0
    assert reasons(data) == []
    assert [a["id"] for a in clean(data, masks=True)[0]["annotations"]] == [1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**31), st.booleans())
def test_any_mask_of_pycocotools_is_accepted_and_measured(height, width, density, seed, compressed):
    mask = (np.random.default_rng(seed).random((height, width)) < density).astype(np.uint8)
    rle = coco_mask.encode(np.asfortranarray(mask))
    rle["counts"] = rle["counts"].decode()
    if not compressed:
        runs = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel("F"), [2]])))
        rle["counts"] = np.diff(np.concatenate([[0], runs])).tolist()
    data = tiny_coco.annotations()
    data["images"][0] |= {"height": height, "width": width}
    data["annotations"][2] |= {"segmentation": rle, "bbox": [0, 0, width, height], "area": None}
    del data["annotations"][0]
    assert reasons(data) == []
    assert clean(data, masks=True)[0]["annotations"][1]["area"] == mask.sum()
    if compressed:
        rle["counts"] = rle["counts"][:-1]
        assert len(reasons(data)) == 1


def test_categories_of_both_splits_must_agree():
    train, val = tiny_coco.annotations(), tiny_coco.annotations()
    assert check_same_categories(train, val, file="val.json") == []
    val["categories"] = [{"id": 3, "name": "cat"}, {"id": 4, "name": "cup"}]
    texts = [str(problem) for problem in check_same_categories(train, val, file="val.json")]
    assert len(texts) == 3
    assert "val.json: category 3: is 'cat' here but 'naïve dog' in train" in texts[0]
    assert "val.json: category 4: is 'cup' here but missing in train" in texts[1]
    assert "val.json: category 90: is missing here but 'cup' in train" in texts[2]


def test_images_are_found_in_sorted_order(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a.jpeg", "notes.txt", "._a.jpg", ".cache/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_images(tmp_path)) == ["a.jpeg", "b/1.png", "b/2.JPG"]


def test_the_input_is_not_changed():
    data = tiny_coco.annotations()
    before = copy.deepcopy(data)
    check_annotations(data, file="set.json")
    clean(data, masks=True)
    assert data == before
