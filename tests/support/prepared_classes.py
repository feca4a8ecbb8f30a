"""data/prepared/summary.json of a data set that nobody has prepared, for tests of what reads it."""

from collections.abc import Iterable
from typing import Any


def finding(classes: Iterable[str], images: int = 7, objects: int = 40) -> dict[str, Any]:
    """Return the findings on a split whose classes have `objects` objects each, all of them medium, with masks."""
    counts = dict.fromkeys(classes, objects)
    return {
        "images": images,
        "annotations": sum(counts.values()),
        "categories": counts,
        "sizes": {"small": 0, "medium": sum(counts.values()), "large": 0},
        "crowds": 0,
        "images_without_objects": 0,
        "bytes": 1000,
        "flat_objects_left_out": 0,
        "masks": True,
        "objects": sum(counts.values()),
        "objects_per_class": counts,
        "images_with_objects": images,
        "image_sizes": {"smallest": [64, 48], "median": [64.0, 48.0], "largest": [64, 48]},
        "boxes_off_masks": {"count": 0, "pixels": 0.0, "examples": []},
        "repairs": {},
    }


def summary(classes: Iterable[str], images: int = 7, objects: int = 40) -> dict[str, dict[str, Any]]:
    """Return the summary of a data set with these findings on train and val, and nothing else."""
    classes = list(classes)
    return {
        "train": finding(classes, images, objects) | {"only_supercategories": []},
        "val": finding(classes, images, objects) | {"shared_with_train": {"count": 0, "examples": []}},
    }
