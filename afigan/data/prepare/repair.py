"""Repair errors of annotation files that have one meaning, as `data.repair: true` asks.

The files themselves stay as they are; only what `prepare` writes is repaired. Values with two readings are left alone:
negative sides, polygons of an odd count, boxes that stick out by more than a pixel, masks without a box.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from afigan.data.prepare.entries import Kept, image_reasons, places
from afigan.data.prepare.problems import Problem
from afigan.data.prepare.repair_entries import (
    Change,
    clipped,
    reason_to_leave_out,
    with_slashes,
    with_whole_numbers,
    without_short_contours,
)
from afigan.data.prepare.segmentations import is_whole
from afigan.runtime.messages import shown

# the kinds of entries with their fields that are whole numbers; annotations last, because they refer to images
_WHOLE = {
    "image": ("id", "width", "height"),
    "category": ("id",),
    "annotation": ("id", "image_id", "category_id", "iscrowd"),
}
_LISTS = {"image": "images", "category": "categories", "annotation": "annotations"}

SUPERCATEGORIES = "unannotated categories that others name as their supercategory, left out"


class Source(NamedTuple):
    """An annotation file: its name, the folder of its images, and its value."""

    file: str
    folder: Path
    annotations: Any


@dataclass(frozen=True)
class Repair:
    """One repair: its place as in `Problem`, its kind, and the values before and after it, None for left out."""

    file: str
    kind: str
    id: int | str
    repair: str
    before: Any
    after: Any


def repaired(sources: Sequence[Source]) -> tuple[list[Any], list[list[Repair]]]:
    """Return the repaired values of the annotation files of one data set, train's first, and the repairs of each.

    A value that is not an object with COCO's lists is returned as it is. Entries without a repair are shared with the
    value given, which is not changed.
    """
    values = list[Any]()
    repairs = [list[Repair]() for _ in sources]
    for source, found in zip(sources, repairs, strict=True):
        values.append(_repaired_file(source, found) if _is_legible(source.annotations) else source.annotations)
    _leave_out_supercategories(
        [
            (source.file, value, found)
            for source, value, found in zip(sources, values, repairs, strict=True)
            if _is_legible(value)
        ]
    )
    return values, repairs


def marked(problems: Sequence[Problem], left: Sequence[Problem]) -> list[Problem]:
    """Return the problems, each with whether repair would end it: whether it is none of those `left` after a repair.

    A problem that gives way to another one of the same entry has not ended.
    """
    remaining = {(problem.file, problem.kind, problem.id, problem.alike) for problem in left}
    known = {(problem.file, problem.kind, problem.id, problem.alike) for problem in problems}
    changed = {key[:3] for key in remaining - known}
    return [
        replace(
            problem,
            repairable=(problem.file, problem.kind, problem.id, problem.alike) not in remaining
            and (problem.file, problem.kind, problem.id) not in changed,
        )
        for problem in problems
    ]


def _is_legible(annotations: Any) -> bool:
    return isinstance(annotations, dict) and all(isinstance(annotations.get(name), list) for name in _LISTS.values())


def _repaired_file(source: Source, repairs: list[Repair]) -> dict[str, Any]:
    value = dict(source.annotations)
    images: dict[int, dict[str, Any]] = {}
    names = [entry.get("file_name") for entry in _objects(value["images"])]
    known = {os.path.normpath(name) for name in names if isinstance(name, str)}
    for kind, name in _LISTS.items():
        entries, positions = list[Any](), list[int]()
        for position, (place, entry) in enumerate(places(value[name])):
            changes: list[Change] = []
            if isinstance(entry, dict):
                entry = with_whole_numbers(entry, _WHOLE[kind], changes)
                if kind == "image":
                    entry = with_slashes(entry, source.folder, known, changes)
                    if is_whole(entry.get("id")) and not any(image_reasons(entry)):
                        images[entry["id"]] = entry
            key = entry["id"] if isinstance(entry, dict) and is_whole(entry.get("id")) else place
            if kind == "annotation" and (why := reason_to_leave_out(entry)):
                changes = [(why, shown(entry), None)]
            else:
                if kind == "annotation" and isinstance(entry, dict):
                    entry = clipped(without_short_contours(entry, changes), images, changes)
                entries.append(entry)
                positions.append(position)
            repairs += [Repair(source.file, kind, key, *change) for change in changes]
        value[name] = Kept(entries, positions)
    return value


def _leave_out_supercategories(files: Sequence[tuple[str, dict[str, Any], list[Repair]]]) -> None:
    """Remove in place, from all files, the categories of the first that only are supercategories of others."""
    if not files:
        return
    annotated = [entry.get("category_id") for _, value, _ in files for entry in _objects(value["annotations"])]
    unused = {entry["id"]: entry["name"] for entry in only_supercategories(files[0][1]["categories"], annotated)}
    for file, value, repairs in files:
        kept, positions = list[Any](), list[int]()
        for position, entry in enumerate(value["categories"]):
            if isinstance(entry, dict) and is_whole(entry.get("id")) and unused.get(entry["id"]) == entry.get("name"):
                repairs.append(Repair(file, "category", entry["id"], SUPERCATEGORIES, shown(entry), None))
            else:
                kept.append(entry)
                positions.append(position)
        value["categories"] = Kept(kept, positions)


def only_supercategories(categories: Sequence[Any], annotated: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the categories without annotations that another category, itself no such one, names as its supercategory.

    Exporters that group all classes of a project under one name write it as a category too.

    Args:
        categories: entries of an annotation file.
        annotated: category ids of all annotations.
    """
    left = [entry for entry in _objects(categories) if is_whole(entry.get("id")) and isinstance(entry.get("name"), str)]
    used = {key for key in annotated if is_whole(key)}
    found = []
    for entry in [entry for entry in left if entry["id"] not in used]:
        others = (other for other in left if other["id"] != entry["id"])
        if any(other.get("supercategory") == entry["name"] for other in others):
            found.append(entry)
            left.remove(entry)
    return found


def _objects(entries: Sequence[Any]) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)]
