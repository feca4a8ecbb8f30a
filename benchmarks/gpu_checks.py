"""Checks of benchmarks/gpu.py: does a device compute what the CPU computes, and the same every time?

Every check returns figures and `passed`. The limits are at the top.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from gpu_scenes import CHECK, QUICK, STAGES, Kept, Scene, build, images, same_samples, schedule, tf32
from torch import Tensor, multiprocessing
from torch import distributed as dist

from afigan.data.pairs import write_pairs
from afigan.data.prepare.stage import prepare
from afigan.interpolators import INTERPOLATORS
from afigan.params.loading import check_params, compose
from afigan.params.schema import Params
from afigan.runtime import comm
from afigan.training import engine
from afigan.training.afigan import AfiganStep, train_afigan
from afigan.training.backbone import write_backbone
from afigan.training.detector import DetectorStep, train_detector
from afigan.training.extractor import ExtractorStep, train_extractor

ROOT = Path(__file__).resolve().parents[1]
LOSS = 1e-4  # largest relative difference of a loss term between the CPU and the device, in float32
GRADIENT = 1e-3  # the same for |g - reference| / |reference| of a network's gradient
LOSS_BFLOAT16 = 0.05  # between bfloat16 and float32
COSINE_BFLOAT16 = 0.95  # least cosine of the two gradients
WEIGHTS = 5e-3  # largest |w - reference| / |w0 - reference| between two processes and one; rounding alone gives 1e-3
AP = 0.1  # largest difference of an AP between the CPU and the device
ITERATIONS = 3
CPU = torch.device("cpu")


def first_step(scene: Scene, batch: list[dict]) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Return the losses and each learner's gradient (P,), on the CPU, of one step."""
    losses = {name: float(value) for name, value in scene.run(batch).items()}
    gradients = {}
    for name, learner in scene.learners.items():
        parts = [p.grad.flatten() for p in learner.parameters if p.grad is not None]
        gradients[name] = torch.cat(parts).double().cpu()
    return losses, gradients


def compared(first: tuple[dict, dict], second: tuple[dict, dict]) -> dict[str, float]:
    """Return the largest relative difference of losses and of gradients, and the least cosine of gradients."""
    losses = [abs(first[0][name] - value) / max(abs(value), 1e-6) for name, value in second[0].items()]
    pairs = [(first[1][name], value) for name, value in second[1].items()]
    gradients = [float((a - b).norm() / b.norm()) for a, b in pairs]
    cosines = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in pairs]
    return {"loss": max(losses), "gradient": max(gradients), "cosine": min(cosines)}


