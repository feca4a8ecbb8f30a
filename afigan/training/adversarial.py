"""The updates of D and of its generator (G or M) that stages 1 and 2 share (Eq. 1-3, Algorithm 1)."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from afigan.losses import adversarial_loss, content_loss, discriminator_loss
from afigan.pyramids.base import Pyramid
from afigan.training.engine import Learner


def pyramid_maps(pyramid: Pyramid, images: Tensor, levels: Sequence[str], features: str = "output") -> list[Tensor]:
    """Return a pyramid's maps (N, C, H_i, W_i) at `levels`: outputs, or merged maps before the output convolutions."""
    maps = pyramid(images) if features == "output" else pyramid.merged(images)
    return [maps[level] for level in levels]


def crop_to(maps: Sequence[Tensor], targets: Sequence[Tensor]) -> list[Tensor]:
    """Crop each map to its target's height and width: an odd size is half of an even one rounded up."""
    cropped = [m[:, :, : t.shape[2], : t.shape[3]] for m, t in zip(maps, targets, strict=True)]
    assert all(c.shape == t.shape for c, t in zip(cropped, targets, strict=True))
    return cropped


def halve(maps: Sequence[Tensor]) -> list[Tensor]:
    """Apply down_0.5 to feature maps, (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2)).

    Bilinear interpolation at exactly 0.5 is the mean of two by two positions. Odd sides keep that grid, because it is
    the low-resolution map's; their last position is the mean of the positions that exist.
    """
    return [F.avg_pool2d(m, 2, ceil_mode=True) for m in maps]


class Adversary:
    """D and the terms of L_AF.

    Args:
        discriminator: D's learner; None with `mode: off`.
        mode: `on` as in Eq. 2 and 3; `detached`: no gradient of the adversarial term reaches the generator, as in the
            authors' released code; `off`: without D.
        weight: lambda of Eq. 2.
        content: whether L_AF has the content term.
    """

    def __init__(self, discriminator: Learner | None, mode: str, weight: float, content: bool = True) -> None:
        assert (discriminator is None) == (mode == "off")
        self.discriminator, self.mode, self.weight, self.content = discriminator, mode, weight, content

    def update_discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> dict[str, Tensor]:
        """Take one step of D down Eq. 1; real and fake maps go through D in separate passes, level by level."""
        if self.discriminator is None:
            return {}
        judge = self.discriminator.module
        loss = discriminator_loss([judge(real.detach()) for real in reals], [judge(fake.detach()) for fake in fakes])
        return self.discriminator.update({"loss_discriminator": loss})

    def generator_losses(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the terms of L_AF (Eq. 2 and 3), the adversarial one already weighted; D itself gets no gradient."""
        losses = {}
        if self.content:
            losses["loss_content"] = content_loss(fakes, reals)
        if self.discriminator is not None:
            judge = self.discriminator.module
            judge.requires_grad_(False)
            seen = [fake.detach() for fake in fakes] if self.mode == "detached" else fakes
            losses["loss_adversarial"] = self.weight * adversarial_loss([judge(fake) for fake in seen])
            judge.requires_grad_(True)
        return losses
