"""Reader of results/metrics/KEY.json: one evaluation, checked, and refused if it belongs to other parameters."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from afigan.outputs.currency import REDO, check_hash

AP_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
AR_NAMES = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
NEW_NAMES = {*AR_NAMES, "classes", "errors"}  # an older file has none of them; its AP is as good as ever
ERROR_KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")


@dataclass(frozen=True)
class ClassMetrics:
    """AP and AP50 of a class in percent (None: it has no objects), and the number of its objects without crowds."""

    name: str
    objects: int
    AP: float | None
    AP50: float | None


@dataclass(frozen=True)
class ErrorKind:
    """The number of errors of a kind, and the AP50 in percent that a detector without them would gain (None: no AP)."""

    count: int
    dAP: float | None


@dataclass(frozen=True)
class Breakdown:
    """Details of the boxes or masks of an evaluation. recalls: AR1 .. ARl in percent; errors: by kind."""

    recalls: Mapping[str, float | None]
    classes: tuple[ClassMetrics, ...]
    errors: Mapping[str, ErrorKind]


@dataclass(frozen=True)
class Metrics:
    """One evaluation; `values`: box_AP .. mask_APl (percent, None = undefined) and params_M (millions).

    multi_scale: whether each image was tested at several scales.
    breakdowns: those of `box` and `mask`. It lacks what the detector does not have, and is empty if the file was
        written before there were any.
    """

    key: str
    model: str
    schedule: str
    source: str
    train_images: int
    val_images: int
    seed: int
    multi_scale: bool
    values: dict[str, float | None]
    breakdowns: Mapping[str, Breakdown] = field(default_factory=dict)

    @property
    def data(self) -> str:
        return f"{self.source}, {self.train_images} training and {self.val_images} validation images"


def read_metrics(path: Path, key: str, params_hash: str) -> Metrics:
    """Read the evaluation `key` from `path`.

    Raises ValueError, which names the file and what to do, if the file is malformed, is another evaluation's, or was
    written with other parameters than the current ones (`params_hash`).
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        data = get(content, "data", dict)
        metrics = Metrics(
            key=get(content, "key", str),
            model=get(content, "model", str),
            schedule=describe_training(get(content, "schedule", dict)),
            source=get(data, "source", str),
            train_images=get(data, "train_images", int),
            val_images=get(data, "val_images", int),
            seed=get(content, "seed", int),
            multi_scale=get(content, "multi_scale", bool),
            values={
                **_average_precisions("box", get(content, "box", dict)),
                **_average_precisions("mask", get(content, "mask", dict | None)),
                "params_M": float(get(content, "params_M", int | float)),
            },
            breakdowns={
                kind: _breakdown(values)
                for kind in ("box", "mask")
                if (values := content[kind]) is not None and not NEW_NAMES.isdisjoint(values)
            },
        )
        found_hash = get(content, "params_hash", str)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"{path} is not a metrics file: {error}; delete it and {REDO}") from error
    if metrics.key != key:
        raise ValueError(f"{path} holds the evaluation '{metrics.key}', not '{key}'; delete it and {REDO}")
    check_hash(path, found_hash, params_hash)
    return metrics


def describe_training(trained: dict[str, Any]) -> str:
    """Return the training of a model in words. Rows whose words differ are not compared."""
    words = f"stage {get(trained, 'stage', int)}: {get(trained, 'iterations', int)} iterations"
    words += f" of {get(trained, 'batch_size', int)} images"
    if "short_sides" in trained:
        sides = get(trained, "short_sides", list)
        words += f", short side {'-'.join(str(side) for side in sorted({min(sides), max(sides)}))} px"
    return words + (", with pseudo-labels" if trained.get("pseudo_labels") else "")


def get(content: Any, name: str, kind: Any) -> Any:
    """Return `content[name]`; raise ValueError, which names it, if it is missing or not of the type `kind`."""
    if not isinstance(content, dict) or name not in content:
        raise ValueError(f"'{name}' is missing")
    value = content[name]
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))  # True is an int to Python
    if not fits:
        raise ValueError(f"'{name}' is {value!r}")
    return value


def _average_precisions(kind: str, values: dict[str, Any] | None) -> dict[str, float | None]:
    """Return columns {kind}_AP .. {kind}_APl; all None if the detector has no such output (masks of a box detector)."""
    if values is None:
        return {f"{kind}_{name}": None for name in AP_NAMES}
    return {f"{kind}_{name}": _percentage(values, name, f"{kind}_{name}") for name in AP_NAMES}


def _breakdown(values: dict[str, Any]) -> Breakdown:
    errors = get(values, "errors", dict)
    kinds = {kind: get(errors, kind, dict) for kind in ERROR_KINDS}
    return Breakdown(
        recalls={name: _percentage(values, name, name) for name in AR_NAMES},
        classes=tuple(
            ClassMetrics(
                name=get(entry, "name", str),
                objects=_count(entry, "objects"),
                AP=_percentage(entry, "AP", "AP of a class"),
                AP50=_percentage(entry, "AP50", "AP50 of a class"),
            )
            for entry in get(values, "classes", list)
        ),
        errors={k: ErrorKind(_count(v, "count"), _percentage(v, "dAP", f"dAP of {k}")) for k, v in kinds.items()},
    )


def _count(values: Any, name: str) -> int:
    if (count := get(values, name, int)) < 0:
        raise ValueError(f"'{name}' is {count}")
    return count


def _percentage(values: Any, name: str, called: str) -> float | None:
    """Return `values[name]`, or raise ValueError, which calls it `called`, if it is neither a percentage nor null."""
    value = get(values, name, int | float | None)
    if value is not None and not (math.isfinite(value) and 0 <= value <= 100):
        raise ValueError(f"'{called}' is {value!r}, neither a percentage nor null")
    return value
