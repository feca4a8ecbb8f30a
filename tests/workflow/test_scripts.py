"""The stage scripts: --help at once, and one clean message for every error that the user can fix."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from composed import composed

from afigan.runtime.files import exclusive

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow/scripts"
STAGES = [path.stem for path in sorted(SCRIPTS.glob("[a-z]*.py"))]
KEYED = {
    "backbone": "experiments.backbones",
    "train_afigan": "experiments.afigan",
    "train_extractor": "experiments.extractors",
    "train_detector": "experiments.detectors",
    "pseudo_labels": "experiments.pseudo_labels",
    "train_student": "experiments.students",
    "evaluate": "experiments.evaluations",
    "submit": "experiments.submissions",
}

# scripts that are commands of the package too
COMMANDS = {"predict": "predict", "export": "export", "status": "status", "compose": "params"}


def run(stage, *arguments, cwd):
    """Run a script; return exit status, standard output, standard error without imports, and imported modules."""
    command = [sys.executable, "-X", "importtime", str(SCRIPTS / f"{stage}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    imports = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    message = "\n".join(line for line in lines if not line.startswith("import time:"))
    assert "Traceback" not in message, message
    return done.returncode, done.stdout, message, imports


@pytest.fixture
def root(tmp_path):
    """A working directory with the smoke profile's params.yaml and nothing else."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(composed("smoke")))
    return tmp_path


def test_there_is_a_script_for_every_stage():
    names = (
        "prepare pairs backbone train_afigan train_extractor train_detector pseudo_labels train_student "
        "evaluate submit benchmark figures tables compose status plan adopt publish report repro predict export"
    )
    assert sorted(names.split()) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_help_comes_at_once(tmp_path, stage):
    status, text, _, imports = run(stage, "--help", cwd=tmp_path)
    assert status == 0
    source = ROOT / "afigan/commands" / f"{COMMANDS[stage]}.py" if stage in COMMANDS else SCRIPTS / f"{stage}.py"
    doc = source.read_text("utf-8").split('"""')[1]
    assert doc in text and ("--key" in text) == (stage in KEYED)
    assert not imports & {"torch", "numpy", "pydantic", "yaml", "PIL"}
    assert stage in COMMANDS or "afigan" not in imports


@pytest.mark.parametrize("stage", KEYED)
def test_an_unknown_key_lists_the_known_ones(root, stage):
    status, _, message, imports = run(stage, "--key", "a9", cwd=root)
    experiments = composed("smoke")["experiments"]
    known = sorted(experiments[KEYED[stage].split(".")[1]])  # as the file of `root` has them
    assert status == 2
    assert message == f"{stage}: --key a9: not in {KEYED[stage]} of the parameters; choose one of {', '.join(known)}"
    assert "torch" not in imports


def test_an_unknown_degradation_lists_the_known_ones(root):
    status, _, message, _ = run("pairs", "--degradation", "bicubic", cwd=root)
    assert status == 2 and message.endswith("not in pairs.degradations of the parameters; choose one of bilinear")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 0\nsede: 1\n", "sede: unknown key"),
        (None, "params.yaml does not exist: compose it with `make params"),
    ],
)
def test_wrong_parameters_are_named(root, text, expected):
    (root / "params.yaml").unlink()
    if text is not None:
        (root / "params.yaml").write_text(text)
    status, _, message, imports = run("train_detector", "--key", "a1", cwd=root)
    assert status == 2 and message.startswith("train_detector: ") and expected in message
    assert "torch" not in imports


@pytest.mark.parametrize(
    ("stage", "arguments", "missing"),
    [
        ("pairs", ["--degradation", "bilinear"], "data/prepared/train.json"),
        ("train_afigan", ["--key", "main"], "data/prepared/summary.json"),
        ("tables", [], "data/prepared/summary.json"),
    ],
)
def test_missing_inputs_are_named_with_the_stages_to_run(root, stage, arguments, missing):
    status, _, message, _ = run(stage, *arguments, cwd=root)
    assert status == 2 and missing in message and "dvc repro" in message


