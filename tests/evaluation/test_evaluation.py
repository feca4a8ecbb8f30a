"""COCO metrics: perfect, random and no detections, size classes, category ids, batches, content of a metrics file."""

import importlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faster_coco_eval import COCOeval_faster
from lineages import fingerprint
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scenes import write_scene
from toy import World, toy_params

import afigan.evaluation.coco
from afigan.data.split import read_split
from afigan.detectors.build import set_test_limits
from afigan.detectors.load import load_detector
from afigan.evaluation.coco import NAMES, RECALLS, coco_metrics, detailed_metrics, evaluate
from afigan.evaluation.errors import KINDS
from afigan.evaluation.matches import indexed, read_matches
from afigan.evaluation.predict import Predictor, predict, sized_input
from afigan.evaluation.pseudo_labels import write_pseudo_labels
from afigan.evaluation.results import results_of
from afigan.evaluation.speed import benchmark
from afigan.evaluation.submission import split_name, submit
from afigan.outputs.models import load_config
from afigan.runtime.files import sha256_file

pytest_plugins = ["toy"]

SIDE = 320
# what refers to evaluations, where a test has few
NO_TABLES = {"tables": {}, "figures.gradcam": {}}
CATEGORIES = [{"id": 2, "name": "first"}, {"id": 17, "name": "second"}, {"id": 90, "name": "third"}]  # with gaps


def rectangle(x: float, y: float, width: float, height: float) -> dict[str, Any]:
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {"bbox": [x, y, width, height], "area": width * height, "segmentation": [corners]}


def truth(path: Path, sides: list[float], images: int = 4) -> dict[str, Any]:
    """Write a prepared COCO file: in every image one object of each side, of categories in turn."""
    annotations = []
    for image in range(images):
        for place, side in enumerate(sides):
            category = CATEGORIES[(image + place) % 3]["id"]
            item = rectangle(3.0 + 2 * image + 60 * place, 5.0 + 3 * place, side, side)
            annotations.append({"image_id": 10 + image, "category_id": category, "iscrowd": 0, **item})
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    values = {
        "info": {"root": str(path.parent), "masks": True, "source": "coco"},
        "images": [{"id": 10 + n, "file_name": f"{n}.png", "width": SIDE, "height": SIDE} for n in range(images)],
        "annotations": annotations,
        "categories": CATEGORIES,
    }
    path.write_text(json.dumps(values))
    return values


def as_result(annotation: dict[str, Any], score: float) -> dict[str, Any]:
    encoded = coco_mask.merge(coco_mask.frPyObjects(annotation["segmentation"], SIDE, SIDE))
    encoded["counts"] = encoded["counts"].decode()
    names = ("image_id", "category_id", "bbox")
    return {name: annotation[name] for name in names} | {"segmentation": encoded, "score": score}


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_perfect_detections_are_100(tmp_path, kind):
    values = truth(tmp_path / "val.json", [20, 50, 120])
    results = [as_result(annotation, 0.9) for annotation in values["annotations"]]
    assert coco_metrics(tmp_path / "val.json", results, kind) == pytest.approx(dict.fromkeys(NAMES, 100.0))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_detections_of_the_wrong_class_or_image_are_0(tmp_path, kind):
    values = truth(tmp_path / "val.json", [50])
    for wrong in ({"category_id": 2}, {"image_id": 10}):
        annotations = [a for a in values["annotations"] if all(a[name] != value for name, value in wrong.items())]
        results = [as_result(annotation, 0.9) | wrong for annotation in annotations]
        moved = [r | {"bbox": [200, 200, 50, 50]} for r in results] if "image_id" in wrong else results
        if kind == "segm" and "image_id" in wrong:
            moved = [as_result({**r, **rectangle(200, 200, 50, 50)}, 0.9) for r in results]
        assert coco_metrics(tmp_path / "val.json", moved, kind)["AP"] == 0


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_no_detections_are_0_and_missing_sizes_undefined(tmp_path, kind):
    truth(tmp_path / "val.json", [50])
    expected = {"AP": 0.0, "AP50": 0.0, "AP75": 0.0, "APs": None, "APm": 0.0, "APl": None}
    assert coco_metrics(tmp_path / "val.json", [], kind) == expected


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_missing_sizes_are_undefined_with_detections_too(tmp_path, kind):
    values = truth(tmp_path / "val.json", [20, 120])
    results = [as_result(annotation, 0.5) for annotation in values["annotations"]]
    metrics = coco_metrics(tmp_path / "val.json", results, kind)
    assert metrics["APm"] is None and metrics["APs"] == metrics["APl"] == pytest.approx(100)


