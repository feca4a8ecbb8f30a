"""Small data sets in the shapes that annotation tools export as COCO: boxes only, made up, with images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 96, 72
CLASSES = ("ripe tomato", "Pfirsich-grün")
COLOURS = ((220, 30, 30), (240, 200, 90))
SCENES, FRAMES = 6, 4

Boxes = list[tuple[int, tuple[int, int, int, int]]]  # class, (x, y, width, height) in pixels
Exported = dict[str, Any]


def _scene(number: int) -> Boxes:
    """Return the two objects of an image."""
    rng = np.random.default_rng(number)
    found = []
    for kind, left in ((number % 2, 4), (1 - number % 2, 50)):
        width, height = (int(side) for side in rng.integers(20, 40, 2))
        found.append((kind, (left + int(rng.integers(0, 5)), int(rng.integers(2, 30)), width, height)))
    return found


def _rectangle(x: int, y: int, w: int, h: int) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def roboflow(names: list[str], scenes: list[Boxes]) -> Exported:
    """An unannotated category 0 that is the others' supercategory; ids from 0; fractions of pixels."""
    top = "fruit-and-veg"
    return {
        "info": {"year": "2025", "version": "3", "description": "Exported", "contributor": "", "date_created": "x"},
        "licenses": [{"id": 1, "url": "https://creativecommons.org/licenses/by/4.0/", "name": "CC BY 4.0"}],
        "categories": [{"id": 0, "name": top, "supercategory": "none"}]
        + [{"id": k, "name": name, "supercategory": top} for k, name in enumerate(CLASSES, start=1)],
        "images": [
            {"id": k, "license": 1, "file_name": name, "height": HEIGHT, "width": WIDTH, "date_captured": "x"}
            for k, name in enumerate(names)
        ],
        "annotations": _numbered(
            0,
            scenes,
            lambda k, kind, box: {
                "image_id": k,
                "category_id": kind + 1,
                "bbox": [box[0] + 0.5, box[1], box[2] - 0.5, box[3]],
                "area": (box[2] - 0.5) * box[3],
                "segmentation": [],
                "iscrowd": 0,
            },
        ),
    }


def cvat(names: list[str], scenes: list[Boxes]) -> Exported:
    """Attributes of each object; empty texts and zeros where nothing is known."""
    extra = {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
        "categories": [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(CLASSES, start=1)],
        "images": [
            {"id": k, "width": WIDTH, "height": HEIGHT, "file_name": name, **extra}
            for k, name in enumerate(names, start=1)
        ],
        "annotations": _numbered(
            1,
            scenes,
            lambda k, kind, box: {
                "image_id": k + 1,
                "category_id": kind + 1,
                "segmentation": [],
                "area": float(box[2] * box[3]),
                "bbox": [float(side) for side in box],
                "iscrowd": 0,
                "attributes": {"occluded": False, "rotation": 0.0},
            },
        ),
    }


def datumaro(names: list[str], scenes: list[Boxes]) -> Exported:
    """Like CVAT's, with groups, and images in subfolders."""
    value = cvat([f"default/{name}" for name in names], scenes)
    for item in value["annotations"]:
        item |= {"group": 0, "attributes": {"occluded": False}}
    return value


def label_studio(names: list[str], scenes: list[Boxes]) -> Exported:
    """Ids from 0, names with a prefix below images/, fractions from percentages, `ignore`."""
    percent = 0.12345678901234
    return {
        "images": [
            {"width": WIDTH, "height": HEIGHT, "id": k, "file_name": f"images/{k:08x}-{name}"}
            for k, name in enumerate(names)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES)],
        "annotations": _numbered(
            0,
            scenes,
            lambda k, kind, box: {
                "image_id": k,
                "category_id": kind,
                "segmentation": [],
                "bbox": [box[0] + percent, box[1] + percent, box[2] - percent, box[3] - percent],
                "ignore": 0,
                "iscrowd": 0,
                "area": (box[2] - percent) * (box[3] - percent),
            },
        ),
        "info": {"year": 2025, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""},
    }


