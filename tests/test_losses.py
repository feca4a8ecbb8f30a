"""Eq. 1-3: the numbers, the sums and means, the signs, and the receivers of gradients."""

import math

import pytest
import torch

from afigan.losses import adversarial_loss, content_loss, discriminator_loss


def softplus(x):
    """Compute -log(sigmoid(-x)) by hand."""
    return math.log(1 + math.exp(x))


def maps(*values, size=(2, 1, 3, 5)):
    """Return one constant map per level, each of half the size of the one before."""
    n, c, h, w = size
    return [torch.full((n, c, max(1, h >> i), max(1, w >> i)), float(v)) for i, v in enumerate(values)]


def test_content_loss_by_hand():
    fakes = [torch.tensor([[[[1.0, -2.0]]], [[[0.0, 4.0]]]]), torch.tensor([[[[3.0]]], [[[1.0]]]])]
    reals = [torch.zeros(2, 1, 1, 2), torch.tensor([[[[1.0]]], [[[2.0]]]])]
    loss = content_loss(fakes, reals)
    assert loss.shape == ()
    assert loss.item() == pytest.approx((1 + 2 + 0 + 4) / 4 + (2 + 1) / 2)


def test_adversarial_loss_by_hand():
    logits = [torch.tensor([[[[1.0, -2.0]]], [[[0.5, 3.0]]]]), torch.tensor([[[[-1.0]]], [[[0.0]]]])]
    expected = sum(map(softplus, (-1, 2, -0.5, -3))) / 4 + sum(map(softplus, (1, 0))) / 2
    loss = adversarial_loss(logits)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected)


def test_discriminator_loss_by_hand():
    real = [torch.tensor([[[[1.0, -2.0]]]]), torch.tensor([[[[3.0]]]])]
    fake = [torch.tensor([[[[0.5, -1.0]]]]), torch.tensor([[[[-4.0]]]])]
    expected = (softplus(-1) + softplus(2)) / 2 + (softplus(0.5) + softplus(-1)) / 2 + softplus(-3) + softplus(-4)
    loss = discriminator_loss(real, fake)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected)


LOSSES = {
    "content": lambda *values: content_loss(maps(*values), maps(*[0] * len(values))),
    "adversarial": lambda *values: adversarial_loss(maps(*values)),
    "discriminator": lambda *values: discriminator_loss(maps(*values), maps(*[v - 1 for v in values])),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_levels_of_any_size_add_up(loss):
    assert loss(1.0, 2.0, -0.5).item() == pytest.approx(sum(loss(v).item() for v in (1.0, 2.0, -0.5)))
    assert loss(1.0, 1.0).item() == pytest.approx(2 * loss(1.0).item())


@pytest.mark.parametrize("size", [(1, 1, 3, 5), (7, 1, 3, 5), (2, 1, 12, 9)])
def test_batch_and_positions_are_averaged(size):
    assert content_loss(maps(3, size=size), maps(1, size=size)).item() == pytest.approx(2)
    assert adversarial_loss(maps(3, size=size)).item() == pytest.approx(softplus(-3))
    expected = softplus(-3) + softplus(1)
    assert discriminator_loss(maps(3, size=size), maps(1, size=size)).item() == pytest.approx(expected)


def test_undecided_logits_cost_2_ln_2_per_level():
    assert discriminator_loss(maps(0, 0, 0), maps(0, 0, 0)).item() == pytest.approx(6 * math.log(2))
    assert adversarial_loss(maps(0, 0, 0)).item() == pytest.approx(3 * math.log(2))


def test_the_better_d_is_fooled_the_smaller_the_adversarial_loss():
    losses = [adversarial_loss(maps(logit)).item() for logit in (-20, -2, 0, 2, 20)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(20) and losses[-1] == pytest.approx(0, abs=1e-6)


def test_the_better_d_judges_the_smaller_its_loss():
    losses = [discriminator_loss(maps(logit), maps(-logit)).item() for logit in (-5, 0, 5)]
    assert losses == sorted(losses, reverse=True)
    # each of its terms counts
    assert (
        discriminator_loss(maps(1), maps(0))
        < discriminator_loss(maps(0), maps(0))
        < discriminator_loss(maps(0), maps(1))
    )


def test_descending_the_adversarial_loss_raises_the_logits():
    logits = torch.zeros(2, 1, 3, 3, requires_grad=True)
    adversarial_loss([logits]).backward()
    assert (logits.grad < 0).all()


def test_gradients_reach_the_maps_through_d():
    judge = torch.nn.Conv2d(4, 1, 3, padding=1)
    judge.requires_grad_(False)
    fake = torch.zeros(1, 4, 5, 5, requires_grad=True)
    adversarial_loss([judge(fake)]).backward()
    assert (fake.grad != 0).any() and judge.weight.grad is None


def test_extreme_logits_stay_finite():
    assert discriminator_loss(maps(-1e4), maps(1e4)).item() == pytest.approx(2e4)
    assert adversarial_loss(maps(-1e4)).item() == pytest.approx(1e4)


DIFFERENT = {
    "levels more": maps(1, 2, 3),
    "levels fewer": maps(1),
    "width": maps(1, 2, size=(2, 1, 3, 4)),
    "batch": maps(1, 2, size=(1, 1, 3, 5)),
    "channels": maps(1, 2, size=(2, 3, 3, 5)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_maps_that_do_not_match_are_refused(what):
    with pytest.raises(ValueError, match=r"same shapes.*\(2, 1, 3, 5\)"):
        content_loss(maps(1, 2), DIFFERENT[what])


def test_levels_of_real_and_fake_logits_have_to_match():
    with pytest.raises(ValueError):
        discriminator_loss(maps(1, 2), maps(1))
