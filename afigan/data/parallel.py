"""Work on many images in several processes, with one progress bar over all of them."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_any
from typing import Any, TypeVar

from tqdm import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")

_POLL_SECONDS = 0.2
_LINE_SECONDS = 10.0  # seconds between two progress lines in a log


class Progress:
    """The number of images done, on stderr: a bar on a terminal, a plain line every few seconds in a log file."""

    def __init__(self, total: int, description: str):
        self.total, self.description, self.done = total, description, 0
        self._start = self._printed = time.monotonic()
        self._bar = tqdm(total=total, desc=description, unit=" images") if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
        else:
            self._print()

    def tick(self, count: int = 1) -> None:
        """Count `count` more images as done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._printed > _LINE_SECONDS and self.done < self.total:
            self._print()

    def _print(self) -> None:
        self._printed = time.monotonic()
        elapsed = self._printed - self._start
        rate = self.done / max(elapsed, 1e-6)
        line = f"{self.description}: {self.done}/{self.total} images, {elapsed:.0f} s, {rate:.0f} images/s"
        print(line, file=sys.stderr, flush=True)


def available_cpus() -> int:
    """Return the number of CPU cores that this process may use; a batch system may grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_images(
    function: Callable[[Task, Callable[[], None]], Result],
    tasks: Sequence[Task],
    *,
    workers: int,
    images: int,
    description: str,
    done: int = 0,
) -> list[Result]:
    """Return `[function(task, tick) for task in tasks]`, in `workers` processes; `function` calls `tick()` per image.

    `images` is the total number of images; `done` of them were finished before this call. A task's first exception is
    raised here, and tasks that have not begun are dropped. One worker means this process.

    Raises:
        RuntimeError: a worker process died, most likely from lack of memory.
    """
    assert workers >= 1
    with Progress(images, description) as progress:
        progress.tick(done)
        if min(workers, len(tasks)) <= 1:
            return [function(task, progress.tick) for task in tasks]
        context = multiprocessing.get_context("fork")  # workers start in milliseconds and import nothing again
        counter = context.Value("q", 0)
        with ProcessPoolExecutor(
            min(workers, len(tasks)), mp_context=context, initializer=_start_worker, initargs=(counter,)
        ) as pool:
            futures = [pool.submit(_run, function, task) for task in tasks]
            try:
                pending = set(futures)
                while pending:
                    finished, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
                    progress.tick(done + counter.value - progress.done)
                    for future in finished:
                        future.result()
            except BrokenProcessPool:
                raise RuntimeError(
                    f"{description}: a worker process died (out of memory?): use fewer workers"
                ) from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            return [future.result() for future in futures]


_counter: Any = None  # in a worker: the count of finished images, shared by all workers


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    # a scheduler may send it to all processes of a job; only the parent ends the work
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Die with the parent: a killed parent cannot stop its workers, and they would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers run this"
    wait_for_any([parent.sentinel])
    os._exit(1)


def _run(function: Callable[[Task, Callable[[], None]], Result], task: Task) -> Result:
    return function(task, _tick)


def _tick() -> None:
    with _counter.get_lock():
        _counter.value += 1
