"""The interface of every pyramid, for detectors, the losses of stages 1 and 2, and the figures."""

from abc import abstractmethod
from collections.abc import Sequence

from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from afigan.pyramids.upsampling import Upsampling


class Pyramid(Backbone):
    """A detectron2 backbone: images (N, 3, H, W) -> {"p2": (N, C, ceil(H / 4), ceil(W / 4)), …}, fine to coarse.

    Attributes:
        bottom_up: the classification backbone.
        upsample: the interpolators; places are counted from the coarsest map, one repeat after the other.
        interpolated_levels: N_s..N_e, fine to coarse: the levels of the top-down path, whose maps the losses compare.
    """

    bottom_up: Backbone
    upsample: Upsampling
    interpolated_levels: tuple[str, ...]

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The constraints of detectron2's FPN after v0.6: images need not be square."""
        return {"square_size": 0}

    def interpolate(self, coarse: Tensor, level: str, size: tuple[int, int]) -> Tensor:
        """Upsample a map of the level above `level` with the last interpolator of this pyramid that does so.

        Shape: (N, C, H, W) -> (N, C, *size), size <= (2H, 2W).

        Raises:
            ValueError: no map is upsampled towards `level`, or the interpolator needs a finer map as a guide.
        """
        if self.upsample.guided:
            raise ValueError("a guided interpolator upsamples a map only together with the finer lateral map")
        finer = self.interpolated_levels[:-1]
        if level not in finer:
            raise ValueError(f"no map is upsampled to {level!r} here: choose one of {', '.join(finer)}")
        return self.upsample(coarse, self.upsample.places - 1 - finer.index(level), size)

    def output_module(self, level: str) -> nn.Module:
        """Return the module whose output tensor is the map of an interpolated level, for a hook.

        Raises:
            ValueError: `level` is not an interpolated level.
        """
        modules = dict(zip(self.interpolated_levels, self._output_modules(), strict=True))
        if level not in modules:
            raise ValueError(f"level {level!r} is not on the top-down path: choose one of {', '.join(modules)}")
        return modules[level]

    @abstractmethod
    def merged(self, images: Tensor) -> dict[str, Tensor]:
        """Return the interpolated levels' merged maps of the top-down path, before the output convolutions.

        Raises:
            ValueError: the pyramid has no such maps.
        """

    @abstractmethod
    def _output_modules(self) -> Sequence[nn.Module]:
        """Return the modules that produce the maps of the interpolated levels."""
