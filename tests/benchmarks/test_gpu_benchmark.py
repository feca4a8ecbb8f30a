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
    # minutes on quiet cores; other tests may run on them
    subprocess.run([*command, "--limit", "2400"], cwd=ROOT, check=True, timeout=2500)
    return out


@pytest.mark.pipeline
def test_every_check_passes_on_a_cpu(results):
    found = json.loads((results / "gpu.json").read_text())
    assert not [name for name, part in found.items() if "error" in part]
    checks = {name: part["passed"] for name, part in found.items() if "passed" in part}
    assert len(checks) == 8 and all(checks.values())
    # on one device, the same computation twice
    assert found["steps"]["stage1"] == {"loss": 0, "gradient": 0, "cosine": pytest.approx(1)}
    assert found["resume"]["afigan/main"] == {"same bits": True, "iterations after it": 1}


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
    assert found.pop("ratios") == {} and len(found) == 2
    assert all("error" in part for part in found.values())
    assert "It failed to run" in (tmp_path / "gpu.md").read_text()


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    return gpu


KILLED = """
import sys, time, json, pathlib
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
print("working")
if "stage1" in sys.argv:
    (out / "stage1.part.json").write_text(json.dumps({"fp32": 1.5}))
    time.sleep(600)
raise SystemExit("no such part")
"""


def test_a_part_that_is_killed_or_fails_keeps_what_it_has_written(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "HERE", tmp_path)
    (tmp_path / "gpu.py").write_text(KILLED)
    killed = gpu.run_part("stage1", tmp_path, "cpu", True, 3)
    assert killed["error"].startswith("no result after 3 s") and killed["partial"] == {"fp32": 1.5}
    (tmp_path / "stage2.part.json").write_text('{"fp32": 9.0}')  # of a call before
    failed = gpu.run_part("stage2", tmp_path, "cpu", True, 30)
    assert failed["error"].splitlines() == ["failed", "working", "no such part"] and "partial" not in failed
    text = gpu.markdown({"stage1": killed, "stage2": failed})
    assert "It failed to run: no result after 3 s" in text and "| fp32 | 1.5 |" in text and "9.0" not in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_cuda_fails_with_torchs_reason(gpu, tmp_path):
    found = gpu.run_part("machine", tmp_path, "cuda", True, 120)
    assert found["error"].startswith("failed") and "cuda" in found["error"].lower()


def test_figures_are_kept_as_they_come(gpu, tmp_path):
    from gpu_scenes import Kept

    found = Kept(tmp_path / "stage1")
    found["fp32"] = {"s/it": 2.0}
    found["bf16"] = {"s/it": 1.0}
    assert json.loads((tmp_path / "stage1.part.json").read_text()) == found


def test_ratios_by_hand(gpu):
    best = "bf16 channels_last"
    results = {
        "machine": {"bf16 TFLOP/s": 800.0},
        "stage1": {
            "error": "no result after 90 s",
            "partial": {
                best: {"s/it": 0.2, "TFLOP/s": 200.0},
                "tf32": {"s/it": 0.3},
                "released schedule, fp32": {"s/it": 0.4},
            },
        },
        "networks": {f"D, {best}": {"TFLOP/s": 400.0}},
        "inference": {best: {"nearest ms": 20.0, "afi ms": 26.0, "afi-light ms": 21.0}},
    }
    assert gpu.ratios(results) == {
        f"stage 1, {best} / released schedule, fp32": {"ratio": 0.5, "goal": "<= 0.4", "reached": False},
        f"D, {best}, of the peak": {"ratio": 0.5, "goal": ">= 0.4", "reached": True},
        f"stage 1, {best}, of the peak": {"ratio": 0.25},
        f"inference, AFI / nearest, {best}": {"ratio": 1.3, "goal": "<= 1.25", "reached": False},
        f"inference, AFI-light / nearest, {best}": {"ratio": 1.05, "goal": "<= 1.1", "reached": True},
    }
    assert f"| inference, AFI / nearest, {best} | ratio 1.3, goal <= 1.25, reached False |" in gpu.markdown(results)


def test_figures_leave_time_for_the_checks(gpu, tmp_path, monkeypatch):
    given = {}

    def run_part(name, out, device, quick, limit):
        given[name] = limit
        return {"passed": True}

    monkeypatch.setattr(gpu, "run_part", run_part)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path), "--limit", "240"])
    assert gpu.main() == 0
    assert max(given[name] for name in gpu.FIGURES) <= 240 - gpu.RESERVED / 2
    assert max(given[name] for name in gpu.CHECKS) > gpu.RESERVED / 2 and set(given) == set(gpu.PARTS)
    assert set(json.loads((tmp_path / "gpu.json").read_text())) == {*gpu.PARTS, "ratios"}


def test_memory_predicted_from_shapes_is_what_a_step_takes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_memory
    from gpu_scenes import QUICK

    counted = gpu_memory.counted("stage1", QUICK, amp=False)
    assert gpu_memory.predicted(QUICK, amp=False) == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_a_step_takes_what_torchs_allocator_says(monkeypatch, stage):
    """The count of storages misses what an operation takes inside; the profiler has every allocation."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_memory
    from gpu_scenes import QUICK, build, images, schedule
    from torch.profiler import ProfilerActivity, profile

    scale = QUICK.with_model(channels=64)
    batch = images(scale)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        scene = build(stage, scale, torch.device("cpu"), schedule(False))
        for _ in range(gpu_memory.STEPS):
            scene.run(batch)
    changes = [
        (event.start_ns(), event.nbytes())
        for event in seen.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    now, peak = 0, 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        now += size
        peak = max(peak, now)
    assert gpu_memory.counted(stage, scale, amp=False) == pytest.approx(peak, rel=0.1)
    if stage == "stage1":
        assert gpu_memory.predicted(scale, amp=False) == pytest.approx(peak, rel=0.1)


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
