"""Read and check a data set in COCO's instances format.

The checks require only what training and COCO's own evaluation need, so that COCO 2017 itself passes: its ids have
gaps, its crowds are run-length encoded, boxes stick out of images by fractions of a pixel, some images have no object,
and two polygons of train2017 are flat (see `is_flat`).
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from afigan.data.images import inspect_image
from afigan.data.parallel import map_images
from afigan.data.problems import Problem
from afigan.data.segmentations import are_finite, is_flat, is_whole, mask_area, segmentation_reasons
from afigan.wording import shown

BOX_TOLERANCE = 1.0  # pixels by which a box may stick out of its image
_CHUNK = 32  # images that a worker inspects at a time

Reasons = Iterator[tuple[str, str]]  # (reason, remedy)


def load_annotations(path: str | Path) -> Any:
    """Return the JSON value of an annotation file, or the `Problem` that keeps it from being read."""
    try:
        return json.loads(Path(path).read_bytes(), object_pairs_hook=_without_twins)
    except OSError as error:
        reason, remedy = f"cannot be read: {error.strerror}", "correct the path in params.yaml"
    except (ValueError, RecursionError) as error:
        reason, remedy = f"is not JSON: {error}", "copy or export it again"
    return Problem(str(path), "file", None, reason, remedy)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object has the key {shown(next(n for n in names if names.count(n) > 1))} twice")
    return values


def check_annotations(
    annotations: Any, *, file: str, masks: bool | None = None, labelled: bool = True
) -> list[Problem]:
    """Return all problems of the value of `load_annotations`, without reading the images.

    `file` is the file that problems name. `masks`: True = every annotation needs a segmentation, False = segmentations
    are not used, None = either all annotations have one or none has. `labelled`: whether there must be any annotation.
    """
    if isinstance(annotations, Problem):
        return [annotations]
    lists = ("images", "annotations", "categories")
    if not isinstance(annotations, dict) or not all(isinstance(annotations.get(name), list) for name in lists):
        reason = "is not an object with the lists images, annotations and categories"
        return [Problem(file, "file", None, reason, "export it in COCO's instances format")]
    problems: list[Problem] = []
    categories = _by_id(annotations["categories"], "category", file, problems)
    images = _by_id(annotations["images"], "image", file, problems)
    objects = _by_id(annotations["annotations"], "annotation", file, problems)

    names: dict[str, int] = {}
    for key, category in categories.items():
        problems += [Problem(file, "category", key, *why) for why in _category_reasons(key, category, names)]
    names = {}
    for key, image in images.items():
        why_not = [*_image_reasons(image), *_name_reasons(key, image, names)]
        problems += [Problem(file, "image", key, *why) for why in why_not]
    if masks is None:
        masks = has_masks(annotations)
    for key, annotation in objects.items():
        reasons = _annotation_reasons(annotation, images, categories, masks)
        problems += [Problem(file, "annotation", key, *why) for why in reasons]
    for name in lists:
        if not annotations[name] and (labelled or name != "annotations"):
            problems.append(Problem(file, "file", None, f"has no {name}", "use a file that has some"))
    if objects and not problems and all(item.get("iscrowd") or is_flat(item) for item in objects.values()):
        reason = "has no usable objects, because all of them are crowds or flat"
        problems.append(Problem(file, "file", None, reason, "use a file that has some"))
    return problems


def check_images(annotations: Any, root: Path, *, file: str, workers: int, description: str) -> list[Problem]:
    """Decode every image under `root` completely, in `workers` processes, and return the problems.

    Entries whose id, name or size `check_annotations` rejects are skipped.
    """
    if not os.path.isdir(root):  # Path.is_dir raises for a name that is too long or not accessible
        return [Problem(str(root), "folder", None, "is not a folder", "correct the path in params.yaml")]
    entries = annotations.get("images") if isinstance(annotations, dict) else None
    images = _by_id(entries if isinstance(entries, list) else [], "image", file, [])
    images = {key: image for key, image in images.items() if not any(_image_reasons(image))}
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


def check_same_categories(train: Any, val: Any, *, file: str) -> list[Problem]:
    """Return the problems of `file` (val) where its categories' ids and names differ from train's."""
    wanted, found = ({c["id"]: c["name"] for c in part["categories"]} for part in (train, val))
    remedy = "give both files the same list of categories"
    problems = []
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            names = [repr(names[key]) if key in names else "missing" for names in (found, wanted)]
            problems.append(Problem(file, "category", key, f"is {names[0]} here but {names[1]} in train", remedy))
    return problems


def has_masks(annotations: dict[str, Any]) -> bool:
    """Return whether any annotation has a segmentation."""
    return any(isinstance(a, dict) and a.get("segmentation") for a in annotations["annotations"])


def clean(annotations: dict[str, Any], *, masks: bool) -> tuple[dict[str, Any], int]:
    """Reduce a checked data set to what this project reads; return it and the number of flat objects left out.

    `iscrowd` defaults to 0, and `area` (square pixels) to the area of the mask, or of the box. Annotations are
    renumbered from 1 if any id is below 1, because COCO's evaluation treats a match with annotation 0 as no match.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in annotations["images"]}
    objects = [annotation for annotation in annotations["annotations"] if not is_flat(annotation)]
    renumber = any(annotation["id"] < 1 for annotation in objects)
    cleaned = []
    for number, annotation in enumerate(objects, start=1):
        area = annotation.get("area")
        if area is None and masks:
            area = mask_area(annotation["segmentation"], *sizes[annotation["image_id"]])
        elif area is None:
            area = float(annotation["bbox"][2] * annotation["bbox"][3])
        entry = {
            "id": number if renumber else annotation["id"],
            "image_id": annotation["image_id"],
            "category_id": annotation["category_id"],
            "bbox": annotation["bbox"],
            "area": area,
            "iscrowd": int(annotation.get("iscrowd") or 0),
        }
        if masks:
            entry["segmentation"] = annotation["segmentation"]
        cleaned.append(entry)
    kept = {"images": ("id", "file_name", "width", "height"), "categories": ("id", "name")}
    images, categories = (
        [{key: entry[key] for key in keys} for entry in annotations[name]] for name, keys in kept.items()
    )
    flat = len(annotations["annotations"]) - len(objects)
    return {"images": images, "annotations": cleaned, "categories": categories}, flat


