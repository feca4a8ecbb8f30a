"""Stage 1: AFI-GAN (section 4.1). G and D learn on a frozen F's maps of full-size and of halved images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from afigan.data.loader import TrainingSet
from afigan.data.pairs import PairReader
from afigan.data.split import read_split
from afigan.detectors import Detector
from afigan.detectors.load import load_architecture, load_detector
from afigan.discriminator import FeaturePatchDiscriminator
from afigan.interpolators import build_interpolator
from afigan.outputs.models import prefixed
from afigan.outputs.paths import PAIRS, PREPARED
from afigan.params.experiments import AfiganExperiment
from afigan.params.lineage import Node
from afigan.params.schema import AdversarialSchedule, Params
from afigan.runtime.device import choose_device, move, seed_everything
from afigan.training import engine
from afigan.training.adversarial import Adversary, crop_to, pyramid_maps
from afigan.training.stage import on_all_ranks, open_run, save_model


class AfiganStep:
    """One iteration of Algorithm 1, lines 3-5.

    Args:
        teacher: the frozen detector whose backbone and pyramid are F.
        generator: G's learner.
        adversary: D and the losses.
        experiment: which maps are matched.
        levels: N_s..N_e.
    """

    def __init__(
        self,
        teacher: Detector,
        generator: engine.Learner,
        adversary: Adversary,
        experiment: AfiganExperiment,
        levels: Sequence[str],
    ) -> None:
        self.teacher, self.generator, self.adversary = teacher, generator, adversary
        self.experiment, self.levels = experiment, levels

    @torch.no_grad()
    def maps(self, batch: list[dict]) -> tuple[list[Tensor], list[Tensor]]:
        """Return G's inputs and their targets, level by level.

        `match: same`: F(I_lr)_i and F(I_hr)_i. `match: different` (Table 7): F(I_hr)_{i+1} and F(I_hr)_i.
        """
        features = self.experiment.features
        high = pyramid_maps(self.teacher.backbone, self.teacher.preprocess_image(batch).tensor, self.levels, features)
        if self.experiment.match == "different":
            return high[1:], high[:-1]
        low_images = self.teacher.preprocess_image([item["low"] for item in batch]).tensor
        return pyramid_maps(self.teacher.backbone, low_images, self.levels, features), high

    def __call__(self, batch: list[dict]) -> dict[str, Tensor]:
        sources, reals = self.maps(batch)
        fakes = crop_to([self.generator.module(source) for source in sources], reals)
        logged = self.adversary.update_discriminator(fakes, reals)
        losses = self.adversary.generator_losses(fakes, reals)
        return engine.with_total(self.generator.update(losses)) | logged


def train_afigan(params: Params, key: str) -> None:
    """Run stage 1 of experiment `key`; write `models/afigan/KEY/` with `interpolator.*` and `discriminator.*`.

    Raises:
        ValueError: data or teacher are missing or do not fit.
        TrainingDiverged: a loss is not finite.
    """
    on_all_ranks(_train, params, f"afigan/{key}")


def _train(node: Node) -> None:
    params, experiment, schedule = node.params, node.experiment, node.schedule
    assert isinstance(schedule, AdversarialSchedule)
    seed_everything(node.seed, params.threads, params.deterministic)
    device = choose_device(params.device)
    pairs = PAIRS / experiment.degradation
    with open_run(node, [PREPARED / "train.json", pairs / "index.json"]) as (run, inputs):
        teacher = load_detector(f"detectors/{experiment.teacher}", device)
        architecture = load_architecture(f"detectors/{experiment.teacher}")
        channels = architecture.model.channels
        interpolator = move(build_interpolator(experiment.interpolator, channels, **experiment.options), device)
        learners = {"interpolator": engine.Learner(interpolator, schedule)}
        if experiment.adversarial != "off":
            discriminator = move(FeaturePatchDiscriminator(channels), device)
            learners["discriminator"] = engine.Learner(discriminator, schedule)
        adversary = Adversary(learners.get("discriminator"), experiment.adversarial, schedule.adversarial_weight)
        step = AfiganStep(
            teacher, learners["interpolator"], adversary, experiment, teacher.backbone.interpolated_levels
        )
        reader = PairReader(pairs) if experiment.match == "same" else None
        split, pixel_format = read_split(PREPARED / "train.json"), architecture.backbone.pixel_format
        dataset = TrainingSet(split, params.input, pixel_format, node.seed, reader, annotated=False)
        log = engine.train(run=run, schedule=schedule, learners=learners, step=step, dataset=dataset, device=device)
        state: dict[str, Tensor] = {}
        for name, learner in learners.items():
            state |= prefixed(learner.module, f"{name}.")
        config = {"channels": channels, "interpolator": experiment.interpolator, "options": experiment.options}
        save_model(node, inputs, state, log, config)