def labelme(names: list[str], scenes: list[Boxes]) -> Exported:
    """No info; rectangles as polygons of four points."""
    return {
        "images": [
            {"height": HEIGHT, "width": WIDTH, "id": k, "file_name": name} for k, name in enumerate(names, start=1)
        ],
        "categories": [{"supercategory": name, "id": k, "name": name} for k, name in enumerate(CLASSES, start=1)],
        "annotations": _numbered(
            1,
            scenes,
            lambda k, kind, box: {
                "image_id": k + 1,
                "category_id": kind + 1,
                "iscrowd": 0,
                "bbox": [float(side) for side in box],
                "area": box[2] * box[3],
                "segmentation": [_rectangle(*box)],
            },
        ),
    }


def via(names: list[str], scenes: list[Boxes]) -> Exported:
    """VGG's annotator: whole numbers, addresses that are empty."""
    value = labelme(names, scenes)
    for image in value["images"]:
        image |= {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": ""}
    for item in value["annotations"]:
        item["bbox"] = [int(side) for side in item["bbox"]]
    return {"info": {"year": 2025, "version": "1"}, "licenses": [{"id": 0, "name": "Unknown", "url": ""}], **value}


def sahi(names: list[str], scenes: list[Boxes]) -> Exported:
    """Slices of larger images: the slice in the name, the category's name in each object."""
    return {
        "images": [
            {"height": HEIGHT, "width": WIDTH, "id": k, "file_name": name.replace(".", f"_0_0_{WIDTH}_{HEIGHT}.")}
            for k, name in enumerate(names, start=1)
        ],
        "annotations": _numbered(
            1,
            scenes,
            lambda k, kind, box: {
                "iscrowd": 0,
                "image_id": k + 1,
                "bbox": list(box),
                "segmentation": [],
                "category_id": kind,
                "category_name": CLASSES[kind],
                "area": box[2] * box[3],
            },
        ),
        "categories": [{"id": k, "name": name, "supercategory": name} for k, name in enumerate(CLASSES)],
    }


def coco_annotator(names: list[str], scenes: list[Boxes]) -> Exported:
    """The state of its own interface; `iscrowd` as true or false; boxes as polygons."""
    return {
        "images": [
            {
                "id": k,
                "dataset_id": 2,
                "category_ids": [],
                "path": f"/datasets/fruit/{name}",
                "width": WIDTH,
                "height": HEIGHT,
                "file_name": name,
                "annotated": True,
                "annotating": [],
                "num_annotations": 2,
                "metadata": {},
                "deleted": False,
            }
            for k, name in enumerate(names, start=31)
        ],
        "categories": [
            {"id": k, "name": name, "supercategory": "", "color": "#b11d5f", "metadata": {}, "keypoint_colors": []}
            for k, name in enumerate(CLASSES, start=4)
        ],
        "annotations": _numbered(
            77,
            scenes,
            lambda k, kind, box: {
                "image_id": k + 31,
                "category_id": kind + 4,
                "dataset_id": 2,
                "segmentation": [_rectangle(*box)],
                "area": box[2] * box[3],
                "bbox": list(box),
                "iscrowd": False,
                "isbbox": True,
                "creator": "system",
                "width": WIDTH,
                "height": HEIGHT,
                "color": "#ce12c0",
                "metadata": {},
            },
        ),
    }


EXPORTS: dict[str, Callable[[list[str], list[Boxes]], Exported]] = {
    f.__name__: f for f in (roboflow, cvat, datumaro, label_studio, labelme, via, sahi, coco_annotator)
}


def _numbered(start: int, scenes: list[Boxes], entry: Callable[[int, int, Any], dict[str, Any]]) -> list[dict]:
    """Return an entry for each object of each image, with ids from `start`."""
    objects = [entry(k, kind, box) for k, scene in enumerate(scenes) for kind, box in scene]
    return [{"id": start + number, **item} for number, item in enumerate(objects)]


def exported(tool: str) -> Exported:
    """Return the annotations of `SCENES` scenes of `FRAMES` images, in the shape of a tool's export."""
    names = [f"scene{scene}_{frame}.jpg" for scene in range(SCENES) for frame in range(FRAMES)]
    return EXPORTS[tool](names, [_scene(number) for number in range(len(names))])


def write_images(value: Exported, folder: Path) -> None:
    """Write an image for each entry, with a rectangle in its class's colour where each object is."""
    for number, image in enumerate(value["images"]):
        pixels = np.random.default_rng(number).integers(60, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        for kind, (x, y, w, h) in _scene(number):
            pixels[y : y + h, x : x + w] = COLOURS[kind]
        path = folder / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=95)