def test_prepare_reports_a_broken_data_set(root):
    values = composed("smoke")
    split = {"images": "photos", "annotations": "instances.json"}
    values["data"] |= {"source": "coco", "train": split, "val": split, "test": split}
    values["data"]["unlabeled"] = {"images": "photos"}
    (root / "coco.yaml").write_text(yaml.safe_dump(values))
    (root / "instances.json").write_text("{}")
    status, _, message, _ = run("prepare", "--params", "coco.yaml", cwd=root)
    assert status == 2 and "instances.json" in message
    assert not (root / "data/prepared").exists()


def test_compose_writes_what_the_profile_says(root):
    status, _, _, _ = run("compose", "--profile", "mini", "--conf", ROOT / "conf", cwd=root)
    text = (root / "params.yaml").read_text("utf-8")
    assert status == 0 and text.startswith("# Composed from conf/ by `make params PROFILE=mini`")
    assert yaml.safe_load(text) == composed("mini")
    status, _, message, _ = run("compose", "--profile", "maxi", "--conf", ROOT / "conf", cwd=root)
    assert status == 2 and message.startswith("compose: there is no profile 'maxi': choose one of ")
    assert (root / "params.yaml").read_text("utf-8") == text


@pytest.fixture
def stage(monkeypatch):
    """The module that scripts share, as a script of the name `stage` sees it."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    monkeypatch.setattr(sys, "argv", ["workflow/scripts/stage.py"])
    import _stage

    return _stage


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no such colour"), 2, "stage: no such colour\n"),
        (FloatingPointError("iteration 3: loss_cls is nan"), 2, "stage: iteration 3: loss_cls is nan\n"),
        (KeyboardInterrupt(), 130, "stage: interrupted\n"),
    ],
)
def test_exits(stage, capsys, error, status, message):
    with pytest.raises(SystemExit) as raised, stage.clean_exit():
        raise error
    assert raised.value.code == status and capsys.readouterr().err == message


def test_a_defect_keeps_its_traceback(stage):
    with pytest.raises(TypeError), stage.clean_exit():
        raise TypeError("ours")
    with pytest.raises(ValueError, match="theirs"), stage.clean_exit(traceback=True):
        raise ValueError("theirs")


def test_threads_are_those_of_the_parameters(stage, root, monkeypatch):
    values = yaml.safe_load((root / "params.yaml").read_text()) | {"threads": 3}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(root)
    for name in stage.THREAD_VARIABLES:
        monkeypatch.setenv(name, "64")  # Snakemake sets them to what it has cores for
    seen = []
    with pytest.raises(SystemExit) as raised:
        stage.main("doc", lambda params: seen.extend(os.environ[name] for name in stage.THREAD_VARIABLES))
    assert raised.value.code == 0 and seen == ["3"] * 4


def test_sigterm_leaves_nothing_and_asks_for_another_try(root):
    change(root, "data", "shapes", train=50_000)
    process = subprocess.Popen([sys.executable, str(SCRIPTS / "prepare.py")], cwd=root, stderr=subprocess.PIPE)
    while not list(root.glob("data/.prepared.*/images/train/*.png")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=60) == 75
    assert not list((root / "data").iterdir())


def test_a_second_process_of_a_stage_is_refused(root):
    with exclusive(root / "runs/locks/prepare"):
        status, _, message, _ = run("prepare", cwd=root)
    assert status == 2
    assert message.startswith(f"prepare: prepare is being run by process {os.getpid()} on ")


def test_a_full_disk_is_no_traceback(root):
    command = f"ulimit -f 1; exec {sys.executable} {SCRIPTS / 'prepare.py'}"  # no file may have more than 1 KiB
    done = subprocess.run(["bash", "-c", command], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "File too large" in done.stderr and "free space there and run it again" in done.stderr
    assert not list((root / "data").iterdir())


def change(root, *sections, **values):
    """Write other values to params.yaml."""
    path = root / "params.yaml"
    params = section = yaml.safe_load(path.read_text("utf-8"))
    for name in sections:
        section = section[name]
    section |= values
    path.write_text(yaml.safe_dump(params))
