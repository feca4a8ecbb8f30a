"""Detections of a trained detector in images: COCO results, at one scale or at several (section 5)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.structures import Instances
from PIL import Image
from torch import nn
from tqdm import tqdm

from afigan.data.images import read_rgb
from afigan.data.split import read_split, resized_shape, to_tensor
from afigan.detectors.architecture import Architecture
from afigan.detectors.build import detectron2_config, set_test_limits
from afigan.detectors.load import load_architecture, load_detector
from afigan.outputs.currency import check_current
from afigan.outputs.models import load_config
from afigan.outputs.paths import MODELS
from afigan.outputs.provenance import sums
from afigan.params.lineage import Lineage
from afigan.params.schema import Evaluate, Input, Params
from afigan.runtime.device import choose_device, seed_everything


class Predictor:
    """The detector of `models/NODE`, for evaluations, submissions, pseudo-labels and times.

    Args:
        params: the current parameters.
        node: the model's node.
        multi_scale: whether the detector sees every image at the sizes of `evaluate.multi_scale`.
        score_threshold: the least score of a detection; None: `evaluate.score_threshold`.

    Attributes:
        inputs: the hashes of the files read so far, without images.

    Raises:
        ValueError: the model is missing or was trained with other parameters.
    """

    def __init__(
        self, params: Params, node: str, multi_scale: bool = False, score_threshold: float | None = None
    ) -> None:
        seed_everything(params.seed, params.threads, params.deterministic)
        check_current(Lineage(params)[node])
        self.params, self.node, self.multi_scale = params, node, multi_scale
        self.architecture, self.classes = load_architecture(node), load_config(node)["classes"]
        detector = load_detector(node, choose_device(params.device))
        self.inputs = sums([MODELS / node / "model.safetensors"])
        least = params.evaluate.score_threshold if score_threshold is None else score_threshold
        set_test_limits(detector, least, params.evaluate.detections)
        self.parameters = sum(p.numel() for p in detector.parameters())
        self.detector = multi_scale_detector(detector, self.architecture, params.evaluate) if multi_scale else detector

    def read(self, image: dict[str, Any]) -> dict[str, Any]:
        """Return the detector's input for one image of a split."""
        pixel_format = self.architecture.backbone.pixel_format
        if self.multi_scale:
            return whole_input(image, pixel_format)
        return sized_input(image, self.params.input, pixel_format)

    def results(self, path: Path) -> list[dict]:
        """Return COCO results on the images of a prepared split; see `predict`.

        Raises:
            ValueError: the data set has other classes than the detector.
        """
        split = read_split(path)
        self.inputs |= sums([path])
        if split["classes"] != self.classes:
            raise ValueError(
                f"models/{self.node} was trained on the classes {self.classes}, but the data set has {split['classes']}"
            )
        return predict(self.detector, split, self.read, self.params.evaluate.batch_size)


def sized_input(image: dict[str, Any], inputs: Input, pixel_format: str) -> dict[str, Any]:
    """Return detectron2's input for one image, resized to the test size."""
    sized = resized_input(read_rgb(image["path"]), inputs.test_short_side, inputs.max_side, pixel_format)
    return sized | {"image_id": image["id"]}


def resized_input(image: Image.Image, short_side: int, max_side: int, pixel_format: str) -> dict[str, Any]:
    """Return detectron2's input for an RGB image, resized; its detections will be in the pixels of `image`."""
    shape = resized_shape(image.height, image.width, short_side, max_side)
    pixels = np.asarray(image.resize(shape[::-1], Image.Resampling.BILINEAR))
    return {"image": to_tensor(pixels, pixel_format), "height": image.height, "width": image.width}


def whole_input(image: dict[str, Any], pixel_format: str) -> dict[str, Any]:
    """Return detectron2's input for one image at its own size."""
    size = {"height": image["height"], "width": image["width"]}
    return {"image": to_tensor(np.asarray(read_rgb(image["path"])), pixel_format), "image_id": image["id"], **size}


def multi_scale_detector(detector: nn.Module, architecture: Architecture, settings: Evaluate) -> nn.Module:
    """Wrap an R-CNN detector in detectron2's test-time augmentation, at the sizes of `evaluate.multi_scale`.

    Boxes of all views go through one NMS; masks are the mean over the views.
    """
    assert settings.multi_scale is not None
    cfg = detectron2_config(architecture)
    cfg.TEST.DETECTIONS_PER_IMAGE = settings.detections
    cfg.TEST.AUG.ENABLED = True
    cfg.TEST.AUG.MIN_SIZES = list(settings.multi_scale.short_sides)
    cfg.TEST.AUG.MAX_SIZE = settings.multi_scale.max_side
    cfg.TEST.AUG.FLIP = settings.multi_scale.flip
    return GeneralizedRCNNWithTTA(cfg, detector, batch_size=settings.batch_size)


def predict(
    detector: nn.Module, split: dict[str, Any], read: Callable[[dict[str, Any]], dict[str, Any]], batch_size: int
) -> list[dict]:
    """Return COCO results on a split's images.

    Args:
        detector: a detectron2 model in evaluation mode.
        split: the result of `read_split`.
        read: returns the detector's input for an image of the split.
        batch_size: images in a batch.

    Returns:
        `image_id`, `category_id`, `bbox`, `score`; with masks `segmentation`, and `mask_score` where masks have a
        score of their own.
    """
    results = []
    images = split["images"]
    with torch.no_grad():
        for first in tqdm(range(0, len(images), batch_size), desc="evaluate", disable=None, leave=False):
            batch = [read(image) for image in images[first : first + batch_size]]
            for item, output in zip(batch, detector(batch), strict=True):
                results += coco_results(output["instances"], item["image_id"], split["category_ids"])
    return results


def coco_results(instances: Instances, image_id: int, category_ids: Sequence[int]) -> list[dict]:
    """Return the COCO results of one image; `category_ids` are those of the classes, by number."""
    instances = instances.to("cpu")
    found = instances_to_coco_json(instances, image_id)
    if instances.has("mask_scores"):
        for result, score in zip(found, instances.mask_scores.tolist(), strict=True):
            result["mask_score"] = score
    return [result | {"category_id": category_ids[result["category_id"]]} for result in found]
