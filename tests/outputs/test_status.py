"""`make status` on the files in runs/, models/ and results/: on hand-written ones, and on real trainings."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from lineages import fingerprint

from afigan.outputs.paths import all_nodes as nodes
from afigan.outputs.paths import last_output as output
from afigan.outputs.status import SILENT, render, rows
from afigan.params.loading import check_params, compose
from afigan.params.stages import SUMMARIES
from afigan.runtime import state
from afigan.runtime.state import State, read, recorded, update
from afigan.training import backbone, journal

pytest_plugins = ["toy"]

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow/scripts"
SMOKE = compose("smoke", ROOT / "conf")
PARAMS = check_params(SMOKE)
NOW = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
EXPERIMENTS = [f"{kind}/{key}" for kind, items in SMOKE["experiments"].items() for key in items]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(node, params=PARAMS, time=NOW):
    return {row.node: row for row in rows(params, time)}[node]


def status(node):
    return row(node).status


def make(node, params_hash=None):
    """Write the output of a node, with the current hash if none is given."""
    params_hash = params_hash or (fingerprint(PARAMS, node) if "/" in node and node in EXPERIMENTS else "")
    content = {"node": node, "params_hash": params_hash, "more": "x" * 100}
    path = output(node)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": content} if node.startswith("pseudo") else content))
    if path.parts[0] == "models":
        (path.parent / "model.safetensors").write_bytes(b"weights")


def tell(folder, node, **change):
    """Write a state of this process with the current hash and time, except for `change`."""
    values = {"node": node, "params_hash": fingerprint(PARAMS, node) if node in EXPERIMENTS else ""}
    said = State(**values | {"began": NOW, "written": NOW} | change)
    state.write(Path("runs", folder), said)
    return said


ELSEWHERE = {"host": "another", "pid": os.getpid()}
TRAINING = {"iteration": 30, "total": 40, "seconds": 2.0, "losses": {"loss_cls": 0.5, "loss_total": 1.25}}


def ago(**span):
    return NOW - timedelta(**span)


# --- outputs alone ----------------------------------------------------------------------------------------------------


def test_without_any_file_everything_waits(root):
    table = rows(PARAMS, NOW)
    assert [row.node for row in table] == nodes(PARAMS) and {row.status for row in table} == {"waiting"}
    assert sorted(set(nodes(PARAMS)) & set(EXPERIMENTS)) == sorted(EXPERIMENTS)
    kinds = " ".join(dict.fromkeys(node.split("/")[0] for node in nodes(PARAMS)))
    assert kinds == (
        "prepare pairs backbones afigan extractors detectors pseudo_labels students evaluations submissions "
        "benchmark figures tables"
    )
    assert row("detectors/a1").note == "for backbones/main"
    assert row("evaluations/a1").note == "for detectors/a1"
    assert not any(root.iterdir())  # looking writes nothing


@pytest.mark.parametrize("node", nodes(PARAMS))
def test_an_output_is_done_or_stale_by_its_hash(root, node):
    make(node)
    assert status(node) == ("done" if node in EXPERIMENTS else "stale" if node in SUMMARIES else "there")
    assert [row.node for row in rows(PARAMS, NOW) if row.status != "waiting"] == [node]
    if node in EXPERIMENTS:
        make(node, "0" * 64)
        assert status(node) == "stale"
        output(node).write_bytes(b"{")
        assert status(node) == "stale"


def test_a_summary_is_there_while_all_experiments_are_done(root):
    for node in nodes(PARAMS):
        make(node)
    assert {status(node) for node in SUMMARIES} == {"there"}
    make("detectors/a1", "0" * 64)
    assert {status(node) for node in SUMMARIES} == {"stale"}


def test_nothing_waits_for_a_finished_node(root):
    make("backbones/main")
    assert row("detectors/a1").note == "" and row("detectors/a1").status == "waiting"


def test_a_model_without_weights_is_not_done(root):
    make("detectors/a1")
    Path("models/detectors/a1/model.safetensors").unlink()  # they are written last
    assert status("detectors/a1") == "waiting"


# --- one process ------------------------------------------------------------------------------------------------------


def test_a_running_training_in_full(root):
    tell("detectors/a1-0123456789ab", "detectors/a1", **TRAINING)
    run = root / "runs/detectors/a1-0123456789ab"
    for name in ("checkpoint-00000020.pt", "checkpoint-00000010.pt", "checkpoint-best.pt"):
        (run / name).write_bytes(b"")
    os.utime(run / "checkpoint-00000020.pt", (ago(seconds=90).timestamp(),) * 2)
    found = row("detectors/a1")
    assert (found.status, found.eta, found.reason) == ("running", 20.0, "")
    assert found.checkpoint == (20, ago(seconds=90))
    (line,) = [line for line in render([found], NOW, 200).splitlines() if "detectors/a1" in line]
    assert re.split(" {2,}", line) == [
        "detectors/a1", "running", "30/40", "75%", "0:00:20", "20, 0:01:30 ago", "total 1.25", "cls 0.5"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("process", "span", "seconds", "expected"),
    [
        ({}, {"seconds": 1}, 1.0, "running"),
        ({}, {"hours": 5}, 1.0, "running"),  # it is there: it may hang, or have been stopped
        (ELSEWHERE, {"minutes": 9}, 1.0, "running"),
        (ELSEWHERE, {"minutes": -9}, 1.0, "running"),  # its clock is before ours
        (ELSEWHERE, {"minutes": 11}, 1.0, SILENT),
        (ELSEWHERE, {"minutes": 11}, None, SILENT),
        (ELSEWHERE, {"minutes": 30}, 100.0, "running"),  # so slow
        (ELSEWHERE, {"minutes": 40}, 100.0, SILENT),
        ({"namespace": "a container's"}, {"minutes": 9}, 1.0, "running"),
        ({"namespace": "a container's"}, {"minutes": 11}, 1.0, SILENT),
        ({"born": "12"}, {"seconds": 1}, 1.0, SILENT),  # another process has its number now
        ({"pid": 2**22 + 1}, {"seconds": 1}, 1.0, SILENT),  # above Linux's largest number
        ({"pid": 2**80}, {"seconds": 1}, 1.0, SILENT),
    ],
)
def test_signs_of_life(root, process, span, seconds, expected):
    said = tell(
        "detectors/a1-0", "detectors/a1",
        process=process, written=ago(**span), **TRAINING | {"seconds": seconds},
    )  # fmt: skip
    found = row("detectors/a1")
    assert found.status == expected
    assert (f"process {said.process.pid} on {said.process.host}" in found.reason) == (
        expected == SILENT or span == {"hours": 5}
    )
    assert (found.eta is None) == (expected == SILENT)


def test_a_process_that_has_ended_and_is_not_waited_for_is_dead(root):
    child = os.fork()
    if child == 0:
        os._exit(0)
    said = State(node="detectors/a1", params_hash="", process={"pid": child})
    try:
        for _ in range(200):
            if not said.process.born or not said.process.lives():
                break
            time.sleep(0.01)
        assert said.process.lives() is False or not Path("/proc").exists()
    finally:
        os.waitpid(child, 0)
    assert said.process.lives() is False


def test_no_heartbeat_is_expected_of_a_stage_without_iterations(root):
    tell("evaluations/a1", "evaluations/a1", process=ELSEWHERE, began=ago(hours=3), written=ago(hours=3))
    found = row("evaluations/a1")
    assert found.status == "running" and "on another, since 20" in found.note
    tell("evaluations/a1", "evaluations/a1", process={"born": "12"})
    assert status("evaluations/a1") == SILENT


@pytest.mark.parametrize("end", ["failed", "interrupted", "preempted"])
def test_how_a_run_ended(root, end):
    tell("detectors/a1-0", "detectors/a1", status=end, error="ValueError: no" if end == "failed" else "", **TRAINING)
    found = row("detectors/a1")
    assert found.status == end and found.eta is None and found.run.iteration == 30
    assert found.reason == ("ValueError: no (runs/detectors/a1-0/error.log)" if end == "failed" else "")


def test_stages_that_are_no_experiment_fail_too(root):
    tell("prepare", "prepare", status="failed", error="ValueError: train.json has 3 problems")
    tell("pairs/bilinear", "pairs/bilinear", status="done")
    assert status("prepare") == "failed" and "3 problems (runs/prepare/error.log)" in row("prepare").reason
    assert status("pairs/bilinear") == "waiting"  # its output is gone
    make("pairs/bilinear")
    assert status("pairs/bilinear") == "there"


# --- several of them --------------------------------------------------------------------------------------------------


def test_an_output_counts_more_than_an_ended_process_and_less_than_a_running_one(root):
    make("detectors/a1")
    tell("detectors/a1-0", "detectors/a1", status="failed", error="x")
    assert status("detectors/a1") == "done" and row("detectors/a1").reason == ""
    tell("detectors/a1-0", "detectors/a1", **TRAINING)
    assert status("detectors/a1") == "running"
    tell("detectors/a1-0", "detectors/a1", process={"born": "12"}, **TRAINING)
    assert status("detectors/a1") == "done"


def test_runs_of_other_parameters_are_ignored(root):
    tell("detectors/a1-1", "detectors/a1", status="failed", error="old", params_hash="0" * 64, **TRAINING)
    assert status("detectors/a1") == "waiting"
    tell("detectors/a1-2", "detectors/a1", status="preempted", written=ago(hours=2), **TRAINING)
    assert status("detectors/a1") == "preempted"
    later = TRAINING | {"iteration": 35}
    tell("detectors/a1-3", "detectors/a1", status="interrupted", written=ago(hours=1), **later)  # of other code
    assert status("detectors/a1") == "interrupted" and row("detectors/a1").run.iteration == 35


def test_a_running_run_with_other_parameters_is_reported(root):
    tell("detectors/a1-1", "detectors/a1", params_hash="0" * 64, **TRAINING)
    found = row("detectors/a1")
    assert found.status == "waiting" and found.note.endswith("with other parameters")
    tell("detectors/a1-1", "detectors/a1", params_hash="0" * 64, process={"born": "12"}, **TRAINING)
    assert row("detectors/a1").note == "for backbones/main"


def test_keys_that_begin_alike_are_not_mixed_up(root):
    tell("evaluations/student-0", "evaluations/student", status="failed", error="x")
    tell("evaluations/student_b-0", "evaluations/student", status="interrupted")
    assert status("evaluations/student") == "failed"


def test_the_script_has_the_last_word_and_the_run_the_iteration(root):
    """Of two processes one was killed: the other's connection broke, and the script knows why."""
    tell("detectors/a1-0", "detectors/a1", written=ago(seconds=3), began=ago(seconds=60), **TRAINING)
    tell("detectors/a1", "detectors/a1", status="failed", error="RuntimeError: killed", began=ago(seconds=70))
    found = row("detectors/a1")
    assert found.status == "failed" and found.run.iteration == 30
    assert found.reason == "RuntimeError: killed (runs/detectors/a1/error.log)"


