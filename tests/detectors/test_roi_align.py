"""Separable RoIAlign: equal to torchvision's, values and gradients, at any size, scale and place of RoIs."""

import pytest
import torch
from detectron2.layers import ROIAlign
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from afigan.detectors.roi_align import IMPLEMENTATIONS, SeparableROIAlign, use_implementation


def random_rois(generator: torch.Generator, count: int, images: int, side: float) -> torch.Tensor:
    """Draw RoIs of all sizes, some of them beyond the image, some flat."""
    corners = (torch.rand(count, 2, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3) * side
    corners = corners.sort(dim=1).values
    corners[::7, 1] = corners[::7, 0]
    index = torch.randint(images, (count, 1), generator=generator).double()
    return torch.cat([index, corners.flatten(1)], dim=1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 21),
    st.integers(1, 21),
    st.integers(1, 8),
    st.integers(1, 9),
    st.sampled_from([0, 1, 2, 3]),
    st.booleans(),
    st.sampled_from([1.0, 0.5, 0.25, 1 / 7]),
    st.integers(0, 12),
    st.integers(0, 2**31),
)
def test_it_equals_torchvision(images, channels, height, width, rows, columns, ratio, aligned, scale, count, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, channels, height, width, generator=generator, dtype=torch.float64, requires_grad=True)
    rois = random_rois(generator, count, images, max(height, width) / scale)
    ours = SeparableROIAlign((rows, columns), scale, ratio, aligned)(x, rois)
    theirs = roi_align(x, rois, (rows, columns), scale, ratio, aligned)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)
    given_back = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    if count:
        (a,) = torch.autograd.grad(ours, x, given_back)
        (b,) = torch.autograd.grad(theirs, x, given_back)
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_a_map_that_is_linear_is_sampled_exactly():
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    rois = torch.tensor([[0.0, 8.0, 16.0, 40.0, 48.0]])
    pooled = SeparableROIAlign(2, 0.25, 0)((3 * y + x)[None, None], rois)
    # at a quarter: x from 2 to 10, y from 4 to 12, less half a pixel; cells of 4 pixels, their centres
    centres_x, centres_y = torch.tensor([3.5, 7.5]), torch.tensor([5.5, 9.5])
    torch.testing.assert_close(pooled[0, 0], 3 * centres_y[:, None] + centres_x)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("ratio", [0, 2])
def test_poolers_are_replaced_level_by_level(ratio, name):
    poolers = torch.nn.ModuleList(ROIAlign(7, scale, ratio, aligned=True) for scale in (0.25, 0.125))
    x, rois = torch.randn(2, 3, 12, 9), torch.tensor([[1.0, 3, 4, 30, 41], [0.0, 1, 1, 9, 9]])
    before = [pooler(x, rois) for pooler in poolers]
    use_implementation(poolers, name)
    for pooler, expected in zip(poolers, before, strict=True):
        assert isinstance(pooler, IMPLEMENTATIONS[name])
        torch.testing.assert_close(pooler(x, rois), expected, atol=1e-5, rtol=1e-5)
        assert name == "separable" or torch.equal(pooler(x, rois), expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS.values())
def test_bfloat16_maps_are_sampled_at_float32_places(implementation):
    x = torch.randn(1, 4, 40, 40)
    rois = torch.tensor([[0.0, 1001.3, 1003.7, 1100.9, 1207.1]])
    pooler = implementation(7, 1 / 32, 0, aligned=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = pooler(x.bfloat16(), rois)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled, pooler(x.bfloat16().float(), rois).bfloat16())
