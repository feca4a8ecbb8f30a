"""The script of `make repro`: its line of progress, its order of seeds, its messages."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from dags import ROOT, copy_project, dvc_due, environment, snakemake_dag, write_params

from afigan.params.loading import check_params, compose

sys.path.append(str(ROOT / "workflow/scripts"))
import _closing
import _progress
import repro

PLAN = """\
Building DAG of jobs...
Job stats:
job               count
--------------  -------
all                   1
evaluate              3
train_detector        2
total                 6

rule evaluate:
    jobid: 4
"""


def started(rule, job):
    return [f"rule {rule}:\n", "    input: a, b\n", f"    jobid: {job}\n"]


def test_the_plan_is_counted_without_the_rule_all():
    assert _progress.planned_jobs(PLAN) == {"evaluate": 3, "train_detector": 2}
    assert not _progress.planned_jobs(
        "Building DAG of jobs...\nNothing to be done (all requested files are present).\n"
    )


def test_the_remaining_time_is_the_remaining_work_over_the_stages_at_a_time():
    progress = _progress.Progress(PLAN, at_a_time=2)
    assert progress.total == 5 and progress.seconds_left(0) is None
    for line in [*started("train_detector", 1), *started("evaluate", 2)]:
        progress.read(line, now=0)
    progress.read("Finished jobid: 1 (Rule: train_detector)\n", now=40)
    progress.read("Finished jobid: 2 (Rule: evaluate)\n", now=10)
    assert progress.seconds_left(40) == (1 * 40 + 2 * 10) / 2
    for line in started("train_detector", 3):
        progress.read(line, now=40)
    assert progress.seconds_left(55) == (40 - 15 + 20) / 2
    assert progress.seconds_left(500) == 20 / 2  # late, but not more than done
    assert "2/5 stages" in progress.line() and "train_detector" in progress.line()


def test_a_rule_that_is_not_known_yet_takes_as_long_as_the_others():
    progress = _progress.Progress(PLAN, at_a_time=1)
    for line in started("train_detector", 1):
        progress.read(line, now=0)
    progress.read("Finished jobid: 1 (Rule: train_detector)\n", now=30)
    assert progress.seconds_left(30) == 30 + 3 * 30


def test_a_training_that_is_not_known_yet_may_take_hours():
    progress = _progress.Progress(PLAN, at_a_time=1)
    for line in started("evaluate", 1):
        progress.read(line, now=0)
    progress.read("Finished jobid: 1 (Rule: evaluate)\n", now=30)
    assert progress.seconds_left(30) is None and "ETA unknown" in progress.line()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05")])
def test_the_clock(seconds, text):
    assert _progress.clock(seconds) == text


def test_the_output_is_logged_and_the_status_is_snakemakes(tmp_path, capfd):
    progress = _progress.Progress(PLAN, at_a_time=1)
    script = "".join(f"print({line!r}, end='');" for line in started("evaluate", 1)) + "raise SystemExit(7)"
    with (tmp_path / "log").open("w") as log:
        assert progress.follow([sys.executable, "-c", script], log) == 7
    assert (tmp_path / "log").read_text().startswith("rule evaluate:") and "jobid: 1" in progress.tail()
    assert "repro  0/5 stages" in capfd.readouterr().err


FOLLOWS = """\
import subprocess, sys
import _progress
stage = "import os, pathlib, time; pathlib.Path('stage').write_text(str(os.getpid()))"
stage += "; print('up', flush=True); time.sleep(60)"
with open(sys.argv[1], "w", buffering=1) as log:
    _progress.Progress("", at_a_time=1).follow([sys.executable, "-c", stage], log)
