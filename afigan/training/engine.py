"""One loop under the three stages: update, log, checkpoint, resume (Algorithm 1 fills in the step).

A run lives in `runs/STAGE/KEY-HASH/`, outside what the engines declare as outputs and delete. The hash is of all that
can change its result: parameters, input files and the code. Started again, it goes on from its last whole checkpoint
and ends as if it had never stopped. When it is done its checkpoints go; the logs stay.
"""

import json
import logging
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from detectron2.solver.build import get_default_optimizer_params
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from tqdm import tqdm

from afigan.data.loader import TrainingSet, batches
from afigan.files import atomic_path
from afigan.schema import Schedule

KEEP = 2  # checkpoints: the newest may turn out to be unreadable
LOGGER = logging.getLogger("afigan")


class TrainingDiverged(FloatingPointError):
    """A loss or its gradient has become NaN or infinite."""


class Learner:
    """A module with the optimizer and the learning-rate schedule that train it.

    Args:
        module: its parameters that require gradients are trained.
        schedule: params.yaml's section of the stage.
    """

    def __init__(self, module: nn.Module, schedule: Schedule) -> None:
        self.module, self.clip = module, schedule.clip
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        # as detectron2's recipes have it: normalisation layers do not decay
        groups = get_default_optimizer_params(module, weight_decay=schedule.weight_decay, weight_decay_norm=0.0)
        if schedule.optimizer == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
                groups, lr=schedule.lr, momentum=schedule.momentum, fused=True
            )
        else:
            self.optimizer = torch.optim.AdamW(groups, lr=schedule.lr, fused=True)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda i: lr_factor(schedule, i))

    def update(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step down the sum of `losses`, scalars by name.

        Returns:
            The terms for the log, detached.

        Raises:
            TrainingDiverged: a term or the gradient is not finite; the weights are as before.
        """
        device = self.parameters[0].device.type
        with torch.autocast(device, enabled=False):  # sums and gradients in float32; a forward pass chose its own types
            self._update(losses)
        return {name: loss.detach() for name, loss in losses.items()}

    def _update(self, losses: dict[str, Tensor]) -> None:
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        if not torch.isfinite(total):
            raise TrainingDiverged(_in_words(losses))
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if not torch.isfinite(norm):
            raise TrainingDiverged(_in_words(losses | {"norm of the gradient": norm}))
        if self.clip is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        self.optimizer.step()
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in ("module", "optimizer", "scheduler")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            getattr(self, name).load_state_dict(value)


def _in_words(terms: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {value.item():.4g}" for name, value in terms.items())


def with_total(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms of a loss and, last, their sum, for the log."""
    return terms | {"loss_total": torch.stack(list(terms.values())).sum()}


def lr_factor(schedule: Schedule, iteration: int) -> float:
    """What the learning rate is multiplied by at an iteration, counted from 0: warm-up, then steps or a half cosine."""
    if iteration < schedule.warmup:
        return (iteration + 1) / (schedule.warmup + 1)
    if schedule.schedule == "step":
        return schedule.gamma ** sum(iteration >= milestone for milestone in schedule.milestones)
    progress = (iteration - schedule.warmup) / max(1, schedule.iterations - schedule.warmup)
    return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress, dtype=torch.float64))))


