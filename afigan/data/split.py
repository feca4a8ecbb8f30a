"""Read a prepared split: its annotations, and the sizes and tensors of images that a detector sees (section 4)."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from afigan.data.packed import Packed
from afigan.runtime.files import read_json


def read_split(path: str | Path) -> dict[str, Any]:
    """Read a prepared annotation file and index it.

    Returns:
        `images`: the COCO images, each with its `path` and `annotations`, whose `category_id` counts from 0; the
        sequence is packed, so an item is a copy;
        `classes`: category names in the order of their ids; `category_ids`: those ids; `masks`: whether there are any.
    """
    values = read_json(path)
    category_ids = sorted(category["id"] for category in values["categories"])
    names = {category["id"]: category["name"] for category in values["categories"]}
    contiguous = {category_id: index for index, category_id in enumerate(category_ids)}
    by_image = defaultdict(list)
    for item in values["annotations"]:
        item["category_id"] = contiguous[item["category_id"]]
        by_image[item["image_id"]].append(item)
    del values["annotations"]  # so that packing an image frees its objects: COCO's take three gigabytes
    root = Path(values["info"]["root"])
    images = (
        item | {"path": str(root / item["file_name"]), "annotations": by_image.pop(item["id"], [])}
        for item in values["images"]
    )
    return {
        "images": Packed(images),
        "classes": [names[category_id] for category_id in category_ids],
        "category_ids": category_ids,
        "masks": values["info"]["masks"],
    }


def resized_shape(height: int, width: int, short_side: int, max_side: int) -> tuple[int, int]:
    """Return height and width for a short side of `short_side`, or less where the long one would exceed `max_side`.

    The result equals detectron2's `ResizeShortestEdge` to the pixel; its order of operations decides how a side rounds
    at .5. It is at least 1, where detectron2's can be 0 for the short side of a very long image.
    """
    scale = short_side / min(height, width)
    sides = (float(short_side), scale * width) if height < width else (scale * height, float(short_side))
    if max(sides) > max_side:
        scale = max_side / max(sides)
        sides = (sides[0] * scale, sides[1] * scale)
    return max(1, int(sides[0] + 0.5)), max(1, int(sides[1] + 0.5))


def half(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the low-resolution side of a pair; odd sizes are rounded up."""
    return (shape[0] + 1) // 2, (shape[1] + 1) // 2


def to_tensor(image: np.ndarray, pixel_format: str) -> torch.Tensor:
    """Convert (H, W, 3) uint8 RGB to (3, H, W) in the detector's channel order, a copy."""
    if pixel_format == "BGR":
        image = image[:, :, ::-1]
    return torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))
