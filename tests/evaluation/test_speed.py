"""The paper's Mask R-CNN, timed: nearest and AFI in turns, with the same work for all parts but the pyramid."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from toy import toy_params

from afigan.detectors import Architecture
from afigan.evaluation import speed
from afigan.params.schema import PaperSize

pytest_plugins = ["toy"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def detectors():
    """Detectors by interpolation, built as `measure_paper_size` does."""
    found = {}
    for name in ("nearest", "afi"):
        speed.seed_everything(0, 1)
        architecture = Architecture(speed.PAPER_MODEL, speed.PAPER_BACKBONE, speed.COCO_CLASSES, interpolator=name)
        found[name] = speed.busy_mask_rcnn(architecture)
    return found


def test_what_is_timed_is_the_papers(detectors):
    """Table 1: 44 and 52 million parameters, and one G is all the difference."""
    sizes = {name: sum(p.numel() for p in detector.parameters()) for name, detector in detectors.items()}
    assert sizes["afi"] - sizes["nearest"] == 7_834_624
    assert sizes["nearest"] / 1e6 == pytest.approx(44.4, abs=0.1)
    plain, afi = detectors["nearest"].state_dict(), detectors["afi"].state_dict()
    assert all(torch.equal(afi[name], value) for name, value in plain.items())


def test_all_parts_have_as_much_to_do(detectors):
    """1000 proposals and 100 masks, the limits, for every interpolation."""
    image = torch.randint(0, 256, (3, 256, 288), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for detector in detectors.values():
        proposals, masks = [], []
        hooks = [
            detector.proposal_generator.register_forward_hook(lambda *call, to=proposals: to.append(call[2][0])),
            detector.roi_heads.mask_head.register_forward_hook(lambda *call, to=masks: to.append(call[1][0])),
        ]
        with torch.no_grad():
            (output,) = detector([{"image": image, "height": 256, "width": 288}])
        for hook in hooks:
            hook.remove()
        assert [len(found) for found in proposals[0]] == [1000]
        assert [len(rois) for rois in masks] == [100] and output["instances"].pred_masks.shape == (100, 256, 288)


class Clock:
    """A replacement of `milliseconds` that returns prepared times in turn, and records detectors and batches."""

    def __init__(self, times):
        self.times, self.calls = list(times), []

    def __call__(self, detector, batch):
        self.calls.append((detector.name, batch[0]["image"]))
        return self.times[len(self.calls) - 1]


def test_both_are_timed_in_turns_and_the_median_counts(monkeypatch):
    def network(architecture):
        module = nn.Linear(1000, 1000 if architecture.interpolator == "nearest" else 3000)
        module.name = architecture.interpolator
        return module

    clock = Clock([90.0, 80.0, 1.0, 10.0, 5.0, 30.0, 2.0, 20.0])  # the first two warm up
    monkeypatch.setattr(speed, "busy_mask_rcnn", network)
    monkeypatch.setattr(speed, "milliseconds", clock)
    found = speed.measure_paper_size(PaperSize(runs=3, warm_up=1, height=48, width=40), 1, CPU)
    assert [name for name, _ in clock.calls] == ["nearest", "afi"] * 4
    images = [image for _, image in clock.calls]
    assert images[0].shape == (3, 48, 40) and all(torch.equal(image, images[0]) for image in images)
    assert found == {
        "channels": 256,
        "height": 48,
        "width": 40,
        "params_M": {"nearest": 1.001, "afi": 3.003},
        "time_ms": {"nearest": 2.0, "afi": 20.0},
    }


def test_threads_are_those_of_the_parameters(monkeypatch):
    asked = []
    monkeypatch.setattr(speed, "busy_mask_rcnn", lambda architecture: nn.Linear(1, 1))
    monkeypatch.setattr(speed, "milliseconds", lambda *call: asked.append(torch.get_num_threads()) or 1.0)
    before = torch.get_num_threads()
    try:
        speed.measure_paper_size(PaperSize(runs=1, warm_up=0), 2, CPU)
    finally:
        torch.set_num_threads(before)
    assert asked == [2, 2]


@pytest.mark.parametrize("size", [None, {"runs": 1, "warm_up": 0, "height": 64, "width": 96}])
def test_the_benchmark_measures_it_if_asked(own_world, monkeypatch, size):
    monkeypatch.setattr(speed, "measure", lambda *call: {"time_ms": 1.0})
    evaluations = {key: {"model": f"detectors/{key}"} for key in ("a1", "a5")}
    changes = {"experiments.evaluations": evaluations, "tables": {}, "figures.gradcam": {}}
    speed.benchmark(toy_params(changes | {"benchmark.paper_size": size}))
    content = json.loads(Path("results/benchmark.json").read_text())
    assert list(content["rows"]) == ["a1", "a5"]
    found = content["paper_size"]
    if size is None:
        assert found is None
        return
    assert (found["channels"], found["height"], found["width"]) == (256, 64, 96)
    assert found["params_M"]["afi"] - found["params_M"]["nearest"] == pytest.approx(7.834624)
    assert all(found["time_ms"][name] > 0 for name in ("nearest", "afi"))
