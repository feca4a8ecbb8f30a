"""Functions that two processes of tests/training/test_launch.py run; the processes import this module."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch
from test_engine import CPU, Duel, Sequence, schedule
from timm.layers import BatchNormAct2d
from torch import nn

from afigan.data.loader import batches
from afigan.params.schema import Schedule
from afigan.runtime import comm
from afigan.training import engine
from afigan.training.batch_norm import synchronise

PLAIN = {"batch_size": 4, "optimizer": "sgd", "iterations": 6}
STATEFUL = {"batch_size": 4, "log_every": 2}  # checkpoints after 3 and 6 of 8: the first has half a line's losses


class Mistake(ValueError):
    """An error that the user can fix."""


class PlainDuel(Duel):
    """A duel without batch statistics and dropout: the gradient of a batch is the mean of its halves'."""

    def __init__(self, plan: Schedule) -> None:
        super().__init__(plan)
        torch.manual_seed(comm.get_rank())  # every rank then has the weights of rank 0
        first = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4))
        second = nn.Sequential(nn.Linear(4, 5), nn.LeakyReLU(0.2), nn.Linear(5, 1))
        self.learners = {"g": engine.Learner(first, plan), "d": engine.Learner(second, plan)}


class RecordingDuel(Duel):
    """A duel that keeps its rank's terms. Rank 1 may send the parent a signal.

    SIGINT comes before the sixth iteration, and rank 0 then waits for rank 1; SIGTERM in the fifth, which ends once
    this rank has got it.
    """

    def __init__(self, plan: Schedule, sends: int | None = None) -> None:
        super().__init__(plan)
        self.sends = sends
        self.terms: list[dict[str, float]] = []

    def __call__(self, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.sends == signal.SIGINT and len(self.seen) == 5 and comm.get_rank() == 1:
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(600)
        if self.sends == signal.SIGTERM and len(self.seen) == 4 and comm.get_rank() == 1:
            noting, told = signal.getsignal(signal.SIGTERM), threading.Event()
            signal.signal(signal.SIGTERM, lambda *arguments: (noting(*arguments), told.set()))
            os.kill(os.getppid(), signal.SIGTERM)
            assert told.wait(60)
        terms = super().__call__(batch)
        self.terms.append({name: term.item() for name, term in terms.items()})
        return terms


class NotingSequence(Sequence):
    """A sequence whose readers leave the ids of their processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, position: int) -> torch.Tensor:
        note(self.folder)
        return super().__getitem__(position)


def note(folder: Path) -> None:
    (folder / f"{os.getpid()}.pid").touch()


def run(duel: Duel, folder: Path, plan: Schedule, dataset: Sequence | None = None) -> dict[str, Any]:
    """Train, and return the results of training."""
    dataset = dataset or Sequence()
    log = engine.train(run=folder, schedule=plan, learners=duel.learners, step=duel, dataset=dataset, device=CPU)
    states = {name: learner.state_dict() for name, learner in duel.learners.items()}
    random = {"seed": torch.initial_seed(), "rng": torch.get_rng_state()}
    return {"log": log, "states": states, "seen": torch.stack(duel.seen), **random}


def is_interrupted(folder: Path) -> None:
    """Run until an interrupt in the sixth iteration."""
    note(folder)
    plan = schedule(**STATEFUL, workers=1)
    run(RecordingDuel(plan, sends=signal.SIGINT), folder / "interrupted", plan, NotingSequence(folder))


def is_preempted(folder: Path) -> None:
    """Run until the parent gets SIGTERM in the fifth iteration."""
    note(folder)
    plan = schedule(**STATEFUL, workers=1)
    run(RecordingDuel(plan, sends=signal.SIGTERM), folder / "preempted", plan, NotingSequence(folder))


def normalised(rank: int | None) -> dict[str, Any]:
    """Normalise this rank's part of a batch, 1 and 2 images of 3; None: the complete batch."""
    found = {}
    for name, kind in (("plain", nn.BatchNorm2d), ("act", BatchNormAct2d)):
        draw = torch.Generator().manual_seed(0)
        whole = 3 + 2 * torch.randn(3, 4, 5, 2, generator=draw)
        factors = torch.randn(3, 4, 5, 2, generator=draw)
        norm = nn.Sequential(kind(4))
        nn.init.uniform_(norm[0].weight, 0.5, 2, generator=draw)
        part = slice(None) if rank is None else slice(0, 1) if rank == 0 else slice(1, 3)
        if rank is not None:
            synchronise(norm)
        images = whole[part].clone().requires_grad_()
        output = norm(images)
        (output * factors[part]).sum().backward()
        state = {place: value.clone() for place, value in norm.state_dict().items()}
        found[name] = {"output": output.detach(), "gradient": images.grad, "weight": norm[0].weight.grad}
        found[name] |= {"state": state, "eval": norm.eval()(whole).detach()}
    return found


def errs(folder: Path) -> None:
    """Train, and leave a file on each rank; then rank 1 fails, and rank 0 with its loaders waits for it in vain."""
    note(folder)
    rank, plan = comm.get_rank(), schedule(**STATEFUL)
    if rank:  # it writes nothing
        engine.Journal = engine.atomic_path = None
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    found["plain"] = run(PlainDuel(schedule(**PLAIN)), folder / "plain", schedule(**PLAIN))
    again = Duel(plan)
    torch.manual_seed(99 + rank)  # another process starts with other random numbers
    found["resumed"] = run(again, folder / "interrupted", plan)
    whole = RecordingDuel(plan)  # seeds, as the interrupted one has
    found["whole"] = run(whole, folder / "whole", plan) | {"terms": whole.terms}
    engine.finish(folder / "whole")
    again = Duel(plan)
    torch.manual_seed(99 + rank)
    found["goes on"] = run(again, folder / "preempted", plan)
    found["normalised"] = normalised(rank)
    found["averaged"] = averaged(rank)
    found["diverged"] = {name: diverged(name, rank) for name in ("loss", "gradient")}
    torch.save(found, folder / f"{rank}.pt")
    loader = batches(NotingSequence(folder), schedule(**STATEFUL, workers=1), 0)
    next(loader)
    if rank:
        raise Mistake("data.train.images: no such folder")
    comm.synchronize()


def averaged(rank: int) -> list[torch.Tensor | None]:
    """Average gradients of a few parameters, in buckets of a few elements."""
    comm.BUCKET = 5
    parameters = [nn.Parameter(torch.zeros(n)) for n in (2, 3, 1, 7, 2)]
    parameters.append(nn.Parameter(torch.zeros(2, 3, dtype=torch.bfloat16)))
    for number, p in enumerate(parameters):
        if number == 2 or (number == 1 and rank == 0):
            continue  # the third has none on any rank, the second only on one
        p.grad = torch.full_like(p, 10.0**rank * (number + 1))
    comm.average_gradients(parameters)
    return [p.grad for p in parameters]


def diverged(what: str, rank: int) -> dict[str, Any]:
    """Make an update that is not finite only on rank 1."""
    torch.manual_seed(0)
    learner = engine.Learner(nn.Linear(3, 1), schedule())
    before = learner.module.weight.detach().clone()
    fine = learner.module(torch.ones(2, 3)).square().mean()
    if rank == 0:
        bad = torch.ones(())
    elif what == "loss":
        bad = torch.tensor(float("nan"))  # no gradient shows it
    else:
        bad = (0 * learner.module.weight).sum().sqrt()  # 0, and the slope of a root at 0 is infinite
    try:
        learner.update({"fine": fine, "bad": bad})
    except engine.TrainingDiverged as error:
        return {"message": str(error), "same": torch.equal(learner.module.weight, before)}
    return {}