def test_no_objects_at_all(tmp_path):
    truth(tmp_path / "val.json", [])
    assert coco_metrics(tmp_path / "val.json", [], "bbox") == dict.fromkeys(NAMES, None)


def test_half_of_the_objects_at_half_the_overlap(tmp_path):
    """By hand: one class has two objects, and one is found with IoU 0.6: AP50 = 51 of 101 recall points, AP75 = 0."""
    path = tmp_path / "val.json"
    values = truth(path, [100])
    values["annotations"] = [{**a, "category_id": 2} for a in values["annotations"][:2]]
    path.write_text(json.dumps(values))
    first = values["annotations"][0]
    x, y, width, height = first["bbox"]
    found = as_result({**first, **rectangle(x, y, width, 0.62 * height)}, 0.8)
    for kind in ("bbox", "segm"):
        metrics = coco_metrics(path, [found], kind)
        assert metrics["AP50"] == pytest.approx(100 * 51 / 101) and metrics["AP75"] == 0
        assert metrics["AP"] == pytest.approx(3 / 10 * 100 * 51 / 101)  # of 0.50, 0.55, 0.60, 0.65, ...


@pytest.mark.parametrize("seed", range(3))
def test_faster_coco_eval_gives_what_pycocotools_gives(tmp_path, monkeypatch, seed):
    """They agree to the last digit written, so the program does not matter: on crowds, classes without an object
    or a detection, an image without objects, and one with more than the 100 detections that count."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "val.json"
    values = truth(path, [20, 50, 60, 120], images=8)
    annotations = [a for a in values["annotations"] if a["image_id"] != 13]
    for crowd in rng.choice(len(annotations), 4, replace=False):
        encoded = as_result(annotations[crowd], 1.0)["segmentation"]
        annotations[crowd] |= {"iscrowd": 1, "segmentation": encoded}
    absent = [{"id": 30, "name": "has no object"}, {"id": 40, "name": "is not detected"}]
    annotations[-1]["category_id"] = 40
    path.write_text(json.dumps(values | {"annotations": annotations, "categories": [*CATEGORIES, *absent]}))
    results = []
    for annotation in [a for a in values["annotations"] if a["category_id"] != 40]:
        for _ in range(60 if annotation["image_id"] == 10 else rng.integers(0, 4)):
            x, y, width, height = np.array(annotation["bbox"]) + rng.normal(0, 6, 4)
            box = rectangle(max(0.0, x), max(0.0, y), max(4.0, width), max(4.0, height))
            # few different scores, because two sorts may differ in the order of equal ones
            item = as_result({**annotation, **box}, float(rng.integers(1, 20) / 20))
            results.append(item | {"category_id": int(rng.choice([2, 17, 30, 90, annotation["category_id"]]))})
    found = {kind: detailed_metrics(path, results, kind) for kind in ("bbox", "segm")}
    nothing = detailed_metrics(path, [], "segm")
    assert all(0 < metrics["AP"] < 100 for metrics in found.values())
    assert found["bbox"] != found["segm"]
    monkeypatch.setattr("afigan.evaluation.coco.COCO", COCO)
    monkeypatch.setattr("afigan.evaluation.coco.COCOeval", COCOeval)
    assert {kind: detailed_metrics(path, results, kind) for kind in found} == found
    assert detailed_metrics(path, [], "segm") == nothing
    assert {name: nothing[name] for name in NAMES + RECALLS} == dict.fromkeys(NAMES + RECALLS, 0.0)
    assert [entry["AP"] for entry in nothing["classes"]] == [0.0, 0.0, None, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(2))
def test_recalls_and_classes_are_those_of_pycocotools(tmp_path, kind, seed):
    path = tmp_path / "val.json"
    results = write_scene(path, seed, images=12)
    found = detailed_metrics(path, results, kind)
    assert {name: found[name] for name in NAMES} == coco_metrics(path, results, kind)
    evaluation = COCOeval(*indexed(COCO, path, results_of(results, kind)), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    for name, value in zip(RECALLS, evaluation.stats[6:12], strict=True):
        assert found[name] == (None if value < 0 else pytest.approx(100 * value, abs=1e-9))
    values = json.loads(path.read_text())
    assert [entry["name"] for entry in found["classes"]] == [c["name"] for c in values["categories"]]
    for k, (category, entry) in enumerate(zip(values["categories"], found["classes"], strict=True)):
        objects = [a for a in values["annotations"] if a["category_id"] == category["id"] and not a["iscrowd"]]
        assert entry["objects"] == len(objects)
        precision = evaluation.eval["precision"][:, :, k, 0, 2]  # at most 100 detections, every size
        assert (entry["AP"] is None) == (precision.max() < 0) == (not objects)
        if objects:
            assert entry["AP"] == pytest.approx(100 * precision.mean(), abs=1e-9)
            assert entry["AP50"] == pytest.approx(100 * precision[0].mean(), abs=1e-9)
    known = [entry for entry in found["classes"] if entry["objects"]]
    for name in ("AP", "AP50"):
        assert np.mean([entry[name] for entry in known]) == pytest.approx(found[name], abs=1e-8)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_recalls_and_classes_by_hand(tmp_path, kind):
    """Four objects of `first`, of 50 x 50, are in one image. Three are found; one of `second` is not."""
    path = tmp_path / "val.json"
    values = truth(path, [50, 50, 50, 50, 50], images=1)
    for number, annotation in enumerate(values["annotations"]):
        annotation["category_id"] = 17 if number == 4 else 2
    path.write_text(json.dumps(values))
    results = [as_result(a, 0.9 - 0.1 * i) for i, a in enumerate(values["annotations"][:3])]
    found = detailed_metrics(path, results, kind)
    # means of both classes; the best detection of an image finds one of four, ten find three
    recalls = {"AR1": 25 / 2, "AR10": 75 / 2, "AR100": 75 / 2, "ARs": None, "ARm": 75 / 2, "ARl": None}
    assert {name: found[name] for name in RECALLS} == pytest.approx(recalls)
    ap = pytest.approx(100 * 76 / 101)  # at the recalls 0, 0.01, ..., 0.75
    assert found["classes"] == [
        {"name": "first", "objects": 4, "AP": ap, "AP50": ap},
        {"name": "second", "objects": 1, "AP": 0.0, "AP50": 0.0},
        {"name": "third", "objects": 0, "AP": None, "AP50": None},
    ]


def test_without_faster_coco_eval_pycocotools_does_it(monkeypatch):
    assert afigan.evaluation.coco.COCOeval is COCOeval_faster
    try:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "faster_coco_eval", None)
            assert importlib.reload(afigan.evaluation.coco).COCOeval is COCOeval
    finally:
        importlib.reload(afigan.evaluation.coco)


def test_masks_are_measured_by_their_own_area(tmp_path):
    """A result's size class is its mask's, not its box's, as the challenge server has it."""
    values = truth(tmp_path / "val.json", [50])
    results = [as_result(a, 0.9) for a in values["annotations"]]
    assert coco_metrics(tmp_path / "val.json", results, "segm")["APm"] == pytest.approx(100)
    # unmatched masks of 20 x 20 in boxes of 50 x 50 are small: they are no false positives among the medium ones
    small = [
        as_result({**a, **rectangle(200, 200, 20, 20)}, 0.95) | {"bbox": [200, 200, 50, 50]}
        for a in values["annotations"]
    ]
    assert coco_metrics(tmp_path / "val.json", results + small, "segm")["APm"] == pytest.approx(100)
    assert coco_metrics(tmp_path / "val.json", results + small, "bbox")["APm"] < 100


