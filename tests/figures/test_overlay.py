"""Files that the stage `figures` writes for the page: pictures, boxes, outlines and curves."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afigan.figures.detections import Choice, Shown
from afigan.figures.overlay import POINTS, SIDE, loss_curves, outline, write_overlays
from afigan.figures.pictures import Objects, Panel
from afigan.reporting.embedded import Losses, read_images, read_losses

NONE = Losses(stages={}, curves=())


def area(path: str) -> float:
    """Return the area of the polygons of an SVG path by Gauss's formula; holes go round backwards."""
    total = 0.0
    for part in path.split("Z")[:-1]:
        points = np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", part), dtype=np.float64)
        x, y = points.T
        total += 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    return abs(total)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_an_outline_encloses_its_mask(scale: float) -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:40, 20:70] = True
    mask[20:30, 30:50] = False  # a hole
    mask[50:60, 0:10] = True  # in the image's corner
    assert area(outline(mask, scale)) == pytest.approx(mask.sum() * scale**2, rel=0.02)
    x = [float(value) for value in re.findall(r"[ML]([\d.]+) ", outline(mask, scale))]
    assert min(x) == 0 and max(x) == 70 * scale
    assert outline(np.zeros((5, 5), bool)) == ""


def shown(width: int, height: int, masks: bool) -> Shown:
    image = np.full((height, width, 3), 128, np.uint8)
    mask = np.zeros((2, height, width), bool)
    mask[:, : height // 2, : width // 2] = True
    boxes = np.array([[0.0, 0.0, width / 2, height / 2]] * 2)
    found = Objects(boxes, np.array([0, 1]), np.array([0.912, 0.6]), mask if masks else None)
    truth = Objects(boxes[:1], np.array([1]), None, mask[:1] if masks else None)
    none = Objects(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), None)
    panels = (Panel("a", image, found), Panel("b", image, none), Panel("c", image, truth))
    return Shown(7, Choice(0, 2, 9, 1, (1, 0)), panels)


def test_pictures_and_boxes(tmp_path: Path) -> None:
    write_overlays([shown(100, 60, True)], ["nearest", "AFI"], ["x", "y"], "A rule.", NONE, tmp_path / "page")
    images = read_images(tmp_path / "page")
    (compared,) = images.images
    assert (compared.image, compared.rank, compared.of, compared.width, compared.height) == (7, 2, 9, 100, 60)
    first, second = compared.pair
    assert [(item.name, item.score) for item in first.items] == [("y", 0.6), ("x", 0.91)]  # the surest is on top
    assert first.items[0].box == (0, 0, 50, 30) and first.found == 1 and second.items == ()
    assert first.items[0].colour != first.items[1].colour
    assert area(compared.objects[0].outline) == pytest.approx(1500, rel=0.02) and compared.objects[0].score is None
    with (
        Image.open(tmp_path / "page" / first.picture) as veiled,
        Image.open(tmp_path / "page" / second.picture) as plain,
    ):
        assert veiled.size == plain.size == (100, 60)
        assert np.ptp(veiled.getpixel((20, 10))) > 30 and np.ptp(plain.getpixel((20, 10))) < 5
        assert np.ptp(veiled.getpixel((80, 50))) < 5


def test_large_images_are_made_smaller(tmp_path: Path) -> None:
    write_overlays([shown(2000, 1000, False)], ["nearest", "AFI"], ["x", "y"], "A rule.", NONE, tmp_path / "page")
    (compared,) = read_images(tmp_path / "page").images
    assert (compared.width, compared.height) == (SIDE, SIDE // 2)
    assert compared.pair[0].items[0].box == (0, 0, SIDE / 2, SIDE / 4) and compared.objects[0].outline == ""
    with Image.open(tmp_path / "page" / compared.pair[0].picture) as picture:
        assert picture.size == (SIDE, SIDE // 2)


def test_the_folder_is_replaced_and_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    written = []
    for name in ("one", "two"):
        folder.mkdir(exist_ok=True)
        (folder / f"stale_{name}").touch()
        write_overlays([shown(100, 60, True)], ["nearest", "AFI"], ["x", "y"], "A rule.", NONE, folder)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1] and set(written[0]) == {"7_0.jpg", "7_1.jpg", "images.json", "losses.json"}


@pytest.mark.parametrize("length", [1, 79, 80, 81, 5000])
def test_curves_have_their_ends_and_few_points(tmp_path: Path, length: int) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(
        "".join(json.dumps({"iteration": i, "lr": 1, "loss_box_reg": 5}) + "\n" for i in range(1, length + 1))
    )
    losses = loss_curves({"afigan": {"main": log}}, {"afigan": "Stage 1", "detectors": "Stage 3"})
    (curve,) = losses.curves
    assert losses.stages == {"afigan": "Stage 1"}
    assert (curve.stage, curve.run, curve.term, curve.last) == ("afigan", "main", "box reg", 5)
    assert curve.iterations[0] == 1 and curve.iterations[-1] == length and set(curve.values) == {5}
    assert len(curve.iterations) == len(curve.values) == min(length, POINTS)
    write_overlays([], [], [], "", losses, tmp_path / "page")
    assert read_losses(tmp_path / "page") == losses
