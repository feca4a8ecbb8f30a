"""The loop under the stages: a killed run ends as if never stopped; learning rates, clipping, divergence, logs."""

import json
import logging
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from afigan.backbones import build_backbone
from afigan.data.loader import batches
from afigan.params.schema import Schedule
from afigan.runtime.preemption import Preempted
from afigan.training import engine
from afigan.training.batch_norm import synchronise
from afigan.training.journal import Window

CPU = torch.device("cpu")


def schedule(**change) -> Schedule:
    values = {"iterations": 8, "batch_size": 3, "optimizer": "adamw", "lr": 0.05, "warmup": 2, "checkpoint_every": 3}
    return Schedule.model_validate(values | {"lr_schedule": "cosine", "clip_norm": 1.0} | change)


class Sequence:
    """A training sequence: item n is a function of n."""

    def __getitem__(self, position: int) -> torch.Tensor:
        return torch.randn(4, generator=torch.Generator().manual_seed(position))


class Killed(Exception):
    pass


class Duel:
    """Two learners with all that a checkpoint must bring back: weights, batch statistics, dropout, momentum."""

    def __init__(self, plan: Schedule, kill_at: int | None = None) -> None:
        torch.manual_seed(0)
        first = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 4))
        second = nn.Sequential(nn.Linear(4, 5), nn.LeakyReLU(0.2), nn.Linear(5, 1))
        self.learners = {"g": engine.Learner(first, plan), "d": engine.Learner(second, plan)}
        self.kill_at, self.seen = kill_at, []

    def __call__(self, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        g, d = self.learners["g"], self.learners["d"]
        done = d.scheduler.last_epoch + 1
        if done == self.kill_at:
            raise Killed
        real = torch.stack(batch)
        self.seen.append(real)
        fake = g.module(real)
        judged = nn.functional.softplus(d.module(fake.detach()) - d.module(real)).mean()
        d.update({"judged": judged})
        content = (fake - real).abs().mean()
        fooled = 0.1 * nn.functional.softplus(-d.module(fake)).mean()
        g.update({"content": content, "fooled": fooled})
        return {"content": content.detach(), "fooled": fooled.detach(), "judged": judged.detach()}


def run_duel(run: Path, plan: Schedule, kill_at: int | None = None) -> tuple[Duel, list[dict[str, float]]]:
    duel = Duel(plan, kill_at)
    log = engine.train(run=run, schedule=plan, learners=duel.learners, step=duel, dataset=Sequence(), device=CPU)
    return duel, log


def flat(value, name=""):
    """Yield (name, leaf) of nested dicts and lists."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from flat(item, f"{name}.{key}")
    else:
        yield name, value


def assert_same_state(first: Duel, second: Duel) -> None:
    for name, learner in first.learners.items():
        ours, theirs = dict(flat(learner.state_dict())), dict(flat(second.learners[name].state_dict()))
        assert ours.keys() == theirs.keys()
        assert any(key.endswith("exp_avg") for key in ours)
        for key, value in ours.items():
            same = torch.equal(value, theirs[key]) if isinstance(value, torch.Tensor) else value == theirs[key]
            assert same, (name, key)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = tmp_path_factory.mktemp("uninterrupted")
    duel, log = run_duel(run, schedule())
    return duel, log, (run / "metrics.jsonl").read_text()


def kill(run: Path, at: int, **change) -> Duel:
    duel = Duel(schedule(**change), at)
    with pytest.raises(Killed):
        engine.train(
            run=run, schedule=schedule(**change), learners=duel.learners, step=duel, dataset=Sequence(), device=CPU
        )
    return duel


# checkpoints are written after iterations 3 and 6 of 8
@pytest.mark.parametrize("at", [1, 3, 4, 5, 6, 7, 8])
def test_a_killed_run_ends_like_an_uninterrupted_one(tmp_path, uninterrupted, at):
    kill(tmp_path, at)
    torch.manual_seed(99)  # another process starts with other random numbers
    duel, log = run_duel(tmp_path, schedule())
    assert len(duel.seen) == 8 - (at - 1) // 3 * 3  # what came after the last checkpoint is done again, no more
    reference, reference_log, metrics = uninterrupted
    assert log == reference_log
    assert (tmp_path / "metrics.jsonl").read_text() == metrics
    assert_same_state(duel, reference)


def test_a_run_that_is_killed_repeatedly(tmp_path, uninterrupted):
    for at in (2, 4, 5, 7, 8, 8):
        kill(tmp_path, at)
    duel, log = run_duel(tmp_path, schedule())
    assert log == uninterrupted[1]
    assert_same_state(duel, uninterrupted[0])


def test_resuming_with_loading_processes_and_other_checkpoints_gives_the_same(tmp_path, uninterrupted):
    """Neither may change a result: the hash that names a run leaves them out."""
    kill(tmp_path, 6, checkpoint_every=2)
    duel, log = run_duel(tmp_path, schedule(workers=1, checkpoint_every=5))
    assert log == uninterrupted[1]
    assert_same_state(duel, uninterrupted[0])


def test_the_log_after_a_kill_holds_what_was_done(tmp_path, uninterrupted):
    kill(tmp_path, 6)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == uninterrupted[1][:5]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x80\x02 no checkpoint" * 50)


def flip_a_bit(path: Path) -> None:
    """Flip a bit in the last byte of a tensor: torch itself would not notice."""
    content = bytearray(path.read_bytes())
    weight = torch.load(path, weights_only=True)["learners"]["g"]["module"]["0.weight"]
    place = content.index(weight.numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, empty, garbage, flip_a_bit])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, uninterrupted, caplog, damage):
    kill(tmp_path, 8)
    newest = tmp_path / "checkpoint-00000006.pt"
    damage(newest)
    with caplog.at_level(logging.WARNING, "afigan"):
        duel, log = run_duel(tmp_path, schedule())
    assert [r for r in caplog.records if r.levelno == logging.WARNING and newest.name in r.getMessage()]
    assert len(duel.seen) == 5  # from iteration 4 on
    assert log == uninterrupted[1]
    assert_same_state(duel, uninterrupted[0])


def test_without_a_complete_checkpoint_a_run_starts_over(tmp_path, uninterrupted, caplog):
    kill(tmp_path, 8)
    for path in tmp_path.glob("checkpoint-*.pt"):
        truncate(path)
    duel, log = run_duel(tmp_path, schedule())
    assert len(caplog.records) == 2
    assert log == uninterrupted[1]
    assert_same_state(duel, uninterrupted[0])


def test_two_checkpoints_are_kept_and_finish_removes_them(tmp_path):
    run_duel(tmp_path, schedule(checkpoint_every=1))
    assert sorted(p.name for p in tmp_path.glob("*.pt")) == ["checkpoint-00000006.pt", "checkpoint-00000007.pt"]
    (tmp_path / ".checkpoint-00000007.123.tmp.pt").write_bytes(b"half")  # of a process that was killed
    engine.finish(tmp_path)
    assert not list(tmp_path.glob("*.pt"))
    assert (tmp_path / "metrics.jsonl").exists() and (tmp_path / "train.log").exists()
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_checkpoint_gets_its_name_only_when_it_is_complete(tmp_path, monkeypatch):
    def dies(state, path):
        Path(path).write_bytes(b"half")
        raise Killed

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(Killed):
        run_duel(tmp_path, schedule())
    assert not list(tmp_path.glob("*.pt"))


# --- asked to end -----------------------------------------------------------------------------------------------------


class Obedient(Duel):
    """A duel that gets a scheduler's SIGTERM in an iteration."""

    def __init__(self, plan: Schedule, at: int) -> None:
        super().__init__(plan)
        self.at = at

    def __call__(self, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.learners["d"].scheduler.last_epoch + 1 == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__call__(batch)


def preempt(run: Path, at: int, plan: Schedule) -> Obedient:
    duel = Obedient(plan, at)
    engine.train(run=run, schedule=plan, learners=duel.learners, step=duel, dataset=Sequence(), device=CPU)
    return duel


@pytest.mark.parametrize("at", [1, 3, 4, 7])
@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_ends_a_run_after_its_iteration(tmp_path, uninterrupted, at, workers):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match=f"after iteration {at} of 8"):
        preempt(tmp_path, at, schedule(workers=workers))
    assert signal.getsignal(signal.SIGTERM) is before
    assert max(p.name for p in tmp_path.glob("*.pt")) == f"checkpoint-{at:08d}.pt"
    duel, log = run_duel(tmp_path, schedule())
    assert len(duel.seen) == 8 - at
    assert log == uninterrupted[1]
    assert_same_state(duel, uninterrupted[0])


def test_sigterm_in_the_last_iteration_comes_too_late(tmp_path, uninterrupted):
    assert_same_state(preempt(tmp_path, 8, schedule()), uninterrupted[0])


def test_processes_that_load_data_outlast_sigterm(tmp_path):
    """A scheduler may send it to every process of a job. None of them outlives the run."""
    share = batches(Sequence(), schedule(workers=2), 0)
    next(share), next(share)  # one of each
    children = multiprocessing.active_children()
    assert len(children) == 2
    for child in children:
        child.terminate()
    assert len(list(share)) == 6
    for child in children:
        child.join(10)
        assert child.exitcode == 0


def test_sigterm_that_ends_a_process_that_loads_data(tmp_path, uninterrupted):
    """The process had no handler yet: the only message is that the run was asked to end; the checkpoint is valid."""

    class Loses(Obedient):
        def __call__(self, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
            if self.learners["d"].scheduler.last_epoch + 1 == 5:
                os.kill(os.getpid(), signal.SIGTERM)
                raise RuntimeError("DataLoader worker is killed by signal")
            return super().__call__(batch)

    duel = Loses(schedule(), 0)
    with pytest.raises(Preempted, match="DataLoader worker is killed"):
        engine.train(
            run=tmp_path, schedule=schedule(), learners=duel.learners, step=duel, dataset=Sequence(), device=CPU
        )
    duel, log = run_duel(tmp_path, schedule())
    assert len(duel.seen) == 5 and log == uninterrupted[1]
    assert_same_state(duel, uninterrupted[0])


# --- divergence ------------------------------------------------------------------------------------------------------


class Fails:
    """A learner of y = w x; from the third iteration on a term is not finite."""

    def __init__(self, plan: Schedule, bad: float) -> None:
        torch.manual_seed(0)
        self.learner = engine.Learner(nn.Linear(4, 1), plan)
        self.bad, self.weights, self.count = bad, [], 0

    def __call__(self, batch):
        self.count += 1
        self.weights.append(self.learner.module.weight.detach().clone())
        fine = self.learner.module(torch.stack(batch)).square().mean()
        terms = {"loss_fine": fine, "loss_bad": fine * (self.bad if self.count == 3 else 1.0)}
        self.learner.update(terms)
        return {name: term.detach() for name, term in terms.items()}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, bad):
    plan = schedule(checkpoint_every=2)
    step = Fails(plan, bad)
    with pytest.raises(engine.TrainingDiverged, match=r"iteration 3 .*loss_fine [\d.]+.*loss_bad (nan|inf)") as caught:
        engine.train(
            run=tmp_path, schedule=plan, learners={"x": step.learner}, step=step, dataset=Sequence(), device=CPU
        )
    assert isinstance(caught.value, FloatingPointError)  # what the stage scripts turn into a message
    assert torch.equal(step.learner.module.weight, step.weights[2])
    assert [json.loads(x)["iteration"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert [p.name for p in tmp_path.glob("*.pt")] == ["checkpoint-00000002.pt"]


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_leaves_the_weights(clip):
    learner = engine.Learner(nn.Linear(2, 1, bias=False), schedule(clip_norm=clip))
    before = learner.module.weight.detach().clone()
    loss = (0 * learner.module.weight).sum().sqrt()  # 0, and the slope of a root at 0 is infinite
    with pytest.raises(engine.TrainingDiverged, match=r"loss_root 0.*gradient (nan|inf)"):
        learner.update({"loss_root": loss})
    assert torch.equal(learner.module.weight, before)


# --- learning rate and clipping --------------------------------------------------------------------------------------

STEPS = {"lr_schedule": "step", "iterations": 9, "warmup": 3, "milestones": [5, 7], "gamma": 0.1}
STEP_FACTORS = [0.25, 0.5, 0.75, 1, 1, 0.1, 0.1, 0.01, 0.01]
HALF_COSINE = [1 / 3, 2 / 3, 1, 0.8535533905932737, 0.5, 0.1464466094067262]  # cos of 0, 1/4, 2/4, 3/4 of pi
COSINE = {"lr_schedule": "cosine", "iterations": 6, "warmup": 2}


@pytest.mark.parametrize(("change", "factors"), [(STEPS, STEP_FACTORS), (COSINE, HALF_COSINE)], ids=["step", "cosine"])
def test_learning_rates_by_hand(tmp_path, change, factors):
    plan = schedule(lr=0.2, **change)
    assert [engine.lr_factor(plan, i) for i in range(plan.iterations)] == pytest.approx(factors, abs=1e-12)
    _, log = run_duel(tmp_path, plan)
    assert [line["lr"] for line in log] == pytest.approx([0.2 * factor for factor in factors], abs=1e-12)


def test_no_warm_up_starts_at_the_full_rate():
    assert engine.lr_factor(schedule(warmup=0, lr_schedule="step"), 0) == 1
    assert engine.lr_factor(schedule(warmup=0, lr_schedule="cosine"), 0) == 1


@pytest.mark.parametrize(("clip", "step"), [(1.0, (0.06, 0.08)), (None, (0.3, 0.4)), (10.0, (0.3, 0.4))])
def test_clipping_scales_the_complete_gradient(clip, step):
    plan = schedule(
        optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=0.1, warmup=0, lr_schedule="step", clip_norm=clip
    )
    module = nn.ParameterList([torch.zeros(1), torch.zeros(1)])
    learner = engine.Learner(module, plan)
    learner.update({"loss": 3 * module[0].sum() + 4 * module[1].sum()})  # a gradient of norm 5
    assert [-p.item() for p in module] == pytest.approx(step, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_optimizers_step_by_hand(optimizer):
    plan = schedule(
        optimizer=optimizer,
        momentum=0.9,
        weight_decay=0.5,
        lr=0.1,
        warmup=0,
        lr_schedule="step",
        clip_norm=None,
        iterations=2,
    )
    module = nn.ParameterList([torch.tensor([2.0])])
    learner = engine.Learner(module, plan)
    for _ in range(2):
        learner.update({"loss": 3 * module[0].sum()})
    if optimizer == "sgd":  # g = 3 + 0.5 w; v = 0.9 v + g; w -= 0.1 v
        first = 2 - 0.1 * 4
        expected = first - 0.1 * (0.9 * 4 + 3 + 0.5 * first)
    else:  # w *= 1 - 0.1 * 0.5, then a step of 0.1 down a constant gradient
        expected = (2 * 0.95 - 0.1) * 0.95 - 0.1
    assert module[0].item() == pytest.approx(expected, rel=1e-5)


def test_only_norms_and_swins_bias_tables_do_not_decay():
    """Without a gradient a step of SGD is decay alone: w -= lr * weight_decay * w."""
    swin = build_backbone(
        "timm/swin_tiny_patch4_window7_224",
        options={"embed_dim": 8, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 4), "window_size": 3},
    )
    module = nn.ModuleDict({"swin": swin, "conv": nn.Conv2d(2, 2, 1), "norm": nn.BatchNorm2d(2)})
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0)
    plan = schedule(
        optimizer="sgd", momentum=0.0, weight_decay=0.5, lr=0.1, warmup=0, lr_schedule="step", clip_norm=None
    )
    learner = engine.Learner(module, plan)
    learner.update({"loss": sum(0 * parameter.sum() for parameter in module.parameters())})
    norms = (nn.LayerNorm, nn.BatchNorm2d)
    still = {
        f"{name}.{own}" if name else own
        for name, part in module.named_modules()
        for own, _ in part.named_parameters(recurse=False)
        if isinstance(part, norms) or own == "relative_position_bias_table"
    }
    assert sum(name.endswith("relative_position_bias_table") for name in still) == 5  # one a block
    for name, parameter in module.named_parameters():
        expected = 1.0 if name in still else 1 - 0.1 * 0.5
        assert parameter.min().item() == parameter.max().item() == pytest.approx(expected), name


def test_frozen_parameters_have_no_optimizer(tmp_path):
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    module[0].requires_grad_(False)
    learner = engine.Learner(module, schedule())
    assert [id(p) for p in learner.parameters] == [id(p) for p in module[1].parameters()]


# --- logs ------------------------------------------------------------------------------------------------------------


def test_the_log_has_one_plain_line_per_iteration(tmp_path, capsys):
    _, log = run_duel(tmp_path, schedule())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == log and [line["iteration"] for line in lines] == list(range(1, 9))
    assert all(list(line) == ["iteration", "lr", "content", "fooled", "judged"] for line in lines)
    assert all(isinstance(value, int | float) for line in lines for value in line.values())
    assert "8/8" in (tmp_path / "train.log").read_text() and "ETA" in capsys.readouterr().err


@pytest.mark.parametrize("at", [None, 3, 4, 5, 8])
def test_lines_of_several_iterations_have_their_means(tmp_path, uninterrupted, at):
    """The run is also killed between two lines: checkpoints are written after iterations 2, 4 and 6."""
    plan = schedule(log_every=3, checkpoint_every=2)
    if at:
        kill(tmp_path, at, log_every=3, checkpoint_every=2)
        torch.manual_seed(99)
    duel, log = run_duel(tmp_path, plan)
    lines = uninterrupted[1]
    assert [line["iteration"] for line in log] == [3, 6, 8]
    for line, part in zip(log, (lines[:3], lines[3:6], lines[6:]), strict=True):
        assert line["lr"] == part[-1]["lr"]
        for name in ("content", "fooled", "judged"):
            assert line[name] == pytest.approx(sum(one[name] for one in part) / len(part), rel=1e-12)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == log
    assert "8/8" in (tmp_path / "train.log").read_text()
    assert_same_state(duel, uninterrupted[0])


def test_terms_are_not_read_before_a_line_is_due():
    """To read one is to wait for a GPU; a tensor on `meta` cannot be read."""
    window = Window()
    for _ in range(2):
        window.add({"loss": torch.zeros((), device="meta")})
    with pytest.raises((RuntimeError, NotImplementedError)):
        window.close()


def test_tensorboard_has_the_curves_once_after_a_kill(tmp_path, uninterrupted):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    kill(tmp_path, 6)
    run_duel(tmp_path, schedule())
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"lr", "content", "fooled", "judged"} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("content")] == list(range(1, 9))
    expected = [line["content"] for line in uninterrupted[1]]
    assert [e.value for e in events.Scalars("content")] == pytest.approx(expected)


