"""The repairs of single entries of an annotation file. Each returns the entry itself if there is nothing to repair.

A repaired entry is a changed copy, and the change is appended to `changes`.
"""

import os
from pathlib import Path
from typing import Any

from afigan.data.prepare.entries import image_reasons
from afigan.data.prepare.geometry import BOX_TOLERANCE
from afigan.data.prepare.names import without_backslashes
from afigan.data.prepare.segmentations import are_finite, extent, is_area, is_flat, is_whole
from afigan.runtime.messages import shown

FLOATS = "whole numbers written as floats"
BACKSLASHES = "backslashes in file names"
EMPTY = "empty annotations, left out"
CONTOURS = "contours of fewer than three points, left out"
NO_SIZE = "objects of no size, left out"
OUTSIDE = "boxes at most a pixel outside, clipped"

Change = tuple[str, Any, Any]  # kind of repair, value before, value after; None: the entry is left out

_NOTHING: tuple[Any, ...] = (None, "", [], [[]], {})
_ROUNDING = 1e-6  # pixels; x + width of a box at the border is not exact


def with_whole_numbers(entry: dict[str, Any], fields: tuple[str, ...], changes: list[Change]) -> dict[str, Any]:
    """Return an entry with integers for whole floats in its `fields`, and in the size and counts of its run lengths."""
    written: dict[str, Any] = {field: entry[field] for field in fields if _is_whole_float(entry.get(field))}
    whole: dict[str, Any] = {field: int(value) for field, value in written.items()}
    mask = entry.get("segmentation")
    if isinstance(mask, dict):
        lists = {field: mask[field] for field in ("size", "counts") if isinstance(mask.get(field), list)}
        runs = {
            field: [int(value) if _is_whole_float(value) else value for value in values]
            for field, values in lists.items()
            if any(map(_is_whole_float, values))
        }
        if runs:
            written["segmentation"] = shown({field: lists[field] for field in runs})
            whole["segmentation"] = mask | runs
    if not whole:
        return entry
    listed = {field: shown(runs) if field == "segmentation" else value for field, value in whole.items()}
    changes.append((FLOATS, written, listed))
    return entry | whole


def _is_whole_float(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer() and is_whole(int(value))


def with_slashes(image: dict[str, Any], folder: Path, names: set[str], changes: list[Change]) -> dict[str, Any]:
    """Return an image with / in its file name, if that is the name of a file, and the name as written is not.

    `names` are the names of the file's images, as `os.path.normpath` writes them; a name that one of them has is not
    given to a second one.
    """
    name = image.get("file_name")
    better = without_backslashes(name) if isinstance(name, str) else None
    if better is None or os.path.lexists(folder / str(name)) or not os.path.isfile(folder / better):
        return image
    changed = image | {"file_name": better}
    out_of_the_folder = any("file_name" in reason for reason, _ in image_reasons(changed))
    if out_of_the_folder or os.path.normpath(better) in names:
        return image
    names.add(os.path.normpath(better))
    changes.append((BACKSLASHES, name, better))
    return changed


def reason_to_leave_out(annotation: Any) -> str | None:
    """Return the reason why an annotation is no object; None if it is one, or may be one."""
    if annotation is None or annotation == {}:
        return EMPTY
    if not isinstance(annotation, dict):
        return None
    box, mask, area = annotation.get("bbox"), annotation.get("segmentation"), annotation.get("area")
    if area is not None and not is_area(area):
        return None
    if box in _NOTHING:
        return EMPTY if mask in _NOTHING and annotation.get("keypoints") in _NOTHING and not area else None
    if not isinstance(box, list) or len(box) != 4 or not are_finite(box):
        return None
    width, height = box[2:]
    if min(width, height) != 0 or (area or 0) > max(width, height) or is_flat(annotation):
        return None  # `clean` leaves flat objects out and counts them
    return NO_SIZE if mask in _NOTHING or _is_thin(mask) else None


def _is_thin(mask: Any) -> bool:
    """Return whether a segmentation is polygons of finite points, all on one horizontal or vertical line."""
    if not isinstance(mask, list) or not all(isinstance(polygon, list) and are_finite(polygon) for polygon in mask):
        return False
    polygons = [polygon for polygon in mask if polygon]
    if not polygons or any(len(polygon) % 2 for polygon in polygons):
        return not polygons
    left, top, right, bottom = extent(polygons) or (0.0, 0.0, 0.0, 0.0)
    return min(right - left, bottom - top) == 0


def without_short_contours(annotation: dict[str, Any], changes: list[Change]) -> dict[str, Any]:
    """Return an annotation without the polygons of fewer than three points, if all others are sound."""
    mask = annotation.get("segmentation")
    if not isinstance(mask, list) or not all(isinstance(part, list) and are_finite(part) for part in mask):
        return annotation
    if any(len(part) % 2 for part in mask):
        return annotation
    sound = [part for part in mask if len(part) >= 6]
    if not sound or len(sound) == len(mask):
        return annotation
    changes.append((CONTOURS, [part for part in mask if len(part) < 6], []))
    return annotation | {"segmentation": sound}


def clipped(annotation: dict[str, Any], images: dict[int, dict[str, Any]], changes: list[Change]) -> dict[str, Any]:
    """Return an annotation with its box clipped to the image, if it sticks out by at most a pixel; its area fits."""
    box, area = annotation.get("bbox"), annotation.get("area")
    image = images.get(annotation["image_id"]) if is_whole(annotation.get("image_id")) else None
    if image is None or not isinstance(box, list) or len(box) != 4 or not are_finite(box):
        return annotation
    x, y, width, height = box
    right, bottom = x + width, y + height
    outside = max(-x, -y, right - image["width"], bottom - image["height"])
    if not _ROUNDING < outside <= BOX_TOLERANCE:
        return annotation
    left, top = max(x, 0), max(y, 0)
    inside = [left, top, min(right, image["width"]) - left, min(bottom, image["height"]) - top]
    if min(width, height, *inside[2:]) <= 0:
        return annotation
    before: dict[str, Any] = {"bbox": box}
    after: dict[str, Any] = {"bbox": inside}
    if is_area(area) and inside[2] * inside[3] < area <= width * height:
        before["area"], after["area"] = area, inside[2] * inside[3]
    changes.append((OUTSIDE, before, after))
    return annotation | after
