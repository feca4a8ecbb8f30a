"""Check the image files of a data set: all are there, complete, and of the size that the annotation file declares."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from afigan.data.entries import by_id, image_reasons
from afigan.data.images import inspect_image
from afigan.data.parallel import map_images
from afigan.data.problems import Problem
from afigan.wording import shown

_CHUNK = 32  # images that a worker inspects at a time


def check_images(annotations: Any, root: Path, *, file: str, workers: int, description: str) -> list[Problem]:
    """Decode every image under `root` completely, in `workers` processes, and return the problems.

    Entries whose id, name or size `check_annotations` rejects are skipped.
    """
    if not os.path.isdir(root):  # Path.is_dir raises for a name that is too long or not accessible
        return [Problem(str(root), "folder", None, "is not a folder", "correct the path in params.yaml")]
    entries = annotations.get("images") if isinstance(annotations, dict) else None
    images = by_id(entries if isinstance(entries, list) else [], "image", file, [])
    images = {key: image for key, image in images.items() if not any(image_reasons(image))}
    inspected = inspect_images([root / image["file_name"] for image in images.values()], workers, description)
    problems = []
    for (key, image), result in zip(images.items(), inspected, strict=True):
        name, declared = image["file_name"], (image["width"], image["height"])
        if isinstance(result, str):
            reason, remedy = f"{shown(name)} {result}", f"put a complete, single-frame 8-bit image there (under {root})"
        elif result != declared:
            sizes = [f"{width}x{height}" for width, height in (result, declared)]
            reason = f"{shown(name)} is {sizes[0]} pixels upright, but declared as {sizes[1]}"
            remedy = "correct width and height, or restore the image that was annotated"
        else:
            continue
        problems.append(Problem(file, "image", key, reason, remedy))
    return problems


def inspect_images(paths: Sequence[Path], workers: int, description: str) -> list[tuple[int, int] | str]:
    """Return for each path `inspect_image`'s width and height, or the reason why the file is not an image."""
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    results = map_images(_inspect_chunk, chunks, workers=workers, images=len(paths), description=description)
    return [result for chunk in results for result in chunk]


def _inspect_chunk(paths: Sequence[Path], tick: Callable[[], None]) -> list[tuple[int, int] | str]:
    results: list[tuple[int, int] | str] = []
    for path in paths:
        try:
            results.append(inspect_image(path))
        except ValueError as error:
            results.append(str(error))
        tick()
    return results
