"""The part of a detector's config that its weights do not tell: classes, and the images that it expects."""

import logging
from dataclasses import dataclass
from typing import Any

from afigan.detectors.build import Architecture
from afigan.params.schema import Params

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metadata:
    """The meaning of a detector's inputs and outputs.

    node: the experiment that trained it. classes: names by number. category_ids: of COCO results, by number.
    pixel_format: RGB or BGR. short_side, max_side: of an image that it sees, in pixels.
    """

    node: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    pixel_format: str
    short_side: int
    max_side: int


def about_detector(
    params: Params, architecture: Architecture, split: dict[str, Any], schedule: dict[str, Any]
) -> dict[str, Any]:
    """Return the config of M or T, so that whoever has only its folder can build it and show it images.

    Args:
        split: the result of `read_split` for the training set.
        schedule: of the training: its stage, iterations and batch size
    """
    return {
        "architecture": architecture.as_dict(),
        "classes": split["classes"],
        "category_ids": split["category_ids"],
        "input": params.input.model_dump(include={"test_short_side", "max_side"}),
        "schedule": schedule,
    }


def read_metadata(config: dict[str, Any], source: str) -> Metadata:
    """Read the metadata from the config of a detector, also of one that was written before it had all of them.

    Args:
        source: the folder, for messages.

    Raises:
        ValueError: it is not the config of a detector.
    """
    try:
        architecture, classes = Architecture.from_dict(config["architecture"]), tuple(config["classes"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"a detector of this version of the project ({error!r})" if "architecture" in config else "a detector"
        raise ValueError(f"{source} is not {what}: choose one of detectors, students or extractors") from None
    sizes = config.get("input")
    if sizes is None:
        # the ratio of every profile that had been run by then
        side = round(16 * architecture.model.anchor_sizes[0])
        sizes = {"test_short_side": side, "max_side": 2 * side}
        log.warning("%s does not say how large its images are: they get a short side of %d pixels", source, side)
    return Metadata(
        node=str(config.get("node", source)),
        classes=classes,
        category_ids=tuple(config.get("category_ids") or range(1, len(classes) + 1)),
        pixel_format=architecture.backbone.pixel_format,
        short_side=sizes["test_short_side"],
        max_side=sizes["max_side"],
    )
