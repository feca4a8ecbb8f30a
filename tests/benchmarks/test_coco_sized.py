"""The rehearsal of COCO's size, at toy size: what it writes is a data set that the stages take."""

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from dags import ROOT
from PIL import Image

sys.path.append(str(ROOT / "benchmarks"))
import coco_sized
import pairs_killed
import rates

from afigan.params.schema import Input

# by its path: workflow/scripts has a module of this name, and another test may have put that folder first
SPEC = spec_from_file_location("benchmark_of_prepare", ROOT / "benchmarks/prepare.py")
assert SPEC is not None and SPEC.loader is not None
prepare = module_from_spec(SPEC)
SPEC.loader.exec_module(prepare)

IMAGES, OBJECTS, SHARD = 200, 600, 10
# images of 640 x 480 pixels, so that the stage takes long enough to be killed
SCALE = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("coco") / "coco"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco_sized, "DISTINCT", 8)  # each takes 60 ms to write
        coco_sized.write_set(folder, images=IMAGES, objects=OBJECTS, scale=SCALE)
    return folder


@pytest.fixture(scope="module")
def prepared(data, tmp_path_factory) -> Path:
    """The result of the stage `prepare`: it decodes every image and compares every box with its mask."""
    out = tmp_path_factory.mktemp("prepared")
    prepare.measure(data, out)
    return out


@pytest.fixture(scope="module")
def resumed(prepared, tmp_path_factory) -> tuple[Path, pairs_killed.Resumed]:
    out = tmp_path_factory.mktemp("slice") / "slice"
    count = pairs_killed.write_slice(prepared, out, IMAGES // 2)
    shard_size = pairs_killed.configure(out, workers=1, shard_size=SHARD)
    return out, pairs_killed.measure(out, count, shard_size)


def test_the_set_has_cocos_layout_and_sizes(data):
    values = json.loads((data / "annotations/instances_train2017.json").read_bytes())
    assert (len(values["images"]), len(values["annotations"])) == (IMAGES, OBJECTS)
    assert len(values["categories"]) == 80
    for image in values["images"][:20]:
        with Image.open(data / "train2017" / image["file_name"]) as found:
            assert found.size == (image["width"], image["height"])
        assert max(image["width"], image["height"]) in (560, 640)
    # hard links: many images, few files
    files = {path.stat().st_ino for path in (data / "train2017").iterdir()}
    assert len(files) == 8


def test_a_set_appears_when_it_is_whole_and_is_not_overwritten(tmp_path):
    command = [sys.executable, ROOT / "benchmarks/coco_sized.py", tmp_path / "set", "--images", "4", "--objects", "9"]
    subprocess.run(command, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["set"] and (tmp_path / "set/annotations").is_dir()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2 and "is there already: remove it, or give another folder" in again.stderr


def test_a_killed_run_keeps_its_complete_shards(resumed):
    """`measure` itself refuses a shard that is written again."""
    out, found = resumed
    assert found.shards == IMAGES // 2 // SHARD
    assert found.shards // 2 <= found.kept < found.shards
    assert found.images == IMAGES // 2 - found.kept * SHARD
    assert len(list((out / "data/pairs/bilinear").glob("*.tar"))) == found.shards


def test_rates_count_the_loading_process(resumed, monkeypatch):
    monkeypatch.chdir(Path.cwd())  # `measure` changes it
    inputs = Input(short_sides=[320], max_side=640, test_short_side=320)
    found = dict(rates.measure(resumed[0], 12, inputs))
    assert found.keys() == rates.GPU_SECONDS.keys()
    for rate in found.values():
        assert rate.images == 12
        assert rate.loading > 0.002  # decoding 640 x 480 pixels takes longer
        assert rate.wall > 0


def test_an_epoch_is_every_image(resumed, monkeypatch):
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setattr(rates, "SAMPLE", 2)
    inputs = Input(short_sides=[96], max_side=192, test_short_side=96)
    ((stage, rate),) = rates.measure(resumed[0], None, inputs, ["train_afigan"])
    assert (stage, rate.images) == ("train_afigan", IMAGES // 2)
    assert abs(rate.growth) < 500  # MiB


def test_workers_are_rounded_up():
    rate = rates.Rate(loading=0.05, receiving=0.0, wall=0.05, images=1, growth=0.0)
    assert rates.workers(rate, 0.1) == 1  # two images of 50 ms within 100 ms
    assert rates.workers(rate, 0.099) == 2
