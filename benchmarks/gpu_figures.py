"""Figures of benchmarks/gpu.py: seconds and memory of every stage at the paper's sizes, in several number formats."""

import collections
import contextlib
import cProfile
import os
import pstats
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_memory
import torch
from gpu_scenes import PAPER, QUICK, STAGES, Kept, Scale, Scene, build, detector, images, schedule, tf32
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from afigan.detectors.build import set_test_limits
from afigan.discriminator import FeaturePatchDiscriminator
from afigan.interpolators import build_interpolator
from afigan.training.adversarial import crop_to

MODES = ("fp32", "tf32", "bf16", "bf16 channels_last")
WARM_UP, RUNS = 3, 8
LONGEST = 8.0  # seconds, after which a figure has fewer runs


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done everything so far."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(call: Callable[[], Any], device: torch.device, quick: bool) -> float:
    """Return the median time of a call after a warm-up, the device's work included."""
    times: list[float] = []
    warm_up, runs = (1, 1) if quick else (WARM_UP, RUNS)
    while len(times) < warm_up + runs and (len(times) <= warm_up or sum(times) < LONGEST):
        synchronise(device)
        begin = time.perf_counter()
        call()
        synchronise(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[warm_up:])


def peak_memory(device: torch.device) -> float | None:
    """Return the GiB of a GPU that tensors have taken at most since the last call; None on a CPU."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


def clear(device: torch.device) -> None:
    """Return a GPU's unused memory, and reset the count of its peak."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


@contextlib.contextmanager
def number_format(mode: str) -> Iterator[bool]:
    """Set TF32 as a mode says; give whether it is bfloat16 autocast."""
    with tf32(not mode.startswith("fp32")):
        yield mode.startswith("bf16")


def machine(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """The peak of matrix multiplication in three formats, and the memory's bandwidth."""
    found: dict[str, Any] = {}
    side = 256 if quick else 8192
    for mode in ("fp32", "tf32", "bf16"):
        with number_format(mode) as half:
            a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16 if half else None) for _ in range(2))
            found[f"{mode} TFLOP/s"] = 2 * side**3 / seconds(lambda a=a, b=b: a @ b, device, quick) / 1e12
    source = torch.empty(side * side * 8, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    found["copy TB/s"] = 2 * source.nbytes / seconds(lambda: target.copy_(source), device, quick) / 1e12
    return found


def pinned_images(scale: Scale, device: torch.device) -> list[dict[str, Any]]:
    """Return a batch as the loader's processes give it."""
    return images(scale, pinned=device.type == "cuda")


def flops(call: Callable[[], Any]) -> int:
    """Return the floating-point operations of convolutions and products in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def waits(scene: Scene, batch: list[dict], log: bool) -> dict[str, int]:
    """Return how often one step waits for the GPU, by place in the code; `log`: a step with a line of the log."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            scene.run(batch, log)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = [
        f"{'/'.join(Path(w.filename).parts[-2:])}:{w.lineno}"
        for w in seen
        if str(w.message).startswith("called a synchronizing")
    ]
    return dict(collections.Counter(places).most_common())


def prepared(stage: str, scale: Scale, device: torch.device, mode: str) -> Scene:
    """Build a stage in a mode of `MODES`, with ` compile` added to it perhaps.

    Training on a GPU has channels-last weights; the other modes have not.
    """
    scene = build(stage, scale, device, schedule(mode.startswith("bf16")))
    memory_format = torch.channels_last if "channels_last" in mode else torch.contiguous_format
    for module in scene.modules():
        module.to(memory_format=memory_format)
    if "compile" in mode:
        backend = "inductor" if device.type == "cuda" else "eager"  # a CPU would compile for minutes
        if scene.teacher is not None:
            scene.teacher.backbone.compile(dynamic=False, backend=backend)
        for learner in scene.learners.values():
            module = learner.module
            (module.backbone if hasattr(module, "backbone") else module).compile(dynamic=False, backend=backend)
    return scene


def timed(stage: str, scale: Scale, device: torch.device, mode: str, quick: bool) -> dict[str, Any]:
    """Return one mode's seconds an iteration, images a second and peak memory."""
    clear(device)
    with number_format(mode):
        scene, batch = prepared(stage, scale, device, mode), pinned_images(scale, device)
        each = seconds(lambda: scene.run(batch), device, quick)
        found = {"s/it": each, "images/s": scale.batch / each, "GiB": peak_memory(device)}
    return found


