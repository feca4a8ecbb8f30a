"""DVC and Snakemake run the same stages, give the same results, and redo only stages that a change affects."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_coco
import yaml
from dags import (
    ROOT,
    Dag,
    bare,
    changed,
    copy_project,
    downstream,
    dvc_commands,
    dvc_dag,
    dvc_due,
    environment,
    nested,
    snakemake_dag,
    write_params,
)
from lineages import fingerprint
from runs import RUN

from afigan.params.loading import check_params, compose, load_params
from afigan.runtime.files import sha256_file

pytest_plugins = ["runs"]
PROFILES = ("mini", "smoke", "zoo", "paper")
# stages of one experiment each: the script of a stage -> what it is run for
KINDS = {
    "backbone": "backbones",
    "train_afigan": "afigan",
    "train_extractor": "extractors",
    "train_detector": "detectors",
    "pseudo_labels": "pseudo_labels",
    "train_student": "students",
    "evaluate": "evaluations",
    "submit": "submissions",
}


def command(stage: str) -> str:
    """Return the command of a stage such as `train_detector@a5`."""
    name, _, key = stage.partition("@")
    return f"python workflow/scripts/{name}.py" + (f" --key {key}" if key else "")


def commands(*stages: str) -> set[str]:
    return {command(stage) for stage in stages}


def leaves(values: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


# --- without running anything -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {profile: copy_project(tmp_path_factory.mktemp(profile), profile) for profile in PROFILES}


@pytest.fixture(scope="module")
def dags(projects: dict[str, Path]) -> dict[str, tuple[Dag, Dag]]:
    return {profile: (dvc_dag(root), snakemake_dag(root)) for profile, root in projects.items()}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_engines_agree(dags, profile):
    dvc, snakemake = dags[profile]
    assert dvc.keys() == snakemake.keys()
    for name, job in dvc.items():
        assert job == snakemake[name], name
    experiments = compose(profile, ROOT / "conf")["experiments"]
    expected = {f"{stage}@{key}" for stage, kind in KINDS.items() for key in experiments[kind]}
    pairs = {c for c in dvc if "--degradation" in c}
    assert dvc.keys() - pairs == commands("prepare", "benchmark", "figures", "tables", *expected)


MINE = {"images": "../mine", "annotations": "../mine.json"}
OTHER = {"images": "../other", "annotations": "../other.json"}
OWN_DATA = {
    "one annotation file": ({"val": {"fraction": 0.2}}, ["../mine.json"]),
    "groups": ({"val": {"fraction": 0.2, "group": r"(.*)_\d+"}}, ["../mine.json"]),
    "two annotation files": ({"val": OTHER}, ["../mine.json", "../other.json"]),
    "test images": ({"val": {"fraction": 0.2}, "test": OTHER}, ["../mine.json", "../other.json"]),
    "no test images": ({"val": OTHER, "test": OTHER | {"images": None}}, ["../mine.json", "../other.json"]),
}


def own_project(root: Path, data: dict) -> Path:
    """Return a project of smoke whose section `data` is the user's alone."""
    copy_project(root / "project", "smoke")
    values = compose("smoke", ROOT / "conf")
    values["data"] = {"source": "coco", "train": MINE, **data}
    values["experiments"] |= {"pseudo_labels": {}, "students": {}, "submissions": {}}
    del values["experiments"]["evaluations"]["student"]
    write_params(root / "project", values)
    return root / "project"


@pytest.mark.parametrize(("data", "files"), OWN_DATA.values(), ids=OWN_DATA)
def test_the_engines_agree_on_own_data(tmp_path, data, files):
    root = own_project(tmp_path, data)
    for name in files:
        (root / name).touch()
    dvc, snakemake = dvc_dag(root), snakemake_dag(root)
    assert dvc == snakemake
    assert {path for path in dvc[command("prepare")].deps if path.endswith(".json")} == set(files)


