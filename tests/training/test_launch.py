"""Several processes act like one: same batches, same steps, same errors; an interrupted run continues.

Two processes are launched only three times (tests/support/ranks.py), because a start takes seconds; they leave files,
which the tests read.
"""

import os
import pickle
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ranks
import torch
from ranks import PLAIN, STATEFUL, Mistake, PlainDuel, run
from test_engine import CPU, Duel, Killed, Sequence, flat, schedule

from afigan.data.loader import batches
from afigan.runtime import comm
from afigan.runtime.preemption import Preempted
from afigan.training import launch


@pytest.fixture(scope="module")
def after(tmp_path_factory) -> SimpleNamespace:
    """The files of two launches, of which one was interrupted and the other has gone on and failed."""
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.raises(KeyboardInterrupt):
        launch.launch(2, ranks.is_interrupted, folder, device=CPU)
    with pytest.raises(Preempted) as end:
        launch.launch(2, ranks.is_preempted, folder, device=CPU)
    checkpoints = [path.name for path in (folder / "interrupted").glob("*.pt")]
    with pytest.raises(Mistake) as caught:
        launch.launch(2, ranks.errs, folder, device=CPU)
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return SimpleNamespace(
        folder=folder, checkpoints=checkpoints, error=caught.value, found=found, preempted=str(end.value)
    )


def same(first: Any, second: Any) -> bool:
    """Return True if nested values agree, tensors bit for bit."""
    ours, theirs = dict(flat(first)), dict(flat(second))
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) if isinstance(value, torch.Tensor) else value == theirs[name]
        for name, value in ours.items()
    )


def weights(found: dict[str, Any], statistics: bool = False) -> dict[str, torch.Tensor]:
    """Return both learners' weights, or their batch statistics instead."""
    return {
        f"{learner}.{name}": value
        for learner, state in found["states"].items()
        for name, value in state["module"].items()
        if ("running" in name) == statistics
    }


# --- training ---------------------------------------------------------------------------------------------------------


def test_two_processes_take_the_steps_of_one_with_the_complete_batch(after, tmp_path):
    plan = schedule(**PLAIN)
    alone, start = run(PlainDuel(plan), tmp_path, plan), PlainDuel(plan).learners
    for name, learner in start.items():
        for place, value in learner.module.state_dict().items():
            moved = weights(alone)[f"{name}.{place}"] - value
            assert moved.abs().max() > 1e-3 or place == "2.bias", (name, place)  # D's last bias shifts both alike
    for found in (after.found[0]["plain"], after.found[1]["plain"]):
        for name, value in weights(alone).items():
            torch.testing.assert_close(weights(found)[name], value, rtol=1e-5, atol=1e-6)
        for line, expected in zip(found["log"], alone["log"], strict=True):
            assert line == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["plain", "whole"])
def test_ranks_have_the_same_weights_to_the_bit(after, name):
    first, second = (found[name] for found in after.found)
    assert not torch.equal(first["seen"], second["seen"])
    assert same(weights(first), weights(second))
    assert same(*({k: v["optimizer"] for k, v in f["states"].items()} for f in (first, second)))


def test_ranks_see_parts_of_the_batches_of_one(after):
    first, second = (found["whole"]["seen"] for found in after.found)  # (iterations, 2, 4)
    expected = torch.stack([torch.stack(batch) for batch in batches(Sequence(), schedule(**STATEFUL), 0)])
    assert torch.equal(torch.stack([first, second], dim=2).flatten(1, 2), expected)


def test_random_numbers_are_each_ranks_own(after):
    first, second = (found["whole"] for found in after.found)
    assert first["seed"] == 0 != second["seed"] and not torch.equal(first["rng"], second["rng"])


