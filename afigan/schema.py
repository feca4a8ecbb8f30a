"""The schema of params.yaml: names, types, defaults and what they mean.

A section checks what it can check by itself; what one experiment says of another is `afigan.references`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Level = Literal["p2", "p3", "p4", "p5", "p6", "p7"]
Pyramid = Literal["fpn", "pafpn", "bifpn"]
Head = Literal["faster_rcnn", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn", "retinanet", "fcos", "centermask"]
MASK_HEADS = {"mask_rcnn", "cascade_mask_rcnn", "centermask"}
Degradation = Literal["nearest", "bilinear", "bicubic"]
Match = Literal["same", "different"]
Upsampling = Literal["per_level", "iterated"]
Blocks = Literal["rdb", "rb"]
Interpolator = Literal[
    "nearest", "bilinear", "bicubic", "nearest-5conv", "bilinear-5conv", "bicubic-5conv", "deconv", "afi"
]


def _yaml_switch(value: Any) -> Any:
    """YAML 1.1 reads a bare `on` as true and `off` as false, YAML 1.2 does not; both are meant alike."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


Adversarial = Annotated[Literal["on", "detached", "off"], BeforeValidator(_yaml_switch)]


class Section(BaseModel):
    """A part of params.yaml: no unknown keys, no silent conversions, no changes after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


# --- data ------------------------------------------------------------------------------------------------------------


class Shapes(Section):
    """Images a split of the embedded set, and their side in pixels."""

    train: Positive
    val: Positive
    unlabeled: NonNegative = 0
    test: NonNegative = 0
    size: Annotated[int, Field(ge=64, le=4096)] = 256


class Split(Section):
    """A folder of images and its COCO annotation file."""

    images: str | None = None
    annotations: str


class Unlabeled(Section):
    """A folder of images without annotations, for self-training."""

    images: str | None = None


class Data(Section):
    """`shapes`, drawn from the seed, or `coco`: a COCO-format data set, used where it lies."""

    source: Literal["shapes", "coco"]
    shapes: Shapes = Shapes(train=400, val=100)
    train: Split
    val: Split
    unlabeled: Unlabeled = Unlabeled()
    test: Split  # COCO's image_info_test-dev2017.json: images without annotations, for the challenge server

    @model_validator(mode="after")
    def _paths(self) -> "Data":
        if self.source == "coco":
            for name in ("train", "val", "test"):
                split = getattr(self, name)
                if split.images is None and name == "test":
                    continue
                if split.images is None:
                    raise ValueError(f"{name}.images: a coco data set needs the folder of its images")
                if not split.annotations.endswith(".json"):
                    raise ValueError(f"{name}.annotations: a coco data set needs a .json file, not {split.annotations}")
        return self


class Pairs(Section):
    """Low-resolution training images."""

    degradations: list[Degradation]
    format: Literal["png", "jpeg"] = "png"
    shard_size: Positive = 1000
    workers: Positive = 2


# --- model -----------------------------------------------------------------------------------------------------------


class RoIHeads(Section):
    batch_size: Positive = 512  # RoIs sampled an image
    fc_dim: Positive = 1024
    mask_dim: Positive = 256


class RPN(Section):
    batch_size: Positive = 256  # anchors sampled an image
    proposals_train: Positive = 1000
    proposals_test: Positive = 1000


class Model(Section):
    """What all detectors share, and the pyramid and head of those that do not name their own (SPEC 6)."""

    pyramid: Pyramid = "fpn"
    head: Head = "mask_rcnn"
    channels: Positive = 256
    anchor_sizes: Annotated[list[Rate], Field(min_length=5, max_length=5)]  # pixels, one a level: P2-P6, or P3-P7
    # pixels, of FCOS: the distance to an object's farthest side where one level ends and the next begins
    sizes_of_interest: Annotated[list[Rate], Field(min_length=4, max_length=4)] = [64.0, 128.0, 256.0, 512.0]
    canonical_box_size: Rate = 224.0  # pixels: the side of a RoI that is pooled from P4
    roi_heads: RoIHeads = RoIHeads()
    rpn: RPN = RPN()


class Input(Section):
    """Image sizes in pixels. The low-resolution side of a pair has half of them."""

    short_sides: Annotated[list[Positive], Field(min_length=1)]  # one is drawn an image
    max_side: Positive
    test_short_side: Positive
    flip: bool = True

    @model_validator(mode="after")
    def _order(self) -> "Input":
        if max([*self.short_sides, self.test_short_side]) > self.max_side:
            raise ValueError(f"max_side {self.max_side} is less than a short side: raise it")
        return self


# --- stages ----------------------------------------------------------------------------------------------------------


class Schedule(Section):
    """One training stage: length, batch, optimizer and what the engine does meanwhile."""

    iterations: NonNegative
    batch_size: Positive
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    schedule: Literal["step", "cosine"] = "step"
    milestones: list[Positive] = []
    gamma: Rate = 0.1
    warmup: NonNegative = 0  # iterations of linear warm-up
    clip: Rate | None = None  # largest norm of a module's gradient
    workers: NonNegative = 0  # processes that load data, for each that trains
    checkpoint_every: Positive = 1000
    log_every: Positive = 1  # iterations a line of the log, which has the means over them
    amp: bool = True  # bfloat16 on a GPU


class AdversarialSchedule(Schedule):
    """Stages 1 and 2; `lambda` weighs the adversarial term (Eq. 2)."""

    adversarial_weight: Annotated[float, Field(ge=0, allow_inf_nan=False, alias="lambda")] = 0.001


class MultiScale(Section):
    """Test-time augmentation: an image is seen at each of these short sides, in pixels, and mirrored if `flip`."""

    short_sides: Annotated[list[Positive], Field(min_length=1)]
    max_side: Positive
    flip: bool = True


class Evaluate(Section):
    batch_size: Positive = 1
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05
    detections: Positive = 100
    multi_scale: MultiScale | None = None  # of the evaluations that say `multi_scale: true`


class Benchmark(Section):
    """Images that each detector is timed on, after some that do not count."""

    runs: Positive = 30
    warm_up: NonNegative = 5


class Figures(Section):
    """Which of the trained are drawn; `image` is a position in the validation set."""

    afigan: Key = "main"  # the stage 1 whose G is drawn on one feature map
    image: NonNegative = 0
    level: Level = "p2"
    nearest: Key = "a1"  # two evaluations whose detections are drawn side by side (Fig. 5 and 8)
    afi: Key = "a5"
    candidates: Positive = 50  # the first validation images, of which a rule draws some
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5  # of what is drawn
    gradcam: dict[str, Key] = {}  # title -> evaluation (Fig. 7); empty: `nearest` and `afi`


# --- experiments -----------------------------------------------------------------------------------------------------


class Experiment(Section):
    """What every trained experiment may say for itself."""

    seed: NonNegative | None = None  # None: params.yaml's; the data are the same for all
    schedule: dict[str, Any] = {}  # what is other than in the stage's section


class BackboneExperiment(Experiment):
    """A classification backbone, where its weights come from, and the pixels that they want."""

    name: str
    # None: random; `crops`: learned from the training set's own objects; else see afigan/weights
    weights: str | None = None
    freeze_at: NonNegative = 0
    norm: Literal["BN", "FrozenBN", "SyncBN"] = "FrozenBN"
    options: dict[str, Any] = {}  # of timm's model
    pixel_format: Literal["RGB", "BGR"] = "BGR"
    pixel_mean: Annotated[list[Finite], Field(min_length=3, max_length=3)] = [103.53, 116.28, 123.675]
    pixel_std: Annotated[list[Rate], Field(min_length=3, max_length=3)] = [1.0, 1.0, 1.0]


class AfiganExperiment(Experiment):
    """Stage 1 (4.1): G and D on the maps of F, the frozen backbone and pyramid of detector `teacher`."""

    teacher: Key
    degradation: Degradation
    blocks: Blocks = "rdb"
    adversarial: Adversarial = "on"
    match: Match = "same"
    features: Literal["output", "merged"] = "output"


class Network(Experiment):
    """What M and T are built of; None: as `model` says."""

    backbone: Key
    pyramid: Pyramid | None = None
    repeats: Positive = 3  # of BiFPN
    head: Head | None = None
    blocks: Blocks = "rdb"
    upsampling: Upsampling = "per_level"


class ExtractorExperiment(Network):
    """Stage 2 (4.2): M, its detection head and D; G and D start from `init`."""

    teacher: Key
    init: Annotated[str, Field(pattern=r"^(backbones|afigan)/[a-z][a-z0-9_]*$")]
    degradation: Degradation
    interpolator: Interpolator = "afi"
    adversarial: Adversarial = "on"
    content: bool = True  # False, with adversarial off: M learns from the detection loss alone, a control
    match: Match = "same"


class DetectorExperiment(Network):
    """Stage 3 (4.3): T. `reuse: G` takes the interpolator of `init` alone, `reuse: M` its backbone and pyramid."""

    interpolator: Interpolator
    init: Annotated[str, Field(pattern=r"^(backbones|afigan|extractors)/[a-z][a-z0-9_]*$")]
    reuse: Literal["G", "M"] = "G"
    freeze_interpolator: bool = False


class PseudoLabels(Section):
    """What a trained detector finds in the unlabeled images, with at least this score."""

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
    extractors: dict[Key, ExtractorExperiment]
    detectors: dict[Key, DetectorExperiment]
    pseudo_labels: dict[Key, PseudoLabels] = {}
    students: dict[Key, StudentExperiment] = {}
    evaluations: dict[Key, Evaluation]
    submissions: dict[Key, Submission] = {}


class Params(Section):
    """All of params.yaml."""

    seed: NonNegative
    threads: Positive
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: Positive = 1  # that a training stage is split over, one GPU each; without GPUs they share the cores
    data: Data
    pairs: Pairs
    model: Model
    input: Input
    train_backbone: Schedule  # of weights: crops
    train_afigan: AdversarialSchedule
    train_extractor: AdversarialSchedule
    train_detector: Schedule  # of students too
    evaluate: Evaluate = Evaluate()
    benchmark: Benchmark = Benchmark()
    figures: Figures = Figures()
    experiments: Experiments
    # table -> printed row -> the evaluation that fills it, or several, one a seed
    tables: dict[Annotated[str, Field(pattern=r"^table[1-9]$")], dict[str, Key | list[Key]]]
