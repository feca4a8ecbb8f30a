"""The choice of images, matches of detections, and the picture of them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image
from pycocotools import mask as coco_mask
from tiny_coco import annotations, write_images
from torch import nn

from afigan.data.prepare.segmentations import mask_area, mask_pixels
from afigan.data.split import read_split
from afigan.figures import detections as qualitative
from afigan.figures.detections import annotated, choose_images, detected, draw_detection_figure, match
from afigan.figures.pictures import Objects, Panel
from afigan.params.schema import Input
from afigan.runtime.files import write_json

INPUTS = Input(short_sides=[32], max_side=64, test_short_side=32)


def boxes(*corners: tuple[float, float, float, float], classes: list[int] | None = None, scores: Any = None) -> Objects:
    numbers = np.zeros(len(corners), int) if classes is None else np.array(classes)
    scores = None if scores is None else np.array(scores, dtype=np.float32)
    return Objects(np.array(corners, dtype=np.float64).reshape(-1, 4), numbers, scores)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = max(width, 0) * max(height, 0)
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


# --- what is found ---------------------------------------------------------------------------------------------------


def test_one_detection_finds_one_object() -> None:
    """Two objects are in one place: one detection matches one of them, two detections match both."""
    truth = boxes((0, 0, 10, 10), (0, 0, 10, 10))
    once = boxes((0, 0, 10, 10), scores=[0.9])
    assert sorted(match(truth, once)[0]) == [-1, 0]
    twice = boxes((0, 0, 10, 10), (0, 0, 10, 9), scores=[0.9, 0.8])
    assert sorted(match(truth, twice)[0]) == [0, 1]


def test_the_surest_detection_chooses_first() -> None:
    truth = boxes((0, 0, 10, 10))
    matches, fits = match(truth, boxes((0, 0, 10, 10), (0, 0, 10, 8), scores=[0.6, 0.7]))
    assert matches.tolist() == [1] and fits == pytest.approx([0.8])


@pytest.mark.parametrize(("height", "found"), [(5.01, True), (5.0, True), (4.99, False)])
def test_half_of_the_union_is_enough(height: float, found: bool) -> None:
    matches, _ = match(boxes((0, 0, 10, 10)), boxes((0, 0, 10, height), scores=[1]))
    assert (matches[0] == 0) == found


def test_another_class_does_not_count() -> None:
    truth, found = boxes((0, 0, 9, 9), classes=[2]), boxes((0, 0, 9, 9), classes=[1], scores=[1])
    assert match(truth, found)[0].tolist() == [-1]


def test_nothing_there_or_nothing_found() -> None:
    some, none = boxes((0, 0, 9, 9), scores=[1]), boxes(scores=[])
    assert [len(values) for values in match(none, some)] == [0, 0]
    matches, fits = match(some, none)
    assert matches.tolist() == [-1] and fits.tolist() == [0]


@pytest.mark.parametrize("seed", range(20))
def test_recall_against_a_loop(seed: int) -> None:
    generator = np.random.default_rng(seed)

    def random(count: int) -> Objects:
        corners = generator.integers(0, 12, (count, 2))
        sides = generator.integers(4, 9, (count, 2))
        return boxes(
            *np.concatenate([corners, corners + sides], axis=1),
            classes=generator.integers(0, 2, count).tolist(),
            scores=generator.permutation(count),
        )

    truth, found = random(12), random(20)
    taken: dict[int, int] = {}
    for d in sorted(range(20), key=lambda d: -found.scores[d]):
        fitting = []
        for g in range(12):
            overlap = iou(truth.boxes[g], found.boxes[d])
            if g not in taken and truth.classes[g] == found.classes[d] and overlap >= 0.5:
                fitting.append((-overlap, g))
        if fitting:
            taken[min(fitting)[1]] = d
    matches, fits = match(truth, found)
    assert {g: d for g, d in enumerate(matches.tolist()) if d >= 0} == taken
    expected = [iou(truth.boxes[g], found.boxes[taken[g]]) if g in taken else 0 for g in range(12)]
    np.testing.assert_allclose(fits, expected)
    assert seed or 3 < len(taken) < 12


# --- which images ----------------------------------------------------------------------------------------------------


def image_with(objects: int, first: int, second: int, fit: tuple[float, float] = (1.0, 1.0)) -> tuple[Objects, ...]:
    """Return an image's objects in a row; one detector finds the first `first`, another `second`, with IoUs `fit`."""
    corners = [(20.0 * i, 0.0, 20.0 * i + 10, 10.0) for i in range(objects)]
    found = [
        boxes(*((x0, 0, x1, 10 * share) for x0, _, x1, _ in corners[:count]), scores=[0.9] * count)
        for count, share in zip((first, second), fit, strict=True)
    ]
    return boxes(*corners), *found


def positions(images: list[tuple[Objects, ...]], ids: list[int] | None = None) -> list[int]:
    ids = ids or list(range(len(images)))
    return [choice.position for choice in choose_images(ids, *zip(*images, strict=True))]