def training(stage: str, device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """Return figures of one stage in every mode; its operations, and where it waits for the device."""
    scale, found = QUICK if quick else PAPER, Kept(folder)
    for mode in reversed(MODES):  # the one that training has is the first
        found[mode] = timed(stage, scale, device, mode, quick)
    if stage == "stage1":
        for mode in ("fp32", "tf32"):
            with number_format(mode):
                found[f"released schedule, {mode}"] = released(scale, device, quick)
    clear(device)
    scene, batch = prepared(stage, scale, device, "bf16 channels_last"), pinned_images(scale, device)
    scene.run(batch)
    operations = flops(lambda: scene.run(batch))
    found["TFLOP an iteration"] = operations / 1e12
    for mode in MODES:
        found[mode]["TFLOP/s"] = operations / found[mode]["s/it"] / 1e12
    if device.type == "cuda":
        found["waits"] = waits(scene, batch, log=False)
        found["waits with a line of the log"] = sum(waits(scene, batch, log=True).values())
    return found


def stage1(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """Stage 1 in every mode, and the released schedule."""
    return training("stage1", device, quick, folder)


def stage2(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """Stage 2 in every mode."""
    return training("stage2", device, quick, folder)


def stage3(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """Stage 3 in every mode."""
    return training("stage3", device, quick, folder)


def compiled(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """The three stages with F, G, D and the backbones compiled; the parts of RoIs never are."""
    # D alone has a variant for each level, with and without a gradient of its input, frozen and not
    torch._dynamo.config.recompile_limit = 64
    scale, found = QUICK if quick else PAPER, Kept(folder)
    for stage in STAGES[:1] if quick else STAGES:
        begin = time.perf_counter()
        figures = timed(stage, scale, device, "bf16 channels_last compile", quick)
        found[stage] = figures | {"with compilation, s": time.perf_counter() - begin}
    return found


def settings(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """Stages 1 and 3 with cuDNN free to choose algorithms that sum in any order, and to try them out."""
    scale, found = QUICK if quick else PAPER, Kept(folder)
    for stage in ("stage1", "stage3"):
        for deterministic, benchmark in ((False, False), (True, False), (False, True), (False, False), (True, False)):
            scene, batch = prepared(stage, scale, device, "bf16 channels_last"), pinned_images(scale, device)
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark
            each = seconds(lambda scene=scene, batch=batch: scene.run(batch), device, quick)
            name = f"{stage}, deterministic {deterministic}, benchmark {benchmark}"
            found[name] = [*found.get(name, []), round(each, 4)]  # a second time at the end: a machine's speed drifts
    return found


def profile(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """The functions of Python in which an iteration of each stage spends its time, with the waits inside them."""
    scale, found = QUICK if quick else PAPER, Kept(folder)
    for stage in STAGES:
        scene, batch = prepared(stage, scale, device, "bf16 channels_last"), pinned_images(scale, device)
        for _ in range(WARM_UP):
            scene.run(batch)
        synchronise(device)
        profiler = cProfile.Profile()
        runs = 1 if quick else RUNS
        with profiler:
            for _ in range(runs):
                scene.run(batch)
            synchronise(device)
        rows = pstats.Stats(profiler).get_stats_profile().func_profiles
        best = sorted(rows.items(), key=lambda row: -row[1].tottime)[:14]
        found[stage] = {
            f"{Path(row.file_name).name}:{row.line_number} {name}": f"{1000 * row.tottime / runs:.1f} ms"
            for name, row in best
        }
    return found


def batches(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """All stages at larger batches, until the memory ends."""
    found = Kept(folder)
    stages = list(STAGES)
    for batch in (2,) if quick else (4, 8, 16, 32, 64, 128):
        scale = replace(QUICK if quick else PAPER, batch=batch)
        for stage in list(stages):
            try:
                figures = timed(stage, scale, device, "bf16 channels_last", True)
            except torch.OutOfMemoryError:
                figures = {"GiB": "too little"}
                stages.remove(stage)
            found[f"{stage}, batch {batch}"] = figures
    return found


def released(scale: Scale, device: torch.device, quick: bool) -> dict[str, Any]:
    """Time stage 1 as the released code orders its passes: level by level P2-P6, float32, G run twice and D four times.

    Its G's loss gives D no gradient (docs/method.md), so that it computes less than Eq. 2 asks for.
    """
    clear(device)
    scene, batch = build("stage1", scale, device, schedule(False)), pinned_images(scale, device)
    levels = ["p2", "p3", "p4", "p5", "p6"]
    assert scene.teacher is not None
    f, g, d = scene.teacher, scene.learners["interpolator"], scene.learners["discriminator"]

    def one(judged: Tensor, truth: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(judged, torch.full_like(judged, truth))

    def step() -> None:
        with torch.no_grad():
            high = f.backbone(f.preprocess_image(batch).tensor)
            low = f.backbone(f.preprocess_image([item["low"] for item in batch]).tensor)
        reals, sources = [high[level] for level in levels], [low[level] for level in levels]
        terms = {}
        for level, source, real in zip(levels, sources, reals, strict=True):
            (fake,) = crop_to([g.module(source).detach()], [real])
            terms[level] = one(d.module(real), 1) + one(d.module(fake), 0)
        for value in d.update(terms).values():
            value.item()
        for level, source, real in zip(levels, sources, reals, strict=True):
            (fake,) = crop_to([g.module(source)], [real])
            d.module(real)
            terms[level] = 1e-3 * one(d.module(fake).detach(), 1) + F.l1_loss(fake, real)
        for value in g.update(terms).values():
            value.item()

    return {"s/it": seconds(step, device, quick), "GiB": peak_memory(device)}


# --- parts ------------------------------------------------------------------------------------------------------------


def feature_maps(scale: Scale, device: torch.device, halved: bool = False) -> list[Tensor]:
    """Return maps of noise with the sizes of P2-P5."""
    factor = 8 if halved else 4
    height, width = -(-scale.height // 32) * 32, -(-scale.width // 32) * 32
    sizes = [(height // (factor << level), width // (factor << level)) for level in range(4)]
    return [torch.randn(scale.batch, scale.model.channels, *size, device=device) for size in sizes]


def networks(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """G and D forward and backward, F forward (also as a CUDA graph), alone, in every mode; TFLOP/s."""
    scale = QUICK if quick else PAPER
    channels = scale.model.channels
    found = Kept(folder)
    for mode in reversed(MODES):
        with number_format(mode) as half, torch.autocast(device.type, torch.bfloat16, enabled=half):
            modules = {
                "D": (FeaturePatchDiscriminator(channels).to(device), feature_maps(scale, device)),
                "G": (build_interpolator("afi", channels).to(device), feature_maps(scale, device, True)),
            }
            for name, (module, maps) in modules.items():
                if "channels_last" in mode:
                    module.to(memory_format=torch.channels_last)
                    maps = [x.to(memory_format=torch.channels_last) for x in maps]

                def both(module: nn.Module = module, maps: list[Tensor] = maps) -> None:
                    sum(module(x).float().mean() for x in maps).backward()

                both()
                operations = flops(both)
                each = seconds(both, device, quick)
                found[f"{name}, {mode}"] = {"ms": 1000 * each, "TFLOP/s": operations / each / 1e12}
            found[f"F, {mode}"] = forward(scale, device, quick, "channels_last" in mode, graph=False)
            if device.type == "cuda":
                found[f"F, {mode}, CUDA graph"] = forward(scale, device, quick, "channels_last" in mode, graph=True)
    return found


def forward(scale: Scale, device: torch.device, quick: bool, channels_last: bool, graph: bool) -> dict[str, Any]:
    """Time the frozen backbone and pyramid F on one batch, perhaps replayed from a CUDA graph."""
    module = detector(scale).eval().requires_grad_(False).to(device)
    x = torch.randn(scale.batch, 3, scale.height // 32 * 32, scale.width // 32 * 32, device=device)
    if channels_last:
        module.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)

    def call() -> Any:
        with torch.no_grad():
            return module.backbone(x)

    if graph:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                call()
        torch.cuda.current_stream().wait_stream(side)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            call()
        return {"ms": 1000 * seconds(recorded.replay, device, quick)}
    return {"ms": 1000 * seconds(call, device, quick)}


def roi_align(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """The box pooler's forward and backward pass with each implementation of RoIAlign."""
    scale, found = QUICK if quick else PAPER, {}
    for name in ("torchvision", "separable"):
        pooler = detector(scale.with_model(roi_align=name)).roi_heads.box_pooler
        maps = [x.requires_grad_() for x in feature_maps(scale, device)]
        boxes = [item["instances"].gt_boxes.to(device) for item in images(replace(scale, objects=512))]

        def both(pooler: nn.Module = pooler, maps: list[Tensor] = maps, boxes: list[Any] = boxes) -> None:
            pooler(maps, boxes).sum().backward()

        clear(device)
        found[name] = {"ms": 1000 * seconds(both, device, quick), "GiB": peak_memory(device)}
    return found


def inference(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """One image through Mask R-CNN with nearest interpolation, AFI and its light form, in turns, in every mode."""
    scale = replace(QUICK if quick else PAPER, batch=1)
    image = [{name: value for name, value in images(scale)[0].items() if name in ("image", "height", "width")}]
    found = Kept(folder)
    for mode in reversed(MODES):
        detectors = {}
        for name in ("nearest", "afi", "afi-light"):
            torch.manual_seed(0)
            one = detector(scale, name).eval().requires_grad_(False)
            set_test_limits(one, 0.05, 100)
            nn.init.constant_(one.roi_heads.box_predictor.cls_score.bias[:1], 10.0)  # as many detections as allowed
            if "channels_last" in mode:
                one.to(memory_format=torch.channels_last)
            detectors[name] = one.to(device)

        def run(name: str, detectors: dict[str, nn.Module] = detectors) -> Any:
            with torch.no_grad():
                return detectors[name](image)

        times: dict[str, list[float]] = {name: [] for name in detectors}
        with number_format(mode) as half, torch.autocast(device.type, torch.bfloat16, enabled=half):
            for _ in range(2 if quick else 30):  # in turns, because a machine's speed drifts
                for name in detectors:
                    synchronise(device)
                    begin = time.perf_counter()
                    run(name)
                    synchronise(device)
                    times[name].append(1000 * (time.perf_counter() - begin))
        medians = {name: statistics.median(values[len(values) // 3 :]) for name, values in times.items()}
        ratios = {f"{name} / nearest": medians[name] / medians["nearest"] for name in ("afi", "afi-light")}
        found[mode] = {f"{name} ms": value for name, value in medians.items()} | ratios
    return found


def memory(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """GiB of stage 1, predicted from shapes, and of all stages in a step on the device, without and with bfloat16."""
    scale, found = QUICK if quick else PAPER, {}
    for amp in (False,) if quick else (False, True):
        name = "bf16" if amp else "tf32"
        found[f"stage1, {name}, predicted"] = gpu_memory.predicted(scale, amp) / 2**30
        for stage in STAGES:
            if device.type == "cuda":
                found[f"{stage}, {name}"] = timed(stage, scale, device, name, True)["GiB"]
            else:
                found[f"{stage}, {name}"] = gpu_memory.counted(stage, scale, amp) / 2**30
    return found


def loader(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """Images a second that processes load at the paper's sizes: JPEG files of 640 x 480 pixels with masks."""
    from PIL import Image

    from afigan.data.loader import TrainingSet
    from afigan.data.loader import batches as load
    from afigan.params.schema import Input

    folder.mkdir(parents=True, exist_ok=True)
    count = 8 if quick else 64
    generator = torch.Generator().manual_seed(0)
    records = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        # noise at a quarter of the size, so that the file is about as large as a photograph's
        noise = torch.randint(256, (120, 160, 3), generator=generator, dtype=torch.uint8).numpy()
        Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=90)
        objects = []
        for index in range(7):
            x, y, w, h = 40.0 * index, 30.0 * index, 120.0, 90.0
            outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            objects.append(
                {"bbox": [x, y, w, h], "category_id": index, "iscrowd": 0, "area": w * h, "segmentation": outline}
            )
        records.append({"id": number, "path": str(path), "height": 480, "width": 640, "annotations": objects})
    inputs = Input(short_sides=[640, 672, 704, 736, 768, 800], max_side=1333, test_short_side=800)
    split = {"images": records, "masks": True}
    found: dict[str, Any] = {}
    cores = len(os.sched_getaffinity(0))
    for workers in (1,) if quick else sorted({1, 4, cores}):
        total = (2 if quick else 24) * max(1, workers)
        settings = schedule(False, iterations=total, batch_size=2, workers=workers)
        begin = time.perf_counter()
        for number, _ in enumerate(load(TrainingSet(split, inputs, "BGR", 0), settings, 0)):
            if number == 0:
                first = time.perf_counter()
        found[f"{workers} processes"] = {
            "first batch s": first - begin,
            "images/s": 2 * (total - 1) / (time.perf_counter() - first),
        }
    return found


def environment(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """The card, the processor and the versions."""
    import platform

    import torchvision

    from afigan.evaluation.speed import processor

    found = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    if device.type == "cuda":
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        found["GiB"] = torch.cuda.get_device_properties(0).total_memory / 2**30
    return found
