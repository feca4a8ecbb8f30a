"""The schema of params.yaml: names, types, defaults and meanings.

A section checks what it can check by itself; `afigan.params.references` checks what one experiment says about another.
"""

import json
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from afigan.params.registered import heads, interpolators

LARGEST = 2**31 - 1  # the largest number that torch and the file formats count with
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
NonNegative = Annotated[int, Field(ge=0, le=LARGEST)]
Size = Annotated[int, Field(ge=1, le=2**16)]  # pixels, or channels
Workers = Annotated[int, Field(ge=0, le=1024)]  # processes or threads
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # numpy's limit
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]  # names files and folders
Row = Annotated[str, Field(pattern=r"^[^\p{Cc}|]+$")]  # fits into a cell of a Markdown table
Place = Annotated[str, Field(pattern=r"^[^\x00]+$")]  # a path
Level = Literal["p2", "p3", "p4", "p5", "p6", "p7"]
Pyramid = Literal["fpn", "pafpn", "bifpn"]
Degradation = Literal["nearest", "bilinear", "bicubic"]
Match = Literal["same", "different"]
Upsampling = Literal["per_level", "iterated"]


def _yaml_switch(value: Any) -> Any:
    """Return `on` for true and `off` for false: YAML 1.1 reads the bare words so, and YAML 1.2 does not."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


Adversarial = Annotated[Literal["on", "detached", "off"], BeforeValidator(_yaml_switch)]


def _one_of(names: Iterable[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"choose one of {', '.join(names)}")
        return value

    return AfterValidator(check)


Interpolator = Annotated[str, _one_of(interpolators())]
Head = Annotated[str, _one_of(heads())]


def _no_twins(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("a value appears twice: remove one")
    return values


def _ascending(values: list[float]) -> list[float]:
    if any(before >= after for before, after in pairwise(values)):
        raise ValueError("each has to be larger than the one before")
    return values


def _hashable(values: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(values, allow_nan=False)
    except ValueError:
        raise ValueError("NaN and infinity are not allowed here") from None
    return values


def _with_a_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if not groups:
        raise ValueError(r"has no group: put brackets around the part that belongs together, as in '(.*)_\d+'")
    return pattern


Limits = Annotated[list[Rate], Field(min_length=4, max_length=4), AfterValidator(_ascending)]
Keys = Annotated[list[Key], Field(min_length=1), BeforeValidator(lambda one: [one] if isinstance(one, str) else one)]
Options = Annotated[dict[str, JsonValue], AfterValidator(_hashable)]


class Section(BaseModel):
    """A part of params.yaml: no unknown keys, no silent conversions, no changes after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# --- data ------------------------------------------------------------------------------------------------------------


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
    group: Annotated[str, AfterValidator(_with_a_group)] | None = None

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

    degradations: Annotated[list[Degradation], AfterValidator(_no_twins)]
    format: Literal["png", "jpeg"] = "png"
    shard_size: Positive = 1000
    workers: Annotated[Workers, Field(ge=1)] = 2


# --- model -----------------------------------------------------------------------------------------------------------


class RoIHeads(Section):
    batch_size_per_image: Positive = 512  # RoIs that are sampled
    fc_dim: Size = 1024
    mask_dim: Size = 256


class RPN(Section):
    batch_size_per_image: Positive = 256  # anchors that are sampled
    proposals_train: Positive = 1000
    proposals_test: Positive = 1000


class Model(Section):
    """The sizes that all detectors share, and the pyramid and head of those that do not name their own (Fig. 3, 4)."""

    pyramid: Pyramid = "fpn"
    head: Head = "mask_rcnn"
    channels: Size = 256
    anchor_sizes: Annotated[list[Rate], Field(min_length=5, max_length=5)]  # pixels, one per level: P2-P6, or P3-P7
    # FCOS, in pixels: the distances to an object's farthest side at which one level ends and the next begins
    sizes_of_interest: Limits | None = None  # None: those for COCO, of afigan/detectors/fcos/proposals.py
    canonical_box_size: Rate = 224.0  # pixels: the side of a RoI that is pooled from P4
    # `separable`: two matrix products, equal to `torchvision` up to rounding; faster on CPU cores at small sizes
    roi_align: Literal["torchvision", "separable"] = "torchvision"
    roi_heads: RoIHeads = RoIHeads()
    rpn: RPN = RPN()


