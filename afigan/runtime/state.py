"""The state of a working process, for everyone who can see its files: `state.json` (`make status` reads it).

The script of a stage keeps one in `runs/KIND/KEY/`. A training run keeps another in its own folder,
`runs/KIND/KEY-HASH/`, with what its journal knows. No result depends on them. If a state cannot be written, this is
only reported on the terminal.
"""

import logging
import os
import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from afigan.runtime import preemption

RUNS = Path("runs")
FILE = "state.json"
ERROR = "error.log"  # beside it: the traceback of a failure
LOGGER = logging.getLogger("afigan")
ENDS = {"KeyboardInterrupt": "interrupted", "Preempted": "preempted"}  # by the exception's name; others are failures


def now() -> datetime:
    """Return the time by this machine's clock, in UTC."""
    return datetime.now(UTC)


class Process(BaseModel):
    """The process that wrote a state; on its own machine these values show whether it is alive.

    Args:
        host: the machine's name.
        namespace: of process numbers; a container may share its host's name and not its numbers. Empty if unknown.
        pid: its number.
        born: its start in ticks since the machine was started, because numbers are reused. Empty if unknown.
    """

    host: str = Field(default_factory=socket.gethostname)
    namespace: str = Field(default_factory=lambda: _namespace())
    pid: int = Field(default_factory=os.getpid, gt=0)
    born: str = Field(default_factory=lambda values: _born(values["pid"]))

    def lives(self) -> bool | None:
        """Return whether the process is alive; None if that cannot be seen from here."""
        here = Process()
        if (self.host, self.namespace) != (here.host, here.namespace):
            return None
        try:
            os.kill(self.pid, 0)
        except PermissionError:  # another user's process
            pass
        except (ProcessLookupError, OverflowError):
            return False
        return _born(self.pid) == self.born


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return ""


def _born(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended; proc(5) counts starttime as the 22nd


class State(BaseModel):
    """The content of `state.json`.

    Args:
        node: as in `afigan.params.stages`; or `prepare`, `pairs/DEGRADATION`, `benchmark`, `figures`, `tables`.
        params_hash: `params_hash` of `afigan.params.lineage.Node`; empty if it has none.
        status: running, or how it ended.
        error: the exception's name and the first line of its message, if it failed; ERROR has all of it.
        process: the one that works; began: when it started; written: when this state was written.
        iteration, total: iterations done, and those of the schedule; `total` is None except for a training run.
        seconds: per iteration, the mean since the process began to train.
        losses: those in the log's last line, by name.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings")

    node: str
    params_hash: str
    status: Literal["running", "done", "failed", "interrupted", "preempted"] = "running"
    error: str = ""
    process: Process = Field(default_factory=Process)
    began: AwareDatetime = Field(default_factory=now)
    written: AwareDatetime = Field(default_factory=now)
    iteration: int = Field(default=0, ge=0)
    total: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    losses: dict[str, float] = {}


def read(folder: Path) -> State | None:
    """Return the state in a folder; None if there is none, or if the file is not a state."""
    try:
        return State.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return None


def write(folder: Path, state: State) -> None:
    """Replace the state in a folder."""
    temporary = folder / f".{FILE}.tmp"  # always the same, so that the next write replaces what a killed process left
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # not flushed to the disk, as results are: writes are frequent, and readers accept anything
            temporary.write_text(state.model_dump_json(indent=1) + "\n", "utf-8")
            os.replace(temporary, folder / FILE)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        LOGGER.warning("%s: not written, so `make status` cannot show it (%s)", folder / FILE, error)


def update(folder: Path, **change: Any) -> None:
    """Change some values of the state in a folder, if `recorded` has begun one."""
    if (state := read(folder)) is not None:
        write(folder, state.model_copy(update={**change, "written": now()}))


@contextmanager
def recorded(folder: Path, node: str, params_hash: str, *, first: bool = True) -> Iterator[None]:
    """Keep the state in a folder: running during the body, then how it ended.

    Args:
        first: whether this process reports for all of them; the others report only their failures.
    """
    if first:
        write(folder, State(node=node, params_hash=params_hash))
    try:
        yield
    except BaseException as error:
        _failed(folder, error)
        raise
    if first:
        update(folder, status="done")


def _failed(folder: Path, error: BaseException) -> None:
    """Record why the body failed. The first failed process is the cause, because the others then miss it."""
    state = read(folder)
    if state is None or state.status != "running":
        return
    kind = type(error).__name__
    status = ENDS.get(kind, "failed")
    if preemption.asked() or (isinstance(error, SystemExit) and error.code == preemption.EXIT_STATUS):
        status = "preempted"
    if status == "failed":
        try:
            (folder / ERROR).write_text("".join(traceback.format_exception(error)), "utf-8", errors="replace")
        except OSError as problem:
            LOGGER.warning("%s: not written (%s)", folder / ERROR, problem)
    line = f"{kind}: {error}".splitlines()[0].encode("utf-8", "replace").decode()  # file names may not be UTF-8
    update(folder, status=status, error=line if status == "failed" else "")


def in_words(losses: dict[str, float]) -> str:
    """Return `total 1.23  cls 0.456`: the sum first, because long lines are cut."""
    names = sorted(losses, key=lambda name: name != "loss_total")
    return "  ".join(f"{name.removeprefix('loss_')} {losses[name]:.3g}" for name in names)
