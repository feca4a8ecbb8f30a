"""Check the image files of a data set: all are there, complete, and of the size that the annotation file declares."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from afigan.data.images import MISSING, Inspected, inspect_image
from afigan.data.parallel import map_images
from afigan.data.prepare.entries import by_id, image_reasons
from afigan.data.prepare.names import oddity
from afigan.data.prepare.problems import Problem
from afigan.runtime.messages import shown

_CHUNK = 32  # images that a worker inspects at a time


def check_images(annotations: Any, root: Path, *, file: str, workers: int, description: str) -> list[Problem]:
    """Decode every image under `root` completely, in `workers` processes, and return the problems.

    Entries whose id, name or size `check_annotations` rejects are skipped.
    """
    if not os.path.isdir(root):  # Path.is_dir raises for a name that is too long or not accessible
        return [folder_problem(root, "is not a folder", "correct the path in params.yaml")]
    entries = annotations.get("images") if isinstance(annotations, dict) else None
    images = by_id(entries if isinstance(entries, list) else [], "image", file, [])
    images = {key: image for key, image in images.items() if not any(image_reasons(image))}
    inspected = inspect_images([root / image["file_name"] for image in images.values()], workers, description)
    problems = []
    ordinary = []  # names of missing files that are not to blame themselves
    for (key, image), result in zip(images.items(), inspected, strict=True):
        name, declared = image["file_name"], (image["width"], image["height"])
        if result == MISSING and (odd := oddity(name)):
            why = f"{shown(name)} {MISSING}: {odd[0]}", odd[1]
        elif isinstance(result, str):
            why = f"{shown(name)} {result}", f"put a complete, single-frame 8-bit image there (under {root})"
            ordinary += [name] * (result == MISSING)
        elif (result.width, result.height) != declared:
            why = _size_reason(name, result, declared)
        else:
            continue
        problems.append(Problem(file, "image", key, *why))
    if images and len(ordinary) == len(images):
        reason = f"has none of the {len(images)} images that {file} names, so it is probably not their folder"
        remedy = f"correct the folder in params.yaml, or every file_name{_found(root, ordinary[0])}"
        problems.insert(0, Problem(str(root), "folder", None, reason, remedy))
    return problems


def folder_problem(folder: Path, reason: str, remedy: str) -> Problem:
    """Return the problem of a folder that cannot be used, with what is odd about its name."""
    odd = oddity(str(folder))
    return Problem(str(folder), "folder", None, f"{reason}: {odd[0]}" if odd else reason, odd[1] if odd else remedy)


def _size_reason(name: str, found: Inspected, declared: tuple[int, int]) -> tuple[str, str]:
    """Return reason and remedy of an image that is not of its declared width and height."""
    upright, wanted = f"{found.width}x{found.height}", f"{declared[0]}x{declared[1]}"
    reason = f"{shown(name)} is {upright} pixels upright, but declared as {wanted}"
    if (found.height, found.width) != declared:
        return reason, "correct width and height, or restore the image that was annotated"
    if found.orientation < 5:
        return f"{reason}: width and height are exchanged", "exchange them, or restore the image that was annotated"
    reason += f", as its pixels are stored: its EXIF orientation tag is {found.orientation}, and turns it"
    remedy = f"if the boxes fit the upright picture, declare {upright}; if they fit the stored pixels, remove the tag"
    return reason, f"{remedy} from the file, as `exiftool -Orientation= FILE` does"


def _found(root: Path, name: str) -> str:
    """Return where else a file is: beside the folder, one folder below it, or in it without the folders in its name."""
    with suppress(OSError):
        below = sorted(path for path in islice(root.iterdir(), 1000) if path.is_dir())
        for folder in (root.parent, root, *below):
            for tail in (name, Path(name).name):
                if os.path.isfile(folder / tail):
                    return f"; {shown(name)} may be {folder / tail}"
    return ""


def inspect_images(paths: Sequence[Path], workers: int, description: str) -> list[Inspected | str]:
    """Return for each path what `inspect_image` returns, or the reason why the file is not an image."""
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    results = map_images(_inspect_chunk, chunks, workers=workers, images=len(paths), description=description)
    return [result for chunk in results for result in chunk]


def _inspect_chunk(paths: Sequence[Path], tick: Callable[[], None]) -> list[Inspected | str]:
    results: list[Inspected | str] = []
    for path in paths:
        try:
            results.append(inspect_image(path))
        except ValueError as error:
            results.append(str(error))
        tick()
    return results
