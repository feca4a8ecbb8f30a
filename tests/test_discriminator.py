"""D: size, shapes, and its output before training."""

import math

import pytest
import torch
from torch import nn

from afigan.discriminator import FeaturePatchDiscriminator
from afigan.losses import adversarial_loss, discriminator_loss

LEVELS = [(2, 8, 16, 24), (2, 8, 8, 12), (2, 8, 4, 6), (2, 8, 2, 3)]


def test_parameters_at_paper_scale():
    count = sum(p.numel() for p in FeaturePatchDiscriminator(256).parameters())
    assert count == 15_349_761
    assert round(count / 1e6, 2) == 15.35


def test_layers_are_those_of_fig_2b():
    layers = list(FeaturePatchDiscriminator(8))
    assert [type(m) for m in layers] == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 3 + [nn.Conv2d]
    assert [(m.in_channels, m.out_channels, m.kernel_size, m.stride) for m in layers[::3]] == [
        (8, 16, (3, 3), (1, 1)),
        (16, 32, (3, 3), (1, 1)),
        (32, 32, (3, 3), (1, 1)),
        (32, 1, (3, 3), (1, 1)),
    ]
    assert {m.negative_slope for m in layers[2::3]} == {0.2}


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 10), (50, 51)])
def test_there_is_one_logit_per_position(size):
    judge = FeaturePatchDiscriminator(3).eval()
    assert judge(torch.randn(2, 3, *size)).shape == (2, 1, *size)


def test_it_judges_patches():
    """A position sees 9 x 9 of its map: four 3x3 convolutions."""
    judge = FeaturePatchDiscriminator(3).eval()
    x = torch.randn(1, 3, 15, 15, requires_grad=True)
    judge(x)[0, 0, 7, 7].backward()
    seen = (x.grad[0].abs().sum(0) > 0).nonzero()
    assert seen.min(0).values.tolist() == [3, 3] and seen.max(0).values.tolist() == [11, 11]


def test_logits_are_not_probabilities():
    """The sigmoid is in the loss."""
    judge = FeaturePatchDiscriminator(4)
    nn.init.normal_(judge[-1].weight, std=10)
    logits = judge(torch.randn(2, 4, 9, 9))
    assert logits.min() < 0 and logits.max() > 1


@pytest.mark.parametrize("channels", [8, 64])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_first_losses_are_those_of_an_undecided_d(scale, channels):
    torch.manual_seed(0)
    judge = FeaturePatchDiscriminator(channels)
    real, fake = ([scale * torch.randn(n, channels, h, w) for n, _, h, w in LEVELS] for _ in range(2))
    loss = discriminator_loss([judge(x) for x in real], [judge(x) for x in fake]).item()
    assert loss / len(LEVELS) == pytest.approx(2 * math.log(2), rel=0.03)
    assert adversarial_loss([judge(x) for x in fake]).item() / len(LEVELS) == pytest.approx(math.log(2), rel=0.03)


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    judge = FeaturePatchDiscriminator(4)
    discriminator_loss([judge(torch.randn(2, 4, 6, 6))], [judge(torch.randn(2, 4, 6, 6) + 1)]).backward()
    assert [name for name, p in judge.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_state_dict_keys():
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = [name for i in (0, 3, 6) for name in (f"{i}.weight", *(f"{i + 1}.{key}" for key in norm))]
    assert list(FeaturePatchDiscriminator(2).state_dict()) == [*expected, "9.weight", "9.bias"]
