"""Inputs of any interpolator: the finer map where one is needed, numbers of channels; and G's formula."""

import torch
from torch.nn import functional as F

from afigan.interpolators import INTERPOLATORS, build_interpolator


def accepted(name, channels, **options):
    """Return the smallest number of channels, from `channels` on, that an interpolator takes."""
    for count in range(channels, channels + 64):
        try:
            build_interpolator(name, count, **options)
        except ValueError as error:
            if "groups" not in str(error):
                raise
            continue
        return count
    raise AssertionError(f"{name} takes no number of channels from {channels} to {channels + 63}")


def inputs(name, *shape):
    """Return a random map (N, C, H, W), and the finer map (N, C, 2H, 2W) if an interpolator is guided."""
    n, channels, height, width = shape
    finer = [torch.randn(n, channels, 2 * height, 2 * width)] if INTERPOLATORS[name].guided else []
    return [torch.randn(shape), *finer]


def shaken(module):
    """Fill all weights with random numbers: a layer that starts as zero hides those before it."""
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return module


def formula_of_g(state, x, inside, blocks):
    """Compute G (section 3.1, Fig. 2a) with dense blocks, written again as one formula a line.

    `x` has the bilinear shortcut; `inside` is what the first convolution gets, `x` itself in G.
    """

    def lrelu(v):
        return torch.where(v > 0, v, 0.2 * v)

    def conv(name, v):
        weight = state[f"{name}.weight"]
        return F.conv2d(v, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    h = shortcut = lrelu(conv("head", inside))
    for b in range(blocks):
        dense = [h]
        for k in range(4):
            dense.append(lrelu(conv(f"blocks.{b}.convs.{k}", torch.cat(dense, 1))))
        h = h + 0.2 * conv(f"blocks.{b}.convs.4", torch.cat(dense, 1))
    h = lrelu(conv("conv", shortcut + 0.2 * h))
    h = lrelu(F.conv_transpose2d(h, state["deconv.weight"], state["deconv.bias"], stride=2, padding=2))
    return conv("tail", h) + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
