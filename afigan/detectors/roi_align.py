"""RoIAlign (He et al., Mask R-CNN, 2017, section 3) in full precision; also as two matrix products.

RoIAlign averages bilinear samples of a map over the cells of a grid in each RoI. A bilinear weight is the product of
one weight along y and one along x. A mean of such weights over a rectangular grid of samples is such a product too. The
value of cell (i, j) is therefore the sum over y and x of A[i, y] map[y, x] B[j, x], with a small matrix of weights for
each axis of each RoI. The two products are faster on CPU cores where maps are small, and their gradient is repeatable
on a GPU.
"""

import torch
from detectron2.layers import ROIAlign
from torch import Tensor, nn
from torch.nn.modules.utils import _pair


class SeparableROIAlign(nn.Module):
    """`detectron2.layers.ROIAlign` with the same results up to rounding; its cost grows with the area of the map.

    torchvision's operator visits four pixels per sample for any size of the map, but one channel at a time. Two matrix
    products visit the complete map, at the full speed of the processor. That pays where maps are small: see
    docs/benchmarks.md.

    Args:
        output_size: cells along y and x.
        spatial_scale: pixels of the map per pixel of the image.
        sampling_ratio: samples per cell along each axis; 0: as many as the cell has pixels, rounded up.
        aligned: whether pixel centres are at half-integer coordinates (`ROIAlignV2`).
    """

    def __init__(
        self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool = True
    ) -> None:
        super().__init__()
        self.output_size: tuple[int, int] = tuple(_pair(output_size))
        self.spatial_scale, self.sampling_ratio, self.aligned = spatial_scale, sampling_ratio, aligned

    @classmethod
    def like(cls, pooler: ROIAlign) -> "SeparableROIAlign":
        """Return the same function as a RoIAlign of detectron2."""
        return cls(pooler.output_size, pooler.spatial_scale, pooler.sampling_ratio, pooler.aligned)

    def forward(self, x: Tensor, rois: Tensor) -> Tensor:
        """Pool RoIs.

        Args:
            x: the map, (N, C, H, W).
            rois: (R, 5): the image's index in the batch, and x1, y1, x2, y2 in pixels of the image.

        Returns:
            (R, C, *output_size), of the map's type. It is computed in float32 at least, because bfloat16 cannot
            distinguish the pixels of a large image. Gradients flow to the map alone, as in torchvision.
        """
        with torch.autocast(x.device.type, enabled=False):
            return self._pool(x.to(torch.promote_types(x.dtype, torch.float32)), rois).to(x.dtype)

    def _pool(self, x: Tensor, rois: Tensor) -> Tensor:
        images, channels, height, width = x.shape
        rows, columns = self.output_size
        if len(rois) == 0:
            return x.sum() * x.new_zeros(0, channels, rows, columns)
        with torch.no_grad():
            rois = rois.to(x.dtype)
            image = rois[:, 0].long()
            slot, slots = _slots(image, images)
            along_y = x.new_zeros(images, slots, rows, height)
            along_y[image, slot] = self._weights(rois[:, 2], rois[:, 4], rows, height)
            along_x = x.new_zeros(images, slots, width, columns)
            along_x[image, slot] = self._weights(rois[:, 1], rois[:, 3], columns, width).transpose(1, 2)
        lines = x.transpose(1, 2).reshape(images, height, channels * width)
        partly = along_y.view(images, slots * rows, height) @ lines
        cells = partly.view(images, slots, rows * channels, width) @ along_x
        cells = cells.view(images, slots, rows, channels, columns)[image, slot]
        return cells.transpose(1, 2).contiguous()

    def _weights(self, low: Tensor, high: Tensor, cells: int, pixels: int) -> Tensor:
        """Return, for one axis, the weights of pixels in the cells of RoIs from `low` to `high`: (R, cells, pixels)."""
        start = low * self.spatial_scale - (0.5 if self.aligned else 0.0)
        length = high * self.spatial_scale - (0.5 if self.aligned else 0.0) - start
        if not self.aligned:
            length = length.clamp(min=1.0)
        cell = length / cells
        samples = cell.ceil().clamp(min=0)
        if self.sampling_ratio > 0:
            samples = torch.full_like(cell, self.sampling_ratio)
        most = int(samples.max().clamp(min=1)) if len(samples) else 1
        index = torch.arange(most, dtype=low.dtype, device=low.device)
        offset = (index + 0.5) / samples.clamp(min=1)[:, None]  # (R, samples), in cells
        corners = start[:, None] + cell[:, None] * torch.arange(cells, dtype=low.dtype, device=low.device)
        places = corners[:, :, None] + (cell[:, None] * offset)[:, None, :]  # (R, cells, samples)
        # torchvision gives samples beyond the outer pixels' surroundings no weight
        counted = (index < samples[:, None])[:, None] & (places >= -1) & (places <= pixels)
        places = places.clamp(0, pixels - 1)
        pixel = torch.arange(pixels, dtype=low.dtype, device=low.device)
        hat = (1 - (places[..., None] - pixel).abs()).clamp(min=0)  # (R, cells, samples, pixels)
        return (hat * counted[..., None]).sum(dim=2) / samples.clamp(min=1)[:, None, None]


def _slots(image: Tensor, images: int) -> tuple[Tensor, int]:
    """Return each RoI's place among its image's RoIs (R,), and an image's largest number of RoIs."""
    counts = torch.bincount(image, minlength=images)
    order = image.argsort(stable=True)
    first = counts.cumsum(0) - counts
    slot = torch.empty_like(image)
    slot[order] = torch.arange(len(image), device=image.device) - first[image[order]]
    return slot, int(counts.max())


class ROIAlign32(ROIAlign):
    """`detectron2.layers.ROIAlign` with boxes in float32 also where maps are bfloat16.

    detectron2's gives the boxes the type of the map. bfloat16 has eight significant bits, so that a coordinate of 800
    pixels would move by up to 2.
    """

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool RoIs (R, 5) from a map (N, C, H, W), as `SeparableROIAlign.forward` does."""
        with torch.autocast(input.device.type, enabled=False):
            precise = input.to(torch.promote_types(input.dtype, torch.float32))
            return super().forward(precise, rois).to(input.dtype)

    @classmethod
    def like(cls, pooler: ROIAlign) -> "ROIAlign32":
        """Return the same function as a RoIAlign of detectron2."""
        return cls(pooler.output_size, pooler.spatial_scale, pooler.sampling_ratio, pooler.aligned)


IMPLEMENTATIONS = {"torchvision": ROIAlign32, "separable": SeparableROIAlign}  # by `model.roi_align`


def use_implementation(poolers: nn.ModuleList, name: str) -> None:
    """Replace the RoIAlign of every level of a detectron2 `ROIPooler` by an entry of `IMPLEMENTATIONS`, in place."""
    for level, pooler in enumerate(poolers):
        poolers[level] = IMPLEMENTATIONS[name].like(pooler)
