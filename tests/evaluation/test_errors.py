"""Kinds of errors, by hand and by a slow loop over the definitions of TIDE's paper, which does its own matching."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import rle, write_scene

from afigan.evaluation.coco import coco_metrics
from afigan.evaluation.errors import KINDS, error_kinds
from afigan.evaluation.matches import evaluated

Box = list[float]
Found = dict[str, Any]


def measured(path: Path, annotations: list[Found], results: list[Found], classes: int = 3, kind: str = "bbox") -> Found:
    """Evaluate boxes (or rectangular masks) of the classes 1, 2, ... in the images 1, 2, ..."""
    images = range(1, 1 + max([1, *(item["image_id"] for item in annotations + results)]))
    objects = [
        {"id": i, "iscrowd": 0, "area": a["bbox"][2] * a["bbox"][3], "segmentation": rle(a["bbox"])} | a
        for i, a in enumerate(annotations)
    ]
    values = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 240, "height": 240} for i in images],
        "annotations": objects,
        "categories": [{"id": k, "name": f"class {k}"} for k in range(1, classes + 1)],
    }
    path.write_text(json.dumps(values))
    return error_kinds(evaluated(path, [r | {"segmentation": rle(r["bbox"])} for r in results], kind))


def item(image: int, category: int, box: Box, score: float | None = None) -> Found:
    return {"image_id": image, "category_id": category, "bbox": box} | ({} if score is None else {"score": score})


def counts(errors: Found) -> tuple[int, ...]:
    assert list(errors) == list(KINDS)
    return tuple(error["count"] for error in errors.values())


# --- by hand ---------------------------------------------------------------------------------------------------------

SQUARE: Box = [20, 20, 100, 100]
HALF: Box = [20, 20, 100, 40]  # IoU 0.4 with SQUARE
FAR: Box = [150, 150, 50, 50]
AP50 = 100 * 51 / 101  # one of two objects is found: precision 1 at the recalls 0, 0.01, ..., 0.5
ONE_OF_EACH = {
    "classification": (item(1, 2, SQUARE, 0.9), (1, 0, 0, 0, 0, 0)),
    "localisation": (item(1, 1, HALF, 0.9), (0, 1, 0, 0, 0, 0)),
    "both": (item(1, 2, HALF, 0.9), (0, 0, 1, 0, 0, 1)),
    "background": (item(1, 1, FAR, 0.9), (0, 0, 0, 0, 1, 1)),
}


@pytest.mark.parametrize("box_or_mask", ["bbox", "segm"])
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_one_error_and_the_objects_it_leaves_missed(tmp_path, name, box_or_mask):
    """An object that a localisation or classification error is about is not missed."""
    result, expected = ONE_OF_EACH[name]
    errors = measured(tmp_path / "val.json", [item(1, 1, SQUARE)], [result], kind=box_or_mask)
    assert counts(errors) == expected
    corrected = name in ("classification", "localisation")
    assert errors[name]["dAP"] == pytest.approx(100.0 if corrected else 0.0)
    others = {kind: error["dAP"] for kind, error in errors.items() if kind != name}
    # nothing is left to measure AP on once the missed object is not counted
    assert others.pop("missed") == (0.0 if corrected else None)
    assert set(others.values()) == {0.0}


def test_a_duplicate_and_a_missed_object(tmp_path):
    """Of two objects one is found twice. AP50 is 51 / 101; the duplicate comes after it and costs nothing."""
    objects = [item(1, 1, SQUARE), item(2, 1, SQUARE)]
    errors = measured(tmp_path / "val.json", objects, [item(1, 1, SQUARE, 0.9), item(1, 1, SQUARE, 0.8)])
    assert counts(errors) == (0, 0, 0, 1, 0, 1)
    assert errors["duplicate"]["dAP"] == 0 and errors["missed"]["dAP"] == pytest.approx(100 - AP50)


def test_a_duplicate_before_another_true_positive_costs_precision(tmp_path):
    """Precision is 1 up to recall 0.5, and 2/3 beyond."""
    objects = [item(1, 1, SQUARE), item(2, 1, SQUARE)]
    results = [item(1, 1, SQUARE, 0.9), item(1, 1, SQUARE, 0.8), item(2, 1, SQUARE, 0.7)]
    errors = measured(tmp_path / "val.json", objects, results)
    assert counts(errors) == (0, 0, 0, 1, 0, 0)
    assert errors["duplicate"]["dAP"] == pytest.approx(100 * 50 / 101 / 3)


@pytest.mark.parametrize(("name", "box"), [("background", FAR), ("both", [20, 150, 40, 50])])
def test_a_removed_error_before_a_true_positive_costs_precision(tmp_path, name, box):
    """Class 1 has precision 1/2 at all recalls, and 1 without the error. The AP of class 2 is 1, half of the mean."""
    objects = [item(1, 1, SQUARE), item(1, 2, [20, 150, 100, 50])]
    results = [item(1, 1, box, 0.9), item(1, 1, SQUARE, 0.8), item(1, 2, [20, 150, 100, 50], 0.7)]
    errors = measured(tmp_path / "val.json", objects, results)
    assert counts(errors) == tuple(int(kind == name) for kind in KINDS)
    assert [error["dAP"] for error in errors.values()] == pytest.approx([25.0 * (kind == name) for kind in KINDS])


def test_an_error_that_is_corrected_without_a_true_positive_adds_recall(tmp_path):
    """Of two objects one is found. The other is found at the end when its class, or its place, is corrected."""
    objects = [item(1, 1, SQUARE), item(2, 1, SQUARE), item(3, 2, SQUARE)]
    rest = [item(1, 1, SQUARE, 0.9), item(3, 2, SQUARE, 0.9)]  # class 2 has AP 1, half of the mean
    for error, name in ((item(2, 1, HALF, 0.1), "localisation"), (item(2, 2, SQUARE, 0.1), "classification")):
        errors = measured(tmp_path / "val.json", objects, [*rest, error])
        assert counts(errors) == tuple(int(kind == name) for kind in KINDS)
        wanted = [(100 - AP50) / 2 * (kind == name) for kind in KINDS]
        assert [error["dAP"] for error in errors.values()] == pytest.approx(wanted)


@pytest.mark.parametrize("scores", [(0.9, 0.8), (0.8, 0.9)])
def test_each_kind_is_corrected_for_itself(tmp_path, scores):
    """One object has an error of class and one of place: each of the two corrections finds it, whatever the scores are.

    Class 2 has AP 1, and a false positive behind. Class 1 has AP 0 before; behind its true positive, or before it, is
    the other error.
    """
    objects = [item(1, 1, SQUARE), item(2, 2, SQUARE)]
    results = [item(1, 2, SQUARE, scores[0]), item(1, 1, HALF, scores[1]), item(2, 2, SQUARE, 0.95)]
    errors = measured(tmp_path / "val.json", objects, results)
    assert counts(errors) == (1, 1, 0, 0, 0, 0)
    assert errors["localisation"]["dAP"] == pytest.approx(50)
    assert errors["classification"]["dAP"] == pytest.approx(50 if scores[0] > scores[1] else 25)


@pytest.mark.parametrize("kind", ["localisation", "classification"])
def test_of_errors_of_one_kind_about_one_object_the_highest_score_is_corrected(tmp_path, kind):
    """The other one is removed: the true positive of class 1 has precision 1, and class 2's nothing before it."""
    objects = [item(1, 1, SQUARE), item(2, 2, SQUARE)]
    wrong = item(1, 1, HALF) if kind == "localisation" else item(1, 2, SQUARE)
    results = [wrong | {"score": score} for score in (0.9, 0.8, 0.7)] + [item(2, 2, SQUARE, 0.6)]
    errors = measured(tmp_path / "val.json", objects, results)
    assert counts(errors) == tuple(3 * (name == kind) for name in KINDS)
    # before: class 1 AP 0; class 2 AP 1, or 1/4 behind three false positives
    assert errors[kind]["dAP"] == pytest.approx(50 if kind == "localisation" else 100 - 12.5)