class Input(Section):
    """Image sizes in pixels. The low-resolution side of a pair has half these sizes."""

    short_sides: Annotated[list[Size], Field(min_length=1)]  # one is drawn per image
    max_side: Size
    test_short_side: Size
    flip: bool = True

    @model_validator(mode="after")
    def _order(self) -> "Input":
        if max([*self.short_sides, self.test_short_side]) > self.max_side:
            raise ValueError(f"max_side {self.max_side} is less than a short side: raise it")
        return self


# --- stages ----------------------------------------------------------------------------------------------------------


class Schedule(Section):
    """The schedule of one training stage: length, batch, optimizer, loading, checkpoints and log."""

    iterations: Positive
    batch_size: Positive
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    lr_schedule: Literal["step", "cosine"] = "step"
    milestones: list[Positive] = []
    gamma: Rate = 0.1
    warmup: NonNegative = 0  # iterations of linear warm-up
    clip_norm: Rate | None = None  # largest norm of a module's gradient
    workers: Workers = 0  # data-loading processes per training process
    checkpoint_every: Positive = 1000
    log_every: Positive = 1  # iterations per line of the log, which has the means over them
    # true: bfloat16 on a GPU; `everywhere`: on a CPU too, faster if it has avx512_bf16 and maps have many channels
    amp: bool | Literal["everywhere"] = True


class AdversarialSchedule(Schedule):
    """The schedule of stages 1 and 2; `lambda` weighs the adversarial term (Eq. 2)."""

    adversarial_weight: Annotated[float, Field(ge=0, allow_inf_nan=False, alias="lambda")] = 0.001


class MultiScale(Section):
    """Test-time augmentation: a detector sees each image at these short sides, in pixels, and mirrored if `flip`."""

    short_sides: Annotated[list[Size], Field(min_length=1)]
    max_side: Size
    flip: bool = True


class Evaluate(Section):
    batch_size: Positive = 1
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05
    detections: Positive = 100
    multi_scale: MultiScale | None = None  # for evaluations with `multi_scale: true`


class PaperSize(Section):
    """Runs that time the paper's Mask R-CNN with each interpolation, and the image's size in pixels."""

    runs: Positive = 3
    warm_up: NonNegative = 1
    height: Size = 480
    width: Size = 640


class Benchmark(Section):
    """The number of images that each detector is timed on, after warm-up images that do not count."""

    runs: Positive = 30
    warm_up: NonNegative = 5
    paper_size: PaperSize | None = None  # None: not measured


class Figures(Section):
    """The trained models that are drawn; `image` is a position in the validation set."""

    afigan: Key = "main"  # the stage 1 experiment whose G is drawn on one feature map
    image: NonNegative = 0
    level: Level = "p2"
    nearest: Key = "a1"  # two evaluations whose detections are drawn side by side (Fig. 5 and 8)
    afi: Key = "a5"
    candidates: Positive = 50  # the first validation images, from which a rule chooses some
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5  # of the detections that are drawn
    gradcam: dict[str, Key] = {}  # title -> evaluation (Fig. 7); empty: `nearest` and `afi`


# --- experiments -----------------------------------------------------------------------------------------------------


class Experiment(Section):
    """The settings that every trained experiment may have of its own."""

    seed: Seed | None = None  # None: the seed of params.yaml; the data are the same for all
    schedule: dict[str, Any] = {}  # changes to the stage's section


class BackboneExperiment(Experiment):
    """A classification backbone, the source of its weights, and the pixels that these weights need."""

    name: str
    # None: random; `crops`: trained on the training set's own objects; otherwise see afigan/weights
    weights: str | None = None
    freeze_at: Annotated[int, Field(ge=0, le=5)] = 0  # the stem and four stages
    norm: Literal["BN", "FrozenBN", "SyncBN"] = "FrozenBN"
    options: Options = {}  # of timm's model
    pixel_format: Literal["RGB", "BGR"] = "BGR"
    pixel_mean: Annotated[list[Finite], Field(min_length=3, max_length=3)] = [103.53, 116.28, 123.675]
    pixel_std: Annotated[list[Rate], Field(min_length=3, max_length=3)] = [1.0, 1.0, 1.0]


