"""Check the entries of an annotation file one by one: their ids, the categories' names, the images' names and sizes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from afigan.data.prepare.problems import Problem
from afigan.data.prepare.segmentations import is_whole
from afigan.runtime.messages import shown

Reasons = Iterator[tuple[str, str]]  # (reason, remedy)


class Kept(list[Any]):
    """The entries that are left of a list, with their positions in it."""

    def __init__(self, entries: list[Any], positions: list[int]) -> None:
        super().__init__(entries)
        self.positions = positions


def places(entries: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield each entry with its place in the annotation file, counted from 1."""
    positions = entries.positions if isinstance(entries, Kept) else range(len(entries))
    for position, entry in zip(positions, entries, strict=True):
        yield f"number {position + 1} of the list", entry


def by_id(entries: list[Any], kind: str, file: str, problems: list[Problem]) -> dict[int, dict[str, Any]]:
    """Return the entries that are objects with an id of their own; add the problems of the others to `problems`."""
    found: dict[int, dict[str, Any]] = {}
    for place, entry in places(entries):
        if not isinstance(entry, dict):
            problems.append(Problem(file, kind, place, "is not an object", "remove or correct it"))
        # annotations can be renumbered; COCO's evaluations and servers know images and categories by these ids
        elif not is_whole(entry.get("id")) or (entry["id"] < 0 and kind != "annotation"):
            reason = f"its id is {shown(entry.get('id'))}, not a whole number from 0 to 2^53"
            problems.append(Problem(file, kind, place, reason, "give it a whole number as id"))
        elif entry["id"] in found:
            problems.append(Problem(file, kind, entry["id"], f"its id is used twice ({place})", "make ids unique"))
        else:
            found[entry["id"]] = entry
    return found


def category_reasons(key: int, category: dict[str, Any], names: dict[str, int]) -> Reasons:
    name = category.get("name")
    if not isinstance(name, str) or not name or not is_unicode(name):
        yield f"its name is {shown(name)}", "give it a name in valid Unicode"
    elif names.setdefault(name, key) != key:
        yield f"its name {shown(name)} is also that of category {names[name]}", "give every category a unique name"


def image_reasons(image: dict[str, Any]) -> Reasons:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        yield f"its file_name is {shown(name)}", "name its file, relative to the image folder"
    elif not is_unicode(name):
        yield f"its file_name {shown(name)} is not valid Unicode", "rename the file on disk and here"
    elif Path(name).is_absolute():
        yield f"its file_name {shown(name)} is an absolute path", "name its file relative to the image folder"
    elif Path(os.path.normpath(name)).parts[:1] in ((), ("..",)):
        yield f"its file_name {shown(name)} leads out of the image folder", "name a file inside the image folder"
    if not all(is_whole(image.get(side)) and image[side] > 0 for side in ("width", "height")):
        reason = f"its size is {shown(image.get('width'))} x {shown(image.get('height'))}"
        yield reason, "give its width and height in pixels, as whole numbers above 0"


def name_reasons(key: int, image: dict[str, Any], names: dict[str, int]) -> Reasons:
    """Yield a reason if a file has two ids: each entry would treat the other's objects as background."""
    name = image.get("file_name")
    if isinstance(name, str) and (other := names.setdefault(os.path.normpath(name), key)) != key:
        yield f"its file_name {shown(name)} is also that of image {other}", "assign all objects of a file to one image"


def is_unicode(name: str) -> bool:
    """Return whether UTF-8 can encode a name; JSON and folders can have names that it cannot encode."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