def test_a_gpu_computes_in_bfloat16_if_the_schedule_wants_it():
    assert engine.autocast(torch.device("cuda"), schedule()).fast_dtype == torch.bfloat16
    for device, plan in ((CPU, schedule()), (torch.device("cuda"), schedule(amp=False))):
        with engine.autocast(device, plan):
            assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.float32


def test_a_cpu_computes_in_bfloat16_only_if_the_schedule_says_everywhere():
    with engine.autocast(CPU, schedule(amp="everywhere")):
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16


def test_updates_are_in_float32_under_autocast():
    learner = engine.Learner(nn.Linear(2, 2), schedule())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = learner.module(torch.ones(3, 2))
        assert out.dtype == torch.bfloat16
        learner.update({"loss": out.mean()})
    assert all(p.grad.dtype == p.dtype == torch.float32 for p in learner.parameters)


@pytest.mark.parametrize("processes", [1, 2])
def test_normalisation_does_not_decay(monkeypatch, processes):
    """On one process and on several, whose normalisation is of a class of our own."""
    monkeypatch.setattr(engine.comm, "get_world_size", lambda: processes)
    module = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1))
    learner = engine.Learner(module, schedule(weight_decay=0.01))
    decays = {id(p): group["weight_decay"] for group in learner.optimizer.param_groups for p in group["params"]}
    assert [decays[id(p)] for p in module.parameters()] == [0.01, 0.01, 0.0, 0.0, 0.01, 0.01]


def test_normalisation_of_all_ranks_has_float32_statistics_of_bfloat16_maps():
    """`amp: everywhere` on several processes; torch's own normalisation is the reference."""
    maps = (3 + 2 * torch.randn(4, 5, 9, 9, generator=torch.Generator().manual_seed(0))).bfloat16()
    expected, module = nn.BatchNorm2d(5), nn.Sequential(nn.BatchNorm2d(5))
    synchronise(module)
    output = module(maps)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected(maps), rtol=0.01, atol=0.01)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(module[0].state_dict()[name], value, rtol=1e-5, atol=1e-6)
