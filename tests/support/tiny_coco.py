"""A small COCO data set for tests: photographs of noise, polygons, a crowd, an image without objects, ids with gaps."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 3, "name": "naïve dog", "supercategory": "animal"}, {"id": 90, "name": "cup"}]


def annotations(images: int = 3) -> dict[str, Any]:
    """Return a valid COCO object: image k (from 0) has id 7 + 10 k and odd sizes; the last image has no object."""
    entries = [
        {"id": 7 + 10 * k, "file_name": f"sub/bild-ä{k}.png", "width": 31 + 2 * k, "height": 20 + k, "license": 4}
        for k in range(images)
    ]
    objects: list[dict[str, Any]] = []
    for k, image in enumerate(entries[:-1]):
        objects.append(
            {
                "id": 100 + 2 * k,
                "image_id": image["id"],
                "category_id": 3,
                "bbox": [2.0, 3.0, 10.0, 8.0],
                "area": 80.0,
                "iscrowd": 0,
                "segmentation": [[2.0, 3.0, 12.0, 3.0, 12.0, 11.0, 2.0, 11.0]],
            }
        )
    first = entries[0]
    pixels = first["width"] * first["height"]
    objects.append(
        {
            "id": 900100000007,
            "image_id": first["id"],
            "category_id": 90,
            "bbox": [0, 0, 5, 6],
            "area": 30,
            "iscrowd": 1,
            "segmentation": {"size": [first["height"], first["width"]], "counts": [5, 30, pixels - 35]},
        }
    )
    return {"info": {}, "images": entries, "annotations": objects, "categories": [dict(c) for c in CATEGORIES]}


def write_images(value: dict[str, Any], root: Path) -> None:
    """Write noise of the declared size for every image entry."""
    for image in value["images"]:
        rng = np.random.default_rng(image["id"])
        path = root / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)


def write_split(folder: Path, name: str, value: Any) -> SimpleNamespace:
    """Write a split's annotation file; return the section of params.yaml that points to it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(value), "utf-8")
    return SimpleNamespace(images=str(folder / name), annotations=str(path), fraction=None, group=None)
