"""The level of the pyramid that a RoI is pooled from (CenterMask, Lee & Park, 2020)."""

import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from torch import Tensor


def roi_levels(box_areas: Tensor, image_areas: Tensor, min_level: int, max_level: int) -> Tensor:
    """Return the level that each RoI is pooled from: ceil(max_level - log2(image area / box area)), clamped.

    This is CenterMask's "adaptive RoI assignment". A box of more than half the image goes to the last level, and one of
    more than a quarter to the level before.

    Args:
        box_areas, image_areas: (P,), in pixels of the images that the network sees.
        min_level, max_level: 3 and 5 for P3 to P5.
    """
    levels = torch.ceil(max_level - torch.log2(image_areas / box_areas))
    return levels.clamp(min_level, max_level).long()


class AdaptiveROIPooler(ROIPooler):
    """detectron2's pooler of RoIs, with each RoI's level chosen by its share of the image."""

    def forward(self, maps: list[Tensor], boxes: list[Boxes], image_sizes: list[tuple[int, int]]) -> Tensor:
        """Pool the boxes of N images.

        Args:
            maps: (N, C, H_i, W_i) per level, from fine to coarse.
            boxes: each image's boxes, in pixels.
            image_sizes: each image's height and width, without padding.

        Returns:
            (P, C, *output_size), float32, for all images' boxes one after another.
        """
        counts = torch.tensor([len(b) for b in boxes], device=maps[0].device)
        images = torch.arange(len(boxes), device=counts.device).repeat_interleave(counts)
        areas = maps[0].new_tensor([h * w for h, w in image_sizes], dtype=torch.float32)
        together = Boxes.cat(boxes)
        levels = roi_levels(together.area(), areas[images], self.min_level, self.max_level)
        rois = torch.cat([images[:, None], together.tensor], dim=1)
        # in float32: the pooler gives boxes the type of maps, and bfloat16 cannot distinguish a large image's pixels
        pooled = rois.new_zeros((len(rois), maps[0].shape[1], *self.output_size))
        for level, (x, pooler) in enumerate(zip(maps, self.level_poolers, strict=True), self.min_level):
            here = (levels == level).nonzero().squeeze(1)
            pooled = pooled.index_put((here,), pooler(x.float(), rois[here]))
        return pooled
