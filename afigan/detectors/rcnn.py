"""The R-CNN family of detectron2: Faster, Mask and Cascade R-CNN with two fully connected layers, four for masks."""

from detectron2.config import CfgNode

from afigan.detectors.architecture import Architecture
from afigan.detectors.heads import register_head


@register_head("cascade_mask_rcnn", finest="p2", masks=True, family="rcnn")
@register_head("cascade_rcnn", finest="p2", masks=False, family="rcnn")
@register_head("mask_rcnn", finest="p2", masks=True, family="rcnn")
@register_head("faster_rcnn", finest="p2", masks=False, family="rcnn")
def configure_rcnn(cfg: CfgNode, architecture: Architecture, levels: list[str], image_scale: float) -> None:
    """Set `cfg.MODEL` for the head that `architecture` names."""
    model, node = architecture.model, cfg.MODEL
    node.META_ARCHITECTURE = "GeneralizedRCNN"
    node.RPN.IN_FEATURES = levels
    node.RPN.BATCH_SIZE_PER_IMAGE = model.rpn.batch_size_per_image
    node.RPN.PRE_NMS_TOPK_TRAIN = 2 * model.rpn.proposals_train
    node.RPN.PRE_NMS_TOPK_TEST = model.rpn.proposals_test
    cascade = architecture.head.startswith("cascade")
    node.RPN.POST_NMS_TOPK_TRAIN = (2 if cascade else 1) * model.rpn.proposals_train  # as in detectron2's recipes
    node.RPN.POST_NMS_TOPK_TEST = model.rpn.proposals_test
    node.ROI_HEADS.NAME = "CascadeROIHeads" if cascade else "StandardROIHeads"
    node.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = cascade
    node.ROI_HEADS.IN_FEATURES = levels[:-1] if levels[0] == "p2" else levels
    node.ROI_HEADS.NUM_CLASSES = architecture.num_classes
    node.ROI_HEADS.BATCH_SIZE_PER_IMAGE = model.roi_heads.batch_size_per_image
    node.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    node.ROI_BOX_HEAD.NUM_FC = 2
    node.ROI_BOX_HEAD.FC_DIM = model.roi_heads.fc_dim
    node.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    node.MASK_ON = architecture.has_masks
    node.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    node.ROI_MASK_HEAD.NUM_CONV = 4
    node.ROI_MASK_HEAD.CONV_DIM = model.roi_heads.mask_dim
    node.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
