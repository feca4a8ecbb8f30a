"""down_s: sizes, and each method's effect on the pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from afigan.data.degradation import DEGRADATIONS, downscale, downscaled_size


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from(sorted(DEGRADATIONS)))
def test_sides_are_halved_and_rounded_half_up(width, height, method):
    image = downscale(Image.new("RGB", (width, height)), method)
    assert image.size == downscaled_size(width, height) == ((width + 1) // 2, (height + 1) // 2)
    assert image.mode == "RGB"


@pytest.mark.parametrize(("side", "scale", "expected"), [(1, 0.25, 1), (3, 0.5, 2), (10, 0.25, 3), (9, 0.25, 2)])
def test_other_scales(side, scale, expected):
    assert downscaled_size(side, side, scale) == (expected, expected)


@pytest.mark.parametrize("method", DEGRADATIONS)
def test_a_constant_stays_constant(method):
    image = downscale(Image.new("RGB", (13, 8), (200, 3, 77)), method)
    assert set(image.get_flattened_data() if hasattr(image, "get_flattened_data") else image.getdata()) == {
        (200, 3, 77)
    }


def test_nearest_aliases_where_the_others_average():
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (16, 16)))
    values = {method: np.unique(np.asarray(downscale(stripes, method))[:, 2:-2]) for method in DEGRADATIONS}
    assert values["nearest"].tolist() == [255]
    assert all(100 < values[method].min() <= values[method].max() < 156 for method in ("bilinear", "bicubic"))


def test_bilinear_is_a_triangle_of_four_source_pixels():
    row = np.zeros((1, 16), np.uint8)
    row[0, 8] = 240
    out = np.asarray(downscale(Image.fromarray(row.repeat(4, 0)), "bilinear"))[0]
    assert out[3:6].tolist() == [30, 90, 0]  # weights 1/8, 3/8, 3/8, 1/8 around the centre


def test_an_unknown_method_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'lanczos'.*nearest, bilinear, bicubic"):
        downscale(Image.new("RGB", (4, 4)), "lanczos")
