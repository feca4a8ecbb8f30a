"""prepare: one complete folder for either source, or nothing and a list of the errors."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_coco
from PIL import Image

from afigan.data.prepare.coco import check_annotations
from afigan.data.prepare.problems import DataError
from afigan.data.prepare.stage import _write_split, prepare
from afigan.runtime.files import write_json


def coco(folder: Path, train=None, val=None, *, unlabeled: bool = False) -> SimpleNamespace:
    sections = {}
    for name, given in (("train", train), ("val", val)):
        value = given if given is not None else tiny_coco.annotations()
        sections[name] = tiny_coco.write_split(folder, name, value)
        tiny_coco.write_images(tiny_coco.annotations(), folder / name)
    images = None
    if unlabeled:
        images = folder / "more"
        (images / "deep").mkdir(parents=True)
        for name in ("b.jpg", "deep/a.png"):
            Image.new("RGB", (9, 5)).save(images / name)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (9, 5)).save(images / "a.jpg", exif=exif)
    nothing = SimpleNamespace(images=None, annotations="")
    return SimpleNamespace(
        source="coco", **sections, unlabeled=SimpleNamespace(images=images), test=nothing, repair=False
    )


def load(folder: Path, name: str):
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_coco_set_is_written_reduced(tmp_path):
    out = tmp_path / "data" / "prepared"
    prepare(coco(tmp_path, unlabeled=True), 0, out, workers=1)
    assert sorted(contents(out)) == ["summary.json", "test.json", "train.json", "unlabeled.json", "val.json"]
    train = load(out, "train")
    assert train["info"] == {"source": "coco", "root": str(tmp_path / "train"), "masks": True, "split": "train"}
    assert [image["file_name"] for image in train["images"]] == [f"sub/bild-ä{k}.png" for k in range(3)]
    assert check_annotations(train, file="train.json") == []

    unlabeled = load(out, "unlabeled")
    assert unlabeled["info"]["root"] == str(tmp_path / "more")
    assert unlabeled["annotations"] == []
    assert unlabeled["categories"] == train["categories"]
    assert unlabeled["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": 5, "height": 9},  # turned by its EXIF orientation
        {"id": 2, "file_name": "b.jpg", "width": 9, "height": 5},
        {"id": 3, "file_name": "deep/a.png", "width": 9, "height": 5},
    ]
    summary = load(out, "summary")
    size = sum((tmp_path / "train" / image["file_name"]).stat().st_size for image in train["images"])
    assert summary["train"] == {
        "images": 3,
        "annotations": 3,
        "categories": {"naïve dog": 2, "cup": 1},
        "sizes": {"small": 2, "medium": 0, "large": 0},
        "crowds": 1,
        "images_without_objects": 1,
        "bytes": size,
        "flat_objects_left_out": 0,
        "masks": True,
        "objects": 2,
        "objects_per_class": {"naïve dog": 2, "cup": 0},
        "images_with_objects": 2,
        "image_sizes": {"smallest": [31, 20], "median": [33.0, 21.0], "largest": [35, 22]},
        "boxes_off_masks": {"count": 0, "pixels": 0.0, "examples": []},
        "repairs": {},
        "only_supercategories": [],
    }
    assert summary["val"]["shared_with_train"] == {
        "count": 3,
        "examples": [image["file_name"] for image in train["images"]],
    }


def test_without_unlabeled_images_the_file_is_there_and_empty(tmp_path):
    prepare(coco(tmp_path), 0, tmp_path / "prepared", workers=1)
    assert load(tmp_path / "prepared", "unlabeled")["images"] == []


def test_boxes_only_sets_have_no_masks(tmp_path):
    train = tiny_coco.annotations()
    for annotation in train["annotations"]:
        del annotation["segmentation"]
    prepare(coco(tmp_path, train), 0, tmp_path / "prepared", workers=1)  # val's masks are then useless
    for name in ("train", "val"):
        split = load(tmp_path / "prepared", name)
        assert split["info"]["masks"] is False
        assert not any("segmentation" in annotation for annotation in split["annotations"])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_entries_are_written_as_one_text_would_be(tmp_path, monkeypatch, count):
    monkeypatch.setattr("afigan.data.prepare.stage._CHUNK", 2)
    entries = [{"id": n, "name": "ä\n", "bbox": [1.0, 0.1, 1e-9, n]} for n in range(count)]
    value = {"info": {"masks": True, "root": "ü"}, "images": entries, "categories": entries[:1]}
    _write_split(tmp_path / "some.json", value)
    write_json(tmp_path / "one.json", value, indent=None)
    assert (tmp_path / "some.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    with pytest.raises(ValueError):
        _write_split(tmp_path / "nan.json", {"images": [{"area": float("nan")}]})


def test_shapes_are_drawn_into_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shapes = SimpleNamespace(train=4, val=3, unlabeled=2, test=1, size=96)
    data = SimpleNamespace(source="shapes", shapes=shapes)
    out = Path("data/prepared")
    prepare(data, 5, out, workers=1)
    for name in ("train", "val", "unlabeled", "test"):
        split = load(out, name)
        assert split["info"]["root"] == f"data/prepared/images/{name}"
        assert split["info"]["source"] == "shapes"
        assert len(split["images"]) == getattr(shapes, name)
        assert all(Path(split["info"]["root"], image["file_name"]).is_file() for image in split["images"])
    assert load(out, "train")["info"]["masks"]
    assert not load(out, "unlabeled")["annotations"] and not load(out, "test")["annotations"]
    first = contents(out)
    prepare(data, 5, out, workers=1)
    assert contents(out) == first
    prepare(data, 6, out, workers=1)
    assert contents(out) != first


def refused(data, out: Path) -> str:
    """Return the text of the DataError; the attempt may leave nothing but the list of problems."""
    with pytest.raises(DataError) as caught:
        prepare(data, 0, out, workers=1)
    listing = out.with_name(f"{out.name}.problems.txt")
    assert str(listing) in str(caught.value)
    assert len(listing.read_text("utf-8").splitlines()) == len(caught.value.problems)
    assert {path.name for path in out.parent.iterdir()} <= {listing.name, out.name}
    return str(caught.value)


def test_all_problems_of_both_splits_are_shown_and_nothing_is_left(tmp_path):
    train, val = tiny_coco.annotations(), tiny_coco.annotations()
    train["annotations"][0]["category_id"] = 8
    del val["annotations"][0]["segmentation"]
    val["categories"].append({"id": 5, "name": "owl"})
    data = coco(tmp_path, train, val, unlabeled=True)
    (tmp_path / "val/sub/bild-ä1.png").unlink()
    (tmp_path / "more/b.jpg").write_bytes(b"no image")
    text = refused(data, tmp_path / "data/prepared")
    assert f"{tmp_path / 'train.json'}: annotation 100: no category has its category_id 8" in text
    assert f"{tmp_path / 'val.json'}: annotation 100: it has no segmentation" in text
    assert f"{tmp_path / 'val.json'}: category 5: is 'owl' here but missing in train" in text
    assert f"{tmp_path / 'val.json'}: image 17: 'sub/bild-ä1.png' the file does not exist" in text
    assert f"{tmp_path / 'more'}: image b.jpg: cannot be read" in text
    assert text.startswith("5 problems")


def many(images: int, width: int, height: int) -> dict:
    """Return a sound set of two rectangles an image."""
    value = tiny_coco.annotations(images=images)
    value["annotations"] = []
    for image in value["images"]:
        image |= {"width": width, "height": height}
        for x in (5, 30):
            polygon = [x, 6, x + 20, 6, x + 20, 30, x, 30]
            item = {"bbox": [x, 6, 20, 24], "area": 480.0, "iscrowd": 0, "segmentation": [polygon]}
            key = len(value["annotations"]) + 1
            value["annotations"].append({"id": key, "image_id": image["id"], "category_id": 3, **item})
    return value


def real_files(tmp_path: Path, given: dict) -> SimpleNamespace:
    """Return a data section with the value for both splits and with images of 64 x 48 pixels."""
    data = coco(tmp_path, given, given)
    for name in ("train", "val"):
        tiny_coco.write_images(many(len(given["images"]), 64, 48), tmp_path / name)
    return data


def test_exchanged_sides_are_not_hidden_behind_the_boxes_that_they_push_out(tmp_path):
    text = refused(real_files(tmp_path, many(60, 48, 64)), tmp_path / "data/prepared")
    head, *lines = text.splitlines()
    assert head.startswith("240 problems in the data") and len(lines) == 16
    for group, name in ((lines[0:4], "train"), (lines[4:8], "val")):
        wanted = "is 64x48 pixels upright, but declared as 48x64: width and height are exchanged"
        assert all(f"{name}.json: image" in line and wanted in line for line in group[:3])
        assert group[3] == f"    ... 60 images of {tmp_path / name}.json in all (these are the first 3)"
    assert all("annotation" in line for line in lines[8:]) and "clip" not in text


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("area", lambda a: 1.0, "its area is 1.0, far below that of its mask, 480"),
        ("area", lambda a: 481 * 1.02, "its area is 490.62, more than that of its box, 480"),
        (
            "bbox",
            lambda a: [a["bbox"][0] + 10, 18, 20, 24],
            "(x and y of the centre, width, height) of its mask, which extends from (5, 6) to (25, 30)",
        ),
        ("bbox", lambda a: [a["bbox"][0], 6, a["bbox"][0] + 20, 30], "is (left, top, right, bottom) of its mask"),
    ],
)
def test_areas_and_boxes_are_compared_with_masks_before_anything_is_prepared(tmp_path, field, value, message):
    given = many(4, 64, 48)
    for annotation in given["annotations"]:
        annotation[field] = value(annotation)
    text = refused(real_files(tmp_path, given), tmp_path / "data/prepared")
    head, *lines = text.splitlines()
    assert head.startswith("16 problems") and len(lines) == 8
    assert message in lines[0] and "8 annotations of" in lines[3]
    prepare(real_files(tmp_path / "sound", many(4, 64, 48)), 0, tmp_path / "sound/prepared", workers=1)


def test_a_refused_set_leaves_the_previous_one_alone_and_a_good_one_clears_the_list(tmp_path):
    out = tmp_path / "data/prepared"
    prepare(coco(tmp_path), 0, out, workers=1)
    before = contents(out)
    refused(coco(tmp_path, {"images": []}), out)
    assert contents(out) == before
    prepare(coco(tmp_path), 0, out, workers=1)
    assert [path.name for path in out.parent.iterdir()] == ["prepared"]


def test_the_images_of_the_challenge_come_without_annotations(tmp_path):
    """COCO's image_info_test-dev2017.json has no list of annotations at all."""
    data = coco(tmp_path)
    values = tiny_coco.annotations()
    given = {name: value for name, value in values.items() if name != "annotations"}
    data.test = tiny_coco.write_split(tmp_path, "test", given)
    tiny_coco.write_images(values, tmp_path / "test")
    prepare(data, 0, tmp_path / "prepared", workers=1)
    test = load(tmp_path / "prepared", "test")
    assert test["annotations"] == [] and [i["id"] for i in test["images"]] == [i["id"] for i in values["images"]]
    assert test["categories"] == load(tmp_path / "prepared", "train")["categories"]

    given["categories"] = given["categories"][:-1]
    data.test = tiny_coco.write_split(tmp_path, "test", given)
    (tmp_path / "test" / values["images"][0]["file_name"]).unlink()
    with pytest.raises(DataError) as raised:
        prepare(data, 0, tmp_path / "again", workers=1)
    assert "missing here but" in str(raised.value) and len(raised.value.problems) == 2
    assert not (tmp_path / "again").exists()
