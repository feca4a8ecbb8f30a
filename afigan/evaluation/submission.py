"""Results on the test images in the form of COCO's challenge server (Table 1 is of test-dev)."""

import json
import zipfile
from pathlib import Path

from afigan.evaluation.predict import Predictor
from afigan.evaluation.results import results_of
from afigan.outputs.paths import PREPARED, SUBMISSIONS
from afigan.outputs.provenance import record
from afigan.params.lineage import Lineage
from afigan.params.schema import Params
from afigan.runtime.files import atomic_dir, write_json

NO_DATE = (1980, 1, 1, 0, 0, 0)  # so that the same results give the same bytes


def submit(params: Params, key: str) -> None:
    """Write `results/submissions/KEY/{bbox,segm}/`, an archive for each of the two challenges, and their provenance.

    An archive and the file in it are named `detections_SPLIT_ALGORITHM_results`, as the server requires; SPLIT comes
    from the file name of `data.test.annotations` (`image_info_test-dev2017.json`).

    Raises:
        ValueError: the model or the test images are missing or do not fit.
    """
    node = Lineage(params)[f"submissions/{key}"]
    item = node.experiment
    predictor = Predictor(params, item.model, item.multi_scale)
    results = predictor.results(PREPARED / "test.json")
    name = f"detections_{split_name(params)}_afigan-{key}_results"
    with atomic_dir(SUBMISSIONS / key) as folder:
        for kind in ("bbox", "segm") if predictor.architecture.has_masks else ("bbox",):
            (folder / kind).mkdir()
            with zipfile.ZipFile(folder / kind / f"{name}.zip", "w") as archive:
                entry = zipfile.ZipInfo(f"{name}.json", NO_DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, json.dumps(results_of(results, kind)))
        about = {"key": key, "model": item.model, "multi_scale": item.multi_scale, "results": len(results)}
        made = record(node, predictor.inputs)
        write_json(folder / "about.json", about | made)


def split_name(params: Params) -> str:
    """Return the split of the test images: `test-dev2017` for COCO's `image_info_test-dev2017.json`."""
    if params.data.source == "shapes":
        return "test"
    return Path(params.data.annotation_files["test"]).stem.split("info_")[-1]