def test_most_gained_to_most_lost() -> None:
    """Nine images have different gains; those with ranks 1, 3, 5, 7 and 9 are chosen."""
    gains = [-2, 4, 0, 1, -4, 3, -1, 2, -3]
    images = [image_with(4, max(0, -gain), max(0, gain)) for gain in gains]
    choices = choose_images(range(100, 109), *zip(*images, strict=True))
    assert [gains[choice.position] for choice in choices] == [4, 2, 0, -2, -4]
    assert [choice.rank for choice in choices] == [1, 3, 5, 7, 9] and {choice.of for choice in choices} == {9}
    assert choices[0].found == (0, 4) and choices[-1].found == (4, 0) and choices[0].objects == 4


def test_recall_counts_and_not_the_number_of_objects() -> None:
    images = [image_with(6, 0, 2), image_with(2, 0, 1), image_with(1, 0, 0)]
    assert positions(images) == [1, 0, 2]


def test_ties_are_broken_by_the_fit_and_then_by_the_id() -> None:
    same = image_with(3, 1, 1)
    better, worse = image_with(3, 1, 1, fit=(0.6, 0.9)), image_with(3, 1, 1, fit=(0.9, 0.6))
    third = image_with(6, 0, 2), image_with(3, 0, 1)  # an equal gain of recall and of fit
    assert positions([worse, same, better]) == [2, 1, 0]
    assert positions([same, same, same], ids=[30, 10, 20]) == [1, 2, 0]
    assert positions([*third], ids=[2, 1]) == [1, 0] and positions([*third], ids=[1, 2]) == [0, 1]


def test_images_without_objects_are_left_out() -> None:
    false_alarm = boxes(), boxes(scores=[]), boxes((0, 0, 5, 5), scores=[1])
    images = [false_alarm, image_with(1, 1, 0), false_alarm, image_with(1, 0, 1)]
    choices = choose_images(range(4), *zip(*images, strict=True))
    assert [choice.position for choice in choices] == [3, 1] and choices[0].of == 2
    with pytest.raises(ValueError, match="none of the 2 candidate images has an object"):
        choose_images(range(2), *zip(false_alarm, false_alarm, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 50])
def test_every_image_is_shown_once_and_the_ends_always_are(count: int) -> None:
    images = [image_with(count, 0, gain) for gain in range(count)]
    shown = positions(images)
    assert len(shown) == min(5, count) and shown == sorted(set(shown), reverse=True)
    assert shown[0] == count - 1 and (shown[-1] == 0 or count == 1)
    if count >= 5:
        np.testing.assert_allclose(shown, (count - 1) * np.array([1, 0.75, 0.5, 0.25, 0]), atol=0.5)


def test_the_order_of_the_candidates_does_not_matter() -> None:
    images = [image_with(3, *found) for found in itertools.product(range(3), repeat=2)]
    expected = positions(images)
    assert [8 - position for position in positions(images[::-1], ids=list(range(9))[::-1])] == expected


# --- from records and detectors --------------------------------------------------------------------------------------


def write_world(folder: Path, change: Any = None) -> dict[str, Any]:
    """Write four images: 7, 17 and 27 have an object, 37 has none; 7 has a crowd too."""
    values = annotations(4)
    write_images(values, folder)
    for item in values["annotations"]:
        if change:
            change(item)
    write_json(folder / "val.json", values | {"info": {"root": str(folder), "masks": True}})
    return read_split(folder / "val.json")


def test_crowds_are_no_objects(tmp_path: Path) -> None:
    record = write_world(tmp_path)["images"][0]
    assert len(record["annotations"]) == 2
    truth = annotated(record)
    np.testing.assert_array_equal(truth.boxes, [[2, 3, 12, 11]])
    assert truth.classes.tolist() == [0] and truth.scores is None
    expected = np.zeros((20, 31), bool)
    expected[3:11, 2:12] = True
    np.testing.assert_array_equal(truth.masks, [expected])


def test_annotations_without_masks_and_without_anything(tmp_path: Path) -> None:
    split = write_world(tmp_path, change=lambda item: item.pop("segmentation"))
    assert annotated(split["images"][1]).masks is None
    nothing = annotated(split["images"][3])
    assert len(nothing) == 0 and nothing.boxes.shape == (0, 4) and nothing.masks is None


def test_all_kinds_of_segmentations_are_the_same_pixels() -> None:
    expected = np.zeros((6, 5), bool)
    expected[1:4, 2:4] = True
    polygons = [[2.0, 1.0, 4.0, 1.0, 4.0, 4.0, 2.0, 4.0]]
    runs = {"size": [6, 5], "counts": [13, 3, 3, 3, 8]}
    halves = [[2.0, 1.0, 3.0, 1.0, 3.0, 4.0, 2.0, 4.0], [3.0, 1.0, 4.0, 1.0, 4.0, 4.0, 3.0, 4.0]]
    text = coco_mask.frPyObjects(runs, 6, 5)["counts"].decode()
    for segmentation in (polygons, halves, runs, runs | {"counts": text}):
        np.testing.assert_array_equal(mask_pixels(segmentation, 6, 5), expected)
        assert mask_area(segmentation, 6, 5) == 6


