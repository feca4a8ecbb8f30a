"""Multiply-adds against counts by hand, and only of the module that is asked about."""

import pytest
import torch
from torch import nn

from afigan.evaluation.multiply_adds import counted
from afigan.interpolators import build_interpolator

C, H, W = 8, 3, 5


def of(name: str, **options: object) -> int:
    module = build_interpolator(name, C, **options)
    with torch.no_grad(), counted(module) as found:
        module(torch.randn(1, C, H, W), torch.randn(1, C, 2 * H, 2 * W))
    return found.total


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("nearest", 0),
        ("bilinear", 4 * C * 4 * H * W),  # four neighbours
        ("bicubic", 16 * C * 4 * H * W),
        ("deconv", 36 * C * C * H * W + 9 * C * C * 4 * H * W),  # 6x6 from each input pixel, 3x3 on each output pixel
        # kernels on the input, 25 products for each output value
        ("carafe", (C * 64 + 9 * 64 * 100) * H * W + 25 * C * 4 * H * W),
    ],
)
def test_counts_are_those_by_hand(name: str, by_hand: int) -> None:
    assert of(name) == by_hand


def test_sampling_counts_its_neighbours() -> None:
    """Offsets by a 1x1 convolution and their scale, then bilinear samples; positions are a few products more."""
    least = (C * 32 + 32) * H * W + 4 * C * 4 * H * W
    assert least <= of("dysample") < 1.3 * least


def test_the_lighter_g_has_a_tenth_of_g_at_most() -> None:
    counts = {}
    for name in ("afi", "afi-light"):
        module = build_interpolator(name, 256)
        with torch.no_grad(), counted(module) as found:
            module(torch.randn(1, 256, 1, 1))
        counts[name] = found.total
    assert 0 < counts["afi-light"] < 0.1 * counts["afi"]


def test_only_the_module_counts_and_all_its_calls_do() -> None:
    part, other = nn.Linear(3, 5), nn.Linear(5, 3)
    whole = nn.Sequential(part, other)
    with counted(part) as found:
        whole(torch.zeros(1, 3))
        assert found.total == 15
        whole(torch.zeros(2, 3))
    assert found.total == 45
    whole(torch.zeros(1, 3))
    assert found.total == 45