def test_a_script_that_has_just_been_started_again_is_at_no_iteration_yet(root):
    tell("detectors/a1-0", "detectors/a1", status="preempted", written=ago(minutes=5), began=ago(hours=1), **TRAINING)
    (root / "runs/detectors/a1-0/checkpoint-00000020.pt").write_bytes(b"")
    tell("detectors/a1", "detectors/a1", began=ago(seconds=2), written=ago(seconds=2))
    found = row("detectors/a1")
    assert found.status == "running" and found.run is None and found.checkpoint[0] == 20 and "since" in found.note
    tell("detectors/a1-0", "detectors/a1", began=ago(seconds=1), **TRAINING)
    assert row("detectors/a1").run.iteration == 30


VALID = {"node": "detectors/a1", "params_hash": "x", "status": "running", "total": 4}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\x80\x02\x00", b'{"node": 1}', "folder", "nothing",
        *(VALID | change for change in (
            {"process": {"pid": -1}}, {"process": {"pid": "x"}}, {"written": "yesterday"}, {"written": "2026-11-23"},
            {"iteration": "many"}, {"iteration": -1}, {"seconds": "Infinity"}, {"losses": [1]}, {"status": "fine"},
        )),
    ],
)  # fmt: skip
def test_rubbish_in_a_run_folder_is_no_run(root, content):
    place = root / "runs/detectors/a1-0"
    place.mkdir(parents=True)
    if content == "folder":
        (place / "state.json").mkdir()
    elif content == "nothing":
        place.rmdir()
        place.write_text("a file")
    else:
        if isinstance(content, dict):
            content = json.dumps(content | {"params_hash": fingerprint(PARAMS, "detectors/a1")}).encode()
        (place / "state.json").write_bytes(content)
    assert status("detectors/a1") == "waiting"


