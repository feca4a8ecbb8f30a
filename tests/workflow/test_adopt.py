"""Adoption of one engine's outputs by the other: both then have nothing to do; stale outputs are refused by name."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dags import ROOT, WATCHED, changed, dvc_due, environment
from dvc.repo import Repo
from lineages import parents
from runs import RUN

from afigan.outputs.currency import stale
from afigan.outputs.provenance import record, sums
from afigan.params.lineage import Lineage
from afigan.params.loading import check_params, compose, load_params
from afigan.params.schema import Params
from afigan.runtime.files import sha256_file, write_json
from workflow.adopt import adoption, engines

pytest_plugins = ["runs"]
A1 = Path("models/detectors/a1")
WEIGHTS = A1 / "model.safetensors"

DETECTOR = Path("afigan/training/detector.py")

# --- records, without engines -----------------------------------------------------------------------------------------


FILES = {
    "pseudo_labels": "data/pseudo/{}.json",
    "evaluations": "results/metrics/{}.json",
    "submissions": "results/submissions/{}/about.json",
}


@pytest.fixture(scope="module")
def params() -> Params:
    return check_params(compose("smoke", ROOT / "conf"))


@pytest.fixture
def results(params, tmp_path, monkeypatch) -> Params:
    """The working directory has a file for every result that has a record, of these parameters."""
    monkeypatch.chdir(tmp_path)
    prepared = Path("data/prepared/train.json")
    write_json(prepared, {})

    def make(node: str) -> Path:
        kind, key = node.split("/")
        path = Path(FILES.get(kind, f"models/{kind}/{{}}/model.safetensors").format(key))
        if not path.exists():
            inputs = [prepared, *(make(parent) for parent in parents(params, node))]
            made = record(Lineage(params)[node], sums(inputs))
            if kind == "evaluations":
                matches = path.with_suffix(".matches.npz")
                matches.parent.mkdir(parents=True, exist_ok=True)
                matches.write_text(f"matches of {node}")
                made |= {"matches": sha256_file(matches)}
            if kind in FILES:
                write_json(path, {"info": made} if kind == "pseudo_labels" else made)
            else:
                path.parent.mkdir(parents=True)
                path.write_text(f"weights of {node}")
                write_json(path.with_name("config.json"), made | {"sha256": sha256_file(path)})
        return path

    for kind, experiments in params.experiments:
        for key in experiments:
            make(f"{kind}/{key}")
    return params


def test_current_results_pass(results):
    assert stale(results) == {}


def test_changed_weights_are_named_but_not_their_descendants(results):
    WEIGHTS.write_text("other weights")
    assert stale(results) == {WEIGHTS.as_posix(): "is not what its stage wrote"}


def test_a_model_folder_from_another_run_is_named(results):
    """A folder from a colleague's checkout has the same parameters, but other bits."""
    WEIGHTS.write_text("other weights")
    config = json.loads((A1 / "config.json").read_text())
    write_json(A1 / "config.json", config | {"sha256": sha256_file(WEIGHTS)})
    found = stale(results)
    assert list(found) == [WEIGHTS.as_posix()] and "is not what models/afigan/main/config.json was created" in str(
        found
    )


def test_changed_parameters_make_all_descendants_stale(results):
    schedule = results.train_extractor.model_copy(update={"lr": 0.5})
    found = stale(results.model_copy(update={"train_extractor": schedule}))
    files = ["models/extractors/main/config.json", "models/detectors/a5/config.json"]
    files += ["results/metrics/a3.json", "results/metrics/a5.json", "results/submissions/a5/about.json"]
    assert sorted(found) == sorted(files) and set(found.values()) == {"has other parameters than the current ones"}


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("data/pseudo/a1.json", None, "is not there"),
        ("data/prepared/train.json", None, "is not there"),
        ("data/prepared/train.json", "[]", "is not what models/backbones/main/config.json was created from"),
        ("models/detectors/a5/model.safetensors", None, "is not there"),
        ("models/detectors/a5/config.json", '{"node": ', "does not say what it was created from"),
        ("models/detectors/a5/config.json", '{"params_hash": "x"}', "does not say what it was created from"),
        ("results/metrics/a5.json", "[1]", "does not say what it was created from"),
        ("results/metrics/a5.matches.npz", None, "is not there"),
        ("results/metrics/a5.matches.npz", "other matches", "is not what its stage wrote"),
        (
            "results/submissions/a5/about.json",
            '{"params_hash": "x", "inputs": []}',
            "does not say what it was created from",
        ),
    ],
)
def test_missing_or_broken_files_are_named(results, path, text, reason):
    if text is None:
        Path(path).unlink()
    else:
        Path(path).write_text(text)
    assert stale(results) == {path: reason}


