"""benchmarks/upsamplers.py at toy size: a row for each interpolator, and figures that can be computed by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_named_interpolator_has_a_row_in_the_table_and_in_the_file(tmp_path):
    names, out = ["nearest", "deconv", "afi-light", "fade"], tmp_path / "figures.json"
    command = [
        sys.executable,
        "benchmarks/upsamplers.py",
        "--quick",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--out",
        str(out),
    ]
    done = subprocess.run([*command, "--only", *names], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "64 x 96 fp32 nearest: run 1 of 1" in done.stderr
    assert "1 threads" in done.stdout and "P5 to P2 of 64 x 96 px, bf16:" in done.stdout
    rows = json.loads(out.read_text())["maps"]
    assert [(row["format"], row["interpolator"]) for row in rows] == [(f, n) for f in ("fp32", "bf16") for n in names]
    assert all(f"| {name} |" in done.stdout for name in names)
    deconv = rows[1]
    positions = 2 * 3 + 4 * 6 + 8 * 12
    assert deconv["multiply_adds"] == positions * (36 * 16**2 + 4 * 9 * 16**2)
    assert deconv["parameters"] == 3 * (36 * 16**2 + 16 + 9 * 16**2 + 16)  # one module a place
    # the outputs of nearest, all of which are kept until the last one is there
    assert rows[0]["forward_MiB"] * 2**20 == pytest.approx(4 * positions * 16 * 4)
    assert all(row["both_ms"] > 0 and row["forward_ms"] > 0 for row in rows)
