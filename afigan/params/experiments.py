"""The entries under `experiments` of params.yaml: what is trained, evaluated and submitted."""

from typing import Annotated, Any, Literal

from pydantic import Field

from afigan.params.types import (
    Adversarial,
    Degradation,
    Finite,
    Head,
    Interpolator,
    Key,
    Match,
    Options,
    Pyramid,
    Rate,
    Section,
    Seed,
    Upsampling,
)


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