def _by_id(entries: list[Any], kind: str, file: str, problems: list[Problem]) -> dict[int, dict[str, Any]]:
    """Return the entries that are objects with an id of their own; add the problems of the others to `problems`."""
    found: dict[int, dict[str, Any]] = {}
    for position, entry in enumerate(entries):
        place = f"number {position + 1} of the list"
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


def _category_reasons(key: int, category: dict[str, Any], names: dict[str, int]) -> Reasons:
    name = category.get("name")
    if not isinstance(name, str) or not name or not is_unicode(name):
        yield f"its name is {shown(name)}", "give it a name in valid Unicode"
    elif names.setdefault(name, key) != key:
        yield f"its name {shown(name)} is also that of category {names[name]}", "give every category a unique name"


def _image_reasons(image: dict[str, Any]) -> Reasons:
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


def _name_reasons(key: int, image: dict[str, Any], names: dict[str, int]) -> Reasons:
    """Yield a reason if a file has two ids: each entry would treat the other's objects as background."""
    name = image.get("file_name")
    if isinstance(name, str) and (other := names.setdefault(os.path.normpath(name), key)) != key:
        yield f"its file_name {shown(name)} is also that of image {other}", "assign all objects of a file to one image"


def is_unicode(name: str) -> bool:
    """Return whether UTF-8 can encode a name; JSON and folders can have names that it cannot encode."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _annotation_reasons(
    annotation: dict[str, Any], images: dict[int, Any], categories: dict[int, Any], masks: bool
) -> Reasons:
    image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
    image = images.get(image_id) if is_whole(image_id) else None
    if image is None:
        yield f"no image has its image_id {shown(image_id)}", "add the image or remove the annotation"
    elif any(_image_reasons(image)):
        image = None  # already listed as a problem; without a size nothing can be compared with it
    if not is_whole(category_id) or category_id not in categories:
        reason = f"no category has its category_id {shown(category_id)}"
        yield reason, "add the category or remove the annotation"
    yield from _box_reasons(annotation, image)
    area, crowd = annotation.get("area"), annotation.get("iscrowd")
    if area is not None and not (are_finite([area]) and 0 <= area <= _largest_area(image)):
        yield f"its area is {shown(area)}", "give the area in square pixels of the image, or leave it out"
    if crowd is not None and not (isinstance(crowd, int) and crowd in (0, 1)):
        yield f"its iscrowd is {shown(crowd)}", "use 0 or 1"
    if masks:
        yield from segmentation_reasons(annotation.get("segmentation"), image)


def _largest_area(image: dict[str, Any] | None) -> float:
    """Return the area of the largest possible box in an image of known size."""
    return math.inf if image is None else (image["width"] + 2 * BOX_TOLERANCE) * (image["height"] + 2 * BOX_TOLERANCE)


def _box_reasons(annotation: dict[str, Any], image: dict[str, Any] | None) -> Reasons:
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not are_finite(box):
        yield f"its bbox is {shown(box)}", "give it as four finite numbers x, y, width, height"
        return
    x, y, width, height = box
    if min(width, height) <= 0 and not is_flat(annotation):
        yield f"its bbox {box} has no width or no height", "correct or remove the annotation"
    elif image is not None and (
        min(x, y) < -BOX_TOLERANCE
        or x + width > image["width"] + BOX_TOLERANCE
        or y + height > image["height"] + BOX_TOLERANCE
    ):
        reason = f"its bbox {box} (x, y, width, height) exceeds the image of {image['width']}x{image['height']} pixels"
        yield reason, "clip the box to the image"


def _inspect_chunk(paths: Sequence[Path], tick: Callable[[], None]) -> list[tuple[int, int] | str]:
    results: list[tuple[int, int] | str] = []
    for path in paths:
        try:
            results.append(inspect_image(path))
        except ValueError as error:
            results.append(str(error))
        tick()
    return results
