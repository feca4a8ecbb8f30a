"""From parameters to a detectron2 model (section 4.3; SPEC 6)."""

from dataclasses import asdict, dataclass
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from afigan.backbones import FEATURES
from afigan.pyramids.registry import add_afigan_config
from afigan.schema import Model


@dataclass(frozen=True)
class Architecture:
    """All that a detector's modules depend on, as saved beside its weights.

    Args:
        model: params.yaml's `model`.
        num_classes: of the data set.
        interpolator, blocks, upsampling: of its pyramid.
    """

    model: Model
    num_classes: int
    interpolator: str = "nearest"
    blocks: str = "rdb"
    upsampling: str = "per_level"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"model": self.model.model_dump()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Architecture":
        return cls(**values | {"model": Model.model_validate(values["model"])})


def detectron2_config(architecture: Architecture, image_scale: float = 1.0) -> CfgNode:
    """The detectron2 config of an architecture.

    Args:
        image_scale: 0.5 for M, which sees low-resolution images: anchors shrink with them (SPEC 5.2).
    """
    model = architecture.model
    cfg = get_cfg()
    add_afigan_config(cfg)
    node = cfg.MODEL
    node.DEVICE = "cpu"  # built there, moved by who uses it
    node.META_ARCHITECTURE = "GeneralizedRCNN"
    node.PIXEL_MEAN = list(model.pixel_mean)
    node.PIXEL_STD = list(model.pixel_std)
    node.BACKBONE.NAME = "build_afigan_fpn_backbone"
    node.BACKBONE.FREEZE_AT = model.backbone.freeze_at
    node.AFIGAN.BACKBONE = model.backbone.name
    node.AFIGAN.NORM = model.backbone.norm
    node.AFIGAN.INTERPOLATOR = architecture.interpolator
    node.AFIGAN.BLOCKS = architecture.blocks
    node.AFIGAN.UPSAMPLING = architecture.upsampling
    node.FPN.IN_FEATURES = list(FEATURES)
    node.FPN.OUT_CHANNELS = model.channels
    node.ANCHOR_GENERATOR.SIZES = [[size * image_scale] for size in model.anchor_sizes]
    node.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
    node.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    node.RPN.BATCH_SIZE_PER_IMAGE = model.rpn.batch_size
    node.RPN.PRE_NMS_TOPK_TRAIN = 2 * model.rpn.proposals_train
    node.RPN.PRE_NMS_TOPK_TEST = model.rpn.proposals_test
    node.RPN.POST_NMS_TOPK_TRAIN = model.rpn.proposals_train
    node.RPN.POST_NMS_TOPK_TEST = model.rpn.proposals_test
    node.ROI_HEADS.NAME = "StandardROIHeads"
    node.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    node.ROI_HEADS.NUM_CLASSES = architecture.num_classes
    node.ROI_HEADS.BATCH_SIZE_PER_IMAGE = model.roi_heads.batch_size
    node.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    node.ROI_BOX_HEAD.NUM_FC = 2
    node.ROI_BOX_HEAD.FC_DIM = model.roi_heads.fc_dim
    node.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    node.MASK_ON = model.head == "mask_rcnn"
    node.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    node.ROI_MASK_HEAD.NUM_CONV = 4
    node.ROI_MASK_HEAD.CONV_DIM = model.roi_heads.mask_dim
    node.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
    return cfg


def build_detector(architecture: Architecture, image_scale: float = 1.0) -> nn.Module:
    """Build a detector on the CPU, its weights random from torch's generator.

    What does not belong to the interpolators gets the same weights whatever the interpolator is.

    Args:
        image_scale: of the images it will see; anchors and the canonical RoI size shrink with it, so that an object
            keeps its pyramid level.

    Raises:
        ValueError: unknown backbone, interpolator or option.
    """
    detector = build_model(detectron2_config(architecture, image_scale))
    for name in ("box_pooler", "mask_pooler"):
        if pooler := getattr(detector.roi_heads, name, None):
            pooler.canonical_box_size = architecture.model.canonical_box_size * image_scale
    return detector


def set_test_limits(detector: nn.Module, score_threshold: float, detections: int) -> None:
    """Set the least score and the largest number of an image's detections."""
    detector.roi_heads.box_predictor.test_score_thresh = score_threshold
    detector.roi_heads.box_predictor.test_topk_per_image = detections