def test_the_least_and_the_strangest_that_is_a_state(root):
    hashed = {"node": "detectors/a1", "params_hash": fingerprint(PARAMS, "detectors/a1")}
    place = root / "runs/detectors/a1-0"
    place.mkdir(parents=True)
    huge = {"total": 10**30, "seconds": 1e300}
    strange = {"total": 0, "iteration": 10**30, "losses": {"loss_x": "NaN"}, "began": "0001-01-01T00:00Z"}
    for change in ({}, huge, strange):
        (place / "state.json").write_text(json.dumps(hashed | change))
        assert status("detectors/a1") == "running"
        assert "detectors/a1" in render(rows(PARAMS, NOW), NOW, 80)


# --- as text ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def busy(root):
    make("backbones/main")
    tell("detectors/a1-0", "detectors/a1", **TRAINING)
    tell("extractors/main-0", "extractors/main", **TRAINING | {"seconds": 9000.0})
    words = "iteration 3 of a5: not finite (" + ", ".join(f"loss_{i} nan" for i in range(30)) + "). Lower the lr"
    tell("detectors/a5-0", "detectors/a5", status="failed", error=words, **TRAINING)
    return words


@pytest.mark.parametrize("width", [20, 80, 1000])
def test_lines_fit_and_reasons_are_complete(busy, width):
    lines = render(rows(PARAMS, NOW), NOW, width).splitlines()
    assert max(map(len, lines)) <= width
    assert "".join(busy.split()) in "".join("".join(lines).split())
    assert [line.split()[0] for line in lines if line.startswith("detectors/")] == ["detectors/a1", "detectors/a5"]
    assert render(rows(PARAMS, NOW), NOW, 1)  # nobody can read it; nothing breaks


