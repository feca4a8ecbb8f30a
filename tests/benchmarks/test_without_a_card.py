"""Properties of training on a GPU, tested without one: one device, few waits of the host, losses in float32.

Under torch's FakeTensorMode tensors have a device, a type and a shape, and no values. An operation on tensors of two
devices is an error there, and so is a value that the host asks for. torch's backward pass needs a real card: here each
loss gives the parameters that it depends on a gradient of their own shape, type and device.
"""

import ast
import contextlib
import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from detectron2.structures import ImageList
from detectron2.utils.events import EventStorage
from tiny_detectors import sample
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import sgd
from torch.utils._python_dispatch import TorchDispatchMode

from afigan.detectors import Architecture, build_detector
from afigan.detectors.roi_align import ROIAlign32
from afigan.discriminator import FeaturePatchDiscriminator
from afigan.interpolators import INTERPOLATORS, build_interpolator
from afigan.params.experiments import AfiganExperiment, BackboneExperiment, ExtractorExperiment
from afigan.params.schema import RPN, Model, RoIHeads, Schedule
from afigan.pyramids.registry import PYRAMIDS
from afigan.training import engine
from afigan.training.adversarial import Adversary
from afigan.training.afigan import AfiganStep
from afigan.training.detector import DetectorStep
from afigan.training.extractor import ExtractorStep

ROOT = Path(__file__).resolve().parents[2]
CUDA = torch.device("cuda")
SCHEDULE = Schedule(iterations=10, batch_size=2, lr=0.01, clip_norm=1.0)
ARCHITECTURE = Architecture(
    Model(
        channels=16,
        anchor_sizes=[16, 32, 64, 128, 256],
        canonical_box_size=112,
        roi_heads=RoIHeads(batch_size_per_image=16, fc_dim=16, mask_dim=8),
        rpn=RPN(batch_size_per_image=16, proposals_train=50, proposals_test=50),
    ),
    BackboneExperiment(name="resnet18", freeze_at=2),
    num_classes=3,
)
HEADS = ("faster_rcnn", "mask_rcnn", "cascade_mask_rcnn", "retinanet", "fcos", "centermask")


@contextlib.contextmanager
def fake():
    """Let tensors be fake; `torch.isfinite`, whose result the engine waits for, says yes and counts its calls."""
    asked = []

    def isfinite(value):
        asked.append(value)
        return True

    def backward(loss):
        waiting, seen = [loss.grad_fn], set()
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if hasattr(node, "variable"):
                node.variable.grad = torch.zeros_like(node.variable)
            waiting += [before for before, _ in node.next_functions]

    with (
        FakeTensorMode(),
        torch.backends.cudnn.flags(enabled=False),  # its grid sampler has no fake version, and torch's own has
        mock.patch.object(torch, "isfinite", isfinite),
        mock.patch.object(torch.Tensor, "backward", backward),
        mock.patch("torch.optim.sgd._fused_sgd", sgd._single_tensor_sgd),  # the fused one has no fake version
    ):
        yield asked


@contextlib.contextmanager
def on_cuda():
    """Create modules on a fake GPU: they cannot be moved there."""
    with mock.patch.object(nn.Module, "to", lambda module, *arguments, **options: module), CUDA:
        yield


def preprocess(detector):
    """Replace the assembling of a batch, which reads the images' sizes from tensors of the host."""

    def stacked(batch):
        images = torch.stack([(item["image"].to(CUDA) - detector.pixel_mean) / detector.pixel_std for item in batch])
        return ImageList(images, [tuple(item["image"].shape[1:]) for item in batch])

    detector.preprocess_image = stacked


