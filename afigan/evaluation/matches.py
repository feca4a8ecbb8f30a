"""Per-image matches of an evaluation: all that AP depends on, so that AP can be computed for any resample of images."""

import contextlib
import io
import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from afigan.evaluation.results import results_of
from afigan.runtime.files import atomic_path

AREAS = ("all", "small", "medium", "large")  # COCO's area ranges
IOUS = 10  # thresholds: 0.50, 0.55, ..., 0.95
FORMAT = "afigan matches 1"
REMEDY = "delete it and run the stage `evaluate` again"


@dataclass(frozen=True)
class Matches:
    """Matches of one evaluation of boxes or of masks: I images, K categories, at most 100 detections per image.

    There are D detections, category after category. Within a category they are sorted by descending score, equal scores
    by image, as `COCOeval.accumulate` sorts them. Ground truths are counted by category and image: N such pairs,
    category after category.

    Attributes:
        image_ids: (I,) int64, ascending. Two evaluations with the same ones can be compared image by image.
        categories: (K,) int64 ids, ascending.
        starts: (K + 1,) int64: the detections of category k are `starts[k]:starts[k + 1]`.
        image: (D,) int32, index of the image.
        found: (A, T, ceil(D / 8)) uint8, by area range and threshold, one bit per detection: 1 for a true positive.
        left_out: as `found`, 1 for a detection that does not count, because it matches a crowd or an object of another
            size, or because it matches nothing and is itself of another size.
        truth_starts: (K + 1,) int64, as `starts`.
        truth_image: (N,) int32, index of the image.
        truths: (A, N) int32, the number of ground truths that count.
    """

    image_ids: np.ndarray
    categories: np.ndarray
    starts: np.ndarray
    image: np.ndarray
    found: np.ndarray
    left_out: np.ndarray
    truth_starts: np.ndarray
    truth_image: np.ndarray
    truths: np.ndarray

    @property
    def images(self) -> int:
        return len(self.image_ids)

    def detections(self, area: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the true positives, and the detections that do not count, for an area range: (T, D) bool each."""
        place, count = AREAS.index(area), len(self.image)
        found, left_out = (
            np.unpackbits(bits[place], axis=1, count=count).view(bool) for bits in (self.found, self.left_out)
        )
        return found, left_out


def indexed(coco: type, annotations: str | Path, results: list[dict]) -> tuple[Any, Any]:
    """Return ground truth and detections as objects of the class `coco`, pycocotools' COCO or faster-coco-eval's.

    Annotations are numbered from 1. For each detection both libraries store the id of the matching annotation, or 0 for
    no match: an annotation whose id is 0 would never be found.

    Args:
        coco: the class.
        annotations: path of a COCO annotation file.
        results: COCO results of one kind, as `results_of` gives them.
    """
    dataset = json.loads(Path(annotations).read_bytes())
    dataset["annotations"] = [a | {"id": number} for number, a in enumerate(dataset["annotations"], 1)]
    truth = coco()
    truth.dataset = dataset
    truth.createIndex()
    if results:
        return truth, truth.loadRes(results)
    detections = coco()  # loadRes does not take an empty list
    detections.dataset = dataset | {"annotations": []}
    detections.createIndex()
    return truth, detections


def match(annotations: str | Path, results: list[dict], kind: str) -> Matches:
    """Match detections to ground truth as COCO's evaluation does, with pycocotools, at IoU 0.50:0.05:0.95.

    Args:
        annotations: path of a COCO annotation file.
        results: COCO results.
        kind: `bbox` or `segm`.
    """
    return matches_of(evaluated(annotations, results, kind))


def evaluated(annotations: str | Path, results: list[dict], kind: str) -> COCOeval:
    """Return pycocotools' evaluation with a match for each image; the arguments are those of `match`."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(*indexed(COCO, annotations, results_of(results, kind)), kind)
        evaluation.evaluate()
    return evaluation


def matches_of(evaluation: COCOeval) -> Matches:
    """Return the matches of an evaluation of `evaluated`."""
    categories, image_ids = evaluation.params.catIds, evaluation.params.imgIds
    assert len(evaluation.params.iouThrs) == IOUS and evaluation.params.areaRngLbl == list(AREAS)
    shape = (len(categories), len(AREAS), len(image_ids))
    assert len(evaluation.evalImgs) == np.prod(shape)

    parts: dict[str, list[np.ndarray]] = {"image": [], "found": [], "left_out": [], "truth_image": [], "truths": []}
    for k in range(shape[0]):
        first = k * shape[1] * shape[2]
        areas = [evaluation.evalImgs[first + a * shape[2] : first + (a + 1) * shape[2]] for a in range(shape[1])]
        # pycocotools has None, in every area range, for an image without objects and detections of the category
        places = np.array([i for i, item in enumerate(areas[0]) if item is not None], dtype=np.int32)
        items = [[item for item in area if item is not None] for area in areas]
        scores = np.concatenate([[], *(item["dtScores"] for item in items[0])])
        order = np.argsort(-scores, kind="stable")
        counts = [len(item["dtScores"]) for item in items[0]]
        parts["image"].append(np.repeat(places, counts)[order])
        matched, ignored = (
            np.array([_joined([item[name] for item in area], len(scores))[:, order] for area in items])
            for name in ("dtMatches", "dtIgnore")
        )
        parts["found"].append(matched & ~ignored)
        parts["left_out"].append(ignored)
        truths = np.array(
            [[np.count_nonzero(item["gtIgnore"] == 0) for item in area] for area in items], dtype=np.int32
        )
        some = truths.any(axis=0)
        parts["truth_image"].append(places[some])
        parts["truths"].append(truths[:, some])
    joined = {
        "image": np.concatenate([np.empty(0, np.int32), *parts["image"]]),
        "truth_image": np.concatenate([np.empty(0, np.int32), *parts["truth_image"]]),
        "truths": np.concatenate([np.empty((len(AREAS), 0), np.int32), *parts["truths"]], axis=1),
    }
    for name in ("found", "left_out"):
        whole = np.concatenate([np.empty((len(AREAS), IOUS, 0), bool), *parts[name]], axis=2)
        joined[name] = np.packbits(whole, axis=2)
    return Matches(
        image_ids=np.array(image_ids, dtype=np.int64),
        categories=np.array(categories, dtype=np.int64),
        starts=np.cumsum([0, *map(len, parts["image"])], dtype=np.int64),
        truth_starts=np.cumsum([0, *map(len, parts["truth_image"])], dtype=np.int64),
        **joined,
    )


def _joined(parts: list[np.ndarray], count: int) -> np.ndarray:
    """Join the images' arrays (T, d) into one (T, count) bool: true where a value is not 0."""
    return np.concatenate(parts, axis=1) != 0 if count else np.empty((IOUS, 0), bool)


def write_matches(path: Path, matches: dict[str, Matches]) -> None:
    """Write matches by kind (`box`, `mask`) as `path` (npz), atomically; the same matches give the same bytes."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        arrays = {f"{k}.{f.name}": getattr(m, f.name) for k, m in matches.items() for f in fields(Matches)}
        for name, array in {"format": np.array(FORMAT), **arrays}.items():
            file = io.BytesIO()
            np.lib.format.write_array(file, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: np.savez would write the current time
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, file.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=6)


def read_matches(path: Path) -> dict[str, Matches]:
    """Read the file of `write_matches`.

    Raises:
        ValueError: the file is missing or damaged, or was not written by `write_matches`.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: run the stage `evaluate`") from None
    try:
        return _parsed(content)
    except Exception as error:  # damaged bytes make zipfile raise errors of many kinds
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is not a file of matches: {reason}; {REMEDY}") from None


def _parsed(content: bytes) -> dict[str, Matches]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # reads complete members, so that zipfile verifies their checksums before their content is used
        arrays = {
            name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
        }
    if str(arrays.pop("format", None)) != FORMAT:
        raise ValueError(f"it is not of the format '{FORMAT}'")
    kinds = dict.fromkeys(name.partition(".")[0] for name in arrays)
    found = {kind: Matches(**{f.name: arrays.pop(f"{kind}.{f.name}") for f in fields(Matches)}) for kind in kinds}
    if arrays:
        raise ValueError(f"it also holds {', '.join(arrays)}")
    for matches in found.values():
        _check(matches)
    return found


def _check(matches: Matches) -> None:
    """Raise ValueError if shapes or indices do not fit one another."""
    images, kinds, count, pairs = (
        len(np.atleast_1d(a)) for a in (matches.image_ids, matches.categories, matches.image, matches.truth_image)
    )
    bits = (len(AREAS), IOUS, -(-count // 8))
    shapes = {
        "image_ids": (images,),
        "categories": (kinds,),
        "starts": (kinds + 1,),
        "image": (count,),
        "found": bits,
        "left_out": bits,
        "truth_starts": (kinds + 1,),
        "truth_image": (pairs,),
        "truths": (len(AREAS), pairs),
    }
    for name, shape in shapes.items():
        array = getattr(matches, name)
        if array.shape != shape or array.dtype.kind not in "iu":
            raise ValueError(f"'{name}' is of shape {array.shape} and type {array.dtype}")
    for starts, index in ((matches.starts, matches.image), (matches.truth_starts, matches.truth_image)):
        if starts[0] != 0 or starts[-1] != len(index) or (np.diff(starts) < 0).any():
            raise ValueError("the category starts do not fit the detections or the objects")
        if len(index) and (index.min() < 0 or index.max() >= images):
            raise ValueError("an image index is out of range")
