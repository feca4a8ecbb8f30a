"""Handling of SIGTERM, which a scheduler sends before it takes a machine back.

A training stage then writes a checkpoint and exits with `EXIT_STATUS`. If it is started again, it continues from there.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_STATUS = os.EX_TEMPFAIL  # 75 of sysexits.h: a failure that another try may fix


class Preempted(Exception):
    """The error of a run that was asked to end before its last iteration."""


_asked = threading.Event()


def exit_at_once() -> None:
    """Let SIGTERM end this process with `EXIT_STATUS` and without temporary files, wherever no loop handles it."""

    def leave(number: int, frame: FrameType | None) -> None:
        if not _asked.is_set():  # a scheduler may send it twice; the first time is enough to tidy up
            _asked.set()
            sys.exit(EXIT_STATUS)

    signal.signal(signal.SIGTERM, leave)


def asked() -> bool:
    """Return whether SIGTERM is ending this process: a library may have turned the exit into its own error."""
    return _asked.is_set()


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """Keep SIGTERM from ending the body; yield a function that returns whether it has come.

    Outside of the main thread the function always returns False, because Python handles no signals there.

    Raises:
        Preempted: SIGTERM has come, and the body lost a process that it needs, because schedulers signal all processes.
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
