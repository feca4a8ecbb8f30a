"""Warnings: each is there when its condition holds, with its numbers, and not otherwise."""

from collections.abc import Callable
from pathlib import Path

import pytest
from composed import composed
from hypothesis import given, settings
from hypothesis import strategies as st
from own_data import OwnData, rectangle, rectangles
from PIL import Image
from summaries import summary

from afigan.data.prepare.cautions import cautions
from afigan.params.loading import check_params

ENOUGH = {"iterations": 500, "batch_size": 4}  # sees four images 500 times


@pytest.fixture
def own(tmp_path, monkeypatch) -> OwnData:
    """A set without a reason for a warning: all sizes and classes in both splits, and a long schedule."""
    monkeypatch.chdir(tmp_path)
    own = OwnData(stored=(320, 200))
    for split in (own.train, own.val):
        for annotation, side in zip(split["annotations"][:4], (20, 60, 120, 130), strict=True):
            box = (5 + 150 * (annotation["id"] % 2), 6, side, side)
            annotation |= {"bbox": [*box], "area": side * side, "segmentation": [rectangle(*box)]}
    own.values["train_detector"] |= ENOUGH
    own.set("train_detector.milestones", [])
    return own


def crowd(entry: dict) -> None:
    entry["iscrowd"] = 1


def to_class(value: int) -> Callable[[dict], None]:
    return lambda entry: entry.update(category_id=value)


def owl(own: OwnData) -> None:
    for split in (own.train, own.val):
        split["categories"].append({"id": 3, "name": "owl"})


def test_a_sound_set_and_a_long_schedule_have_no_warning(own):
    _, warnings = own.prepare()
    assert warnings == []


def apply(split: str, change: Callable[[dict], object], keep: Callable[[dict], bool] = lambda entry: True):
    def spoil(own: OwnData) -> None:
        for entry in getattr(own, split)["annotations"]:
            if keep(entry):
                change(entry)

    return spoil


def shared_file(own: OwnData) -> None:
    own.val["images"][1]["file_name"] = own.train["images"][3]["file_name"]


def shared_bytes(own: OwnData) -> None:
    files = [Path("photographs", split["images"][0]["file_name"]) for split in (own.train, own.val)]
    files[1].write_bytes(files[0].read_bytes())


def small(entry: dict) -> None:
    x, y, *_ = entry["bbox"]
    entry |= {"bbox": [x, y, 9, 9], "area": 81, "segmentation": [rectangle(x, y, 9, 9)]}


CONDITIONS = {
    "crowds in train": (
        apply("train", crowd, lambda entry: entry["id"] > 3),
        ["5 of 8 annotations of train are crowds (iscrowd: 1). Training leaves crowds out, and AP does"],
    ),
    "crowds in val": (
        apply("val", crowd, lambda entry: entry["id"] != 3),
        ["3 of 4 annotations of val are crowds", "val has no object of 1 of 2", "val has no small and no medium obj"],
    ),
    "half are crowds": (apply("train", crowd, lambda entry: entry["id"] > 4), []),
    "a class in val alone": (
        apply("train", to_class(1)),
        ["train has no object of 1 of 2 classes ('dog'), but val has some: no detector can find them."],
    ),
    "a class in train alone": (
        apply("val", to_class(1)),
        ["val has no object of 1 of 2 classes ('dog'): AP leaves them out."],
    ),
    "a class in neither": (owl, ["neither train nor val has an object, crowds apart, of 1 of 3 classes ('owl')"]),
    "no large objects in train": (
        apply("train", small, lambda entry: entry["area"] > 96 * 96),
        ["train has no large objects (large: above 96x96 square pixels), so no detector learns from such objects."],
    ),
    "small objects alone in val": (
        apply("val", small),
        ["val has no medium and no large objects (medium: from 32x32 to 96x96 square pixels, large: above 96x96"],
    ),
    "one file in both": (
        shared_file,
        ["1 of 2 images of val are also in train, for example 'images/train_3.png': AP on them says little"],
    ),
    "the same bytes in both": (shared_bytes, ["1 of 2 images of val are also in train, for example 'images/val_0"]),
    "unlabeled images that are val's": (
        lambda own: own.set("data.unlabeled.images", "photographs"),
        ["2 of 2 images of val are also unlabeled images, for example 'images/val_0.png', 'images/val_1.png': stud"],
    ),
    "a few boxes a little off": (
        apply("val", lambda entry: entry.update(bbox=[156.4, 6, 119, 121]), lambda entry: entry["id"] == 3),
        ["1 of 4 boxes of val differ from their masks by more than a pixel, at most by 1.4, for example those of"],
    ),
    "a box a little off, of the annotation 0": (  # it becomes 1 in data/prepared
        apply("val", lambda entry: entry.update(bbox=[156.4, 6, 119, 121], id=0), lambda entry: entry["id"] == 3),
        ["1 of 4 boxes of val differ from their masks by more than a pixel, at most by 1.4, for example those of the "],
    ),
}


