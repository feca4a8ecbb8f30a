"""Read and check a data set in COCO's instances format.

The checks require only what training and COCO's own evaluation need, so that COCO 2017 itself passes: its ids have
gaps, its crowds are run-length encoded, boxes stick out of images by fractions of a pixel, some images have no object,
and two polygons of train2017 are flat (see `is_flat`).
"""

import json
from pathlib import Path
from typing import Any

from afigan.data.prepare.entries import Reasons, by_id, category_reasons, image_reasons, name_reasons
from afigan.data.prepare.geometry import Geometry, exceeds
from afigan.data.prepare.names import oddity
from afigan.data.prepare.problems import Problem
from afigan.data.prepare.segmentations import are_finite, is_area, is_flat, is_whole, mask_area, segmentation_reasons
from afigan.runtime.messages import shown

LARGEST = 1e9  # of a box's numbers; beyond it, arithmetic on them overflows or loses pixels


def load_annotations(path: str | Path) -> Any:
    """Return the JSON value of an annotation file, or the `Problem` that keeps it from being read."""
    try:
        return json.loads(Path(path).read_bytes(), object_pairs_hook=_without_twins)
    except OSError as error:
        reason, remedy = f"cannot be read: {error.strerror}", "correct the path in params.yaml"
        if odd := oddity(str(path)):
            reason, remedy = f"{reason}: {odd[0]}", odd[1]
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
    annotations: Any,
    *,
    file: str,
    masks: bool | None = None,
    labelled: bool = True,
    mild: dict[int, float] | None = None,
) -> list[Problem]:
    """Return all problems of the value of `load_annotations`, without reading the images.

    `file` is the file that problems name. `masks`: True = every annotation needs a segmentation, False = segmentations
    are not used, None = either all annotations have one or none has. `labelled`: whether there must be any annotation.
    `mild` gets the ids of the boxes that differ from their masks by more than a pixel without being a problem, and the
    pixels.
    """
    if isinstance(annotations, Problem):
        return [annotations]
    lists = ("images", "annotations", "categories")
    if not isinstance(annotations, dict) or not all(isinstance(annotations.get(name), list) for name in lists):
        reason = "is not an object with the lists images, annotations and categories"
        return [Problem(file, "file", None, reason, "export it in COCO's instances format")]
    problems: list[Problem] = []
    categories = by_id(annotations["categories"], "category", file, problems)
    images = by_id(annotations["images"], "image", file, problems)
    objects = by_id(annotations["annotations"], "annotation", file, problems)

    names: dict[str, int] = {}
    for key, category in categories.items():
        problems += [Problem(file, "category", key, *why) for why in category_reasons(key, category, names)]
    names = {}
    sound = {}
    for key, listed in images.items():
        why_not = [*image_reasons(listed)]
        if not why_not:
            sound[key] = listed
        problems += [Problem(file, "image", key, *why) for why in (*why_not, *name_reasons(key, listed, names))]
    if masks is None:
        masks = has_masks(annotations)
    geometry = Geometry()
    for key, annotation in objects.items():
        # an image that is listed as a problem has no size to compare with
        image = sound.get(annotation["image_id"]) if is_whole(annotation.get("image_id")) else None
        why_not = [*_annotation_reasons(annotation, images, categories)]
        problems += [Problem(file, "annotation", key, *why) for why in why_not]
        shape = [*segmentation_reasons(annotation.get("segmentation"), image)] if masks else []
        problems += [Problem(file, "annotation", key, *why) for why in shape]
        if not any(_box_reasons(annotation)) and not is_flat(annotation):
            geometry.add(key, annotation, image, mask=masks and not shape)
    problems += [Problem(file, "annotation", *why) for why in geometry.reasons()]
    if mild is not None:
        mild |= geometry.mild
    for name in lists:
        if not annotations[name] and (labelled or name != "annotations"):
            problems.append(Problem(file, "file", None, f"has no {name}", "use a file that has some"))
    if objects and not problems and all(item.get("iscrowd") or is_flat(item) for item in objects.values()):
        reason = "has no usable objects, because all of them are crowds or flat"
        problems.append(Problem(file, "file", None, reason, "use a file that has some"))
    return problems


def check_same_categories(train: Any, val: Any, *, file: str) -> list[Problem]:
    """Return the problems of `file` (val) where its categories' ids and names differ from train's."""
    wanted, found = ({c["id"]: c["name"] for c in part["categories"]} for part in (train, val))
    remedy = "give both files the same list of categories"
    problems = []
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            names = [shown(names[key]) if key in names else "missing" for names in (found, wanted)]
            problems.append(Problem(file, "category", key, f"is {names[0]} here but {names[1]} in train", remedy))
    return problems


def has_masks(annotations: dict[str, Any]) -> bool:
    """Return whether any annotation has a segmentation."""
    return any(isinstance(a, dict) and a.get("segmentation") for a in annotations["annotations"])


def clean(annotations: dict[str, Any], *, masks: bool) -> tuple[dict[str, Any], int]:
    """Reduce a checked data set to what this project reads; return it and the number of flat objects left out.

    `iscrowd` defaults to 0, and `area` (square pixels) to the area of the mask. It is that of the box if there is no
    mask, or if the mask's pixels are more, because they are counted whole or because the box is rounded. Annotations
    are renumbered from 1 if any id is below 1, because COCO's evaluation treats a match with annotation 0 as no match.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in annotations["images"]}
    objects = [annotation for annotation in annotations["annotations"] if not is_flat(annotation)]
    renumber = any(annotation["id"] < 1 for annotation in objects)
    cleaned = []
    for number, annotation in enumerate(objects, start=1):
        area = annotation.get("area")
        if area is None:
            area = of_box = float(annotation["bbox"][2] * annotation["bbox"][3])
            if masks:
                of_mask = mask_area(annotation["segmentation"], *sizes[annotation["image_id"]])
                area = of_box if exceeds(of_mask, of_box) else of_mask
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


def _annotation_reasons(annotation: dict[str, Any], images: dict[int, Any], categories: dict[int, Any]) -> Reasons:
    image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
    if not is_whole(image_id) or image_id not in images:
        yield f"no image has its image_id {shown(image_id)}", "add the image or remove the annotation"
    if not is_whole(category_id) or category_id not in categories:
        reason = f"no category has its category_id {shown(category_id)}"
        yield reason, "add the category or remove the annotation"
    yield from _box_reasons(annotation)
    area, crowd = annotation.get("area"), annotation.get("iscrowd")
    if area is not None and not is_area(area):
        yield f"its area is {shown(area)}", "give the area in square pixels of the image, or leave it out"
    if crowd is not None and not (isinstance(crowd, int) and crowd in (0, 1)):
        yield f"its iscrowd is {shown(crowd)}", "use 0 or 1"


def _box_reasons(annotation: dict[str, Any]) -> Reasons:
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not are_finite(box) or max(map(abs, box)) > LARGEST:
        yield f"its bbox is {shown(box)}", "give it as four finite numbers x, y, width, height"
    elif min(box[2:]) <= 0 and not is_flat(annotation):
        yield f"its bbox {box} has no width or no height", "correct or remove the annotation"
