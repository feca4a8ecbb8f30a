"""The three stages' steps at one size, on images of noise: what benchmarks/gpu.py checks and times."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling.backbone.resnet import BottleneckBlock
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from afigan.detectors import Architecture, build_detector
from afigan.discriminator import FeaturePatchDiscriminator
from afigan.interpolators import build_interpolator
from afigan.params.experiments import AfiganExperiment, BackboneExperiment, ExtractorExperiment
from afigan.params.schema import RPN, Model, RoIHeads, Schedule
from afigan.runtime.device import move, seed_everything
from afigan.runtime.files import atomic_path
from afigan.training import engine
from afigan.training.adversarial import Adversary
from afigan.training.afigan import AfiganStep
from afigan.training.detector import DetectorStep
from afigan.training.extractor import ExtractorStep
from afigan.training.journal import Window

STAGES = ("stage1", "stage2", "stage3")
CLASSES = 80


class Kept(dict):
    """The figures of a part, written to `FOLDER.part.json` at every new one: a killed part leaves those it has."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder.with_name(folder.name + ".part.json")

    def __setitem__(self, name: str, figure: Any) -> None:
        super().__setitem__(name, figure)
        with atomic_path(self._path) as temporary:
            temporary.write_text(json.dumps(self), "utf-8")


@dataclass(frozen=True)
class Scale:
    """The sizes of a scene: the detectors' model, the images in pixels, the batch, and an image's objects."""

    model: Model
    backbone: str
    height: int
    width: int
    batch: int = 2
    objects: int = 8

    def with_model(self, **changes: Any) -> "Scale":
        """Return the same sizes with other values in `model`."""
        return replace(self, model=self.model.model_copy(update=changes))

    def architecture(self, interpolator: str, **options: Any) -> Architecture:
        """Return a Mask R-CNN with FPN, unless `options` say otherwise."""
        backbone = BackboneExperiment(name=self.backbone, freeze_at=2, pixel_std=[57.375, 57.12, 58.395])
        return Architecture(self.model, backbone, CLASSES, interpolator=interpolator, **options)


# the paper's detector on an image of 4:3, as most of COCO's, at the test size
PAPER = Scale(Model(anchor_sizes=[32, 64, 128, 256, 512]), "resnet50", 800, 1067)
SMALL_MODEL = Model(
    channels=64,
    anchor_sizes=[16, 32, 64, 128, 256],
    canonical_box_size=112,
    roi_heads=RoIHeads(batch_size_per_image=64, fc_dim=128, mask_dim=32),
    rpn=RPN(batch_size_per_image=64, proposals_train=200, proposals_test=200),
)
CHECK = Scale(SMALL_MODEL, "resnet50", 256, 320)  # small enough for a CPU to do the same
QUICK = Scale(
    SMALL_MODEL.model_copy(
        update={"channels": 16, "roi_heads": RoIHeads(batch_size_per_image=16, fc_dim=16, mask_dim=8)}
    ),
    "resnet18",
    96,
    128,
)


