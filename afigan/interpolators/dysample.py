"""DySample: upsampling by sampling the map at learned positions.

Source: W. Liu, H. Lu, H. Fu, Z. Cao, "Learning to Upsample by Learning to Sample", ICCV 2023, section 3. Written
from the paper's formulas for this project; no other code is in it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afigan.interpolators.registry import register_interpolator


@register_interpolator("dysample-plus", learned=True, unrepeatable=True, scope=True)
@register_interpolator("dysample", learned=True, unrepeatable=True, scope=False)
class DySampleInterpolator(nn.Module):
    """Bilinear sampling of each group of channels at its own learned offsets; bilinear upsampling before training.

    The offset of an output pixel, in pixels of the input, is p0 + 0.25 * offset(x), where p0 is +-1/4, the output
    pixel's place in its input pixel. With a dynamic scope (`dysample-plus`) it is p0 + 0.5 * sigmoid(scope(x)) *
    offset(x). Both are the paper's "LP" style: a 1x1 convolution, then pixel shuffle. Positions are in float32.

    Shape: (N, C, H, W) -> (N, C, 2H, 2W), any H, W >= 1. There are 8,224 parameters at C = 256, 16,416 with a scope.

    The public module's weights fit: they have the names `offset.weight`, `offset.bias` and `scope.weight`, and the
    channels in the same order (x and y, group, 2 x 2). Its buffer `init_pos` is p0, and has to be left out.

    Args:
        channels: C.
        scope: whether the offsets have a dynamic scope.
        groups: groups of channels, each with its own offsets.

    Raises:
        ValueError: the groups do not divide C.
    """

    def __init__(self, channels: int, scope: bool, groups: int = 4) -> None:
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(
                f"dysample cannot split {channels} channels into {groups} groups: set its option groups to a divisor "
                f"of {channels}, or the number of channels to a multiple of {groups}"
            )
        self.groups = groups
        self.offset = nn.Conv2d(channels, 2 * groups * 4, 1)
        nn.init.normal_(self.offset.weight, std=0.001)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)
        self.scope = nn.Conv2d(channels, 2 * groups * 4, 1, bias=False) if scope else None
        if self.scope is not None:
            nn.init.zeros_(self.scope.weight)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Upsample (N, C, H, W) to (N, C, 2H, 2W); `guide` is ignored."""
        n, channels, height, width = x.shape
        offset = self.offset(x)
        offset = offset * 0.25 if self.scope is None else offset * self.scope(x).sigmoid() * 0.5
        offset = F.pixel_shuffle(offset.float(), 2).view(n, 2, self.groups, 2 * height, 2 * width)
        # an output pixel's centre in pixels of the input, where those have their centres at whole numbers: p0 included
        across = (torch.arange(2 * width, device=x.device) - 0.5) / 2 + offset[:, 0]
        down = ((torch.arange(2 * height, device=x.device) - 0.5) / 2)[:, None] + offset[:, 1]
        grid = torch.stack([(2 * across + 1) / width - 1, (2 * down + 1) / height - 1], dim=-1)
        sampled = F.grid_sample(
            x.reshape(n * self.groups, channels // self.groups, height, width).float(),
            grid.flatten(0, 1),
            padding_mode="border",
            align_corners=False,
        )
        return sampled.reshape(n, channels, 2 * height, 2 * width).to(x.dtype)
