"""Kinds of errors and the AP that each of them costs: TIDE (Bolya et al., ECCV 2020, sections 2.2 and 2.3)."""

from dataclasses import dataclass, replace

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU: t_f and t_b of section 2.2
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND_ERROR, MISSED = range(len(KINDS))
CORRECTED = (CLASSIFICATION, LOCALISATION)  # their oracles move a detection to an object; others remove it
RIGHT = -1  # in place of a kind
RECALLS = np.linspace(0, 1, 101)  # COCO's, at which precision is averaged


@dataclass(frozen=True)
class Detections:
    """D detections and N objects of an evaluation at IoU 0.5, without crowds and the detections that match them.

    Attributes:
        scores: (D,) float64.
        categories: (D,) int64, index of the category.
        images: (D,) int64, index of the image.
        ids: (D,) int64, the detection's id.
        objects: (D,) int64, the object that a true positive has found; -1 for a false positive.
        object_categories, object_images, object_ids: (N,) int64, as for detections.
    """

    scores: np.ndarray
    categories: np.ndarray
    images: np.ndarray
    ids: np.ndarray
    objects: np.ndarray
    object_categories: np.ndarray
    object_images: np.ndarray
    object_ids: np.ndarray


def error_kinds(evaluation: COCOeval) -> dict[str, dict[str, float | None]]:
    """Return for each kind of error its number, and the AP50 in percent that a detector without it would gain (dAP).

    A false positive has one kind, the first that fits, where IoU is with objects that are no crowds:
        localisation: 0.1 <= IoU < 0.5 with the nearest object of its class;
        classification: IoU >= 0.5 with an object of another class;
        duplicate: IoU >= 0.5 with an object of its class, which a detection of a higher score has found;
        both: 0.1 <= IoU < 0.5 with an object of another class;
        background: IoU < 0.1 with all objects.
    An object is missed if no detection finds it, and no localisation or classification error is about it.

    A kind is repaired as in section 2.3. Errors of localisation and classification become true positives of their
    objects; of all true positives of an object the one with the highest score remains. False positives of the other
    kinds are removed. Missed objects are not counted. A class that is left without objects has no AP, as in COCO. dAP
    is None if AP50 is undefined, before or after. The authors' toolbox differs in some of this, see docs/method.md.

    Args:
        evaluation: pycocotools' of boxes or masks, of `afigan.evaluation.matches.evaluated`.
    """
    found, count = _detections(evaluation), len(evaluation.params.catIds)
    kinds, about = _kinds(found, evaluation)
    missed = np.ones(len(found.object_ids), bool)
    missed[found.objects[found.objects >= 0]] = False
    missed[about[about >= 0]] = False
    objects = np.bincount(found.object_categories, minlength=count)
    plain = _average_precision(found, objects)

    errors: dict[str, dict[str, float | None]] = {}
    for number, name in enumerate(KINDS):
        wrong = kinds == number
        if number == MISSED:
            fixed = _average_precision(found, objects - np.bincount(found.object_categories[missed], minlength=count))
        elif number in CORRECTED:
            fixed = _average_precision(_corrected(found, np.where(wrong, about, -1)), objects)
        else:
            fixed = _average_precision(_chosen(found, ~wrong), objects)
        gain = None if plain is None or fixed is None else round(100 * (fixed - plain), 9) + 0.0  # not -0.0
        errors[name] = {"count": int(missed.sum() if number == MISSED else wrong.sum()), "dAP": gain}
    return errors


def _detections(evaluation: COCOeval) -> Detections:
    """Collect what COCO's evaluation has matched at the first IoU, 0.5, regardless of size."""
    images = len(evaluation.params.imgIds)
    areas = len(evaluation.params.areaRng)
    assert evaluation.params.iouThrs[0] == FOREGROUND and evaluation.params.areaRngLbl[0] == "all"
    rows: list[tuple[float, int, int, int, float]] = []
    objects: list[tuple[int, int, int]] = []
    names = ("dtScores", "dtIds", "dtMatches", "dtIgnore")
    for k in range(len(evaluation.params.catIds)):
        first = k * areas * images
        for i, item in enumerate(evaluation.evalImgs[first : first + images]):
            if item is None:
                continue
            scores, numbers, matches, ignored = (item[name] for name in names)
            matched = zip(scores, numbers, matches[0].tolist(), ignored[0].tolist(), strict=True)
            rows += [(score, k, i, number, match) for score, number, match, out in matched if not out]
            single = zip(item["gtIds"], item["gtIgnore"].tolist(), strict=True)
            objects += [(k, i, number) for number, out in single if not out]
    objects.sort(key=lambda row: (row[1], row[2]))  # by image and annotation
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    categories, places, ids = np.array(objects, dtype=np.int64).reshape(-1, 3).T
    index = np.full(max(ids, default=0) + 1, -1)  # of the annotation's number, which is at least 1
    index[ids] = np.arange(len(ids))
    _, of_category, of_image, numbers, matches = columns.astype(np.int64)
    return Detections(columns[0], of_category, of_image, numbers, index[matches], categories, places, ids)


