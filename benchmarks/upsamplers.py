"""Time every interpolator at the paper's sizes, alone and in a Mask R-CNN: `python benchmarks/upsamplers.py`.

It enlarges P5, P4 and P3 of an image at C = 256. A time is the median of runs in which the interpolators take turns,
because a machine's speed drifts. Forward is without gradients. Multiply-adds are counted as for Table 10
(`afigan.evaluation.multiply_adds`). The rate is a fraction of the machine's rate for matrix products of the same
format; with the backward pass there are three times as many multiply-adds, because every product has two gradients.
Memory is the peak of what tensors take above the inputs and weights: on a GPU torch counts it; on a CPU it is the sum
over the outputs of operations that are alive.

The table is printed, and `--out` writes the figures as JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import afigan  # noqa: E402, F401, I001 - before detectron2
import torch  # noqa: E402
from gpu_memory import Allocated  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from afigan.evaluation.multiply_adds import counted  # noqa: E402
from afigan.evaluation.speed import measure_paper_size, processor  # noqa: E402
from afigan.interpolators import INTERPOLATORS, build_interpolator  # noqa: E402
from afigan.params.schema import PaperSize  # noqa: E402

STRIDES = (32, 16, 8)  # of the maps that are enlarged
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Figures:
    """One interpolator at one image size in one number format."""

    height: int
    width: int
    format: str
    interpolator: str
    parameters: int
    multiply_adds: int
    forward_ms: float
    both_ms: float
    forward_rate: float
    both_rate: float
    forward_MiB: float
    both_MiB: float


def peak(call: Callable[[], Any], device: torch.device) -> float:
    """Return the MiB that tensors take at most during a call, above those from before."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with Allocated() as allocated:
        call()
    return allocated.peak / 2**20


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """Return the time of a call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def products(device: torch.device, format: str, side: int) -> float:
    """Return the multiply-adds a second of products of square matrices."""
    a, b = (torch.randn(side, side, device=device, dtype=FORMATS[format]) for _ in range(2))
    return side**3 / min(seconds(lambda: a @ b, device) for _ in range(5))


def maps(height: int, width: int, channels: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return P5, P4 and P3 of an image, (1, C, H, W), each with a finer map (1, C, 2H, 2W)."""
    sizes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    return [
        (
            torch.randn(1, channels, h, w, device=device, requires_grad=True),
            torch.randn(1, channels, 2 * h, 2 * w, device=device, requires_grad=True),  # a pyramid's guide learns too
        )
        for h, w in sizes
    ]


class Case:
    """An interpolator on the maps of an image; a place that has weights of its own costs as much as any other."""

    def __init__(self, name: str, inputs: list[tuple[Tensor, Tensor]], format: str) -> None:
        self.inputs, self.half, self.device = inputs, format == "bf16", inputs[0][0].device
        self.module: nn.Module = build_interpolator(name, inputs[0][0].shape[1]).to(self.device)
        self.guided = INTERPOLATORS[name].guided
        self.places = 1 if INTERPOLATORS[name].shared else len(inputs)

    def forward(self) -> list[Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return [self.module(x, guide) if self.guided else self.module(x) for x, guide in self.inputs]

    def inference(self) -> None:
        self.module.eval()
        with torch.no_grad():
            self.forward()

    def training(self) -> None:
        self.module.train()
        torch.stack([y.float().mean() for y in self.forward()]).sum().backward()

    def forget(self) -> None:
        """Remove all gradients, so that the next backward pass has to allocate them."""
        for value in (*self.module.parameters(), *(x for pair in self.inputs for x in pair)):
            value.grad = None

    def multiply_adds(self) -> int:
        with counted(self.module) as found:
            self.inference()
        return found.total


def compare(
    size: tuple[int, int], format: str, names: Iterable[str], channels: int, runs: int, device: torch.device
) -> list[Figures]:
    """Measure interpolators at the maps of one image size, in turns."""
    inputs = maps(*size, channels, device)
    cases = {name: Case(name, inputs, format) for name in names}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in cases}
    for run in range(runs + 1):  # the first one is not counted
        for name, case in cases.items():
            say(f"{size[0]} x {size[1]} {format} {name}: run {run} of {runs}")
            both = seconds(case.inference, device), seconds(case.training, device)
            for values, value in zip(times[name], both, strict=True):
                values.append(value)
    rate, found = products(device, format, 256 if runs == 1 else 4096 if device.type == "cuda" else 1536), []
    for name, case in cases.items():
        forward, both = (statistics.median(values[1:]) for values in times[name])
        count = case.multiply_adds()
        case.forget()  # gradients of the timed runs
        memory = peak(case.inference, device), peak(case.training, device)
        case.forget()  # the maps are those of all cases
        weights = case.places * sum(p.numel() for p in case.module.parameters())
        rates = count / forward / rate, 3 * count / both / rate
        found.append(Figures(*size, format, name, weights, count, 1e3 * forward, 1e3 * both, *rates, *memory))
    return found


