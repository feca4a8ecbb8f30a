"""One loop under the three stages: update, log, checkpoint, resume (Algorithm 1 fills in the step).

A run's folder is `runs/KIND/KEY-HASH/`, outside the outputs that DVC and Snakemake declare and delete. The hash covers
all that can change the run's result: parameters, input files and the code. A restarted run goes on from its last
complete checkpoint and ends as if it had never stopped. A finished run's checkpoints are removed; its logs stay.

On several processes (`afigan.runtime.comm`) each rank has its part of every batch, and all take the same steps
down the mean of their gradients: weights are the same bits on all of them. Batch normalisation sees the complete batch
(`afigan.training.batch_norm`). Each rank draws its own random samples, such as RoIs. Rank 0 alone writes.

On SIGTERM, a run writes a checkpoint after the current iteration (`afigan.runtime.preemption`).
"""

import logging
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from detectron2.solver.build import get_default_optimizer_params
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.utils.data import Dataset

from afigan.data.loader import batches
from afigan.params.schema import Schedule
from afigan.runtime import comm
from afigan.runtime.files import atomic_path
from afigan.runtime.preemption import Preempted, noted
from afigan.training.journal import Journal, Window

KEEP = 2  # checkpoints: the newest may turn out to be unreadable
SEED_STRIDE = 1_000_003  # between the seeds of two ranks; below 2**32, because torch's CPU generator uses no more
OVERRIDES = {"relative_position_bias_table": {"weight_decay": 0.0}}  # by a parameter's name; Swin's recipe
LOGGER = logging.getLogger("afigan")


class TrainingDiverged(FloatingPointError):
    """Error of a training whose loss or gradient has become NaN or infinite."""


class Learner:
    """A module with the optimizer and the learning-rate schedule that train it.

    Args:
        module: the module; its parameters that require gradients are trained.
        schedule: params.yaml's section of the stage.
    """

    def __init__(self, module: nn.Module, schedule: Schedule) -> None:
        self.module, self.clip_norm = module, schedule.clip_norm
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        # as in detectron2's recipes, normalisation layers do not decay
        groups = get_default_optimizer_params(
            module, weight_decay=schedule.weight_decay, weight_decay_norm=0.0, overrides=OVERRIDES
        )
        if comm.get_world_size() > 1:  # after the groups, for which it is no normalisation of torch's
            from afigan.training.batch_norm import synchronise  # imports timm: half a second

            synchronise(module)
        if schedule.optimizer == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
                groups, lr=schedule.lr, momentum=schedule.momentum, fused=True
            )
        else:
            self.optimizer = torch.optim.AdamW(groups, lr=schedule.lr, fused=True)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda i: lr_factor(schedule, i))

    def update(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take one step down the sum of `losses`, scalars by name; of several ranks, down the mean of their sums.

        Returns:
            This rank's terms for the log, detached.

        Raises:
            TrainingDiverged: a term or the gradient is not finite on some rank; no rank's weights have changed.
        """
        device = self.parameters[0].device.type
        with torch.autocast(device, enabled=False):  # sums and gradients in float32; a forward pass chose its own types
            self._update(losses)
        return {name: loss.detach() for name, loss in losses.items()}

    def _update(self, losses: dict[str, Tensor]) -> None:
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        comm.average_gradients(self.parameters)
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        # one check for both, because its result has to be waited for; one rank's NaN reaches all ranks in the means
        if not torch.isfinite(comm.average(total.detach().clone()) + norm):
            means = comm.average_scalars(losses)
            raise TrainingDiverged(_in_words(means | {"norm of the gradient": norm.item()}))
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        self.optimizer.step()
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in ("module", "optimizer", "scheduler")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            getattr(self, name).load_state_dict(value)


def _in_words(terms: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in terms.items())


def with_total(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the terms of a loss and, last, their sum, for the log."""
    return terms | {"loss_total": torch.stack(list(terms.values())).sum()}


def lr_factor(schedule: Schedule, iteration: int) -> float:
    """Return the learning rate's factor at an iteration, counted from 0: warm-up, then steps or a half cosine."""
    if iteration < schedule.warmup:
        return (iteration + 1) / (schedule.warmup + 1)
    if schedule.lr_schedule == "step":
        return schedule.gamma ** sum(iteration >= milestone for milestone in schedule.milestones)
    progress = (iteration - schedule.warmup) / max(1, schedule.iterations - schedule.warmup)
    return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress, dtype=torch.float64))))


def autocast(device: torch.device, schedule: Schedule) -> AbstractContextManager:
    """Return a context of bfloat16 on a GPU if the schedule asks for it; on a CPU only if it says `everywhere`."""
    if schedule.amp == "everywhere" or (device.type == "cuda" and schedule.amp):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def to_device(value: Any, device: torch.device) -> Any:
    """Return a batch, or a part of one, with its tensors on the device; other objects, such as `Instances`, stay.

    From pinned memory a copy to a GPU does not wait; detectron2's own would, once for each image.
    """
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: to_device(part, device) for name, part in value.items()}
    if isinstance(value, list):
        return [to_device(part, device) for part in value]
    return value