def steps(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """One step of each stage in float32 (without TF32) on the device and on the CPU."""
    scale = QUICK if quick else CHECK
    batch, found = images(scale), Kept(folder)
    with same_samples(), tf32(False):
        for stage in STAGES:
            results = [first_step(build(stage, scale, place, schedule(False)), batch) for place in (device, CPU)]
            found[stage] = compared(*results)
    passed = all(f["loss"] <= LOSS and f["gradient"] <= GRADIENT for f in found.values())
    return {"passed": passed, **found}


HEADS = {
    **{head: {"head": head} for head in ("faster_rcnn", "cascade_mask_rcnn", "retinanet", "fcos", "centermask")},
    **{pyramid: {"head": "retinanet", "pyramid": pyramid} for pyramid in ("pafpn", "bifpn")},
    **{
        name: {"interpolator": name}
        for name in ("bicubic", "deconv", "nearest-5conv", "carafe", "dysample", "lda-aqu", "fade", "afi-light")
    },
}


def heads(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """One step of stage 3 of other heads, pyramids and interpolators, in float32: as `steps`, and repeated.

    Batch normalisation over a few positions makes BiFPN's gradient depend on the order of sums. `own` is the difference
    between the CPU's gradients in two memory orders; twice that is allowed. An interpolator that is `unrepeatable` need
    not repeat.
    """
    scale, found = (QUICK if quick else CHECK).with_model(roi_align="separable"), Kept(folder)
    batch = images(scale)
    for name, options in list(HEADS.items())[:: 3 if quick else 1]:
        with same_samples(), tf32(False):
            there, here = (
                first_step(build("stage3", scale, place, schedule(False), **options), batch) for place in (device, CPU)
            )
            scene = build("stage3", scale, CPU, schedule(False), **options)
            scene.learners["detector"].module.to(memory_format=torch.channels_last)
            reordered = first_step(scene, batch)
        repeats: bool | str
        try:
            with deterministic():
                twice = [first_step(build("stage3", scale, device, schedule(False), **options), batch)[1] for _ in "ab"]
            repeats = torch.equal(twice[0]["detector"], twice[1]["detector"])
        except RuntimeError as error:
            repeats = str(error).splitlines()[0][:80]
        own = compared(reordered, here)["gradient"]
        found[name] = {**compared(there, here), "own": own, "repeated": repeats}
    passed = all(
        f["loss"] <= LOSS
        and f["gradient"] <= max(GRADIENT, 2 * f["own"])
        and (f["repeated"] is True or may_differ(HEADS[name]))
        for name, f in found.items()
    )
    return {"passed": passed, **found}


def may_differ(options: dict[str, str]) -> bool:
    """Return whether a detector need not repeat on a GPU."""
    return INTERPOLATORS[options.get("interpolator", "afi")].unrepeatable


def bfloat16(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """One step of each stage in bfloat16 and in float32, on the device."""
    scale = QUICK if quick else CHECK
    batch, found = images(scale), Kept(folder)
    with same_samples(), tf32(False):
        for stage in STAGES:
            results = [first_step(build(stage, scale, device, schedule(amp)), batch) for amp in ("everywhere", False)]
            found[stage] = compared(*results)
    passed = all(f["loss"] <= LOSS_BFLOAT16 and f["cosine"] >= COSINE_BFLOAT16 for f in found.values())
    return {"passed": passed, **found}


# --- repeatability ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Let torch refuse operations whose result depends on the order of threads."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def weights_after(stage: str, device: torch.device, quick: bool, separable: bool) -> dict[str, Tensor]:
    """Return all weights, on the CPU, after a few steps in bfloat16."""
    scale = QUICK if quick else CHECK
    if separable:
        scale = scale.with_model(roi_align="separable")
    scene = build(stage, scale, device, schedule(True))
    for number in range(ITERATIONS):
        scene.run(images(scale, number))
    return {
        f"{name}.{key}": value.cpu()
        for name, learner in scene.learners.items()
        for key, value in learner.module.state_dict().items()
    }


def different(first: dict[str, Tensor], second: dict[str, Tensor]) -> int:
    """Return the number of tensors that differ in a bit."""
    return sum(not torch.equal(first[name], value) for name, value in second.items())


def repeated(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """Each stage twice: tensors that differ in deterministic mode (must be 0), and without it."""
    found = Kept(folder)
    for stage in STAGES:
        with deterministic():
            strict = different(*(weights_after(stage, device, quick, True) for _ in range(2)))
        found[stage] = {
            "deterministic": strict,
            "otherwise": different(*(weights_after(stage, device, quick, False) for _ in range(2))),
        }
    return {"passed": all(f["deterministic"] == 0 for f in found.values()), **found}


class Stopped(Exception):
    """Raised in the middle of a training to end it as a kill does."""


@contextlib.contextmanager
def stopped(step: type, call: int | None) -> Iterator[list[int]]:
    """Let a step's class raise `Stopped` at a call, counted from 1; give a list with the number of calls."""
    run, seen = step.__call__, [0]

    def interrupted(self: Any, batch: list[dict]) -> dict[str, Tensor]:
        seen[0] += 1
        if seen[0] == call:
            raise Stopped
        return run(self, batch)

    step.__call__ = interrupted
    try:
        yield seen
    finally:
        step.__call__ = run


def toy(folder: Path, device: torch.device, profile: str = "smoke", **changes: Any) -> Params:
    """Make a root for stages in `folder`, write its params.yaml and go there."""
    folder.mkdir(parents=True, exist_ok=True)
    values = compose(profile, ROOT / "conf") | {"device": device.type} | changes
    for name in ("afigan", "workflow", "conf", "profiles", "Snakefile"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")
    os.chdir(folder)
    return check_params(values)


def resume(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """Train each stage of `smoke` whole, and again with an interruption: the models are the same bits."""
    shutil.rmtree(folder, ignore_errors=True)
    params = toy(folder, device)
    model = params.model.model_copy(update={"roi_align": "separable"})
    params = params.model_copy(update={"model": model, "deterministic": True})
    prepare(params.data, params.seed, Path("data/prepared"), workers=1)
    for degradation in params.pairs.degradations:
        out = Path("data/pairs") / degradation
        write_pairs(Path("data/prepared/train.json"), degradation, out, image_format="png", shard_size=5, workers=1)
    write_backbone(params, "main")
    stages: list[tuple[Callable[..., None], str, str, type]] = [
        (train_detector, "detectors/a1", "detectors/a1", DetectorStep),
        (train_afigan, "main", "afigan/main", AfiganStep),
        (train_extractor, "main", "extractors/main", ExtractorStep),
    ]
    found = Kept(folder)
    for train, name, node, step in stages:
        train(params, name)
        whole = (Path("models") / node / "model.safetensors").read_bytes()
        shutil.rmtree(Path("models") / node)
        with stopped(step, 2), contextlib.suppress(Stopped):
            train(params, name)
        assert not (Path("models") / node).exists(), "the training was not interrupted"
        with stopped(step, None) as calls:
            train(params, name)
        same = whole == (Path("models") / node / "model.safetensors").read_bytes()
        found[node] = {"same bits": same, "iterations after it": calls[0]}
    # of two iterations the first had its checkpoint
    passed = all(f == {"same bits": True, "iterations after it": 1} for f in found.values())
    return {"passed": passed, **found}


# --- processes --------------------------------------------------------------------------------------------------------


def rank_weights(rank: int, device: torch.device, quick: bool, path: str) -> None:
    """Run stage 1 on one of two ranks that share the batch and the card; rank 0 writes the weights."""
    dist.init_process_group("gloo", init_method=f"file://{path}.store", rank=rank, world_size=2)
    weights = stage1_weights(device, quick)
    if rank == 0:
        torch.save(weights, path)
    dist.barrier()
    dist.destroy_process_group()


def stage1_weights(device: torch.device, quick: bool) -> dict[str, Tensor]:
    """Return G's and D's weights before (`start.`) and after a few steps in float32, on the CPU."""
    scale = QUICK if quick else CHECK
    with tf32(False):
        scene = build("stage1", scale, device, schedule(False))
        found = {f"start.{k}": v.cpu().clone() for k, v in engine_weights(scene).items()}
        for number in range(ITERATIONS):
            scene.run(images(scale, number)[comm.get_rank() :: comm.get_world_size()])
    return found | {k: v.cpu() for k, v in engine_weights(scene).items()}


def engine_weights(scene: Scene) -> dict[str, Tensor]:
    """Return the trained parameters of a scene by name."""
    learners: dict[str, engine.Learner] = scene.learners
    return {f"{name}.{k}": v.detach() for name, one in learners.items() for k, v in one.module.named_parameters()}


def processes(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """Stage 1 on two processes (gloo, one card) and on one, the same batches: the largest relative difference."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ranks.pt"
    for old in folder.glob("ranks.pt*"):
        old.unlink()
    multiprocessing.spawn(rank_weights, (device, quick, str(path)), nprocs=2)
    two, one = torch.load(path, weights_only=True), stage1_weights(device, quick)
    names = [name for name in one if not name.startswith("start.")]
    moved = torch.cat([(one[n] - one[f"start.{n}"]).flatten() for n in names]).norm()
    apart = torch.cat([(one[n] - two[n]).flatten() for n in names]).norm()
    value = float(apart / moved)
    return {"passed": value <= WEIGHTS, "difference": value}


# --- the pipeline -----------------------------------------------------------------------------------------------------


def script(name: str, *arguments: str) -> None:
    """Run a stage's script in the current folder."""
    subprocess.run([sys.executable, f"workflow/scripts/{name}.py", *arguments], check=True)


def smoke(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """The complete pipeline of profile `smoke` under Snakemake, all jobs on the device."""
    shutil.rmtree(folder, ignore_errors=True)
    toy(folder, device)
    # every job starts `python`, which has to be this one, and which some machines do not have under this name
    (folder / "bin").mkdir()
    python = folder / "bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', "utf-8")
    python.chmod(0o755)
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    command = [sys.executable, "-m", "snakemake", "--quiet", "rules", "--cores", str(os.cpu_count())]
    command += ["--resources", "gpu=4"] if device.type == "cuda" else []
    subprocess.run(command, check=True, env=os.environ | {"PATH": path})
    metrics = json.loads(Path("results/metrics/a1.json").read_text("utf-8"))
    return {"passed": Path("results/README.md").is_file(), "boxes": metrics["box"]["AP"]}


def evaluation(device: torch.device, quick: bool, folder: Path) -> dict[str, Any]:
    """Train `mini`'s A1 on the device; evaluate it there and on the CPU."""
    shutil.rmtree(folder, ignore_errors=True)
    toy(folder, device, "smoke" if quick else "mini")
    script("prepare")
    script("backbone", "--key", "main")
    script("train_detector", "--key", "a1")
    found = {}
    for place in (device, CPU):
        toy(folder, place, "smoke" if quick else "mini")
        script("evaluate", "--key", "a1")
        metrics = json.loads(Path("results/metrics/a1.json").read_text("utf-8"))
        found[place.type] = {kind: metrics[kind]["AP"] for kind in ("box", "mask")}
    apart = max(abs(found[device.type][kind] - found["cpu"][kind]) for kind in ("box", "mask"))
    return {"passed": apart <= AP, "difference": apart, **found}