def test_the_summary_counts_experiments_and_has_the_longest_rest(busy):
    summary = render(rows(PARAMS, NOW), NOW, 1000).splitlines()[0]
    waiting = len(EXPERIMENTS) - 4
    assert f"{len(EXPERIMENTS)} experiments: 1 done, 2 running, 1 failed, {waiting} waiting;" in summary
    assert summary.endswith("need another 1 day, 1:00:00")  # 10 of 9000 s


def test_a_low_screen_shows_only_rows_in_progress(busy):
    table = rows(PARAMS, NOW)
    everything = render(table, NOW, 1000).splitlines()
    assert render(table, NOW, 1000, len(everything)).splitlines() == everything
    short = render(table, NOW, 1000, len(everything) - 1).splitlines()
    assert [line.split()[0] for line in short[2:]][:3] == ["extractors/main", "detectors/a1", "detectors/a5"]
    assert f"not shown: {len(table) - 3}" in short[0]


# --- who writes -------------------------------------------------------------------------------------------------------


class Preempted(Exception):
    """An exception named as the one of a training after SIGTERM: the name identifies it."""


@pytest.mark.parametrize(
    ("error", "end", "line"),
    [
        (None, "done", ""),
        (KeyboardInterrupt(), "interrupted", ""),
        (Preempted("at 3"), "preempted", ""),
        (ValueError("no such colour\nred, green"), "failed", "ValueError: no such colour"),
        (MemoryError(), "failed", "MemoryError: "),
        (SystemExit(75), "preempted", ""),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (OSError("\udcff.jpg is no image"), "failed", "OSError: ?.jpg is no image"),
    ],
)
def test_how_it_ended_is_recorded(tmp_path, error, end, line):
    def body():
        with recorded(tmp_path, "detectors/a1", "hash"):
            begun = read(tmp_path)
            assert begun.status == "running" and begun.process.pid == os.getpid() and begun.process.lives()
            update(tmp_path, iteration=3)
            if error is not None:
                raise error

    if error is None:
        body()
    else:
        with pytest.raises(type(error)):
            body()
    said = read(tmp_path)
    assert (said.node, said.params_hash, said.status, said.error, said.iteration) == (
        "detectors/a1", "hash", end, line, 3
    )  # fmt: skip
    log = tmp_path / "error.log"
    assert log.exists() == (end == "failed")
    assert end != "failed" or ("in body" in log.read_text("utf-8") and str(error)[-10:] in log.read_text("utf-8"))