def _kinds(found: Detections, evaluation: COCOeval) -> tuple[np.ndarray, np.ndarray]:
    """Return the kind of each detection, (D,), and the object that it should have found, (D,): -1 where there is none.

    Only errors of localisation and classification should have found one.
    """
    kinds, about = np.full(len(found.scores), RIGHT), np.full(len(found.scores), -1)
    wrong = np.flatnonzero(found.objects < 0)
    wrong = wrong[np.argsort(found.images[wrong], kind="stable")]
    shape = "bbox" if evaluation.params.iouType == "bbox" else "segmentation"
    truths, results = evaluation.cocoGt.anns, evaluation.cocoDt.anns
    images, starts = np.unique(found.images[wrong], return_index=True)
    for image, first, end in zip(images, starts, [*starts[1:], len(wrong)], strict=False):  # without images, no ends
        some = wrong[first:end]
        low, high = np.searchsorted(found.object_images, (image, image + 1))
        if low == high:
            kinds[some] = BACKGROUND_ERROR
            continue
        shapes = [results[number][shape] for number in found.ids[some].tolist()]
        objects = [truths[number][shape] for number in found.object_ids[low:high].tolist()]
        iou = np.asarray(coco_mask.iou(shapes, objects, [0] * len(objects)))
        same = found.categories[some][:, None] == found.object_categories[low:high]
        own, other = np.where(same, iou, -1.0), np.where(same, -1.0, iou)
        best, confused = own.max(axis=1), other.max(axis=1)
        near = (best >= BACKGROUND) & (best < FOREGROUND)
        tests = (near, confused >= FOREGROUND, best >= FOREGROUND, confused >= BACKGROUND)
        kinds[some] = np.select(tests, (LOCALISATION, CLASSIFICATION, DUPLICATE, BOTH), BACKGROUND_ERROR)
        about[some] = np.select(tests[:2], (low + own.argmax(axis=1), low + other.argmax(axis=1)), -1)
    return kinds, about


def _corrected(found: Detections, about: np.ndarray) -> Detections:
    """Return the detections after those with an object in `about`, (D,), have found it; one for each object remains."""
    moved, categories = about >= 0, found.categories.copy()
    categories[moved] = found.object_categories[about[moved]]
    objects = np.where(moved, about, found.objects)
    order = np.lexsort((moved, -found.scores))  # of equal scores, the one that had found the object remains
    claims = order[objects[order] >= 0]
    remaining = objects < 0
    remaining[claims[np.unique(objects[claims], return_index=True)[1]]] = True
    return _chosen(replace(found, objects=objects, categories=categories), remaining)


def _chosen(found: Detections, chosen: np.ndarray) -> Detections:
    """Return the detections for which `chosen`, (D,), is true."""
    names = ("scores", "categories", "images", "ids", "objects")
    return replace(found, **{name: getattr(found, name)[chosen] for name in names})


def _average_precision(found: Detections, objects: np.ndarray) -> float | None:
    """Return AP at IoU 0.5 as COCO computes it, the mean over classes with objects; None if there is no such class.

    objects: (K,), the number of objects of each class.
    """
    order = np.argsort(-found.scores, kind="stable")
    order = order[np.argsort(found.categories[order], kind="stable")]
    starts = np.searchsorted(found.categories[order], np.arange(len(objects) + 1))
    hits, values = found.objects[order] >= 0, []
    for k in np.flatnonzero(objects > 0):
        right = hits[starts[k] : starts[k + 1]].cumsum()
        precision = right / np.arange(1, len(right) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or a higher one
        places = np.searchsorted(right / objects[k], RECALLS)
        values.append(np.append(best, 0.0)[places].mean())
    return float(np.mean(values)) if values else None
