"""COCO metrics of a detector on the validation set (section 5)."""

import contextlib
import io
from pathlib import Path

from afigan.data.split import read_summary
from afigan.evaluation.matches import indexed, match, write_matches
from afigan.evaluation.predict import Predictor
from afigan.evaluation.results import results_of
from afigan.outputs.models import load_config
from afigan.outputs.paths import METRICS, PREPARED
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


def coco_metrics(annotations: str | Path, results: list[dict], kind: str) -> dict[str, float | None]:
    """Return AP, AP50, AP75, APs, APm, APl in percent, by faster-coco-eval if it is installed, else by pycocotools.

    A value is None where the split has no such object. The two programs differ by rounding, in the sixteenth digit.
    Values have nine decimals, so that a metrics file does not depend on the program.

    Args:
        annotations: path of a COCO annotation file.
        results: COCO results.
        kind: `bbox` or `segm`.
    """
    results = results_of(results, kind)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(*indexed(COCO, annotations, results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {n: None if v < 0 else round(float(100 * v), 9) for n, v in zip(NAMES, evaluation.stats, strict=False)}


def evaluate(params: Params, key: str) -> None:
    """Evaluate experiment `key` and write `results/metrics/KEY.matches.npz`, then `results/metrics/KEY.json`.

    The json's `matches` is the SHA-256 of the npz, from which intervals of the metrics are computed.

    Raises:
        ValueError: the model or the data are missing or do not fit.
    """
    node = Lineage(params)[f"evaluations/{key}"]
    item, (model,) = node.experiment, node.parents
    predictor = Predictor(params, item.model, item.multi_scale)
    results = predictor.results(PREPARED / "val.json")
    summary = read_summary()
    kinds = {"box": "bbox"} | ({"mask": "segm"} if predictor.architecture.has_masks else {})
    matches = METRICS / f"{key}.matches.npz"
    write_matches(matches, {name: match(PREPARED / "val.json", results, kind) for name, kind in kinds.items()})
    metrics = {name: coco_metrics(PREPARED / "val.json", results, kind) for name, kind in kinds.items()}
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
            "matches": sha256_file(matches),
            "box": metrics["box"],
            "mask": metrics.get("mask"),
        },
    )
