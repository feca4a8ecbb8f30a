"""Compare the boxes, the masks and the areas of a data set's annotations.

In COCO and in sound exports, a box is the extent of its mask to a pixel, and an area is at most that of the box. The
area decides whether an object is small, medium or large. Some errors show only in all annotations together (a constant
area, another format of boxes), so rows are collected first.
"""

from array import array
from collections.abc import Iterator
from typing import Any, SupportsIndex

import numpy as np

from afigan.data.prepare import box_formats
from afigan.data.prepare.segmentations import extent, is_area, mask_area, outline_area
from afigan.runtime.messages import shown

BOX_TOLERANCE = 1.0  # pixels by which a box may stick out of its image
ROUNDED = 2.0  # pixels by which a side moves if x and width are rounded down
SOUND = 1.001  # pixels by which boxes and masks of sound files differ at most, and rounding
_COLUMNS = 12  # box, area, image size, mask's extent, crowd

Found = Iterator[tuple[int, str, str]]  # annotation id, reason, remedy

_NAN = float("nan")
_THINNEST = 0.0005  # the part of its box that the thinnest object fills: a line of two pixels across a photograph
_NO_AREA = "give the area in square pixels of the image, or leave it out: it then comes from the mask, or from the box"


class Geometry:
    """The boxes, areas and mask extents of a file's annotations."""

    def __init__(self) -> None:
        self._keys: list[int] = []
        self._annotations: list[dict[str, Any]] = []
        self._empty: list[int] = []
        self._crowds: dict[int, float] = {}  # rows of crowds whose boxes are too small for their masks -> these' areas
        self._rows = array("d")  # 860,000 tuples would need half a gigabyte
        # annotation id -> pixels, for boxes that differ from their masks by more than `SOUND`, but are no problem;
        # complete when `reasons` is exhausted
        self.mild: dict[int, float] = {}

    def add(self, key: int, annotation: dict[str, Any], image: dict[str, Any] | None, *, mask: bool) -> None:
        """Add an annotation whose box is well formed; `mask`: so is its segmentation. An unknown image is None."""
        area = annotation.get("area")
        crowd = bool(annotation.get("iscrowd"))
        size = (_NAN, _NAN) if image is None else (image["width"], image["height"])
        found = None
        if mask and image and not crowd:
            found = extent(annotation["segmentation"])
            if found is None:
                self._empty.append(key)
        elif mask and image:  # a crowd is not trained on, and its box often is that of a group: it may be larger
            of_mask = _crowd_area(annotation["segmentation"], image)
            if exceeds(of_mask, (annotation["bbox"][2] + ROUNDED) * (annotation["bbox"][3] + ROUNDED)):
                self._crowds[len(self._keys)] = of_mask
        self._keys.append(key)
        self._annotations.append(annotation)
        self._rows.extend(annotation["bbox"])
        self._rows.extend((area if is_area(area) else _NAN, *size, *(found or (_NAN,) * 4), crowd))

    def reasons(self) -> Found:
        """Yield the problems of boxes, then those of areas."""
        for key in self._empty:
            yield key, "its mask has no pixel", "correct or remove the annotation"
        if not self._keys:
            return
        with np.errstate(all="ignore"):  # numbers near overflow, and NaN where something is not known
            table = np.frombuffer(self._rows).reshape(-1, _COLUMNS)
            boxes, areas, sizes, extents = table[:, :4], table[:, 4], table[:, 5:7], table[:, 7:11]
            misread = np.zeros(len(table), bool)
            yield from self._box_reasons(boxes, areas, sizes, extents, misread)
            crowds = table[:, 11] > 0
            of_box = boxes[:, 2] * boxes[:, 3]
            yield from self._crowd_reasons(of_box, misread)
            yield from self._area_reasons(of_box, areas, extents, crowds, misread)

    def _box_reasons(
        self, boxes: np.ndarray, areas: np.ndarray, sizes: np.ndarray, extents: np.ndarray, misread: np.ndarray
    ) -> Found:
        """Yield the problems of boxes; mark in `misread` the rows whose numbers are not x, y, width, height."""
        ends = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
        outside = (ends[:, :2] < -BOX_TOLERANCE).any(axis=1) | (ends[:, 2:] > sizes + BOX_TOLERANCE).any(axis=1)
        tolerances = mask_tolerance(extents)
        distances = differences(ends, extents, sizes)
        off = distances > tolerances
        masked = ~np.isnan(extents[:, 0])
        # a few boxes of a large set may be less exact than the others
        if off.sum() <= 0.01 * masked.sum():
            off &= overlap(ends, extents) < 0.5
        for row in np.flatnonzero((distances > SOUND) & ~off):
            self.mild[self._keys[row]] = float(distances[row])

        normalised = box_formats.within_a_pixel(boxes, sizes)
        misread |= normalised
        for row in np.flatnonzero(normalised):
            reason = f"its bbox {self._box(row)} looks normalised to 0..1: it is smaller than a pixel"
            yield self._keys[row], reason, f"{box_formats.REMEDY}, and so the polygons"
        rows = np.flatnonzero(off & ~normalised)
        known = box_formats.by_masks(boxes[rows], extents[rows], sizes[rows], tolerances[rows]) if len(rows) else None
        if known:
            misread[rows[known[1]]] = True
        for row in rows:
            left, top, right, bottom = extents[row].tolist()
            place = f"its mask, which extends from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
            if known and misread[row]:
                yield self._keys[row], f"its bbox {self._box(row)} is ({known[0]}) of {place}", box_formats.REMEDY
            else:
                reason = f"its bbox {self._box(row)} (x, y, width, height) is not that of {place}"
                yield self._keys[row], reason, "correct the box or the mask, or remove the annotation"

        lone = ~masked & ~normalised
        guess = box_formats.by_images(boxes[lone], sizes[lone], areas[lone], BOX_TOLERANCE) if lone.any() else None
        if guess:
            misread |= lone
        # where almost all boxes are inside, their format is right; a mask also vouches for it, if not for its units
        certain = np.where(
            masked, (outside & masked).sum() < 0.2 * masked.sum(), (outside & lone).sum() < 0.05 * lone.sum()
        )
        for row in np.flatnonzero((outside | (lone if guess else False)) & ~off & ~normalised):
            size = "x".join(f"{side:.0f}" for side in sizes[row])
            reason = f"its bbox {self._box(row)} (x, y, width, height) exceeds the image of {size} pixels"
            if guess and lone[row]:
                reason = f"its bbox {self._box(row)} looks like ({guess}), as those of this file do"
                remedy = box_formats.REMEDY
            elif certain[row]:
                remedy = "correct the image's width and height if they are wrong, or else clip the box to the image"
            else:
                remedy = f"correct {'box and mask' if masked[row] else 'the box'}, or the image's width and height"
            yield self._keys[row], reason, remedy

    def _crowd_reasons(self, of_box: np.ndarray, misread: np.ndarray) -> Found:
        for row, of_mask in self._crowds.items():
            if not misread[row]:
                reason = f"the mask of this crowd covers {of_mask:g} square pixels, its bbox {self._box(row)} only "
                yield (
                    self._keys[row],
                    f"{reason}{of_box[row]:g}",
                    "correct the box or the mask, or remove the annotation",
                )

    def _area_reasons(
        self, of_box: np.ndarray, areas: np.ndarray, extents: np.ndarray, crowds: np.ndarray, misread: np.ndarray
    ) -> Found:
        masked = ~np.isnan(extents[:, 0])
        above = exceeds(areas, of_box) & ~misread
        for row in np.flatnonzero(above):
            reason = f"its area is {self._area(row)}, more than that of its box, {of_box[row]:g}"
            yield self._keys[row], reason, _NO_AREA
        of_extent = (extents[:, 2] - extents[:, 0]) * (extents[:, 3] - extents[:, 1])
        wrong = above.copy()
        for row in np.flatnonzero(far_below(areas, of_extent)):  # a mask is never larger than its extent
            of_mask = self._mask_area(row, areas[row])
            if far_below(areas[row], of_mask):
                wrong[row] = True
                reason = f"its area is {self._area(row)}, far below that of its mask, {of_mask:g}"
                yield self._keys[row], reason, _NO_AREA

        left = ~np.isnan(areas) & ~crowds & ~misread
        if not left.any():
            return
        values, counts = np.unique(areas[left], return_counts=True)
        common = left & (areas == values[counts.argmax()])
        if common.sum() >= 2 and common.sum() * 2 > left.sum() and of_box[common].max() > 1.5 * of_box[common].min():
            for row in np.flatnonzero(common & ~wrong & (np.abs(areas - of_box) > 0.1 * of_box)):
                if masked[row] and abs(self._mask_area(row, areas[row]) - areas[row]) <= 0.1 * areas[row] + 1:
                    continue
                wrong[row] = True
                reason = f"its area is {self._area(row)}, as in {common.sum()} of {left.sum()} annotations of all sizes"
                yield self._keys[row], reason, _NO_AREA
        lone = left & ~masked & (of_box > 4)
        tiny = lone & (areas < 0.05 * of_box)
        if tiny.sum() * 2 <= lone.sum():  # a thin object in a large box, whose mask is not given
            tiny &= areas < _THINNEST * of_box
        for row in np.flatnonzero(tiny & ~wrong):
            reason = f"its area is {self._area(row)}, far below that of its box, {of_box[row]:g}"
            yield self._keys[row], reason, _NO_AREA

    def _box(self, row: SupportsIndex) -> str:
        return shown(self._annotations[row]["bbox"])

    def _area(self, row: SupportsIndex) -> str:
        return shown(self._annotations[row]["area"])

    def _mask_area(self, row: SupportsIndex, declared: float) -> float:
        """Return the area of a mask: of its outline, or of its pixels where these are fewer than a thin outline's."""
        segmentation = self._annotations[row]["segmentation"]
        width, height = self._rows[int(row) * _COLUMNS + 5 : int(row) * _COLUMNS + 7]
        outline = outline_area(segmentation) if isinstance(segmentation, list) else np.inf
        return (
            min(outline, mask_area(segmentation, int(height), int(width))) if far_below(declared, outline) else outline
        )