class Fixed(nn.Module):
    """A detector with given detections for every image, which records the images that it saw."""

    def __init__(self, found: dict[int, list[tuple[list[float], float]]], masks: bool) -> None:
        super().__init__()
        self.found, self.masks, self.seen = found, masks, []

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        assert not torch.is_grad_enabled()
        outputs = []
        for item in batch:
            self.seen.append(item["image_id"])
            pairs = self.found.get(item["image_id"], [])
            instances = Instances((item["height"], item["width"]))
            instances.pred_boxes = Boxes(torch.tensor([box for box, _ in pairs]).reshape(-1, 4))
            instances.scores = torch.tensor([score for _, score in pairs])
            instances.pred_classes = torch.zeros(len(pairs), dtype=torch.int64)
            if self.masks:
                instances.pred_masks = torch.zeros(len(pairs), item["height"], item["width"], dtype=torch.bool)
            outputs.append({"instances": instances})
        return outputs


def draw(
    monkeypatch: pytest.MonkeyPatch, folder: Path, first: Fixed, second: Fixed, **options: Any
) -> dict[str, list[Panel]]:
    """Return the rows of the picture."""
    split = write_world(folder)
    drawn = {}

    def keep(rows: dict[str, list[Panel]], classes: list[str], out: Path, title: str) -> None:
        drawn.update(rows)
        draw_detections(rows, classes, out, title)

    draw_detections = qualitative.draw_detections
    monkeypatch.setattr(qualitative, "draw_detections", keep)
    arguments = split["images"], split["classes"], INPUTS, "RGB", folder / "detections.png"
    draw_detection_figure({"nearest": first, "AFI": second}, *arguments, **options)
    with Image.open(folder / "detections.png") as image:
        image.load()
    return drawn


RIGHT = [2.0, 3.0, 12.0, 11.0]


@pytest.mark.parametrize("masks", [True, False])
def test_the_figure_of_detections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: bool) -> None:
    first = Fixed({17: [(RIGHT, 0.9)], 27: [(RIGHT, 0.4)]}, masks)  # 0.4 is below the threshold
    second = Fixed({27: [(RIGHT, 0.9), ([0.0, 0.0, 5.0, 5.0], 0.3)]}, masks)
    rows = draw(monkeypatch, tmp_path, first, second)
    assert list(rows) == ["image 27\nrank 1 of 3", "image 7\nrank 2 of 3", "image 17\nrank 3 of 3"]
    assert [[panel.title for panel in panels] for panels in rows.values()] == [
        ["nearest: finds 0 of 1", "AFI: finds 1 of 1", "annotated: 1"],
        ["nearest: finds 0 of 1", "AFI: finds 0 of 1", "annotated: 1"],
        ["nearest: finds 1 of 1", "AFI: finds 0 of 1", "annotated: 1"],
    ]
    before, after, truth = rows["image 27\nrank 1 of 3"]
    assert len(before.objects) == 0 and after.objects.scores == pytest.approx([0.9]) and len(truth.objects) == 1
    assert (after.objects.masks is not None) == masks and before.image.shape == (22, 35, 3)


def test_only_the_first_images_are_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Fixed({}, masks=False), Fixed({}, masks=False)
    rows = draw(monkeypatch, tmp_path, first, second, candidates=2)
    assert len(rows) == 2 and set(first.seen) == set(second.seen) == {7, 17}


def test_the_threshold_decides_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {17: [(RIGHT, 0.4)]}
    first, second = Fixed({}, masks=False), Fixed(found, masks=False)
    for threshold, expected in ((0.39, 1), (0.41, 0)):
        rows = draw(monkeypatch, tmp_path, first, second, score_threshold=threshold)
        (panels,) = [panels for label, panels in rows.items() if label.startswith("image 17")]
        assert len(panels[1].objects) == expected
        assert panels[1].title == f"AFI: finds {expected} of 1"


def test_detections_are_converted_unchanged() -> None:
    instances = Instances((4, 6))
    instances.pred_boxes = Boxes(torch.tensor([[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 6.0, 4.0]], requires_grad=True))
    instances.scores = torch.tensor([0.1, 0.8], requires_grad=True)
    instances.pred_classes = torch.tensor([4, 2])
    instances.pred_masks = torch.arange(48).reshape(2, 4, 6) % 5 == 0
    objects = detected(instances)
    np.testing.assert_array_equal(objects.boxes, [[0, 1, 2, 3], [1, 1, 6, 4]])
    assert objects.classes.tolist() == [4, 2] and objects.scores == pytest.approx([0.1, 0.8])
    np.testing.assert_array_equal(objects.masks, np.arange(48).reshape(2, 4, 6) % 5 == 0)
