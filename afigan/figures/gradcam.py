"""Grad-CAM of a pyramid's maps: the places of the features by which a detector finds objects (Fig. 7)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam
from detectron2.structures import Instances
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from afigan.data.images import read_rgb
from afigan.detectors import Detector
from afigan.evaluation.predict import sized_input
from afigan.figures.detections import annotated, detected, match
from afigan.figures.pictures import Objects, Panel, draw_heat_maps
from afigan.params.schema import Input

CANDIDATES = 25  # images that are searched for one with objects on every level


def grad_cam(
    detector: Detector, level: str, item: dict[str, Any], objective: Callable[[Instances], Tensor]
) -> np.ndarray:
    """Return Grad-CAM (Selvaraju et al., ICCV 2017) of one map of the pyramid for one image.

    A (C, H_l, W_l) is the level's map, and y = objective(detector's output). Grad-CAM is ReLU(sum_c w_c A_c), where
    w_c is the mean of dy/dA_c over the H_l x W_l positions. Because w_c is a mean over the complete map, Grad-CAM shows
    where the features are that raise y; y itself need not depend on each of these places. It is 0 everywhere if y does
    not depend on the map (an R-CNN pools an object from one level only), or if the sum is nowhere above 0. A step from
    the map to y that is not differentiable counts as constant: in the R-CNN family, the proposals.

    Args:
        detector: the detector in evaluation mode; its parameters may be frozen.
        level: name of an interpolated map, as in p3.
        item: detectron2's input for the image.
        objective: computes a number () from the detector's output.

    Returns:
        (h, w) float32, at the size of the input image `item["image"]`: interpolated bilinearly to the level's stride,
        without the margin that detectron2 pads images with.
    """

    def forward(image: Tensor) -> Tensor:
        return objective(detector([item | {"image": image}])[0]["instances"]).reshape(1)

    # with gradients from the image on, an output that does not depend on the map has gradient 0 and raises no error
    image = item["image"].float().requires_grad_()
    method = LayerGradCam(forward, detector.backbone.output_module(level))
    cam = method.attribute(image, relu_attributions=True, grad_kwargs={"materialize_grads": True}).detach()
    stride = detector.backbone.output_shape()[level].stride
    cam = F.interpolate(cam, scale_factor=float(stride), mode="bilinear", align_corners=False)
    return cam[0, 0, : image.shape[1], : image.shape[2]].float().cpu().numpy()


def found_score(instances: Instances, truth: Objects) -> Tensor:
    """Return the sum of the scores of the detections that `match` an object of the image, (); 0 if none does."""
    matches, _ = match(truth, detected(instances))
    return instances.scores[torch.from_numpy(matches[matches >= 0])].sum()


def share_inside(cam: np.ndarray, boxes: np.ndarray) -> float:
    """Return the share of a map's sum in the pixels whose centre is in one of the boxes (N, 4); 0 if all are zero."""
    y, x = np.mgrid[: cam.shape[0], : cam.shape[1]] + 0.5
    inside = np.zeros(cam.shape, dtype=bool)
    for x0, y0, x1, y1 in boxes:
        inside |= (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)
    return float(cam[inside].sum() / (cam.sum() or 1))


@dataclass(frozen=True)
class Explained:
    """One image with its Grad-CAMs.

    record: of the split. item: the detectors' input. cams: level -> title -> (h, w), as `grad_cam` returns it.
    """

    record: dict[str, Any]
    item: dict[str, Any]
    cams: dict[str, dict[str, np.ndarray]]

    @property
    def covers_all_levels(self) -> bool:
        """Return whether no map is 0 everywhere. A map is if no detected object is pooled from its level."""
        return all(cam.any() for cams in self.cams.values() for cam in cams.values())


def _explain(
    detectors: dict[str, Detector], record: dict[str, Any], levels: Sequence[str], inputs: Input, pixel_format: str
) -> Explained:
    item, truth = sized_input(record, inputs, pixel_format), annotated(record)

    def score(instances: Instances) -> Tensor:
        return found_score(instances, truth)

    cams = {
        level: {title: grad_cam(detector, level, item, score) for title, detector in detectors.items()}
        for level in levels
    }
    return Explained(record, item, cams)


def draw_gradcam_figure(
    detectors: dict[str, Detector],
    records: Sequence[dict[str, Any]],
    position: int,
    levels: Sequence[str],
    classes: Sequence[str],
    inputs: Input,
    pixel_format: str,
    out: Path,
) -> None:
    """Draw `grad_cam` as `out` (PNG): a row for each level, a column for each detector, all of one image.

    y is `found_score`, which depends on the same objects in every column, not on a ranking. Each map is divided
    by its own maximum, because gradients of different networks differ in scale. The title over a map gives the
    share of the map within the objects' boxes, to be compared with the share of the image that the boxes cover.

    Args:
        detectors: title -> detector in evaluation mode.
        records: the validation images of `read_split`.
        position: where the search begins; it continues at the first record after the last. Of the next 25 images with
            objects, the first without a map that is 0 everywhere is drawn. If there is none, the first is drawn.
        levels: names of maps, as in p3.
        classes: names by number.
        inputs: params.yaml's `input`.
        pixel_format: RGB or BGR.

    Raises:
        ValueError: `position` is beyond the records, or no image has an object.
    """
    if position >= len(records):
        raise ValueError(f"figures.image: {position}, but the validation set has {len(records)} images")
    candidates = [record for record in [*records[position:], *records[:position]] if len(annotated(record))]
    if not candidates:
        raise ValueError("no image of the validation set has an object: there is nothing to explain (figures.image)")
    explained = [_explain(detectors, candidates[0], levels, inputs, pixel_format)]
    for record in candidates[1:CANDIDATES]:
        if explained[-1].covers_all_levels:
            break
        explained.append(_explain(detectors, record, levels, inputs, pixel_format))
    chosen = explained[-1] if explained[-1].covers_all_levels else explained[0]

    record, truth, item = chosen.record, annotated(chosen.record), chosen.item
    height, width = item["image"].shape[1:]
    image = np.asarray(read_rgb(record["path"]).resize((width, height), Image.Resampling.BILINEAR))
    # found objects are in the record's pixels, the pictures in the detectors' input pixels
    scale = np.array([width / record["width"], height / record["height"]] * 2)
    shown = Objects(truth.boxes * scale, truth.classes)
    found = {}
    for title, detector in detectors.items():
        with torch.no_grad():
            matches, _ = match(truth, detected(detector([item])[0]["instances"]))
        found[title] = int((matches >= 0).sum())
    rows: dict[str, dict[str, np.ndarray]] = {}
    for level, cams in chosen.cams.items():
        rows[level] = maps = {}
        for title, cam in cams.items():
            share = f"{share_inside(cam, shown.boxes):.0%} inside" if cam.any() else "0 everywhere"
            maps[f"{title} (finds {found[title]} of {len(truth)}): {share}"] = cam / (cam.max() or 1)
    covered = share_inside(np.ones((height, width)), shown.boxes)
    panel = Panel(f"image {record['id']}: boxes cover {covered:.0%}", image, shown)
    title = (
        "Grad-CAM of the pyramid's maps: the places whose features raise the scores of the annotated objects' "
        "detections. The percentages: the share of the heat inside the annotated boxes."
    )
    draw_heat_maps(rows, panel, classes, out, title, "Grad-CAM, as a share of the map's maximum")