@pytest.mark.parametrize(("error", "kind"), [(item(1, 1, HALF), 1), (item(1, 2, SQUARE), 0)])
@pytest.mark.parametrize(("score", "gain"), [(0.9, 100 / 2), (0.1, 0.0)])
def test_of_a_corrected_error_and_a_true_positive_the_higher_score_remains(tmp_path, error, kind, score, gain):
    """A false positive of class 1 has score 0.5, so precision is 1/2 unless the object is found before it."""
    results = [error | {"score": score}, item(2, 1, SQUARE, 0.5), item(1, 1, SQUARE, 0.3)]
    second = [item(3, 2, SQUARE)] if kind == 0 else []  # class 2 has an object, found in either case
    results += [item(3, 2, SQUARE, 0.95)] if kind == 0 else []
    errors = measured(tmp_path / "val.json", [item(1, 1, SQUARE), *second], results)
    assert counts(errors)[kind] == 1 and errors[KINDS[kind]]["count"] == 1
    if kind == 0:  # class 1 from 1/2 to 1; class 2, the mean's other half, has AP 1 before and after
        assert errors["classification"]["dAP"] == pytest.approx(gain / 2)
    else:  # the error itself is a false positive before: from 1/3 to 1, or from 1/2 to 1/2
        assert errors["localisation"]["dAP"] == pytest.approx(100 * 2 / 3 if gain else 0.0)


