"""`afigan NAME`: the same as the scripts, with one message for every error that the user can fix."""

import json
import os
import subprocess
import sys
from pathlib import Path

import alone
import numpy as np
import pytest
import torch
import yaml
from composed import composed
from folders import write_detector
from PIL import Image
from safetensors.torch import load_file, save_file

import afigan
from afigan.__main__ import main
from afigan.commands import COMMANDS
from afigan.interpolators import build_interpolator
from afigan.runtime import exits

pytest_plugins = ["toy"]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory; SIGTERM and SIGPIPE are handled as before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exits, "exit_at_once", lambda: None)
    return tmp_path


def test_a_folder_of_images_from_the_command_line(here, capsys):
    write_detector(here / "kept/a5")
    write_detector(here / "models/detectors/a1", seed=1)
    (here / "photos").mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((90, 60)).save(here / f"photos/{number}.jpg")
    arguments = ["--model", "kept/a5", "--compare", "detectors/a1", "--out", "found", "--score", "0.1"]
    main(["predict", "photos", *arguments])
    results = json.loads(Path("found/results.json").read_text())
    compared = json.loads(Path("found/compare.json").read_text())
    assert results and compared and results != compared
    expected = f"predict: 2 images, {len(results)} and {len(compared)} objects: found\n"
    assert capsys.readouterr().out == expected
    assert sorted(os.listdir("found")) == ["0.jpg", "1.jpg", "compare.json", "images.json", "results.json"]


def test_an_interpolator_from_the_command_line(here, capsys):
    detector = write_detector(here / "models/detectors/deconv", interpolator="deconv")
    main(["export", "--model", "detectors/deconv", "--format", "safetensors", "--place", "1"])
    assert capsys.readouterr().out == "export: detectors-deconv-1.safetensors\n"
    module = build_interpolator("deconv", 8)
    module.load_state_dict(load_file("detectors-deconv-1.safetensors"))
    x = torch.randn(1, 8, 3, 3)
    assert torch.equal(module(x), detector.backbone.upsample[1](x))


def test_parameters_and_their_status(here, capsys):
    main(["params", "--profile", "smoke", "--conf", str(ROOT / "conf")])
    assert yaml.safe_load(Path("params.yaml").read_text()) == composed("smoke")
    main(["status"])
    assert "detectors/a1" in capsys.readouterr().out


def test_the_status_of_a_run_in_another_folder(here, capsys, monkeypatch):
    main(["params", "--profile", "smoke", "--conf", str(ROOT / "conf"), "--output", "run/params.yaml"])
    (here / "run/results/metrics").mkdir(parents=True)
    (here / "run/results/metrics/a1.json").write_text("{}")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    main(["status", "--params", "../run/params.yaml"])
    told = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines() if "evaluations" in line}
    assert told["evaluations/a1"] == "stale" and told["evaluations/a5"] == "waiting"
    assert Path.cwd() == here / "elsewhere"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["predict", "a.jpg", "--model", "detectors/a5", "--out", "o"],
            "afigan predict: detectors/a5 is not the folder",
        ),
        (["export", "--model", "afigan/main", "--format", "onnx"], "afigan export: afigan/main is not the folder"),
        (["status"], "afigan status: params.yaml does not exist"),
        (["params", "--profile", "mini"], "afigan params: conf has no profiles"),
    ],
)
def test_one_message_and_status_2(here, capsys, arguments, message):
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert capsys.readouterr().err.startswith(message)
    with pytest.raises(ValueError, match=message.partition(": ")[2]):
        main([*arguments, "--traceback"])


def test_help_names_every_command_and_imports_nothing_heavy(here):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "afigan", "--help"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(f"\n    {name} " in done.stdout for name in COMMANDS)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "afigan" in imported and not imported & {"torch", "numpy", "pydantic", "yaml", "PIL"}


def test_the_version(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0 and capsys.readouterr().out == f"afigan {afigan.__version__}\n"


@pytest.mark.parametrize(
    ("packages", "arguments", "extra"),
    [
        (["torch"], ["predict", "a.jpg", "--model", "m", "--out", "o"], "detection"),
        (["torch", "safetensors", "numpy", "pydantic"], ["export", "--model", "m", "--format", "onnx"], "export"),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(here, packages, arguments, extra):
    weights = build_interpolator("afi", 2).state_dict()
    config = {"node": "afigan/g", "params_hash": "x", "channels": 2, "interpolator": "afi", "options": {}}
    Path("m").mkdir()
    Path("m/config.json").write_text(json.dumps(config))
    save_file({f"interpolator.{name}": value for name, value in weights.items()}, "m/model.safetensors")
    done = alone.run(f"from afigan.__main__ import main; main({arguments!r})", *packages, cwd=here)
    assert done.returncode == 2, done.stderr
    assert f"pip install 'afigan[{extra}" in done.stderr and "Traceback" not in done.stderr
