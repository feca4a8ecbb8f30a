"""`shapes`: an embedded data set in COCO format, drawn from a seed, on which the complete pipeline runs in minutes.

Discs, boxes and triangles of COCO's three size classes are drawn on textured backgrounds and cover one another. Each
class has its own texture and its own outline, as natural categories do; colours carry no information. Annotations
describe what is visible: a covered object keeps the outline of its visible part, and one that would be mostly covered
is not drawn.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import contourpy
import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

CATEGORIES = ("disc", "box", "triangle")
SPLITS = ("train", "val", "unlabeled", "test")
_DIAMETERS = ((16, 32), (40, 96), (112, 176))  # pixels at size 256: small, medium and large in COCO's sense
_SIZE_WEIGHTS = (0.25, 0.5, 0.25)
_MIN_VISIBLE = 0.4


def write_shapes(
    out: Path, *, train: int, val: int, unlabeled: int, test: int, size: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Draw the images to `out/images/SPLIT/*.png` and return one COCO dictionary per split.

    Every image is a function of only (seed, split, index), so more images never change the first ones.

    Args:
        out: folder to write to.
        train, val, unlabeled, test: images per split; the last two get no annotations.
        size: side of the square images in pixels; objects scale with it, in proportion to 256.
        seed: any non-negative integer.
    """
    sets = {}
    for split, count in zip(SPLITS, (train, val, unlabeled, test), strict=True):
        folder = out / "images" / split
        folder.mkdir(parents=True, exist_ok=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            rng = np.random.default_rng([seed, SPLITS.index(split), index])
            pixels, objects = _draw(rng, size)
            name = f"{index + 1:06d}.png"
            Image.fromarray(pixels).save(folder / name, compress_level=1)
            images.append({"id": index + 1, "file_name": name, "width": size, "height": size})
            if split in ("train", "val"):
                for item in objects:
                    annotations.append({"id": len(annotations) + 1, "image_id": index + 1, "iscrowd": 0, **item})
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(CATEGORIES)]
        sets[split] = {"images": images, "annotations": annotations, "categories": categories}
    return sets


def _draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw one image, (size, size, 3) uint8; return it and its annotations without ids."""
    pixels = _background(rng, size)
    placed: list[tuple[int, np.ndarray, list[float]]] = []  # category, visible mask, complete outline (x, y, x, y, …)
    for _ in range(int(rng.integers(1, 7))):
        category = int(rng.integers(len(CATEGORIES)))
        low, high = _DIAMETERS[rng.choice(3, p=_SIZE_WEIGHTS)]
        diameter = float(rng.uniform(low, high)) * size / 256
        outline = _outline(rng, category, diameter, size)
        mask = _rasterise(outline, size)
        whole = mask.sum()
        if whole < 16 or any((m & ~mask).sum() < _MIN_VISIBLE * _rasterise(o, size).sum() for _, m, o in placed):
            continue
        placed = [(c, m & ~mask, o) for c, m, o in placed]
        placed.append((category, mask, outline))
        pixels[mask] = _texture(rng, category, diameter, mask, pixels[mask].mean())
    return pixels, [_annotation(*item) for item in placed]


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw smooth coloured noise of two scales with fine grain on top, (size, size, 3) uint8."""
    field = np.zeros((size, size, 3))
    for cells, weight in ((3, 60), (12, 25)):
        coarse = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        planes = [
            np.asarray(Image.fromarray(coarse[..., c]).resize((size, size), Image.Resampling.BICUBIC)) for c in range(3)
        ]
        field += weight * np.stack(planes, axis=-1)
    field += rng.uniform(70, 190, 3) + rng.normal(0, 8, (size, size, 1))
    return field.clip(0, 255).astype(np.uint8)


def _outline(rng: np.random.Generator, category: int, diameter: float, size: int) -> list[float]:
    """Draw the complete outline of an object as a COCO polygon, its centre inside the image."""
    corners = {"disc": 24, "box": 4, "triangle": 3}[CATEGORIES[category]]
    centre = rng.uniform(0.1, 0.9, 2) * size
    aspect = rng.uniform(0.75, 1.0)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + {4: np.pi / 4, 3: -np.pi / 2}.get(corners, 0.0)
    points = np.stack([np.cos(angles), aspect * np.sin(angles)], axis=1) * diameter / 2
    tilt = rng.uniform(-0.25, 0.25)
    points = points @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    return [round(float(v), 2) for v in (points + centre).clip(0, size).ravel()]


def _rasterise(outline: list[float], size: int) -> np.ndarray:
    canvas = Image.new("1", (size, size))
    ImageDraw.Draw(canvas).polygon(outline, fill=1)
    return np.array(canvas, dtype=bool)


def _texture(rng: np.random.Generator, category: int, diameter: float, mask: np.ndarray, behind: float) -> np.ndarray:
    """Draw an object's pixels, (n, 3) uint8: horizontal or vertical stripes or checks, in contrast to those behind."""
    light, dark = rng.uniform(150, 255, 3), rng.uniform(0, 90, 3)
    if behind > 128:
        light, dark = dark, light
    y, x = (np.sin(2 * np.pi * axis / max(4.0, diameter / 5)) for axis in np.nonzero(mask))
    wave = {"disc": y, "box": x * y, "triangle": x}[CATEGORIES[category]]
    mix = (0.8 + 0.2 * np.sign(wave))[:, None]
    return (mix * light + (1 - mix) * dark + rng.normal(0, 6, (len(mix), 1))).clip(0, 255).astype(np.uint8)


def _annotation(category: int, visible: np.ndarray, outline: list[float]) -> dict[str, Any]:
    size = visible.shape[0]
    whole = _rasterise(outline, size)
    polygons = [outline] if visible.sum() == whole.sum() else _contours(visible)
    encoded = coco_mask.merge(coco_mask.frPyObjects(polygons, size, size))
    return {
        "category_id": category + 1,
        "bbox": [float(v) for v in coco_mask.toBbox(encoded)],
        "area": float(coco_mask.area(encoded)),
        "segmentation": polygons,
    }


def _contours(mask: np.ndarray) -> list[list[float]]:
    """Return the outlines of a mask's parts as COCO polygons, without specks.

    COCO polygons have no holes: a part with a hole is cut in two through it.
    """
    padded = np.pad(mask, 1).astype(np.float64)
    generator = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.OuterOffset)
    lines = []
    for points, offsets in zip(*generator.filled(0.5, 2.0), strict=True):
        outer, *holes = (points[start:end] for start, end in pairwise(offsets))
        if holes:
            left, right = mask.copy(), mask.copy()
            column = round(holes[0][:, 0].mean() - 0.5)
            left[:, column:] = right[:, :column] = False
            return _contours(left) + _contours(right)
        lines.append(outer)
    lines = sorted((line for line in lines if len(line) >= 8), key=len, reverse=True)
    # contourpy's vertices are pixel centres of the padded image: -1 for the padding, +0.5 for COCO's pixel corners
    return [[round(float(v), 2) for v in (line[:-1] - 0.5).clip(0, mask.shape[0]).ravel()] for line in lines]
