"""COCO's segmentations: lists of polygons, and run-length encoded masks (RLE), as counts or as a compressed string."""

import math
from collections.abc import Iterator
from itertools import chain
from operator import mul
from typing import Any, TypeGuard

import numpy as np
from pycocotools import mask as coco_mask

from afigan.runtime.messages import shown


def segmentation_reasons(segmentation: Any, image: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Yield the problems of an annotation's segmentation; `image` None = its size is not known."""
    if not segmentation:
        yield "it has no segmentation", "give every annotation one, or remove all of them for boxes only"
    elif isinstance(segmentation, list):
        for number, polygon in enumerate(segmentation, start=1):
            if reason := _polygon_reason(polygon) or _stray_reason(polygon, image):
                yield f"polygon {number} of its segmentation {reason}", "use lists x1, y1, x2, y2, x3, y3, ..."
                return
    elif isinstance(segmentation, dict):
        if reason := _rle_reason(segmentation, image):
            yield f"its run-length segmentation {reason}", "encode the mask again, at the image's size"
    else:
        yield f"its segmentation is of type {type(segmentation).__name__}", "use polygons or a run-length encoding"


def _polygon_reason(polygon: Any) -> str | None:
    if not isinstance(polygon, list) or not are_finite(polygon):
        return "is not a list of finite numbers"
    if len(polygon) < 6 or len(polygon) % 2:
        return f"has {len(polygon)} numbers, not an even count of 6 or more"
    return None


def _stray_reason(polygon: list[float], image: dict[str, Any] | None) -> str | None:
    """Return a reason if a polygon is far outside of its image.

    A polygon may stick out; its mask is cut there. But pycocotools needs memory for every pixel of an outline.
    """
    if image is None:
        return None
    side = max(image["width"], image["height"])
    if min(polygon) < -side or max(polygon) > 2 * side:
        return f"is far outside of the image of {image['width']}x{image['height']} pixels"
    return None


def _rle_reason(rle: dict[str, Any], image: dict[str, Any] | None) -> str | None:
    size, counts = rle.get("size"), rle.get("counts")
    if image is None:
        return None
    if size != [image["height"], image["width"]] or not all(map(is_whole, size)):
        return f"is of size {shown(size)}, but the image's height and width are {[image['height'], image['width']]}"
    if isinstance(counts, str):
        counts = _decode_counts(counts)
    if not isinstance(counts, list) or not all(is_whole(count) and count >= 0 for count in counts):
        return "has unreadable counts"
    if sum(counts) != size[0] * size[1]:
        return f"covers {sum(counts)} of {size[0] * size[1]} pixels"
    return None


def _decode_counts(text: str) -> list[int] | None:
    """Return the run lengths of COCO's compressed string, or None if it is damaged: pycocotools would not notice.

    A number is groups of 5 bits, lowest first, in characters from "0" on; bit 6 says that more follow and the last
    group's bit 5 is the sign. From the fourth number on they are differences to the one before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            return None
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts if shift == 0 else None


def mask_area(segmentation: list[Any] | dict[str, Any], height: int, width: int) -> float:
    """Return the area in square pixels of a checked segmentation in an image of `height` x `width` pixels."""
    return float(coco_mask.area(_compressed(segmentation, height, width)))


def mask_pixels(segmentation: list[Any] | dict[str, Any], height: int, width: int) -> np.ndarray:
    """Return the pixels of a checked segmentation: (height, width) bool."""
    return coco_mask.decode(_compressed(segmentation, height, width)).astype(bool)


def extent(segmentation: list[Any] | dict[str, Any]) -> tuple[float, float, float, float] | None:
    """Return left, top, right, bottom of a checked segmentation, in pixels; None if it has no pixel."""
    if isinstance(segmentation, dict):
        left, top, width, height = coco_mask.toBbox(_compressed(segmentation, *segmentation["size"])).tolist()
        return (left, top, left + width, top + height) if width and height else None
    numbers = segmentation[0] if len(segmentation) == 1 else list(chain.from_iterable(segmentation))
    xs, ys = numbers[0::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def outline_area(polygons: list[list[float]]) -> float:
    """Return the area of checked polygons in square pixels, by the shoelace formula; where they overlap, it is more."""
    area = 0.0
    for polygon in polygons:
        xs, ys = polygon[0::2], polygon[1::2]
        next_xs, next_ys = [*xs[1:], xs[0]], [*ys[1:], ys[0]]
        area += abs(sum(map(mul, xs, next_ys)) - sum(map(mul, next_xs, ys))) / 2
    return area


def _compressed(segmentation: list[Any] | dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """Return a segmentation of any kind as pycocotools' run-length encoding."""
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        return segmentation
    encoded = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.merge(encoded) if isinstance(encoded, list) else encoded


def is_flat(annotation: dict[str, Any]) -> bool:
    """Return whether an object is a line: a box of no width or height around a polygon as flat as the box.

    train2017 has two (image 200365, annotation 918 is one). They are faithful, but no detector can learn from them.
    """
    x, y, width, height = annotation["bbox"]
    polygons = annotation.get("segmentation")
    if min(width, height) != 0 or not isinstance(polygons, list) or any(map(_polygon_reason, polygons)):
        return False
    xs, ys = ([v for polygon in polygons for v in polygon[axis::2]] for axis in (0, 1))
    extent = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)) if xs else (math.inf,) * 4
    return all(abs(a - b) < 0.02 for a, b in zip(extent, (x, y, width, height), strict=True))


def is_whole(value: Any) -> TypeGuard[int]:
    """Return whether a JSON value is an integer (not true, false) that a float can hold, as COCO's evaluations do."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**53) < value < 2**53


def is_area(value: Any) -> TypeGuard[float]:
    """Return whether a JSON value can be an area: a finite number from 0."""
    return are_finite([value]) and value >= 0


def are_finite(values: list[Any]) -> bool:
    """Return whether all JSON values of a list are finite numbers."""
    # The sum is finite if and only if all its terms are (coordinates are far from overflow). It is one pass in C, which
    # matters for COCO's forty million coordinates.
    try:
        return {int, float}.issuperset(map(type, values)) and math.isfinite(sum(values))
    except OverflowError:
        return False
