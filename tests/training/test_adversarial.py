"""Gradients of G, D and M in Algorithm 1, and the maps that are compared."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from afigan.discriminator import FeaturePatchDiscriminator
from afigan.losses import adversarial_loss
from afigan.params.schema import Schedule
from afigan.training.adversarial import Adversary, crop_to, halve, pyramid_maps
from afigan.training.engine import Learner

SGD = {"iterations": 10, "batch_size": 1, "optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 0.1}
CHANNELS = 3
SIZES = [(8, 6), (4, 3), (1, 2)]


def learner(module: nn.Module, **change) -> Learner:
    return Learner(module, Schedule.model_validate(SGD | change))


class Game:
    """G, D and two levels' maps."""

    def __init__(self, mode: str = "on", weight: float = 0.001, content: bool = True, **change) -> None:
        torch.manual_seed(3)
        self.generator = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        judge = FeaturePatchDiscriminator(CHANNELS)
        nn.init.normal_(judge[-1].weight, std=0.1)  # as of a D that has learned something
        self.judge = None if mode == "off" else learner(judge, **change)
        self.adversary = Adversary(self.judge, mode, weight, content)
        self.sources = [torch.randn(2, CHANNELS, *size) for size in SIZES]
        self.reals = [torch.randn(2, CHANNELS, *size) for size in SIZES]

    def fakes(self) -> list[torch.Tensor]:
        return [self.generator(source) for source in self.sources]

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss, self.generator.weight, retain_graph=True)[0]


def state(module: nn.Module, buffers: bool = True) -> dict[str, torch.Tensor]:
    named = module.state_dict().items() if buffers else module.named_parameters()
    return {name: value.detach().clone() for name, value in named}


def equal(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_adversarial_gradient_reaches_g_and_is_that_of_minus_log_d():
    game = Game(weight=0.5)
    gradient = game.gradient(game.adversary.generator_losses(game.fakes(), game.reals)["loss_adversarial"])
    # by hand: 0.5 * sum over levels of the mean of softplus(-D(G(x)))
    judge = game.judge.module
    by_hand = 0.5 * sum(F.softplus(-judge(fake)).mean() for fake in game.fakes())
    expected = game.gradient(by_hand)
    assert expected.abs().max() > 1e-5
    torch.testing.assert_close(gradient, expected)


def test_a_step_of_g_down_the_adversarial_loss_fools_d_more():
    game = Game(weight=1.0, content=False)
    g = learner(game.generator, lr=0.05)

    def logits() -> float:
        with torch.no_grad():
            return sum(game.judge.module(fake).mean().item() for fake in game.fakes())

    before = logits()
    for _ in range(3):
        g.update(game.adversary.generator_losses(game.fakes(), game.reals))
    assert logits() > before


def test_a_g_pass_does_not_change_the_parameters_of_d():
    game = Game(weight=1.0)
    game.adversary.update_discriminator(game.fakes(), game.reals)
    game.judge.optimizer.zero_grad(set_to_none=True)
    before = state(game.judge.module, buffers=False)
    learner(game.generator).update(game.adversary.generator_losses(game.fakes(), game.reals))
    assert all(p.grad is None for p in game.judge.module.parameters())
    assert equal(state(game.judge.module, buffers=False), before)
    assert all(p.requires_grad for p in game.judge.module.parameters())  # D learns on in the next iteration


@pytest.mark.parametrize("mode", ["on", "detached"])
def test_d_can_learn_after_a_g_pass(mode):
    game = Game(mode)
    game.adversary.generator_losses(game.fakes(), game.reals)
    before = state(game.judge.module, buffers=False)
    game.adversary.update_discriminator(game.fakes(), game.reals)
    after = state(game.judge.module, buffers=False)
    assert all(not torch.equal(after[name], before[name]) for name in before if "weight" in name)


def test_d_update_reaches_d_and_not_g():
    game = Game()
    fakes = game.fakes()
    reals = [real.requires_grad_() for real in game.reals]  # as if F were not frozen
    before, generator = state(game.judge.module), state(game.generator)
    terms = game.adversary.update_discriminator(fakes, reals)
    assert all(p.grad is None for p in game.generator.parameters())
    assert all(real.grad is None for real in reals)
    assert not terms["loss_discriminator"].requires_grad
    assert equal(state(game.generator), generator)
    assert not equal(state(game.judge.module), before)


def test_g_can_still_use_the_fakes_that_d_was_updated_on():
    game = Game()
    fakes = game.fakes()
    game.adversary.update_discriminator(fakes, game.reals)
    learner(game.generator).update(game.adversary.generator_losses(fakes, game.reals))


def test_d_learns_to_distinguish_real_from_fake():
    game = Game(lr=0.2)
    losses = [game.adversary.update_discriminator(game.fakes(), game.reals)["loss_discriminator"] for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():
        judge = game.judge.module
        assert all(judge(r).mean() > judge(f).mean() for r, f in zip(game.reals, game.fakes(), strict=True))


def test_d_sees_real_and_fake_in_passes_of_their_own_level_by_level():
    game = Game()
    seen = []
    game.judge.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    fakes = game.fakes()
    game.adversary.update_discriminator(fakes, game.reals)
    assert [m.shape for m in seen] == 2 * [r.shape for r in game.reals]
    assert all(torch.equal(a, b) for a, b in zip(seen, [*game.reals, *fakes], strict=True))


def test_detached_has_the_same_loss_and_no_adversarial_gradient():
    on, detached = Game("on", weight=0.7), Game("detached", weight=0.7)
    losses = on.adversary.generator_losses(on.fakes(), on.reals)
    without = detached.adversary.generator_losses(detached.fakes(), detached.reals)
    assert all(torch.equal(losses[name], without[name]) for name in losses) and losses.keys() == without.keys()
    assert on.gradient(losses["loss_adversarial"]).abs().max() > 0
    assert not without["loss_adversarial"].requires_grad
    # only the content term's gradient is left
    learner(detached.generator).update(without)
    content = Game("off")
    learner(content.generator).update(content.adversary.generator_losses(content.fakes(), content.reals))
    assert torch.equal(detached.generator.weight.grad, content.generator.weight.grad)
    assert not torch.equal(on.gradient(sum(losses.values())), content.generator.weight.grad)


def test_off_has_no_d():
    game = Game("off")
    assert game.adversary.update_discriminator(game.fakes(), game.reals) == {}
    assert list(game.adversary.generator_losses(game.fakes(), game.reals)) == ["loss_content"]


def test_without_content_only_the_adversarial_term_remains():
    game = Game(content=False)
    assert list(game.adversary.generator_losses(game.fakes(), game.reals)) == ["loss_adversarial"]


def test_mode_and_discriminator_belong_together():
    with pytest.raises(AssertionError):
        Adversary(None, "on", 0.001)
    with pytest.raises(AssertionError):
        Adversary(learner(FeaturePatchDiscriminator(2)), "off", 0.001)


@pytest.mark.parametrize("weight", [0.0, 0.001, 2.0])
def test_lambda_weighs_only_the_adversarial_term(weight):
    game = Game(weight=weight)
    losses = game.adversary.generator_losses(game.fakes(), game.reals)
    fakes = game.fakes()
    plain = adversarial_loss([game.judge.module(fake) for fake in fakes])
    content = sum((f - r).abs().mean() for f, r in zip(fakes, game.reals, strict=True))
    assert losses["loss_adversarial"].item() == pytest.approx(weight * plain.item(), rel=1e-5)
    assert losses["loss_content"].item() == pytest.approx(content.item(), rel=1e-5)


def test_an_untrained_d_starts_near_ln_2_per_term():
    torch.manual_seed(0)
    adversary = Adversary(learner(FeaturePatchDiscriminator(CHANNELS)), "on", 1.0)
    game = Game()
    loss = adversary.generator_losses(game.fakes(), game.reals)["loss_adversarial"].item()
    assert loss == pytest.approx(len(SIZES) * math.log(2), rel=0.05)


# --- maps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(2, 2), (8, 6), (16, 4)])
def test_halving_an_even_map_is_bilinear_interpolation(size):
    feature = torch.randn(2, 3, *size)
    expected = F.interpolate(feature, scale_factor=0.5, mode="bilinear", align_corners=False)
    torch.testing.assert_close(halve([feature])[0], expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 1), (5, 7), (25, 42)])
