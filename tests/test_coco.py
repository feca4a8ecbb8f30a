"""COCO checks: what is valid passes, and every fault is reported with file, id and reason, all at once."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny_coco
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from afigan.data.coco import (
    check_annotations,
    check_images,
    check_same_categories,
    clean,
    has_masks,
    load_annotations,
)
from afigan.data.images import find_images, inspect_image, read_rgb
from afigan.data.problems import MAX_SHOWN, DataError, Problem
from afigan.data.segmentations import is_flat

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


# (path of keys into the object, new value or "delete"), what the message names
BAD_FIELDS = [
    (("images", 0, "id"), 17, "image 17: its id is used twice"),
    (("images", 0, "id"), "7", "image number 1 of the list: its id is '7'"),
    (("images", 0, "id"), 7.0, "image number 1 of the list: its id is 7.0"),
    (("images", 0), "delete", "annotation 100: its image_id 7 is not that of any image"),
    (("images", 0), 5, "image number 1 of the list: is not an object"),
    (("images", 0, "file_name"), "/etc/a.jpg", "image 7: its file_name '/etc/a.jpg' is an absolute path"),
    (("images", 0, "file_name"), "a/../../b.jpg", "image 7: its file_name 'a/../../b.jpg' leads out"),
    (("images", 0, "file_name"), "..", "image 7: its file_name '..' leads out"),
    (("images", 0, "file_name"), ".", "image 7: its file_name '.' leads out"),
    (("images", 0, "file_name"), "", "image 7: its file_name is ''"),
    (("images", 0, "file_name"), None, "image 7: its file_name is None"),
    (("images", 0, "width"), "31", "image 7: its size is '31' x 20"),
    (("images", 0, "height"), 0, "image 7: its size is 31 x 0"),
    (("images", 0, "height"), "delete", "image 7: its size is 31 x None"),
    (("categories", 0, "id"), 90, "category 90: its id is used twice"),
    (("categories", 0, "name"), "cup", "category 90: its name 'cup' is that of category 3 too"),
    (("categories", 0, "name"), "", "category 3: its name is ''"),
    (("categories", 0), "delete", "annotation 100: its category_id 3 is not that of any category"),
    (("annotations", 1, "id"), 100, "annotation 100: its id is used twice"),
    (("annotations", 0, "id"), True, "annotation number 1 of the list: its id is True"),
    (("annotations", 0, "image_id"), 8, "annotation 100: its image_id 8"),
    (("annotations", 0, "image_id"), [7], "annotation 100: its image_id [7]"),
    (("annotations", 0, "category_id"), 1, "annotation 100: its category_id 1"),
    (("annotations", 0, "bbox"), "delete", "annotation 100: its bbox is None"),
    (("annotations", 0, "bbox"), [1, 2, 3], "annotation 100: its bbox is [1, 2, 3]"),
    (("annotations", 0, "bbox", 0), NAN, "annotation 100: its bbox is [nan"),
    (("annotations", 0, "bbox", 2), INF, "annotation 100: its bbox is [2.0, 3.0, inf"),
    (("annotations", 0, "bbox", 2), "9", "annotation 100: its bbox is [2.0, 3.0, '9'"),
    (("annotations", 0, "bbox", 2), 10**400, "annotation 100: its bbox is [2.0, 3.0, 1000"),
    (("annotations", 0, "bbox", 2), 0, "annotation 100: its bbox [2.0, 3.0, 0, 8.0] has no width or no height"),
    (("annotations", 0, "bbox", 3), -4, "annotation 100: its bbox [2.0, 3.0, 10.0, -4] has no width or no height"),
    (("annotations", 0, "bbox", 0), 22.5, "annotation 100: its bbox [22.5, 3.0, 10.0, 8.0] (x, y, width, height)"),
    (("annotations", 0, "bbox", 1), -1.5, "annotation 100: its bbox [2.0, -1.5, 10.0, 8.0] (x, y, width, height)"),
    (("annotations", 0, "area"), -1, "annotation 100: its area is -1"),
    (("annotations", 0, "area"), NAN, "annotation 100: its area is nan"),
    (("annotations", 0, "area"), "80", "annotation 100: its area is '80'"),
    (("annotations", 0, "iscrowd"), 2, "annotation 100: its iscrowd is 2"),
    (("annotations", 0, "iscrowd"), "0", "annotation 100: its iscrowd is '0'"),
    (("annotations", 0, "segmentation"), "delete", "annotation 100: it has no segmentation"),
    (("annotations", 0, "segmentation"), [], "annotation 100: it has no segmentation"),
    (("annotations", 0, "segmentation"), [[1, 2, 3, 4]], "annotation 100: polygon 1 of its segmentation has 4 numbers"),
    (("annotations", 0, "segmentation"), [[1] * 7], "annotation 100: polygon 1 of its segmentation has 7 numbers"),
    (("annotations", 0, "segmentation"), [[1] * 6, [NAN] * 6], "annotation 100: polygon 2 of its segmentation is not"),
    (("annotations", 0, "segmentation"), [1, 2, 3, 4, 5, 6], "annotation 100: polygon 1 of its segmentation is not"),
    (("annotations", 0, "segmentation"), "abc", "annotation 100: its segmentation is of type str"),
    (("annotations", 2, "segmentation", "size"), [31, 20], "its run-length segmentation is of size [31, 20]"),
    (("annotations", 2, "segmentation", "counts"), [5, 30], "its run-length segmentation covers 35 of 620 pixels"),
    (("annotations", 2, "segmentation", "counts"), [5, -30], "its run-length segmentation has unreadable counts"),
    (("annotations", 2, "segmentation", "counts"), "\x01", "its run-length segmentation has unreadable counts"),
    (("annotations", 2, "segmentation", "counts"), None, "its run-length segmentation has unreadable counts"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_FIELDS, ids=lambda v: str(v)[:60])
def test_a_fault_is_named(path, value, message):
    data = tiny_coco.annotations()
    *way, last = path
    place = data
    for key in way:
        place = place[key]
    if value == "delete":
        del place[last]
    else:
        place[last] = value
    found = reasons(data)
    assert any(message in text for text in found), found
    assert all(text.startswith("set.json: ") and text.endswith(")") for text in found)


@pytest.mark.parametrize("value", [[], None, 3, {"images": []}, {"images": [], "annotations": {}, "categories": []}])
def test_something_else_than_coco_is_one_problem(value):
    (text,) = reasons(value)
    assert text.startswith("set.json: this file: is not an object with the lists images, annotations and categories")


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
def test_an_empty_list_is_a_problem(name):
    data = tiny_coco.annotations() | {name: []}
    assert any(f"this file: has no {name}" in text for text in reasons(data))


def test_all_faults_are_reported_at_once():
    data = tiny_coco.annotations()
    data["annotations"][0] |= {"image_id": 5, "bbox": [0, 0, 0, 0], "iscrowd": 7}
    data["images"][2]["width"] = -1
    assert len(reasons(data)) == 4


def test_what_coco_2017_has_is_fine():
    data = tiny_coco.annotations()
    data["annotations"][0]["bbox"] = [-0.4, 0, 31.9, 20.5]  # out of the image by fractions of a pixel
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


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_value_of_any_field_makes_the_check_itself_fail(data):
    value = tiny_coco.annotations()
    group = data.draw(st.sampled_from(["images", "annotations", "categories"]))
    entry = data.draw(st.sampled_from(value[group]))
    entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(json_values)
    if not check_annotations(value, file="set.json"):  # then it must be fit for use
        cleaned, _ = clean(value, masks=True)
        assert all(math.isfinite(a["area"]) for a in cleaned["annotations"])
        json.dumps(cleaned, allow_nan=False)


def test_categories_of_both_splits_must_agree():
    train, val = tiny_coco.annotations(), tiny_coco.annotations()
    assert check_same_categories(train, val, file="val.json") == []
    val["categories"] = [{"id": 3, "name": "cat"}, {"id": 4, "name": "cup"}]
    texts = [str(problem) for problem in check_same_categories(train, val, file="val.json")]
    assert len(texts) == 3
    assert "val.json: category 3: is 'cat' here but 'naïve dog' in train" in texts[0]
    assert "val.json: category 4: is 'cup' here but missing in train" in texts[1]
    assert "val.json: category 90: is missing here but 'cup' in train" in texts[2]


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_an_unreadable_file_is_a_problem(tmp_path, content):
    path = tmp_path / "set.json"
    if content is not None:
        path.write_bytes(content)
    (problem,) = check_annotations(load_annotations(path), file=str(path))
    assert str(problem).startswith(f"{path}: this file: ")
    assert ("cannot be read" if content is None else "is not JSON") in problem.reason


# --- images ----------------------------------------------------------------------------------------------------------


def image_reasons(value, root, workers=1):
    found = check_images(value, root, file="set.json", workers=workers, description="checking")
    return [str(problem) for problem in found]


def break_image(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "size":
        Image.new("RGB", (20, 31)).save(path)
    elif how == "frames":
        frames = [Image.new("L", (31, 20), color) for color in (0, 255)]
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])
    elif how == "depth":
        Image.fromarray(np.full((20, 31), 4000, np.uint16)).save(path)


BAD_IMAGES = {
    "missing": "the file does not exist",
    "empty": "cannot be read",
    "truncated": "cannot be read",
    "folder": "cannot be read",
    "size": "is 20x31 pixels upright, but declared as 31x20",
    "frames": "has 2 frames, not one",
    "depth": "has pixels of mode I;16",
}


@pytest.mark.parametrize("how", BAD_IMAGES)
def test_a_broken_image_is_named(tmp_path, how):
    value = tiny_coco.annotations()
    tiny_coco.write_images(value, tmp_path)
    assert image_reasons(value, tmp_path) == []
    break_image(tmp_path / value["images"][0]["file_name"], how)
    (text,) = image_reasons(value, tmp_path)
    assert text.startswith("set.json: image 7: 'sub/bild-ä0.png' ")
    assert BAD_IMAGES[how] in text


def test_workers_report_the_same_in_the_same_order(tmp_path):
    value = tiny_coco.annotations(images=70)
    tiny_coco.write_images(value, tmp_path)
    for image in value["images"][::9]:
        (tmp_path / image["file_name"]).unlink()
    alone = image_reasons(value, tmp_path)
    assert len(alone) == 8
    assert image_reasons(value, tmp_path, workers=2) == alone


def test_a_missing_folder_is_one_problem(tmp_path):
    (text,) = image_reasons(tiny_coco.annotations(), tmp_path / "nowhere")
    assert "nowhere: this folder: is not a folder" in text


def test_odd_file_names_are_reported_not_raised(tmp_path):
    value = tiny_coco.annotations()
    tiny_coco.write_images(value, tmp_path)
    value["images"][0]["file_name"] = "nul\0.png"
    value["images"][1]["file_name"] = "half\ud800.png"
    texts = image_reasons(value, tmp_path)
    assert [text.split(":")[1] for text in texts] == [" image 7", " image 17"]
    DataError([Problem("set.json", "image", 17, texts[1], "x")], tmp_path / "list.txt")  # can be written and shown


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_read_upright(tmp_path, orientation):
    upright = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6).repeat(3).reshape(4, 6, 3) * 10)
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(inverse[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image.png"
    stored.save(path, exif=exif)
    assert inspect_image(path) == (6, 4)
    assert np.array_equal(read_rgb(path), upright)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_eight_bit_mode_is_read_as_rgb(tmp_path, mode):
    path = tmp_path / "image.tif"
    Image.new("RGB", (5, 3), (255, 255, 255)).convert(mode).save(path)
    assert inspect_image(path) == (5, 3)
    image = read_rgb(path)
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (5, 3), (255, 255, 255))


def test_images_are_found_in_sorted_order(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a.jpeg", "notes.txt", "._a.jpg", ".cache/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_images(tmp_path)) == ["a.jpeg", "b/1.png", "b/2.JPG"]


def test_the_message_is_capped_and_the_list_is_complete(tmp_path):
    problems = [Problem("set.json", "image", k, "is blue", "paint it") for k in range(MAX_SHOWN + 7)]
    listing = tmp_path / "data" / "problems.txt"
    error = DataError(problems, listing)
    assert isinstance(error, ValueError)
    text = str(error)
    assert str(listing) in text
    assert "57 problems" in text
    assert text.count("is blue") == MAX_SHOWN
    assert text.endswith("... and 7 more")
    assert listing.read_text().splitlines() == [str(problem) for problem in problems]


def test_the_input_is_not_changed():
    data = tiny_coco.annotations()
    before = copy.deepcopy(data)
    check_annotations(data, file="set.json")
    clean(data, masks=True)
    assert data == before
