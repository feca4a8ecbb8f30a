"""Recognise boxes that are not x, y, width, height in pixels: by their masks, or by whether they fit into the images.

COCO's format (https://cocodataset.org/#format-data) counts x and y of the top left corner. Other formats have other
layouts of the four numbers, other units, or both.
"""

from collections.abc import Callable

import numpy as np

REMEDY = "write bbox as x and y of the top left corner, width, height, in pixels"

# A layout's four numbers from the corners: left, top, right, bottom. The first that fits is named.
_LAYOUTS: dict[str, Callable[..., tuple[np.ndarray, ...]]] = {
    "left, top, right, bottom": lambda left, top, right, bottom: (left, top, right, bottom),
    "x and y of the centre, width, height": lambda left, top, right, bottom: (
        (left + right) / 2,
        (top + bottom) / 2,
        right - left,
        bottom - top,
    ),
    "x, y, height, width": lambda left, top, right, bottom: (left, top, bottom - top, right - left),
    "y, x, height, width": lambda left, top, right, bottom: (top, left, bottom - top, right - left),
    "top, left, bottom, right": lambda left, top, right, bottom: (top, left, bottom, right),
    "left, right, top, bottom": lambda left, top, right, bottom: (left, right, top, bottom),
    "x, y, width, height": lambda left, top, right, bottom: (left, top, right - left, bottom - top),
}
_COCO = "x, y, width, height"
_CORNERS: dict[str, Callable[..., tuple[np.ndarray, ...]]] = {
    "left, top, right, bottom": lambda a, b, c, d: (a, b, c, d),
    "x and y of the centre, width, height": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    "top, left, bottom, right": lambda a, b, c, d: (b, a, d, c),
    "left, right, top, bottom": lambda a, b, c, d: (a, c, b, d),
    "y, x, height, width": lambda a, b, c, d: (b, a, b + d, a + c),
    "x, y, height, width": lambda a, b, c, d: (a, b, a + d, b + c),
}
# a unit's size of the whole image; None = the image's pixels
_UNITS = {
    "": None,
    ", normalised to 0..1": 1.0,
    ", in per cent of the image": 100.0,
    ", in thousandths of the image": 1000.0,
}


def by_masks(
    boxes: np.ndarray, extents: np.ndarray, sizes: np.ndarray, tolerances: np.ndarray
) -> tuple[str, np.ndarray] | None:
    """Return the format that most of some wrong boxes have, and the rows that have it; None if none has half of them.

    Args:
        boxes: (n, 4) boxes as they are written; none is that of its mask.
        extents: (n, 4) left, top, right, bottom of their masks, in pixels.
        sizes: (n, 2) width and height of their images, in pixels; NaN where unknown.
        tolerances: (n,) pixels by which a box and a mask may differ.
    """
    candidates: list[tuple[str, np.ndarray]] = []
    for unit, whole in _UNITS.items():
        factors = np.ones_like(sizes) if whole is None else whole / sizes
        corners = (extents * np.tile(factors, 2)).T
        # numbers are rounded to some digits, which in a coarse unit is more than a pixel's part
        slack = (tolerances * factors.max(axis=1))[:, None]
        for layout, numbers in _LAYOUTS.items():
            if (layout, unit) != (_COCO, ""):
                expected = np.stack(numbers(*corners), axis=1)
                candidates.append((layout + unit, (np.abs(boxes - expected) <= slack).all(axis=1)))
    scale = float(np.median(boxes[:, 2] / np.maximum(extents[:, 2] - extents[:, 0], 1e-9)))
    if scale > 0 and np.isfinite(scale):
        expected = np.stack(_LAYOUTS[_COCO](*extents.T), axis=1)
        rows = (np.abs(boxes / scale - expected) <= tolerances[:, None]).all(axis=1)
        candidates.append((f"{_COCO}, in other units, about {scale:.3g} times the mask's pixels", rows))
    name, rows = max(candidates, key=lambda candidate: int(candidate[1].sum()))  # the first of equal ones
    return (name, rows) if rows.sum() * 2 >= len(boxes) else None


def by_images(boxes: np.ndarray, sizes: np.ndarray, areas: np.ndarray, tolerance: float) -> str | None:
    """Return the format that explains boxes without masks better than COCO's; None if COCO's does, or nothing does.

    Args:
        boxes: (n, 4) boxes as they are written.
        sizes: (n, 2) width and height of their images, in pixels; NaN where unknown.
        areas: (n,) areas as they are written; NaN where missing.
        tolerance: pixels by which a box may stick out of its image.
    """
    a, b, c, d = boxes.T
    corner = (c - a) * (d - b)
    told = (c > a) & (d > b) & (np.abs(areas - corner) <= 0.01 * corner + 1)
    if (told & (areas < 0.9 * c * d)).sum() * 2 > len(boxes):
        return "left, top, right, bottom"
    failures = {_COCO: _outside((a, b, a + c, b + d), sizes, tolerance)}
    failures |= {name: _outside(corners(a, b, c, d), sizes, tolerance) for name, corners in _CORNERS.items()}
    limit = failures.pop(_COCO)
    if limit < 2 or limit < 0.05 * len(boxes):  # some boxes may be wrong without being all of another format
        return None
    name = min(failures, key=failures.__getitem__)  # the first of equal ones
    turned = _outside((a, b, a + c, b + d), sizes[:, ::-1], tolerance)  # the images' sizes are wrong, not the boxes
    return name if failures[name] <= min(limit / 5, 0.02 * len(boxes)) and failures[name] < turned else None


def within_a_pixel(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the rows of boxes that are normalised to 0..1, if most are: all four numbers at most 1, not all whole."""
    rows = np.asarray((boxes >= 0).all(axis=1) & (boxes <= 1.01).all(axis=1) & (sizes > 2).all(axis=1))
    parts = (boxes[rows] % 1 != 0).any()
    return rows if parts and rows.sum() * 2 > len(boxes) else np.zeros_like(rows)


def _outside(corners: tuple[np.ndarray, ...], sizes: np.ndarray, tolerance: float) -> int:
    """Return how many boxes are empty or stick out of their images."""
    left, top, right, bottom = corners
    width, height = sizes.T
    bad = (right <= left) | (bottom <= top) | (np.minimum(left, top) < -tolerance)
    return int((bad | (right > width + tolerance) | (bottom > height + tolerance)).sum())
