"""The end of a command: one message for an error that the user can fix, and an exit status for every kind of end."""

import contextlib
import errno
import logging
import sys
from collections.abc import Iterator

from afigan.runtime.preemption import EXIT_STATUS, Preempted, asked, exit_at_once

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# top-level module -> the extra of this package that installs it; any other is in `detection`
EXTRAS = {
    **dict.fromkeys(["onnx", "onnxscript", "onnxruntime"], "export"),
    **dict.fromkeys(["hydra", "omegaconf", "timm", "pandas", "matplotlib", "captum", "scipy", "jinja2"], "pipeline"),
    **dict.fromkeys(["rich", "tensorboard", "contourpy", "faster_coco_eval"], "pipeline"),
    "detectron2": "detection,detectron2",
}


@contextlib.contextmanager
def clean_exit(name: str, traceback: bool = False) -> Iterator[None]:
    """Turn errors that the user can fix into one message and exit status 2; others keep their traceback.

    Args:
        name: of the command, before every message.
        traceback: keep it for these errors too.
    """
    logging.basicConfig(format=f"{name}: %(message)s")
    logging.getLogger("afigan").setLevel(logging.INFO)
    try:
        with sigterm(name):
            yield
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)
    except Preempted as end:
        print(f"{name}: {end}; run it again to continue from there", file=sys.stderr)
        sys.exit(EXIT_STATUS)
    # FloatingPointError: training has diverged; OSError: no file, no space, no permission
    except (ValueError, FloatingPointError, OSError, ModuleNotFoundError) as error:
        if traceback:
            raise
        print(f"{name}: {describe(error)}", file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def sigterm(name: str) -> Iterator[None]:
    """Let SIGTERM end the body with exit status 75, even where a library turns it into an error of its own."""
    exit_at_once()
    try:
        yield
    except BaseException:
        if not asked():
            raise
        print(f"{name}: ended by SIGTERM", file=sys.stderr)
        sys.exit(EXIT_STATUS)


def describe(error: Exception) -> str:
    """Return the message of an error, with the remedy where only a command can know it."""
    if isinstance(error, FileNotFoundError):
        name = error.filename or error
        return f"{name} does not exist: run the stages before this one (`dvc repro` or `snakemake` does), from the root"
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return f"{error}: free space there and run it again; complete files are kept, incomplete ones are removed"
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").split(".")[0], "detection")
        return (
            f"{error}: `make setup` installs what is needed into .venv; put .venv/bin first on PATH. Without a "
            f"checkout, `pip install 'afigan[{extra}]'`"
        )
    return str(error)
