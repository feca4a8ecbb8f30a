"""A stranger's path: README's lines, one annotation file of boxes, an unpacked archive of the repository."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dags import PROJECT, ROOT, dvc_due, environment, write_params
from exports import CLASSES, exported, write_images
from readme import heads_without_masks, own_data

ITERATIONS = 2


def unpack(root: Path) -> None:
    """Copy what `git archive` would have of the working tree; without Git, what the engines need."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0")[:-1] if listed.returncode == 0 else [*PROJECT, "README.md", "params.yaml"]
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        elif (ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name, follow_symlinks=False)
    assert not (root / ".git").exists()


def run(root: Path, *command: str, status: int = 0) -> str:
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    assert done.returncode == status, text
    assert "Traceback" not in text, text
    return text


def check_classes(report: str, metrics: dict[str, Any], root: Path) -> None:
    """Assert that the table of classes has the names of the data set, and counts and APs of the metrics files."""
    split = json.loads((root / "data/prepared/val.json").read_text("utf-8"))
    counts = Counter(item["category_id"] for item in split["annotations"] if not item["iscrowd"])
    exported_names = [item["name"] for item in exported("roboflow")["categories"]]
    assert [item["name"] for item in split["categories"]] == exported_names and set(CLASSES) < set(exported_names)

    rows = classes(report)
    assert [row.pop("class") for row in rows] == exported_names
    assert [row.pop("objects") for row in rows] == [str(counts[item["id"]]) for item in split["categories"]]
    shown = {re.fullmatch(r"`(\w+)` box (AP|AP50)", heading).groups() for heading in rows[0]}
    assert shown and shown == {(key, name) for key, _ in shown for name in ("AP", "AP50")}
    for key, name in shown:
        found = metrics[key]["box"]["classes"]
        assert [(entry["name"], entry["objects"]) for entry in found] == [
            (item["name"], counts[item["id"]]) for item in split["categories"]
        ]
        for row, entry in zip(rows, found, strict=True):
            cell, value = row[f"`{key}` box {name}"], entry[name]
            assert (value is None) == (not entry["objects"])
            assert cell == "n/a" if value is None else abs(float(cell) - value) <= 0.0501


def classes(report: str) -> list[dict[str, str]]:
    """Return the rows of the report's table of classes, heading -> cell."""
    section = report.split("### AP of each class\n", 1)[1].split("\n### ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    heading, _, *rows = ([cell.strip() for cell in line.strip("|").split(" |")] for line in lines)
    return [dict(zip(heading, row, strict=True)) for row in rows]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The unpacked archive, with the photographs beside it."""
    root = tmp_path / "afigan-main"
    unpack(root)
    value = exported("roboflow")
    write_images(value, tmp_path / "mine/images")
    (tmp_path / "mine/annotations.json").write_text(json.dumps(value, ensure_ascii=False), "utf-8")
    return root


def test_readmes_lines_alone_prepare_one_annotation_file(project):
    """The commands behind `make params` and both engines; DVC says that it needs a Git repository."""
    run(project, sys.executable, "workflow/scripts/compose.py", "--profile", "photos")
    write_params(project, own_data("photos", project.parent / "mine", heads_without_masks()[0]))
    run(project, sys.executable, "workflow/scripts/prepare.py")
    assert "is not a git repository" in run(project, "dvc", "repro", "prepare", status=255)
    assert "run `git init`" in (ROOT / "README.md").read_text("utf-8")
    run(project, "git", "init", "--quiet")
    run(project, "dvc", "repro", "prepare")
    summary = json.loads((project / "data/prepared/summary.json").read_text("utf-8"))
    assert summary["train"]["images"] + summary["val"]["images"] == 24
    assert summary["val"]["images"] and not summary["test"]["images"]


@pytest.mark.pipeline
def test_a_stranger_trains_on_one_annotation_file(project):
    """README's lines, with a schedule of two iterations; at the end, Git and DVC take the result."""
    values = own_data("photos", project.parent / "mine", heads_without_masks()[0])
    values["model"] |= {"channels": 16}
    values["input"] |= {"short_sides": [64], "max_side": 96, "test_short_side": 64}
    for stage in ("train_afigan", "train_extractor", "train_detector"):
        values[stage] |= {"iterations": ITERATIONS, "batch_size": 2, "warmup": 0, "checkpoint_every": 1, "workers": 0}
    values["benchmark"] |= {"runs": 1, "warm_up": 1, "paper_size": None}
    write_params(project, values)
    text = run(project, sys.executable, "workflow/scripts/repro.py", "--cores", "2")
    assert "DVC needs a Git repository to adopt the result: run `git init`" in text

    metrics = {
        key: json.loads((project / f"results/metrics/{key}.json").read_text("utf-8"))
        for key in values["experiments"]["evaluations"]
    }
    assert all(0 <= found["box"]["AP"] <= 100 and not found.get("mask") for found in metrics.values())
    report = (project / "results/README.md").read_text("utf-8")
    assert (project.parent / "mine/annotations.json").as_posix() in report
    check_classes(report, metrics, project)

    run(project, "git", "init", "--quiet")
    run(project, sys.executable, "workflow/scripts/adopt.py", "--to", "dvc")
    assert dvc_due(project) == set()
