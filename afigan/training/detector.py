"""Stage 3: the target detector T (section 4.3), fine-tuned with its detection loss on full-size images."""

from itertools import chain
from typing import Any

from torch import Tensor

from afigan.data.loader import TrainingSet
from afigan.data.packed import Packed
from afigan.data.split import read_split
from afigan.detectors import Architecture, Detector, build_detector
from afigan.detectors.load import load_interpolator, load_pyramid
from afigan.detectors.metadata import about_detector
from afigan.outputs.currency import check_current
from afigan.outputs.models import load_part, load_weights, part
from afigan.outputs.paths import PREPARED, PSEUDO
from afigan.params.experiments import DetectorExperiment, StudentExperiment
from afigan.params.lineage import Node
from afigan.params.schema import Params
from afigan.runtime.device import choose_device, move, seed_everything
from afigan.training import engine
from afigan.training.stage import on_all_ranks, open_run, save_model


class DetectorStep:
    """One iteration of Algorithm 1, line 13."""

    def __init__(self, detector: engine.Learner) -> None:
        self.detector = detector

    def __call__(self, batch: list[dict]) -> dict[str, Tensor]:
        return engine.with_total(self.detector.update(dict(self.detector.module(batch))))


def initialise(detector: Detector, experiment: DetectorExperiment) -> None:
    """Load T's initial weights; heads and parts that are not reused stay random.

    Every T starts from the classification backbone. Then `reuse: G` takes the interpolators of stage 1 or 2, and
    `reuse: M` takes stage 2's backbone and pyramid: the parts that T has too, because M may have another head.

    Raises:
        ValueError: the weights do not fit.
    """
    backbone = f"backbones/{experiment.backbone}"
    load_part(detector.backbone.bottom_up, load_weights(backbone), backbone)
    if experiment.init == backbone:
        return
    start = load_weights(experiment.init)
    if experiment.reuse == "M":
        load_pyramid(detector.backbone, part(start, "backbone."), experiment.init)
    elif experiment.init.startswith("extractors/"):
        load_part(detector.backbone.upsample, part(start, "backbone.upsample."), experiment.init)
    else:
        load_interpolator(detector.backbone, part(start, "interpolator."), experiment.init)


def freeze_interpolator(detector: Detector) -> None:
    """Keep T's interpolators bit for bit as they are (A4); batch normalisation inside them keeps its statistics too.

    Call it after `detector.train()`.
    """
    detector.backbone.upsample.requires_grad_(False).eval()


def train_detector(params: Params, name: str) -> None:
    """Run stage 3 of the node `detectors/KEY` or `students/KEY`; write `models/NODE/` with T's weights.

    Raises:
        ValueError: data or earlier stages are missing or do not fit.
        TrainingDiverged: a loss is not finite.
    """
    on_all_ranks(_train, params, name)


def _train(node: Node) -> None:
    params, experiment, schedule = node.params, node.experiment, node.schedule
    seed_everything(node.seed, params.threads, params.deterministic)
    device = choose_device(params.device)
    files = [PREPARED / "train.json"]
    split = read_split(files[0])
    if isinstance(experiment, StudentExperiment):
        check_current(node.lineage[f"pseudo_labels/{experiment.labels}"])
        files.append(PSEUDO / f"{experiment.labels}.json")
        labels = read_split(files[1])
        images = Packed(chain(split["images"], labels["images"]))
        split = split | {"images": images, "masks": split["masks"] and labels["masks"]}
        del labels
    architecture = Architecture.of(node, len(split["classes"]))
    with open_run(node, files) as (run, inputs):
        detector = build_detector(architecture)
        initialise(detector, experiment)
        move(detector, device).train()
        if experiment.freeze_interpolator:
            freeze_interpolator(detector)
        learners = {"detector": engine.Learner(detector, schedule)}
        dataset = TrainingSet(split, params.input, architecture.backbone.pixel_format, node.seed)
        step = DetectorStep(learners["detector"])
        log = engine.train(run=run, schedule=schedule, learners=learners, step=step, dataset=dataset, device=device)
        trained: dict[str, Any] = {"stage": 3, "iterations": schedule.iterations, "batch_size": schedule.batch_size}
        trained |= {"short_sides": params.input.short_sides, "pseudo_labels": len(files) > 1}
        config = about_detector(params, architecture, split, trained)
        save_model(node, inputs, detector.state_dict(), log, config)
