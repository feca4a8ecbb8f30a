"""FCOS's targets: the object that each location of the pyramid learns (Tian et al., 2020, section 2).

A location is the centre of a cell of a level's map. Its distances to a box's left, top, right and bottom side represent
the box. They are in strides of its level, so that they have the same order of magnitude on all levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from detectron2.structures import Boxes, pairwise_point_box_distance
from torch import Tensor


@dataclass(frozen=True)
class Locations:
    """The locations of all levels, from fine to coarse, row by row: R in all.

    Args:
        points: (R, 2), x and y in pixels.
        strides: (R,), in pixels.
        sizes: (R, 2), in pixels, the bounds of a location's level: the least and the greatest distance to the farthest
            side of a box.
        levels: the part of R that belongs to each level.
    """

    points: Tensor
    strides: Tensor
    sizes: Tensor
    levels: list[slice]

    @classmethod
    def of(cls, maps: Sequence[Tensor], strides: Sequence[int], bounds: Sequence[float]) -> "Locations":
        """Return the locations of maps (N, C, H_i, W_i); sizes of interest meet at `bounds`, one fewer than levels."""
        device = maps[0].device
        ranges = pairwise([0.0, *bounds, float("inf")])
        points, widths, sizes = [], [], []
        levels: list[slice] = []
        for x, stride, (least, greatest) in zip(maps, strides, ranges, strict=True):
            rows, columns = ((torch.arange(n, device=device) + 0.5) * stride for n in x.shape[-2:])
            grid = torch.cartesian_prod(rows, columns).flip(1)
            start = levels[-1].stop if levels else 0
            levels.append(slice(start, start + len(grid)))
            points.append(grid)
            widths.append(grid.new_full((len(grid),), stride))
            sizes.append(grid.new_tensor([least, greatest]).expand(len(grid), 2))
        return cls(torch.cat(points), torch.cat(widths), torch.cat(sizes), levels)


def assign(locations: Locations, boxes: Boxes, radius: float) -> Tensor:
    """Return the object that each location learns.

    The object's box contains the location, the location is within `radius` strides of the box's centre in x and in y,
    and the distance to the box's farthest side is within the level's bounds. Of several such objects, it is the
    smallest.

    Args:
        locations: R locations.
        boxes: an image's objects, any number.
        radius: of centre sampling, in strides.

    Returns:
        (R,) indices into `boxes`; -1 where there is no object to learn.
    """
    if len(boxes) == 0:
        return torch.full_like(locations.strides, -1, dtype=torch.int64)
    sides = pairwise_point_box_distance(locations.points, boxes)  # (R, G, 4)
    inside = sides.amin(dim=2) > 0
    offsets = (locations.points[:, None] - boxes.get_centers()).abs().amax(dim=2)
    central = offsets < radius * locations.strides[:, None]
    farthest = sides.amax(dim=2)
    of_interest = (farthest >= locations.sizes[:, :1]) & (farthest <= locations.sizes[:, 1:])
    areas = boxes.area().expand_as(farthest).masked_fill(~(inside & central & of_interest), torch.inf)
    least, index = areas.min(dim=1)
    return index.masked_fill(least.isinf(), -1)


def encode(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """Convert boxes (P, 4) to distances (P, 4) in strides (P,) from points (P, 2)."""
    return torch.cat([points - boxes[:, :2], boxes[:, 2:] - points], dim=1) / strides[:, None]


def decode(points: Tensor, strides: Tensor, distances: Tensor) -> Tensor:
    """Convert distances (P, 4) in strides (P,) from points (P, 2) to boxes (P, 4)."""
    left_top, right_bottom = (distances * strides[:, None]).split(2, dim=1)
    return torch.cat([points - left_top, points + right_bottom], dim=1)


def centerness(distances: Tensor) -> Tensor:
    """Return sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of distances (P, 4) > 0: (P,), 1 at a box's centre."""
    left_top, right_bottom = distances.split(2, dim=1)
    return (torch.minimum(left_top, right_bottom) / torch.maximum(left_top, right_bottom)).prod(dim=1).sqrt()
