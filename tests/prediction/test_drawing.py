"""Drawn detections: colours where boxes and masks are, nothing elsewhere, names inside of the image."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from afigan.prediction.drawing import OPACITY, colour, draw, side_by_side

CLASSES = ["disc", "box"]
GREY = (100, 100, 100)


def instances(size, boxes, classes, masks=None):
    found = Instances(size)
    found.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    found.pred_classes = torch.tensor(classes)
    found.scores = torch.linspace(0.9, 0.6, len(classes))
    if masks is not None:
        found.pred_masks = masks
    return found


def test_a_box_has_its_classs_colour_and_the_rest_stays():
    image = Image.new("RGB", (200, 100), GREY)
    drawn = np.asarray(draw(image, instances((100, 200), [[80, 40, 150, 90]], [1]), CLASSES))
    assert tuple(drawn[90, 120]) == tuple(drawn[70, 150]) == colour(1)
    outside = np.ones((100, 200), bool)
    outside[40:92, 80:152] = False
    assert (drawn[outside] == 100).all() and (drawn[65:85, 90:140] == 100).all()
    assert np.asarray(image).max() == 100  # the given image is not changed


def test_a_mask_is_a_veil_and_a_small_object_is_above_a_large_one():
    masks = torch.zeros(2, 100, 200, dtype=torch.bool)
    masks[1, :, :100], masks[0, 40:80, 20:60] = True, True
    image = Image.new("RGB", (200, 100), GREY)
    found = instances((100, 200), [[0.0, 0, 1, 1], [0, 0, 1, 1]], [0, 1], masks)
    drawn = np.asarray(draw(image, found, CLASSES)).astype(int)

    def veiled(under, number):
        return [(1 - OPACITY) * u + OPACITY * c for u, c in zip(under, colour(number), strict=True)]

    below = veiled(GREY, 1)
    assert np.abs(drawn[90, 80] - below).max() <= 2
    assert np.abs(drawn[60, 40] - veiled(below, 0)).max() <= 2
    assert tuple(drawn[50, 150]) == GREY


@pytest.mark.parametrize("size", [(30, 20), (300, 200), (2000, 3000)])
@pytest.mark.parametrize("box", [[0, 0, 0, 0], [-5, -5, 9999, 9999], [25, 15, 30, 20]])
def test_any_box_in_any_image(size, box):
    found = instances(size[::-1], [box], [0], torch.ones(1, *size[::-1], dtype=torch.bool))
    assert draw(Image.new("RGB", size), found, CLASSES).size == size


def test_names_and_scores_are_written_larger_in_larger_images():
    def ink(side):
        image = Image.new("RGB", (side, side), GREY)
        drawn = np.asarray(draw(image, instances((side, side), [[10, 10, side - 10, side - 10]], [0]), CLASSES))
        back = (drawn == colour(0)).all(axis=2)
        return int((~back & (drawn != GREY).any(axis=2)).sum())

    assert ink(200) > 20 and ink(1000) > 4 * ink(200)


def test_nothing_found_changes_nothing():
    image = Image.new("RGB", (20, 10), GREY)
    for masks in (None, torch.zeros(0, 10, 20, dtype=torch.bool)):
        assert draw(image, instances((10, 20), [], [], masks), CLASSES).tobytes() == image.tobytes()


def test_classes_have_colours_of_their_own():
    assert len({colour(number) for number in range(80)}) == 80


def test_side_by_side_has_both_pictures_unchanged():
    left, right = Image.new("RGB", (60, 40), (255, 0, 0)), Image.new("RGB", (60, 40), (0, 0, 255))
    sheet = np.asarray(side_by_side([("a", left), ("b", right)]))
    assert ((sheet == (255, 0, 0)).all(axis=2)).sum() == ((sheet == (0, 0, 255)).all(axis=2)).sum() == 60 * 40
    assert sheet.shape[0] > 40 and sheet.shape[1] > 120


@pytest.mark.parametrize("letters", ["éü", "ñç", "жд", "λω"])
def test_letters_with_accents_and_of_other_scripts_are_drawn(letters):
    """A font without a letter draws the same box for each that it lacks."""
    one, other = (
        np.asarray(draw(Image.new("RGB", (120, 60), GREY), instances((60, 120), [[10, 10, 100, 50]], [0]), [letter]))
        for letter in letters
    )
    assert (one != other).any()
