"""benchmarks/gpu.py on a CPU at toy size: every part that a GPU runs, runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--quick", "--out", str(out)]
    # two minutes on quiet cores; other tests may run on them
    subprocess.run([*command, "--limit", "1400"], cwd=ROOT, check=True, timeout=1500)
    return out


@pytest.mark.pipeline
def test_every_check_passes_on_a_cpu(results):
    found = json.loads((results / "gpu.json").read_text())
    assert not [name for name, part in found.items() if "error" in part]
    checks = {name: part["passed"] for name, part in found.items() if "passed" in part}
    assert len(checks) == 8 and all(checks.values())
    # on one device, the same computation twice
    assert found["steps"]["stage1"] == {"loss": 0, "gradient": 0, "cosine": pytest.approx(1)}


@pytest.mark.pipeline
def test_the_report_has_a_table_of_checks_and_of_every_part(results):
    text = (results / "gpu.md").read_text()
    assert "| resume | passed |" in text
    assert {"### stage1", "### inference", "### loader"} <= set(text.splitlines())


@pytest.mark.pipeline
def test_a_part_that_fails_leaves_the_others(tmp_path):
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--quick", "--out", str(tmp_path)]
    run = subprocess.run(
        [*command, "--only", "environment", "machine", "--limit", "4.9"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 1
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert all("error" in part for part in found.values())
    assert "It failed to run" in (tmp_path / "gpu.md").read_text()


def test_memory_predicted_from_shapes_is_what_a_step_takes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_memory
    from gpu_scenes import QUICK

    counted = gpu_memory.counted("stage1", QUICK, amp=False)
    assert gpu_memory.predicted(QUICK, amp=False) == pytest.approx(counted, rel=0.02)


def test_memory_is_counted_as_long_as_a_tensor_lives(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_memory

    with gpu_memory.Allocated() as counted:
        first = torch.zeros(1000)
        view = first[::2]
        second = first + 1
        del first
        assert counted.now == 8000  # the view keeps its storage
        del view, second
        third = torch.zeros(500)
    assert (counted.now, counted.peak) == (third.nbytes, 8000)
