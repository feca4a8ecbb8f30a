"""Take a validation set out of the training file: whole images, or whole groups of them, chosen by file name."""

import hashlib
import os
import re
from collections.abc import Sequence
from math import floor
from typing import Any

from afigan.data.prepare.problems import Problem
from afigan.data.prepare.segmentations import is_flat
from afigan.runtime.messages import shown

_DIGITS = 16  # of a double


def side_key(name: str, group: str | None) -> str | None:
    """Return the text that decides an image's side: its file name, or the first group of `group` in it.

    `group` is searched anywhere in the name, whose folders are separated by /. None: the name has no such group.
    """
    name = os.path.normpath(name.replace("\\", "/"))
    if group is None:
        return name
    found = re.search(group, name)
    return found[1] if found else None


def position(key: str) -> float:
    """Return a number in [0, 1) that only the text decides, uniform over texts; below the fraction means val."""
    return (int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 11) / 2**53


def group_problems(annotations: Any, group: str | None, *, file: str) -> list[Problem]:
    """Return a problem for each image whose name the regular expression `group` does not fit."""
    problems = []
    for image in annotations["images"]:
        name = image.get("file_name") if isinstance(image, dict) else None
        if isinstance(name, str) and side_key(name, group) is None:
            reason = f"data.val.group {shown(group)} has no group in its file_name {shown(name)}"
            remedy = "correct data.val.group, or rename the file"
            problems.append(Problem(file, "image", image.get("id"), reason, remedy))
    return problems


def divide(
    annotations: dict[str, Any], fraction: float, group: str | None, *, file: str
) -> tuple[dict[str, Any], dict[str, Any], list[Problem]]:
    """Divide a checked annotation file by image into train and val, both with all categories.

    An image's side depends on its own name (and `group`) alone: it is the same for every other image, order, id and
    seed. A larger fraction moves images from train to val only. The problems say that a side has no usable object.
    """
    positions = {image["id"]: position(side_key(image["file_name"], group) or "") for image in annotations["images"]}
    sides = []
    for is_val in (False, True):
        inside = {key for key, place in positions.items() if (place < fraction) == is_val}
        images = [image for image in annotations["images"] if image["id"] in inside]
        objects = [item for item in annotations["annotations"] if item["image_id"] in inside]
        sides.append(annotations | {"images": images, "annotations": objects})
    train, val = sides
    usable = {item["image_id"] for item in annotations["annotations"] if not item.get("iscrowd") and not is_flat(item)}
    return train, val, _empty_sides(sorted({positions[key] for key in usable}), fraction, group, file)


def _empty_sides(places: Sequence[float], fraction: float, group: str | None, file: str) -> list[Problem]:
    """Return the problem that a side has none of the images, or groups, with usable objects, which are at `places`."""
    first, last = places[0], places[-1]
    if first < fraction <= last:
        return []
    side = "train" if last < fraction else "val"
    what = "image" if group is None else "group of images"
    reason = f"data.val.fraction {fraction} leaves no {what} with usable objects for {side}"
    remedy = f"set data.val.fraction to {_nearest(fraction, first, last)}"
    if len(places) == 1:
        reason = f"has one {what} with usable objects, and data.val.fraction has to divide two"
        remedy = "add images, or correct data.val.group" if group else "add images"
    return [Problem(file, "file", None, reason, remedy)]


def _nearest(fraction: float, first: float, last: float) -> float:
    """Return the fraction nearest to `fraction`, with few digits, that is above `first` and not above `last`."""
    for digits in range(2, _DIGITS):
        unit = 10**digits
        value = (floor(first * unit) + 1) / unit if fraction <= first else floor(last * unit) / unit
        if first < value <= last:
            return value
    return last
