"""LDA-AQU: every output pixel attends to nine points of the map, whose positions are learned.

Source: Z. Du et al., "LDA-AQU: Adaptive Query-guided Upsampling via Local Deformable Attention", ACM MM 2024, section
3. Written from the paper's formulas for this project; no other code is in it.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afigan.interpolators.registry import register_interpolator

REDUCTION = 4  # of C, for queries and keys
SIDE = 3  # of the grid of points
POINTS = SIDE**2
REACH = 11.0  # largest offset, in output pixels


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of each position's channels: (N, C, H, W) -> (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@register_interpolator("lda-aqu", learned=True, unrepeatable=True)
class LdaAquInterpolator(nn.Module):
    """Local deformable attention of queries between the input pixels to keys and values of the map.

    Queries and keys are 1x1 convolutions of the normalised map, with C/4 channels; the queries are upsampled bilinearly
    with aligned corners. A group of channels has the points p + 3x3 grid + 11 * tanh(offset(q)) of its own around the
    output pixel p, in output pixels; channel 2k of `offset` is along x and 2k + 1 along y for point k. Keys and the map
    are sampled there bilinearly, with aligned corners and 0 outside the map. The output is
    softmax_9(q . (key + bias) / sqrt(C/4)) . values. Positions are in float32.

    Shape: (N, C, H, W) -> (N, C, 2H, 2W), any H, W >= 1. There are 39,410 parameters at C = 256.

    Args:
        channels: C.
        groups: groups of channels, each with its own points.

    Raises:
        ValueError: C is not a multiple of 4 times the groups.
    """

    def __init__(self, channels: int, groups: int = 2) -> None:
        super().__init__()
        if groups < 1 or channels % (REDUCTION * groups):
            raise ValueError(
                f"lda-aqu cannot split {channels} / {REDUCTION} channels into {groups} groups: set the number of "
                f"channels to a multiple of {REDUCTION} times its option groups"
            )
        self.groups, width = groups, channels // REDUCTION
        self.norm = ChannelNorm(channels)
        self.query = nn.Conv2d(channels, width, 1, bias=False)
        self.key = nn.Conv2d(channels, width, 1, bias=False)
        each = width // groups
        self.offset = nn.Sequential(
            nn.Conv2d(each, each, 3, padding=1, groups=each, bias=False),
            ChannelNorm(each),
            nn.GELU(),
            nn.Conv2d(each, 2 * POINTS, 3, padding=1),
        )
        # a normal distribution truncated at -2 and 2 is the same: these are a hundred deviations away
        self.bias = nn.Parameter(nn.init.normal_(torch.empty(POINTS, width), std=0.02))
        first, last = self.offset[0], self.offset[3]
        assert isinstance(first, nn.Conv2d) and isinstance(last, nn.Conv2d) and last.bias is not None
        for conv in (self.query, self.key, first):
            nn.init.xavier_uniform_(conv.weight)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Upsample (N, C, H, W) to (N, C, 2H, 2W); `guide` is ignored."""
        normalised = self.norm(x)
        query = F.interpolate(self.query(normalised), scale_factor=2.0, mode="bilinear", align_corners=True)
        key = self._grouped(self.key(normalised)).float()
        grids = self._grids(query)
        query = query.float() / math.sqrt(query.shape[1])
        # one point at a time: the values of all points together are nine times as large as the output
        scores = torch.stack(
            [
                (query * (self._sampled(key, grids[:, k]) + self.bias[k, :, None, None])).sum(dim=1)
                for k in range(POINTS)
            ]
        )
        weights, values = scores.softmax(dim=0)[:, :, None], self._grouped(x).float()
        total = weights[0] * self._sampled(values, grids[:, 0])
        for k in range(1, POINTS):
            total.addcmul_(weights[k], self._sampled(values, grids[:, k]))
        return total.to(x.dtype)

    def _grouped(self, x: Tensor) -> Tensor:
        """Move groups of channels into the batch: (N, C, H, W) -> (N * groups, C / groups, H, W)."""
        n, channels, height, width = x.shape
        return x.reshape(n * self.groups, channels // self.groups, height, width)

    def _grids(self, query: Tensor) -> Tensor:
        """Return positions of nine points for `grid_sample`: (N, C/4, 2H, 2W) -> (N * groups, 9, 2H, 2W, 2)."""
        height, width = query.shape[-2:]
        offset = REACH * self.offset(self._grouped(query)).float().tanh()
        offset = offset.unflatten(1, (POINTS, 2))
        point = torch.arange(POINTS, device=query.device)[:, None, None]
        across = torch.arange(width, device=query.device) + (point % SIDE - 1) + offset[:, :, 0]
        down = torch.arange(height, device=query.device)[:, None] + (point // SIDE - 1) + offset[:, :, 1]
        return torch.stack([2 * across / (width - 1) - 1, 2 * down / (height - 1) - 1], dim=-1)

    def _sampled(self, grouped: Tensor, grid: Tensor) -> Tensor:
        """Sample (N * groups, C / groups, H, W) at (N * groups, 2H, 2W, 2): (N, C, 2H, 2W)."""
        sampled = F.grid_sample(grouped, grid, align_corners=True)
        return sampled.reshape(sampled.shape[0] // self.groups, self.groups * sampled.shape[1], *sampled.shape[2:])
