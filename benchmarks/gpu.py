"""Check and time afigan on a GPU: one command, under eight minutes, results in OUT/gpu.md and OUT/gpu.json.

The machine needs torch, torchvision and timm, and what else `make wheels` names; that collects the rest into one
archive. Every part runs in a process of its own, with a limit of its own. Its result is kept at once; that of a killed
part, as far as it has come. `--device cpu --quick` runs the same code at toy sizes, in 2.5 minutes on two cores.
"""

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT)]

import afigan  # noqa: E402, F401 - this repository's, before detectron2
from afigan.runtime.files import atomic_path  # noqa: E402

# part -> seconds that it may take, in proportion more with a larger --limit than the default
CHECKS = {
    "steps": 100,
    "heads": 100,
    "bfloat16": 60,
    "repeated": 100,
    "resume": 100,
    "processes": 80,
    "smoke": 200,
    "evaluation": 160,
}
FIGURES = {
    "environment": 30,
    "machine": 30,
    "stage1": 90,
    "stage2": 60,
    "stage3": 60,
    "networks": 60,
    "inference": 60,
    "roi_align": 30,
    "settings": 40,
    "profile": 60,
    "batches": 90,
    "memory": 60,
    "loader": 40,
    "compiled": 120,
}
PARTS = {**CHECKS, **FIGURES}
LIMIT = 480  # seconds for all, by default
RESERVED = 200  # of them for the checks, which come last because they run side by side
AT_ONCE = 4  # checks; figures are timed one after the other, with nothing beside them


def run_part(name: str, out: Path, device: str, quick: bool, limit: float) -> dict[str, Any]:
    """Run a part in a new process; return its result, or `error` with the end of what it printed."""
    result, partial, log = out / f"{name}.json", out / f"{name}.part.json", out / f"{name}.log"
    for old in (result, partial):
        old.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / "gpu.py"), "--part", name, "--out", str(out), "--device", device]
    begin = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *(["--quick"] if quick else [])], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    took = {"seconds": round(time.monotonic() - begin, 1)}
    if result.is_file():
        return json.loads(result.read_text("utf-8")) | took
    lines = log.read_text("utf-8", errors="replace").splitlines()
    reason = f"no result after {took['seconds']:.0f} s" if process.returncode < 0 else "failed"
    kept = {"partial": json.loads(partial.read_text("utf-8"))} if partial.is_file() else {}
    return {"error": "\n".join([reason, *lines[-25:]])} | kept | took


def execute(name: str, out: Path, device: str, quick: bool) -> None:
    """Compute a part in this process and write its result."""
    module = importlib.import_module("gpu_checks" if name in CHECKS else "gpu_figures")
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    # toy sizes have nothing to split, and threads wait for each other where something else is running
    beside = AT_ONCE if name in CHECKS else len(os.sched_getaffinity(0)) if quick else 1
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // beside))
    result = getattr(module, name)(torch.device(device), quick, (out / name).resolve())
    with atomic_path(out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1), "utf-8")


# ratio -> its goal: at most, or at least
GOALS = {
    "stage 1, bf16 channels_last / released schedule, fp32": ("<=", 0.4),
    "stage 1, tf32 / released schedule, tf32": ("<=", None),
    "D, bf16 channels_last, of the peak": (">=", 0.4),
    "G, bf16 channels_last, of the peak": (">=", None),
    "stage 1, bf16 channels_last, of the peak": (">=", None),
    "stage 2, bf16 channels_last, of the peak": (">=", None),
    "stage 3, bf16 channels_last, of the peak": (">=", None),
    "inference, AFI / nearest, bf16 channels_last": ("<=", 1.25),
    "inference, AFI-light / nearest, bf16 channels_last": ("<=", 1.10),
}