def test_thresholds_are_inclusive(tmp_path):
    """IoU 0.5 is a match and 0.1 is no background; a little less is not."""
    objects = [item(1, 1, [0, 0, 100, 100])]
    for width, of_same, of_other in (
        (50, (0, 0, 0, 0, 0, 0), (1, 0, 0, 0, 0, 0)),
        (49, (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 1)),
        (10, (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 1)),
        (9, (0, 0, 0, 0, 1, 1), (0, 0, 0, 0, 1, 1)),
    ):
        for category, expected in ((1, of_same), (2, of_other)):
            errors = measured(tmp_path / "val.json", objects, [item(1, category, [0, 0, width, 100], 0.9)])
            assert counts(errors) == expected


def test_crowds_and_what_matches_them_are_left_out(tmp_path):
    crowd = item(1, 1, SQUARE) | {"iscrowd": 1}
    errors = measured(tmp_path / "val.json", [crowd, item(1, 1, FAR)], [item(1, 1, HALF, 0.9), item(1, 1, FAR, 0.8)])
    assert counts(errors) == (0,) * 6 and {error["dAP"] for error in errors.values()} == {0.0}
    # another class in a crowd is background, because a crowd is no object that could have been meant
    assert counts(measured(tmp_path / "val.json", [crowd], [item(1, 2, SQUARE, 0.9)])) == (0, 0, 0, 0, 1, 0)


def test_a_class_of_missed_objects_has_no_ap_without_them(tmp_path):
    """Class 1 has AP 100, class 2 none: the mean is 50, and that of the classes with objects left 100."""
    objects = [item(1, 1, SQUARE), item(2, 2, SQUARE)]
    errors = measured(tmp_path / "val.json", objects, [item(1, 1, SQUARE, 0.9)])
    assert counts(errors) == (0, 0, 0, 0, 0, 1) and errors["missed"]["dAP"] == pytest.approx(50)


@pytest.mark.parametrize("box_or_mask", ["bbox", "segm"])
def test_without_detections_all_is_missed_and_without_objects_all_is_background(tmp_path, box_or_mask):
    path = tmp_path / "val.json"
    objects, results = [item(1, 1, SQUARE), item(2, 2, FAR)], [item(1, 1, SQUARE, 0.5), item(3, 2, FAR, 0.5)]
    errors = measured(path, objects, [], kind=box_or_mask)
    assert counts(errors) == (0, 0, 0, 0, 0, 2)
    assert errors["missed"]["dAP"] is None and errors["background"]["dAP"] == 0
    errors = measured(path, [], results, kind=box_or_mask)
    assert counts(errors) == (0, 0, 0, 0, 2, 0) and {error["dAP"] for error in errors.values()} == {None}
    assert counts(measured(path, [], [], kind=box_or_mask)) == (0,) * 6