def test_the_first_of_several_processes_to_fail_is_the_cause(tmp_path):
    with pytest.raises(RuntimeError), recorded(tmp_path, "detectors/a1", "hash"):
        with recorded(tmp_path, "detectors/a1", "hash", first=False):
            assert read(tmp_path).status == "running"
        assert read(tmp_path).status == "running"  # the others do not report that they are done
        with pytest.raises(ValueError), recorded(tmp_path, "detectors/a1", "hash", first=False):
            raise ValueError("no such colour")
        raise RuntimeError("connection closed by peer")
    assert read(tmp_path).error == "ValueError: no such colour"
    with recorded(tmp_path, "detectors/a1", "hash"):  # and started again
        assert read(tmp_path).status == "running" and read(tmp_path).error == ""
    assert read(tmp_path).status == "done"


def test_work_continues_with_a_warning_if_no_state_can_be_written(tmp_path, caplog):
    (tmp_path / "runs").write_text("a file")
    done = []
    with recorded(tmp_path / "runs", "detectors/a1", "hash"):
        update(tmp_path / "runs", iteration=3)
        done.append(1)
    with pytest.raises(ValueError, match="ours"), recorded(tmp_path / "runs", "detectors/a1", "hash"):
        raise ValueError("ours")
    assert done and "make status" in caplog.text


