"""COCO metrics of a detector on the validation set (section 5)."""

import contextlib
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from afigan.evaluation.errors import error_kinds
from afigan.evaluation.matches import evaluated, indexed, matches_of, write_matches
from afigan.evaluation.predict import Predictor
from afigan.evaluation.results import results_of
from afigan.outputs.models import load_config
from afigan.outputs.paths import METRICS, PREPARED
from afigan.outputs.prepared import read_summary
from afigan.outputs.provenance import record
from afigan.params.lineage import Lineage
from afigan.params.schema import Params
from afigan.runtime.files import sha256_file, write_json

try:  # several times as fast
    from faster_coco_eval import COCO
    from faster_coco_eval import COCOeval_faster as COCOeval
except ImportError:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
RECALLS = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def coco_metrics(annotations: str | Path, results: list[dict], kind: str) -> dict[str, float | None]:
    """Return AP, AP50, AP75, APs, APm, APl in percent, by faster-coco-eval if it is installed, else by pycocotools.

    A value is None where the split has no such object. The two programs differ by rounding, in the sixteenth digit.
    Values have nine decimals, so that a metrics file does not depend on the program.

    Args:
        annotations: path of a COCO annotation file.
        results: COCO results.
        kind: `bbox` or `segm`.
    """
    return _averages(_summarised(annotations, results, kind), NAMES)


def detailed_metrics(annotations: str | Path, results: list[dict], kind: str) -> dict[str, Any]:
    """Return `coco_metrics`, then COCO's average recalls in percent, and the AP of each class.

    AR1, AR10 and AR100 are for at most so many detections of a class in an image, ARs, ARm and ARl for at most 100.
    `classes` is a list, in the order of category ids: `name`, `objects` (their number, without crowds), `AP` and `AP50`
    in percent, or None for a class without objects. The arguments are those of `coco_metrics`.
    """
    evaluation = _summarised(annotations, results, kind)
    truth, params = evaluation.cocoGt, evaluation.params
    objects = Counter(a["category_id"] for a in truth.dataset["annotations"] if not a.get("iscrowd"))
    precision = evaluation.eval["precision"][:, :, :, params.areaRngLbl.index("all"), -1]  # (T, R, K)
    classes = [
        {
            "name": truth.cats[category]["name"],
            "objects": objects[category],
            "AP": _percent(precision[:, :, k].mean()),
            "AP50": _percent(precision[0, :, k].mean()),
        }
        for k, category in enumerate(params.catIds)
    ]
    return {**_averages(evaluation, NAMES + RECALLS), "classes": classes}


def _summarised(annotations: str | Path, results: list[dict], kind: str) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(*indexed(COCO, annotations, results_of(results, kind)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _averages(evaluation: Any, names: Sequence[str]) -> dict[str, float | None]:
    return {name: _percent(value) for name, value in zip(names, evaluation.stats, strict=False)}


def _percent(value: float) -> float | None:
    """Return a share in percent; None for -1, which means that there is no such object."""
    return None if value < 0 else round(float(100 * value), 9)


def evaluate(params: Params, key: str) -> None:
    """Evaluate experiment `key` and write `results/metrics/KEY.matches.npz`, then `results/metrics/KEY.json`.

    The json's `matches` is the SHA-256 of the npz, from which intervals of the metrics are computed. Its `box` and
    `mask` are `detailed_metrics` with the `errors` of `afigan.evaluation.errors.error_kinds`; `mask` is null without
    masks.

    Raises:
        ValueError: the model or the data are missing or do not fit.
    """
    node = Lineage(params)[f"evaluations/{key}"]
    item, (model,) = node.experiment, node.parents
    predictor = Predictor(params, item.model, item.multi_scale)
    results = predictor.results(PREPARED / "val.json")
    summary = read_summary()
    kinds = {"box": "bbox"} | ({"mask": "segm"} if predictor.architecture.has_masks else {})
    matches, metrics = {}, {}
    for name, kind in kinds.items():
        matched = evaluated(PREPARED / "val.json", results, kind)
        matches[name] = matches_of(matched)
        metrics[name] = {**detailed_metrics(PREPARED / "val.json", results, kind), "errors": error_kinds(matched)}
    write_matches(METRICS / f"{key}.matches.npz", matches)
    write_json(
        METRICS / f"{key}.json",
        {
            "key": key,
            "model": item.model,
            **record(node, predictor.inputs),
            "data": {
                "source": params.data.source,
                "train_images": summary["train"]["images"],
                "val_images": summary["val"]["images"],
            },
            "schedule": load_config(item.model)["schedule"],
            "seed": model.seed,
            "multi_scale": item.multi_scale,
            "params_M": predictor.parameters / 1e6,
            "matches": sha256_file(METRICS / f"{key}.matches.npz"),
            "box": metrics["box"],
            "mask": metrics.get("mask"),
        },
    )
