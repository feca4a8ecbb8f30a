"""The upsampling places of a pyramid, and their interpolators (sections 3.1 and 3.2, Fig. 3)."""

from typing import Any

import torch
from torch import Tensor, nn

from afigan.interpolators import build_interpolator, interpolator_traits


class Upsampling(nn.ModuleList):
    """The interpolators of a pyramid: one module for all places if its traits say so, as of G, else one for each place.

    Args:
        name: an interpolator of `afigan.interpolators.INTERPOLATORS`.
        channels: C.
        places: the number of times that the pyramid upsamples.
        options: of the interpolator.

    Attributes:
        places: as given.
        guided: whether the interpolators need a guide.
    """

    def __init__(self, name: str, channels: int, places: int, **options: Any) -> None:
        traits = interpolator_traits(name)
        instances = 1 if traits.shared else places
        # a pyramid's other weights must not depend on how many random numbers its interpolators draw
        with torch.random.fork_rng(devices=[]):
            super().__init__(build_interpolator(name, channels, **options) for _ in range(instances))
        self.places, self.guided = places, traits.guided

    def forward(self, x: Tensor, place: int, size: tuple[int, int], guide: Tensor | None = None) -> Tensor:
        """Upsample (N, C, H, W) by the interpolator of `place`, and crop to (N, C, *size), `size` <= (2H, 2W).

        Args:
            guide: the finer lateral map, (N, C, *size); only guided interpolators use it.
        """
        upsampled = self[place % len(self)](x, guide) if self.guided else self[place % len(self)](x)
        assert size[0] <= upsampled.shape[2] and size[1] <= upsampled.shape[3], (size, upsampled.shape)
        return upsampled[:, :, : size[0], : size[1]]
