"""The upsampling places of a pyramid, and their interpolators (sections 3.1 and 3.2, Fig. 3)."""

from typing import Any

import torch
from torch import Tensor, nn

from afigan.interpolators import build_interpolator


class Upsampling(nn.ModuleList):
    """The interpolators of a pyramid: with `afi` one G for all places, with any other one module per place.

    Args:
        name: an interpolator of `afigan.interpolators.INTERPOLATORS`.
        channels: C.
        places: the number of times that the pyramid upsamples.
        options: of the interpolator.

    Attributes:
        places: as given.
    """

    def __init__(self, name: str, channels: int, places: int, **options: Any) -> None:
        instances = 1 if name == "afi" else places
        # a pyramid's other weights must not depend on how many random numbers its interpolators draw
        with torch.random.fork_rng(devices=[]):
            super().__init__(build_interpolator(name, channels, **options) for _ in range(instances))
        self.places = places

    def forward(self, x: Tensor, place: int, size: tuple[int, int]) -> Tensor:
        """Upsample (N, C, H, W) by the interpolator of `place`, and crop to (N, C, *size), `size` <= (2H, 2W)."""
        upsampled = self[place % len(self)](x)
        assert size[0] <= upsampled.shape[2] and size[1] <= upsampled.shape[3], (size, upsampled.shape)
        return upsampled[:, :, : size[0], : size[1]]
