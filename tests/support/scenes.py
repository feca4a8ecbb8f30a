"""Random annotations and detections for COCO's evaluation: crowds, every size, an id 0, images without objects."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

SIDE = 240
CATEGORIES = (3, 7, 40, 41, 90)  # ids with gaps; 41 has no object, 90 no detection


def write_scene(path: Path, seed: int, images: int = 8) -> list[dict[str, Any]]:
    """Write a COCO annotation file; return results on it, no two of the same score, of box or mask."""
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(1000, images, replace=False)).tolist()
    annotations, results = [], []
    for image in ids[: images - 1]:  # the last one has no object
        for _ in range(rng.integers(1, 6)):
            category = int(rng.choice([c for c in CATEGORIES if c != 41]))
            side = rng.choice([14, 25, 50, 80, 110, 150]) * rng.uniform(0.8, 1.2, 2)
            box = [*rng.uniform(0, SIDE - side), *side]
            crowd = int(rng.random() < 0.15)
            annotation = {"image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
            annotations.append(annotation | {"area": float(np.prod(side)), "segmentation": rle(box)})
            for _ in range(rng.integers(0, 4) * (category != 90)):
                moved = np.array(box) + rng.normal(0, 0.08, 4) * np.tile(side, 2)
                x, y, width, height = np.clip(moved, 0, SIDE - 2)
                shape = [x, y, *np.clip([width, height], 3, [SIDE - x, SIDE - y])]
                of = category if rng.random() < 0.9 else int(rng.choice(CATEGORIES[:4]))
                results.append({"image_id": image, "category_id": of, "bbox": [float(v) for v in shape]})
    for _ in range(images):  # on nothing, on the empty image too
        x, y, width, height = rng.uniform(3, SIDE / 2, 4)
        of = {"image_id": int(rng.choice(ids)), "category_id": int(rng.choice(CATEGORIES[:4]))}
        results.append(of | {"bbox": [x, y, width, height]})
    scores = rng.permutation(len(results)) / len(results)
    for result, score in zip(results, scores.tolist(), strict=True):
        x, y, width, height = result["bbox"]
        # a mask is not its box: another size, another overlap
        result |= {"score": score, "segmentation": rle([x, y, width * rng.uniform(0.7, 1), height])}
    order = rng.permutation(len(annotations)).tolist()
    for number, annotation in enumerate(annotations):
        annotation["id"] = order[number]  # one of them 0
    values = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE} for i in ids],
        "annotations": annotations,
        "categories": [{"id": c, "name": str(c)} for c in CATEGORIES],
    }
    path.write_text(json.dumps(values))
    return results


def rle(box: list[float]) -> dict[str, Any]:
    """Return a rectangle as a run-length encoded mask."""
    x, y, width, height = box
    corners = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    encoded = coco_mask.merge(coco_mask.frPyObjects(corners, SIDE, SIDE))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}