def train(
    *,
    run: Path,
    schedule: Schedule,
    learners: dict[str, Learner],
    step: Callable[[list[dict]], dict[str, Tensor]],
    dataset: Dataset,
    device: torch.device,
) -> list[dict[str, float]]:
    """Run a stage to its end, from its last checkpoint if there is one; called on every rank.

    Args:
        run: the run's folder.
        schedule: length, log and checkpoints.
        learners: learners by name; a checkpoint holds their state and torch's random state.
        step: one iteration on one batch, through `Learner.update`; returns the loss terms to log, scalars by name.
        dataset: the training sequence, which is cut into batches.
        device: the learners' device.

    Returns:
        The log, the same on all ranks: for every `log_every`-th iteration and the last a dict of `iteration` (from 1),
        `lr` and the loss terms' means over ranks and over the iterations since the previous dict.

    Raises:
        TrainingDiverged: a loss is not finite; it names the iteration and the loss terms, means over the ranks.
        Preempted: SIGTERM has come; the checkpoint is written.
    """
    main = comm.is_main_process()
    if main:
        run.mkdir(parents=True, exist_ok=True)
    window = Window()
    start, log = _resume(run, learners, window, device)
    lead = next(iter(learners.values()))
    share = batches(
        dataset,
        schedule,
        start,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
        pinned=device.type == "cuda",
    )
    journal_of_run = Journal(run, schedule.iterations, start, log) if main else nullcontext()
    # detectron2's scripted functions would be compiled after their first calls, and then round otherwise; a resumed run
    # would make first calls where an uninterrupted run has compiled functions
    as_written = torch.jit.optimized_execution(False)
    with as_written, noted() as sigterm, closing(share), journal_of_run as journal:
        for iteration, batch in enumerate(share, start + 1):
            lr = lead.optimizer.param_groups[0]["lr"]
            try:
                # detectron2's heads report to an EventStorage; it would grow with every iteration
                with EventStorage(iteration), autocast(device, schedule):
                    terms = step(to_device(batch, device))
            except TrainingDiverged as error:
                raise TrainingDiverged(
                    f"iteration {iteration} of {run.name}: not finite ({error}). Lower the stage's lr, lengthen its "
                    f"warmup or set clip_norm; the checkpoints before it are in {run}"
                ) from None
            window.add(terms)
            if iteration % schedule.log_every == 0 or iteration == schedule.iterations:
                log.append({"iteration": iteration, "lr": lr, **window.close()})
                if journal:
                    journal.write(log[-1])
            ending = iteration < schedule.iterations and comm.anywhere(sigterm())
            if ending or (iteration % schedule.checkpoint_every == 0 and iteration < schedule.iterations):
                _save(run, iteration, learners, log, window, device)
            if journal:
                journal.progress(iteration, lr)
            if ending:
                raise Preempted(f"{run.name}: asked to end after iteration {iteration} of {schedule.iterations}")
    return log


def finish(run: Path) -> None:
    """Remove a run's checkpoints, on rank 0; call it when the result has been written."""
    if comm.is_main_process():
        for path in run.glob("*checkpoint-*.pt"):  # also the half-written checkpoint of a killed process
            path.unlink()


def _save(
    run: Path,
    iteration: int,
    learners: dict[str, Learner],
    log: list[dict[str, float]],
    window: Window,
    device: torch.device,
) -> None:
    """Write a checkpoint: the state that all ranks share once, and each rank's own state."""
    own: dict[str, Any] = {"rng": {"cpu": torch.get_rng_state()}, "window": window.state_dict()}
    if device.type == "cuda":
        own["rng"]["cuda"] = torch.cuda.get_rng_state()
    own["buffers"] = {
        name: {place: buffer.cpu() for place, buffer in learner.module.named_buffers()}
        for name, learner in learners.items()
    }
    ranks = comm.gather(own)
    if ranks is None:
        return
    shared = {name: learner.state_dict() for name, learner in learners.items()}
    with atomic_path(run / f"checkpoint-{iteration:08d}.pt") as temporary:
        torch.save({"iteration": iteration, "learners": shared, "ranks": ranks, "log": log}, temporary)
    for path in sorted(run.glob("checkpoint-*.pt"))[:-KEEP]:
        path.unlink()


def _resume(
    run: Path, learners: dict[str, Learner], window: Window, device: torch.device
) -> tuple[int, list[dict[str, float]]]:
    """Load the newest readable checkpoint, or begin; return the number of iterations done and their log."""
    path, state = _newest(run) if comm.is_main_process() else (None, None)
    path = comm.from_main(path)
    if path is None:
        for learner in learners.values():
            comm.broadcast(learner.module)
        if not comm.is_main_process():
            torch.manual_seed(torch.initial_seed() + SEED_STRIDE * comm.get_rank())
        return 0, []
    state = state or torch.load(path, map_location="cpu", weights_only=True)
    assert len(state["ranks"]) == comm.get_world_size(), "a run's hash holds the number of its processes"
    own = state["ranks"][comm.get_rank()]
    for name, learner in learners.items():
        learner.load_state_dict(state["learners"][name])
        for place, buffer in learner.module.named_buffers():
            buffer.copy_(own["buffers"][name][place])
    window.load_state_dict(own["window"])
    torch.set_rng_state(own["rng"]["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(own["rng"]["cuda"])
    return state["iteration"], state["log"]


def _newest(run: Path) -> tuple[Path, dict[str, Any]] | tuple[None, None]:
    """Return the newest readable checkpoint and its content."""
    for path in sorted(run.glob("checkpoint-*.pt"), reverse=True):
        try:
            with zipfile.ZipFile(path) as archive:  # torch writes checksums and does not verify them
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} in it is damaged")
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a truncated or damaged file makes torch raise errors of many kinds
            LOGGER.warning("%s cannot be read (%s); trying the one before", path, str(error).splitlines()[0])
            continue
        LOGGER.info("resumed from %s", path)
        return path, state
    return None, None
