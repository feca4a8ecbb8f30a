"""A finished run is copied to the documentation with its provenance; a stale or incomplete run is refused."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from dags import ROOT, copy_project, environment
from lineages import fingerprint, parents
from PIL import Image
from reported import write_embedded
from scenes import write_scene
from summaries import summary

from afigan.evaluation.coco import coco_metrics
from afigan.evaluation.matches import match, write_matches
from afigan.outputs.provenance import record, sums
from afigan.params.lineage import Lineage
from afigan.params.loading import load_params
from afigan.params.schema import Params
from afigan.reporting import report
from afigan.reporting.claims_markdown import BEGIN, END
from afigan.reporting.page import facts
from afigan.runtime import state
from afigan.runtime.files import digest, sha256_file, write_json

VAL = Path("data/prepared/val.json")
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOST = state.Process().host
RECORDS = {"pseudo_labels": "data/pseudo/{}.json", "submissions": "results/submissions/{}/about.json"}


def make(params: Params, node: str, results: list[dict]) -> Path:
    """Write the output of a node, with those of its ancestors; evaluations find `results`."""
    kind, key = node.split("/")
    models = f"models/{kind}/{{}}/model.safetensors"
    path = Path({"evaluations": "results/metrics/{}.json", **RECORDS}.get(kind, models).format(key))
    if path.exists():
        return path
    inputs = [VAL, *(make(params, parent, results) for parent in parents(params, node))]
    made = record(Lineage(params)[node], sums(inputs))
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "evaluations":
        kinds = {"box": "bbox", "mask": "segm"}
        matches = path.with_name(f"{key}.matches.npz")
        write_matches(matches, {name: match(VAL, results, of) for name, of in kinds.items()})
        about = {"key": key, "model": params.experiments.evaluations[key].model, "matches": sha256_file(matches)}
        about |= {
            "data": {"source": "shapes", "train_images": 7, "val_images": 8},
            "schedule": {"stage": 3, "iterations": 2, "batch_size": 2},
            "seed": 0,
        }
        about |= {"multi_scale": params.experiments.evaluations[key].multi_scale, "params_M": 2.5}
        write_json(path, made | about | {name: coco_metrics(VAL, results, of) for name, of in kinds.items()})
    elif kind in RECORDS:
        write_json(path, {"info": made} if kind == "pseudo_labels" else made)
    else:
        path.write_text(f"weights of {node}")
        write_json(path.with_name("config.json"), made | {"sha256": sha256_file(path)})
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the profile `smoke`, of which two stages have recorded their states."""
    root = copy_project(tmp_path_factory.mktemp("finished"), "smoke")
    for path in (root / "conf/profile").glob("*.yaml"):
        if path.stem not in ("smoke", "mini"):  # it takes time to look through all
            path.unlink()
    with contextlib.chdir(root):
        finish(load_params("params.yaml"))
    return root


def finish(params: Params) -> None:
    """Write all files of a finished run in the working directory."""
    VAL.parent.mkdir(parents=True)
    results = write_scene(VAL, seed=3, images=8)
    write_json("data/prepared/summary.json", summary(8, {"a": 40, "b": 40}))
    for kind, experiments in params.experiments:
        for key in experiments:
            make(params, f"{kind}/{key}", results)
    for degradation in params.pairs.degradations:
        write_json(f"data/pairs/{degradation}/index.json", {})
    rows = {
        key: {"params_hash": fingerprint(params, f"evaluations/{key}"), "time_ms": 9.0, "params_M": 2.5, "model": "m"}
        for key in params.experiments.evaluations
    }
    write_json("results/benchmark.json", {"device": "AMD EPYC", "threads": 1, "runs": 5, "rows": rows})
    Path("results/figures").mkdir()
    for name in report.CAPTIONS.values():
        noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
        Image.fromarray(noise).save(f"results/figures/{name}.png")
    write_embedded(params)
    report.write_report(params)
    tell("prepare", 0, 10)
    tell("tables", 25, 30)


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The working directory is a copy of the finished run."""
    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "run", symlinks=True))
    return load_params("params.yaml")


def tell(node: str, began: float, ended: float, host: str = HOST) -> None:
    """Write a stage's state, with times in minutes after noon."""
    began_at, ended_at = (NOON + timedelta(minutes=minutes) for minutes in (began, ended))
    process = state.Process(host=host)
    told = state.State(node=node, params_hash="", status="done", process=process, began=began_at, written=ended_at)
    state.write(state.RUNS / node, told)


