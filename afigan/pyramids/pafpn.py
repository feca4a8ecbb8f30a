"""PAFPN with any interpolator (Fig. 3b): FPN and the bottom-up path of PANet (Liu et al., CVPR 2018, section 3.1)."""

from collections.abc import Sequence
from typing import Any

from detectron2.layers import Conv2d, get_norm
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn

from afigan.pyramids.fpn import InterpolatedFPN


class InterpolatedPAFPN(InterpolatedFPN):
    """FPN's maps P_i, then N_i from fine to coarse: N_2 = P_2, N_{i+1} = conv(conv of stride 2(N_i) + P_{i+1}).

    Both convolutions are 3x3 and have no activation, as in detectron2's FPN. Only the top-down path upsamples. Other
    implementations differ: see docs/method.md.

    Args:
        out_channels: C.
        norm: normalisation of the convolutions.
        fpn: its other arguments except `upsampling`; a `top_block` from "p5" takes N_5.

    Raises:
        ValueError: unknown interpolator or option.
    """

    def __init__(self, *, out_channels: int, norm: str = "", **fpn: Any) -> None:
        super().__init__(out_channels=out_channels, norm=norm, upsampling="per_level", **fpn)

        def conv(stride: int) -> Conv2d:
            normalise = get_norm(norm, out_channels)
            layer = Conv2d(out_channels, out_channels, 3, stride, padding=1, bias=not norm, norm=normalise)
            c2_xavier_fill(layer)
            return layer

        coarser = self.interpolated_levels[1:]
        self.augment_down = nn.ModuleDict({level: conv(stride=2) for level in coarser})
        self.augment_output = nn.ModuleDict({level: conv(stride=1) for level in coarser})

    def outputs(self, merged: list[Tensor]) -> list[Tensor]:
        finest, *others = super().outputs(merged)
        maps = [finest]
        for level, lateral in zip(self.interpolated_levels[1:], others, strict=True):
            maps.append(self.augment_output[level](self.augment_down[level](maps[-1]) + lateral))
        return maps

    def _output_modules(self) -> Sequence[nn.Module]:
        return [super()._output_modules()[0], *self.augment_output.values()]