def pairs():
    """Return a batch of odd sizes whose images are on the host, as the loader gives them."""
    views = [(97, 131), (49, 66)]
    high, low = ([torch.zeros(3, *size, dtype=torch.uint8) for _ in range(2)] for size in views)
    return [{"image": h, "low": {"image": one}} for h, one in zip(high, low, strict=True)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"options": {"blocks": "rb"}},
        {"adversarial": "detached"},
        {"adversarial": "off"},
        {"match": "different"},
        {"features": "merged"},
    ],
    ids=str,
)
def test_stage_1_runs_on_one_device_and_waits_once_for_each_network(options, optimizer):
    experiment = AfiganExperiment(teacher="a1", degradation="bilinear", **options)
    schedule = SCHEDULE.model_copy(update={"optimizer": optimizer})
    with fake() as asked:
        with on_cuda():
            teacher = build_detector(ARCHITECTURE).eval().requires_grad_(False)
            preprocess(teacher)
            generator = engine.Learner(build_interpolator(experiment.interpolator, 16, **experiment.options), schedule)
            judge = None
            if experiment.adversarial != "off":
                judge = engine.Learner(FeaturePatchDiscriminator(16), schedule)
        adversary = Adversary(judge, experiment.adversarial, 0.001)
        step = AfiganStep(teacher, generator, adversary, experiment, list(teacher.backbone.interpolated_levels))
        for _ in range(2):
            with engine.autocast(CUDA, schedule):
                logged = step(engine.to_device(pairs(), CUDA))
    assert {(value.device.type, value.dtype) for value in logged.values()} == {("cuda", torch.float32)}
    assert len(asked) == 2 * (1 + (judge is not None))
    assert all(value.device.type == "cuda" for value in asked)


@pytest.mark.parametrize("interpolator", INTERPOLATORS)
@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_pyramids_run_forward_and_backward_on_one_device(pyramid, interpolator):
    architecture = replace(ARCHITECTURE, head="retinanet", pyramid=pyramid, interpolator=interpolator)
    with fake():
        with on_cuda():
            backbone = build_detector(architecture).train().backbone
            learner = engine.Learner(backbone, SCHEDULE)
        with engine.autocast(CUDA, SCHEDULE):
            maps = backbone(torch.zeros(2, 3, 96, 128, device=CUDA))
        learner.update({name: value.float().mean() for name, value in maps.items()})
    assert {value.device.type for value in maps.values()} == {"cuda"}


@pytest.mark.parametrize("interpolator", [name for name, traits in INTERPOLATORS.items() if not traits.guided])
def test_iterated_upsampling_runs_on_one_device(interpolator):
    architecture = replace(ARCHITECTURE, interpolator=interpolator, upsampling="iterated")
    with fake():
        with on_cuda():
            backbone = build_detector(architecture).train().backbone
        with engine.autocast(CUDA, SCHEDULE):
            maps = backbone(torch.zeros(2, 3, 96, 128, device=CUDA))
    assert {value.device.type for value in maps.values()} == {"cuda"}


def test_roi_align_runs_on_one_device():
    with fake(), on_cuda():
        found = ROIAlign32((7, 7), 1 / 8, 2)(torch.zeros(2, 16, 24, 32), torch.zeros(10, 5))
    assert (found.device.type, found.shape) == ("cuda", (10, 16, 7, 7))


def test_a_tensor_of_the_host_among_those_of_a_card_is_an_error():
    with fake():
        with on_cuda():
            module = FeaturePatchDiscriminator(4)
        with pytest.raises(RuntimeError, match="device"):
            module(torch.zeros(1, 4, 8, 8))


class Waits(TorchDispatchMode):
    """Count the operations whose result a GPU's host has to wait for, by the module of afigan that asks."""

    WAITING = ("aten._local_scalar_dense.default", "aten.nonzero.default", "aten.masked_select.default")

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        masks = func is torch.ops.aten.index.Tensor and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if str(func) in self.WAITING or masks:
            self.found[self._place()] += 1
        return result

    @staticmethod
    def _place():
        """Return the module of afigan that asks, or detectron2 if that is nearer."""
        for frame in reversed(traceback.extract_stack()):
            path = Path(frame.filename)
            if path.is_relative_to(ROOT / "afigan"):
                return path.relative_to(ROOT).as_posix()
            if "detectron2" in path.parts:
                return "detectron2"
        return "elsewhere"


def batch():
    """Return two images with objects and masks, each with a halved pair."""
    high = [sample([[8, 8, 60, 70], [50, 20, 120, 90]], [0, 2], masks=True, seed=seed) for seed in (0, 1)]
    low = [sample([[4, 4, 30, 35], [25, 10, 60, 45]], [0, 2], size=(48, 64), masks=True, seed=seed) for seed in (0, 1)]
    return [h | {"low": one} for h, one in zip(high, low, strict=True)]


