"""Stage 2: the multi-scale AF extractor (section 4.2). M learns to detect in halved images and to match F's maps."""

from typing import Any

import torch
from torch import Tensor, nn

from afigan.data.loader import TrainingSet
from afigan.data.pairs import PairReader
from afigan.data.split import read_split
from afigan.detectors import Architecture, Detector, build_detector
from afigan.detectors.load import load_detector, load_interpolator
from afigan.detectors.metadata import about_detector
from afigan.discriminator import FeaturePatchDiscriminator
from afigan.outputs.models import load_part, load_weights, part, prefixed
from afigan.outputs.paths import PAIRS, PREPARED
from afigan.params.experiments import ExtractorExperiment
from afigan.params.lineage import Node
from afigan.params.schema import AdversarialSchedule, Params
from afigan.runtime.device import choose_device, move, seed_everything
from afigan.training import engine
from afigan.training.adversarial import Adversary, crop_to, halve, pyramid_maps
from afigan.training.stage import on_all_ranks, open_run, save_model


class ExtractorStep:
    """One iteration of Algorithm 1, lines 8-10.

    Args:
        teacher: the frozen detector whose backbone and pyramid are F.
        extractor: M's learner.
        adversary: D and the losses; None for a control that learns only from the detection loss.
        experiment: which maps are matched.
        levels: N_s..N_e.
    """

    def __init__(
        self,
        teacher: Detector,
        extractor: engine.Learner,
        adversary: Adversary | None,
        experiment: ExtractorExperiment,
        levels: list[str],
    ) -> None:
        self.teacher, self.extractor, self.adversary = teacher, extractor, adversary
        self.experiment, self.levels = experiment, levels
        self._seen: dict[str, Tensor] = {}
        # M's own forward returns only losses; a hook keeps its pyramid's maps
        detector: Detector = extractor.module
        detector.backbone.register_forward_hook(self._remember)

    def _remember(self, module: nn.Module, arguments: Any, output: dict[str, Tensor]) -> None:
        self._seen = output

    def __call__(self, batch: list[dict]) -> dict[str, Tensor]:
        different = self.experiment.match == "different"
        # low-resolution images have their own, halved annotations
        losses = dict(self.extractor.module(batch if different else [item["low"] for item in batch]))
        logged: dict[str, Tensor] = {}
        if self.adversary is not None:
            maps = [self._seen[level] for level in self.levels]
            with torch.no_grad():
                reals = pyramid_maps(self.teacher.backbone, self.teacher.preprocess_image(batch).tensor, self.levels)
            if different:  # Table 7: G(M(I)_{i+1}) against F(I)_i of the same image
                reals = reals[:-1]
                detector: Detector = self.extractor.module
                fakes = [
                    detector.backbone.interpolate(coarse, level, real.shape[-2:])
                    for coarse, level, real in zip(maps[1:], self.levels, reals, strict=False)
                ]
            else:
                reals = halve(reals)
                fakes = crop_to(maps, reals)
            logged = self.adversary.update_discriminator(fakes, reals)
            losses |= self.adversary.generator_losses(fakes, reals)
        self._seen = {}
        return engine.with_total(self.extractor.update(losses)) | logged


def train_extractor(params: Params, key: str) -> None:
    """Run stage 2 of experiment `key`; write `models/extractors/KEY/` with M's weights and `discriminator.*`.

    Raises:
        ValueError: data, teacher or stage 1 are missing or do not fit.
        TrainingDiverged: a loss is not finite.
    """
    on_all_ranks(_train, params, f"extractors/{key}")


def _train(node: Node) -> None:
    params, experiment, schedule = node.params, node.experiment, node.schedule
    assert isinstance(schedule, AdversarialSchedule)
    seed_everything(node.seed, params.threads, params.deterministic)
    device = choose_device(params.device)
    pairs = PAIRS / experiment.degradation
    split = read_split(PREPARED / "train.json")
    architecture = Architecture.of(node, len(split["classes"]))
    image_scale = 1.0 if experiment.match == "different" else 0.5
    with open_run(node, [PREPARED / "train.json", pairs / "index.json"]) as (run, inputs):
        teacher = load_detector(f"detectors/{experiment.teacher}", device)
        extractor = build_detector(architecture, image_scale)
        backbone = f"backbones/{experiment.backbone}"
        load_part(extractor.backbone.bottom_up, load_weights(backbone), backbone)
        learners: dict[str, engine.Learner] = {}
        start = load_weights(experiment.init) if experiment.init != backbone else {}
        if start:
            load_interpolator(extractor.backbone, part(start, "interpolator."), experiment.init)
        learners["extractor"] = engine.Learner(move(extractor, device).train(), schedule)
        if experiment.adversarial != "off":
            # with or without D, the detection losses sample the same anchors and RoIs
            with torch.random.fork_rng(devices=[]):
                discriminator = FeaturePatchDiscriminator(params.model.channels)
            if judged := part(start, "discriminator."):
                load_part(discriminator, judged, experiment.init)
            learners["discriminator"] = engine.Learner(move(discriminator, device), schedule)
        adversary = None
        if experiment.adversarial != "off" or experiment.content:
            adversary = Adversary(
                learners.get("discriminator"), experiment.adversarial, schedule.adversarial_weight, experiment.content
            )
        known = extractor.backbone.interpolated_levels
        levels = [level for level in teacher.backbone.interpolated_levels if level in known]
        step = ExtractorStep(teacher, learners["extractor"], adversary, experiment, levels)
        reader = PairReader(pairs) if experiment.match == "same" else None
        dataset = TrainingSet(split, params.input, architecture.backbone.pixel_format, node.seed, reader)
        log = engine.train(run=run, schedule=schedule, learners=learners, step=step, dataset=dataset, device=device)
        state = dict(extractor.state_dict())
        if "discriminator" in learners:
            state |= prefixed(learners["discriminator"].module, "discriminator.")
        trained = {"stage": 2, "iterations": schedule.iterations, "batch_size": schedule.batch_size}
        config = about_detector(params, architecture, split, trained)
        save_model(node, inputs, state, log, config)
