"""A trained detector for one's own images, from its folder alone: no params.yaml, no data set."""

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from PIL import Image
from torch import nn

from afigan.data.images import read_rgb
from afigan.detectors import load
from afigan.detectors.build import Detector, set_test_limits
from afigan.detectors.metadata import Metadata, read_metadata
from afigan.evaluation.predict import resized_input
from afigan.outputs.find import find_model
from afigan.outputs.models import load_config
from afigan.params.schema import Evaluate
from afigan.runtime.device import choose_device

Picture: TypeAlias = str | Path | Image.Image | np.ndarray
LEAST = Evaluate().score_threshold  # a lower one is used only if it is asked for


def load_detector(path: str | Path, device: str = "auto", short_side: int | None = None) -> Detector:
    """Load a trained detector, frozen and in evaluation mode.

    Args:
        path: its folder, wherever it is, or a name in `models/`, as in `detectors/a5`. An extractor's M is a detector
            too.
        device: auto, cpu or cuda.
        short_side: of the images that it sees, in pixels; None: as in its training run.

    Returns:
        A detectron2 model; its attribute `metadata` is a `Metadata`, which `predict` needs.

    Raises:
        ValueError: there is no such model, it is damaged or no detector, or there is no GPU.
    """
    folder = str(find_model(path))
    metadata = read_metadata(load_config(folder), folder)
    if short_side is not None:
        if short_side < 1:
            raise ValueError(f"short_side: {short_side} is no number of pixels")
        longest = round(metadata.max_side * short_side / metadata.short_side)
        metadata = replace(metadata, short_side=short_side, max_side=max(longest, short_side))
    detector = load.load_detector(folder, choose_device(device))
    detector.metadata = metadata
    return detector


def predict(model: nn.Module, image: Picture, score: float = 0.5) -> Instances:
    """Detect the objects of one image.

    Args:
        model: from `load_detector`.
        image: a file's path, a PIL image, or an array (H, W, 3) of uint8, RGB.
        score: the least score of a detection, from 0 to 1.

    Returns:
        detectron2's Instances on the CPU, of falling score, in pixels of the image: `pred_boxes`, `scores`,
        `pred_classes` (numbers in `model.metadata.classes`); with masks `pred_masks`, (N, H, W) bool.

    Raises:
        ValueError: the model is not from `load_detector`, or the array is no RGB image.
        OSError: the file is no image.
    """
    metadata = metadata_of(model)
    set_test_limits(model, min(score, LEAST), Evaluate().detections)
    item = resized_input(as_rgb(image), metadata.short_side, metadata.max_side, metadata.pixel_format)
    with torch.no_grad():
        if isinstance(model, GeneralizedRCNN):
            # masks of the image's size, for the objects that stay: those of all take gigabytes for a large photograph
            (small,) = model.inference([item], do_postprocess=False)
            found = detector_postprocess(small[small.scores >= score], item["height"], item["width"])
        else:
            found = model([item])[0]["instances"]
    found = found.to("cpu")
    found = found[found.scores >= score]
    return found[torch.argsort(found.scores, descending=True, stable=True)]


def metadata_of(model: nn.Module) -> Metadata:
    """Return the metadata that `load_detector` has attached.

    Raises:
        ValueError: the model has none.
    """
    metadata = getattr(model, "metadata", None)
    if not isinstance(metadata, Metadata):
        raise ValueError("this model does not know its classes and image size: load it with afigan.load_detector")
    return metadata


def as_rgb(image: Picture) -> Image.Image:
    """Return an image as an RGB image of Pillow.

    Raises:
        ValueError: an array has another shape or type.
    """
    if isinstance(image, str | Path):
        return read_rgb(image)
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"an image is an array (H, W, 3) of uint8, not {image.shape} of {image.dtype}")
    return Image.fromarray(np.ascontiguousarray(image))
