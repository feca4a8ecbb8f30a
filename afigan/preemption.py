"""SIGTERM, which a scheduler sends before it takes a machine back: a training stage writes a checkpoint, then ends.

A stage that ends so exits with `EXIT_STATUS`. Started again, it goes on from there.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_STATUS = os.EX_TEMPFAIL  # 75 of sysexits.h: a failure that another try may mend


class Preempted(Exception):
    """A run was asked to end before its last iteration."""


_asked = threading.Event()


def exit_at_once() -> None:
    """Let SIGTERM end this process with `EXIT_STATUS`, temporary files removed, wherever no loop takes note of it."""

    def leave(number: int, frame: FrameType | None) -> None:
        if not _asked.is_set():  # a scheduler may send it twice; the first time is enough to tidy up
            _asked.set()
            sys.exit(EXIT_STATUS)

    signal.signal(signal.SIGTERM, leave)


def asked() -> bool:
    """Whether SIGTERM is ending this process: a library may have turned the exit into an error of its own."""
    return _asked.is_set()


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """Within the body SIGTERM ends nothing; what is yielded says whether it has come.

    Outside of the main thread, where Python handles no signals, it never says so.

    Raises:
        Preempted: it has come, and the body lost a process that it needs: schedulers send it to all of a job.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.set())
    try:
        yield came.is_set
    except RuntimeError as error:
        if came.is_set():
            raise Preempted(f"asked to end ({error})") from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
