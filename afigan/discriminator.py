"""The feature patch discriminator D (section 3.1, Fig. 2b)."""

from itertools import pairwise

from torch import Tensor, nn


class FeaturePatchDiscriminator(nn.Sequential):
    """D: feature maps (N, C, H, W) -> logits (N, 1, H, W) that each position is a real one.

    The sigmoid is in the loss. D has 15.35 M parameters at C = 256. The last convolution starts small, so that the
    first logits are near 0 and the first loss near 2 ln 2 per level.

    Args:
        channels: C of the maps; D's own layers have 2C, 4C and 4C.
    """

    def __init__(self, channels: int) -> None:
        widths = (channels, 2 * channels, 4 * channels, 4 * channels)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        last = nn.Conv2d(widths[-1], 1, 3, padding=1)
        nn.init.normal_(last.weight, std=1e-3)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        super().__init__(*layers, last)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, C, H, W) to logits (N, 1, H, W)."""
        return super().forward(features)