"""


@pytest.mark.parametrize(
    ("number", "log", "status"),
    [(signal.SIGTERM, "log", 75), (signal.SIGHUP, "log", 75), (None, "/dev/full", 1)],
    ids=["a request to end", "a closed terminal", "a full disk"],
)
def test_its_stages_do_not_outlive_it(tmp_path, number, log, status):
    command = [sys.executable, "-c", FOLLOWS, log]
    where = environment() | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'workflow/scripts'}"}
    with subprocess.Popen(command, cwd=tmp_path, env=where, stderr=subprocess.PIPE, start_new_session=True) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "stage").exists() or not (tmp_path / "stage").read_text():
            assert time.monotonic() < until
            time.sleep(0.02)
        if number is not None:
            os.kill(process.pid, number)
        assert process.wait(timeout=30) == status
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "stage").read_text()), 0)


def test_seeds_come_one_after_another_and_extractors_first():
    params = check_params(compose("evidence", ROOT / "conf"))
    *by_seed, everything = repro.groups(params)
    assert everything == ([], [])
    assert len(by_seed) == 5
    for seed, (targets, urgent) in enumerate(by_seed):
        suffix = f"_s{seed}" if seed else ""
        assert f"results/metrics/a5{suffix}.json" in targets
        assert f"models/extractors/main{suffix}/model.safetensors" in urgent and set(urgent) < set(targets)
    named = [target for targets, _ in by_seed for target in targets]
    assert len(named) == len(set(named)) == len(params.experiments.evaluations) + len(params.experiments.extractors)


def test_one_seed_is_one_call():
    [(targets, urgent)] = repro.groups(check_params(compose("mini", ROOT / "conf")))
    assert targets == [] and "models/extractors/main/model.safetensors" in urgent


CLAIMS = """\
claim,claim_verdict,contrast
C1,not run,x
C3,"undecided (one seed), in part",x
C3,"undecided (one seed), in part",y
C8,agrees,x
C10,agrees,x
Q1,not run,x
"""


def test_it_ends_with_five_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _closing.CLAIMS.parent.mkdir()
    _closing.CLAIMS.write_text(CLAIMS, "utf-8")
    params = check_params(compose("mini", ROOT / "conf"))
    trained = "1 backbone, 4 AFI-GANs, 6 extractors, 16 detectors, 17 evaluations, Tables 4, 6, 7, 8, 9"
    assert _closing.closing(params) == [
        f"repro: everything is up to date: {trained}",
        "claims: undecided (one seed), in part C3; agrees C8, C10; not run C1",
        "questions: not run Q1",
        "page: results/index.html (`make report` opens it)",
        "text: results/README.md, results/claims.md; tables: results/tables/; models: models/",
    ]


def test_the_page_is_named_or_asked_for(tmp_path):
    script = [sys.executable, ROOT / "workflow/scripts/report.py"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "results/index.html does not exist: `make repro` creates it" in done.stderr
    page = tmp_path / "results/index.html"
    page.parent.mkdir()
    page.touch()
    # no terminal: nothing is opened
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == f"report: {page.as_uri()}\n"


def test_without_parameters_it_says_what_to_do(tmp_path):
    script = ROOT / "workflow/scripts/repro.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "params.yaml" in done.stderr


TWO_SEEDS = """\
# @package _global_
defaults:
  - smoke
  - _self_
  - override /experiments: short
seeds: [0, 1]
figures: {gradcam: {}}
"""


@pytest.mark.pipeline
def test_a_killed_run_of_two_seeds_ends_with_the_tables_of_an_uninterrupted_one(tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf/profile/two_seeds.yaml").write_text(TWO_SEEDS, "utf-8")
    values = compose("two_seeds", tmp_path / "conf")
    roots = {name: copy_project(tmp_path / name, "smoke") for name in ("whole", "killed")}
    for root in roots.values():
        write_params(root, values)
    command = [sys.executable, "workflow/scripts/repro.py", "--cores", "2"]

    with subprocess.Popen(command, cwd=roots["killed"], env=environment(), start_new_session=True) as process:
        until = time.monotonic() + 300
        while not (roots["killed"] / "results/metrics/a1.json").exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=120) == 75
    assert not (roots["killed"] / "results/tables").exists()

    for root in roots.values():
        done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert dvc_due(root) == set() == set(snakemake_dag(root, due=True))
    names = [p.relative_to(roots["whole"]) for p in sorted((roots["whole"] / "results/tables").glob("table*"))]
    names += [p.relative_to(roots["whole"]) for p in sorted((roots["whole"] / "results/metrics").iterdir())]
    assert len(names) == 2 * 5 + 2 * 6
    for name in names:
        assert (roots["whole"] / name).read_bytes() == (roots["killed"] / name).read_bytes(), name

    begun = time.monotonic()
    done = subprocess.run(command, cwd=roots["whole"], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "up to date" in done.stdout and len(done.stdout.splitlines()) == 5
    assert time.monotonic() - begun < 60  # on quiet cores under ten seconds
