"""Measure the time that classes, AR and kinds of errors add to an evaluation: `python benchmarks/evaluation.py`.

Objects and detections are drawn at random: 80 classes, 7.3 objects and 100 detections an image. Of the detections 60 %
are near an object, and 70 % of those have its class. The time of the detector, of which an evaluation mostly consists,
is not counted.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from afigan.evaluation.coco import coco_metrics, detailed_metrics  # noqa: E402
from afigan.evaluation.errors import error_kinds  # noqa: E402
from afigan.evaluation.matches import evaluated, matches_of, write_matches  # noqa: E402

WIDTH, HEIGHT, CLASSES = 640, 480, 80


def shape(box: np.ndarray, masks: bool) -> dict[str, Any]:
    """Return a box, with an ellipse of 30 corners as its mask if there are masks."""
    x, y, width, height = (float(v) for v in box)
    found: dict[str, Any] = {"bbox": [x, y, width, height], "area": width * height}
    if masks:
        turn = np.linspace(0, 2 * np.pi, 30)
        corners = np.stack([x + width / 2 * (1 + np.cos(turn)), y + height / 2 * (1 + np.sin(turn))], axis=1)
        encoded = coco_mask.merge(coco_mask.frPyObjects([corners.ravel().tolist()], HEIGHT, WIDTH))
        found["segmentation"] = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    return found


def draw(path: Path, images: int, detections: int, masks: bool) -> list[dict[str, Any]]:
    """Write annotations to `path`; return results on them."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        count = rng.poisson(7.3)
        sides = np.minimum(np.exp(rng.uniform(np.log(10), np.log(300), (count, 2))), (WIDTH - 1, HEIGHT - 1))
        boxes = np.concatenate([rng.uniform(0, 1, (count, 2)) * ((WIDTH, HEIGHT) - sides), sides], axis=1)
        classes = rng.integers(1, CLASSES + 1, count).tolist()
        for box, category in zip(boxes, classes, strict=True):
            about = {"id": len(annotations) + 1, "image_id": image, "category_id": category}
            annotations.append(about | {"iscrowd": int(rng.random() < 0.01)} | shape(box, masks))
        for _ in range(detections):
            box, category = np.array([*rng.uniform(0, 400, 2), *rng.uniform(5, 200, 2)]), int(rng.integers(1, 81))
            if count and rng.random() < 0.6:
                near = rng.integers(count)
                box = boxes[near] + rng.normal(0, 0.15, 4) * np.tile(boxes[near, 2:], 2)
                category = classes[near] if rng.random() < 0.7 else category
            box = np.maximum(box, (0, 0, 2, 2))
            about = {"image_id": image, "category_id": category, "score": float(rng.random())}
            results.append(about | shape(box, masks))
    entries = [{"id": i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in range(1, images + 1)]
    categories = [{"id": k, "name": f"class {k}"} for k in range(1, CLASSES + 1)]
    path.write_text(json.dumps({"images": entries, "annotations": annotations, "categories": categories}))
    return results


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Return a function's result and the seconds of processor time that it took."""
    begin = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--masks", action="store_true")
    arguments = parser.parse_args()
    kind = "segm" if arguments.masks else "bbox"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "val.json"
        results = draw(path, arguments.images, arguments.detections, arguments.masks)
        evaluation, matching = timed(evaluated, path, results, kind)
        matches, collecting = timed(matches_of, evaluation)
        _, writing = timed(write_matches, path.with_suffix(".npz"), {"box": matches})
        _, averaging = timed(coco_metrics, path, results, kind)
        _, detailing = timed(detailed_metrics, path, results, kind)
        errors, counting = timed(error_kinds, evaluation)
    before, after = (matching + collecting + writing + seconds for seconds in (averaging, detailing + counting))
    found = ", ".join(f"{error['count']} {name}" for name, error in errors.items())
    print(f"{len(results)} detections; errors: {found}")
    print(f"matches and AP {before:.1f} s; with classes, AR and errors {after:.1f} s: {after / before - 1:+.1%}")


if __name__ == "__main__":
    main()