def markdown(figures: list[Figures], whole: dict[str, Any] | None) -> str:
    """Return the figures as tables, one a size and format."""
    lines: list[str] = []
    for height, width, format in dict.fromkeys((f.height, f.width, f.format) for f in figures):
        rows = [f for f in figures if (f.height, f.width, f.format) == (height, width, format)]
        lines += [f"P5 to P2 of {height} x {width} px, {format}:", ""]
        lines += [
            "| interpolator | parameters | multiply-adds | forward | of the peak | with backward | of it | memory |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|"]
        for f in rows:
            cells = [f.interpolator, f"{f.parameters:,}", f"{f.multiply_adds / 1e9:.3g} G", f"{f.forward_ms:.3g} ms"]
            cells += [f"{100 * f.forward_rate:.0f} %", f"{f.both_ms:.3g} ms", f"{100 * f.both_rate:.0f} %"]
            lines.append("| " + " | ".join([*cells, f"{f.forward_MiB:.0f}, {f.both_MiB:.0f} MiB"]) + " |")
        lines.append("")
    if whole is not None:
        lines += [f"Mask R-CNN, R50-FPN, {whole['height']} x {whole['width']} px:", ""]
        lines += ["| interpolator | parameters | time | ratio to nearest |", "|---|---|---|---|"]
        for name, value in whole["time_ms"].items():
            millions, ratio = whole["params_M"][name], value / whole["time_ms"]["nearest"]
            lines.append(f"| {name} | {millions:.2f} M | {value:.0f} ms | {ratio:.2f} |")
        lines.append("")
    return "\n".join(lines)


def say(line: str) -> None:
    """Show progress on standard error."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"), help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="of a CPU (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="of each interpolator (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=list(INTERPOLATORS), choices=list(INTERPOLATORS), metavar="NAME")
    parser.add_argument("--sizes", nargs="+", default=["480x640", "800x1333"], metavar="HxW")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--no-detector", action="store_true", help="leave the whole Mask R-CNN out")
    parser.add_argument("--quick", action="store_true", help="toy sizes, one run of each, no detector")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    device = (
        torch.device(arguments.device)
        if arguments.device != "auto"
        else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    sizes = ["64x96"] if arguments.quick else arguments.sizes
    channels, runs = (16, 1) if arguments.quick else (256, arguments.runs)
    figures: list[Figures] = []
    for size in sizes:
        height, width = (int(side) for side in size.split("x"))
        for format in arguments.formats:
            figures += compare((height, width), format, arguments.only, channels, runs, device)
    whole = None
    if not arguments.quick and not arguments.no_detector:
        say("the whole Mask R-CNN")
        names = ("nearest", *(name for name in arguments.only if name != "nearest"))
        settings = PaperSize(runs=runs, warm_up=1, height=480, width=640)
        whole = measure_paper_size(settings, arguments.threads, device, names)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{processor()}, {arguments.threads} threads"
    print(f"{name}, torch {torch.__version__}, C = {channels}\n\n{markdown(figures, whole)}")
    if arguments.out:
        about = {"machine": name, "torch": torch.__version__, "channels": channels, "runs": runs}
        result = {**about, "maps": [asdict(f) for f in figures], "detector": whole}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
