"""Build a detectron2 model from parameters (section 4.3)."""

import importlib
import pkgutil
from pathlib import Path
from typing import TypeAlias

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import GeneralizedRCNN, build_model
from torch import nn

from afigan.backbones import FEATURES
from afigan.detectors import retinanet
from afigan.detectors.architecture import Architecture
from afigan.detectors.heads import HEADS
from afigan.detectors.roi_align import use_implementation
from afigan.pyramids.registry import add_afigan_config

for _module in pkgutil.walk_packages([str(Path(__file__).parent)], f"{__package__}."):  # heads register themselves
    if _module.name not in (__name__, f"{__package__}.load"):
        importlib.import_module(_module.name)

Detector: TypeAlias = GeneralizedRCNN | retinanet.SteadyRetinaNet  # FCOS and CenterMask are of the first kind


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
