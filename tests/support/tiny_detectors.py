"""FCOS and CenterMask at toy size, on a pyramid of a few convolutions, and images for them."""

from itertools import pairwise

import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from detectron2.structures import Boxes, Instances, PolygonMasks
from torch import nn

from afigan.detectors.centermask.heads import add_centermask_config

C = 16
STRIDES = {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128}


class TinyPyramid(Backbone):
    """A pyramid p3 to p7 of strided convolutions, nothing else."""

    def __init__(self, cfg, input_shape):
        super().__init__()
        widths = [3, C, C, C, *[C] * 4]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(widths)
        )

    def forward(self, x):
        maps = []
        for conv in self.convs:
            x = conv(x).relu()
            maps.append(x)
        return dict(zip(STRIDES, maps[2:], strict=True))

    def output_shape(self):
        return {name: ShapeSpec(channels=C, stride=stride) for name, stride in STRIDES.items()}

    @property
    def size_divisibility(self):
        return 32


BACKBONE_REGISTRY.register(TinyPyramid)


def config(masks=False, **changes):
    """Return a detectron2 config; dots in names are written as two underscores."""
    cfg = get_cfg()
    add_centermask_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "TinyPyramid"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [120.0] * 3, [60.0] * 3
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "FCOSProposals"
    cfg.MODEL.ROI_HEADS.NAME = "CenterMaskHeads" if masks else "NoROIHeads"
    cfg.MODEL.MASK_ON = masks
    cfg.MODEL.FCOS.NUM_CLASSES = cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.FCOS.NUM_CONVS = 2
    cfg.MODEL.FCOS.SIZES_OF_INTEREST = [32, 64, 128, 256]
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 2
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = C
    cfg.MODEL.CENTERMASK.FC_DIM = 32
    cfg.merge_from_list([part for item in changes.items() for part in (item[0].replace("__", "."), item[1])])
    return cfg


def tiny(masks=False, seed=0, **changes):
    """Build a detector, its weights drawn from a seed."""
    torch.manual_seed(seed)
    return build_model(config(masks, **changes))


def rectangle(x0, y0, x1, y1):
    """Return the polygons of a filled rectangle."""
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def sample(boxes, classes, size=(96, 128), masks=False, seed=0):
    """Return a training sample: an image of noise on which an object is a plain rectangle in its class's colour."""
    height, width = size
    image = torch.randint(
        100, 140, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    for (x0, y0, x1, y1), label in zip(boxes, classes, strict=True):
        image[:, int(y0) : int(y1), int(x0) : int(x1)] = 0
        image[label, int(y0) : int(y1), int(x0) : int(x1)] = 255
    if masks and boxes:  # as detectron2's mappers, which give an image without objects no masks
        instances.gt_masks = PolygonMasks([rectangle(*box) for box in boxes])
    return {"image": image, "instances": instances, "height": height, "width": width}


def without_truth(item):
    return {key: value for key, value in item.items() if key != "instances"}