def images(scale: Scale, seed: int = 0, pinned: bool = False) -> list[dict[str, Any]]:
    """Return a batch: images (3, H, W) of noise with objects and masks, each with its halved pair under `low`.

    Args:
        pinned: whether the images are in pinned memory.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = []
    for _ in range(scale.batch):
        centres = torch.rand(scale.objects, 2, generator=generator)
        extents = 0.05 + 0.3 * torch.rand(scale.objects, 2, generator=generator)
        corners = torch.cat([centres - extents / 2, centres + extents / 2], dim=1).clamp(0, 1)
        classes = torch.randint(CLASSES, (scale.objects,), generator=generator)
        sides = {}
        for name, factor in (("high", 1), ("low", 2)):
            height, width = scale.height // factor, scale.width // factor
            pixels = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
            boxes = corners * torch.tensor([width, height, width, height])
            found = Instances((height, width), gt_boxes=Boxes(boxes), gt_classes=classes)
            found.gt_masks = PolygonMasks(
                [[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in boxes.double().tolist()]
            )
            pixels = pixels.pin_memory() if pinned else pixels
            sides[name] = {"image": pixels, "instances": found, "height": height, "width": width}
        batch.append(sides["high"] | {"low": sides["low"]})
    return batch


def detector(scale: Scale, interpolator: str = "nearest", image_scale: float = 1.0, **options: Any) -> nn.Module:
    """Build a detector whose random backbone gives activations of the usual size.

    Residual branches add nothing at first, as at the start of training in Goyal et al. (2017, section 5.1). In a plain
    random network with frozen normalisation activations grow with every block.
    """
    built = build_detector(scale.architecture(interpolator, **options), image_scale)
    for module in built.modules():
        if isinstance(module, BottleneckBlock):
            module.conv3.norm.weight.zero_()
    return built


@dataclass
class Scene:
    """One stage's step with its learners and frozen teacher."""

    step: Any
    learners: dict[str, engine.Learner]
    teacher: nn.Module | None
    schedule: Schedule
    device: torch.device

    def modules(self) -> list[nn.Module]:
        """Return all networks that the step runs."""
        found = [learner.module for learner in self.learners.values()]
        return found if self.teacher is None else [self.teacher, *found]

    def run(self, batch: list[dict], log: bool = False) -> dict[str, Tensor]:
        """Take one step as `engine.train` does; `log`: with a line of the log, as every `log_every`-th iteration."""
        as_written = torch.jit.optimized_execution(False)
        with as_written, EventStorage(), engine.autocast(self.device, self.schedule):
            terms = self.step(engine.to_device(batch, self.device))
        window = Window()
        window.add(terms)
        if log:
            window.close()
        return terms


def schedule(amp: bool, **changes: Any) -> Schedule:
    """Return a schedule of many iterations; `amp`: bfloat16 on a GPU."""
    return Schedule(**{"iterations": 100_000, "batch_size": 2, "lr": 1e-3, "amp": amp} | changes)


def build(
    stage: str, scale: Scale, device: torch.device, settings: Schedule, interpolator: str = "afi", **options: Any
) -> Scene:
    """Build a stage as `train_afigan`, `train_extractor` or `train_detector` does, with random weights.

    Args:
        interpolator, options: of stage 3's detector.
    """
    seed_everything(0, torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    channels = scale.model.channels
    learners: dict[str, engine.Learner] = {}
    if stage == "stage3":
        built = move(detector(scale, interpolator, **options), device).train()
        learners["detector"] = engine.Learner(built, settings)
        return Scene(DetectorStep(learners["detector"]), learners, None, settings, device)
    teacher = move(detector(scale).eval().requires_grad_(False), device)
    levels = list(teacher.backbone.interpolated_levels)
    if stage == "stage1":
        learners["interpolator"] = engine.Learner(move(build_interpolator("afi", channels), device), settings)
    else:
        learners["extractor"] = engine.Learner(move(detector(scale, "afi", 0.5), device).train(), settings)
    learners["discriminator"] = engine.Learner(move(FeaturePatchDiscriminator(channels), device), settings)
    adversary = Adversary(learners["discriminator"], "on", 0.001)
    if stage == "stage1":
        experiment = AfiganExperiment(teacher="a1", degradation="bilinear")
        step: Any = AfiganStep(teacher, learners["interpolator"], adversary, experiment, levels)
    else:
        m = ExtractorExperiment(backbone="main", teacher="a1", init="afigan/main", degradation="bilinear")
        step = ExtractorStep(teacher, learners["extractor"], adversary, m, levels)
    return Scene(step, learners, teacher, settings, device)


@contextlib.contextmanager
def same_samples() -> Iterator[None]:
    """Let all devices draw the same permutations: detectron2 samples anchors and RoIs with `torch.randperm`."""
    draw = torch.randperm

    def on_the_cpu(n: int, *, device: Any = None, **options: Any) -> Tensor:
        return draw(n, **options).to(device or "cpu")

    torch.randperm = on_the_cpu
    try:
        yield
    finally:
        torch.randperm = draw


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow TF32 in float32 products and convolutions, or not."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
