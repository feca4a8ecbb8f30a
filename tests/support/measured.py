"""A run's measurements, set by hand, as `afigan.reporting.results.Results`: no files, no detectors.

The images' part of an effect is 0 unless `noise` adds some, so that intervals can be looked up in a table of t.
"""

from collections import defaultdict
from typing import Any

import numpy as np

from afigan.reporting.benchmark import Benchmark, PaperSize
from afigan.reporting.layout import LAYOUTS
from afigan.reporting.metrics import AP_NAMES, AR_NAMES, ERROR_KINDS, Metrics
from afigan.reporting.paper import printed_records, printed_rows
from afigan.reporting.results import Results, Row

IMAGES = 100
REPLICATES = 50
ROWS = {number: printed_rows(number) for number in LAYOUTS}
PRINTED = {number: printed_records(number) for number in LAYOUTS}


class Resampled:
    """A stand-in for `afigan.reporting.resamples.Resamples`. noise: (label, kind) -> addend of each replicate, (R,)."""

    images = IMAGES

    def __init__(self) -> None:
        self.noise: dict[tuple[str, str], np.ndarray] = {}

    def ap(self, run: Metrics, kind: str) -> np.ndarray:
        label = run.model.removeprefix("detectors/")
        return run.values[f"{kind}_AP"] + self.noise.get((label, kind), np.zeros(REPLICATES))


class Measured:
    """The rows given to `put`; `results` has them all."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Row]] = defaultdict(dict)
        self.resamples = Resampled()
        self.paper_size: PaperSize | None = None
        self.timed = False

    def put(
        self,
        number: int,
        label: str,
        box: list[float | None],
        mask: list[float] | None = None,
        seeds: list[int] | None = None,
        params_M: float = 1.0,
        ms: float | None = None,
        trainings: dict[str, dict[str, Any]] | None = None,
        **changes: Any,
    ) -> None:
        """Add a row, with a value of box AP and of mask AP for each seed; None: this seed has not been run."""
        keys, runs, times = [], [], {}
        for i, value in enumerate(box):
            seed = i if seeds is None else seeds[i]
            key = f"t{number}, {label}, s{seed}"
            keys.append(key)
            if value is None:
                continue
            values = {f"box_{name}": value for name in AP_NAMES} | {"params_M": params_M}
            values |= {f"mask_{name}": None if mask is None else mask[i] for name in AP_NAMES}
            about = {"model": f"detectors/{label}", "schedule": "160 iterations", "source": "shapes"}
            about |= {"train_images": 400, "val_images": IMAGES, "multi_scale": False}
            runs.append(Metrics(key=key, seed=seed, values=values, **about | changes))
            if ms is not None:
                times[key] = ms
                self.timed = True
        behind = () if trainings is None else (trainings,) * len(runs)
        self.rows[number][label] = Row(tuple(keys), tuple(runs), {"time_ms": times}, behind)

    def put_printed(self, seeds: int, sign: float = 1.0) -> None:
        """Add every row that the paper prints values of, as printed, or mirrored with sign -1, in all seeds."""
        for number in ROWS.keys() - {2, 10}:
            for label in ROWS[number]:
                record = PRINTED[number][label]
                box, mask = ([50 + sign * (record[c] - 50)] if record.get(c) else None for c in ("box_AP", "mask_AP"))
                costs = {"params_M": record.get("params_M") or 1.0, "ms": record.get("time_ms")}
                self.put(number, label, box * seeds, mask and mask * seeds, **costs)

    @property
    def results(self) -> Results:
        timed = self.timed or self.paper_size is not None
        benchmark = Benchmark("Titan Y", 2, 50, {}, self.paper_size) if timed else None
        return Results(dict(self.rows), benchmark, self.resamples)


def detailed(classes: list[str], first: float = 10.0) -> dict[str, Any]:
    """Return `box` or `mask` of a metrics file, whose numbers count upwards from `first`."""
    values: dict[str, Any] = {name: first + i / 4 for i, name in enumerate((*AP_NAMES, *AR_NAMES))}
    values["classes"] = [
        {"name": name, "objects": 1000 + i, "AP": first + i, "AP50": first + i + 0.5} for i, name in enumerate(classes)
    ]
    values["errors"] = {kind: {"count": 2000 + i, "dAP": first + i} for i, kind in enumerate(ERROR_KINDS)}
    return values
