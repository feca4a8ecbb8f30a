"""benchmarks/wheels.py: which packages it collects, and how it copies them; nothing is fetched."""

import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def wheels(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import wheels

    return wheels


def test_what_packages_need_is_collected_and_what_the_machine_has_is_not(wheels):
    found = wheels.closure(["Hydra_Core", "torch"], {"torch"})
    assert {"hydra-core", "omegaconf", "pyyaml"} <= found
    assert not {"torch", "sympy"} & found


def test_markers_are_those_of_the_other_python(wheels, monkeypatch):
    class Distribution:
        requires = ("old; python_version < '3.12'", "new; python_version >= '3.12'", "extra; extra == 'dev'")

    def distribution(name):
        found = Distribution()
        found.requires = Distribution.requires if name == "root" else ()
        return found

    monkeypatch.setattr(metadata, "distribution", distribution)
    assert wheels.closure(["root"], set(), "3.11") == {"root", "old"}
    assert wheels.closure(["root"], set(), "3.12") == {"root", "new"}


def test_a_copied_package_is_imported_from_its_new_place(wheels, tmp_path):
    assert not wheels.compiled("omegaconf") and wheels.compiled("numpy")
    for name in ("omegaconf", "antlr4-python3-runtime", "pyyaml"):
        wheels.copy(name, tmp_path)
    code = "import omegaconf; print(omegaconf.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)


@pytest.mark.parametrize(("missing", "collected"), [([], set()), (["numpy", "scipy"], {"numpy", "scipy"})])
def test_common_packages_are_collected_only_if_they_are_missing(wheels, monkeypatch, tmp_path, missing, collected):
    fetched = []
    monkeypatch.setattr(wheels.subprocess, "run", lambda command, check: fetched.extend(command))
    monkeypatch.setattr(wheels, "copy", lambda name, site: (site / name).write_text(""))
    archive = tmp_path / "wheels/site.tar.xz"
    wheels.collect(archive, "3.12", "x86_64-manylinux_2_28", missing)
    names = {part.partition("==")[0] for part in fetched if "==" in part}
    assert names & set(wheels.COMMON) == collected and {"pycocotools", "pydantic-core"} <= names
    with tarfile.open(archive) as found:
        assert {"./snakemake", "./fvcore"} <= set(found.getnames())


def test_an_archive_that_is_too_large_is_refused_and_removed(wheels, monkeypatch, tmp_path):
    monkeypatch.setattr(wheels.subprocess, "run", lambda command, check: None)
    monkeypatch.setattr(wheels, "copy", lambda name, site: (site / name).write_text("x"))
    monkeypatch.setattr(wheels, "LARGEST", 10)
    with pytest.raises(ValueError, match="name fewer packages with --missing"):
        wheels.collect(tmp_path / "site.tar.xz", "3.12", "x86_64-manylinux_2_28", [])
    assert not list(tmp_path.iterdir())
