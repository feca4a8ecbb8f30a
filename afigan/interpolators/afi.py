"""The AF interpolator G (section 3.1, Fig. 2a; Fig. 6 for residual blocks)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afigan.interpolators.registry import register_interpolator

GROWTH = 32  # channels that each convolution of a dense block adds
BETA = 0.2  # residual scaling
SLOPE = 0.2  # of LeakyReLU


class ResidualDenseBlock(nn.Module):
    """Five densely connected 3x3 convolutions without bias: x + 0.2 * f(x), (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, growth: int = GROWTH) -> None:
        super().__init__()
        outputs = (growth, growth, growth, growth, channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels + i * growth, out, 3, padding=1, bias=False) for i, out in enumerate(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for conv in self.convs[:-1]:
            features = torch.cat([features, F.leaky_relu(conv(features), SLOPE)], dim=1)
        return x + BETA * self.convs[-1](features)


class ResidualBlock(nn.Sequential):
    """conv3x3, BN, LReLU, conv3x3, BN and the identity; `width` channels between the convolutions."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _build_blocks(kind: str, channels: int) -> nn.Sequential:
    dense = [ResidualDenseBlock(channels) for _ in range(3)]
    if kind == "rdb":
        return nn.Sequential(*dense)
    if kind != "rb":
        raise ValueError(f"unknown blocks {kind!r} of the AF interpolator: choose rdb or rb")
    # this width gives five residual blocks as many parameters as three dense blocks (section 5.3, Fig. 6)
    target = sum(p.numel() for block in dense for p in block.parameters())
    width = round((target / 5 - 2 * channels) / (18 * channels + 2))
    return nn.Sequential(*(ResidualBlock(channels, width) for _ in range(5)))


def start_small(network: nn.Module) -> None:
    """Draw a tenth of Kaiming's normal weights for all convolutions, and zero biases (docs/method.md)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
            module.weight.data.mul_(0.1)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@register_interpolator("afi", learned=True, shared=True)
class AFInterpolator(nn.Module):
    """G: bilinear x2 plus a learned correction, which is almost 0 before training.

    Shape: (N, C, H, W) -> (N, C, 2H, 2W), any H, W >= 1. G has 7,834,624 parameters at C = 256 with dense blocks.

    Args:
        channels: C.
        blocks: `rdb`, three residual dense blocks (Fig. 2a), or `rb`, five residual blocks (Fig. 6).

    Raises:
        ValueError: unknown `blocks`.
    """

    def __init__(self, channels: int, blocks: Literal["rdb", "rb"] = "rdb") -> None:
        super().__init__()
        self.head = nn.Conv2d(channels, channels, 3, padding=1)
        self.blocks = _build_blocks(blocks, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.deconv = nn.ConvTranspose2d(channels, channels, 6, stride=2, padding=2)
        self.tail = nn.Conv2d(channels, channels, 3, padding=1)
        start_small(self)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Upsample (N, C, H, W) to (N, C, 2H, 2W); `guide` is ignored."""
        features = F.leaky_relu(self.head(x), SLOPE)
        features = features + BETA * self.blocks(features)
        features = F.leaky_relu(self.conv(features), SLOPE)
        features = F.leaky_relu(self.deconv(features), SLOPE)
        return self.tail(features) + F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