# --- detectors -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def a5(world: World):
    """A detector with raised scores, because training has hardly begun."""
    world.model("detectors/a5")
    with world:
        detector, config = load_detector("detectors/a5", torch.device("cpu")), load_config("detectors/a5")
        split = read_split("data/prepared/val.json")
        split["images"] = [image | {"path": str(world.root / image["path"])} for image in split["images"]]
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.weight.mul_(20)
    return detector, split, config


def run(world: World, a5, **change) -> list[dict]:
    detector, split, _ = a5
    settings = world.params.evaluate.model_copy(update={"score_threshold": 0.01, "detections": 100} | change)
    set_test_limits(detector, settings.score_threshold, settings.detections)
    return predict(detector, split, lambda image: sized_input(image, world.params.input, "RGB"), settings.batch_size)


def test_batched_evaluation_equals_single_images(world, a5):
    single, batched = run(world, a5, batch_size=1), run(world, a5, batch_size=3)
    assert len(single) == len(batched) > 0
    for first, second in zip(single, batched, strict=True):
        assert first["image_id"] == second["image_id"] and first["category_id"] == second["category_id"]
        assert first["bbox"] == pytest.approx(second["bbox"], abs=1e-3)
        assert first["score"] == pytest.approx(second["score"], abs=1e-5)