# --- the smoke profile's pipeline, which an engine has run ------------------------------------------------------------

EXTRACTOR_ON = {"train_extractor@main", "train_detector@a5", "evaluate@a3", "evaluate@a5", "submit@a5"}
REPORT = {"benchmark", "figures", "tables"}


@pytest.fixture
def project(runs, tmp_path, monkeypatch) -> Callable[[str], Path]:
    """A copy of an engine's run, its times of change included, as the working directory."""

    def copy(engine: str) -> Path:
        root = tmp_path / engine
        shutil.copytree(runs[engine], root, symlinks=True)
        monkeypatch.chdir(root)
        return root

    return copy


def due() -> set[str]:
    return {stage.name for stage in engines.snakemake_stages() if stage.runs}


def contents() -> dict[str, str]:
    """Return {file: its hash} of all results, without Snakemake's mark in folders and the files of Git."""
    files = [path for name in ("data", "models", "results") for path in Path(name).rglob("*") if path.is_file()]
    return sums(path for path in files if path.name != ".snakemake_timestamp" and path.parent != Path(WATCHED))


def ran(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.pipeline
def test_dvc_adopts_a_run_of_snakemake_and_gives_it_back(project):
    root = project("snakemake")
    with pytest.raises(ValueError, match=r"DVC has created nothing here.*`make adopt-dvc`"):
        adoption.to_snakemake(load_params("params.yaml"))
    before, times = contents(), [path.stat().st_mtime_ns for path in map(Path, contents())]
    assert "DVC has all 17 stages" in adoption.to_dvc(load_params("params.yaml"))
    assert contents() == before and [path.stat().st_mtime_ns for path in map(Path, before)] == times
    assert dvc_due(root) == set() and due() == set()
    # now DVC continues
    with changed(root, "tables.table4", {"A1": "a1"}):
        text = ran(*RUN["dvc"], cwd=root)
        assert text.count("Running stage") == 1 and "Running stage 'tables'" in text
        with pytest.raises(ValueError, match=r"tables is due: params have changed since last execution\n"):
            adoption.to_dvc(load_params("params.yaml"))
        before = contents()
        assert "Snakemake has all 17 stages" in adoption.to_snakemake(load_params("params.yaml"))
        assert contents() == before and due() == set()
    assert due() == {"tables"}


@pytest.mark.pipeline
def test_snakemake_adopts_a_run_of_dvc_and_gives_it_back(project):
    root = project("dvc")
    with pytest.raises(ValueError, match=r"Snakemake has created nothing here.*`make adopt-snakemake`"):
        adoption.to_dvc(load_params("params.yaml"))
    before = contents()
    assert "Snakemake has all 17 stages" in adoption.to_snakemake(load_params("params.yaml"))
    assert contents() == before and due() == set()
    # its records are as good as those of a run
    with changed(root, "train_extractor.lr", 0.5):
        assert due() == EXTRACTOR_ON | REPORT
    code = root / "afigan/training/extractor.py"
    text = code.read_text("utf-8")
    code.write_text(text + "\n# another line\n", "utf-8")
    assert due() == EXTRACTOR_ON | REPORT
    code.write_text(text, "utf-8")
    # now Snakemake continues, with what DVC otherwise refuses
    Path("results/claims.md").write_text("All of them hold.")
    with pytest.raises(ValueError, match=r"claims.md has changed since Snakemake created it\n") as refused:
        adoption.to_dvc(load_params("params.yaml"))
    with changed(root, "tables.table4", {"A1": "a1"}):
        text = ran(*str(refused.value).split("`")[1].split(), cwd=root)
        assert "rule tables" in text and "2 of 2 steps (100%) done" in text  # the other step is `all`
        with pytest.raises(ValueError, match=r"\n  tables .*modified"):
            adoption.to_snakemake(load_params("params.yaml"))
        adoption.to_dvc(load_params("params.yaml"))
        assert dvc_due(root) == set()


def edit(path: Path, text: str = "\n# another line\n", later: int = 0) -> None:
    """Append to a file without the engines' notice: its time of change stays, or is some nanoseconds later."""
    status = path.stat()
    with path.open("a") as file:
        file.write(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + later))