def _crowd_area(segmentation: list[Any] | dict[str, Any], image: dict[str, Any]) -> float:
    """Return the area of a crowd's mask; of polygons, which may overlap or stick out, at most that of their extent."""
    if isinstance(segmentation, dict):
        return mask_area(segmentation, image["height"], image["width"])
    left, top, right, bottom = extent(segmentation) or (0.0, 0.0, 0.0, 0.0)
    width, height = (min(right, image["width"]) - max(left, 0), min(bottom, image["height"]) - max(top, 0))
    return min(outline_area(segmentation), max(width, 0) * max(height, 0))


def mask_tolerance(extents: np.ndarray) -> np.ndarray:
    """Return the pixels, (n,), by which a box's sides may differ from those of (n, 4) extents.

    Exporters round x and width down; those that work on a reduced picture round more coarsely.
    """
    return np.maximum(ROUNDED, 0.02 * np.maximum(extents[:, 2] - extents[:, 0], extents[:, 3] - extents[:, 1]))


def differences(ends: np.ndarray, extents: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the pixels, (n,), by which a side of a box differs from its mask's, the whole one's or its part's inside.

    NaN without a mask.

    Args:
        ends: (n, 4) left, top, right, bottom of the boxes.
        extents: (n, 4) those of the masks; NaN without a mask.
        sizes: (n, 2) width and height of the images; NaN where unknown.
    """
    inside = np.clip(extents, 0, np.tile(sizes, 2))
    low, high = np.fmin(extents, inside), np.fmax(extents, inside)
    return np.maximum(low - ends, ends - high).max(axis=1)


def overlap(ends: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union, (n,), of boxes given as (n, 4) left, top, right, bottom."""
    sides = np.minimum(ends[:, 2:], others[:, 2:]) - np.maximum(ends[:, :2], others[:, :2])
    both = np.maximum(sides, 0).prod(axis=1)
    return both / ((ends[:, 2:] - ends[:, :2]).prod(axis=1) + (others[:, 2:] - others[:, :2]).prod(axis=1) - both)


def exceeds(areas: Any, of_boxes: Any) -> Any:
    """Return where areas are more than those of the boxes; one pixel is for those of a tiny mask, counted whole."""
    return areas > 1.01 * of_boxes + 1


def far_below(areas: Any, of_masks: Any) -> Any:
    """Return where areas are less than half of those of the masks; two pixels are the rounding of small masks."""
    return areas + 2 < 0.5 * of_masks
