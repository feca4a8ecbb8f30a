"""BiFPN with any interpolator (Fig. 3c): P3-P7, fused repeatedly (Tan et al., EfficientDet, CVPR 2020)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from detectron2.layers import Conv2d, DepthwiseSeparableConv2d, get_norm
from detectron2.modeling.backbone import Backbone
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn
from torch.nn import functional as F

from afigan.pyramids.base import Pyramid
from afigan.pyramids.upsampling import Upsampling

LEVELS = ("p3", "p4", "p5", "p6", "p7")
SOURCES = {"p3": "res3", "p4": "res4", "p5": "res5", "p6": "res5"}  # input of a level's 1x1 convolution
REPEATS = 3  # with ResNet; 7 with Swin (Fig. 3)
PLACES = len(LEVELS) - 1  # upsampling places in one repeat
EPSILON = 1e-4  # of the fusion: no division by zero if all weights are zero
NORM_EPSILON, NORM_MOMENTUM = 1e-3, 0.01  # of batch normalisation, as in EfficientDet; the momentum in torch's sense


def halve(x: Tensor) -> Tensor:
    """Pool (N, C, H, W) to (N, C, ceil(H / 2), ceil(W / 2)); position i covers 2i, as in the stride-2 convolutions."""
    return F.max_pool2d(x, 3, stride=2, padding=1)


class Fusion(nn.Module):
    """One node: the maps' mean with learned weights relu(w) / (sum + 1e-4), Swish, a separable convolution and BN.

    Args:
        channels: C.
        inputs: the number of maps that it fuses.
        norm: detectron2's name of the normalisation.
    """

    def __init__(self, channels: int, inputs: int, norm: str) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs))
        self.conv = DepthwiseSeparableConv2d(channels, channels, norm2=norm)

    def forward(self, *maps: Tensor) -> Tensor:
        """Fuse maps of one shape, (N, C, H, W) each, to (N, C, H, W)."""
        positive = F.relu(self.weights)
        shares = positive / (positive.sum() + EPSILON)
        return self.conv(F.silu(sum(share * x for share, x in zip(shares, maps, strict=True))))


class Repeat(nn.Module):
    """One repeat: top-down with the pyramid's interpolators, then bottom-up with max pooling.

    Args:
        channels: C.
        norm: of its nodes.
    """

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.top_down = nn.ModuleDict({level: Fusion(channels, 2, norm) for level in reversed(LEVELS[:-1])})
        self.bottom_up = nn.ModuleDict({level: Fusion(channels, 3, norm) for level in LEVELS[1:-1]})
        self.bottom_up[LEVELS[-1]] = Fusion(channels, 2, norm)  # no level is above it, so it has no top-down node

    def forward(
        self, maps: dict[str, Tensor], again: dict[str, Tensor], upsample: Upsampling, first_place: int
    ) -> dict[str, Tensor]:
        """Fuse the maps of `LEVELS`, (N, C, H_i, W_i) each, to maps of the same shapes.

        Args:
            maps: the input.
            again: the maps that replace the input in the bottom-up nodes, by level.
            upsample: the pyramid's interpolators.
            first_place: the first place of this repeat among the interpolators.
        """
        middle = {LEVELS[-1]: maps[LEVELS[-1]]}
        for place, (coarser, level) in enumerate(pairwise(reversed(LEVELS)), start=first_place):
            from_above = upsample(middle[coarser], place, maps[level].shape[-2:], maps[level])
            middle[level] = self.top_down[level](maps[level], from_above)
        outputs = {LEVELS[0]: middle[LEVELS[0]]}
        for finer, level in pairwise(LEVELS):
            own = [again.get(level, maps[level])] + ([middle[level]] if level != LEVELS[-1] else [])
            outputs[level] = self.bottom_up[level](*own, halve(outputs[finer]))
        return outputs


class InterpolatedBiFPN(Pyramid):
    """P3-P7 from res3-res5, fused in `repeats` rounds; an interpolator does each upsampling of each round.

    P6 and P7 start as poolings of a 1x1 convolution of res5. As in EfficientDet, P4 and P5 enter the first round's
    bottom-up nodes through 1x1 convolutions of their own. In training, batch normalisation needs more than one
    position in a batch, so a P7 of 1x1 needs more than one image.

    Args:
        bottom_up: the backbone, with `res3`…`res5`, each half the size of the one before (rounded up).
        out_channels: C.
        interpolator: a name of `INTERPOLATORS`.
        options: of the interpolator.
        repeats: the paper has 3 with ResNet, 7 with Swin (Fig. 3).
        norm: of each 1x1 and each separable convolution: detectron2's names, `BN`, `SyncBN`, …; batch normalisation has
            EfficientDet's eps 1e-3 and momentum 0.01.

    Raises:
        ValueError: unknown interpolator or option, no repeat, no normalisation.
    """

    interpolated_levels = LEVELS

    def __init__(
        self,
        *,
        bottom_up: Backbone,
        out_channels: int,
        interpolator: str,
        options: dict[str, Any] | None = None,
        repeats: int = REPEATS,
        norm: str = "BN",
    ) -> None:
        if repeats < 1:
            raise ValueError(f"a BiFPN of {repeats} repeats has no fusion: choose 1 or more")
        if not norm:
            raise ValueError("a BiFPN does not train without normalisation: choose BN, SyncBN or another of detectron2")
        super().__init__()
        self.bottom_up = bottom_up
        shapes = bottom_up.output_shape()

        def lateral(level: str) -> Conv2d:
            normalise = get_norm(norm, out_channels)
            conv = Conv2d(shapes[SOURCES[level]].channels, out_channels, 1, bias=False, norm=normalise)
            c2_xavier_fill(conv)
            return conv

        self.laterals = nn.ModuleDict({level: lateral(level) for level in SOURCES})
        self.laterals_again = nn.ModuleDict({level: lateral(level) for level in ("p4", "p5")})
        self.repeats = nn.ModuleList(Repeat(out_channels, norm) for _ in range(repeats))
        for module in [*self.laterals.modules(), *self.laterals_again.modules(), *self.repeats.modules()]:
            if hasattr(module, "eps") and hasattr(module, "momentum"):  # FrozenBN and GN have no momentum
                module.eps, module.momentum = NORM_EPSILON, NORM_MOMENTUM  # type: ignore[assignment]  # not attributes of every nn.Module
        self.upsample = Upsampling(interpolator, out_channels, repeats * PLACES, **(options or {}))
        self._out_features = list(LEVELS)
        self._out_feature_channels = dict.fromkeys(LEVELS, out_channels)
        self._out_feature_strides = {level: 2 ** int(level[1:]) for level in LEVELS}
        self._size_divisibility = shapes["res5"].stride

    @property
    def size_divisibility(self) -> int:
        """The divisor of image sizes, as in an FPN; P6 and P7 are cropped where they are not exact halves."""
        return self._size_divisibility

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.bottom_up(images)
        maps = {level: conv(features[SOURCES[level]]) for level, conv in self.laterals.items()}
        maps["p6"] = halve(maps["p6"])
        maps["p7"] = halve(maps["p6"])
        again = {level: conv(features[SOURCES[level]]) for level, conv in self.laterals_again.items()}
        for index, repeat in enumerate(self.repeats):
            maps = repeat(maps, again, self.upsample, index * PLACES)
            again = {}
        return maps

    def merged(self, images: Tensor) -> dict[str, Tensor]:
        raise ValueError("a BiFPN has no merged maps before output convolutions: use features: output")

    def _output_modules(self) -> Sequence[nn.Module]:
        last = self.repeats[-1]
        assert isinstance(last, Repeat)
        return [last.top_down[LEVELS[0]], *last.bottom_up.values()]
