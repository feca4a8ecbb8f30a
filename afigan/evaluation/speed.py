"""Parameters, multiply-adds of the upsampling, and time per image (section 5.2; claim C8; Table 10)."""

import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import nn

from afigan.data.split import read_split
from afigan.detectors import Architecture, build_detector
from afigan.detectors.build import set_test_limits
from afigan.evaluation.multiply_adds import counted
from afigan.evaluation.predict import Predictor
from afigan.outputs.paths import BENCHMARK, PREPARED
from afigan.params.experiments import BackboneExperiment
from afigan.params.lineage import Lineage
from afigan.params.schema import Evaluate, Model, PaperSize, Params
from afigan.pyramids.upsampling import Upsampling
from afigan.runtime.device import choose_device, move, seed_everything
from afigan.runtime.files import write_json

PAPER_MODEL = Model(anchor_sizes=[32, 64, 128, 256, 512])  # the other values are defaults: C = 256
PAPER_BACKBONE = BackboneExperiment(name="resnet50", pixel_std=[57.375, 57.12, 58.395])  # activations are near 1
COCO_CLASSES = 80


def benchmark(params: Params) -> None:
    """Time every evaluation's detector, one after the other in one process, and write `results/benchmark.json`.

    The time is that of the forward pass with post-processing on one validation image, without reading the image. It is
    the median of `benchmark.runs` runs after `benchmark.warm_up` uncounted ones. `paper_size` is the result of
    `measure_paper_size`, or null.

    Raises:
        ValueError: a model or the data are missing or do not fit.
    """
    rows, device = {}, choose_device(params.device)
    images = read_split(PREPARED / "val.json")["images"]
    for node in Lineage(params).of_kind("evaluations"):
        rows[node.key] = {"params_hash": node.params_hash, **measure(params, node.key, images)}
    name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    about = {"device": name, "threads": params.threads, "runs": params.benchmark.runs}
    settings = params.benchmark.paper_size
    paper_size = None if settings is None else measure_paper_size(settings, params.threads, device)
    write_json(BENCHMARK, {**about, "rows": rows, "paper_size": paper_size})


def measure(params: Params, key: str, images: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the model of an evaluation, its parameters in millions, its milliseconds per image, and its upsampling.

    The entry `upsampling` has the `params` of the pyramid's interpolators, and their `multiply_adds` for one image.
    """
    item = params.experiments.evaluations[key]
    predictor = Predictor(params, item.model, item.multi_scale)
    batches = [[predictor.read(image)] for image in images[: params.benchmark.runs]]
    upsample = next(module for module in predictor.detector.modules() if isinstance(module, Upsampling))
    with counted(upsample) as upsampling, torch.no_grad():
        predictor.detector(batches[0])
    runs = range(params.benchmark.warm_up + params.benchmark.runs)
    times = [milliseconds(predictor.detector, batches[run % len(batches)]) for run in runs]
    median = statistics.median(times[params.benchmark.warm_up :])
    return {
        "model": item.model,
        "params_M": predictor.parameters / 1e6,
        "time_ms": median,
        "upsampling": {
            "params": sum(parameter.numel() for parameter in upsample.parameters()),
            "multiply_adds": upsampling.total,
        },
    }


def measure_paper_size(
    settings: PaperSize, threads: int, device: torch.device, interpolators: Sequence[str] = ("nearest", "afi")
) -> dict[str, Any]:
    """Measure the paper's Mask R-CNN with several interpolators, independently of the run's models (claim C8).

    All see the same image in turns, so that a drift of the machine's speed affects all.

    Args:
        settings: number of runs, and the image's size.
        threads: number of CPU threads.
        device: the device to compute on.
        interpolators: their names.

    Returns:
        `channels` C, `height` and `width`; `params_M` and `time_ms`, each with a value for each interpolator: millions
        of parameters, and the median milliseconds per image.
    """
    detectors = {}
    for name in interpolators:
        seed_everything(0, threads)  # equal weights in all, except for the interpolator
        detectors[name] = busy_mask_rcnn(Architecture(PAPER_MODEL, PAPER_BACKBONE, COCO_CLASSES, interpolator=name))
        move(detectors[name], device)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, settings.height, settings.width), generator=generator, dtype=torch.uint8)
    image = {"image": pixels, "height": settings.height, "width": settings.width}
    times: dict[str, list[float]] = {name: [] for name in detectors}
    for _ in range(settings.warm_up + settings.runs):
        for name, detector in detectors.items():
            times[name].append(milliseconds(detector, [image]))
    sizes = {name: sum(p.numel() for p in detector.parameters()) / 1e6 for name, detector in detectors.items()}
    medians = {name: statistics.median(values[settings.warm_up :]) for name, values in times.items()}
    size = {"channels": PAPER_MODEL.channels, "height": settings.height, "width": settings.width}
    return {**size, "params_M": sizes, "time_ms": medians}


def busy_mask_rcnn(architecture: Architecture) -> nn.Module:
    """Build a Mask R-CNN on a ResNet whose random weights give each part as much work as trained weights do.

    In a plain random network activations grow with every block, until all proposals are the complete image and suppress
    each other: box and mask head would have no work. Here residual branches add nothing (as at the start of training in
    Goyal et al., 2017, section 5.1) and all proposals are classified as objects of one class, so that proposals and
    detections are as many as the limits allow. The computation for each of them is the same as after training.
    """
    detector = build_detector(architecture).eval().requires_grad_(False)
    limits = Evaluate()
    set_test_limits(detector, limits.score_threshold, limits.detections)
    for module in detector.modules():
        if isinstance(module, BottleneckBlock):
            module.conv3.norm.weight.zero_()
    nn.init.constant_(detector.roi_heads.box_predictor.cls_score.bias[:1], 10.0)
    return detector


def milliseconds(detector: nn.Module, batch: list[dict[str, Any]]) -> float:
    """Return the time in milliseconds that a detector takes for a batch, the GPU's part included."""
    begin = time.perf_counter()
    with torch.no_grad():
        detector(batch)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begin)


def processor() -> str:
    """Return the processor's name; `platform` knows it on few systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
