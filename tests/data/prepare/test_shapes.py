"""The embedded data set: the same for a seed, with every class and size, and annotations of the visible parts."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from afigan.data.prepare.shapes import CATEGORIES, write_shapes

SIZE, TRAIN, VAL = 256, 60, 10


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder and its data set, large enough to meet every kind of object and of occlusion."""
    folder = tmp_path_factory.mktemp("shapes")
    return folder, write_shapes(folder, train=TRAIN, val=VAL, unlabeled=2, test=1, size=SIZE, seed=0)


def write(folder, *, train=3, val=2, unlabeled=1, size=64, seed=0):
    sets = write_shapes(folder, train=train, val=val, unlabeled=unlabeled, test=1, size=size, seed=seed)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}
    return sets, files


def decode(annotation, size=SIZE):
    """Return the mask of an annotation, (size, size) bool."""
    polygons = coco_mask.frPyObjects(annotation["segmentation"], size, size)
    return coco_mask.decode(coco_mask.merge(polygons)).astype(bool)


def by_image(split):
    return [[a for a in split["annotations"] if a["image_id"] == image["id"]] for image in split["images"]]


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    assert write(tmp_path / "one") == write(tmp_path / "two")


def test_another_seed_gives_other_images(tmp_path):
    (sets, files), (other_sets, other_files) = write(tmp_path / "one"), write(tmp_path / "two", seed=1)
    assert files.keys() == other_files.keys() and all(files[name] != other_files[name] for name in files)
    assert sets["train"]["annotations"] != other_sets["train"]["annotations"]


def test_more_images_do_not_change_the_first_ones(tmp_path):
    sets, files = write(tmp_path / "few")
    more_sets, more_files = write(tmp_path / "more", train=5, val=4, unlabeled=2)
    assert files.items() <= more_files.items()
    for split, part in sets.items():
        for key in ("images", "annotations"):
            assert more_sets[split][key][: len(part[key])] == part[key]


def test_splits_share_no_image(tmp_path):
    _, files = write(tmp_path, train=3, val=3, unlabeled=3)
    assert len(set(files.values())) == 3 * 3 + 1


def test_files_are_as_declared(drawn):
    folder, sets = drawn
    assert {split: len(part["images"]) for split, part in sets.items()} == {
        "train": TRAIN,
        "val": VAL,
        "unlabeled": 2,
        "test": 1,
    }
    for split, part in sets.items():
        assert [image["id"] for image in part["images"]] == list(range(1, len(part["images"]) + 1))
        assert len(list((folder / "images" / split).iterdir())) == len(part["images"])
        for image in part["images"]:
            with Image.open(folder / "images" / split / image["file_name"]) as pixels:
                assert pixels.mode == "RGB" and pixels.size == (image["width"], image["height"]) == (SIZE, SIZE)
    assert sets["unlabeled"]["annotations"] == sets["test"]["annotations"] == []
    json.dumps(sets, allow_nan=False)


def test_annotations_are_those_of_their_polygons(drawn):
    _, sets = drawn
    annotations = sets["train"]["annotations"]
    assert [a["id"] for a in annotations] == list(range(1, len(annotations) + 1))
    assert {a["iscrowd"] for a in annotations} == {0}
    for annotation in annotations:
        mask = decode(annotation)
        ys, xs = np.nonzero(mask)
        x, y, w, h = annotation["bbox"]
        assert (x, y, x + w, y + h) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert annotation["area"] == mask.sum()
        for polygon in annotation["segmentation"]:
            assert len(polygon) >= 6 and len(polygon) % 2 == 0 and 0 <= min(polygon) <= max(polygon) <= SIZE


def test_every_class_and_size_occurs(drawn):
    _, sets = drawn
    annotations = [a for split in ("train", "val") for a in sets[split]["annotations"]]
    assert sets["train"]["categories"] == [{"id": i + 1, "name": name} for i, name in enumerate(CATEGORIES)]
    classes = np.bincount([a["category_id"] for a in annotations], minlength=4)
    assert classes[0] == 0 and (classes[1:] > 0.2 * len(annotations)).all()
    areas = np.array([a["area"] for a in annotations])
    sizes = [(areas < 32**2).sum(), ((areas >= 32**2) & (areas <= 96**2)).sum(), (areas > 96**2).sum()]
    assert min(sizes) >= 8, sizes
    assert {len(objects) for objects in by_image(sets["train"])} >= {1, 2, 3, 4}


def test_visible_masks_do_not_overlap(drawn):
    """Except for the pixels that an outline shares with its neighbour's."""
    _, sets = drawn
    touching = 0
    for split in ("train", "val"):
        for number, objects in enumerate(by_image(sets[split]), start=1):
            masks = [decode(a) for a in objects]
            for i, one in enumerate(masks):
                for other in masks[:i]:
                    overlap = (one & other).sum()
                    touching += overlap > 0
                    assert overlap <= 2 + 0.02 * min(one.sum(), other.sum()), (split, number)
    assert touching  # objects do cover one another


def test_what_is_covered_is_cut(drawn):
    """A covered object keeps the outline of what is seen: more corners than its own, or more parts."""
    _, sets = drawn
    corners = {"disc": 24, "box": 4, "triangle": 3}
    whole = [
        len(a["segmentation"]) == 1 and len(a["segmentation"][0]) == 2 * corners[CATEGORIES[a["category_id"] - 1]]
        for a in sets["train"]["annotations"]
    ]
    assert 0.5 < np.mean(whole) < 0.95


def test_objects_differ_from_their_background(drawn):
    """Masks are where the object was drawn: inside and just outside them the picture differs."""
    folder, sets = drawn
    contrasts = []
    for image, objects in zip(sets["train"]["images"], by_image(sets["train"]), strict=True):
        pixels = np.asarray(Image.open(folder / "images/train" / image["file_name"])).astype(float).mean(axis=2)
        for annotation in objects:
            inside = decode(annotation)
            grown = inside.copy()
            for axis in (0, 1):
                for step in (-2, 2):
                    grown |= np.roll(inside, step, axis)
            ring = grown & ~inside
            contrasts.append(abs(pixels[inside].mean() - pixels[ring].mean()))
    assert np.median(contrasts) > 40


def test_objects_scale_with_the_image(tmp_path):
    small, large = (write(tmp_path / str(size), train=12, size=size)[0]["train"] for size in (128, 256))
    means = [np.mean([a["area"] for a in split["annotations"]]) for split in (small, large)]
    assert means[1] / means[0] == pytest.approx(4, rel=0.4)


def test_the_smallest_size_that_is_allowed(tmp_path):
    sets, _ = write(tmp_path, train=100, size=64)
    assert all(a["segmentation"] and a["area"] > 0 for a in sets["train"]["annotations"])