def other_params() -> None:
    path = Path("params.yaml")
    path.write_text(path.read_text("utf-8").replace("iterations: 2", "iterations: 3"), "utf-8")


def other_model() -> None:
    """Replace a model by one from a colleague's checkout."""
    edit(WEIGHTS)
    config, status = json.loads((A1 / "config.json").read_text()), (A1 / "config.json").stat()
    write_json(A1 / "config.json", config | {"sha256": sha256_file(WEIGHTS)})
    os.utime(A1 / "config.json", ns=(status.st_atime_ns, status.st_mtime_ns))


def half_made() -> None:
    """Leave the state after a kill of Snakemake and its job: the file, and the mark that it may be incomplete."""
    name = base64.b64encode(b"results/metrics/a3.json").decode()
    (Path(".snakemake/incomplete") / name).write_text('{"external_jobid": null}')


# what is done -> what is named, and what Snakemake is to be forced to make again
STALE = {
    "parameters": (other_params, "backbone@main is due: params have changed since last execution", ""),
    "code": (
        lambda: DETECTOR.write_text("\n# another\n"),
        "train_detector@a1 is due: updated input files, afigan/training/detector.py",
        "",
    ),
    "missing": (
        lambda: Path("results/metrics/a3.json").unlink(),
        "evaluate@a3 is due: output files have to be generated, results/metrics/a3.json",
        "",
    ),
    "half made": (half_made, "evaluate@a3 is due: ", ""),
    "missing pairs": (
        lambda: shutil.rmtree("data/pairs/bilinear"),
        "pairs@bilinear is due: output files have to be generated, data/pairs/bilinear",
        "",
    ),
    # from here on Snakemake sees nothing
    "missing between": (
        lambda: Path("results/benchmark.json").unlink(),
        "results/benchmark.json is not there",
        "results/benchmark.json`",
    ),
    "hidden code": (lambda: edit(DETECTOR), f"{WEIGHTS} was created from another {DETECTOR}", f"{WEIGHTS} "),
    "hidden weights": (lambda: edit(WEIGHTS), f"{WEIGHTS} is not what its stage wrote", f"{WEIGHTS}`"),
    "other model": (
        other_model,
        f"{WEIGHTS} is not what models/afigan/main/config.json was created from",
        f"{A1}/config.json {WEIGHTS}`",
    ),
    "hidden data": (
        lambda: edit(Path("data/prepared/val.json"), " "),
        "data/prepared/val.json is not what results/metrics/a1.json was created from",
        "data/prepared`",
    ),
    "hidden metrics": (
        lambda: edit(Path("results/metrics/a5.json"), " "),
        "results/metrics/a5.json is not what results/",
        "results/metrics/a5.json`",
    ),
    "image": (
        lambda: next(Path("data/prepared").rglob("*.png")).touch(),
        "data/prepared has changed since Snakemake created it",
        "data/prepared`",
    ),
    "report": (
        lambda: edit(Path("results/claims.md"), later=-1_000_000),
        "results/claims.md has changed since Snakemake created it",
        "results/claims.md`",
    ),
}


@pytest.mark.pipeline
@pytest.mark.parametrize("case", STALE)
def test_dvc_does_not_adopt_stale_outputs(project, case):
    change, named, again = STALE[case]
    project("snakemake")
    change()
    with pytest.raises(ValueError) as refused:
        adoption.to_dvc(load_params("params.yaml"))
    text = str(refused.value)
    assert f"\n  {named}" in text
    assert (f"`snakemake --cores 2 --forcerun {again}" if again else "`snakemake --cores 2`") in text
    assert not Path("dvc.lock").exists()


