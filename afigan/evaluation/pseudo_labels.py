"""Pseudo-labels for self-training: a trained detector's detections in the unlabeled images (Table 1)."""

import json

from afigan.evaluation.predict import Predictor
from afigan.outputs.paths import PREPARED, PSEUDO
from afigan.outputs.provenance import record
from afigan.params.lineage import Lineage
from afigan.params.schema import Params
from afigan.runtime.files import write_json


def write_pseudo_labels(params: Params, key: str) -> None:
    """Write `data/pseudo/KEY.json`, a prepared split whose annotations are detections with at least the threshold.

    Images without a detection have no annotation, and detectors do not learn from them.

    Raises:
        ValueError: the model or the images are missing or do not fit; or no image has a detection.
    """
    node = Lineage(params)[f"pseudo_labels/{key}"]
    item = node.experiment
    # the detector's own threshold is this one, not evaluation's: a detector drops detections below its threshold
    predictor = Predictor(params, item.model, score_threshold=item.score_threshold)
    path = PREPARED / "unlabeled.json"
    split = json.loads(path.read_text("utf-8"))
    results = [r for r in predictor.results(path) if r["score"] >= item.score_threshold and min(r["bbox"][2:]) > 0]
    if not results:
        raise ValueError(
            f"experiments.pseudo_labels.{key}: {item.model} finds nothing with a score of {item.score_threshold} in "
            f"{len(split['images'])} images; lower score_threshold"
        )
    for number, result in enumerate(results, start=1):
        area = result["bbox"][2] * result["bbox"][3]
        kept = {k: result[k] for k in ("image_id", "category_id", "bbox", "score", "segmentation") if k in result}
        split["annotations"].append({"id": number, **kept, "area": area, "iscrowd": 0})
    info = {"masks": predictor.architecture.has_masks}
    info |= record(node, predictor.inputs)
    write_json(PSEUDO / f"{key}.json", split | {"info": split["info"] | info}, indent=None)
