"""Bootstrap over images: a replicate is the evaluation of a set that contains some images several times."""

import contextlib
import io
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scenes import write_scene

from afigan.evaluation.coco import coco_metrics
from afigan.evaluation.matches import AREAS, Matches, match
from afigan.reporting.bootstrap import image_weights, replicate_ap
from benchmarks.bootstrap import draw

KINDS = ("bbox", "segm")
IMAGES = 8


def duplicated_ap(path: Path, results: list[dict[str, Any]], weights: np.ndarray, kind: str) -> list[float]:
    """Return pycocotools' AP in percent by area range, on copies of the images; NaN where it is undefined."""
    values = json.loads(path.read_text())
    of_image = {"annotations": defaultdict(list), "results": defaultdict(list)}
    for name, items in (("annotations", values["annotations"]), ("results", results)):
        for item in items:
            of_image[name][item["image_id"]].append(item)
    images, annotations, detections = [], [], []
    for image, times in zip(sorted(values["images"], key=lambda image: image["id"]), weights.tolist(), strict=True):
        for copy in range(times):
            new = {"image_id": 1000 * image["id"] + copy}
            images.append(image | {"id": new["image_id"]})
            annotations += [a | new for a in of_image["annotations"][image["id"]]]
            detections += [d | new for d in of_image["results"][image["id"]]]
    if kind == "segm":  # the area of a result is its mask's
        detections = [{k: v for k, v in d.items() if k != "bbox"} for d in detections]
    else:
        detections = [{k: v for k, v in d.items() if k != "segmentation"} for d in detections]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        numbered = [a | {"id": number} for number, a in enumerate(annotations, 1)]
        truth.dataset = values | {"images": images, "annotations": numbered}
        truth.createIndex()
        found = COCO()
        found.dataset = truth.dataset | {"annotations": []}
        found.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections) if detections else found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]  # of 100 detections an image
    by_area = [precision[:, :, :, a] for a in range(len(AREAS))]
    return [100 * p[p > -1].mean() if (p > -1).any() else np.nan for p in by_area]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_a_replicate_equals_duplicated_images(tmp_path, kind, seed):
    path = tmp_path / "val.json"
    results = write_scene(path, seed, IMAGES)
    matches, weights = match(path, results, kind), image_weights(IMAGES, 10, seed)
    assert (weights == 0).any(axis=1).all() and weights.max() > 2
    ours = [replicate_ap(matches, weights, area) for area in AREAS]
    for r, row in enumerate(weights):
        theirs = duplicated_ap(path, results, row, kind)
        np.testing.assert_allclose([ap[r] for ap in ours], theirs, rtol=0, atol=1e-8)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> tuple[Path, list[dict[str, Any]], dict[str, Matches]]:
    path = tmp_path_factory.mktemp("scene") / "val.json"
    results = write_scene(path, 11, IMAGES)
    return path, results, {kind: match(path, results, kind) for kind in KINDS}


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.integers(0, 5), min_size=IMAGES, max_size=IMAGES),
    kind=st.sampled_from(KINDS),
    area=st.sampled_from(AREAS),
)
def test_any_weights_equal_duplicated_images(scene, weights, kind, area):
    """The weights may have any sum, 0 too."""
    path, results, matches = scene
    ours = replicate_ap(matches[kind], np.array([weights]), area)[0]
    theirs = duplicated_ap(path, results, np.array(weights), kind)[AREAS.index(area)]
    assert ours == pytest.approx(theirs, abs=1e-8, nan_ok=True)


def test_weights_of_1_are_the_evaluation_itself(scene):
    path, results, matches = scene
    names = dict(zip(AREAS, ("AP", "APs", "APm", "APl"), strict=True))
    for kind in KINDS:
        metrics = coco_metrics(path, results, kind)
        for area in AREAS:
            ours = replicate_ap(matches[kind], np.ones((2, IMAGES), int), area)
            assert ours.tolist() == pytest.approx([metrics[names[area]]] * 2, abs=1e-9)


def test_a_category_that_is_not_drawn_is_left_out(tmp_path):
    """By hand: two images have an object each, of different categories, and one of them is found."""
    path = tmp_path / "val.json"
    write_scene(path, 0)
    values = json.loads(path.read_text())
    kept = {a["category_id"]: a for a in values["annotations"]}
    first, second = [kept[3] | {"image_id": 1, "iscrowd": 0}, kept[7] | {"image_id": 2, "iscrowd": 0}]
    values |= {"images": [{"id": 1, "width": 240, "height": 240}, {"id": 2, "width": 240, "height": 240}]}
    path.write_text(json.dumps(values | {"annotations": [first, second]}))
    result = {"image_id": 1, "category_id": 3, "bbox": first["bbox"], "score": 0.5}
    matches = match(path, [result], "bbox")
    ours = replicate_ap(matches, np.array([[1, 1], [2, 0], [0, 2], [5, 1], [0, 0]]))
    assert ours.tolist() == pytest.approx([50, 100, 0, 50, np.nan], nan_ok=True)


def test_nothing_found_is_0(scene):
    path, _, _ = scene
    assert replicate_ap(match(path, [], "bbox"), image_weights(IMAGES, 3, 0)).tolist() == [0, 0, 0]


def test_chunks_do_not_matter(scene, monkeypatch):
    matches, weights = scene[2]["bbox"], image_weights(IMAGES, 50, 0)
    whole = replicate_ap(matches, weights)
    assert len(set(whole)) > 20
    monkeypatch.setattr("afigan.reporting.bootstrap.CELLS", 60)
    assert np.array_equal(replicate_ap(matches, weights), whole)
    assert np.array_equal([replicate_ap(matches, row[None])[0] for row in weights], whole)


def test_weights_draw_as_many_images_as_there_are():
    weights = image_weights(30, 4000, seed=3)
    assert weights.shape == (4000, 30) and (weights.sum(axis=1) == 30).all() and weights.min() == 0
    # a multinomial: mean 1, variance 1 - 1/30, covariance -1/30
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.08)
    covariance = np.cov(weights.T)
    assert np.diag(covariance) == pytest.approx(1 - 1 / 30, abs=0.1)
    assert covariance[~np.eye(30, dtype=bool)] == pytest.approx(-1 / 30, abs=0.08)
    assert np.array_equal(weights, image_weights(30, 4000, seed=3))
    assert not np.array_equal(weights, image_weights(30, 4000, seed=4))


def test_an_object_that_is_found_twice_is_noticed(scene):
    matches = scene[2]["bbox"]
    with pytest.raises(AssertionError, match="an object is found twice"):
        replicate_ap(replace(matches, found=np.full_like(matches.found, 255)), np.ones((1, IMAGES), int))


def test_time_grows_with_detections_not_with_objects_times_levels():
    """A tenth of what `benchmarks/bootstrap.py` measures at COCO's size, where the limit is 60 s for two rows."""
    row = draw(images=1000, classes=80, detections=100, seed=0)
    weights = image_weights(1000, 500, seed=0)
    begin = time.process_time()
    ap = replicate_ap(row, weights)
    assert time.process_time() - begin < 3.0
    assert 10 < ap.mean() < 40 and 0 < ap.std() < 3
