"""Progress of all nodes in params.yaml, from files: outputs, states of `afigan.runtime.state` in runs/, checkpoints.

It can be read during a run, on any machine that sees the files. This module writes nothing and imports nothing heavy.
`done` means done with the current parameters; `dvc status` and `snakemake -n` know whether code or data have changed.
"""

import textwrap
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from afigan.outputs.currency import recorded_hash
from afigan.outputs.paths import all_nodes
from afigan.params.lineage import Lineage
from afigan.params.schema import Params
from afigan.params.stages import KINDS, SUMMARIES, split_node
from afigan.runtime import state
from afigan.runtime.state import ERROR, RUNS, State

SILENT = "no sign of life"
QUIET = 600.0  # seconds without a new state; the clocks of two machines may be minutes apart

# --- what the files say -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """The state of a node.

    Args:
        node: as in `afigan.runtime.state.State`.
        status: `done`; `there`, an output without a record of its parameters; `stale`, an output of other parameters,
            or a summary of results that are not all done; `waiting`; or that of the last process: `running`, `failed`,
            `interrupted`, `preempted`, SILENT.
        run: the state that the training run has reported, of any status.
        checkpoint: iteration and time of the newest checkpoint.
        note: a few words.
        reason: the error, and the file that has more of it.
    """

    node: str
    status: str
    run: State | None = None
    checkpoint: tuple[int, datetime] | None = None
    note: str = ""
    reason: str = ""

    @property
    def eta(self) -> float | None:
        """Seconds that the rest of a training takes at the speed so far."""
        if self.status != "running" or self.run is None or self.run.seconds is None:
            return None
        return max(0, (self.run.total or 0) - self.run.iteration) * self.run.seconds


def rows(params: Params, time: datetime) -> list[Row]:
    """Return a row for each of `nodes`, from the files in the working directory at `time`."""
    lineage = Lineage(params)
    hashes = {node: lineage[node].params_hash if is_experiment(node) else "" for node in all_nodes(params)}
    found = {node: _row(node, params_hash, time) for node, params_hash in hashes.items()}
    for node, row in found.items():
        if row.status == "waiting" and not row.note and is_experiment(node):
            missing = [parent.name for parent in lineage[node].parents if found[parent.name].status != "done"]
            found[node] = replace(row, note=f"for {', '.join(missing)}" if missing else "")
    if not all(row.status == "done" for node, row in found.items() if is_experiment(node)):
        for node in SUMMARIES:
            if found[node].status == "there":
                found[node] = replace(found[node], status="stale")
    return list(found.values())


def is_experiment(node: str) -> bool:
    """Return whether a node is an experiment of params.yaml, with a hash of its parameters."""
    return split_node(node)[0] in KINDS


def _row(node: str, params_hash: str, time: datetime) -> Row:
    made = _made(node, params_hash)
    # the script's state and those of its runs: a run's hash is of more than parameters, so there may be several runs
    told = {folder: state.read(folder) for folder in (RUNS / node, *RUNS.glob(f"{node}-*"))}
    ours = {folder: said for folder, said in told.items() if said and said.params_hash == params_hash}
    if not ours:
        others = [said for said in told.values() if said and said.status == "running" and said.process.lives()]
        return Row(node, made, note=f"{_who(others[0])} is running it with other parameters" if others else "")
    folder, last = max(ours.items(), key=lambda item: item[1].written)
    status, reason = _fate(last, time)
    if status == "done" or (made == "done" and status != "running"):
        return Row(node, made)
    reason = f"{last.error} ({folder / ERROR})" if status == "failed" else f"{reason} ({folder})" if reason else ""
    runs = {folder: said for folder, said in ours.items() if said.total is not None}
    if not runs:
        return Row(node, status, note=_since(last), reason=reason)
    place, run = max(runs.items(), key=lambda item: item[1].written)
    if (
        status == "running" and run is not last and run.written < last.began
    ):  # an earlier process's run: the current one has not started its own yet
        return Row(node, status, None, _checkpoint(place), _since(last), reason)
    return Row(node, status, run, _checkpoint(place), reason=reason)


def _made(node: str, params_hash: str) -> str:
    """Return `done`, `there`, `stale` or `waiting`, from only the output."""
    found = recorded_hash(node)
    if found is None:
        return "waiting"
    if not params_hash:
        return "there"
    return "done" if found == params_hash else "stale"


def _fate(said: State, time: datetime) -> tuple[str, str]:
    """Return the status of the process that wrote this state, and the error, if there is one."""
    if said.status != "running":
        return said.status, ""
    lives = said.process.lives()
    last = f"last report at {_clock(said.written)}"
    if lives is False:
        return SILENT, f"{_who(said)} has ended without a report (killed, or out of memory?); {last}"
    # only a training run writes its state repeatedly
    limit = max(QUIET, 20 * (said.seconds or 0))
    if said.total is not None and (time - said.written).total_seconds() > limit:
        return ("running" if lives else SILENT), f"{_who(said)}: {last}"
    return "running", ""


def _checkpoint(run: Path) -> tuple[int, datetime] | None:
    """Return iteration and time of the newest checkpoint."""
    for path in sorted(run.glob("checkpoint-*.pt"), reverse=True):
        try:
            written = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
            return int(path.stem.partition("-")[2]), written
        except (OSError, ValueError):  # just removed by the running training, or not our checkpoint
            continue
    return None


def _who(said: State) -> str:
    return f"process {said.process.pid} on {said.process.host}"


def _since(said: State) -> str:
    return f"{_who(said)}, since {_clock(said.began)}" if said.status == "running" else ""


# --- as text ----------------------------------------------------------------------------------------------------------

HEADINGS = ["", "", "iteration", "ETA", "checkpoint", "losses"]
NUMBERS = ("iteration", "ETA")
INDENT = "    "
COUNTED = ("done", "running", "failed", SILENT, "interrupted", "preempted", "stale", "waiting")


def render(table: list[Row], time: datetime, width: int, height: int | None = None) -> str:
    """Format rows as text of lines at most `width` wide; if `height` lines are too few, only the rows in progress."""
    lines, left = _lines(table, time, width), ""
    if height is not None and len(lines) + 1 > height:
        lines, left = _lines(busy(table), time, width), not_shown(table)
    return "\n".join([*textwrap.wrap(summary(table, time) + left, width), *lines])


def busy(table: list[Row]) -> list[Row]:
    """Return the rows in progress, and those that have ended without a result."""
    return [row for row in table if row.status not in ("done", "there", "stale", "waiting")]


def not_shown(table: list[Row]) -> str:
    """Return how many rows `busy` leaves out, to be added to the summary."""
    return f"; not shown: {len(table) - len(busy(table))} done or waiting"


def summary(table: list[Row], time: datetime) -> str:
    """Return one sentence: the time, the number of experiments of each status, the time that is left."""
    experiments = [row for row in table if is_experiment(row.node)]
    count = Counter(row.status for row in experiments)
    text = ", ".join(f"{count[status]} {status}" for status in COUNTED if count[status])
    left = [row.eta for row in experiments if row.eta is not None]
    rest = f"; the current trainings need another {_duration(max(left))}" if left else ""
    return f"{_clock(time)}: {len(experiments)} experiments: {text}{rest}"


def _lines(table: list[Row], time: datetime, width: int) -> list[str]:
    texts_of = [HEADINGS, *(cells(row, time) for row in table)]
    widths = [max(map(len, column)) for column in zip(*texts_of, strict=True)]
    lines = []
    for texts, row in zip(texts_of, [None, *table], strict=True):
        line = "  ".join(
            text.rjust(size) if heading in NUMBERS else text.ljust(size)
            for text, size, heading in zip(texts, widths, HEADINGS, strict=True)
        ).rstrip()
        lines.append(line if len(line) <= width else line[: width - 1] + "…")
        if row is not None:
            lines += textwrap.wrap(row.reason, width, initial_indent=INDENT, subsequent_indent=INDENT)
    return lines


def cells(row: Row, time: datetime) -> list[str]:
    """Return the texts of a row, one for each of HEADINGS."""
    iteration = eta = checkpoint = ""
    words = row.note
    if row.run is not None:
        total = row.run.total or 0
        iteration = f"{row.run.iteration}/{total} {row.run.iteration / total if total else 1:4.0%}"
        eta = "" if row.eta is None else _duration(row.eta)
        words = words or state.in_words(row.run.losses)
    if row.checkpoint is not None:
        number, written = row.checkpoint
        checkpoint = f"{number}, {_duration((time - written).total_seconds())} ago"
    return [row.node, row.status, iteration, eta, checkpoint, words]


def _clock(time: datetime) -> str:
    """Format a time in this machine's time zone, with the date, because a run may take days."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float) -> str:
    """Format seconds as `0:01:12` or `2 days, 3:04:05`; a negative duration, from a clock that is behind, is 0."""
    return str(timedelta(seconds=round(min(max(seconds, 0), 1e9))))