def test_the_engines_agree_on_pairs_that_no_experiment_reads(tmp_path):
    root = copy_project(tmp_path, "smoke")
    values = compose("smoke", ROOT / "conf")
    values["pairs"]["degradations"].append("nearest")
    write_params(root, values)
    dvc = dvc_dag(root)
    assert sum("--degradation" in name for name in dvc) == 2
    assert dvc == snakemake_dag(root)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("dvc.yaml", "        - afigan/training/detector.py\n", ""),
        ("dvc.yaml", "        - models/${item.init}/config.json\n", ""),
        ("dvc.yaml", "evaluate.py --key ${key}", "evaluate.py --key=${key}"),
        ("dvc.yaml", "${item} --seed ${seed} ${input}", "--seed ${seed} ${input}"),
        ("dvc.yaml", "${item} --seed ${seed} ${input}", "${item} --seed ${seed}"),
        ("dvc.yaml", "      - data/prepared\n      - models\n", "      - data/prepared\n"),
        ("dvc.yaml", "models/afigan/${key}/log.jsonl", "models/afigan/${key}/metrics.jsonl"),
        ("workflow/rules/training.smk", 'parents("extractors"),', ""),
        ("workflow/rules/data.smk", '"seed", "data"', '"data"'),
    ],
)
def test_a_difference_is_seen(tmp_path, dags, file, old, new):
    root = copy_project(tmp_path, "smoke")
    text = (root / file).read_text("utf-8")
    assert old in text
    (root / file).write_text(text.replace(old, new, 1), "utf-8")
    dvc, snakemake = dags["smoke"]
    assert snakemake != dvc_dag(root) if file == "dvc.yaml" else dvc != snakemake_dag(root)