@pytest.mark.pipeline
def test_snakemake_does_not_adopt_stale_outputs(project):
    root = project("dvc")
    with (
        changed(root, "train_extractor.lr", 0.5),
        pytest.raises(ValueError, match=r"\n  train_extractor@main has another command or other param.*\n  tables "),
    ):
        adoption.to_snakemake(load_params("params.yaml"))
    kept = WEIGHTS.read_bytes()
    WEIGHTS.unlink()
    with pytest.raises(ValueError, match=rf"\n  train_detector@a1 deleted {WEIGHTS}\n(.|\n)*`dvc pull` fetches"):
        adoption.to_snakemake(load_params("params.yaml"))
    WEIGHTS.write_bytes(kept)
    student = Path("models/students/a1/model.safetensors")
    edit(student)
    with Repo(str(root)) as repo:  # `dvc commit -f` takes anything
        for stage in ("train_student@a1", "evaluate@student", "benchmark"):
            repo.commit(stage, force=True)
    with pytest.raises(ValueError) as refused:
        adoption.to_snakemake(load_params("params.yaml"))
    assert f"\n  {student} is not what its stage wrote\n" in str(refused.value)
    command = str(refused.value).split("`")[1]
    assert command == "dvc repro --force --downstream train_student@a1"
    with Repo(str(root)) as repo:
        again = repo.reproduce(command.split()[-1], force=True, downstream=True, dry=True)
    assert {stage.addressing for stage in again} == {"train_student@a1", "evaluate@student", "benchmark", "tables"}
    assert not any(Path(".snakemake/metadata").glob("*"))


def test_within_finds_the_output_that_contains_a_file():
    outputs = ["data/pairs/bilinear", "data/pairs/bilinear_other", "results/claims.md"]
    assert adoption.within("data/pairs/bilinear_other/0.tar", outputs) == "data/pairs/bilinear_other"
    assert adoption.within("data/pairs/bilinear/0.tar", outputs) == "data/pairs/bilinear"
    assert adoption.within("results/claims.md", outputs) == "results/claims.md"
    assert adoption.within("results/claims.md.txt", outputs) is None


def test_a_refusal_names_a_limited_number_of_outputs():
    lines = adoption.listed("stale", {f"stage{n}": "is due" for n in range(25)}, "redo them").splitlines()
    assert lines[:2] == ["stale:", "  stage0 is due"] and lines[-2:] == ["  and 5 more", "redo them"]
    assert len(lines) == 1 + 20 + 2


@pytest.mark.pipeline
def test_a_run_can_be_pushed_and_pulled(project, tmp_path, monkeypatch):
    """From Snakemake through DVC's remote to a fresh clone, where neither engine has anything left to do."""
    root, clone = project("snakemake"), tmp_path / "clone"
    before = contents()
    adoption.to_dvc(load_params("params.yaml"))
    with Repo(str(root)) as repo, repo.config.edit("repo") as config:  # `dvc remote add --default store ...`
        config["remote"]["store"] = {"url": str(tmp_path / "store")}
        config["core"]["remote"] = "store"
    with Repo(str(root)) as repo:
        assert repo.push() > len(before) / 2  # many are the same bytes
    ran("git", "add", ".", cwd=root)
    ran("git", "-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "-m", "A run", cwd=root)
    ran("git", "clone", "--quiet", str(root), str(clone), cwd=tmp_path)
    monkeypatch.chdir(clone)
    assert not contents()
    with Repo(str(clone)) as repo:
        repo.pull()
    assert contents() == before
    done = ran(sys.executable, "workflow/scripts/adopt.py", "--to", "snakemake", cwd=clone)
    assert "adopt: Snakemake has all 17 stages" in done
    assert "Nothing to be done" in ran(*RUN["snakemake"], cwd=clone)
    assert "Running" not in ran(*RUN["dvc"], cwd=clone)
    assert contents() == before


def test_the_script_says_what_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "workflow/scripts/adopt.py"), "--to", "dvc"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("adopt: params.yaml does not exist: compose it with `make params")


def test_without_a_git_repository_the_message_says_what_to_run(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"is not a git repository: run `git init`$"):
        engines.dvc_changes()
    subprocess.run(["git", "init", "--quiet"], check=True)
    assert engines.dvc_changes() == {}