@pytest.fixture
def publication(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "workflow/scripts")
    import _publication

    return _publication


@pytest.fixture
def publish(publication: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """A function that publishes the working directory into another one and returns the written files."""
    docs, readme = tmp_path / "docs", tmp_path / "README.md"
    readme.write_text(f"# Project\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n")

    def call(name: str = "toy", **given: object) -> Path:
        told = publication.Given(**{"command": "make toy", "commit": "c0ffee"} | given)
        written = publication.publish(Path("."), name, told, docs, readme)
        assert written == [docs / name, readme][: 2 if name == "evidence" else 1]
        return docs / name

    return call


def provenance(folder: Path) -> dict:
    return json.loads((folder / "provenance.json").read_text())


def test_what_is_published(run: Params, publish: Callable[..., Path]) -> None:
    folder = publish()
    tables = {f"tables/{name}.{suffix}" for name in run.tables for suffix in ("csv", "md")}
    copied = tables | {"claims.md", "claims.csv", "claims.png", "detections.png"}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == copied | {"README.md", "provenance.json"}
    for name in copied:
        if name.endswith("png"):  # the same picture in fewer bytes
            original = Path("results/figures", name)
            before, after = (
                np.asarray(Image.open(path).convert("RGB"), dtype=int) for path in (original, folder / name)
            )
            assert before.shape == after.shape and np.abs(before - after).mean() < 20, name
            assert name == "claims.png" or (folder / name).stat().st_size < original.stat().st_size / 2
        else:
            assert (folder / name).read_bytes() == Path("results", name).read_bytes(), name
    about = provenance(folder)
    assert about["files"] == {name: sha256_file(folder / name) for name in sorted(copied)}
    assert (about["profile"], about["command"], about["commit"]) == ("smoke", "make toy", "c0ffee")
    assert about["params_sha256"] == digest(run.model_dump(mode="json"))
    assert (about["evaluations"], about["seeds"]) == (len(run.experiments.evaluations), [0])
    assert (about["date"], about["wall_time_s"]) == ("2026-11-26", 15 * 60)
    assert (
        about["machine"].startswith("AMD EPYC, ")
        and about["machine"].endswith(" GiB")
        and " cores, " in about["machine"]
    )
    assert "8 train, 8 val images; 2 classes" in about["data"] and set(about["libraries"]) > {"torch", "scipy"}
    page = (folder / "README.md").read_text()
    for words in ("`make toy`", "c0ffee", "0:15:00", "AMD EPYC", "![", "(claims.png)", "(tables/table4.md)", "| C8 "):
        assert words in page, words
    assert HOST not in page + json.dumps(about) and str(Path.cwd()) not in page + json.dumps(about)


def test_photographs_are_not_published(run: Params, publication: ModuleType, publish: Callable[..., Path]) -> None:
    photographs = run.model_copy(update={"data": run.data.model_copy(update={"source": "coco"})})
    assert publication.pictures(run) == ["claims.png", "detections.png"]
    assert publication.pictures(photographs) == ["claims.png"]
    about = provenance(publish())
    judged = publication.checked(run)
    assert "![Detections" in publication.page(about, judged)
    del about["files"]["detections.png"]
    page = publication.page(about, judged)
    assert "![Detections" not in page and "Not published" in page and "](claims.png)" in page


def test_the_readme_has_only_the_verdicts_of_evidence(
    run: Params, publish: Callable[..., Path], tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    before = readme.read_text()
    publish("toy")
    assert readme.read_text() == before
    publish("evidence")
    text = readme.read_text()
    assert (
        text.startswith(f"# Project\n\n{BEGIN}\n| claim")
        and text.endswith(f"{END}\n\nThe rest.\n")
        and "old" not in text
    )
    lines = text[text.index(BEGIN) : text.index(END)].splitlines()
    assert len(lines) == 1 + 2 + 8 and lines[3].startswith("| C1 ")
    publish("evidence")
    assert readme.read_text() == text
    readme.write_text("no marks")
    with pytest.raises(ValueError, match=r"README\.md has no marks"):
        publish("evidence")
    assert readme.read_text() == "no marks"


@pytest.mark.parametrize(
    ("spans", "minutes"),
    [
        ([(0, 10), (10, 12)], 12),
        ([(0, 10), (11, 12)], 12),  # an engine looks for what comes next
        ([(0, 10), (2, 5), (4, 14)], 14),  # two at a time
        ([(0, 10), (500, 501)], 11),  # a night in between
    ],
)
def test_the_wall_time_is_without_pauses(spans: list[tuple[float, float]], minutes: float) -> None:
    times = [tuple(NOON + timedelta(minutes=minute) for minute in span) for span in spans]
    assert facts.covered(times) == 60 * minutes


def test_missing_facts_of_a_run_are_asked_for(run: Params, publish: Callable[..., Path]) -> None:
    tell("tables", 25, 30, host="another")
    with pytest.raises(ValueError, match=r"another machine.*--machine"):
        publish()
    about = provenance(publish(machine="two cores", wall_time=3723, date="2026-11-25"))
    assert (about["machine"], about["wall_time_s"], about["date"]) == ("two cores", 3723, "2026-11-25")
    for path in list(state.RUNS.rglob(state.FILE)):
        path.unlink()
    with pytest.raises(ValueError, match="give --wall-time and --date"):
        publish(machine="two cores")


def edit(path: str, text: str | None = None) -> None:
    """Append to a file, or remove it."""
    if text is None:
        Path(path).unlink()
    else:
        Path(path).write_text(Path(path).read_text() + text)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("results/metrics/a5.json", None, r"not finished:\n  evaluations/a5 waiting"),
        ("results/README.md", None, r"not finished:\n  tables waiting"),
        ("results/metrics/a5.matches.npz", None, r"stale:\n  results/metrics/a5\.matches\.npz is not there"),
        (
            "models/detectors/a5/model.safetensors",
            " other",
            r"stale:\n  models/detectors/a5/model\.safetensors is not what",
        ),
        ("data/prepared/val.json", " ", r"stale:\n  data/prepared/val\.json is not what"),
        ("results/claims.md", "agrees", r"report is stale.*:\n  results/claims\.md does not match its metrics"),
        ("results/index.html", "more", r"report is stale.*:\n  results/index\.html does not match its metrics"),
        ("results/tables/table4.csv", None, r"results/tables/table4\.csv does not match"),
        ("results/figures/claims.png", None, r"results/figures/claims\.png is not there"),
        ("results/figures/detections.png", None, r"figure results/figures/detections\.png does not exist"),
    ],
)
def test_stale_or_incomplete_runs_are_refused(
    run: Params, publish: Callable[..., Path], tmp_path: Path, path: str, text: str | None, message: str
) -> None:
    before = tmp_path / "docs/toy/of_before"
    before.parent.mkdir(parents=True)
    before.touch()
    edit(path, text)
    with pytest.raises(ValueError, match=message):
        publish()
    assert [file for file in (tmp_path / "docs").rglob("*") if file.is_file()] == [before]


