"""docs/extending.md, followed to the letter in a copy of the repository, under both engines."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dags import ROOT, copy_project, environment

DOCS = (ROOT / "docs/extending.md").read_text("utf-8")
FILES = {match[1]: match[2] for match in re.finditer(r"```\w+ (\S+/\S+)\n(.*?)```", DOCS, re.DOTALL)}


def extended(root: Path) -> Path:
    """Return a copy of the project with the files of the document, and the parameters of its profile."""
    copy_project(root, "smoke")
    for name, text in FILES.items():
        assert not (root / name).exists()
        (root / name).write_text(text, "utf-8")
    compose = [sys.executable, "workflow/scripts/compose.py", "--profile", "sharpen"]
    subprocess.run(compose, cwd=root, env=environment(), check=True)
    return root


def test_an_interpolator_touches_its_module_and_conf_alone():
    assert sorted(Path(name).parent.as_posix() for name in FILES) == [
        "afigan/interpolators",
        "conf/experiments",
        "conf/profile",
    ]


def test_a_wrong_option_of_the_new_interpolator_is_reported(tmp_path):
    root = extended(tmp_path)
    file = root / "params.yaml"
    file.write_text(file.read_text("utf-8").replace("kernel: 5", "kernel: 4", 1), "utf-8")
    done = subprocess.run(
        [sys.executable, "workflow/scripts/prepare.py"], cwd=root, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 2 and "kernel: 4, but it has to be 3 or 5" in done.stderr


@pytest.mark.pipeline
@pytest.mark.parametrize("engine", ["snakemake --cores 2", "dvc repro"])
def test_the_document_runs(tmp_path, engine):
    root = extended(tmp_path)
    keys = ("sharpen", "sharpen_g", "sharpen_m")
    targets = [f"results/metrics/{key}.json" for key in keys]
    if engine.startswith("dvc"):
        targets = [f"evaluate@{key}" for key in keys]
    # the training code and the data set do not depend on the engine; the rest of the profile has tests of its own
    subprocess.run([*engine.split(), *targets], cwd=root, env=environment(), check=True)
    for key in keys:
        config = json.loads((root / f"models/detectors/{key}/config.json").read_text("utf-8"))
        assert config["architecture"]["interpolator"] == "sharpen"
        assert json.loads((root / f"results/metrics/{key}.json").read_text("utf-8"))["box"]
    g = json.loads((root / "models/afigan/sharpen/config.json").read_text("utf-8"))
    assert (g["interpolator"], g["options"]) == ("sharpen", {"kernel": 5})
