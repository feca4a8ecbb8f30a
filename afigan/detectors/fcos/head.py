"""The head of FCOS (Tian et al., 2020, section 2)."""

import math

import torch
from torch import Tensor, nn

LARGEST = 100.0  # strides: the greatest distance that can be predicted, so that exp does not overflow


class FCOSHead(nn.Module):
    """Two towers, shared by all levels: one for classes, one for boxes and centerness.

    Args:
        channels: C.
        num_levels: the number of levels; each has its own scale.
        num_classes: K.
        num_convs: 3x3 convolutions per tower, each with group normalisation and ReLU.
        prior_prob: the class probability that training starts from.
    """

    def __init__(
        self, *, channels: int, num_levels: int, num_classes: int, num_convs: int = 4, prior_prob: float = 0.01
    ) -> None:
        super().__init__()
        self.class_tower = _tower(channels, num_convs)
        self.box_tower = _tower(channels, num_convs)
        self.classes = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.distances = nn.Conv2d(channels, 4, 3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(num_levels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        assert self.classes.bias is not None
        nn.init.constant_(self.classes.bias, -math.log((1 - prior_prob) / prior_prob))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Predict from maps (N, C, H_i, W_i) at their R = sum(H_i * W_i) locations, in float32.

        Returns:
            Class logits (N, R, K), distances (N, R, 4) > 0 in strides, centerness logits (N, R).
        """
        classes, distances, centerness = [], [], []
        for x, scale in zip(maps, self.scales, strict=True):
            classes.append(_by_location(self.classes(self.class_tower(x))))
            tower = self.box_tower(x)
            # Small distances have a gradient, so that no side of a box can die there as with ReLU. A clamped distance
            # has none: one beyond 100 strides comes back only if other locations change the same weights.
            exponents = scale * _by_location(self.distances(tower))
            distances.append(exponents.clamp(max=math.log(LARGEST)).exp())
            centerness.append(_by_location(self.centerness(tower)).squeeze(2))
        return torch.cat(classes, dim=1), torch.cat(distances, dim=1), torch.cat(centerness, dim=1)


class _GroupNorm(nn.GroupNorm):
    """Group normalisation in 32 groups, or as many of them as divide the channels.

    In a coarse map of a small image, a group may have a single value. torch's layer refuses that in a batch of one
    image and returns the layer's bias in any other; this one returns the bias in both.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(math.gcd(32, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def _tower(channels: int, num_convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), _GroupNorm(channels), nn.ReLU()]
    return nn.Sequential(*layers)


def _by_location(x: Tensor) -> Tensor:
    """Reshape (N, K, H, W) to (N, H * W, K) in float32."""
    return x.flatten(2).transpose(1, 2).float()