# --- by a slow loop --------------------------------------------------------------------------------------------------


def overlap(a: Box, b: Box) -> tuple[float, float]:
    """Return IoU, and the share of `a` in `b`."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (a[2] * a[3] + b[2] * b[3] - common), common / (a[2] * a[3])


def slow_ap(hits: list[tuple[float, int, bool]], objects: dict[int, int]) -> float | None:
    """Compute AP50 in percent by its definition. hits: score, class, whether it is a true positive."""
    values = []
    for category in (category for category, count in objects.items() if count):
        right, points = 0, []
        of_class = sorted((hit for hit in hits if hit[1] == category), reverse=True)
        for place, (_, _, hit) in enumerate(of_class, 1):
            right += hit
            points.append((right / objects[category], right / place))
        values += [max((p for r, p in points if r >= level), default=0.0) for level in np.linspace(0, 1, 101)]
    return 100 * sum(values) / len(values) if values else None


def slow_errors(annotations: list[Found], results: list[Found], classes: int) -> tuple[float | None, Found]:
    """Return AP50, and the number and dAP of each kind of error."""
    objects = [a for a in annotations if not a.get("iscrowd")]
    finder: dict[int, Found] = {}  # object -> the detection that has found it
    wrong: list[tuple[Found, str, int | None]] = []
    for result in sorted(results, key=lambda r: -r["score"]):
        near = [(overlap(result["bbox"], o["bbox"])[0], i, o) for i, o in enumerate(objects)]
        near = [entry for entry in near if entry[2]["image_id"] == result["image_id"]]
        own = sorted(e for e in near if e[2]["category_id"] == result["category_id"])
        other = sorted(e for e in near if e[2]["category_id"] != result["category_id"])
        free = [e for e in own if e[1] not in finder and e[0] >= 0.5]
        crowded = [
            a
            for a in annotations
            if a.get("iscrowd")
            and (a["image_id"], a["category_id"]) == (result["image_id"], result["category_id"])
            and overlap(result["bbox"], a["bbox"])[1] >= 0.5
        ]
        if free:
            finder[free[-1][1]] = result
        elif crowded:
            continue
        elif own and 0.1 <= own[-1][0] < 0.5:
            wrong.append((result, "localisation", own[-1][1]))
        elif other and other[-1][0] >= 0.5:
            wrong.append((result, "classification", other[-1][1]))
        elif own and own[-1][0] >= 0.5:
            wrong.append((result, "duplicate", None))
        elif other and other[-1][0] >= 0.1:
            wrong.append((result, "both", None))
        else:
            wrong.append((result, "background", None))
    missed = set(range(len(objects))) - set(finder) - {i for _, _, i in wrong}
    numbers = {k: sum(o["category_id"] == k for o in objects) for k in range(1, classes + 1)}

    def remaining(kind: str) -> float | None:
        hits, finders = [], {i: [r] for i, r in finder.items()}
        for result, of, about in wrong:
            if of != kind:
                hits.append((result["score"], result["category_id"], False))
            elif about is not None:
                finders.setdefault(about, []).append(result)
        for i, found in finders.items():
            hits.append((max(r["score"] for r in found), objects[i]["category_id"], True))
        left = {
            k: n - sum(objects[i]["category_id"] == k for i in missed) if kind == "missed" else n
            for k, n in numbers.items()
        }
        return slow_ap(hits, left)

    plain, errors = remaining(""), {}
    for kind in KINDS:
        fixed = remaining(kind)
        count = len(missed) if kind == "missed" else sum(of == kind for _, of, _ in wrong)
        errors[kind] = {"count": count, "dAP": None if plain is None or fixed is None else fixed - plain}
    return plain, errors


def random_scene(seed: int, images: int, objects: int, detections: int, classes: int) -> tuple[list, list]:
    """Return annotations and results with continuous coordinates, so that no two overlaps or scores are equal."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, objects + 1)):
            box = [*rng.uniform(0, 120, 2), *rng.uniform(20, 100, 2)]
            new = item(image, int(rng.integers(1, classes + 1)), [float(v) for v in box])
            annotations.append(new | {"iscrowd": int(rng.random() < 0.1)})
        here = [a for a in annotations if a["image_id"] == image]
        for _ in range(rng.integers(0, detections + 1)):
            box, category = [*rng.uniform(0, 120, 2), *rng.uniform(20, 100, 2)], int(rng.integers(1, classes + 1))
            if here and rng.random() < 0.8:
                near = here[rng.integers(len(here))]
                box = np.array(near["bbox"]) + rng.normal(0, rng.choice([0.05, 0.3]), 4) * np.tile(near["bbox"][2:], 2)
                category = near["category_id"] if rng.random() < 0.6 else category
            box = [float(v) for v in (max(0, box[0]), max(0, box[1]), max(5, box[2]), max(5, box[3]))]
            results.append(item(image, category, box, float(rng.random())))
    return annotations, results


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    images=st.integers(1, 4),
    objects=st.integers(0, 5),
    detections=st.integers(0, 12),
    classes=st.integers(1, 3),
)
def test_a_slow_loop_finds_the_same(tmp_path_factory, seed, images, objects, detections, classes):
    annotations, results = random_scene(seed, images, objects, detections, classes)
    path = tmp_path_factory.getbasetemp() / "scene.json"
    errors = measured(path, annotations, results, classes)
    plain, expected = slow_errors(annotations, results, classes)
    ap50 = coco_metrics(path, results, "bbox")["AP50"]
    assert (ap50 is None) == (plain is None) and (ap50 is None or ap50 == pytest.approx(plain, abs=1e-8))
    assert counts(errors) == counts(expected)
    for kind, error in errors.items():
        gain = expected[kind]["dAP"]
        assert (error["dAP"] is None) == (gain is None), kind
        if gain is not None:
            assert error["dAP"] == pytest.approx(gain, abs=1e-7) and -1e-9 <= error["dAP"] <= 100 - plain + 1e-7


