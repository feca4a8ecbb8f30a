"""A lighter G: section 5.2 of the paper says that the speed can be improved by one, and does not describe it."""

from torch import Tensor, nn
from torch.nn import functional as F

from afigan.interpolators.afi import BETA, SLOPE, ResidualDenseBlock, start_small
from afigan.interpolators.registry import register_interpolator

REDUCTION = 4  # of the channels inside
GROWTH = 16
BLOCKS = 2  # G has three


@register_interpolator("afi-light", learned=True, shared=True)
class LightAFInterpolator(nn.Module):
    """G with C/4 channels inside: bilinear x2 plus a learned correction, which is almost 0 before training.

    A 1x1 convolution reduces the channels. G's layers follow at that width: a convolution, two residual dense blocks
    of growth 16 with one shortcut around them, a convolution and the 6x6 transposed convolution. The last layer, back
    to C channels, is a 1x1 convolution in place of G's 3x3.

    Shape: (N, C, H, W) -> (N, C, 2H, 2W), any H, W >= 1. At C = 256 it has 503,296 parameters, and 5.7 % of G's
    multiply-adds.

    A 3x3 last layer would add 5 % of G's multiply-adds, more than a tenth in all. A third block would add 2 % of G's
    time. A sub-pixel convolution takes as long as the transposed one. docs/benchmarks.md has the times of all variants
    that were tried.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(1, channels // REDUCTION)
        self.reduce = nn.Conv2d(channels, width, 1)
        self.head = nn.Conv2d(width, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualDenseBlock(width, GROWTH) for _ in range(BLOCKS)))
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.deconv = nn.ConvTranspose2d(width, width, 6, stride=2, padding=2)
        self.tail = nn.Conv2d(width, channels, 1)
        start_small(self)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Upsample (N, C, H, W) to (N, C, 2H, 2W); `guide` is ignored."""
        features = F.leaky_relu(self.head(self.reduce(x)), SLOPE)
        features = features + BETA * self.blocks(features)
        features = F.leaky_relu(self.conv(features), SLOPE)
        features = F.leaky_relu(self.deconv(features), SLOPE)
        return self.tail(features) + F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
