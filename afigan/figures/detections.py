"""Detections of two detectors in the same images; a rule chooses the images, not a person (Fig. 5 and 8)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances
from torch import nn
from torchvision.ops import box_iou

from afigan.data.images import read_rgb
from afigan.data.prepare.segmentations import mask_pixels
from afigan.evaluation.predict import sized_input
from afigan.figures.pictures import Objects, Panel, draw_detections
from afigan.params.schema import Input

IOU = 0.5  # least overlap of a detection with its object
SHOWN = 5  # images: the quantiles 100, 75, 50, 25 and 0 %


@dataclass(frozen=True)
class Choice:
    """A chosen image: its position, its rank among `of` images from 1, and each detector's number of found objects."""

    position: int
    rank: int
    of: int
    objects: int
    found: tuple[int, int]


@dataclass(frozen=True)
class Shown:
    """A chosen image: its id, and panels with the detections of the first, of the second, and the annotated objects."""

    image: int
    choice: Choice
    panels: tuple[Panel, Panel, Panel]


def annotated(record: dict[str, Any]) -> Objects:
    """Return the objects of an image of `read_split` without crowds, with masks if all have a segmentation."""
    annotations = [item for item in record["annotations"] if not item["iscrowd"]]
    boxes = np.array([item["bbox"] for item in annotations], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = None
    if annotations and all(item.get("segmentation") for item in annotations):
        size = record["height"], record["width"]
        masks = np.stack([mask_pixels(item["segmentation"], *size) for item in annotations])
    return Objects(boxes, np.array([item["category_id"] for item in annotations], dtype=np.int64), masks=masks)


def detected(instances: Instances) -> Objects:
    """Convert detectron2's output for one image, in the same order of detections."""
    instances = instances.to("cpu")
    masks = instances.pred_masks.numpy().astype(bool) if instances.has("pred_masks") else None
    boxes = instances.pred_boxes.tensor.detach().numpy().astype(np.float64)
    return Objects(boxes, instances.pred_classes.numpy(), instances.scores.detach().numpy(), masks)


def match(truth: Objects, found: Objects) -> tuple[np.ndarray, np.ndarray]:
    """Match detections to objects as COCO's evaluation does.

    Detections are taken by falling score. Each gets the object of its class that overlaps it most and that no detection
    has yet, if the intersection over union of the two boxes is `IOU` or more.

    Returns:
        For each of the G objects the number of its detection, or -1; and their intersection over union, or 0.
    """
    assert found.scores is not None
    overlaps = box_iou(*(torch.from_numpy(o.boxes) for o in (found, truth))).numpy()  # (D, G)
    overlaps[found.classes[:, None] != truth.classes] = 0
    matches, fits = np.full(len(truth), -1), np.zeros(len(truth))
    for number in np.argsort(-found.scores, kind="stable") if len(truth) else ():
        free = np.where(matches < 0, overlaps[number], 0)
        best = free.argmax()
        if free[best] >= IOU:
            matches[best], fits[best] = number, free[best]
    return matches, fits


def choose_images(
    ids: Sequence[int], truths: Sequence[Objects], first: Sequence[Objects], second: Sequence[Objects]
) -> list[Choice]:
    """Choose images by the objects that the second detector finds and the first does not.

    The rule: images with objects are sorted by recall of the second minus recall of the first, the greatest gain first.
    Recall is the share of an image's objects that `match` a detection. Ties are broken by the same difference of the
    mean intersection over union of the matches (0 for an object not found), then by the lower image id. The chosen
    images are at the quantiles 100 (most gained), 75, 50, 25 and 0 % (most lost) of this order, at rounded positions;
    all images are chosen if they are fewer than 5.

    Args:
        ids: ids of the candidate images; the other arguments are in this order.
        truths: the images' objects.
        first, second: the detections of the two detectors.

    Raises:
        ValueError: no image has an object.
    """
    ranking = []
    for position, (image, truth, *both) in enumerate(zip(ids, truths, first, second, strict=True)):
        if not len(truth):
            continue
        matched = [match(truth, found) for found in both]
        found = tuple(int((matches >= 0).sum()) for matches, _ in matched)
        before, after = (float(fits.mean()) for _, fits in matched)
        # from counts: equal differences of counts have equal quotients; differences of quotients may round differently
        gain = (found[1] - found[0]) / len(truth)
        ranking.append(((-gain, before - after, image), position, len(truth), found))
    if not ranking:
        raise ValueError(f"none of the {len(ids)} candidate images has an object: raise figures.candidates")
    ranking.sort()
    places = np.linspace(0, len(ranking) - 1, min(SHOWN, len(ranking))).round().astype(int)
    return [
        Choice(position, place + 1, len(ranking), objects, found)
        for place in places.tolist()
        for _, position, objects, found in [ranking[place]]
    ]


def draw_detection_figure(
    detectors: dict[str, nn.Module],
    records: Sequence[dict[str, Any]],
    classes: Sequence[str],
    inputs: Input,
    pixel_format: str,
    out: Path,
    *,
    candidates: int = 50,
    score_threshold: float = 0.5,
) -> tuple[list[Shown], str]:
    """Draw the detections of two detectors beside the annotations as `out` (PNG), on images chosen by `choose_images`.

    Args:
        detectors: title -> detector in evaluation mode; the second is compared with the first.
        records: the validation images of `read_split`; the rule chooses among the first `candidates`.
        classes: names by number.
        inputs: params.yaml's `input`.
        pixel_format: RGB or BGR.
        score_threshold: detections above it count and are drawn.

    Returns:
        The chosen images in the order of the rows, and the title, which states the rule.

    Raises:
        ValueError: no candidate has an object.
    """
    (before, _), (after, _) = detectors.items()

    def detections(detector: nn.Module, record: dict[str, Any]) -> Objects:
        with torch.no_grad():
            instances = detector([sized_input(record, inputs, pixel_format)])[0]["instances"]
        return detected(instances[instances.scores > score_threshold])

    records = records[:candidates]
    truths = [annotated(record) for record in records]
    # the masks of all candidates would be gigabytes: masks of the chosen images are computed again
    both = [[replace(detections(d, record), masks=None) for record in records] for d in detectors.values()]
    shown = []
    for choice in choose_images([record["id"] for record in records], truths, *both):
        record, truth = records[choice.position], truths[choice.position]
        image = np.asarray(read_rgb(record["path"]))
        first, second = (
            Panel(f"{title}: finds {found} of {choice.objects}", image, detections(detector, record))
            for (title, detector), found in zip(detectors.items(), choice.found, strict=True)
        )
        third = Panel(f"annotated: {choice.objects}", image, truth)
        shown.append(Shown(record["id"], choice, (first, second, third)))
    rows = {f"image {one.image}\nrank {one.choice.rank} of {one.choice.of}": one.panels for one in shown}
    title = (
        f"{before} and {after}: detections with a score above {score_threshold:g}. Of the first {len(records)} "
        f"validation images, those with objects are ranked by the gain in recall at IoU {IOU:g}, {after} minus "
        f"{before}, the greatest first; the quantiles 100, 75, 50, 25 and 0\u00a0% are shown."
    )
    draw_detections(rows, classes, out, title)
    return shown, title