class AfiganExperiment(Experiment):
    """Stage 1 (section 4.1): G and D on the maps of F, the frozen backbone and pyramid of detector `teacher`."""

    teacher: Key
    degradation: Degradation
    interpolator: Interpolator = "afi"  # G: any learned one
    options: Options = {}  # of the interpolator
    adversarial: Adversarial = "on"
    match: Match = "same"
    features: Literal["output", "merged"] = "output"


class Network(Experiment):
    """The parts of M and T; None: as in `model`."""

    backbone: Key
    pyramid: Pyramid | None = None
    repeats: Annotated[int, Field(ge=1, le=100)] | None = None  # of BiFPN; None: that of afigan/pyramids/bifpn.py
    head: Head | None = None
    options: Options = {}  # of the interpolator
    upsampling: Upsampling = "per_level"


class ExtractorExperiment(Network):
    """Stage 2 (section 4.2): M, its detection head and D; G and D start from `init`."""

    teacher: Key
    init: Annotated[str, Field(pattern=r"^(backbones|afigan)/[a-z][a-z0-9_]*$")]
    degradation: Degradation
    interpolator: Interpolator = "afi"
    adversarial: Adversarial = "on"
    content: bool = True  # False, with adversarial off: M learns only from the detection loss, a control
    match: Match = "same"


class DetectorExperiment(Network):
    """Stage 3 (section 4.3): T. `reuse: G` takes the interpolator of `init`, `reuse: M` its backbone and pyramid."""

    interpolator: Interpolator
    init: Annotated[str, Field(pattern=r"^(backbones|afigan|extractors)/[a-z][a-z0-9_]*$")]
    reuse: Literal["G", "M"] = "G"
    freeze_interpolator: bool = False


class PseudoLabels(Section):
    """The detections of a trained detector in the unlabeled images, with at least this score."""

    model: Annotated[str, Field(pattern=r"^detectors/[a-z][a-z0-9_]*$")]
    score_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


class StudentExperiment(DetectorExperiment):
    """Self-training: a T that learns from the training set and from pseudo-labels."""

    labels: Key


class Evaluation(Section):
    """One metrics file: a detector, or an extractor's M itself (A3), on the full-size validation images."""

    model: Annotated[str, Field(pattern=r"^(detectors|extractors|students)/[a-z][a-z0-9_]*$")]
    multi_scale: bool = False


class Submission(Evaluation):
    """Results on the test images, in the form that COCO's challenge server takes."""


class Experiments(Section):
    backbones: dict[Key, BackboneExperiment]
    afigan: dict[Key, AfiganExperiment]
    extractors: Annotated[dict[Key, ExtractorExperiment], Field(min_length=1)]  # for the figure of their losses
    detectors: dict[Key, DetectorExperiment]
    pseudo_labels: dict[Key, PseudoLabels] = {}
    students: dict[Key, StudentExperiment] = {}
    evaluations: dict[Key, Evaluation]
    submissions: dict[Key, Submission] = {}


class Composed(Section):
    """The profile of conf/ that params.yaml was composed from, and a digest of all its other values then."""

    profile: str
    digest: str


class Params(Section):
    """The complete params.yaml."""

    composed: Composed | None = None  # written by `make params`; no result depends on it

    seed: Seed
    threads: Annotated[Workers, Field(ge=1)]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # true: a GPU adds in a fixed order, so that a repeated or resumed run has the same bits; a CPU always does
    deterministic: bool = False
    # processes that a training stage is split over, one GPU each; without GPUs they share the cores
    processes: Annotated[Workers, Field(ge=1)] = 1
    data: Data
    pairs: Pairs
    model: Model
    input: Input
    train_backbone: Schedule  # for `weights: crops`
    train_afigan: AdversarialSchedule
    train_extractor: AdversarialSchedule
    train_detector: Schedule  # for students too
    evaluate: Evaluate = Evaluate()
    benchmark: Benchmark = Benchmark()
    figures: Figures = Figures()
    experiments: Experiments
    # table -> printed row -> the evaluation that fills it, or several, one per seed
    tables: dict[Annotated[str, Field(pattern=r"^table[1-9]$")], dict[Row, Keys]]

    @model_validator(mode="after")
    def _repeatable(self) -> "Params":
        if self.deterministic and self.device != "cpu" and self.model.roi_align != "separable":
            raise ValueError("deterministic: on a GPU this needs model.roi_align: separable too; set it")
        return self
