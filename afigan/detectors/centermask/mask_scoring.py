"""The IoU of a mask with its object, and a head that predicts it (Mask Scoring R-CNN, Huang et al., 2019)."""

import torch
from detectron2.structures import BitMasks, PolygonMasks
from fvcore.nn import weight_init
from torch import Tensor, nn
from torch.nn import functional as F


def mask_areas(masks: BitMasks | PolygonMasks, resolution: int) -> Tensor:
    """Return the areas (G,) of an image's masks in pixels, counted on a grid of `resolution` cells over tight boxes."""
    boxes = masks.get_bounding_boxes().to(masks.device)
    cells = masks.crop_and_resize(boxes.tensor, resolution).flatten(1).sum(dim=1)
    return cells * boxes.area() / resolution**2


def mask_iou(predicted: Tensor, truth: Tensor, whole: Tensor) -> Tensor:
    """Return the IoU (P,) of masks with their objects; a RoI may contain only a part of its object.

    Args:
        predicted, truth: (P, M, M) bool, both inside the RoI.
        whole: (P,), the area of the object inside and outside the RoI, in cells of the RoI's grid.
    """
    overlap = (predicted & truth).flatten(1).sum(dim=1)
    # the parts inside the RoI and the complete objects are counted on two grids
    whole = torch.maximum(whole, truth.flatten(1).sum(dim=1))
    union = predicted.flatten(1).sum(dim=1) + whole - overlap
    return overlap / union.clamp(min=1)


def mask_iou_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of 0.5 (predicted IoU - IoU)^2 over RoIs whose mask overlaps its object (Huang et al., 3.3).

    Args:
        predicted, truth: (P,); P may be 0.

    Returns:
        A scalar; 0, with a gradient of 0, if no mask overlaps its object.
    """
    overlaps = truth > 0
    squares = torch.where(overlaps, 0.5 * (predicted - truth) ** 2, 0)
    return squares.sum() / overlaps.sum().clamp(min=1)


class MaskIoUHead(nn.Module):
    """A head that predicts the IoU of a mask with its object from the RoI's features and the mask.

    The mask is not detached: the loss of this head trains the mask head too. Hidden layers start from Kaiming's normal
    initialisation (fan-out), as in CenterMask's own code.

    Args:
        channels: of the RoI features.
        resolution: their side; the mask's side is twice as long.
        num_classes: K.
        conv_dim: channels of the four 3x3 convolutions, the last of which has stride 2.
        fc_dim: of the two hidden fully connected layers.
    """

    def __init__(self, *, channels: int, resolution: int, num_classes: int, conv_dim: int, fc_dim: int) -> None:
        super().__init__()
        widths = [channels + 1, conv_dim, conv_dim, conv_dim, conv_dim]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=stride, padding=1)
            for before, after, stride in zip(widths, widths[1:], [1, 1, 1, 2], strict=False)
        )
        hidden = [nn.Linear(conv_dim * ((resolution + 1) // 2) ** 2, fc_dim), nn.Linear(fc_dim, fc_dim)]
        self.fcs = nn.ModuleList(hidden)
        self.predictor = nn.Linear(fc_dim, num_classes)
        for conv in self.convs:
            weight_init.c2_msra_fill(conv)
        for fc in hidden:
            nn.init.kaiming_normal_(fc.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(fc.bias)
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, features: Tensor, masks: Tensor) -> Tensor:
        """Map RoI features (P, C, H, W) and mask probabilities (P, 1, 2H, 2W) to a mask's IoU per class (P, K)."""
        x = torch.cat([features, F.max_pool2d(masks, 2)], dim=1)
        for conv in self.convs:
            x = conv(x).relu()
        x = x.flatten(1)
        for fc in self.fcs:
            x = fc(x).relu()
        return self.predictor(x)
