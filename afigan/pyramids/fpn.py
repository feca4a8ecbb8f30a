"""FPN with any interpolator (Fig. 3a)."""

from collections.abc import Sequence
from typing import Any

from detectron2.modeling.backbone import FPN, Backbone
from torch import Tensor, nn

from afigan.pyramids.base import Pyramid
from afigan.pyramids.upsampling import Upsampling

UPSAMPLING = ("per_level", "iterated")


class InterpolatedFPN(Pyramid, FPN):
    """detectron2's FPN with an interpolator for nearest-neighbour upsampling; the other parameters keep their names.

    Args:
        bottom_up: the backbone.
        in_features: its maps, from high to low resolution, each half the size of the one before (rounded up).
        out_channels: C.
        interpolator: a name of `INTERPOLATORS`.
        options: of the interpolator.
        upsampling: `per_level`, the FPN; or `iterated` (B1 of Table 9): the coarsest map is upsampled repeatedly,
            without lateral connections.
        top_block: produces the levels beyond the backbone's.
        norm: normalisation of the lateral and output convolutions.

    Raises:
        ValueError: unknown interpolator, option or upsampling.
    """

    lateral_convs: list[nn.Module]

    def __init__(
        self,
        *,
        bottom_up: Backbone,
        in_features: list[str],
        out_channels: int,
        interpolator: str,
        options: dict[str, Any] | None = None,
        upsampling: str = "per_level",
        top_block: nn.Module | None = None,
        norm: str = "",
    ) -> None:
        if upsampling not in UPSAMPLING:
            raise ValueError(f"unknown upsampling {upsampling!r}: choose {' or '.join(UPSAMPLING)}")
        super().__init__(bottom_up, in_features, out_channels, norm=norm, top_block=top_block)
        self.upsample = Upsampling(interpolator, out_channels, len(in_features) - 1, **(options or {}))
        if upsampling == "iterated" and self.upsample.guided:
            raise ValueError(f"iterated upsampling has no lateral maps, and {interpolator} needs them: set per_level")
        self.upsampling = upsampling
        self.interpolated_levels = tuple(self._out_features[: len(in_features)])
        if upsampling == "iterated":
            for name in [n for n, m in self.named_children() if m in self.lateral_convs[1:]]:
                delattr(self, name)
            self.lateral_convs = self.lateral_convs[:1]

    def top_down(self, features: dict[str, Tensor]) -> list[Tensor]:
        """Return the merged maps before the output convolutions, from low to high resolution: (N, C, H_i, W_i) each."""
        maps = [features[name] for name in reversed(self.in_features)]
        merged = [self.lateral_convs[0](maps[0])]
        for place, finer in enumerate(maps[1:]):
            if self.upsampling == "per_level":
                lateral = self.lateral_convs[place + 1](finer)
                merged.append(lateral + self.upsample(merged[-1], place, finer.shape[-2:], lateral))
            else:
                merged.append(self.upsample(merged[-1], place, finer.shape[-2:]))
        return merged

    def outputs(self, merged: list[Tensor]) -> list[Tensor]:
        """Return the interpolated levels' maps from those of `top_down`, from high to low resolution."""
        return [conv(value) for conv, value in zip(self.output_convs, merged, strict=True)][::-1]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.bottom_up(images)
        results = self.outputs(self.top_down(features))
        if self.top_block is not None:
            name = self.top_block.in_feature
            results += self.top_block(features[name] if name in features else results[self._out_features.index(name)])
        return dict(zip(self._out_features, results, strict=True))

    def merged(self, images: Tensor) -> dict[str, Tensor]:
        merged = self.top_down(self.bottom_up(images))
        return dict(zip(self.interpolated_levels, reversed(merged), strict=True))

    def _output_modules(self) -> Sequence[nn.Module]:
        return self.output_convs[::-1]