def test_dry_runs_of_the_paper_list_every_stage(projects, dags):
    """COCO is absent; files with its annotations' names exist, because `dvc repro --dry` ends at missing files."""

    def output(*command: str) -> str:
        done = subprocess.run(command, cwd=projects["paper"], env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    commands_of_stages = dags["paper"][0]
    assert len(commands_of_stages) > 190
    snakemake = output("snakemake", "-n", "--cores", "64", "--resources", "gpu=8")
    assert all(command in snakemake for command in commands_of_stages)
    stages = output("dvc", "stage", "list", "--name-only").split()
    keyed = {command(stage) for stage in stages if not stage.startswith("pairs@")}
    assert keyed == {c for c in commands_of_stages if "--degradation" not in c}
    assert len(stages) == len(commands_of_stages)


@pytest.mark.parametrize("profile", [path.stem for path in sorted((ROOT / "conf/profile").glob("*.yaml"))])
def test_every_profile_has_what_the_stages_watch(tmp_path, profile):
    root = copy_project(tmp_path, profile)
    values = yaml.safe_load((root / "params.yaml").read_text("utf-8"))
    for name, job in dvc_dag(root).items():
        for path in job.params:
            section, last = nested(values, path)
            assert last in section, f"{name} watches {path}: DVC refuses a params.yaml without it"


def test_a_new_params_hash_means_a_new_evaluation(dags, projects):
    """After any change of params.yaml, both engines redo the metrics that `tables` would refuse."""
    dag = dags["smoke"][0]
    text = (projects["smoke"] / "params.yaml").read_text("utf-8")
    before = check_params(yaml.safe_load(text))
    other = {bool: lambda v: not v, int: lambda v: v + 2, float: lambda v: v / 2, list: lambda v: [*v, v[-1]]}
    tried = 0
    for path, value in leaves(yaml.safe_load(text)):
        values = yaml.safe_load(text)
        section, last = nested(values, path)
        section[last] = other.get(type(value), lambda v: f"{v}_")(value)
        try:
            after = check_params(values)
        except ValueError:
            continue
        tried += 1
        watching = {c for c, job in dag.items() if any(path == p or path.startswith(f"{p}.") for p in job.params)}
        due = downstream(dag, watching)
        for key in before.experiments.evaluations:
            node = f"evaluations/{key}"
            if fingerprint(before, node) != fingerprint(after, node):
                assert command(f"evaluate@{key}") in due, path
    assert tried > 40


@pytest.mark.parametrize(
    ("stage", "path", "value"),
    [
        ("train_detector@a5", "input.flip", False),  # its default is true
        ("train_detector@a5", "experiments.detectors.a5.freeze_interpolator", False),
        ("train_detector@a5", "experiments.detectors.a5.schedule", {"amp": False}),
        ("train_detector@a5", "experiments.detectors.a5.seed", 0),
        ("train_detector@a5", "input.short_sides", [64, 65]),
        ("train_detector@a5", "train_detector.milestones", [1]),
        ("train_detector@a5", "train_detector.clip_norm", None),
        ("train_extractor@main", "experiments.extractors.main.content", False),
        ("train_extractor@main", "experiments.extractors.main.adversarial", "off"),
        ("train_extractor@main", "train_extractor.lambda", 1e-9),
        ("evaluate@a5", "evaluate.multi_scale", {"short_sides": [64], "max_side": 64}),
        ("submit@a5", "experiments.submissions.a5.multi_scale", True),
        ("pseudo_labels@a1", "experiments.pseudo_labels.a1.score_threshold", 0.25),
        ("train_student@a1", "experiments.students.a1.freeze_interpolator", True),
    ],
)
def test_a_command_shows_each_value_it_is_redone_for(projects, stage, path, value):
    root = projects["smoke"]
    before = dvc_commands(root)[stage]
    with changed(root, path, value):
        after = dvc_commands(root)[stage]
    assert after != before and bare(after) == bare(before)


@pytest.mark.parametrize("arguments", [["--config", "seed=1"], ["--configfile", "conf/config.yaml"]])
def test_snakemake_refuses_what_would_not_reach_the_stages(projects, arguments):
    done = subprocess.run(
        ["snakemake", "-n", "--cores", "1", *arguments],
        cwd=projects["smoke"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode and "edit params.yaml" in done.stdout + done.stderr


def test_snakemake_names_what_is_wrong_in_params(tmp_path):
    root = copy_project(tmp_path, "smoke")
    write_params(root, compose("smoke", ROOT / "conf") | {"sede": 1})
    done = subprocess.run(
        ["snakemake", "-n", "--cores", "1"], cwd=root, env=environment(), capture_output=True, text=True
    )
    text = done.stdout + done.stderr
    assert done.returncode and "sede: unknown key" in text and "Traceback" not in text


def test_snakemake_is_unlocked_as_the_docs_say(tmp_path):
    """It removes the lock of a killed Snakemake, without `--cores`."""
    root = copy_project(tmp_path, "smoke")
    locks = root / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("models/detectors/a1/config.json\n")
    done = subprocess.run(["snakemake", "--unlock"], cwd=root, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and not locks.exists(), done.stderr


def test_snakemake_refuses_models_of_dvc_that_it_would_keep(tmp_path):
    root = copy_project(tmp_path, "smoke")
    model = root / "models/detectors/a1"
    model.mkdir(parents=True)
    (model / "model.safetensors").touch()
    for params_hash, status in ((fingerprint(load_params(root / "params.yaml"), "detectors/a1"), 0), ("other", 1)):
        (model / "config.json").write_text(json.dumps({"params_hash": params_hash}), "utf-8")
        done = subprocess.run(
            ["snakemake", "-n", "--cores", "1"], cwd=root, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == status
    assert "models/detectors/a1 has other parameters" in done.stdout + done.stderr


@pytest.mark.pipeline
@pytest.mark.parametrize("engine", ["dvc", "snakemake"])
def test_a_changed_annotation_file_is_prepared_again(tmp_path, engine):
    """That of val too, which DVC watches through a link; and after it has gone, and come back elsewhere."""
    root = own_project(tmp_path, {"val": OTHER})
    value = tiny_coco.annotations()
    tiny_coco.write_images(value, tmp_path / "mine")
    (tmp_path / "other").symlink_to("mine")
    run = {"dvc": ["dvc", "repro", "prepare"], "snakemake": ["snakemake", "--cores", "1", "data/prepared"]}[engine]

    def prepared() -> dict:
        done = subprocess.run(run, cwd=root, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert command("prepare") not in DUE[engine](root)
        return json.loads((root / "data/prepared/val.json").read_text("utf-8"))

    for name in ("mine", "other"):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    assert len(prepared()["annotations"]) == 3
    value["annotations"].pop(0)
    (tmp_path / "other.json").write_text(json.dumps(value))
    assert command("prepare") in DUE[engine](root)
    assert len(prepared()["annotations"]) == 2
    (tmp_path / "other.json").rename(tmp_path / "moved.json")
    with changed(root, "data.val.annotations", "../moved.json"):
        assert len(prepared()["annotations"]) == 2
    with changed(root, "data.val", {"fraction": 0.49}):
        assert len(prepared()["images"]) < 3


# --- the smoke profile, run by both -----------------------------------------------------------------------------------

DUE = {"dvc": dvc_due, "snakemake": lambda root: set(snakemake_dag(root, due=True))}


@pytest.mark.pipeline
def test_results_agree_number_for_number(runs):
    dvc, snakemake = runs["dvc"], runs["snakemake"]
    metrics = sorted(path.name for path in (dvc / "results/metrics").iterdir())
    keys = compose("smoke", ROOT / "conf")["experiments"]["evaluations"]
    assert metrics == sorted(f"{key}.{suffix}" for key in keys for suffix in ("json", "matches.npz"))
    for name in metrics:
        path = f"results/metrics/{name}"
        assert (dvc / path).read_bytes() == (snakemake / path).read_bytes()
    # after two iterations few objects are found: the weights say more
    files = sorted(path.relative_to(dvc) for path in dvc.glob("models/**/*") if path.is_file())
    assert len(files) == 3 * 6
    for path in (*files, "results/README.md", "data/prepared/train.json"):
        assert sha256_file(dvc / path) == sha256_file(snakemake / path), path


@pytest.mark.pipeline
def test_a_killed_training_continues_in_the_next_run(runs):
    """Here both engines have killed it; tests/training/test_faults.py tests that this does not change its end."""
    for root in runs.values():
        text = (root / "run.log").read_text("utf-8")
        assert text.count("resumed from runs/extractors/main-") == 1 and text.count("resumed from") == 1


@pytest.mark.pipeline
def test_every_declared_output_exists(runs):
    for root in runs.values():
        dag = dvc_dag(root)
        assert all((root / out).exists() for job in dag.values() for out in job.outs)
        assert "Table 4" in (root / "results/README.md").read_text("utf-8")
        # .gitignore of the repository covers the outputs: DVC has nothing to add
        assert not [path for name in ("data", "models", "results") for path in (root / name).rglob(".gitignore")]


@pytest.mark.pipeline
@pytest.mark.parametrize("engine", RUN)
def test_a_second_run_does_nothing(runs, engine):
    root = runs[engine]
    touched = [root / name for name in ("params.yaml", "afigan/training/engine.py", "workflow/scripts/prepare.py")]
    times = {path: path.stat().st_mtime_ns for path in touched}
    for path in touched:
        path.touch()  # new times, as after a checkout: the contents are what they were
    try:
        done = subprocess.run(RUN[engine], cwd=root, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0
        assert ("Nothing to be done" in done.stdout + done.stderr) == (engine == "snakemake")
        assert "Running" not in done.stdout
        assert DUE[engine](root) == set()
    finally:
        for path, time in times.items():
            os.utime(path, ns=(time, time))


REPORT = ("figures", "tables")
MEASURED = ("evaluate@a5", "submit@a5", "benchmark", *REPORT)
EXTRACTOR_ON = ("train_extractor@main", "train_detector@a5", "evaluate@a3", *MEASURED)
LABELS_ON = ("pseudo_labels@a1", "train_student@a1", "evaluate@student")


@pytest.mark.pipeline
@pytest.mark.parametrize("engine", RUN)
@pytest.mark.parametrize(
    ("path", "value", "due"),
    [
        ("experiments.detectors.a5.freeze_interpolator", True, ("train_detector@a5", *MEASURED)),
        ("train_afigan.lr", 0.5, ("train_afigan@main", *EXTRACTOR_ON)),
        (
            "experiments.detectors.a6",
            {"backbone": "main", "interpolator": "afi", "init": "backbones/main"},
            ("train_detector@a6", "benchmark", *REPORT),  # `benchmark` depends on all models
        ),
        ("evaluate.detections", 7, ("evaluate@a1", "evaluate@a3", *LABELS_ON, *MEASURED)),
        ("device", "cpu", ()),
    ],
)
def test_a_change_redoes_what_descends_from_it(runs, engine, path, value, due):
    with changed(runs[engine], path, value):
        assert DUE[engine](runs[engine]) == commands(*due)


@pytest.mark.pipeline
@pytest.mark.parametrize("engine", RUN)
@pytest.mark.parametrize(
    ("file", "due"),
    [
        ("afigan/params/schema.py", ("tables",)),
        ("afigan/training/extractor.py", EXTRACTOR_ON),
    ],
)
def test_an_edit_redoes_the_stages_that_use_it(runs, engine, file, due):
    path = runs[engine] / file
    text = path.read_text("utf-8")
    path.write_text(text + "\n# another line\n", "utf-8")
    try:
        assert DUE[engine](runs[engine]) == commands(*due)
    finally:
        path.write_text(text, "utf-8")


@pytest.mark.pipeline
@pytest.mark.parametrize("engine", RUN)
def test_a_missing_model_is_trained_again(runs, tmp_path, engine):
    path = runs[engine] / "models/extractors/main/model.safetensors"
    shutil.move(path, tmp_path / "kept")
    try:
        assert DUE[engine](runs[engine]) == commands(*EXTRACTOR_ON)
    finally:
        shutil.move(tmp_path / "kept", path)


@pytest.mark.pipeline
def test_dvc_takes_a_lost_model_from_its_cache(runs):
    path = runs["dvc"] / "models/detectors/a5/model.safetensors"
    before = sha256_file(path)
    path.unlink()
    done = subprocess.run(RUN["dvc"], cwd=runs["dvc"], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "Running" not in done.stdout
    assert sha256_file(path) == before


@pytest.mark.pipeline
def test_tables_refuse_metrics_of_other_parameters(runs):
    with changed(runs["dvc"], "train_detector.lr", 0.5):
        done = subprocess.run(
            [sys.executable, "workflow/scripts/tables.py"],
            cwd=runs["dvc"],
            env=environment(),
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2 and "was created with other parameters than the current ones" in done.stderr