def test_score_threshold_and_number_of_detections(world, a5):
    everything = run(world, a5, detections=100)
    best = run(world, a5, detections=2)
    counts = [sum(r["image_id"] == image["id"] for r in best) for image in a5[1]["images"]]
    assert max(counts) == 2 and len(best) < len(everything)
    middle = sorted(r["score"] for r in everything)[len(everything) // 2]
    above = run(world, a5, score_threshold=middle)
    assert above and all(r["score"] > middle for r in above)


def test_detections_are_in_the_original_images_pixels(world, a5):
    for result in run(world, a5):
        image = next(i for i in a5[1]["images"] if i["id"] == result["image_id"])
        x, y, width, height = result["bbox"]
        assert x >= -1e-3 and x + width <= image["width"] + 1e-3 and y + height <= image["height"] + 1e-3
        assert result["segmentation"]["size"] == [image["height"], image["width"]]
    assert any(r["bbox"][0] + r["bbox"][2] > world.params.input.test_short_side for r in run(world, a5))


def test_category_ids_with_gaps_come_back(world, a5):
    detector, split, config = a5
    plain = run(world, a5)
    gaps = run(world, (detector, split | {"category_ids": [5, 50, 81]}, config))
    assert {r["category_id"] for r in plain} <= {1, 2, 3}
    assert [{1: 5, 2: 50, 3: 81}[r["category_id"]] for r in plain] == [r["category_id"] for r in gaps]


@pytest.mark.parametrize("pixel_format", ["RGB", "BGR"])
def test_test_images_are_resized_and_ordered(world, a5, pixel_format):
    image = a5[1]["images"][0]
    rgb = sized_input(image, world.params.input, "RGB")["image"]
    item = sized_input(image, world.params.input, pixel_format)
    assert item["image"].shape == (3, 64, 64) and (item["height"], item["width"]) == (128, 128)
    assert torch.equal(item["image"], rgb if pixel_format == "RGB" else rgb.flip(0))


def test_a_metrics_file_is_complete(own_world):
    own_world.model("detectors/a5")
    evaluate(own_world.params, "a5")
    metrics = json.loads(Path("results/metrics/a5.json").read_text())
    weights = own_world.model("detectors/a5")
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    count = sum(v.numel() for n, v in weights.items() if not n.endswith(buffers) and not n.startswith("pixel_"))
    assert metrics.keys() == {
        "key", "model", "params_hash", "inputs", "data", "schedule", "seed", "multi_scale", "params_M",
        "matches", "box", "mask",
    }  # fmt: skip
    assert (metrics["key"], metrics["model"]) == ("a5", "detectors/a5")
    assert metrics["params_hash"] == fingerprint(own_world.params, "evaluations/a5")
    files = ("models/detectors/a5/model.safetensors", "data/prepared/val.json")
    assert metrics["inputs"] == {name: sha256_file(name) for name in files}
    assert metrics["data"] == {"source": "shapes", "train_images": 6, "val_images": 3}
    assert metrics["params_M"] == pytest.approx(count / 1e6)
    assert metrics["schedule"]["stage"] == 3 and metrics["schedule"]["iterations"] == 2
    for kind in ("box", "mask"):
        assert list(metrics[kind]) == [*NAMES, *RECALLS, "classes", "errors"]
        percentages = [metrics[kind][name] for name in NAMES + RECALLS]
        percentages += [entry[name] for entry in metrics[kind]["classes"] for name in ("AP", "AP50")]
        assert all(value is None or 0 <= value <= 100 for value in percentages)
        assert [entry["name"] for entry in metrics[kind]["classes"]] == ["disc", "box", "triangle"]
        assert list(metrics[kind]["errors"]) == list(KINDS)
    assert metrics["matches"] == sha256_file("results/metrics/a5.matches.npz")
    matches = read_matches(Path("results/metrics/a5.matches.npz"))
    assert list(matches) == ["box", "mask"] and all(m.images == 3 for m in matches.values())
    first = Path("results/metrics/a5.json").read_bytes()
    evaluate(own_world.params, "a5")
    assert Path("results/metrics/a5.json").read_bytes() == first


def test_an_extractor_is_evaluated_on_full_size_images(own_world):
    """A3: M, without its discriminator, with the anchors of full-size images."""
    own_world.model("extractors/main")
    detector = load_detector("extractors/main", torch.device("cpu"))
    sizes = [a[1, 2] - a[1, 0] for a in detector.proposal_generator.anchor_generator.cell_anchors]
    assert [size.item() for size in sizes] == pytest.approx(own_world.params.model.anchor_sizes)
    assert detector.roi_heads.box_pooler.canonical_box_size == own_world.params.model.canonical_box_size
    assert not detector.training and not any(p.requires_grad for p in detector.parameters())
    evaluate(own_world.params, "a3")
    metrics = json.loads(Path("results/metrics/a3.json").read_text())
    assert metrics["model"] == "extractors/main" and metrics["schedule"]["stage"] == 2


def test_a_model_of_other_classes_is_refused(own_world):
    own_world.model("detectors/a1")
    path = Path("data/prepared/val.json")
    values = json.loads(path.read_text())
    values["categories"][0]["name"] = "cat"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"was trained on the classes \['disc'.*\['cat'"):
        evaluate(own_world.params, "a1")