def test_a_reader_never_sees_half_a_state(tmp_path):
    state.write(tmp_path, State(node="x", params_hash="y"))
    seen, stop = [], threading.Event()
    reader = threading.Thread(target=lambda: [seen.append(read(tmp_path)) for _ in iter(stop.is_set, True)])
    reader.start()
    for iteration in range(200):
        update(tmp_path, iteration=iteration, losses={f"loss_{i}": 1.0 for i in range(iteration)})
    stop.set()
    reader.join()
    assert seen and None not in seen
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    ("script", "option", "among", "value", "node"),
    [
        ("train_detector", "key", "experiments.detectors", "a1", "detectors/a1"),
        ("evaluate", "key", "experiments.evaluations", "a1", "evaluations/a1"),
        ("pairs", "degradation", "pairs.degradations", "bilinear", "pairs/bilinear"),
        ("prepare", None, None, None, "prepare"),
    ],
)
def test_every_script_records_what_it_does(root, monkeypatch, script, option, among, value, node):
    """It does so on every error, also before it has a run's folder."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    import _stage

    (root / "params.yaml").write_text(yaml.safe_dump(SMOKE))
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *([f"--{option}", value] if option else [])])
    monkeypatch.setattr("afigan.data.checks.check_prepared", lambda params: None)
    seen = []

    def call(*arguments):
        seen.append(row(node, time=state.now()).status)
        raise ValueError("device: cuda, but torch sees no GPU")

    with pytest.raises(SystemExit) as raised:
        _stage.main("doc", call, option, among)
    assert raised.value.code == 2 and seen == ["running"]
    assert row(node).status == "failed" and row(node).reason.startswith("ValueError: device: cuda, but")


def test_the_journal_reports_every_few_seconds_and_at_its_end(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(journal, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    told = []
    line = {"iteration": 3, "lr": 0.1, "loss_cls": 0.5}
    with recorded(tmp_path, "detectors/a1", "hash"):
        with journal.Journal(tmp_path, 9, 3, [line]) as kept:
            told.append(read(tmp_path))
            for iteration, moment in ((4, 60_000.0), (5, 60_004.0), (6, 60_006.0), (7, 60_007.0)):
                clock[0] = moment
                kept.progress(iteration, 0.1)
                told.append(read(tmp_path))
        told.append(read(tmp_path))
    assert [said.iteration for said in told] == [3, 4, 4, 6, 6, 7]
    assert [said.seconds for said in told] == [None, 60_000, 60_000, 20_002, 20_002, 20_002]
    assert all(said.total == 9 and said.losses == {"loss_cls": 0.5} and said.node == "detectors/a1" for said in told)
    lines = (tmp_path / "train.log").read_text("utf-8").splitlines()
    assert len(lines) == 2 and "4/9  60000.000 s/it  ETA 3 days, 11:20:00  lr 0.1  cls 0.5" in lines[0]


# --- real trainings ---------------------------------------------------------------------------------------------------

NODE = "backbones/main"


def in_step(monkeypatch, then):
    """Have `then(iteration)` called before each iteration of stage 0, counted from 1."""
    step = backbone.ClassifyStep.__call__
    count = []

    def call(self, batch):
        count.append(1)
        then(len(count))
        return step(self, batch)

    monkeypatch.setattr(backbone.ClassifyStep, "__call__", call)


def test_a_training_is_seen_from_its_beginning_to_its_end(own_world, monkeypatch):
    seen = []
    in_step(monkeypatch, lambda iteration: seen.append(row(NODE, own_world.params, state.now())))
    own_world.train(NODE)
    assert [found.status for found in seen] == ["running"] * 2
    assert [(found.run.iteration, found.run.total) for found in seen] == [(0, 2), (1, 2)]
    assert seen[0].eta is None and seen[1].eta > 0
    assert seen[0].checkpoint is None and seen[1].checkpoint[0] == 1
    (log, _) = own_world.log(NODE)
    assert seen[1].run.losses == {"loss_cls": log["loss_cls"]}
    assert row(NODE, own_world.params).status == "done"
    (told,) = Path("runs/backbones").glob("main-*/state.json")
    said = read(told.parent)
    assert (said.status, said.iteration, said.node) == ("done", 2, NODE)
    assert said.params_hash == own_world.config(NODE)["params_hash"]


def test_a_training_that_diverges_says_where(own_world, monkeypatch):
    def spoil(iteration):
        if iteration == 2:
            monkeypatch.setattr(backbone.F, "cross_entropy", lambda scores, labels: (scores * float("nan")).sum())

    in_step(monkeypatch, spoil)
    with pytest.raises(FloatingPointError):
        own_world.train(NODE)
    found = row(NODE, own_world.params)
    assert found.status == "failed" and found.run.iteration == 1 and found.checkpoint[0] == 1
    assert found.reason.startswith("TrainingDiverged: iteration 2 of main-") and "loss_cls nan" in found.reason
    log = Path(found.reason.rpartition("(")[2].rstrip(")"))
    assert "Traceback" in log.read_text("utf-8")


def test_a_training_that_is_killed_is_found_dead(own_world, monkeypatch):
    in_step(monkeypatch, lambda iteration: iteration == 2 and os.kill(os.getpid(), signal.SIGKILL))
    child = os.fork()
    if child == 0:
        try:
            own_world.train(NODE)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    found = row(NODE, own_world.params, state.now())
    assert found.status == SILENT and f"process {child} on" in found.reason and "killed" in found.reason
    assert found.run.iteration == 1 and found.checkpoint[0] == 1


# --- the script -------------------------------------------------------------------------------------------------------


def test_the_script_in_a_fresh_checkout(root):
    (root / "params.yaml").write_text(yaml.safe_dump(SMOKE, sort_keys=False))
    command = [sys.executable, "-X", "importtime", str(SCRIPTS / "status.py")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == nodes(PARAMS)
    imports = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "afigan.outputs.status" in imports
    assert not imports & {"torch", "numpy", "pandas", "matplotlib", "hydra"}  # it is called often


def test_the_script_repeats_until_it_is_interrupted(root):
    (root / "params.yaml").write_text(yaml.safe_dump(SMOKE))
    command = [sys.executable, str(SCRIPTS / "status.py"), "--watch", "0.01"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        lines = []
        while not lines or sum(line.startswith("tables") for line in lines) < 2:
            lines.append(watch.stdout.readline())
            assert lines[-1], watch.stderr.read()
            if lines[-1].startswith("tables"):
                make("prepare")
        watch.send_signal(signal.SIGINT)
        watch.communicate()
        assert watch.returncode == 0
    assert [line.split()[1] for line in lines if line.startswith("prepare")] == ["waiting", "there"]
