"""CenterMask's mask head: Mask R-CNN's head with spatial attention (Lee & Park, 2020)."""

from typing import Any

import torch
from detectron2.modeling.roi_heads import MaskRCNNConvUpsampleHead
from fvcore.nn import weight_init
from torch import Tensor, nn


class SpatialAttention(nn.Module):
    """A learned weight for each position: x * sigmoid(conv3x3(mean and max over channels))."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)
        weight_init.c2_msra_fill(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the positions of features (P, C, H, W); the shape does not change."""
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * self.conv(summary).sigmoid()


class SpatialAttentionMaskHead(MaskRCNNConvUpsampleHead):
    """Mask R-CNN's head with spatial attention between its 3x3 convolutions and the deconvolution."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.attention = SpatialAttention()

    def layers(self, x: Tensor) -> Tensor:
        """Map RoI features (P, C, H, W) to mask logits (P, K, 2H, 2W)."""
        for conv in self.conv_norm_relus:
            x = conv(x)
        return self.predictor(self.deconv_relu(self.deconv(self.attention(x))))
