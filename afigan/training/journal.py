"""Reports of a run: the lines of its log, TensorBoard's curves, progress."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from afigan.runtime import state
from afigan.runtime.comm import average_scalars
from afigan.runtime.files import atomic_path


class Window:
    """The mean of each loss term since the log's last line; until a line is due, the terms stay on their device."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, Any] = {}

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add the scalars of one iteration; their names are always the same."""
        values = {name: term.detach().double() for name, term in terms.items()}
        self.sums = {name: self.sums[name] + value for name, value in values.items()} if self.count else values
        self.count += 1

    def close(self) -> dict[str, float]:
        """Return the means over the iterations and over the ranks, and start again."""
        means = average_scalars({name: value / self.count for name, value in self.sums.items()})
        self.count, self.sums = 0, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "sums": {name: float(value) for name, value in self.sums.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count, self.sums = state["count"], state["sums"]


class Journal:
    """A run's `metrics.jsonl`, `tensorboard/`, `train.log` and its progress on the terminal; for rank 0.

    On a terminal progress is a bar, otherwise a line every few seconds; those lines always go to `train.log`. The run's
    progress is written to `state.json` at the same times.

    Args:
        run: the run's folder.
        total: iterations of the schedule.
        start: iterations done.
        log: their lines; lines that a killed run logged after its checkpoint are dropped, because the run repeats them.
    """

    def __init__(self, run: Path, total: int, start: int, log: list[dict[str, float]]) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import, and evaluation does not need it

        self.run, self.total, self.start, self.done = run, total, start, start
        path = run / "metrics.jsonl"
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in log), "utf-8")
        self.metrics = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed in __exit__
        self.file = open(run / "train.log", "a", encoding="utf-8")  # noqa: SIM115
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)
        self.bar = tqdm(total=total, initial=start, desc=run.name, disable=not sys.stderr.isatty(), leave=False)
        self.losses = _losses(log[-1]) if log else {}
        self.begin, self.last = time.monotonic(), 0.0
        self.each: float | None = None  # seconds for an iteration
        self._tell()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: object) -> None:
        self._tell()
        for part in (self.bar, self.board, self.file, self.metrics):
            part.close()

    def write(self, line: dict[str, float]) -> None:
        """Log a line of `iteration` and scalars by name."""
        self.metrics.write(json.dumps(line) + "\n")
        self.metrics.flush()
        for name, value in line.items():
            self.board.add_scalar(name, value, int(line["iteration"]))
        self.losses = _losses(line)

    def progress(self, iteration: int, lr: float) -> None:
        """Show that an iteration is done, with the losses of the last line."""
        self.done = iteration
        self.bar.update()
        self.bar.set_postfix_str(state.in_words(self.losses), refresh=False)
        now = time.monotonic()
        if now - self.last > 5 or iteration == self.total:
            self.last = now
            self.each = (now - self.begin) / (iteration - self.start)
            eta = timedelta(seconds=round(self.each * (self.total - iteration)))
            shown = f"{iteration}/{self.total}  {self.each:.3f} s/it  ETA {eta}  lr {lr:.3g}"
            text = f"{self.run.name}  {shown}  {state.in_words(self.losses)}"
            self.file.write(text + "\n")
            self.file.flush()
            if self.bar.disable:
                print(text, file=sys.stderr, flush=True)
            self._tell()

    def _tell(self) -> None:
        state.update(self.run, iteration=self.done, total=self.total, seconds=self.each, losses=self.losses)


def _losses(line: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in line.items() if "loss" in name}
