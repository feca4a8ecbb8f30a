"""Pictures and COCO results for files, folders and patterns of images."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from folders import SPLIT, write_detector
from PIL import Image
from pycocotools.coco import COCO

import afigan
from afigan.prediction.pictures import find_pictures, predict_pictures

pytest_plugins = ["toy"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    write_detector(root / "detectors/a5", seed=0)
    write_detector(root / "detectors/a1", seed=1)
    write_detector(root / "detectors/boxes", head="faster_rcnn")
    write_detector(root / "detectors/cats", change={"classes": ["cat", "dog", "cow"]})
    return {name: afigan.load_detector(root / "detectors" / name) for name in ("a5", "a1", "boxes", "cats")}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name, size in (("a.jpg", (90, 60)), ("b.PNG", (64, 64)), ("sub/c.tif", (40, 80)), ("sub/a.jpg", (50, 70))):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size).save(path)
    (tmp_path / "photos/readme.txt").write_text("no image")
    return tmp_path / "photos"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["a5", "boxes"])
def test_pictures_and_results_of_a_folder(models, photos, name):
    found = predict_pictures(models[name], ["photos"], Path("out"), score=0.2)
    out = photos.parent / "out"
    assert files(out) == ["a.jpg", "b.PNG", "images.json", "results.json", "sub/a.jpg", "sub/c.tif.png"]
    coco = COCO(str(out / "images.json"))
    results = json.loads((out / "results.json").read_text())
    loaded = coco.loadRes(str(out / "results.json"))  # pycocotools accepts the ids
    assert found.images == 4 and found.objects == (len(results),) and len(loaded.anns) == len(results) > 0
    assert {category["id"]: category["name"] for category in coco.dataset["categories"]} == dict(
        zip(SPLIT["category_ids"], SPLIT["classes"], strict=True)
    )
    for image in coco.dataset["images"]:
        picture = Image.open(image["file_name"])
        assert picture.size == (image["width"], image["height"])
        instances = afigan.predict(models[name], picture, score=0.2)
        own = [result for result in results if result["image_id"] == image["id"]]
        assert [result["score"] for result in own] == instances.scores.tolist()
        assert [r["category_id"] for r in own] == [SPLIT["category_ids"][int(n)] for n in instances.pred_classes]
        for result, box in zip(own, instances.pred_boxes.tensor.tolist(), strict=True):
            x, y, width, height = result["bbox"]
            np.testing.assert_allclose((x, y, x + width, y + height), box, rtol=1e-4, atol=1e-3)
            assert ("segmentation" in result) == (name == "a5")
        drawn = Image.open(out / os.path.relpath(image["file_name"], "photos").replace(".tif", ".tif.png"))
        assert drawn.size == picture.size


def test_two_detectors_side_by_side(models, photos):
    found = predict_pictures(models["a5"], ["photos/a.jpg"], Path("out"), score=0.2, compare=models["a1"])
    assert files(photos.parent / "out") == ["a.jpg", "compare.json", "images.json", "results.json"]
    picture = Image.open("out/a.jpg")
    assert picture.width > 2 * 90 and picture.height > 60
    for file, name, objects in zip(("results.json", "compare.json"), ("a5", "a1"), found.objects, strict=True):
        expected = afigan.predict(models[name], "photos/a.jpg", score=0.2).scores.tolist()
        assert [result["score"] for result in json.loads(Path("out", file).read_text())] == expected
        assert objects == len(expected)


def test_files_folders_and_patterns(photos):
    assert set(find_pictures(["photos"])) == {"a.jpg", "b.PNG", "sub/a.jpg", "sub/c.tif.png"}
    assert set(find_pictures(["photos/*.jpg", "photos/b.PNG"])) == {"a.jpg", "b.PNG"}
    assert set(find_pictures(["photos/**/c.*"])) == {"c.tif.png"}
    assert set(find_pictures(["photos/a.jpg", "photos/a.jpg"])) == {"a.jpg"}
    (photos / "[1].jpg").write_bytes((photos / "a.jpg").read_bytes())
    assert set(find_pictures(["photos/[1].jpg"])) == {"[1].jpg"}  # a file first, then a pattern


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["photos/z.jpg"], r"photos/z\.jpg does not exist: give images, folders, or patterns"),
        (["photos/*.webp"], "does not exist"),
        (["photos/a.jpg", "photos/sub/a.jpg"], r"would both become a\.jpg: predict them in two calls"),
        (["empty"], "empty has no images"),
        (["photos/readme.txt"], r"these are not images that can be read:\n  photos/readme\.txt cannot be read"),
    ],
)
def test_what_is_no_image_is_refused_before_a_detector_runs(models, photos, given, message):
    Path("empty").mkdir()
    with pytest.raises(ValueError, match=message):
        predict_pictures(models["a5"], given, Path("out"))
    assert not Path("out").exists()


def test_a_long_list_of_problems_is_cut(photos):
    for number in range(13):
        (photos / f"{number}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="and 3 more"):
        find_pictures(["photos"])


def test_images_are_not_overwritten(models, photos):
    before = (photos / "a.jpg").read_bytes()
    with pytest.raises(ValueError, match=r"a\.jpg would be overwritten: choose another folder than photos"):
        predict_pictures(models["a5"], ["photos/a.jpg"], Path("photos"))
    assert (photos / "a.jpg").read_bytes() == before and not (photos / "results.json").exists()


def test_other_files_of_the_folder_stay(models, photos):
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    predict_pictures(models["boxes"], ["photos/a.jpg"], Path("out"))
    assert Path("out/mine.txt").read_text() == "mine"


def test_earlier_pictures_are_not_predicted_again(models, photos):
    """The folder of the results lies in that of the images."""
    out = photos / "found"
    first = predict_pictures(models["boxes"], ["photos"], out)
    written = files(out)
    assert predict_pictures(models["boxes"], ["photos"], out) == first and files(out) == written
    assert set(find_pictures(["photos/**/c.*"], out)) == {"c.tif.png"}
    assert set(find_pictures(["photos/found"], out)) == set(find_pictures(["photos/found"]))  # asked for by name


def test_json_files_of_an_earlier_call_do_not_stay(models, photos, monkeypatch):
    """Their image ids would be those of other images."""
    out = photos.parent / "out"
    predict_pictures(models["a5"], ["photos/a.jpg"], out, compare=models["a1"])
    predict_pictures(models["a5"], ["photos/b.PNG"], out)
    assert files(out) == ["a.jpg", "b.PNG", "images.json", "results.json"]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("afigan.prediction.pictures.predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_pictures(models["a5"], ["photos/a.jpg"], out)
    assert files(out) == ["a.jpg", "b.PNG"]


def test_a_name_that_json_cannot_have_is_refused_beforehand(models, photos):
    (photos / os.fsdecode(b"caf\xe9.jpg")).write_bytes((photos / "a.jpg").read_bytes())
    with pytest.raises(ValueError, match=r"photos/caf\\xe9\.jpg has a name that is not UTF-8.*: rename it"):
        predict_pictures(models["a5"], ["photos"], Path("out"))
    assert not Path("out").exists()


def test_detectors_of_other_classes_are_not_compared(models, photos):
    with pytest.raises(ValueError, match="detectors/a5 detects disc, box, triangle, and detectors/cats detects cat"):
        predict_pictures(models["a5"], ["photos"], Path("out"), compare=models["cats"])


def test_a_score_is_from_0_to_1(models, photos):
    with pytest.raises(ValueError, match=r"score: 50 is not from 0 to 1"):
        predict_pictures(models["a5"], ["photos"], Path("out"), score=50)
