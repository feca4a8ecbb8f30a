"""Faults at any time in a stage: no output looks complete that is not, and the next try ends as if there were no fault.

This is the short form, for every change of the code. `make test-faults` kills 200 times over all stages.
"""

import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import faults
import pytest
from faults import Fault, Stage
from toy import World, toy_params

from afigan.data.pairs import write_pairs
from afigan.data.prepare.stage import prepare
from afigan.evaluation.coco import evaluate
from afigan.evaluation.pseudo_labels import write_pseudo_labels
from afigan.evaluation.submission import submit
from afigan.params.schema import Params
from afigan.runtime.preemption import EXIT_STATUS
from afigan.training.afigan import train_afigan
from afigan.training.backbone import write_backbone
from afigan.training.detector import train_detector
from afigan.training.extractor import train_extractor

pytest_plugins = ["toy"]

KILLS = int(os.environ.get("AFIGAN_KILLS", "16"))  # over all stages
SEED = int(os.environ.get("AFIGAN_FAULTS_SEED", "0"))


def _pairs(params: Params) -> None:
    write_pairs(
        "data/prepared/train.json", "bilinear", "data/pairs/bilinear", image_format="png", shard_size=2, workers=2
    )


STAGES = [
    Stage("prepare", lambda p: prepare(p.data, p.seed, Path("data/prepared"), workers=2), ("data/prepared",)),
    Stage("pairs", _pairs, ("data/pairs/bilinear",)),
    Stage("backbone", lambda p: write_backbone(p, "main"), ("models/backbones/main",)),
    Stage("a1", lambda p: train_detector(p, "detectors/a1"), ("models/detectors/a1",)),
    Stage("retinanet", lambda p: train_detector(p, "detectors/retinanet_nn"), ("models/detectors/retinanet_nn",)),
    Stage("stage 1", lambda p: train_afigan(p, "rb"), ("models/afigan/rb",)),
    Stage("stage 2", lambda p: train_extractor(p, "main"), ("models/extractors/main",)),
    Stage("a5", lambda p: train_detector(p, "detectors/a5"), ("models/detectors/a5",)),
    Stage("evaluate", lambda p: evaluate(p, "a1"), ("results/metrics/a1.matches.npz", "results/metrics/a1.json")),
    Stage("labels", lambda p: write_pseudo_labels(p, "a1"), ("data/pseudo/a1.json",)),
    Stage("student", lambda p: train_detector(p, "students/a1"), ("models/students/a1",)),
    Stage("submit", lambda p: submit(p, "a1"), ("results/submissions/a1",)),
]
PARENTS = ["backbones/main", "detectors/a1", "afigan/main", "extractors/main", "pseudo_labels/a1"]


@pytest.fixture(scope="module")
def parents(world) -> World:
    """The inputs of the stages; trainings here have four iterations and a checkpoint after each."""
    stages = ("train_backbone", "train_afigan", "train_extractor", "train_detector")
    change: dict[str, Any] = {f"{stage}.iterations": 4 for stage in stages} | {"train_detector.workers": 1}
    change["experiments.pseudo_labels.a1"] = {"model": "detectors/a1", "score_threshold": 0.05}
    change["experiments.submissions.a1"] = {"model": "detectors/a1"}
    student = {"backbone": "main", "interpolator": "nearest", "init": "backbones/main", "labels": "a1"}
    change["experiments.students.a1"] = student
    own = World(world.root.with_name("faults"), toy_params(change))
    shutil.copytree(world.root / "data", own.root / "data")
    for node in PARENTS:
        own.model(node)
    return own


def copy(parents: World, place: Path, stage: Stage) -> Path:
    """Return a copy of the root without the stage's outputs and checkpoints."""
    shutil.copytree(parents.root, place, ignore=shutil.ignore_patterns("runs"))
    clear(place, stage)
    return place


def clear(root: Path, stage: Stage) -> None:
    for output in stage.outputs:
        path = root / output
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.rmtree(root / "runs", ignore_errors=True)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_that_is_killed_repeatedly(parents, tmp_path, stage):
    chance = random.Random(f"{SEED} {stage.name}")
    root, log = copy(parents, tmp_path / "root", stage), tmp_path / "log"
    begin = time.monotonic()
    assert faults.run(stage, parents.params, root, log) == 0, log.read_text()
    seconds = time.monotonic() - begin
    whole = stage.contents(root)
    assert whole
    kills = ends = 0
    clear(root, stage)
    share = -(-KILLS // len(STAGES))
    while kills < share or not ends:
        calm = kills >= share
        fault = Fault() if calm else faults.draw(chance, seconds, writes=25)
        status = faults.run(stage, parents.params, root, log, fault)
        found = stage.contents(root)
        assert found.items() <= whole.items(), (fault, "there is something that is not whole")
        if status == 0:
            assert found == whole, fault
            assert not list(root.rglob("*.tmp*")), fault
            clear(root, stage)
            ends += 1
        else:
            assert status == EXIT_STATUS if fault.number == signal.SIGTERM else status is None, (fault, log.read_text())
            kills += 1
    print(f"{stage.name}: {kills} times ended, {ends} times come to its end, {seconds:.1f} s without faults")


@pytest.mark.parametrize("name", ["pairs", "stage 2", "evaluate"])
def test_a_full_disk(parents, tmp_path, name):
    """The first file that is larger than a limit ends the stage, with a system error and without an output."""
    stage = next(s for s in STAGES if s.name == name)
    root, log = copy(parents, tmp_path / "root", stage), tmp_path / "log"
    size = 100_000 if name == "stage 2" else 256  # more than a log, less than a checkpoint
    status = faults.run(stage, parents.params, root, log, Fault(file_size=size))
    assert status == 100 + 27, log.read_text()  # EFBIG
    assert not stage.contents(root)
    assert not list(root.rglob("*.tmp*"))


def test_two_runs_of_a_stage(parents, tmp_path):
    """The second is refused; the first does not notice."""
    stage = next(s for s in STAGES if s.name == "a5")
    root, log = copy(parents, tmp_path / "root", stage), tmp_path / "log"
    first = faults.start(stage, parents.params, root, log, Fault())
    while not (root / "runs/locks/a5.lock").is_file() or not (root / "runs/locks/a5.lock").read_text():
        time.sleep(0.01)
    assert faults.run(stage, parents.params, root, tmp_path / "second") == 1
    assert f"a5 is being run by process {first} on " in (tmp_path / "second").read_text()
    assert os.waitpid(first, 0)[1] == 0, log.read_text()
    assert faults.run(replace(stage, run=lambda params: None), parents.params, root, log) == 0  # it has let go