def test_random_scenes_have_errors_of_every_kind():
    found = [slow_errors(*random_scene(seed, 4, 5, 12, 3), 3)[1] for seed in range(10)]
    assert all(sum(errors[kind]["count"] for errors in found) > 5 for kind in KINDS)


# --- other properties ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(3))
def test_every_false_positive_has_one_kind(tmp_path, kind, seed):
    path = tmp_path / "val.json"
    results = write_scene(path, seed, images=12)
    evaluation = evaluated(path, results, kind)
    errors = error_kinds(evaluation)
    first = [item for k in range(5) for item in evaluation.evalImgs[k * 48 : k * 48 + 12] if item is not None]
    wrong = sum(((item["dtMatches"][0] == 0) & (item["dtIgnore"][0] == 0)).sum() for item in first)
    assert sum(counts(errors)[:-1]) == wrong > 0
    assert all(error["dAP"] >= 0 for error in errors.values())


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_order_of_results_does_not_matter(tmp_path, kind):
    path = tmp_path / "val.json"
    results = write_scene(path, 5, images=12)
    errors = error_kinds(evaluated(path, results, kind))
    shuffled = [results[i] for i in np.random.default_rng(0).permutation(len(results))]
    assert error_kinds(evaluated(path, shuffled, kind)) == errors


def test_masks_are_compared_as_masks(tmp_path):
    """Their boxes are equal, but one mask is a quarter of the other."""
    path = tmp_path / "val.json"
    measured(path, [item(1, 1, SQUARE)], [])
    result = item(1, 1, SQUARE, 0.9) | {"segmentation": rle([20, 20, 50, 50])}
    assert counts(error_kinds(evaluated(path, [result], "segm"))) == (0, 1, 0, 0, 0, 0)
    assert counts(error_kinds(evaluated(path, [result], "bbox"))) == (0,) * 6