def training_step(stage, head="mask_rcnn"):
    """Return a step on the CPU."""
    torch.manual_seed(0)
    architecture = replace(ARCHITECTURE, head=head, interpolator="afi")
    teacher = build_detector(replace(ARCHITECTURE, head=head)).eval().requires_grad_(False)
    levels = list(teacher.backbone.interpolated_levels)
    if stage == 3:
        return DetectorStep(engine.Learner(build_detector(architecture).train(), SCHEDULE))
    adversary = Adversary(engine.Learner(FeaturePatchDiscriminator(16), SCHEDULE), "on", 0.001)
    if stage == 1:
        generator = engine.Learner(build_interpolator("afi", 16), SCHEDULE)
        return AfiganStep(teacher, generator, adversary, AfiganExperiment(teacher="a1", degradation="bilinear"), levels)
    extractor = engine.Learner(build_detector(architecture, 0.5).train(), SCHEDULE)
    experiment = ExtractorExperiment(backbone="main", teacher="a1", init="afigan/main", degradation="bilinear")
    return ExtractorStep(teacher, extractor, adversary, experiment, levels)


# the waits of this project's own code in an iteration; detectron2's RPN and RoI heads have their own, about 80
ENGINE = "afigan/training/engine.py"  # is the loss finite?
FCOS = {
    "afigan/detectors/fcos/proposals.py": 5,
    "afigan/detectors/fcos/losses.py": 5,
    ENGINE: 2,
}  # a boolean index's gradient too
OWN_WAITS = {
    (1, "mask_rcnn"): {ENGINE: 2},
    (2, "mask_rcnn"): {ENGINE: 2},
    (3, "mask_rcnn"): {ENGINE: 1},
    (3, "retinanet"): {ENGINE: 1},
    (3, "fcos"): FCOS,
    (3, "centermask"): FCOS | {"afigan/detectors/fcos/proposals.py": 15, "afigan/detectors/roi_pooling.py": 3},
}


@pytest.mark.parametrize(("stage", "head"), OWN_WAITS)
def test_where_the_projects_own_code_waits(stage, head):
    step, items = training_step(stage, head), batch()
    with EventStorage(), Waits() as waits:
        step(items)
    assert {place: n for place, n in waits.found.items() if place.startswith("afigan/")} == OWN_WAITS[stage, head]
    if stage == 1:  # tensors of the host: the sizes of two batches of two images
        assert waits.found["detectron2"] == 4


# every place on the training path that could wait for a card by its name, whatever device the tests have
CALLS = ("item", "cpu", "tolist", "numpy", "nonzero", "bincount", "unique", "masked_select", "synchronize")
PATH = ("training", "interpolators", "pyramids", "detectors", "discriminator.py", "losses.py", "data/loader.py")
LISTED = {
    "training/backbone.py: cpu": 1,  # at its end
    "training/engine.py: item": 1,  # where a training ends because of a NaN
    "training/engine.py: cpu": 1,  # in a checkpoint
    "training/stage.py: cpu": 1,  # at the end
    "detectors/roi_align.py: bincount": 1,  # the separable one's
    "detectors/roi_pooling.py: nonzero": 1,
    "detectors/fcos/proposals.py: nonzero": 2,  # one in training, one in a test
    "detectors/fcos/losses.py: nonzero": 1,
}


def test_every_call_that_could_wait_is_listed():
    found = Counter()
    for part in PATH:
        place = ROOT / "afigan" / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
                    found[f"{path.relative_to(ROOT / 'afigan').as_posix()}: {node.func.attr}"] += 1
    assert found == LISTED


@pytest.mark.parametrize("head", HEADS)
def test_losses_of_a_detector_are_float32_under_autocast(head):
    detector = build_detector(replace(ARCHITECTURE, head=head, interpolator="afi")).train()
    with EventStorage(), torch.autocast("cpu", dtype=torch.bfloat16):
        losses = detector(batch())
    wide = (torch.float32, torch.float64)  # RetinaNet divides by a mean in float64
    assert losses and all(loss.dtype in wide for loss in losses.values())


@pytest.mark.parametrize("stage", [1, 2])
def test_terms_of_the_method_are_float32_under_autocast(stage):
    step, seen = training_step(stage), []
    update = engine.Learner.update

    def observed(learner, losses):
        seen.append(losses)
        return update(learner, losses)

    with (
        EventStorage(),
        torch.autocast("cpu", dtype=torch.bfloat16),
        mock.patch.object(engine.Learner, "update", observed),
    ):
        step(batch())
    terms = {name: loss.dtype for losses in seen for name, loss in losses.items()}
    assert {"loss_content", "loss_adversarial", "loss_discriminator"} <= set(terms)
    assert set(terms.values()) == {torch.float32}
