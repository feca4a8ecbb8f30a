"""Files that the stage `figures` writes for the page of results: detections that can be laid over one another, losses.

They are in one folder, which is one output of the stage. The page shows boxes and outlines as vectors over a picture.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from afigan.outputs.paths import PAGE
from afigan.runtime.files import read_json

IMAGES, LOSSES = "images.json", "losses.json"  # files in it; the others are the pictures that IMAGES names
REMEDY = "run the stage `figures` again"


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Value = TypeVar("Value", bound=_Value)


class Item(_Value):
    """An object or a detection in a picture.

    box: x0, y0, x1, y1 in pixels of the picture. colour: of its class, as in #1f77b4. score: None for an annotation.
    outline: of its mask, as the data of an SVG path in the same pixels; empty without a mask.
    """

    name: str
    colour: str
    box: tuple[float, float, float, float]
    score: float | None = None
    outline: str = ""


class Detections(_Value):
    """The detections of one detector in one image; `found` of the annotated objects match one.

    picture: the name of a file, the image with the detected masks.
    """

    title: str
    picture: str
    found: int
    items: tuple[Item, ...]


class Compared(_Value):
    """An image with the detections of two detectors, and its annotated objects.

    width, height: of its pictures, in pixels.
    rank: among `of` images, by the gain of the second detector over the first.
    """

    image: int
    rank: int
    of: int
    width: int
    height: int
    pair: tuple[Detections, Detections]
    objects: tuple[Item, ...]


class Images(_Value):
    """The compared images; `rule`: a sentence on the choice of them."""

    rule: str
    images: tuple[Compared, ...]


class Curve(_Value):
    """A loss of one run. values: smoothed, at `iterations`. last: the last smoothed value."""

    stage: str
    run: str
    term: str
    iterations: tuple[int, ...]
    values: tuple[float, ...]
    last: float


class Losses(_Value):
    """The losses of all runs; `stages`: kind of experiment -> its title, in the order of training."""

    stages: dict[str, str]
    curves: tuple[Curve, ...]


def read_images(folder: Path = PAGE) -> Images:
    """Read the compared images. Raises ValueError if the file is missing or malformed."""
    return _read(Images, folder / IMAGES)


def read_losses(folder: Path = PAGE) -> Losses:
    """Read the losses. Raises ValueError if the file is missing or malformed."""
    return _read(Losses, folder / LOSSES)


def _read(kind: type[Value], path: Path) -> Value:
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {REMEDY}")
    try:
        return kind.model_validate(read_json(path))
    except ValueError as error:
        raise ValueError(f"{path} is not what the stage `figures` writes: {REMEDY} ({error})") from None
