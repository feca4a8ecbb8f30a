"""The sections `data` and `pairs` of params.yaml: the data set, and the low-resolution images made of it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from afigan.params.types import Degradation, NonNegative, Place, Positive, Section, Workers, no_twins, with_a_group


class Shapes(Section):
    """The numbers of images in the embedded set's splits, and the images' side in pixels."""

    train: Positive
    val: Positive
    unlabeled: NonNegative = 0
    test: NonNegative = 0
    size: Annotated[int, Field(ge=64, le=4096)] = 256


class Split(Section):
    """A folder of images and its COCO annotation file."""

    images: Place | None = None
    annotations: Place


class Validation(Section):
    """The validation set: a folder and an annotation file of its own, or a fraction of the training file's images.

    The name of an image decides its side, so it keeps it when images are added (`afigan.data.prepare.fraction`).
    """

    images: Place | None = None
    annotations: Place | None = None
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    # a regular expression: images whose file names agree in its first group stay on one side
    group: Annotated[str, AfterValidator(with_a_group)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "Validation":
        own = [name for name in ("images", "annotations") if getattr(self, name) is not None]
        if self.fraction is not None and own:
            raise ValueError(f"fraction takes images of the training file: remove it, or {' and '.join(own)}")
        if self.fraction is None and self.group is not None:
            raise ValueError("group needs fraction: add it, or remove group")
        return self


class Unlabeled(Section):
    """A folder of images without annotations, for self-training."""

    images: Place | None = None


class Data(Section):
    """The data set: `shapes`, drawn from the seed, or `coco`, a COCO-format data set that is used in place."""

    source: Literal["shapes", "coco"]
    shapes: Shapes = Shapes(train=400, val=100)
    train: Split
    val: Validation | None = None  # None: only with `shapes`, which draws its own
    unlabeled: Unlabeled = Unlabeled()
    # COCO's image_info_test-dev2017.json: images without annotations, for the challenge server
    test: Split | None = None
    repair: bool = False  # repairs what has one meaning, see afigan/data/prepare/repair.py

    @model_validator(mode="after")
    def _paths(self) -> "Data":
        if self.source == "shapes":
            if self.val is not None and self.val.fraction is not None:
                raise ValueError("val.fraction: the embedded set draws shapes.val images for it; remove it")
            return self
        for name, split in (("train", self.train), ("val", self.val), ("test", self.test)):
            if split is None and name == "val":
                raise ValueError("val: missing; give images and annotations, or {fraction: 0.2} of the training file")
            if split is None or (isinstance(split, Validation) and split.fraction is not None):
                continue
            if split.images is None and name == "test":
                continue
            if split.images is None:
                raise ValueError(f"{name}.images: a coco data set needs the folder of its images")
            if split.annotations is None or not split.annotations.endswith(".json"):
                raise ValueError(f"{name}.annotations: a coco data set needs a .json file, not {split.annotations}")
        return self

    @property
    def annotation_files(self) -> dict[str, str]:
        """Return {split: its annotation file} for the splits that have one of their own; the engines watch them."""
        files = {"train": self.train.annotations}
        if self.source == "coco":
            if self.val is not None and self.val.annotations is not None:
                files["val"] = self.val.annotations
            if self.test is not None and self.test.images is not None:
                files["test"] = self.test.annotations
        return files


class Pairs(Section):
    """Low-resolution training images."""

    degradations: Annotated[list[Degradation], AfterValidator(no_twins)]
    format: Literal["png", "jpeg"] = "png"
    shard_size: Positive = 1000
    workers: Annotated[Workers, Field(ge=1)] = 2
