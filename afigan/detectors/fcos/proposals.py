"""FCOS (Tian et al., 2019; 2020; the choices where implementations differ are in docs/method.md).

detectron2 has an FCOS of its own. This one differs: it samples objects' centres on levels whose sizes of interest can
be set, weights GIoU by centerness, and is a proposal generator, so that CenterMask can use it. In detectron2, FCOS
alone is a `GeneralizedRCNN` whose proposals are final:

    add_fcos_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_afigan_retinanet_fpn_backbone"  # any that gives p3..p7
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "FCOSProposals"
    cfg.MODEL.ROI_HEADS.NAME = "NoROIHeads"
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, batched_nms
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from afigan.detectors.architecture import Architecture
from afigan.detectors.fcos.head import FCOSHead
from afigan.detectors.fcos.losses import box_loss, centerness_loss, classification_loss
from afigan.detectors.fcos.targets import Locations, assign, decode, encode
from afigan.detectors.heads import register_head


def add_fcos_config(cfg: CfgNode) -> None:
    """Add `MODEL.FCOS`, with the paper's values for COCO, to a detectron2 config.

    The number of an image's detections is detectron2's `TEST.DETECTIONS_PER_IMAGE`.
    """
    cfg.MODEL.FCOS = CfgNode(
        {
            "NUM_CLASSES": 80,
            "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
            "NUM_CONVS": 4,  # of each tower
            # pixels: the distances to an object's farthest side at which one level ends and the next begins
            "SIZES_OF_INTEREST": [64, 128, 256, 512],
            "CENTER_SAMPLING_RADIUS": 1.5,  # strides
            "FOCAL_ALPHA": 0.25,
            "FOCAL_GAMMA": 2.0,
            "PRIOR_PROB": 0.01,  # of an object of a class at a location, before training
            "SCORE_THRESH_TEST": 0.05,  # lowest sqrt(class probability x centerness)
            "TOPK_CANDIDATES_TEST": 1000,  # per level, before NMS
            "NMS_THRESH_TEST": 0.6,
        }
    )


@PROPOSAL_GENERATOR_REGISTRY.register()
class FCOSProposals(nn.Module):
    """FCOS on the maps of a pyramid.

    The limits of detections are attributes that may be changed at any time: `test_score_thresh`,
    `test_topk_candidates`, `test_nms_thresh`, `max_detections_per_image`.

    Args:
        in_features: names of the maps, from fine to coarse.
        strides: of the maps, in pixels.
        head: returns class logits, distances and centerness logits.
        num_classes: K.
        bounds: in pixels, where the sizes of interest of neighbouring levels meet.
        radius: of centre sampling, in strides.
        focal_alpha, focal_gamma: of the focal loss.
        test_score_thresh: lowest score of a detection.
        test_topk_candidates: detections per level before NMS.
        test_nms_thresh: IoU above which NMS removes the lower of two detections of a class.
        max_detections_per_image: the limit after NMS.
        detect_in_training: whether to return detections in training too, for RoI heads to learn on.

    Raises:
        ValueError: the bounds do not fit the levels.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        strides: list[int],
        head: nn.Module,
        num_classes: int,
        bounds: list[float],
        radius: float = 1.5,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.6,
        max_detections_per_image: int = 100,
        detect_in_training: bool = False,
    ) -> None:
        super().__init__()
        if len(bounds) != len(in_features) - 1 or sorted(bounds) != list(bounds):
            raise ValueError(
                f"MODEL.FCOS.SIZES_OF_INTEREST {list(bounds)}: {len(in_features)} levels need "
                f"{len(in_features) - 1} bounds in ascending order"
            )
        self.in_features, self.strides, self.bounds = list(in_features), list(strides), list(bounds)
        self.head, self.num_classes, self.radius = head, num_classes, radius
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma
        self.test_score_thresh, self.test_topk_candidates = test_score_thresh, test_topk_candidates
        self.test_nms_thresh, self.max_detections_per_image = test_nms_thresh, max_detections_per_image
        self.detect_in_training = detect_in_training

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        node = cfg.MODEL.FCOS
        shapes = [input_shape[name] for name in node.IN_FEATURES]
        head = FCOSHead(
            channels=shapes[0].channels,
            num_levels=len(shapes),
            num_classes=node.NUM_CLASSES,
            num_convs=node.NUM_CONVS,
            prior_prob=node.PRIOR_PROB,
        )
        return {
            "in_features": node.IN_FEATURES,
            "strides": [shape.stride for shape in shapes],
            "head": head,
            "num_classes": node.NUM_CLASSES,
            "bounds": node.SIZES_OF_INTEREST,
            "radius": node.CENTER_SAMPLING_RADIUS,
            "focal_alpha": node.FOCAL_ALPHA,
            "focal_gamma": node.FOCAL_GAMMA,
            "test_score_thresh": node.SCORE_THRESH_TEST,
            "test_topk_candidates": node.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": node.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "detect_in_training": cfg.MODEL.MASK_ON,
        }

    def forward(
        self, images: ImageList, features: dict[str, Tensor], gt_instances: list[Instances] | None = None
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Return detections and, in training, losses.

        Args:
            images: the batch; only the images' sizes without padding are used.
            features: the pyramid's maps.
            gt_instances: in training, each image's `gt_boxes` and `gt_classes`; there may be none.

        Returns:
            An image's `pred_boxes`, `scores` and `pred_classes`, best first; in training, for RoI heads to sample,
            `proposal_boxes` and `objectness_logits`, or an empty list. `loss_fcos_cls`, `loss_fcos_box` and
            `loss_fcos_centerness`; empty outside training.
        """
        maps = [features[name] for name in self.in_features]
        locations = Locations.of(maps, self.strides, self.bounds)
        classes, distances, centerness = self.head(maps)
        if not self.training:
            return self.detect(locations, classes, distances, centerness, images.image_sizes), {}
        assert gt_instances is not None, "training needs instances"
        proposals = []
        if self.detect_in_training:
            with torch.no_grad():
                detections = self.detect(locations, classes, distances, centerness, images.image_sizes)
            for found in detections:
                logits = found.scores.logit()
                proposals.append(Instances(found.image_size, proposal_boxes=found.pred_boxes, objectness_logits=logits))
        return proposals, self.losses(locations, classes, distances, centerness, gt_instances)

    def losses(
        self,
        locations: Locations,
        classes: Tensor,
        distances: Tensor,
        centerness: Tensor,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Return the three terms of the loss from the head's predictions."""
        assigned = [assign(locations, instances.gt_boxes, self.radius) for instances in gt_instances]
        positive = torch.stack(assigned) >= 0  # (N, R)
        where = positive.nonzero()[:, 1]  # image by image, like the objects below
        objects = [index[index >= 0] for index in assigned]
        boxes = torch.cat([i.gt_boxes.tensor[index] for i, index in zip(gt_instances, objects, strict=True)])
        labels = torch.cat([i.gt_classes[index] for i, index in zip(gt_instances, objects, strict=True)])
        truth = encode(locations.points[where], locations.strides[where], boxes)
        focal = {"alpha": self.focal_alpha, "gamma": self.focal_gamma}
        return {
            "loss_fcos_cls": classification_loss(classes, positive, labels, **focal),
            "loss_fcos_box": box_loss(distances[positive], truth),
            "loss_fcos_centerness": centerness_loss(centerness[positive], truth, positive),
        }

    def detect(
        self,
        locations: Locations,
        classes: Tensor,
        distances: Tensor,
        centerness: Tensor,
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Return each image's detections, best first, from the head's predictions."""
        scores = (classes.sigmoid() * centerness.sigmoid()[..., None]).sqrt()
        return [self._detect(locations, *image) for image in zip(scores, distances, image_sizes, strict=True)]

    def _detect(
        self, locations: Locations, scores: Tensor, distances: Tensor, image_size: tuple[int, int]
    ) -> Instances:
        """Return one image's detections from scores (R, K) and distances (R, 4)."""
        chosen = []
        for level in locations.levels:
            flat = scores[level].flatten()
            candidates = (flat > self.test_score_thresh).nonzero().squeeze(1)
            best = flat[candidates].topk(min(len(candidates), self.test_topk_candidates)).indices
            chosen.append(candidates[best] + level.start * self.num_classes)
        index = torch.cat(chosen)
        where, labels = index // self.num_classes, index % self.num_classes
        boxes = Boxes(decode(locations.points[where], locations.strides[where], distances[where]))
        boxes.clip(image_size)
        found = Instances(image_size, pred_boxes=boxes, scores=scores.flatten()[index], pred_classes=labels)
        found = found[boxes.nonempty()]  # a box in the padding is empty after clipping
        keep = batched_nms(found.pred_boxes.tensor, found.scores, found.pred_classes, self.test_nms_thresh)
        return found[keep[: self.max_detections_per_image]]


@ROI_HEADS_REGISTRY.register()
class NoROIHeads(nn.Module):
    """RoI heads that do nothing, for FCOS: the proposals are the detections."""

    def __init__(self, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> None:
        super().__init__()

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        return proposals, {}

    def forward_with_given_boxes(self, features: dict[str, Tensor], instances: list[Instances]) -> list[Instances]:
        """Return the boxes unchanged."""
        return instances


def configure_proposals(cfg: CfgNode, architecture: Architecture, levels: list[str], image_scale: float) -> None:
    """Set `cfg.MODEL` for FCOS as the proposal generator of a head."""
    add_fcos_config(cfg)
    node = cfg.MODEL
    node.AFIGAN.P6_FROM = "p5"
    node.FCOS.IN_FEATURES = levels
    node.FCOS.NUM_CLASSES = architecture.num_classes
    limits = architecture.model.sizes_of_interest or node.FCOS.SIZES_OF_INTEREST
    node.FCOS.SIZES_OF_INTEREST = [size * image_scale for size in limits]
    node.META_ARCHITECTURE = "GeneralizedRCNN"
    node.PROPOSAL_GENERATOR.NAME = "FCOSProposals"


@register_head("fcos", finest="p3", masks=False, family="dense")
def configure_fcos(cfg: CfgNode, architecture: Architecture, levels: list[str], image_scale: float) -> None:
    """Set `cfg.MODEL` for FCOS, whose proposals are final."""
    configure_proposals(cfg, architecture, levels, image_scale)
    cfg.MODEL.MASK_ON = False
    cfg.MODEL.ROI_HEADS.NAME = "NoROIHeads"
