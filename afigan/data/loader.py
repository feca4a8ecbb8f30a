"""Training batches: images, or high- and low-resolution pairs, with their annotations (Algorithm 1).

The choices at a position of the training sequence (image, size, flip) are a function of only the seed and the
position. A resumed run therefore continues with exactly the batches it would have seen.
"""

import signal
from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader, Dataset

from afigan.data.images import read_rgb
from afigan.data.pairs import PairReader
from afigan.data.split import half, resized_shape, to_tensor
from afigan.params.schema import Input, Schedule

# bytes of resized pixels that a data-loading process may keep, so that it decodes a small set only once
KEPT = 2**28
LINGER = 120  # seconds that a data-loading process continues after SIGTERM; its training ends earlier


class TrainingSet(Dataset):
    """The training sequence: item n is the image, or the pair, that a run sees at position n (any n ≥ 0).

    An item is detectron2's dict (`image` (3, H, W) uint8, `instances`, `height`, `width`, `image_id`). With
    pairs it has a second such dict under `low`: the low-resolution image at half the size, with the same flip and with
    scaled boxes and masks.

    Args:
        split: the value of `read_split`.
        inputs: params.yaml's `input`.
        pixel_format: RGB or BGR.
        seed: of the sequence.
        pairs: the low-resolution images.
        annotated: whether to leave out images without objects, because detection losses need objects.

    Raises:
        ValueError: no image is left.
    """

    def __init__(
        self,
        split: dict[str, Any],
        inputs: Input,
        pixel_format: str,
        seed: int,
        pairs: PairReader | None = None,
        annotated: bool = True,
    ) -> None:
        chosen, run_length = [], False
        for number, image in enumerate(split["images"]):
            objects = _objects(image)
            if objects or not annotated:
                chosen.append(number)
            run_length = run_length or any(isinstance(item.get("segmentation"), dict) for item in objects)
        if not chosen:
            raise ValueError("the training set has no image with an object: check data.train.annotations")
        self._images, self._chosen = split["images"], np.array(chosen)
        self.epoch = len(chosen)  # images
        self.inputs, self.pixel_format, self.seed, self.pairs = inputs, pixel_format, seed, pairs
        self.masks = split["masks"]
        self.mask_format = "bitmask" if run_length else "polygon"
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))
        # pixels by image, size and side of a pair; None: the set is too large to keep
        self._kept: dict[tuple[int, tuple[int, int], bool], np.ndarray] | None = {} if self._fits() else None

    def image(self, index: int) -> dict[str, Any]:
        """Return one of the `epoch` images, as in the split but without crowds."""
        image = self._images[self._chosen[index]]
        return image | {"annotations": _objects(image)}

    def image_index(self, position: int) -> int:
        """Return the index of the image at a position; each epoch has its own permutation."""
        epoch, offset = divmod(position, self.epoch)
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(self.epoch))
        return int(self._order[1][offset])

    def _fits(self) -> bool:
        """Return whether the complete set's pixels may be kept, at every size that is drawn."""
        inputs = self.inputs
        largest = sum(min(side * inputs.max_side, inputs.max_side**2) for side in inputs.short_sides)
        return 3 * self.epoch * largest * (1.25 if self.pairs else 1) <= KEPT

    def __getitem__(self, position: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, 1, position])
        index = self.image_index(position)
        record = self.image(index)
        short_side = int(rng.choice(self.inputs.short_sides))
        flip = bool(self.inputs.flip and rng.random() < 0.5)
        shape = resized_shape(record["height"], record["width"], short_side, self.inputs.max_side)
        item = self._view(record, self._pixels(index, record, shape, low=False), shape, flip)
        if self.pairs is not None:
            item["low"] = self._view(record, self._pixels(index, record, half(shape), low=True), half(shape), flip)
        return item

    def _pixels(self, index: int, record: dict[str, Any], shape: tuple[int, int], low: bool) -> np.ndarray:
        """Return the image, or the low-resolution side of its pair, at `shape`: (*shape, 3) uint8."""
        kept = None if self._kept is None else self._kept.get((index, shape, low))
        if kept is not None:
            return kept
        image = self.pairs.read(record["id"]) if low and self.pairs is not None else read_rgb(record["path"])
        if image.size != shape[::-1]:
            image = image.resize(shape[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        if self._kept is not None:
            self._kept[index, shape, low] = pixels
        return pixels

    def _view(self, record: dict[str, Any], pixels: np.ndarray, shape: tuple[int, int], flip: bool) -> dict[str, Any]:
        """Return one side's dict: pixels (*shape, 3), and annotations scaled from the original's size to `shape`."""
        resize = T.ResizeTransform(record["height"], record["width"], *shape, Image.Resampling.BILINEAR)
        transforms = T.TransformList([resize, T.HFlipTransform(shape[1])] if flip else [resize])
        annotations = []
        for source in record["annotations"]:
            # as floats: detectron2 transforms coordinates in place, and would truncate JSON's integers
            annotation = {
                "bbox": [float(value) for value in source["bbox"]],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": source["category_id"],
            }
            if self.masks:
                annotation["segmentation"] = _segmentation(source["segmentation"], record)
            annotation = utils.transform_instance_annotations(annotation, transforms, shape)
            if isinstance(annotation.get("segmentation"), np.ndarray):  # a view of Pillow's memory, which is read-only
                annotation["segmentation"] = np.require(annotation["segmentation"], requirements="W")
            annotations.append(annotation)
        instances = utils.annotations_to_instances(annotations, shape, self.mask_format)
        return {
            "image": to_tensor(pixels[:, ::-1] if flip else pixels, self.pixel_format),
            "instances": utils.filter_empty_instances(instances),
            "image_id": record["id"],
            "height": record["height"],
            "width": record["width"],
        }


def _objects(image: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in image["annotations"] if not item["iscrowd"]]


def _segmentation(segmentation: Any, record: dict[str, Any]) -> Any:
    """Convert COCO's integers and lists of counts to detectron2's form: polygons of floats, compressed run lengths."""
    if isinstance(segmentation, list):
        return [np.asarray(polygon, dtype=np.float64) for polygon in segmentation]
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, record["height"], record["width"])
    return segmentation


def batches(
    dataset: Dataset,
    schedule: Schedule,
    first: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    pinned: bool = False,
) -> Generator[list[dict]]:
    """Yield the batches of a schedule from iteration `first`, counted from 0, to its end.

    If there are several processes, rank r takes every `world_size`-th item of each batch from the r-th on. Together
    they see the same batches for any number of processes. `pinned` images can be copied to a GPU without a wait.
    """
    size = schedule.batch_size
    loader = DataLoader(
        dataset,
        # torch takes any iterables of positions; its type asks for lists, which need more memory
        batch_sampler=[range(i * size, (i + 1) * size)[rank::world_size] for i in range(first, schedule.iterations)],  # type: ignore[misc]
        num_workers=schedule.workers,
        pin_memory=pinned and schedule.workers > 0,  # by a thread; without processes it would take longer than the wait
        collate_fn=list,
        worker_init_fn=_outlast_sigterm,
        generator=torch.Generator(),  # its own: the training's random numbers must not depend on how often we resume
    )
    workers = iter(loader)
    try:
        yield from workers
    finally:
        del workers  # ends them


def _outlast_sigterm(worker: int) -> None:
    """Survive SIGTERM, which a scheduler may send to all of a job: the current iteration still needs its data."""
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(LINGER))
