"""CenterMask (Lee & Park, 2020).

FCOS finds boxes, a mask head with spatial attention predicts their masks, and a MaskIoU head predicts the masks' IoU.
In detectron2, CenterMask is a `GeneralizedRCNN`:

    add_centermask_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_afigan_retinanet_fpn_backbone"  # any that gives p3..p7
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "FCOSProposals"
    cfg.MODEL.ROI_HEADS.NAME = "CenterMaskHeads"
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 4  # detectron2's default is 0
    cfg.MODEL.MASK_ON = True
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY, ROIHeads
from detectron2.modeling.roi_heads import select_foreground_proposals
from detectron2.modeling.roi_heads.mask_head import mask_rcnn_inference
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor
from torch.nn import functional as F

from afigan.detectors.architecture import Architecture
from afigan.detectors.centermask.mask_scoring import MaskIoUHead, mask_areas, mask_iou, mask_iou_loss
from afigan.detectors.centermask.spatial_attention import SpatialAttentionMaskHead
from afigan.detectors.fcos.proposals import add_fcos_config, configure_proposals
from afigan.detectors.heads import register_head
from afigan.detectors.roi_pooling import AdaptiveROIPooler


def add_centermask_config(cfg: CfgNode) -> None:
    """Add `MODEL.FCOS` and `MODEL.CENTERMASK`, with the paper's values, to a detectron2 config.

    The settings that Mask R-CNN has too keep detectron2's names: those in `MODEL.ROI_MASK_HEAD`, and in
    `MODEL.ROI_HEADS` the number of RoIs per image that train the heads, at most `BATCH_SIZE_PER_IMAGE` x
    `POSITIVE_FRACTION`, 128 by default.
    """
    add_fcos_config(cfg)
    _add_centermask(cfg)


def _add_centermask(cfg: CfgNode) -> None:
    cfg.MODEL.CENTERMASK = CfgNode(
        {
            "IN_FEATURES": ["p3", "p4", "p5"],  # RoIs are pooled from these
            "FC_DIM": 1024,  # of the MaskIoU head
        }
    )


@ROI_HEADS_REGISTRY.register()
class CenterMaskHeads(ROIHeads):
    """RoI heads that add masks, and scores of masks, to the boxes that FCOS has found.

    In training they learn on FCOS's detections and on the true boxes, except for those whose IoU with
    every object is below `MODEL.ROI_HEADS.IOU_THRESHOLDS`.

    Args:
        in_features: names of the maps that RoIs are pooled from, from fine to coarse.
        mask_pooler, mask_head, maskiou_head: the parts.
        kwargs: detectron2's arguments for sampling.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        mask_pooler: AdaptiveROIPooler,
        mask_head: SpatialAttentionMaskHead,
        maskiou_head: MaskIoUHead,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = list(in_features)
        self.mask_pooler, self.mask_head, self.maskiou_head = mask_pooler, mask_head, maskiou_head

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Return the arguments of `__init__` from a config.

        Raises:
            ValueError: the boxes and the masks would have different numbers of classes.
        """
        num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        if num_classes != cfg.MODEL.FCOS.NUM_CLASSES:
            raise ValueError(
                f"MODEL.FCOS.NUM_CLASSES {cfg.MODEL.FCOS.NUM_CLASSES} and MODEL.ROI_HEADS.NUM_CLASSES {num_classes} "
                "differ: set both alike"
            )
        node, in_features = cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.CENTERMASK.IN_FEATURES
        resolution, channels = node.POOLER_RESOLUTION, input_shape[in_features[0]].channels
        shape = ShapeSpec(channels=channels, height=resolution, width=resolution)
        return super().from_config(cfg) | {
            "in_features": in_features,
            "mask_pooler": AdaptiveROIPooler(
                output_size=resolution,
                scales=[1 / input_shape[name].stride for name in in_features],
                sampling_ratio=node.POOLER_SAMPLING_RATIO,
                pooler_type=node.POOLER_TYPE,
            ),
            "mask_head": SpatialAttentionMaskHead(cfg, shape),
            "maskiou_head": MaskIoUHead(
                channels=channels,
                resolution=resolution,
                num_classes=num_classes,
                conv_dim=node.CONV_DIM,
                fc_dim=cfg.MODEL.CENTERMASK.FC_DIM,
            ),
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Return masks for FCOS's detections or, in training, losses.

        Args:
            images: not used.
            features: the pyramid's maps.
            proposals: of `FCOSProposals`.
            targets: in training, each image's `gt_boxes`, `gt_classes` and `gt_masks`; there may be none.

        Returns:
            The detections with `pred_masks` and `mask_scores`, or in training the RoIs that the heads learned on.
            `loss_mask` and `loss_maskiou`; empty outside training.

        Raises:
            ValueError: objects to learn have no masks.
        """
        if not self.training:
            return self.forward_with_given_boxes(features, proposals), {}
        assert targets is not None, "training needs instances"
        positives = self.sample(proposals, targets)
        return positives, self.losses(features, positives)

    def sample(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """Return RoIs of objects with all `gt_` fields of their objects, and `gt_areas`, the masks' areas in pixels.

        Raises:
            ValueError: objects to learn have no masks.
        """
        known = []
        for objects in targets:
            fields = dict(objects.get_fields())
            if objects.has("gt_masks"):
                areas = mask_areas(objects.gt_masks, 2 * self.mask_pooler.output_size[0])
                fields["gt_areas"] = areas.to(objects.gt_boxes.device)
            elif len(objects):
                raise ValueError("CenterMask needs masks, but these objects have only boxes: train FCOS instead")
            known.append(Instances(objects.image_size, **fields))
        return select_foreground_proposals(self.label_and_sample_proposals(proposals, known), self.num_classes)[0]

    def losses(self, features: dict[str, Tensor], positives: list[Instances]) -> dict[str, Tensor]:
        """Return the mean binary cross-entropy of the mask of an RoI's class, and `mask_iou_loss` of that mask.

        The IoU is between the mask at 0.5 and the complete object. As in Mask R-CNN, an RoI's mask is the part inside
        the RoI.
        """
        pooled = self._pool(features, positives, [rois.proposal_boxes for rois in positives])
        classes = torch.cat([rois.gt_classes for rois in positives])
        logits = _of_class(self.mask_head.layers(pooled), classes)  # (P, M, M)
        ious = _of_class(self.maskiou_head(pooled, logits.sigmoid()[:, None]), classes)
        if len(classes) == 0:  # zero, with a gradient of zero for all weights
            return {"loss_mask": logits.sum(), "loss_maskiou": ious.sum()}
        resolution = logits.shape[-1]
        truth, whole = [], []
        for rois in filter(len, positives):
            truth.append(rois.gt_masks.crop_and_resize(rois.proposal_boxes.tensor, resolution))
            whole.append(rois.gt_areas * resolution**2 / rois.proposal_boxes.area())
        inside = torch.cat(truth).to(logits.device)
        return {
            "loss_mask": F.binary_cross_entropy_with_logits(logits, inside.to(logits.dtype)),
            "loss_maskiou": mask_iou_loss(ious.float(), mask_iou(logits > 0, inside, torch.cat(whole))),
        }

    def forward_with_given_boxes(self, features: dict[str, Tensor], instances: list[Instances]) -> list[Instances]:
        """Add `pred_masks` (P, 1, M, M), probabilities, and `mask_scores` (P,) to boxes with classes and scores.

        The score of a mask is its box's score times the predicted IoU. `scores` stay the scores of the boxes.
        """
        pooled = self._pool(features, instances, [found.pred_boxes for found in instances])
        mask_rcnn_inference(self.mask_head.layers(pooled), instances)
        masks = torch.cat([found.pred_masks for found in instances])
        ious = _of_class(self.maskiou_head(pooled, masks), torch.cat([found.pred_classes for found in instances]))
        counts = [len(found) for found in instances]
        for found, iou in zip(instances, ious.float().clamp(0, 1).split(counts), strict=True):
            found.mask_scores = found.scores * iou
        return instances

    def _pool(self, features: dict[str, Tensor], instances: list[Instances], boxes: list[Boxes]) -> Tensor:
        sizes = [one.image_size for one in instances]
        return self.mask_pooler([features[name] for name in self.in_features], boxes, sizes)


def _of_class(predictions: Tensor, classes: Tensor) -> Tensor:
    """Select the prediction of each RoI's class (P,) from (P, K, ...): (P, ...)."""
    return predictions[torch.arange(len(classes), device=classes.device), classes]


@register_head("centermask", finest="p3", masks=True, family="dense")
def configure_centermask(cfg: CfgNode, architecture: Architecture, levels: list[str], image_scale: float) -> None:
    """Set `cfg.MODEL` for CenterMask; its masks are pooled from the three finest levels."""
    configure_proposals(cfg, architecture, levels, image_scale)
    _add_centermask(cfg)
    node, model = cfg.MODEL, architecture.model
    node.MASK_ON = True
    node.ROI_HEADS.NAME = "CenterMaskHeads"
    node.ROI_HEADS.NUM_CLASSES = architecture.num_classes
    node.ROI_HEADS.BATCH_SIZE_PER_IMAGE = model.roi_heads.batch_size_per_image
    node.CENTERMASK.IN_FEATURES = levels[:3]
    node.CENTERMASK.FC_DIM = model.roi_heads.fc_dim
    node.ROI_MASK_HEAD.NAME = "SpatialAttentionMaskHead"
    node.ROI_MASK_HEAD.NUM_CONV = 4
    node.ROI_MASK_HEAD.CONV_DIM = model.roi_heads.mask_dim
    node.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