def test_the_benchmark_counts_and_times(own_world):
    evaluations = {key: {"model": f"detectors/{key}"} for key in ("a1", "deconv")}
    params = toy_params({"experiments.evaluations": evaluations, "figures.afi": "deconv"} | NO_TABLES)
    for key in ("a1", "deconv"):
        own_world.model(f"detectors/{key}")
        evaluate(params, key)
    benchmark(params)
    found = json.loads(Path("results/benchmark.json").read_text())
    assert found["device"] and found["runs"] == params.benchmark.runs and list(found["rows"]) == ["a1", "deconv"]
    for key, row in found["rows"].items():
        metrics = json.loads(Path(f"results/metrics/{key}.json").read_text())
        assert row["time_ms"] > 0 and all(row[name] == metrics[name] for name in ("model", "params_hash", "params_M"))
    c, sources = params.model.channels, 2 * 2 + 4 * 4 + 8 * 8  # positions of P5, P4 and P3 of 64 x 64 pixels
    kernels = (36 * c * c, 9 * c * c)  # 6x6 from each position, 3x3 on each of its four
    assert found["rows"]["deconv"]["upsampling"] == {
        "params": 3 * (sum(kernels) + 2 * c),
        "multiply_adds": sources * (kernels[0] + 4 * kernels[1]),
    }
    assert found["rows"]["a1"]["upsampling"] == {"params": 0, "multiply_adds": 0}


# --- several scales, other images ------------------------------------------------------------------------------------


def test_one_view_of_the_test_size_is_the_plain_detector(own_world, a5):
    """Multi-scale testing at one scale, without mirroring: detectron2's views add nothing but their own NMS."""
    own_world.model("detectors/a5")
    views = {"short_sides": [64], "max_side": 128, "flip": False}
    params = toy_params({"evaluate.multi_scale": views, "evaluate.score_threshold": 0.01})
    results = {}
    for multi_scale in (False, True):
        predictor = Predictor(params, "detectors/a5", multi_scale)
        with torch.no_grad():
            model = predictor.detector.model if multi_scale else predictor.detector
            model.roi_heads.box_predictor.cls_score.weight.mul_(20)
        results[multi_scale] = predictor.results(Path("data/prepared/val.json"))
    assert len(results[True]) == len(results[False]) > 0
    for plain, view in zip(results[False], results[True], strict=True):
        assert view["bbox"] == pytest.approx(plain["bbox"], abs=1.0) and view["score"] == pytest.approx(plain["score"])