@pytest.mark.parametrize(("spoil", "expected"), CONDITIONS.values(), ids=CONDITIONS)
def test_a_condition_is_named_with_its_numbers(own, spoil, expected):
    spoil(own)
    if "images" not in str(expected):
        own.values["train_detector"]["iterations"] = 100_000  # crowds make objects rare
    _, warnings = own.prepare()
    assert [words in warning for words, warning in zip(expected, warnings, strict=True)] == [True] * len(expected)


def test_a_few_boxes_of_many_are_tolerated_and_told(tmp_path, monkeypatch):
    """Fewer than one in a hundred, whose boxes still overlap their masks, are no error, whatever the distance."""
    monkeypatch.chdir(tmp_path)
    own = OwnData(train=120)
    own.train["annotations"][7]["bbox"][0] += 6  # of 16 pixels' width
    _, warnings = own.prepare()
    (told,) = [text for text in warnings if "differ from their masks" in text]
    assert told.startswith("1 of 240 boxes of train differ from their masks by more than a pixel, at most by 6, for ")
    own.train["annotations"][9]["bbox"][0] += 6
    own.train["annotations"][11]["bbox"][0] += 6
    assert all("is not that of its mask" in line for line in own.refused())


# --- schedules --------------------------------------------------------------------------------------------------------


def schedule_warnings(counts: dict[str, int], images: int, iterations: int, batch_size: int, **own: dict) -> list[str]:
    values = composed("smoke")
    values["train_detector"] |= {"iterations": iterations, "batch_size": batch_size}
    for key, change in own.items():
        values["experiments"]["detectors"][key]["schedule"] = change
    found = cautions(summary(images, counts), check_params(values))
    assert all(": " in text and "iterations of batch_size" in text for text in found)
    return found


def test_eighty_classes_in_337_photographs_for_three_epochs():
    counts = {f"c{n:02}": 3 + 20 * n for n in range(80)}
    epochs, classes = schedule_warnings(counts, 337, 250, 4)
    assert epochs == (
        "train_detector: 250 iterations of batch_size 4 see each of the 337 images of train that have objects 3 times, "
        "which is fewer than 10. 843 iterations would be 10 times."
    )
    assert classes.startswith(
        "train_detector: 250 iterations of batch_size 4 see objects of 2 of 80 classes fewer than 100 times: "
        "'c00' (3 in train, 8.9 times), 'c01' (23 in train, 68 times). Mark more of them, or train for longer: "
    )
    assert "2,809 iterations would be 100 times for all." in classes


def test_the_paper_s_schedule_has_no_warning():
    assert schedule_warnings({"person": 262_465, "hair drier": 198}, 117_266, 90_000, 16) == []


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 500), st.integers(1, 4000), st.integers(1, 64), st.lists(st.integers(1, 900), min_size=1))
def test_the_advice_suffices_and_is_not_too_much(images, iterations, batch_size, numbers):
    counts = {f"c{n}": number for n, number in enumerate(numbers)}
    found = schedule_warnings(counts, images, iterations, batch_size)
    epochs = iterations * batch_size / images
    assert [" see each of " in text for text in found].count(True) == (epochs < 10)
    assert [" see objects of " in text for text in found].count(True) == (epochs * min(numbers) < 100)
    if not found:
        return
    advised = max(int(text.rpartition(" iterations would")[0].rpartition(" ")[2].replace(",", "")) for text in found)
    assert advised > iterations
    assert schedule_warnings(counts, images, advised, batch_size) == []
    assert schedule_warnings(counts, images, advised - 1, batch_size)


def test_the_shortest_schedule_of_a_detector_counts():
    counts = {"cat": 100}
    assert schedule_warnings(counts, 10, 500, 4, a1={"iterations": 900}) == []
    (text,) = schedule_warnings(counts, 10, 500, 4, a1={"iterations": 20})
    assert text.startswith("experiments.detectors.a1.schedule: 20 iterations of batch_size 4 see each of the 10 images")
    every = {key: {"batch_size": 9, "iterations": 60} for key in composed("smoke")["experiments"]["detectors"]}
    assert schedule_warnings(counts, 10, 1, 1, **every) == []  # nothing has the schedule of the section


def test_images_without_objects_do_not_count(own):
    own.train["images"].append({"id": 99, "file_name": "a.png", "width": 9, "height": 9})
    Image.new("RGB", (9, 9)).save("photographs/a.png")
    own.values["train_detector"] |= {"iterations": 9, "batch_size": 4}
    _, warnings = own.prepare()
    assert "each of the 4 images of train that have objects 9 times" in warnings[0]


def test_many_names_are_cut(own):
    categories = [{"id": n, "name": f"class {n}"} for n in range(1, 30)]
    for split in (own.train, own.val):
        split["categories"] = categories
    _, warnings = own.prepare()
    assert "27 of 29 classes ('class 3', 'class 4', 'class 5', 'class 6', 'class 7' and 22 more)" in warnings[0]


def test_sound_rectangles_are_what_the_tests_take_them_for():
    value = rectangles("train", 3)
    assert [entry["area"] for entry in value["annotations"]] == [480, 480, 420, 640, 480, 480]
