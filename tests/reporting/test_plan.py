"""`make plan`: the hours that are left, estimated from journals with the current parameters alone."""

import json
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml
from lineages import fingerprint

from afigan.outputs.paths import last_output as output
from afigan.params.loading import check_params, compose
from afigan.reporting.plan import OWN, RowCost, plan, render, row_costs
from afigan.runtime import state
from afigan.runtime.state import State

ROOT = Path(__file__).resolve().parents[2]
VALUES = compose("zoo", ROOT / "conf")
for stage in ("train_backbone", "train_afigan", "train_extractor", "train_detector"):
    VALUES[stage]["iterations"] = 100
PARAMS = check_params(VALUES)
NOW = datetime.fromisoformat("2026-11-26T12:00:00+00:00")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(node, seconds, iteration=100, params=PARAMS, done=True):
    """Write what a training leaves: its run's state and, if it is done, its model."""
    params_hash = fingerprint(params, node)
    ended = "done" if done else "interrupted"
    found = State(node=node, params_hash=params_hash, status=ended, iteration=iteration, total=100, seconds=seconds)
    state.write(Path("runs") / f"{node}-0123", found.model_copy(update={"written": NOW}))
    if done:
        folder = output(node).parent
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"params_hash": params_hash}))
        (folder / "model.safetensors").write_bytes(b"weights")


def items(params=PARAMS):
    return {item.node: item for item in plan(params, NOW)}


def test_nothing_is_known_before_anything_has_run():
    found = items()
    assert all(item.seconds is None and item.basis == "" for item in found.values())
    assert found["detectors/a1"].iterations == 100 and found["evaluations/a1"].iterations is None
    assert "unknown" in render(list(found.values()), [], 1)


def test_a_done_training_tells_the_cost_of_those_like_it():
    trained("detectors/a1", 2.0)
    found = items()
    assert (found["detectors/a1"].seconds, found["detectors/a1"].iterations) == (0, 0)
    alike = found["detectors/bilinear"]  # another interpolator of the same head
    assert (alike.seconds, alike.basis) == (200, "1 of detectors mask_rcnn")
    assert found["detectors/fcos_nn"].basis == "1 of detectors"  # no better is known
    assert found["extractors/main"].seconds is None


def test_the_nearest_group_and_its_median_count():
    trained("detectors/a1", 1.0)
    trained("detectors/a5", 2.0)
    trained("detectors/a4", 4.0)
    assert items()["detectors/a2"].seconds == pytest.approx(300)  # A2, A4 and A5 have AFI
    assert items()["detectors/a2"].basis == "2 of detectors mask_rcnn fpn afi"


def test_a_stopped_training_needs_the_rest_from_its_checkpoint():
    trained("detectors/a1", 3.0, iteration=45, done=False)
    Path("runs/detectors/a1-0123/checkpoint-00000040.pt").write_bytes(b"")
    found = items()["detectors/a1"]
    assert (found.iterations, found.seconds, found.basis) == (60, 180, OWN)


def test_a_running_training_needs_the_rest_from_where_it_is():
    trained("detectors/a1", 2.0, iteration=40, done=False)
    running = state.read(Path("runs/detectors/a1-0123"))
    assert running is not None
    running = running.model_copy(update={"status": "running", "process": state.Process()})
    state.write(Path("runs/detectors/a1-0123"), running)
    state.write(Path("runs/detectors/a1"), running)
    found = items()["detectors/a1"]
    assert (found.status, found.iterations, found.seconds) == ("running", 60, 120.0)


def test_journals_of_other_parameters_tell_nothing():
    other = check_params(VALUES | {"model": VALUES["model"] | {"channels": 16}})
    trained("detectors/a1", 2.0, params=other)
    assert items()["detectors/a1"].seconds is None


def test_other_stages_take_as_long_as_they_took():
    hashed = fingerprint(PARAMS, "evaluations/a1")
    begun = State(node="evaluations/a1", params_hash=hashed, status="done", began=NOW - timedelta(seconds=30))
    state.write(Path("runs/evaluations/a1"), begun.model_copy(update={"written": NOW}))
    assert items()["evaluations/a5"].seconds == 30


def test_the_sum_counts_every_process_of_a_training():
    for node in ("backbones/main", "detectors/a1", "afigan/main", "extractors/main"):
        trained(node, 36.0)
    found = list(items().values())
    hours = sum(item.seconds or 0 for item in found if item.iterations) / 3600
    assert hours > 10
    text = render(found, [], processes=8)
    assert float(re.search(r"([\d.]+) hours of processes", text)[1]) == pytest.approx(8 * hours, abs=0.06)
    assert re.search(r"^detectors +1 of \d+ done", text, re.M)


def test_a_row_costs_what_it_needs_and_shares_what_others_need_too():
    hours = {"detectors": 2.0, "afigan": 3.0, "extractors": 5.0, "backbones": 1.0, "evaluations": 0.5}
    changed = VALUES | {"tables": {"table4": {"A1": "a1", "A2": "a2", "A5": "a5"}, "table6": {"nearest": "a1"}}}
    found = row_costs(check_params(changed), lambda node: hours[node.partition("/")[0]])
    assert found == [
        RowCost("table4", "A1", 1 + 2 + 0.5, 0.5),  # a1 is F of the others, their evaluations are not
        RowCost("table4", "A2", 1 + 2 + 3 + 2 + 0.5, 2.5),  # G of stage 1, shared with A5
        RowCost("table4", "A5", 1 + 2 + 3 + 5 + 2 + 0.5, 7.5),
        RowCost("table6", "nearest", 3.5, 0.5),  # one row in two tables
    ]
    unknown = row_costs(check_params(changed), lambda node: None if "extractors" in node else 1.0)
    assert [cost.needed for cost in unknown] == [3, 5, None, 3]
    text = render([], found, 1)
    assert re.search(r"^table4 A5 +0:00:14 +0:00:08$", text, re.M)


def test_rows_of_several_seeds_need_them_all():
    experiments = VALUES["experiments"]
    again = experiments["detectors"] | {"again": experiments["detectors"]["a1"] | {"seed": 1}}
    evaluations = experiments["evaluations"] | {"again": {"model": "detectors/again"}}
    changed = VALUES | {
        "experiments": experiments | {"detectors": again, "evaluations": evaluations},
        "tables": {"table4": {"A1": ["a1", "again"], "A6": "a6"}},
    }
    found = row_costs(check_params(changed), lambda node: 1.0)
    assert [(cost.needed, cost.own) for cost in found] == [(5, 4), (3, 2)]  # one backbone for all


def test_the_script_prints_the_plan(root):
    (root / "params.yaml").write_text(yaml.safe_dump(VALUES))
    trained("detectors/a1", 2.0)
    run = subprocess.run(
        [sys.executable, ROOT / "workflow/scripts/plan.py"], capture_output=True, text=True, check=True
    )
    assert re.search(r"^detectors/bilinear +waiting +100 +0:03:20 +1 of detectors mask_rcnn$", run.stdout, re.M)
    assert re.search(r"^table6 bilinear +unknown +unknown$", run.stdout, re.M)  # its evaluation
    assert re.search(r"^row +time left for all it needs +of it, for this row alone$", run.stdout, re.M)
