"""A detector from its folder alone gives in one's own images what the pipeline gives."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.layers import paste_masks_in_image
from folders import SPLIT, write_detector
from PIL import Image
from toy import World

import afigan
from afigan.data.images import read_rgb
from afigan.data.split import read_split
from afigan.evaluation.predict import Predictor, sized_input
from afigan.prediction.detector import as_rgb

pytest_plugins = ["toy"]

HEADS = ("mask_rcnn", "cascade_rcnn", "retinanet", "fcos", "centermask")


def picture(width=150, height=90, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module", params=HEADS)
def model(request, elsewhere):
    write_detector(elsewhere / request.param, request.param)
    return afigan.load_detector(elsewhere / request.param)


def test_a_trained_model_gives_the_results_of_the_pipeline(world: World, tmp_path: Path, monkeypatch) -> None:
    world.model("detectors/a1")
    split = read_split(world.root / "data/prepared/val.json")
    with world:
        predictor = Predictor(world.params, "detectors/a1")
        expected = [predictor.detector([predictor.read(image)])[0]["instances"] for image in split["images"]]
    shutil.copytree(world.root / "models/detectors/a1", tmp_path / "copied")
    monkeypatch.chdir(tmp_path)  # no params.yaml, no models/
    model = afigan.load_detector("copied", device="cpu")
    assert model.metadata.node == "detectors/a1" and model.metadata.classes == tuple(split["classes"])
    assert list(model.metadata.category_ids) == split["category_ids"]
    assert any(len(instances) for instances in expected)
    for image, instances in zip(split["images"], expected, strict=True):
        found = afigan.predict(model, world.root / image["path"], score=world.params.evaluate.score_threshold)
        order = instances.scores.argsort(descending=True, stable=True)
        count = len(instances)  # the world allows fewer detections than `predict`
        assert torch.equal(found.scores[:count], instances.scores[order])
        assert torch.equal(found.pred_boxes.tensor[:count], instances.pred_boxes.tensor[order])
        assert torch.equal(found.pred_masks[:count], instances.pred_masks[order])


def test_it_sees_what_the_pipeline_shows_it(world, model, tmp_path, monkeypatch):
    seen = []

    def see(batch, **_):
        seen.extend(batch)
        raise InterruptedError

    monkeypatch.setattr(model, "inference" if hasattr(model, "inference") else "forward", see)
    picture(200, 300).save(tmp_path / "a.png")
    with pytest.raises(InterruptedError):
        afigan.predict(model, tmp_path / "a.png")
    image = {"path": tmp_path / "a.png", "height": 300, "width": 200, "id": 1}
    expected = sized_input(image, world.params.input, model.metadata.pixel_format)
    assert torch.equal(seen[0]["image"], expected["image"]) and (seen[0]["height"], seen[0]["width"]) == (300, 200)


def test_paths_pictures_and_arrays_are_the_same(model, tmp_path):
    image = picture()
    image.save(tmp_path / "a.png")
    first = afigan.predict(model, str(tmp_path / "a.png"), score=0.05)
    assert len(first) and first.image_size == (90, 150)
    for same in (tmp_path / "a.png", image, np.asarray(image), image.convert("RGBA")):
        found = afigan.predict(model, same, score=0.05)
        assert torch.equal(found.scores, first.scores)
        assert torch.equal(found.pred_boxes.tensor, first.pred_boxes.tensor)
    assert first.has("pred_masks") == (model.metadata.node.split("/")[-1] in ("mask_rcnn", "centermask"))


def test_scores_fall_and_a_higher_limit_leaves_the_first(model):
    every = afigan.predict(model, picture(), score=0.0)
    assert (every.scores.diff() <= 0).all() and len(every) > 1
    limit = float(every.scores[len(every) // 2])
    some = afigan.predict(model, picture(), score=limit)
    assert torch.equal(some.scores, every.scores[: len(some)]) and (some.scores >= limit).all()
    assert len(afigan.predict(model, picture(), score=1.0)) <= len(some)
    again = afigan.predict(model, picture(), score=0.0)  # the model keeps no limit of an earlier call
    assert torch.equal(again.scores, every.scores)


def test_masks_of_the_images_size_are_of_the_kept_objects_alone(model, monkeypatch):
    """A photograph of 12 megapixels has 12 MB in each mask."""
    every = afigan.predict(model, picture(), score=0.0)
    if not every.has("pred_masks"):
        return
    limit, made = float(every.scores[2]), []

    def paste(masks, *arguments, **named):
        made.append(len(masks))
        return paste_masks_in_image(masks, *arguments, **named)

    monkeypatch.setattr("detectron2.layers.paste_masks_in_image", paste)
    some = afigan.predict(model, picture(), score=limit)
    assert made == [len(some)] and len(some) < len(every)
    assert torch.equal(some.pred_masks, every.pred_masks[: len(some)])


def test_photographs_are_turned_upright(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(60, 40).save(tmp_path / "a.png", exif=exif)
    assert afigan.predict(model, tmp_path / "a.png").image_size == (60, 40) == read_rgb(tmp_path / "a.png").size[::-1]


def test_the_short_side_can_be_chosen(elsewhere):
    write_detector(elsewhere / "sized")
    model = afigan.load_detector(elsewhere / "sized", short_side=32)
    assert (model.metadata.short_side, model.metadata.max_side) == (32, 64)
    with pytest.raises(ValueError, match="short_side: 0"):
        afigan.load_detector(elsewhere / "sized", short_side=0)


def test_a_folder_from_before_the_sizes_were_written(elsewhere, caplog):
    write_detector(elsewhere / "old")
    path = elsewhere / "old/config.json"
    config = json.loads(path.read_text())
    new = afigan.load_detector(elsewhere / "old").metadata
    assert new.category_ids == tuple(SPLIT["category_ids"])
    path.write_text(json.dumps({key: config[key] for key in config if key not in ("input", "category_ids")}))
    with caplog.at_level(logging.WARNING, "afigan"):
        old = afigan.load_detector(elsewhere / "old").metadata
    assert "does not say how large its images are" in caplog.text
    assert old.category_ids == (1, 2, 3) and old.classes == new.classes
    assert (old.short_side, old.max_side) == (128, 256)  # mini's, whose anchors the toy has


def test_what_is_no_detector(elsewhere, tmp_path, monkeypatch):
    write_detector(elsewhere / "broken")
    path = elsewhere / "broken/config.json"
    path.write_text(json.dumps({"node": "afigan/main", "params_hash": "x", "channels": 8}))
    with pytest.raises(ValueError, match="broken is not a detector: choose one of detectors, students or extractors"):
        afigan.load_detector(elsewhere / "broken")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="a5 is not the folder of a trained model"):
        afigan.load_detector("detectors/a5")


def test_a_model_without_metadata(elsewhere):
    with pytest.raises(ValueError, match=r"load it with afigan\.load_detector"):
        afigan.predict(write_detector(elsewhere / "bare"), picture())


@pytest.mark.parametrize(
    "array", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), "u1")]
)
def test_arrays_that_are_no_images(array):
    with pytest.raises(ValueError, match=r"an image is an array \(H, W, 3\) of uint8"):
        as_rgb(array)
