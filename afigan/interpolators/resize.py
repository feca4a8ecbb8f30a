"""Interpolations without learned weights, without or with five convolutions after them (Table 6)."""

from torch import Tensor, nn
from torch.nn import functional as F

from afigan.interpolators.registry import register_interpolator


@register_interpolator("bicubic", unrepeatable=True, mode="bicubic")
@register_interpolator("bilinear", mode="bilinear")
@register_interpolator("nearest", mode="nearest")
class ResizeInterpolator(nn.Module):
    """Nearest, bilinear or bicubic x2; it has no parameters."""

    def __init__(self, channels: int, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Upsample (N, C, H, W) to (N, C, 2H, 2W); `guide` is ignored."""
        corners = None if self.mode == "nearest" else False
        return F.interpolate(x, scale_factor=2.0, mode=self.mode, align_corners=corners)


@register_interpolator("bicubic-5conv", learned=True, unrepeatable=True, mode="bicubic")
@register_interpolator("bilinear-5conv", learned=True, mode="bilinear")
@register_interpolator("nearest-5conv", learned=True, mode="nearest")
class ResizeConvInterpolator(nn.Sequential):
    """x2 by resizing, then 5 convolutions with batch normalisation after the first four (footnote 7).

    The paper names no activation between them, so this module adds none.
    """

    def __init__(self, channels: int, mode: str) -> None:
        layers: list[nn.Module] = [ResizeInterpolator(channels, mode)]
        for _ in range(4):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)]
        super().__init__(*layers, nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Upsample (N, C, H, W) to (N, C, 2H, 2W); `guide` is ignored."""
        return super().forward(x)
