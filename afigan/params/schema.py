"""The schema of params.yaml: names, types, defaults and meanings.

`afigan.params.dataset` has the section `data`, and `afigan.params.experiments` the entries under `experiments`. A
section checks what it can check by itself; `afigan.params.references` checks what one experiment says about another.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from afigan.params.dataset import Data, Pairs
from afigan.params.experiments import Experiments
from afigan.params.types import (
    Head,
    Key,
    Keys,
    Level,
    Limits,
    NonNegative,
    Positive,
    Pyramid,
    Rate,
    Row,
    Section,
    Seed,
    Size,
    Table,
    Workers,
)


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


# --- stages -----------------------------------------------------------------------------------------------------------


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

    @model_validator(mode="after")
    def _falls(self) -> "Schedule":
        if self.milestones and self.lr_schedule == "cosine":
            raise ValueError("milestones have no effect under lr_schedule: cosine; remove them, or set step")
        if late := [str(milestone) for milestone in self.milestones if milestone >= self.iterations]:
            raise ValueError(
                f"milestones {', '.join(late)} are not before the end, at {self.iterations} iterations: lower them"
            )
        return self


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
    tables: dict[Table, dict[Row, Keys]]

    @model_validator(mode="after")
    def _repeatable(self) -> "Params":
        if self.deterministic and self.device != "cpu" and self.model.roi_align != "separable":
            raise ValueError("deterministic: on a GPU this needs model.roi_align: separable too; set it")
        return self
