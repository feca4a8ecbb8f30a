"""The findings on a data set: counted as a reader of the file counts them, and as a table of every split."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_data import OwnData, rectangle, written
from PIL import Image
from summaries import findings

from afigan.data.prepare.findings import summarise, table
from afigan.data.prepare.shared_images import shared_images
from afigan.data.prepare.terminal import show


@pytest.fixture
def own(tmp_path, monkeypatch) -> OwnData:
    monkeypatch.chdir(tmp_path)
    return OwnData()


def rows(summary, longest=None) -> dict[str, list[str]]:
    """Return the table by rows."""
    names, *splits = table(summary, longest).values()
    return {name: list(cells) for name, *cells in zip(names, *splits, strict=True)}


def test_the_table_of_a_set(own):
    line = {"bbox": [3, 3, 8, 0], "area": 0, "segmentation": [rectangle(3, 3, 8, 0)]}
    own.train["annotations"].append({"id": 70, "image_id": 1, "category_id": 1, **line})
    own.train["annotations"][0]["iscrowd"] = 1
    own.train["annotations"] = [entry for entry in own.train["annotations"] if entry["image_id"] != 3]
    big = {"bbox": [0, 0, 96, 64], "area": 96 * 64, "segmentation": [rectangle(0, 0, 96, 64)]}
    own.train["annotations"][3] |= big
    own.val["categories"].append({"id": 3, "name": "owl|"})
    own.train["categories"].append({"id": 3, "name": "owl|"})
    summary, _ = own.prepare()
    assert rows(summary) == {
        "images": ["4", "2", "1"],
        "pixels of an image": ["96x64", "96x64", "60x40"],
        "images without objects": ["1", "0", ""],
        "annotated with": ["masks and boxes", "masks and boxes", ""],
        "objects": ["5", "4", ""],
        "small, below 32x32 square pixels": ["4", "4", ""],
        "medium, from 32x32 to 96x96 square pixels": ["1", "0", ""],
        "large, above 96x96 square pixels": ["0", "0", ""],
        "crowds, left out": ["1", "0", ""],
        "flat objects, left out": ["1", "0", ""],
        "classes": ["3, 1 without objects", "3, 1 without objects", ""],
        "class dog": ["3", "2", ""],
        "class cat": ["2", "2", ""],
        "class owl|": ["none", "none", ""],
    }
    assert list(table(summary)) == ["", "train", "val", "unlabeled"]


def test_boxes_without_masks_and_repairs_are_rows_of_their_own(own):
    own.each(lambda entry: entry.update(segmentation=[], id=float(entry["id"])))
    own.set("model.head", "faster_rcnn")
    own.set("data.repair", True)
    summary, _ = own.prepare()
    assert rows(summary)["annotated with"] == ["boxes only", "boxes only", ""]
    assert rows(summary)["repaired: whole numbers written as floats"] == ["8", "4", "0"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_counts_are_those_of_a_reader(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("images")
    sides = st.integers(1, 300)
    images = [{"id": n, "file_name": "a", "width": data.draw(sides), "height": data.draw(sides)} for n in range(3)]
    (folder / "a").write_bytes(b"abc")
    areas = st.sampled_from([0.0, 1023.9, 1024.0, 9216.0, 9216.1, 1e6])
    objects = [
        {"image_id": data.draw(st.integers(0, 2)), "category_id": c, "area": data.draw(areas), "iscrowd": crowd}
        for c, crowd in data.draw(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1)), max_size=9))
    ]
    categories = [{"id": n, "name": f"class {n}"} for n in (1, 2, 3)]
    value = {"images": images, "annotations": objects, "categories": categories}
    summary = summarise(value, folder, flat=2, masks=False, off_masks={7: 1.25, 3: 9.0}, repairs={})
    single = [entry for entry in objects if not entry["iscrowd"]]
    assert summary["objects"] == len(single) and summary["crowds"] == len(objects) - len(single)
    # https://cocodataset.org/#detection-eval: small < 32^2 < medium < 96^2 < large; borders are medium in COCOeval too
    assert list(summary["sizes"].values()) == [
        sum(entry["area"] < 1024 for entry in single),
        sum(1024 <= entry["area"] <= 9216 for entry in single),
        sum(entry["area"] > 9216 for entry in single),
    ]
    assert summary["objects_per_class"] == {
        c["name"]: len([entry for entry in single if entry["category_id"] == c["id"]]) for c in categories
    }
    assert summary["images_with_objects"] == len({entry["image_id"] for entry in single})
    assert summary["bytes"] == 9 and summary["boxes_off_masks"] == {"count": 2, "pixels": 9.0, "examples": [3, 7]}
    pixels = [image["width"] * image["height"] for image in images]
    sizes = summary["image_sizes"]
    assert [np.prod(sizes["smallest"]), np.prod(sizes["largest"])] == [min(pixels), max(pixels)]
    assert sizes["median"] == [sorted(image[side] for image in images)[1] for side in ("width", "height")]


def test_a_long_list_of_classes_has_its_ends_on_a_terminal_and_all_in_the_report():
    counts = {f"c{n}": 100 - n if n < 97 else 0 for n in range(100)}
    summary = {"train": findings(counts), "val": findings(dict.fromkeys(counts, 1))}
    short, complete = rows(summary, 10), rows(summary)
    classes = [name for name in short if name.startswith(("class ", "…"))]
    ends = [*range(5), *range(95, 100)]
    assert classes == [*(f"class c{n}" for n in ends[:5]), "… 90 classes between", *(f"class c{n}" for n in ends[5:])]
    assert short["class c99"] == ["none", "1"] and short["classes"] == ["100, 3 without objects", "100"]
    assert [f"class c{n}" in complete for n in range(100)] == [True] * 100


def test_two_long_names_of_classes_stay_two_rows_and_odd_ones_fit_a_line():
    counts = {"x" * 50 + "a": 3, "x" * 50 + "b": 2, "two\nlines": 1, " ": 1, "[red]": 1}
    names, cells = table({"train": findings(counts)}).values()
    assert [name for name in names if name.startswith("class ")] == [
        *["class " + "x" * 39 + "…"] * 2, "class 'two\\nlines'", "class ' '", "class [red]",
    ]  # fmt: skip
    assert cells[-5:] == ["3", "2", "1", "1", "1"]
    text = io.StringIO()
    show({"train": findings(counts)}, ["[bold]a" * 40], text)
    assert "class [red]" in text.getvalue() and f"\nwarning: {'[bold]a' * 40}\n" in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) < 300


def test_the_summary_keeps_its_earlier_names(own):
    summary, _ = own.prepare()
    earlier = {"images", "annotations", "categories", "sizes", "crowds", "images_without_objects", "bytes"}
    for name in ("train", "val", "unlabeled", "test"):
        assert earlier | {"flat_objects_left_out", "masks"} <= summary[name].keys()
    assert summary["train"]["categories"] == {"cat": 4, "dog": 4}
    assert len(json.loads(written()["train"])["annotations"]) == summary["train"]["annotations"] == 8


def test_shared_images_are_found_under_any_name(tmp_path):
    pictures = [np.full((4, 5, 3), n, np.uint8) for n in range(4)]
    for n, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(tmp_path / f"{n}.bmp")  # all of one size
    Image.fromarray(pictures[1]).save(tmp_path / "copy.bmp")
    (tmp_path / "link.bmp").symlink_to("2.bmp")
    (tmp_path / "hard.bmp").hardlink_to(tmp_path / "0.bmp")
    Image.fromarray(pictures[1]).save(tmp_path / "1.png")  # other bytes, the same pixels
    train = [tmp_path / f"{n}.bmp" for n in range(3)]
    names = ["3.bmp", "copy.bmp", "link.bmp", "1.png", "hard.bmp", "1.bmp", "../" + tmp_path.name + "/2.bmp"]
    assert shared_images(train, [tmp_path / name for name in names]) == [1, 2, 4, 5, 6]
    assert shared_images([], train) == [] == shared_images(train, [])
