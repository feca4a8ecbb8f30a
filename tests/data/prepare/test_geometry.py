"""Boxes, masks and areas: sound sets pass, and a wrong format, area or mask is named for what it is."""

import copy

import numpy as np
import pytest
import tiny_coco
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from afigan.data.prepare import segmentations
from afigan.data.prepare.coco import check_annotations, clean
from afigan.data.prepare.geometry import differences, mask_tolerance, overlap

WIDTH, HEIGHT = 640, 480
NAN = float("nan")


def sound(count: int = 40, seed: int = 0) -> dict:
    """Draw a sound set: octagons of all sizes, their extents and their areas, four an image."""
    rng = np.random.default_rng(seed)
    data = tiny_coco.annotations(images=count // 4)
    for image in data["images"]:
        image |= {"width": WIDTH, "height": HEIGHT}
    data["annotations"] = []
    angles = np.arange(8) * np.pi / 4
    for number in range(count):
        radii = np.exp(rng.uniform(np.log(6), np.log(110), 2))
        centre = rng.uniform([120, 120], [WIDTH - 120, HEIGHT - 120])
        points = (centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)).round(2)
        low, high = points.min(axis=0), points.max(axis=0)
        data["annotations"].append(
            {
                "id": number + 1,
                "image_id": data["images"][number // 4]["id"],
                "category_id": 3,
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "area": 0.7071 * float((high - low).prod()),
                "iscrowd": 0,
                "segmentation": [points.ravel().tolist()],
            }
        )
    return data


def boxes_only(data: dict) -> dict:
    for annotation in data["annotations"]:
        del annotation["segmentation"]
    return data


def changed(data: dict, **fields) -> dict:
    """Return the set with fields of every annotation replaced by functions of the annotation."""
    data = copy.deepcopy(data)
    for annotation in data["annotations"]:
        annotation |= {name: function(annotation) for name, function in fields.items()}
    return data


def problems(data: dict) -> list[str]:
    return [f"{p.kind} {p.id}: {p.reason} ({p.remedy})" for p in check_annotations(data, file="set.json")]


# --- sound sets -------------------------------------------------------------------------------------------------------


def floored(annotation: dict) -> list[int]:
    return [int(value) for value in annotation["bbox"]]


SOUND = {
    "as it is": {},
    "boxes rounded down": {"bbox": floored, "area": lambda a: floored(a)[2] * floored(a)[3]},
    "areas of the boxes": {"area": lambda a: a["bbox"][2] * a["bbox"][3]},
    "no areas": {"area": lambda a: None},
    "masks as run lengths": {"segmentation": lambda a: as_runs(a)},
    "masks in two parts": {"segmentation": lambda a: [a["segmentation"][0][:8], a["segmentation"][0][6:]]},
}


def as_runs(annotation: dict) -> dict:
    rle = coco_mask.merge(coco_mask.frPyObjects(annotation["segmentation"], HEIGHT, WIDTH))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("change", SOUND.values(), ids=SOUND)
def test_a_sound_set_has_no_problem(change, masks):
    data = changed(sound(), **change)
    assert problems(data if masks else boxes_only(data)) == []


def test_objects_of_one_size_may_have_one_area():
    data = changed(sound(), bbox=lambda a: [9, 9, 20, 30], segmentation=lambda a: [[9, 9, 29, 9, 29, 39, 9, 39]])
    assert problems(changed(data, area=lambda a: 600)) == []
    assert problems(boxes_only(changed(data, area=lambda a: 600))) == []


def test_thin_objects_without_their_masks_are_sound():
    thin = changed(sound(), area=lambda a: a["bbox"][2] * a["bbox"][3] * (0.02 if a["id"] % 3 == 0 else 0.5))
    assert problems(boxes_only(thin)) == []


# --- boxes of another format ------------------------------------------------------------------------------------------


def corners(annotation: dict) -> tuple[float, float, float, float]:
    x, y, width, height = annotation["bbox"]
    return x, y, x + width, y + height


def centred(annotation: dict) -> list[float]:
    x, y, width, height = annotation["bbox"]
    return [x + width / 2, y + height / 2, width, height]


def swapped(annotation: dict) -> list[float]:
    x, y, width, height = annotation["bbox"]
    return [x, y, height, width]


def times(function, x: float, y: float):
    return lambda a: [value * factor for value, factor in zip(function(a), (x, y, x, y), strict=True)]


FORMATS = {
    "corners": (lambda a: [*corners(a)], "is (left, top, right, bottom) of its mask"),
    "corners, rows first": (lambda a: [corners(a)[n] for n in (1, 0, 3, 2)], "is (top, left, bottom, right) of"),
    "corners, by axis": (lambda a: [corners(a)[n] for n in (0, 2, 1, 3)], "is (left, right, top, bottom) of"),
    "centre": (centred, "is (x and y of the centre, width, height) of its mask"),
    "width and height swapped": (swapped, "is (x, y, height, width) of its mask"),
    "rows first": (lambda a: [a["bbox"][n] for n in (1, 0, 3, 2)], "is (y, x, height, width) of its mask"),
    "per cent": (
        times(lambda a: a["bbox"], 100 / WIDTH, 100 / HEIGHT),
        "is (x, y, width, height, in per cent of the image) of its mask",
    ),
    "corners in thousandths": (
        times(corners, 1000 / WIDTH, 1000 / HEIGHT),
        "is (left, top, right, bottom, in thousandths of the image) of its mask",
    ),
    "half the picture": (times(lambda a: a["bbox"], 0.5, 0.5), "in other units, about 0.5 times the mask's pixels"),
    "0..1": (times(lambda a: a["bbox"], 1 / WIDTH, 1 / HEIGHT), "looks normalised to 0..1"),
    "0..1, centre": (times(centred, 1 / WIDTH, 1 / HEIGHT), "looks normalised to 0..1"),
}


@pytest.mark.parametrize(("function", "message"), FORMATS.values(), ids=FORMATS)
def test_masks_tell_the_format_of_boxes(function, message):
    lines = problems(changed(sound(), bbox=function))
    assert len(lines) > 30  # of 40; a box may be nearly a square, or of one place in both
    assert sum(message in line for line in lines) > 0.9 * len(lines), lines
    assert all("clip" not in line and "area" not in line.partition("(")[0] for line in lines)


@pytest.mark.parametrize("name", ["corners", "centre", "width and height swapped", "corners, rows first", "0..1"])
def test_images_tell_the_format_of_boxes_without_masks(name):
    function, message = FORMATS[name]
    data = changed(boxes_only(sound()), area=lambda a: None)
    for annotation in data["annotations"][::5]:  # objects that fill much of the picture
        annotation["bbox"] = [30.0, 20.0, 590.0, 440.0]
    lines = problems(changed(data, bbox=function))
    wanted = message.split("(")[-1].split(")")[0]
    assert len(lines) == 40 and all(wanted in line for line in lines), lines
    assert not any("clip" in line for line in lines)


def test_areas_tell_that_boxes_are_corners():
    data = changed(boxes_only(sound()), area=lambda a: a["bbox"][2] * a["bbox"][3])
    for image in data["images"]:
        image |= {"width": 4 * WIDTH, "height": 4 * HEIGHT}  # no box sticks out
    lines = problems(changed(data, bbox=lambda a: [*corners(a)]))
    assert len(lines) == 40 and all("looks like (left, top, right, bottom)" in line for line in lines)


def test_one_wrong_box_is_named_and_clipping_is_advised_only_for_a_right_one():
    data = sound()
    data["annotations"][7]["bbox"][0] += 40
    (line,) = problems(data)
    assert line.startswith("annotation 8: its bbox [") and "is not that of its mask, which extends from (" in line
    assert "clip" not in line

    data = sound()
    data["annotations"][7] |= {"bbox": [600, 100, 60, 50], "area": 3000, "segmentation": [box(600, 100, 660, 150)]}
    (line,) = problems(data)
    assert "exceeds the image of 640x480 pixels" in line and "or else clip the box to the image" in line
    data["annotations"][7]["bbox"] = [600, 100, 40, 50]  # clipped, the mask not
    data["annotations"][7]["area"] = 2000
    assert problems(data) == []


def test_annotations_of_a_larger_picture_are_not_to_be_clipped():
    data = sound()
    for annotation in data["annotations"]:
        annotation["segmentation"] = [[2 * value for value in annotation["segmentation"][0]]]
        annotation["bbox"] = [2 * value for value in annotation["bbox"]]
        annotation["area"] *= 4
    lines = problems(data)
    assert len(lines) > 20
    assert all(line.endswith("(correct box and mask, or the image's width and height)") for line in lines)


def box(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def test_boxes_that_stick_out_for_no_known_reason_are_not_to_be_clipped():
    data = changed(boxes_only(sound()), area=lambda a: None)
    for annotation in data["annotations"][::2]:
        annotation["bbox"] = [-300, -300, 310, 310]
    lines = problems(data)
    assert len(lines) == 20 and all("exceeds the image" in line and "clip" not in line for line in lines)


def test_a_mask_of_no_pixel_is_named():
    data = sound()
    data["annotations"][0]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
    assert problems(data) == ["annotation 1: its mask has no pixel (correct or remove the annotation)"]


# --- areas ------------------------------------------------------------------------------------------------------------

AREAS = {
    "more than the box": (lambda a: 1.03 * a["bbox"][2] * a["bbox"][3] + 1, "more than that of its box", True),
    "of the whole image": (lambda a: WIDTH * HEIGHT, "more than that of its box", True),
    "one for all": (lambda a: 1.0, "its area is 1.0, ", True),
    "nothing": (lambda a: 0, "its area is 0, ", True),
    "part of the image": (lambda a: a["area"] / WIDTH / HEIGHT, "far below that of its", True),
    "of a reduced picture": (lambda a: a["area"] / 16, "far below that of its mask", False),
    "a side": (lambda a: a["bbox"][2], "far below that of its mask", False),
}


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize(("function", "message", "alone"), AREAS.values(), ids=AREAS)
def test_a_wrong_area_is_named(function, message, alone, masks):
    data = changed(sound(), area=function)
    if not masks and not alone:
        return  # a thin object may have such an area
    lines = problems(data if masks else boxes_only(data))
    assert len(lines) == 40 and all(message in line for line in lines), lines
    assert all(line.endswith("(give the area in square pixels of the image, or leave it out: it then comes from the "
                             "mask, or from the box)") for line in lines)  # fmt: skip


def test_one_area_for_boxes_of_all_sizes_is_named():
    data = boxes_only(changed(sound(), area=lambda a: 150.0))
    lines = problems(data)
    assert any("150.0, as in 40 of 40 annotations of all sizes" in line for line in lines)
    assert all("as in 40 of 40" in line or "more than that of its box" in line for line in lines)


def test_a_constant_for_some_objects_is_named_without_masks():
    lines = problems(boxes_only(changed(sound(), area=lambda a: 0.1 if a["id"] % 3 == 0 else a["area"])))
    assert [line.split(":")[0] for line in lines] == [f"annotation {key}" for key in range(3, 41, 3)]


def test_an_area_may_be_one_per_cent_more_than_the_box():
    assert problems(changed(sound(), area=lambda a: 1.0099 * a["bbox"][2] * a["bbox"][3])) == []


def test_one_wrong_area_among_right_ones_is_named():
    data = sound()
    data["annotations"][3]["area"] *= 0.3
    data["annotations"][4]["area"] *= 4
    lines = problems(data)
    assert [line.split(":")[0] for line in lines] == ["annotation 5", "annotation 4"]


# --- the parts --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), min_size=3, max_size=9))
def test_extent_and_outline_are_those_of_the_definition(points):
    polygon = [float(value) for point in points for value in point]
    xs, ys = zip(*points, strict=True)
    assert segmentations.extent([polygon]) == (min(xs), min(ys), max(xs), max(ys))
    assert segmentations.extent([polygon, box(-5, -6, 70, 80)]) == (-5, -6, 70, 80)
    slow = sum(xs[n - 1] * ys[n] - xs[n] * ys[n - 1] for n in range(len(points)))
    assert segmentations.outline_area([polygon]) == abs(slow) / 2
    assert segmentations.outline_area([polygon, box(0, 0, 3, 2)]) == abs(slow) / 2 + 6


def test_extent_of_runs_is_that_of_the_pixels():
    pixels = np.zeros((9, 12), np.uint8)
    pixels[2:5, 3:10] = 1
    rle = coco_mask.encode(np.asfortranarray(pixels))
    assert segmentations.extent({"size": [9, 12], "counts": rle["counts"].decode()}) == (3, 2, 10, 5)
    counts = [3 * 9 + 2, *[3, 6] * 6, 3, 9 - 5 + 2 * 9]
    assert segmentations.extent({"size": [9, 12], "counts": counts}) == (3, 2, 10, 5)
    assert segmentations.extent({"size": [9, 12], "counts": [108]}) is None


def test_a_box_may_be_that_of_the_whole_mask_or_of_its_part_in_the_image():
    extents = np.array([[-50.0, 10, 300, 60]] * 4 + [[NAN] * 4])
    ends = np.array([[-50, 10, 300, 60], [0, 10, 200, 60], [-20, 10, 250, 60], [-60, 10, 300, 60], [1, 2, 3, 4]])
    sizes = np.array([[200.0, 100.0]] * 5)
    assert (differences(ends, extents, sizes) > mask_tolerance(extents)).tolist() == [False, False, False, True, False]
    unknown = np.full((5, 2), NAN)
    assert (differences(ends, extents, unknown) > mask_tolerance(extents)).tolist() == [False, True, True, True, False]
    assert overlap(np.array([[0.0, 0, 4, 4]]), np.array([[2.0, 0, 6, 4]])).tolist() == [8 / 24]


# --- more of both kinds -----------------------------------------------------------------------------------------------

OTHER_AREAS = {
    "of a picture twice as large": (lambda a: 4 * a["area"], "more than that of its box"),
    "the perimeter": (lambda a: 2 * (a["bbox"][2] + a["bbox"][3]), "far below that of its mask"),
    "in per cent of the image": (lambda a: 100 * a["area"] / (WIDTH * HEIGHT), "far below that of its mask"),
}


@pytest.mark.parametrize(("function", "message"), OTHER_AREAS.values(), ids=OTHER_AREAS)
def test_an_area_in_other_units_is_named(function, message):
    data = sound()
    data["annotations"] = [
        a for a in data["annotations"] if min(a["bbox"][2:]) > 30
    ]  # a tiny object may be its outline
    found = problems(changed(data, area=function))
    assert len(found) == len(data["annotations"]) and all(message in problem for problem in found)


OTHER_BOXES = {
    "top, left, height, width": (lambda x, y, w, h: [y, x, h, w], "y, x, height, width"),
    "thousandths": (
        lambda x, y, w, h: [1000 * x / WIDTH, 1000 * y / HEIGHT, 1000 * w / WIDTH, 1000 * h / HEIGHT],
        "in thousandths of the image",
    ),
    "of a picture half as large": (lambda x, y, w, h: [x / 2, y / 2, w / 2, h / 2], "about 0.5 times"),
}


@pytest.mark.parametrize(("function", "message"), OTHER_BOXES.values(), ids=OTHER_BOXES)
def test_boxes_in_other_units_or_orders_are_named(function, message):
    found = problems(changed(sound(), bbox=lambda a: function(*a["bbox"]), area=lambda a: None))
    assert sum(message in problem for problem in found) > 20 and not any("clip" in problem for problem in found)


# --- crowds -----------------------------------------------------------------------------------------------------------


def with_a_crowd(box: list, mask: list | dict, **fields) -> dict:
    """Return the sound set with a crowd in its first image."""
    data = sound()
    entry = {"id": 99, "image_id": data["images"][0]["id"], "category_id": 90, "iscrowd": 1, "bbox": box}
    data["annotations"].append(entry | {"segmentation": mask} | fields)
    return data


GROUP = [[100, 50, 300, 50, 300, 150, 100, 150]]


@pytest.mark.parametrize("runs", [True, False])
def test_the_mask_of_a_crowd_fits_into_its_box(runs):
    """The box may be larger, because it often is that of a group of which the mask marks a part."""
    mask = as_runs({"segmentation": GROUP}) if runs else GROUP
    for box in ([100, 50, 200, 100], [101, 51, 198, 98], [0, 0, WIDTH, HEIGHT]):
        assert problems(with_a_crowd(box, mask)) == []
    parts = [[*GROUP[0]], [*GROUP[0]], [-400, 50, 300, 50, 300, 150, -400, 150]]
    assert problems(with_a_crowd([0, 50, 300, 100], parts)) == []  # they overlap, and one sticks out
    for box in ([100, 50, 200, 20], [100, 50, 20, 100], [350, 50, 5, 6], [180, 80, 5, 6]):
        for fields in ({}, {"area": box[2] * box[3]}, {"area": 0}):
            (problem,) = problems(with_a_crowd(box, mask, **fields))
            wanted = f"mask of this crowd covers 20000 square pixels, its bbox {box} only {box[2] * box[3]}"
            assert wanted in problem and "clip" not in problem


def test_the_area_of_a_crowd_fits_into_its_box():
    """It decides no size class, so that it may be too small; a crowd of no pixel is harmless."""
    assert problems(with_a_crowd([100, 50, 200, 100], GROUP, area=1)) == []
    assert problems(with_a_crowd([100, 50, 200, 100], {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]})) == []
    (problem,) = problems(with_a_crowd([100, 50, 200, 100], GROUP, area=20300))
    assert "its area is 20300, more than that of its box, 20000" in problem


@pytest.mark.parametrize("crowd", [0, 1])
def test_a_missing_area_is_that_of_the_mask_but_not_more_than_that_of_the_box(crowd):
    """Boxes that are rounded down, and pixels of small masks that are counted whole, would make objects larger."""
    for mask, box, area in (
        (GROUP, [100, 50, 200, 100], 20000),
        ([[100, 50, 300, 50, 300, 150]], [100, 50, 200, 100], None),
        ([[100, 50, 103.9, 50, 103.9, 53.9, 100, 53.9]], [100, 50, 3, 3], 9),
    ):
        data = with_a_crowd(box, mask, iscrowd=crowd)
        assert problems(data) == []
        found = clean(data, masks=True)[0]["annotations"][-1]["area"]
        assert found == (area or segmentations.mask_area(mask, HEIGHT, WIDTH)) <= 1.01 * box[2] * box[3] + 1