def autocast(device: torch.device, schedule: Schedule) -> AbstractContextManager:
    """bfloat16 on a GPU if the schedule wants it; nothing on a CPU."""
    if device.type == "cuda" and schedule.amp:
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def train(
    *,
    run: Path,
    schedule: Schedule,
    learners: dict[str, Learner],
    step: Callable[[list[dict]], dict[str, Tensor]],
    dataset: TrainingSet,
    device: torch.device,
) -> list[dict[str, float]]:
    """Run a stage to its end, from its last checkpoint if there is one.

    Args:
        run: the run's folder.
        schedule: length and checkpoints.
        learners: what is trained, by name; their state is what a checkpoint holds, with torch's random state.
        step: one iteration on one batch, through `Learner.update`; returns the loss terms to log, scalars by name.
        dataset: the training sequence that batches are cut from.
        device: where the learners are.

    Returns:
        The log, one dict of `iteration` (from 1), `lr` and loss terms an iteration.

    Raises:
        TrainingDiverged: naming the iteration and the loss terms.
    """
    run.mkdir(parents=True, exist_ok=True)
    start, log = _resume(run, learners)
    lead = next(iter(learners.values()))
    log_path = run / "metrics.jsonl"
    with atomic_path(log_path) as temporary:  # what a killed run logged after its checkpoint is done again
        temporary.write_text("".join(json.dumps(line) + "\n" for line in log), "utf-8")
    with (
        open(log_path, "a", encoding="utf-8") as log_file,
        _Progress(run, schedule.iterations, start) as progress,
        _tensorboard(run, start) as board,
    ):
        for iteration, batch in enumerate(batches(dataset, schedule, start), start + 1):
            lr = lead.optimizer.param_groups[0]["lr"]
            try:
                # detectron2's heads report to an EventStorage; it would grow with every iteration
                with EventStorage(iteration), autocast(device, schedule):
                    terms = step(batch)
            except TrainingDiverged as error:
                raise TrainingDiverged(
                    f"iteration {iteration} of {run.name}: not finite ({error}). Lower the stage's lr, lengthen its "
                    f"warmup or set clip; the checkpoints before it are in {run}"
                ) from None
            line = {"iteration": iteration, "lr": lr, **{name: float(loss) for name, loss in terms.items()}}
            log.append(line)
            log_file.write(json.dumps(line) + "\n")
            log_file.flush()
            for name, value in line.items():
                board.add_scalar(name, value, iteration)
            if iteration % schedule.checkpoint_every == 0 and iteration < schedule.iterations:
                _save(run, iteration, learners, log)
            progress.update(line)
    return log


def finish(run: Path) -> None:
    """Remove a run's checkpoints; call it when the result has been written."""
    for path in run.glob("*checkpoint-*.pt"):  # the half-written one of a killed process too
        path.unlink()


def _save(run: Path, iteration: int, learners: dict[str, Learner], log: list[dict[str, float]]) -> None:
    state: dict[str, Any] = {name: learner.state_dict() for name, learner in learners.items()}
    rng = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        rng["cuda"] = torch.cuda.get_rng_state()
    with atomic_path(run / f"checkpoint-{iteration:08d}.pt") as temporary:
        torch.save({"iteration": iteration, "learners": state, "rng": rng, "log": log}, temporary)
    for path in sorted(run.glob("checkpoint-*.pt"))[:-KEEP]:
        path.unlink()


def _resume(run: Path, learners: dict[str, Learner]) -> tuple[int, list[dict[str, float]]]:
    """Load the newest checkpoint that can be read; the iterations done and their log."""
    for path in sorted(run.glob("checkpoint-*.pt"), reverse=True):
        try:
            with zipfile.ZipFile(path) as archive:  # torch writes checksums, and does not read them
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} in it is damaged")
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a truncated or damaged file makes torch raise
            LOGGER.warning("%s cannot be read (%s); trying the one before", path, str(error).splitlines()[0])
            continue
        for name, learner in learners.items():
            learner.load_state_dict(state["learners"][name])
        torch.set_rng_state(state["rng"]["cpu"])
        if "cuda" in state["rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["rng"]["cuda"])
        LOGGER.info("resumed from %s", path)
        return state["iteration"], state["log"]
    return 0, []


class _Progress:
    """A bar on a terminal, a line every few seconds otherwise; the lines always go to `run/train.log`."""

    def __init__(self, run: Path, total: int, start: int) -> None:
        self.bar = tqdm(total=total, initial=start, desc=run.name, disable=not sys.stderr.isatty(), leave=False)
        self.file = open(run / "train.log", "a", encoding="utf-8")  # noqa: SIM115 - closed in __exit__
        self.total, self.start, self.begin, self.last = total, start, time.monotonic(), 0.0
        self.name = run.name

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()
        self.file.close()

    def update(self, line: dict[str, float]) -> None:
        iteration = int(line["iteration"])
        losses = "  ".join(
            f"{name.removeprefix('loss_')} {value:.3g}" for name, value in line.items() if "loss" in name
        )
        self.bar.update()
        self.bar.set_postfix_str(losses, refresh=False)
        now = time.monotonic()
        if now - self.last > 5 or iteration == self.total:
            self.last = now
            each = (now - self.begin) / (iteration - self.start)
            eta = time.strftime("%H:%M:%S", time.gmtime(each * (self.total - iteration)))
            text = f"{self.name}  {iteration}/{self.total}  {each:.3f} s/it  ETA {eta}  lr {line['lr']:.3g}  {losses}"
            self.file.write(text + "\n")
            self.file.flush()
            if self.bar.disable:
                print(text, file=sys.stderr, flush=True)


def _tensorboard(run: Path, start: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)
