"""torchvision's FPN with any interpolator (Fig. 3a), for its detection models and others; it needs torchvision alone.

from afigan.torchvision import replace_interpolation
model = replace_interpolation(fasterrcnn_resnet50_fpn_v2(weights="DEFAULT"), "afi")
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from afigan.pyramids.upsampling import Upsampling

__all__ = ["InterpolatedFPN", "replace_interpolation"]

LARGEST_RATIO = 16  # of the sizes of two neighbouring maps


class InterpolatedFPN(FeaturePyramidNetwork):
    """torchvision's FPN with an interpolator for nearest-neighbour upsampling.

    Its state dict has the keys of `torchvision.ops.FeaturePyramidNetwork`, and `upsample.*`, the interpolators. They
    are counted from the coarsest map; `afi` is one G for all places. A map is upsampled x2 and cropped to the size of
    the next one; repeatedly, if that is more than twice as large. It stays as it is if both have one size: the two maps
    of `fasterrcnn_mobilenet_v3_large_fpn` have stride 32, so that no interpolator acts there.

    Args:
        in_channels_list: channels of the maps, from high to low resolution.
        out_channels: C.
        extra_blocks: produces further levels, as in torchvision.
        norm_layer: normalisation of the convolutions, as in torchvision.
        interpolator: a name of `afigan.interpolators.INTERPOLATORS`.
        options: of the interpolator.

    Raises:
        ValueError: unknown interpolator or option; in `forward`, maps whose sizes are not halves, rounded up.
    """

    def __init__(
        self,
        in_channels_list: list[int],
        out_channels: int,
        extra_blocks: ExtraFPNBlock | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        *,
        interpolator: str = "afi",
        **options: Any,
    ) -> None:
        super().__init__(in_channels_list, out_channels, extra_blocks, norm_layer)
        self.upsample = Upsampling(interpolator, out_channels, len(in_channels_list) - 1, **options)

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn a backbone's maps, (N, C_i, H_i, W_i), into those of all levels, (N, C, H_i, W_i), fine to coarse.

        The names are those of the input, and `extra_blocks`' own.
        """
        names, features = list(x), list(x.values())
        merged = self.inner_blocks[-1](features[-1])
        results = [self.layer_blocks[-1](merged)]
        for place, level in enumerate(range(len(features) - 2, -1, -1)):
            lateral = self.inner_blocks[level](features[level])
            merged = lateral + self._enlarge(merged, place, lateral, names[level])
            results.insert(0, self.layer_blocks[level](merged))
        if self.extra_blocks is not None:
            results, names = self.extra_blocks(results, features, names)
        return OrderedDict(zip(names, results, strict=True))

    def _enlarge(self, coarse: Tensor, place: int, lateral: Tensor, name: str) -> Tensor:
        """Upsample (N, C, H, W) to the size of the lateral map (N, C, h, w) by the interpolator of a place."""
        (height, width), size = coarse.shape[-2:], lateral.shape[-2:]
        for doublings in range(LARGEST_RATIO.bit_length()):
            ratio = 2**doublings
            if (height, width) == (-(-size[0] // ratio), -(-size[1] // ratio)):
                break
        else:
            raise ValueError(
                f"the map {name!r} is {size[0]} x {size[1]}, and the next coarser one is {height} x {width}. An FPN "
                "takes maps from high to low resolution, each half the size of the one before, rounded up: pad the "
                "images so that their sides are multiples of the coarsest map's stride"
            )
        for left in reversed(range(doublings)):
            # at a size between the two, a guided interpolator gets the mean of the finer map's pixels
            guide = F.avg_pool2d(lateral, 2**left, ceil_mode=True) if left and self.upsample.guided else lateral
            coarse = self.upsample(coarse, place, (-(-size[0] // 2**left), -(-size[1] // 2**left)), guide)
        return coarse


def replace_interpolation(model: nn.Module, interpolator: str = "afi", **options: Any) -> nn.Module:
    """Replace nearest-neighbour upsampling in every FPN of a model; all its weights stay, as the same parameters.

    The new interpolators are on the device and of the type of the FPN's weights. With `nearest` the model's outputs are
    bit for bit those from before. Give an existing optimizer the new parameters (`upsample.*`).

    Args:
        model: a torchvision detection model, or any other module that has an FPN of torchvision; it is changed.
        interpolator: a name of `afigan.interpolators.INTERPOLATORS`.
        options: of the interpolator.

    Returns:
        The model; or, if the model is itself an FPN, its successor.

    Raises:
        ValueError: the model has no FPN, or the interpolator or an option is unknown. The model is then as before.
    """
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, FeaturePyramidNetwork)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no torchvision.ops.FeaturePyramidNetwork to change")
    successors = [(name, _successor(fpn, interpolator, options)) for name, fpn in found]
    for name, successor in successors:
        if not name:
            return successor
        model.set_submodule(name, successor)
    return model


def _successor(fpn: FeaturePyramidNetwork, interpolator: str, options: dict[str, Any]) -> InterpolatedFPN:
    """Return an interpolated FPN that has an FPN's own modules."""
    weight = next(fpn.layer_blocks.parameters())
    channels = [next(block.parameters()).shape[1] for block in fpn.inner_blocks]
    with torch.random.fork_rng(devices=[]):  # the first weights of what is replaced at once
        successor = InterpolatedFPN(channels, weight.shape[0], interpolator=interpolator, **options)
    successor.inner_blocks, successor.layer_blocks = fpn.inner_blocks, fpn.layer_blocks
    successor.extra_blocks, successor.training = fpn.extra_blocks, fpn.training
    successor.upsample.to(device=weight.device, dtype=weight.dtype).train(fpn.training)
    return successor
