"""Build a detectron2 model from parameters (section 4.3)."""

import importlib
import pkgutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import GeneralizedRCNN, build_model
from torch import nn

from afigan.backbones import FEATURES
from afigan.detectors import retinanet
from afigan.detectors.heads import HEADS
from afigan.detectors.roi_align import use_implementation
from afigan.params.lineage import Node
from afigan.params.schema import BackboneExperiment, Model
from afigan.pyramids.registry import add_afigan_config

for _module in pkgutil.walk_packages([str(Path(__file__).parent)], f"{__package__}."):  # heads register themselves
    if _module.name not in (__name__, f"{__package__}.load"):
        importlib.import_module(_module.name)

Detector: TypeAlias = GeneralizedRCNN | retinanet.SteadyRetinaNet  # FCOS and CenterMask are of the first kind


@dataclass(frozen=True)
class Architecture:
    """The values that a detector's modules depend on, as saved beside its weights.

    Args:
        model: `model` of params.yaml: the sizes that all detectors share.
        backbone: the backbone's experiment in params.yaml.
        num_classes: of the data set.
        head: one of `afigan.detectors.heads.HEADS`.
        pyramid: fpn, pafpn or bifpn; `repeats` is for bifpn, None for its default.
        interpolator, options: of the pyramid; see `afigan.interpolators.build_interpolator`.
        upsampling: of the pyramid.
    """

    model: Model
    backbone: BackboneExperiment
    num_classes: int
    head: str = "mask_rcnn"
    pyramid: str = "fpn"
    repeats: int | None = None
    interpolator: str = "nearest"
    options: dict[str, Any] = field(default_factory=dict)
    upsampling: str = "per_level"

    @classmethod
    def of(cls, node: Node, num_classes: int) -> "Architecture":
        """Return the architecture of an extractor, a detector or a student."""
        item = node.experiment
        return cls(
            model=node.params.model,
            backbone=node.backbone,
            num_classes=num_classes,
            head=node.head,
            pyramid=node.pyramid,
            **{name: getattr(item, name) for name in ("repeats", "interpolator", "options", "upsampling")},
        )

    @property
    def has_masks(self) -> bool:
        return HEADS[self.head].masks

    @property
    def starts_at_p2(self) -> bool:
        """True for the levels P2-P6, False for P3-P7, as in every BiFPN."""
        return HEADS[self.head].finest == "p2" and self.pyramid != "bifpn"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"model": self.model.model_dump(), "backbone": self.backbone.model_dump()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Architecture":
        sections = {
            "model": Model.model_validate(values["model"]),
            "backbone": BackboneExperiment.model_validate(values["backbone"]),
        }
        return cls(**values | sections)


def detectron2_config(architecture: Architecture, image_scale: float = 1.0) -> CfgNode:
    """Return the detectron2 config of an architecture.

    Args:
        image_scale: 0.5 for M, which sees low-resolution images; anchors shrink with them (section 4.2).
    """
    model, backbone = architecture.model, architecture.backbone
    cfg = get_cfg()
    add_afigan_config(cfg)
    node = cfg.MODEL
    node.DEVICE = "cpu"  # built there; the caller moves it
    node.PIXEL_MEAN = list(backbone.pixel_mean)
    node.PIXEL_STD = list(backbone.pixel_std)
    node.BACKBONE.FREEZE_AT = backbone.freeze_at
    node.AFIGAN.BACKBONE = backbone.name
    node.AFIGAN.BACKBONE_OPTIONS = CfgNode(backbone.options)
    node.AFIGAN.NORM = backbone.norm
    node.AFIGAN.PYRAMID = architecture.pyramid
    if architecture.repeats is not None:
        node.AFIGAN.REPEATS = architecture.repeats
    node.AFIGAN.INTERPOLATOR = architecture.interpolator
    node.AFIGAN.OPTIONS = CfgNode(architecture.options)
    node.AFIGAN.UPSAMPLING = architecture.upsampling
    node.FPN.OUT_CHANNELS = model.channels
    if architecture.starts_at_p2:
        levels = ["p2", "p3", "p4", "p5", "p6"]
        node.BACKBONE.NAME = "build_afigan_fpn_backbone"
        node.FPN.IN_FEATURES = list(FEATURES)
    else:
        levels = ["p3", "p4", "p5", "p6", "p7"]
        node.BACKBONE.NAME = "build_afigan_retinanet_fpn_backbone"
        node.FPN.IN_FEATURES = list(FEATURES[1:])
    node.ANCHOR_GENERATOR.SIZES = [[size * image_scale] for size in model.anchor_sizes]
    node.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
    HEADS[architecture.head].configure(cfg, architecture, levels, image_scale)
    return cfg


def build_detector(architecture: Architecture, image_scale: float = 1.0) -> Detector:
    """Build a detector on the CPU, with random weights from torch's generator.

    All other modules get the same weights for any interpolator.

    Args:
        image_scale: of the images that the detector will see; anchors, FCOS's sizes of interest and the canonical RoI
            size shrink with it, so that an object keeps its pyramid level.

    Raises:
        ValueError: unknown backbone, interpolator or option.
    """
    detector = build_model(detectron2_config(architecture, image_scale))
    heads = getattr(detector, "roi_heads", None)
    for name in ("box_pooler", "mask_pooler"):
        if pooler := getattr(heads, name, None):
            pooler.canonical_box_size = architecture.model.canonical_box_size * image_scale
            use_implementation(pooler.level_poolers, architecture.model.roi_align)
    return detector


def set_test_limits(detector: nn.Module, score_threshold: float, detections: int) -> None:
    """Set the lowest score and the largest number of an image's detections."""
    predictors = getattr(getattr(detector, "roi_heads", None), "box_predictor", None)
    if predictors is not None:
        for predictor in predictors if isinstance(predictors, nn.ModuleList) else [predictors]:
            predictor.test_score_thresh, predictor.test_topk_per_image = score_threshold, detections
    else:  # RetinaNet and FCOS, or the FCOS inside a CenterMask
        dense = getattr(detector, "proposal_generator", detector)
        dense.test_score_thresh, dense.max_detections_per_image = score_threshold, detections
