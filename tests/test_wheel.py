"""The wheel: it builds without a warning, has the package and nothing else, and asks for torch alone."""

import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from importlib import import_module
from pathlib import Path

import alone
import pytest

import afigan

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = f"afigan-{afigan.__version__}.dist-info"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with what `python -m build` makes of a copy of the package, and its output."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "afigan", source / "afigan", ignore=shutil.ignore_patterns("__pycache__"))
    # without isolation: a test fetches nothing
    command = [sys.executable, "-m", "build", "--no-isolation"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (source / "dist/output.txt").write_text(done.stdout + done.stderr)
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(built, tmp_path_factory):
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    (file,) = built.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
    return folder


def files(folder):
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts}


def test_building_warns_of_nothing(built):
    text = (built / "output.txt").read_text()
    lines = [line for line in text.splitlines() if re.search("warn|deprecat", line, re.IGNORECASE)]
    # that nothing is compiled is a setting of the environment
    assert [line for line in lines if "byte-compiling is disabled" not in line] == []
    assert {path.name for path in built.iterdir()} == {
        f"afigan-{afigan.__version__}-py3-none-any.whl",
        f"afigan-{afigan.__version__}.tar.gz",
        "output.txt",
    }


def test_an_index_would_take_it(built):
    archives = [str(path) for path in built.glob("afigan*")]
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *archives], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.count("PASSED") == 2, done.stdout + done.stderr


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel):
    about = {f"{INSTALLED}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt")}
    about.add(f"{INSTALLED}/licenses/LICENSE")
    assert files(wheel) == {f"afigan/{name}" for name in files(ROOT / "afigan")} | about
    assert "afigan/reporting/paper/table1.csv" in files(wheel) and "afigan/py.typed" in files(wheel)


def test_it_asks_for_torch_alone(wheel):
    metadata = Parser().parsestr((wheel / INSTALLED / "METADATA").read_text("utf-8"))
    needed = metadata.get_all("Requires-Dist")
    assert [one for one in needed if "extra ==" not in one] == ["torch>=2.8"]
    assert metadata["Version"] == afigan.__version__
    assert {"detection", "detectron2", "torchvision", "pipeline", "export"} <= set(metadata.get_all("Provides-Extra"))
    # an extra that names another one has all that it needs
    assert 'afigan[detection]; extra == "pipeline"' in needed


def test_its_command(wheel):
    scripts = ConfigParser()
    scripts.read(wheel / INSTALLED / "entry_points.txt")
    assert dict(scripts["console_scripts"]) == {"afigan": "afigan.__main__:main"}
    assert callable(import_module("afigan.__main__").main)


def test_with_torch_alone_its_interpolators_run(wheel, tmp_path):
    code = """
        import torch
        import afigan
        from afigan.interpolators import INTERPOLATORS, build_interpolator
        x, guide = torch.rand(1, 8, 3, 5), torch.rand(1, 8, 6, 10)
        assert all(build_interpolator(n, 8).eval()(x, guide).shape[2:] == (6, 10) for n in INTERPOLATORS)
        print(afigan.__file__)
    """
    done = alone.run(code, "torch", root=wheel, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(wheel / "afigan/__init__.py")


def test_with_torchvision_its_fpn_runs(wheel, tmp_path):
    code = """
        import torch
        from afigan.torchvision import InterpolatedFPN
        maps = InterpolatedFPN([3, 5], 4)({"0": torch.rand(1, 3, 9, 8), "1": torch.rand(1, 5, 5, 4)})
        print([tuple(value.shape) for value in maps.values()])
    """
    done = alone.run(code, "torch", "torchvision", root=wheel, cwd=tmp_path)
    assert done.stdout == "[(1, 4, 9, 8), (1, 4, 5, 4)]\n", done.stderr