def test_other_parameters_are_refused(run: Params, publish: Callable[..., Path]) -> None:
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("threads: 1", "threads: 2"))
    with pytest.raises(ValueError, match=r"the run is not finished:\n  .* stale"):
        publish()


@pytest.mark.parametrize("name", ["../x", "A", "", "a b", "1"])
def test_a_name_is_a_plain_folder(publish: Callable[..., Path], name: str) -> None:
    with pytest.raises(ValueError, match="--name"):
        publish(name)


def test_the_script(run: Params) -> None:
    """It runs in the copy of this project that has the run."""

    def call(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "workflow/scripts/publish.py", "--from", ".", "--command", "snakemake", *arguments]
        return subprocess.run(command, env=environment(), capture_output=True, text=True)

    done = call("--name", "toy")  # there is no commit
    assert done.returncode == 2 and "give --commit" in done.stderr and not Path("docs/results/toy").exists()
    done = call("--name", "toy", "--commit", "c0ffee", "--wall-time", "1:02:03")
    assert done.returncode == 0 and "docs/results/toy" in done.stdout, done.stderr
    assert provenance(Path("docs/results/toy"))["wall_time_s"] == 3723
    done = call("--name", "toy", "--wall-time", "an hour")
    assert done.returncode == 2 and "such as 2:45:10" in done.stderr
