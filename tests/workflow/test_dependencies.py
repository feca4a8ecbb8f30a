"""The modules that stages depend on are those that they import, and nobody writes them by hand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

import dependencies  # noqa: E402 - found in workflow/
from dependencies import EVERYWHERE, HASHED, code, folded, written  # noqa: E402

FILES = ["afigan/reporting/paper", "afigan/reporting/page/template"]  # no modules: the printed tables, the page's parts
STAGES = re.findall(r"- workflow/scripts/(\w+)\.py\n", (ROOT / "dvc.yaml").read_text("utf-8"))
LOADED = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "afigan" and m.__file__]))
"""


def module(path: str) -> str:
    """Return `afigan.data` of afigan/data/__init__.py."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.mark.parametrize("stage", STAGES)
def test_python_loads_no_other_module(stage):
    script, *modules = code(stage)
    assert script == f"workflow/scripts/{stage}.py"
    command = [sys.executable, "-c", LOADED, *map(module, modules)]
    loaded = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    paths = {Path(path).relative_to(ROOT).as_posix() for path in loaded if Path(path).stat().st_size}
    hidden = {f"afigan/{name}.py" for name in EVERYWHERE + HASHED}
    assert paths - hidden == set(modules) - hidden


def test_a_stage_has_the_code_that_it_runs_and_no_other():
    assert {"afigan/training/extractor.py", "afigan/losses.py", "afigan/pyramids/bifpn.py"} <= set(
        code("train_extractor")
    )
    assert not [path for path in code("backbone") if "detectors" in path or "pyramids" in path]
    assert not [path for path in code("train_detector") if path in ("afigan/losses.py", "afigan/discriminator.py")]
    assert not [path for path in code("evaluate") if "reporting" in path or path.endswith("training/engine.py")]
    assert "afigan/params/lineage.py" in code("tables") and "afigan/params/lineage.py" not in code("evaluate")


def test_dvc_yaml_is_fresh():
    text = (ROOT / "dvc.yaml").read_text("utf-8")
    assert written(text) == text, "run `make dvc-yaml`"


def test_a_new_import_is_a_new_dependency(tmp_path, monkeypatch):
    (tmp_path / "workflow/scripts").mkdir(parents=True)
    (tmp_path / "afigan/data").mkdir(parents=True)
    (tmp_path / "afigan/runtime").mkdir()
    (tmp_path / "workflow/scripts/prepare.py").write_text("def main():\n    from afigan.data import one\n")
    (tmp_path / "afigan/data/__init__.py").touch()
    for name in ("one", "two"):
        (tmp_path / f"afigan/data/{name}.py").write_text("VALUE = 1\n")
    (tmp_path / "afigan/runtime/files.py").write_text("import afigan.data.two\n")
    monkeypatch.setattr(dependencies, "ROOT", tmp_path)
    assert code("prepare") == ["workflow/scripts/prepare.py", "afigan/data/one.py"]
    dependencies._imports.cache_clear()
    (tmp_path / "afigan/data/one.py").write_text("from afigan.runtime.files import atomic_path\n")
    assert code("prepare")[1:] == ["afigan/data/one.py", "afigan/data/two.py"]  # files.py itself counts for nobody
    text = "    deps:\n      - workflow/scripts/prepare.py\n      - afigan/old.py\n      - data/raw\n"
    lines = ["    deps:", "workflow/scripts/prepare.py", "afigan/data/one.py", "afigan/data/two.py", "data/raw"]
    assert written(text).splitlines() == [lines[0], *(f"      - {path}" for path in lines[1:])]
    (tmp_path / "afigan/data/__init__.py").unlink()
    assert folded(["afigan/data/one.py", "afigan/data/two.py"]) == ["afigan/data"]
    assert folded(["afigan/data/one.py"]) == ["afigan/data/one.py"]


@pytest.mark.parametrize("path", [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))], ids=str)
def test_no_rule_names_a_module(path):
    text = re.sub(r"#.*", "", path.read_text("utf-8")).replace("models/afigan/", "")
    assert re.findall(r"afigan/[\w/.]+", text) in ([], FILES)
