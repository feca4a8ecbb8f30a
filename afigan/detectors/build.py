"""Build a detectron2 model from parameters (section 4.3)."""

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import GeneralizedRCNN, build_model
from torch import nn

from afigan.backbones import FEATURES
from afigan.detectors import retinanet
from afigan.detectors.centermask.heads import add_centermask_config
from afigan.detectors.roi_align import use_implementation
from afigan.params import stages as experiments
from afigan.params.schema import MASK_HEADS, BackboneExperiment, Head, Model, Params, Pyramid
from afigan.pyramids.registry import add_afigan_config

Detector: TypeAlias = GeneralizedRCNN | retinanet.SteadyRetinaNet  # FCOS and CenterMask are of the first kind


@dataclass(frozen=True)
class Architecture:
    """The values that a detector's modules depend on, as saved beside its weights.

    Args:
        model: `model` of params.yaml: the sizes that all detectors share.
        backbone: the backbone's experiment in params.yaml.
        num_classes: of the data set.
        head: one of `afigan.params.schema.Head`.
        pyramid: fpn, pafpn or bifpn; `repeats` is for bifpn.
        interpolator, blocks, upsampling: of the pyramid.
    """

    model: Model
    backbone: BackboneExperiment
    num_classes: int
    head: Head = "mask_rcnn"
    pyramid: Pyramid = "fpn"
    repeats: int = 3
    interpolator: str = "nearest"
    blocks: str = "rdb"
    upsampling: str = "per_level"

    @classmethod
    def of(cls, params: Params, node: str, num_classes: int) -> "Architecture":
        """Return the architecture of an experiment of params.yaml."""
        item = experiments.experiment(params, node)
        return cls(
            model=params.model,
            backbone=experiments.backbone(params, node),
            num_classes=num_classes,
            head=experiments.head(params, node),
            pyramid=experiments.pyramid(params, node),
            **{name: getattr(item, name) for name in ("repeats", "interpolator", "blocks", "upsampling")},
        )

    @property
    def has_masks(self) -> bool:
        return self.head in MASK_HEADS

    @property
    def starts_at_p2(self) -> bool:
        """True for the levels P2-P6, False for P3-P7."""
        return experiments.starts_at_p2(self.head, self.pyramid)

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
    add_centermask_config(cfg)
    node = cfg.MODEL
    node.DEVICE = "cpu"  # built there; the caller moves it
    node.PIXEL_MEAN = list(backbone.pixel_mean)
    node.PIXEL_STD = list(backbone.pixel_std)
    node.BACKBONE.FREEZE_AT = backbone.freeze_at
    node.AFIGAN.BACKBONE = backbone.name
    node.AFIGAN.BACKBONE_OPTIONS = CfgNode(backbone.options)
    node.AFIGAN.NORM = backbone.norm
    node.AFIGAN.PYRAMID = architecture.pyramid
    node.AFIGAN.REPEATS = architecture.repeats
    node.AFIGAN.INTERPOLATOR = architecture.interpolator
    node.AFIGAN.BLOCKS = architecture.blocks
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
        node.AFIGAN.P6_FROM = "p5" if architecture.head in ("fcos", "centermask") else "res5"
    sizes = [size * image_scale for size in model.anchor_sizes]
    node.ANCHOR_GENERATOR.SIZES = [[size] for size in sizes]
    node.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
    if architecture.head == "retinanet":
        _configure_retinanet(node, architecture, levels, sizes)
    elif architecture.head in ("fcos", "centermask"):
        _configure_fcos(node, architecture, levels, image_scale)
    else:
        _configure_rcnn(node, architecture, levels)
    return cfg


def _configure_rcnn(node: CfgNode, architecture: Architecture, levels: list[str]) -> None:
    model = architecture.model
    node.META_ARCHITECTURE = "GeneralizedRCNN"
    node.RPN.IN_FEATURES = levels
    node.RPN.BATCH_SIZE_PER_IMAGE = model.rpn.batch_size
    node.RPN.PRE_NMS_TOPK_TRAIN = 2 * model.rpn.proposals_train
    node.RPN.PRE_NMS_TOPK_TEST = model.rpn.proposals_test
    node.RPN.POST_NMS_TOPK_TRAIN = model.rpn.proposals_train
    node.RPN.POST_NMS_TOPK_TEST = model.rpn.proposals_test
    cascade = architecture.head.startswith("cascade")
    node.ROI_HEADS.NAME = "CascadeROIHeads" if cascade else "StandardROIHeads"
    node.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = cascade
    node.ROI_HEADS.IN_FEATURES = levels[:-1] if levels[0] == "p2" else levels
    node.ROI_HEADS.NUM_CLASSES = architecture.num_classes
    node.ROI_HEADS.BATCH_SIZE_PER_IMAGE = model.roi_heads.batch_size
    node.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    node.ROI_BOX_HEAD.NUM_FC = 2
    node.ROI_BOX_HEAD.FC_DIM = model.roi_heads.fc_dim
    node.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    node.MASK_ON = architecture.has_masks
    node.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    node.ROI_MASK_HEAD.NUM_CONV = 4
    node.ROI_MASK_HEAD.CONV_DIM = model.roi_heads.mask_dim
    node.ROI_MASK_HEAD.POOLER_RESOLUTION = 14


def _configure_retinanet(node: CfgNode, architecture: Architecture, levels: list[str], sizes: list[float]) -> None:
    node.META_ARCHITECTURE = "SteadyRetinaNet"
    node.ANCHOR_GENERATOR.SIZES = [[size * 2 ** (third / 3) for third in range(3)] for size in sizes]
    node.RETINANET.IN_FEATURES = levels
    node.RETINANET.NUM_CLASSES = architecture.num_classes


def _configure_fcos(node: CfgNode, architecture: Architecture, levels: list[str], image_scale: float) -> None:
    node.FCOS.IN_FEATURES = levels
    node.FCOS.NUM_CLASSES = architecture.num_classes
    node.FCOS.SIZES_OF_INTEREST = [size * image_scale for size in architecture.model.sizes_of_interest]
    node.META_ARCHITECTURE = "GeneralizedRCNN"
    node.PROPOSAL_GENERATOR.NAME = "FCOSProposals"
    node.MASK_ON = architecture.has_masks
    if architecture.head == "fcos":
        node.ROI_HEADS.NAME = "NoROIHeads"
        return
    node.ROI_HEADS.NAME = "CenterMaskHeads"
    node.ROI_HEADS.NUM_CLASSES = architecture.num_classes
    node.ROI_HEADS.BATCH_SIZE_PER_IMAGE = architecture.model.roi_heads.batch_size
    node.CENTERMASK.IN_FEATURES = levels[:3]
    node.ROI_MASK_HEAD.NAME = "SpatialAttentionMaskHead"
    node.ROI_MASK_HEAD.NUM_CONV = 4
    node.ROI_MASK_HEAD.CONV_DIM = architecture.model.roi_heads.mask_dim
    node.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
    node.CENTERMASK.FC_DIM = architecture.model.roi_heads.fc_dim


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
