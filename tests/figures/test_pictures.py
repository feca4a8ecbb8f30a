"""Pictures over photographs: they exist, show their input, and depend on nothing else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afigan.figures.pictures import MASK_OPACITY, Objects, Panel, draw_detections, draw_heat_maps, veil

CLASSES = ["naïve dog", "$x_{y$", "cup"]  # what is between dollars must not be set as a formula


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def objects(count: int, height: int, width: int, scores: bool = True, masks: bool = True) -> Objects:
    generator = np.random.default_rng(count)
    corners = generator.uniform(0, 0.6, (count, 2))
    boxes = np.concatenate([corners, corners + 0.3], axis=1) * [width, height, width, height]
    pixels = np.zeros((count, height, width), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(pixels, boxes.astype(int), strict=True):
        mask[y0:y1, x0:x1] = True
    scored = generator.uniform(size=count) if scores else None
    return Objects(boxes, np.arange(count) % len(CLASSES), scored, pixels if masks else None)


def rows(count: int = 4, **options: bool) -> dict[str, list[Panel]]:
    made = {}
    for height, width in ((48, 64), (90, 40)):
        image = photograph(height, width)
        found = Panel("nearest: 4 found", image, objects(count, height, width, **options))
        made[f"image {height}"] = [found, Panel("annotated", image, objects(1, height, width, scores=False))]
    return made


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("count", [0, 1, 9])
def test_detections_are_drawn(tmp_path: Path, count: int, masks: bool) -> None:
    draw_detections(rows(count, masks=masks), CLASSES, tmp_path / "figures" / "detections.png", "A title $")
    assert min(pixels(tmp_path / "figures" / "detections.png").shape[:2]) > 300


def test_boxes_masks_and_scores_are_seen(tmp_path: Path) -> None:
    """Each of them changes the picture."""
    seen = set()
    for name, drawn in {
        "nothing": rows(0),
        "boxes": rows(4, scores=False, masks=False),
        "scores": rows(4, masks=False),
        "masks": rows(4),
    }.items():
        draw_detections(drawn, CLASSES, tmp_path / f"{name}.png", "title")
        seen.add(pixels(tmp_path / f"{name}.png").tobytes())
    assert len(seen) == 4


def test_a_box_is_drawn_where_it_is(tmp_path: Path) -> None:
    """On a green image with one box, the coloured rectangle spans the box's share of the image."""
    green = np.full((64, 128, 3), (0, 255, 0), np.uint8)
    drawn = []
    for found in (np.zeros((0, 4)), np.array([[32.0, 16.0, 96.0, 48.0]])):
        panels = [Panel("", green, Objects(found, np.zeros(len(found), int)))]
        draw_detections({"row": panels}, [""], tmp_path / "box.png", "title")
        drawn.append(pixels(tmp_path / "box.png").astype(int))
    y, x = np.nonzero((drawn[0] == (0, 255, 0)).all(axis=2))
    left, right, top, bottom = x.min(), x.max(), y.min(), y.max()
    y, x = np.nonzero(np.abs(drawn[1] - drawn[0]).sum(axis=2) > 60)
    shares = [(x.min() - left) / (right - left), (x.max() - left) / (right - left)]
    shares += [(y.min() - top) / (bottom - top), (y.max() - top) / (bottom - top)]
    np.testing.assert_allclose(shares, [0.25, 0.75, 0.25, 0.75], atol=0.02)


def test_the_veil_by_hand() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    small, large = np.array([[False, True, False]]), np.array([[True, True, False]])
    red, blue = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    veiled = veil(image, np.stack([small, large]), [red, blue])
    a = MASK_OPACITY
    once = (1 - a) * 100 + a * np.array([0, 0, 255])
    twice = (1 - a) * once + a * np.array([255, 0, 0])  # the smaller mask is on top of the larger one
    np.testing.assert_array_equal(veiled[0], np.round([once, twice, [100, 100, 100]]))
    assert (image == 100).all()
    np.testing.assert_array_equal(veil(image, np.zeros((0, 1, 3), bool), []), image)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (90, 30)])
@pytest.mark.parametrize("count", [0, 3])
def test_heat_maps_are_drawn(tmp_path: Path, height: int, width: int, count: int) -> None:
    heat = np.linspace(0, 1, height * width).reshape(height, width)
    maps = {level: {f"nearest {level}": heat, f"AFI {level}": 0 * heat} for level in ("p3", "p4")}
    panel = Panel("image", photograph(height, width), objects(count, height, width, scores=False, masks=False))
    draw_heat_maps(maps, panel, CLASSES, tmp_path / "heat.png", "title", "share")
    assert min(pixels(tmp_path / "heat.png").shape[:2]) > 300


def test_heat_is_seen_where_it_is(tmp_path: Path) -> None:
    """On a dark image, a hot right half makes bright pixels and nothing else does; a cold map leaves it as it is."""
    image = np.full((64, 64, 3), 20, np.uint8)
    bright = []
    for value in (0.0, 1.0):
        heat = np.zeros((64, 64))
        heat[:, 32:] = value
        panel = Panel("", image, Objects(np.zeros((0, 4)), np.zeros(0, int)))
        draw_heat_maps({"p3": {"a": heat}}, panel, CLASSES, tmp_path / "heat.png", "title", "share")
        bright.append(pixels(tmp_path / "heat.png").astype(int))
    y, x = np.nonzero(np.abs(bright[1] - bright[0]).sum(axis=2) > 100)
    assert (bright[0] == 20).all(axis=2).sum() > 3.8 * len(x)  # the image and the map are four such halves
    assert 1.9 < (y.max() - y.min()) / (x.max() - x.min()) < 2.1


def test_the_same_input_gives_the_same_bytes_under_any_user_settings(tmp_path: Path) -> None:
    import matplotlib

    heat = {"p3": {"nearest": np.linspace(0, 1, 48 * 64).reshape(48, 64)}}
    panel = Panel("image", photograph(48, 64), objects(2, 48, 64, scores=False, masks=False))
    drawn = []
    for settings in ({}, {"axes.facecolor": "red", "savefig.dpi": 33, "font.size": 30, "text.color": "red"}):
        with matplotlib.rc_context(settings):
            draw_detections(rows(), CLASSES, tmp_path / "detections.png", "title")
            draw_heat_maps(heat, panel, CLASSES, tmp_path / "heat.png", "title", "share")
        drawn.append(((tmp_path / "detections.png").read_bytes(), (tmp_path / "heat.png").read_bytes()))
    assert drawn[0] == drawn[1]
