"""The losses of Eq. 1-3: a mean over batch and positions, summed over levels (sections 3.2 and 4.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def _cross_entropy(logits: Tensor, real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def content_loss(fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
    """Return the mean absolute difference of each level (N, C, H_i, W_i), summed over levels; a scalar.

    This is the content term of Eq. 2 and 3; `Learner.update` of `afigan.training.engine` adds the terms.

    Raises:
        ValueError: the numbers of levels differ, or the two maps of a level differ in shape.
    """
    if [f.shape for f in fakes] != [r.shape for r in reals]:
        shapes = f"{[tuple(f.shape) for f in fakes]} and {[tuple(r.shape) for r in reals]}"
        raise ValueError(f"content loss: fake and real maps must have the same shapes, these have {shapes}")
    return torch.stack([F.l1_loss(fake, real) for fake, real in zip(fakes, reals, strict=True)]).sum()


def adversarial_loss(fake_logits: Sequence[Tensor]) -> Tensor:
    """Return -log D(fake) of each level's logits (N, 1, H_i, W_i), summed over levels; a scalar.

    This is the adversarial term of Eq. 2 and 3, without its weight lambda, which `afigan.training.adversarial` applies.
    Its gradient is meant to flow through D into the network that produces the maps.
    """
    return torch.stack([_cross_entropy(logits, real=True) for logits in fake_logits]).sum()


def discriminator_loss(real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
    """Return -log D(real) - log(1 - D(fake)) of each level's logits (N, 1, H_i, W_i), summed over levels; a scalar.

    This is Eq. 1, the loss of D. The caller must detach the fake maps before D sees them.
    """
    terms = [
        _cross_entropy(real, real=True) + _cross_entropy(fake, real=False)
        for real, fake in zip(real_logits, fake_logits, strict=True)
    ]
    return torch.stack(terms).sum()
