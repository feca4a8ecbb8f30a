"""Inputs of any interpolator: the finer map where one is needed, and numbers of channels that its groups divide."""

import torch

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