def test_halving_an_odd_map_keeps_the_low_resolution_grid(size):
    """Position j of the result is where position j of the low-resolution map is: it covers 2 j and 2 j + 1."""
    rows = torch.arange(float(size[0])).view(1, 1, -1, 1).expand(1, 1, *size)
    columns = torch.arange(float(size[1])).view(1, 1, 1, -1).expand(1, 1, *size)
    for feature, dimension in ((rows, 2), (columns, 3)):
        half = halve([feature])[0]
        assert half.shape[2:] == ((size[0] + 1) // 2, (size[1] + 1) // 2)
        length = size[dimension - 2]
        expected = [min(2 * j + 0.5, length - 1) for j in range((length + 1) // 2)]
        assert half.select(5 - dimension, 0).flatten().tolist() == expected


def test_halving_keeps_order_and_levels():
    maps = [torch.full((1, 2, size, size), float(size)) for size in (8, 4, 2)]
    assert [h[0, 0, 0, 0].item() for h in halve(maps)] == [8, 4, 2]


@pytest.mark.parametrize("size", [(7, 5), (8, 6), (1, 1)])
def test_crop_keeps_the_upper_left_corner(size):
    fake = torch.arange(8 * 6.0).view(1, 1, 8, 6)
    cropped = crop_to([fake], [torch.zeros(1, 1, *size)])[0]
    assert torch.equal(cropped, fake[:, :, : size[0], : size[1]])


def test_crop_refuses_a_map_that_is_too_small():
    with pytest.raises(AssertionError):
        crop_to([torch.zeros(1, 1, 4, 4)], [torch.zeros(1, 1, 5, 4)])


def test_output_and_merged_maps():
    from afigan.backbones import build_backbone
    from afigan.pyramids.fpn import InterpolatedFPN

    torch.manual_seed(0)
    pyramid = InterpolatedFPN(
        bottom_up=build_backbone("resnet_mini", norm="FrozenBN"),
        in_features=["res2", "res3", "res4", "res5"],
        out_channels=4,
        interpolator="nearest",
    ).eval()
    images = torch.randn(1, 3, 64, 96)
    levels = ["p3", "p5"]
    merged = pyramid_maps(pyramid, images, levels, "merged")
    outputs = pyramid_maps(pyramid, images, levels)
    assert [m.shape[2:] for m in merged] == [o.shape[2:] for o in outputs] == [(8, 12), (2, 3)]
    for level, before, after in zip(levels, merged, outputs, strict=True):
        torch.testing.assert_close(pyramid.get_submodule(f"fpn_output{level[1]}")(before), after)
