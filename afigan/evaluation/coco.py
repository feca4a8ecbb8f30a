"""COCO metrics of a detector on the validation set (section 5)."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from tqdm import tqdm

from afigan.data.images import read_rgb
from afigan.data.loader import read_split, resized_shape, to_tensor
from afigan.detectors.build import set_test_limits
from afigan.files import write_json
from afigan.lineage import fingerprint
from afigan.schema import Evaluate, Input, Params
from afigan.training.models import check_trained, load_config, load_detector
from afigan.training.stage import PREPARED, choose_device, seed_everything

METRICS = Path("results/metrics")
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def test_input(image: dict[str, Any], inputs: Input, pixel_format: str) -> dict[str, Any]:
    """detectron2's input for one validation image: resized to the test size."""
    shape = resized_shape(image["height"], image["width"], inputs.test_short_side, inputs.max_side)
    pixels = np.asarray(read_rgb(image["path"]).resize(shape[::-1], Image.Resampling.BILINEAR))
    size = {"height": image["height"], "width": image["width"]}
    return {"image": to_tensor(pixels, pixel_format), "image_id": image["id"], **size}


def predict(
    detector: nn.Module, split: dict[str, Any], inputs: Input, pixel_format: str, settings: Evaluate
) -> list[dict]:
    """COCO results (`image_id`, `category_id`, `bbox`, `score`, and `segmentation` with masks) on a split's images."""
    set_test_limits(detector, settings.score_threshold, settings.detections)
    results = []
    images = split["images"]
    with torch.no_grad():
        for first in tqdm(range(0, len(images), settings.batch_size), desc="evaluate", disable=None, leave=False):
            batch = [test_input(i, inputs, pixel_format) for i in images[first : first + settings.batch_size]]
            for item, output in zip(batch, detector(batch), strict=True):
                for result in instances_to_coco_json(output["instances"].to("cpu"), item["image_id"]):
                    results.append(result | {"category_id": split["category_ids"][result["category_id"]]})
    return results


def coco_metrics(annotations: str | Path, results: list[dict], kind: str) -> dict[str, float | None]:
    """AP, AP50, AP75, APs, APm, APl in percent, by pycocotools; None where the split has no such object.

    Args:
        annotations: a COCO annotation file.
        results: COCO results.
        kind: `bbox` or `segm`.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        # without their boxes, mask results are measured by the areas of masks, as the challenge server does
        own = [{k: v for k, v in r.items() if k != "bbox" or kind == "bbox"} for r in results]
        if own:
            detections = truth.loadRes(own)
        else:  # which loadRes does not take
            detections = COCO()
            detections.dataset = truth.dataset | {"annotations": []}
            detections.createIndex()
        evaluation = COCOeval(truth, detections, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {n: None if v < 0 else float(100 * v) for n, v in zip(NAMES, evaluation.stats, strict=False)}


def evaluate(params: Params, key: str) -> None:
    """Evaluate experiment `key` and write `results/metrics/KEY.json`.

    Raises:
        ValueError: the model or the data are missing or do not fit.
    """
    seed_everything(params)
    device = choose_device(params)
    node = params.experiments.evaluations[key].model
    check_trained(params, node)
    detector, config = load_detector(node, device), load_config(node)
    split = read_split(PREPARED / "val.json")
    if split["classes"] != config["classes"]:
        raise ValueError(f"models/{node} knows the classes {config['classes']}, the data set has {split['classes']}")
    results = predict(detector, split, params.input, params.model.pixel_format, params.evaluate)
    masks = params.model.head == "mask_rcnn"
    summary = json.loads((PREPARED / "summary.json").read_text("utf-8"))
    write_json(
        METRICS / f"{key}.json",
        {
            "key": key,
            "model": node,
            "params_hash": fingerprint(params, f"evaluations/{key}"),
            "data": {
                "source": params.data.source,
                "train_images": summary["train"]["images"],
                "val_images": summary["val"]["images"],
            },
            "schedule": config["schedule"],
            "params_M": sum(p.numel() for p in detector.parameters()) / 1e6,
            "box": coco_metrics(PREPARED / "val.json", results, "bbox"),
            "mask": coco_metrics(PREPARED / "val.json", results, "segm") if masks else None,
        },
    )
