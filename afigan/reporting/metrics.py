"""Reader of results/metrics/KEY.json: one evaluation, checked, and refused if it belongs to other parameters."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afigan.outputs.currency import REDO, check_hash

AP_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass(frozen=True)
class Metrics:
    """One evaluation; `values`: box_AP .. mask_APl (percent, None = undefined) and params_M (millions).

    multi_scale: whether each image was tested at several scales.
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
    columns = {f"{kind}_{name}": get(values, name, int | float | None) for name in AP_NAMES}
    for column, value in columns.items():
        if value is not None and not (math.isfinite(value) and 0 <= value <= 100):
            raise ValueError(f"'{column}' is {value!r}, neither a percentage nor null")
    return columns