def test_more_views_see_more_sizes(own_world):
    own_world.model("detectors/a5")
    predictor = Predictor(own_world.params, "detectors/a5", multi_scale=True)
    seen = []
    predictor.detector.model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    with torch.no_grad():
        predictor.detector([predictor.read(own_image(own_world))])
    sides = own_world.params.evaluate.multi_scale.short_sides
    assert sum(shape[0] for shape in seen) >= 2 * len(sides)  # each mirrored too; masks take another look
    assert {shape[-1] for shape in seen} == {-(-side // 32) * 32 for side in sides}


def own_image(world: World) -> dict[str, Any]:
    return read_split(world.root / "data/prepared/val.json")["images"][0]


def test_pseudo_labels_are_the_sure_detections_as_annotations(own_world):
    own_world.model("detectors/swin_t_nn")
    own_world.model("pseudo_labels/swin_t_nn")
    found = json.loads(Path("data/pseudo/swin_t_nn.json").read_text())
    images = json.loads(Path("data/prepared/unlabeled.json").read_text())["images"]
    assert found["images"] == images and found["annotations"]
    item = own_world.params.experiments.pseudo_labels["swin_t_nn"]
    predictor = Predictor(own_world.params, item.model)
    results = predictor.results(Path("data/prepared/unlabeled.json"))
    kept = [r for r in results if r["score"] >= item.score_threshold]
    assert [a["bbox"] for a in found["annotations"]] == [r["bbox"] for r in kept]
    assert [a["id"] for a in found["annotations"]] == list(range(1, len(kept) + 1))
    assert all(a["area"] == a["bbox"][2] * a["bbox"][3] and a["iscrowd"] == 0 for a in found["annotations"])
    split = read_split("data/prepared/train.json")
    assert read_split("data/pseudo/swin_t_nn.json")["classes"] == split["classes"]


def test_pseudo_labels_have_a_threshold_of_their_own(own_world):
    """One below `evaluate.score_threshold` acts too."""
    own_world.model("detectors/swin_t_nn")
    change = {"experiments.pseudo_labels.swin_t_nn.score_threshold": 0.05, "evaluate.score_threshold": 0.9}
    write_pseudo_labels(toy_params(change), "swin_t_nn")
    labels = json.loads(Path("data/pseudo/swin_t_nn.json").read_text())["annotations"]
    assert 0.05 <= min(label["score"] for label in labels) < 0.9


def test_pseudo_labels_of_nothing_are_refused(own_world):
    own_world.model("detectors/swin_t_nn")
    Path("data/pseudo/swin_t_nn.json").unlink(missing_ok=True)
    params = toy_params({"experiments.pseudo_labels.swin_t_nn.score_threshold": 0.999})
    with pytest.raises(ValueError, match=r"detectors/swin_t_nn finds nothing with a score of 0.999 .*lower"):
        write_pseudo_labels(params, "swin_t_nn")
    assert not Path("data/pseudo/swin_t_nn.json").exists()


@pytest.mark.parametrize(("key", "kinds"), [("a5", ["bbox", "segm"]), ("swin_t_nn", ["bbox"])])
def test_a_submission_is_what_the_server_takes(own_world, key, kinds):
    own_world.model(f"detectors/{key}")
    submit(own_world.params, key)
    folder = Path(f"results/submissions/{key}")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == kinds
    ids = {image["id"] for image in json.loads(Path("data/prepared/test.json").read_text())["images"]}
    for kind in kinds:
        name = f"detections_test_afigan-{key}_results"
        with zipfile.ZipFile(folder / kind / f"{name}.zip") as archive:
            assert archive.namelist() == [f"{name}.json"]
            results = json.loads(archive.read(f"{name}.json"))
        what = {"bbox": "bbox", "segm": "segmentation"}[kind]
        assert results and all(r.keys() == {"image_id", "category_id", "score", what} for r in results)
        assert {r["image_id"] for r in results} <= ids
    first = next((folder / "bbox").iterdir()).read_bytes()
    submit(own_world.params, key)
    assert next((folder / "bbox").iterdir()).read_bytes() == first


def test_a_submission_is_named_after_the_challenge():
    data = {"images": "x", "annotations": "annotations/image_info_test-dev2017.json"}
    change = {"data.source": "coco", "data.test": data, "data.unlabeled.images": "u"}
    change |= {f"data.{name}": {"images": "x", "annotations": "x.json"} for name in ("train", "val")}
    assert split_name(toy_params(change)) == "test-dev2017" and split_name(toy_params()) == "test"


def test_masks_may_have_scores_of_their_own():
    result = {"image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1], "score": 0.9, "segmentation": {}}
    assert results_of([result | {"mask_score": 0.4}], "segm")[0]["score"] == 0.4
    assert results_of([result], "segm")[0]["score"] == 0.9
    assert results_of([result | {"mask_score": 0.4}], "bbox")[0]["score"] == 0.9
