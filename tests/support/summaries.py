"""Values of data/prepared/summary.json, for tests that have no data set."""

from typing import Any


def findings(counts: dict[str, int], images: int = 5, **fields: Any) -> dict[str, Any]:
    """Return the findings on a split with these objects of each class and without anything to warn of."""
    objects = sum(counts.values())
    return {
        "images": images,
        "annotations": objects,
        "categories": counts,
        "sizes": {"small": max(1, objects - 2), "medium": 1, "large": 1},
        "crowds": 0,
        "images_without_objects": 0,
        "bytes": 1000 * images,
        "flat_objects_left_out": 0,
        "masks": True,
        "objects": objects,
        "objects_per_class": counts,
        "images_with_objects": images,
        "image_sizes": {"smallest": [3, 4], "median": [3.0, 4.5], "largest": [3, 5]},
        "boxes_off_masks": {"count": 0, "pixels": 0.0, "examples": []},
        "repairs": {},
        "only_supercategories": [],
        "shared_with_train": {"count": 0, "examples": []},
        "shared_with_unlabeled": {"count": 0, "examples": []},
    } | fields


def summary(images: int, counts: dict[str, int]) -> dict[str, Any]:
    """Return a summary of a training and a validation set."""
    return {"train": findings(counts, images), "val": findings(counts, images)}
