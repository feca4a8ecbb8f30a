"""The hours that the nodes of params.yaml still need, estimated from the journals of those that have run.

A node's own run says how long an iteration takes. A node that has not run takes as long as similar ones with the
current parameters: of the same kind, head, pyramid and interpolator if there are any, else of the same kind and head,
else of the same kind. Runs with other parameters tell nothing, because image sizes and networks may differ. Outputs of
`prepare` and `pairs` have no record of their parameters: where they are there, they count as done.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from afigan.outputs import status
from afigan.params.lineage import Lineage, Node
from afigan.params.schema import Params
from afigan.params.stages import NETWORKS, split_node
from afigan.runtime.state import RUNS, State, read

OWN = "its own run"


@dataclass(frozen=True)
class Item:
    """A node with the time that it still needs.

    Args:
        node: as in `afigan.runtime.state.State`.
        status: as in `afigan.outputs.status.Row`.
        iterations: those that a training still has to do; None for other nodes.
        seconds: the rest of the node on one process per stage; 0 if it is done; None if nothing like it has run.
        basis: whose journals the estimate is from; empty if the node is done or nothing like it has run.
    """

    node: str
    status: str
    iterations: int | None
    seconds: float | None
    basis: str


def plan(params: Params, time: datetime) -> list[Item]:
    """Return an item for each node of the parameters, from the files in the working directory at `time`."""
    lineage, rows = Lineage(params), status.rows(params, time)
    nodes = {row.node: lineage.get(row.node) for row in rows}
    known: dict[str, float] = {}
    for name, node in nodes.items():
        if (cost := _cost(name, node)) is not None:
            known[name] = cost
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for name, cost in known.items():
        for group in _groups(name, nodes[name]):
            groups[group].append(cost)
    return [_item(row, nodes[row.node], known, groups) for row in rows]


@dataclass(frozen=True)
class RowCost:
    """The time of a table's row, in the unit of its nodes' times.

    Args:
        table, row: as in params.yaml.
        needed: the time of all nodes that the row needs; None if that of one of them is unknown.
        own: that of those that no other row needs.
    """

    table: str
    row: str
    needed: float | None
    own: float | None


def row_costs(params: Params, time: Callable[[str], float | None]) -> list[RowCost]:
    """Return the cost of each row of each table; `time` is that of a node by its name, None if it is unknown."""
    lineage = Lineage(params)

    def needed(name: str) -> set[str]:
        return {name}.union(*(needed(parent.name) for parent in lineage[name].parents))

    rows = {}
    for table, entries in params.tables.items():
        for row, keys in entries.items():
            named = [keys] if isinstance(keys, str) else keys
            rows[table, row] = set().union(*(needed(f"evaluations/{key}") for key in named))
    # rows of several tables may be one and the same: what they have is shared by no *other* row
    times = Counter(name for names in {frozenset(names) for names in rows.values()} for name in names)

    def total(names: set[str]) -> float | None:
        values = [time(name) for name in names]
        return None if None in values else sum(value or 0 for value in values)

    return [
        RowCost(table, row, total(names), total({name for name in names if times[name] == 1}))
        for (table, row), names in rows.items()
    ]


def _item(
    row: status.Row, node: Node | None, known: dict[str, float], groups: dict[tuple[str, ...], list[float]]
) -> Item:
    left = None
    if node is not None and node.is_training:
        at = row.checkpoint[0] if row.checkpoint else 0
        if row.status == "running" and row.run is not None:
            at = max(at, row.run.iteration)
        left = node.schedule.iterations - at
    if row.status in ("done", "there"):
        return Item(row.node, row.status, None if left is None else 0, 0.0, "")
    amount = 1 if left is None else left
    if row.node in known:
        return Item(row.node, row.status, left, amount * known[row.node], OWN)
    for group in _groups(row.node, node):
        if group in groups:
            each = statistics.median(groups[group])
            return Item(row.node, row.status, left, amount * each, f"{len(groups[group])} of {' '.join(group)}")
    return Item(row.node, row.status, left, None, "")


def _groups(name: str, node: Node | None) -> list[tuple[str, ...]]:
    """Return the groups of nodes that cost about the same, the narrowest first."""
    kind, _ = split_node(name)
    found: list[tuple[str, ...]] = [(kind,)]
    if node is not None and kind in NETWORKS:
        network = (node.pyramid, node.experiment.interpolator)
        found = [(kind, node.head, *network), (kind, node.head), *found]
    return found


def _cost(name: str, node: Node | None) -> float | None:
    """Return the seconds of an iteration of a training, or of all of another node, by its newest journal."""
    params_hash = node.params_hash if node is not None else ""
    folders = RUNS.glob(f"{name}-*") if node is not None and node.is_training else [RUNS / name]
    states = [found for folder in folders if (found := read(folder)) and found.params_hash == params_hash]
    costs = [(found.written, cost) for found in states if (cost := _seconds(found)) is not None]
    return max(costs)[1] if costs else None


def _seconds(found: State) -> float | None:
    if found.total is not None:
        return found.seconds
    return (found.written - found.began).total_seconds() if found.status == "done" else None


# --- as text ----------------------------------------------------------------------------------------------------------


def render(items: list[Item], rows: list[RowCost], processes: int) -> str:
    """Return the plan as text: a line for each node, sums by kind, and a line for each row of the tables.

    Args:
        items: the value of `plan`.
        rows: the value of `row_costs`.
        processes: those of a training stage; a stage holds so many GPUs.
    """
    lines = [("node", "status", "iterations left", "time left", "estimated from")]
    for item in items:
        iterations = "" if item.iterations is None else str(item.iterations)
        lines.append((item.node, item.status, iterations, _duration(item.seconds), item.basis))
    lines.append(("", "", "", "", ""))
    for kind in dict.fromkeys(item.node.partition("/")[0] for item in items):
        lines.append(_sum(kind, [item for item in items if item.node.partition("/")[0] == kind]))
    lines.append(_sum("all", items))
    needs = [("row", "time left for all it needs", "of it, for this row alone")]
    needs += [(f"{cost.table} {cost.row}", _duration(cost.needed), _duration(cost.own)) for cost in rows]
    text = f"{_aligned(lines)}\n\n{_aligned(needs)}\n"
    trainings = [item for item in items if item.iterations]
    hours = sum(item.seconds or 0 for item in trainings) * processes / 3600
    unknown = sum(item.seconds is None for item in trainings)
    if unknown and unknown == len(trainings):
        return f"{text}\nNothing like these trainings has run here with the current parameters: no time is known."
    note = f", without {unknown} trainings of unknown cost" if unknown else ""
    return f"{text}\n{hours:.1f} hours of processes (GPUs, if there are any) for training{note}; one after the other."


def _aligned(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _sum(name: str, items: list[Item]) -> tuple[str, str, str, str, str]:
    done = sum(item.status in ("done", "there") for item in items)
    unknown = sum(item.seconds is None for item in items)
    iterations = [item.iterations for item in items if item.iterations is not None]
    seconds = sum(item.seconds or 0 for item in items)
    time = "unknown" if unknown == len(items) else _duration(seconds)
    note = f"without {unknown} of unknown cost" if 0 < unknown < len(items) else ""
    return name, f"{done} of {len(items)} done", str(sum(iterations)) if iterations else "", time, note


def _duration(seconds: float | None) -> str:
    return "unknown" if seconds is None else str(timedelta(seconds=round(seconds)))
