"""The progress of a Snakemake run of one or several calls: one line, with the remaining time of all calls."""

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from typing import TextIO

from afigan.params.stages import STAGES

PLAIN_EVERY = 60.0  # seconds between lines where there is no terminal
STARTED = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):")
JOB = re.compile(r"^\s+jobid: (\d+)")
FINISHED = re.compile(r"^Finished jobid: (\d+)")
COUNT = re.compile(r"^(\w+)\s+(\d+)\s*$")
LONG = {stage.name for stage in STAGES if stage.schedule}  # rules of hours, not minutes
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: the terminal was closed


class Progress:
    """A follower of Snakemake's output.

    Args:
        plan: the output of `snakemake -n`, whose table gives the number of jobs of each rule.
        at_a_time: the number of trainings at a time.

    Attributes:
        total: the number of jobs to run, without the rule `all`.
    """

    def __init__(self, plan: str, at_a_time: int) -> None:
        self.left = planned_jobs(plan)
        self.total = sum(self.left.values())
        self.at_a_time, self.begun = at_a_time, time.monotonic()
        self._durations: dict[str, list[float]] = defaultdict(list)
        self._running: dict[str, tuple[str, float]] = {}
        self._rule = ""
        self._last: deque[str] = deque(maxlen=25)
        self._said = -math.inf
        self._lock = threading.Lock()

    def follow(self, command: list[str], log: TextIO) -> int:
        """Run Snakemake and return its exit status.

        An interrupt, a request to end, a closed terminal and an error here end its stages, each with a checkpoint.
        """
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        asked = []

        def stop() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # Snakemake and its stages are a process group

        def end(number: int, frame: object) -> None:
            asked.append(number)
            stop()

        # `nohup` ignores a closed terminal, and so do we under it
        heard = [n for n in ENDS if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, end) for number in heard}
        done = threading.Event()
        clock_hand = threading.Thread(target=self._show_until, args=[done], daemon=True)
        clock_hand.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                with self._lock:
                    self.read(line)
            status = process.wait()
        finally:
            if process.poll() is None:  # the log cannot be written, for example
                stop()
                process.wait()
            done.set()
            clock_hand.join()
            for number, handler in before.items():
                signal.signal(number, handler)
        if sys.stderr.isatty():
            print(file=sys.stderr)
        if asked:
            if signal.SIGINT in asked:
                raise KeyboardInterrupt
            sys.exit(75)
        return status

    def read(self, line: str, now: float | None = None) -> None:
        """Read one line of Snakemake's output."""
        now = time.monotonic() if now is None else now
        self._last.append(line)
        if match := STARTED.match(line):
            self._rule = match[1]
        elif (match := JOB.match(line)) and self._rule:
            self._running[match[1]] = (self._rule, now)
            self._rule = ""
        elif (match := FINISHED.match(line)) and match[1] in self._running:
            rule, begun = self._running.pop(match[1])
            self._durations[rule].append(now - begun)
            if self.left[rule]:
                self.left[rule] -= 1

    def seconds_left(self, now: float | None = None) -> float | None:
        """Estimate the remaining time of all jobs from the mean durations of finished ones.

        None if none has finished, or if a kind of training has jobs left and none finished: it may take hours.
        """
        now = time.monotonic() if now is None else now
        known = {rule: sum(times) / len(times) for rule, times in self._durations.items()}
        if not known or any(count and rule in LONG - known.keys() for rule, count in self.left.items()):
            return None
        typical = sum(known.values()) / len(known)
        work = sum(count * known.get(rule, typical) for rule, count in self.left.items())
        work -= sum(min(now - begun, known.get(rule, typical)) for rule, begun in self._running.values())
        return max(work, 0.0) / self.at_a_time

    def line(self) -> str:
        """Return `repro  123/490 stages  0:21:10  ETA 1:04:00  train_detector, evaluate`."""
        left = self.seconds_left()
        running = ", ".join(sorted(Counter(rule for rule, _ in self._running.values())))
        times = f"{clock(time.monotonic() - self.begun)}  ETA {'unknown' if left is None else clock(left)}"
        return f"repro  {self.total - sum(self.left.values())}/{self.total} stages  {times}  {running}"

    def _show_until(self, done: threading.Event) -> None:
        while True:
            with self._lock:
                self.show()
            if done.wait(1.0):
                return

    def show(self) -> None:
        """Print the line: in place on a terminal, or else once a minute."""
        now = time.monotonic()
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1  # a longer line would not be overwritten
            print(f"\r\033[K{self.line()[:width]}", end="", file=sys.stderr, flush=True)
        elif now - self._said >= PLAIN_EVERY:
            self._said = now
            print(self.line(), file=sys.stderr, flush=True)

    def tail(self) -> str:
        """Return the last lines that Snakemake has printed."""
        return "".join(self._last)


def planned_jobs(plan: str) -> Counter[str]:
    """Read {rule: jobs} from the table of `snakemake -n`, without `all`; empty if there is nothing to do."""
    found: Counter[str] = Counter()
    inside = False
    for line in plan.splitlines():
        if line.startswith("job ") and line.split() == ["job", "count"]:
            inside = True
        elif inside and (match := COUNT.match(line)):
            if match[1] == "total":
                break
            if match[1] != "all":
                found[match[1]] = int(match[2])
    return found


def clock(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