def test_batch_normalisation_sees_the_complete_batch(after):
    """Ranks with batches of different sizes: values, gradients and statistics of one process with all of it."""
    found = [found["normalised"] for found in after.found]
    alone = ranks.normalised(None)
    for name in ("plain", "act"):
        ours = torch.cat([part[name]["output"] for part in found])
        torch.testing.assert_close(ours, alone[name]["output"], rtol=1e-5, atol=1e-6)
        ours = torch.cat([part[name]["gradient"] for part in found])
        torch.testing.assert_close(ours, alone[name]["gradient"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(sum(p[name]["weight"] for p in found), alone[name]["weight"], rtol=1e-5, atol=1e-5)
        assert same(found[0][name]["state"], found[1][name]["state"])
        for place, value in alone[name]["state"].items():
            torch.testing.assert_close(found[0][name]["state"][place], value, rtol=1e-5, atol=1e-6)
        assert torch.equal(found[0][name]["eval"], found[1][name]["eval"])
        torch.testing.assert_close(found[0][name]["eval"], alone[name]["eval"], rtol=1e-5, atol=1e-6)


def test_statistics_of_a_training_are_the_same_on_all_ranks(after):
    statistics = [weights(found["whole"], statistics=True) for found in after.found]
    assert statistics[0] and same(*statistics)


def test_rank_0_draws_what_a_single_process_does(after, tmp_path):
    half = schedule(**STATEFUL | {"batch_size": 2})  # dropout draws as many numbers as a batch has values
    assert torch.equal(run(Duel(half), tmp_path, half)["rng"], after.found[0]["whole"]["rng"])


def test_an_interrupted_run_ends_like_an_uninterrupted_one(after):
    assert after.checkpoints == ["checkpoint-00000003.pt"]
    for found in after.found:
        assert len(found["resumed"]["seen"]) == 5
        for part in ("log", "states", "seed", "rng"):
            assert same(found["resumed"][part], found["whole"][part]), part
    metrics = [(after.folder / name / "metrics.jsonl").read_text() for name in ("interrupted", "whole")]
    assert metrics[0] == metrics[1]


def test_the_log_has_means_over_ranks_and_iterations(after):
    first, second = (found["whole"] for found in after.found)
    assert first["log"] == second["log"]
    assert [line["iteration"] for line in first["log"]] == [2, 4, 6, 8]
    for line in first["log"]:
        part = slice(line["iteration"] - 2, line["iteration"])
        terms = first["terms"][part] + second["terms"][part]
        for name in ("content", "fooled", "judged"):
            assert line[name] == pytest.approx(sum(term[name] for term in terms) / 4, rel=1e-6)


def test_only_rank_0_writes_and_cleans_up(after):
    """Rank 1 had nothing to write with."""
    left = sorted(path.name for path in (after.folder / "whole").iterdir())
    assert left == ["metrics.jsonl", "tensorboard", "train.log"]
    assert len(list((after.folder / "whole" / "tensorboard").iterdir())) == 1


def test_gradients_that_are_missing_count_as_zero(after):
    expected = [5.5, 10.0, None, 22.0, 27.5, 33.0]  # (1 + 10) / 2 times the number of the parameter
    shapes = [(2,), (3,), (1,), (7,), (2,), (2, 3)]
    for found in after.found:
        for gradient, value, shape in zip(found["averaged"], expected, shapes, strict=True):
            if value is None:
                assert gradient is None
            else:
                assert gradient.shape == shape and (gradient == value).all()
        assert gradient.dtype == torch.bfloat16


@pytest.mark.parametrize(("what", "term"), [("loss", "bad nan"), ("gradient", "bad 0.5, norm of the gradient nan")])
def test_divergence_on_one_rank_stops_all_ranks(after, what, term):
    first, second = (found["diverged"][what] for found in after.found)
    assert first == second and first["same"]
    assert term in first["message"]


# --- starting and ending ----------------------------------------------------------------------------------------------


def test_an_error_of_one_rank_is_raised(after):
    assert str(after.error) == "data.train.images: no such folder"
    assert "in errs" in after.error.__notes__[0]  # where it comes from
    assert all(found["threads"] == torch.get_num_threads() for found in after.found)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # a zombie has ended
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_nothing_outlives_an_interrupt_or_an_error(after):
    """This includes the ranks and the processes that load their data."""
    pids = [int(path.stem) for path in after.folder.glob("*.pid")]
    assert len(pids) == 12
    time.sleep(1)
    assert not [pid for pid in pids if runs(pid)]


def test_sigterm_to_the_parent_ends_all_ranks_after_their_iteration(after):
    assert after.preempted == "preempted: asked to end after iteration 5 of 8"
    assert "checkpoint-00000005.pt" in [path.name for path in (after.folder / "preempted").iterdir()]
    for found in after.found:
        assert len(found["goes on"]["seen"]) == 3
        for part in ("log", "states", "seed", "rng"):
            assert same(found["goes on"][part], found["whole"][part]), part


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        ((1, None), "the reason"),
        ((1, -signal.SIGKILL), "process 1 of 2 was ended by a signal (Killed), as the system does"),
    ],
)
def test_the_first_error_is_reported(tmp_path, codes, error):
    """Errors that follow from the first come later, for any order in which the processes end."""
    for name, value in (("00002-0", RuntimeError("connection closed")), ("00001-1", Mistake("the reason"))):
        (tmp_path / f"{name}.pickle").write_bytes(pickle.dumps(value))
    found = launch._error([SimpleNamespace(exitcode=code) for code in codes], tmp_path)
    assert str(found).startswith(error)


class Odd(Exception):
    """An error that is pickled with one argument and read with two."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def test_an_error_that_cannot_be_sent_is_printed(tmp_path, capsys):
    try:
        raise Odd("this ", "one")
    except Odd as error:
        launch._tell(error, tmp_path / "1.pickle")
    assert "Odd: this one" in capsys.readouterr().err
    assert "its output says why" in str(launch._error([SimpleNamespace(exitcode=1)], tmp_path))


def test_one_process_is_this_one():
    seen = []
    launch.launch(1, seen.append, os.getpid(), device=CPU)
    assert seen == [os.getpid()]
    with pytest.raises(Killed):
        launch.launch(1, raise_killed, device=CPU)
    assert comm.get_rank() == 0 and comm.get_world_size() == 1


def raise_killed() -> None:
    raise Killed


@pytest.mark.parametrize("processes", [2, 8])
def test_fewer_gpus_than_processes(monkeypatch, processes):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: processes - 1)
    with pytest.raises(ValueError, match=f"processes: {processes}, .*torch sees {processes - 1}; lower it or set dev"):
        launch.launch(processes, raise_killed, device=torch.device("cuda"))


@pytest.mark.parametrize(("size", "world_size"), [(16, 8), (6, 2), (4, 4), (3, 1)])
def test_ranks_share_each_batch(size, world_size):
    class Numbers:
        def __getitem__(self, position: int) -> int:
            return position

    plan = schedule(iterations=5, batch_size=size)
    parts = [list(batches(Numbers(), plan, 2, rank=r, world_size=world_size)) for r in range(world_size)]
    for offset in range(3):
        share = [part[offset] for part in parts]
        assert {len(items) for items in share} == {size // world_size}
        assert sorted(n for items in share for n in items) == list(range((offset + 2) * size, (offset + 3) * size))
