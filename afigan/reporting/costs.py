"""Claim C8 (section 5.2): the cost of the AF interpolator in parameters and in time.

It is judged on networks of the paper's size if the run has timed them; the run's own size does not matter then.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from afigan.reporting.benchmark import PaperSize
from afigan.reporting.claims import paired_rows
from afigan.reporting.comparisons import Contrast, difference
from afigan.reporting.paper import printed_records
from afigan.reporting.results import Results, Row
from afigan.reporting.verdicts import AGREES, CONTRADICTS, NOTHING_RUN, UNDECIDED, in_part

NAME, SAYS = "C8", "about 8 M parameters, and about 24 ms per image on a Titan Xp"
PARAMS_M = 8.0  # cost of the paper's AF interpolator
TOLERANCE = 0.1  # relative; of parameters
OTHER_SIZE = "undecided (not the paper's size)"
MASK_RCNN = {3: "Mask R-CNN, afi, Mask R-CNN", 2: "Mask R-CNN, M, rdb"}  # table -> the AFI row
NEAREST = "Mask R-CNN, nearest"


@dataclass(frozen=True)
class Cost:
    """Cost of AFI over nearest interpolation, on average over pairs of rows.

    params_M, time_ms: differences, in millions and ms per image; ratio: ratio of times. None: not run, or not timed.
    setting: a description of the measurement; empty if nothing was measured.
    pairs: the number of pairs in the average; possible: the number that could be.
    missing: labels of the rows that have not been run.
    """

    text: str
    params_M: float | None = None
    time_ms: float | None = None
    ratio: float | None = None
    setting: str = ""
    pairs: int = 1
    possible: int = 1
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class CostOutcome:
    """A run's verdict on C8. ours: the measured costs, the judged one first; printed: the paper's cost for each."""

    ours: tuple[Cost, ...]
    printed: tuple[Cost, ...]
    verdict: str


def judge_costs(results: Results) -> CostOutcome:
    """Judge C8, and return its costs: at the paper's size if timed, of Mask R-CNN, and on average over Table 3."""
    run = [table for table, afi in MASK_RCNN.items() if results.row(table, afi) and results.row(table, NEAREST)]
    table = run[0] if run else 3
    mask_rcnn = _of_rows("Mask R-CNN, as in this run", table, [difference(MASK_RCNN[table], NEAREST)], results)
    average = _of_rows("all of Table 3, as in this run", 3, paired_rows(3), results)
    ours = [mask_rcnn, average]
    # the paper's average is over the pairs that ours is over; over all where nothing was run
    run_pairs = [c for c in paired_rows(3) if all(results.row(3, label) for label in c)] or paired_rows(3)
    printed = [_printed("Mask R-CNN", [difference(MASK_RCNN[3], NEAREST)]), _printed("Table 3", run_pairs)]
    size = results.benchmark.paper_size if results.benchmark else None
    if size is not None:
        ours.insert(0, _of_size(size, results))
        printed.insert(0, printed[0])
    return CostOutcome(tuple(ours), tuple(printed), _verdict(ours, size, results, table))


def _verdict(ours: Sequence[Cost], size: PaperSize | None, results: Results, table: int) -> str:
    """Judge parameters at the paper's size, and time only by its sign, because the paper used another device."""
    if size is not None:
        return _judge(ours[0])
    mask_rcnn, average = ours
    if average.params_M is None and mask_rcnn.params_M is None:
        return NOTHING_RUN
    if mask_rcnn.params_M is None:
        return in_part(UNDECIDED)
    printed = printed_records(3)[NEAREST]["params_M"]
    nearest = results.row(table, NEAREST)
    assert nearest is not None
    measured = _mean(nearest, "params_M")
    verdict = OTHER_SIZE if abs(measured - printed) > TOLERANCE * printed else _judge(mask_rcnn)
    whole = mask_rcnn.time_ms is not None and not mask_rcnn.missing and not average.missing
    return verdict if whole else in_part(verdict)


def _judge(cost: Cost) -> str:
    assert cost.params_M is not None
    more = abs(cost.params_M - PARAMS_M) <= TOLERANCE * PARAMS_M
    slower = cost.time_ms is None or cost.time_ms > 0
    return AGREES if more and slower else CONTRADICTS


def _of_size(size: PaperSize, results: Results) -> Cost:
    assert results.benchmark is not None
    params, time = size.params_M, size.time_ms
    return Cost(
        f"Mask R-CNN at C = {size.channels}",
        params["afi"] - params["nearest"],
        time["afi"] - time["nearest"],
        time["afi"] / time["nearest"],
        f"{size.height} x {size.width} pixels, in turns on one image; {results.benchmark.device}, "
        f"CPU threads: {results.benchmark.threads}",
    )


def _of_rows(text: str, table: int, contrasts: Sequence[Contrast], results: Results) -> Cost:
    labels = dict.fromkeys(label for contrast in contrasts for label in contrast)
    rows = {label: row for label in labels if (row := results.row(table, label)) is not None}
    missing = tuple(label for label in labels if label not in rows)
    used = [contrast for contrast in contrasts if contrast.keys() <= rows.keys()]
    if not used:
        return Cost(text, pairs=0, possible=len(contrasts), missing=missing)
    timed = [c for c in used if all(rows[label].sample("time_ms") for label in c)]
    setting = "; ".join(dict.fromkeys("; ".join(rows[label].setting) for contrast in used for label in contrast))
    if timed:
        assert results.benchmark is not None
        setting += f"; time: {results.benchmark.setting}"
    return Cost(
        text,
        statistics.fmean(_sum(contrast, rows, "params_M") for contrast in used),
        statistics.fmean(_sum(contrast, rows, "time_ms") for contrast in timed) if timed else None,
        _ratio([{label: _mean(rows[label], "time_ms") for label in c} for c in timed], timed) if timed else None,
        setting,
        len(used),
        len(contrasts),
        missing,
    )


def _printed(text: str, contrasts: Sequence[Contrast]) -> Cost:
    records = printed_records(3)
    values = {
        column: [sum(weight * records[label][column] for label, weight in c.items()) for c in contrasts]
        for column in ("params_M", "time_ms")
    }
    times = [{label: records[label]["time_ms"] for label in contrast} for contrast in contrasts]
    params, time = (statistics.fmean(values[column]) for column in ("params_M", "time_ms"))
    return Cost(text, params, time, _ratio(times, contrasts), pairs=len(contrasts), possible=len(contrasts))


def _mean(row: Row, column: str) -> float:
    sample = row.sample(column)
    assert sample is not None
    return sample.mean


def _sum(contrast: Contrast, rows: dict[str, Row], column: str) -> float:
    return sum(weight * _mean(rows[label], column) for label, weight in contrast.items())


def _ratio(times: Sequence[dict[str, float]], contrasts: Sequence[Contrast]) -> float:
    """Return the sum of the times with positive weight, divided by the sum of those with negative weight."""
    added, subtracted = (
        sum(t[label] for t, c in zip(times, contrasts, strict=True) for label, w in c.items() if (w > 0) == positive)
        for positive in (True, False)
    )
    return added / subtracted
