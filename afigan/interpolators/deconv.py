"""Learned upsampling by one transposed convolution (Table 6)."""

from torch import Tensor, nn

from afigan.interpolators.registry import register_interpolator


@register_interpolator("deconv", learned=True)
class DeconvInterpolator(nn.Sequential):
    """6x6 transposed convolution of stride 2, then a 3x3 convolution: (N, C, H, W) -> (N, C, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(channels, channels, 6, stride=2, padding=2),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Upsample (N, C, H, W) to (N, C, 2H, 2W); `guide` is ignored."""
        return super().forward(x)