def ratios(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return those of GOALS whose figures are there, each with its goal and whether it is reached."""
    figures = {name: part.get("partial", part) for name, part in results.items()}

    def figure(*path: str) -> float | None:
        value: Any = figures
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    best = "bf16 channels_last"
    peak = figure("machine", "bf16 TFLOP/s")
    pairs = [
        (figure("stage1", best, "s/it"), figure("stage1", "released schedule, fp32", "s/it")),
        (figure("stage1", "tf32", "s/it"), figure("stage1", "released schedule, tf32", "s/it")),
        (figure("networks", f"D, {best}", "TFLOP/s"), peak),
        (figure("networks", f"G, {best}", "TFLOP/s"), peak),
        *((figure(stage, best, "TFLOP/s"), peak) for stage in ("stage1", "stage2", "stage3")),
        *(
            (figure("inference", best, f"{name} ms"), figure("inference", best, "nearest ms"))
            for name in ("afi", "afi-light")
        ),
    ]
    found = {}
    for (name, (sense, goal)), (above, below) in zip(GOALS.items(), pairs, strict=True):
        if above is None or below is None:
            continue
        found[name] = {"ratio": above / below}
        if goal is not None:
            reached = above / below <= goal if sense == "<=" else above / below >= goal
            found[name] |= {"goal": f"{sense} {goal}", "reached": reached}
    return found


def markdown(results: dict[str, Any]) -> str:
    """Return the results as Markdown: a table of checks, one of ratios, then one of figures a part."""
    lines = ["| check | result | figures |", "|---|---|---|"]
    for name in CHECKS:
        if (found := results.get(name)) is not None:
            word = "failed to run" if "error" in found else "passed" if found.get("passed") else "**not passed**"
            rest = {k: v for k, v in found.items() if k not in ("passed", "error", "seconds", "partial")}
            lines.append(f"| {name} | {word} | {shown(rest)} |")
    if found := ratios(results):
        lines += ["", "| ratio | figure |", "|---|---|", *(f"| {name} | {shown(one)} |" for name, one in found.items())]
    for name in FIGURES:
        if (found := results.get(name)) is None:
            continue
        lines += ["", f"### {name}", ""]
        if "error" in found:
            lines += ["It failed to run: " + found["error"].splitlines()[0]]
            found = found.get("partial", {})
        lines += ["| what | figure |", "|---|---|"]
        lines += [f"| {key} | {shown(value)} |" for key, value in found.items() if key != "seconds"]
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    """Return a figure, or a dict of figures, in a cell."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(one)}" for key, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write(results: dict[str, Any], out: Path) -> None:
    """Write both files of results."""
    texts = {"gpu.json": json.dumps({**results, "ratios": ratios(results)}, indent=1), "gpu.md": markdown(results)}
    for name, text in texts.items():
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="toy sizes, one run of each")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu", help="folder of the results")
    parser.add_argument(
        "--only", nargs="+", default=list(PARTS), choices=list(PARTS), metavar="PART", help="some parts"
    )
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for all (default: %(default)s)")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if arguments.part:
        execute(arguments.part, out, arguments.device, arguments.quick)
        return 0
    end = time.monotonic() + arguments.limit
    longer = arguments.limit / LIMIT
    checks = [name for name in arguments.only if name in CHECKS]
    results: dict[str, Any] = {}
    lock = threading.Lock()  # several checks end at a time

    def one(name: str) -> None:
        left = end - time.monotonic()
        if checks and name in FIGURES:
            left -= RESERVED * longer
        if left < 5:
            found: dict[str, Any] = {"error": "not run: the time of --limit was over"}
        else:
            most = PARTS[name] * max(1, longer)
            found = run_part(name, out, arguments.device, arguments.quick, min(left, most))
        line = found.get("error", "done").splitlines()
        with lock:
            results[name] = found
            write({part: results[part] for part in PARTS if part in results}, out)
            print(f"{name}: {line[0]} ({found.get('seconds', 0)} s)", flush=True)
            print("".join(f"    {more}\n" for more in line[1:]), end="", flush=True)

    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores if arguments.quick else 1) as pool:  # toy sizes' times say nothing
        list(pool.map(one, [name for name in arguments.only if name in FIGURES]))
    with ThreadPoolExecutor(min(AT_ONCE, cores)) as pool:
        list(pool.map(one, checks))
    print((out / "gpu.md").read_text("utf-8"))
    return int(any("error" in found or found.get("passed") is False for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
