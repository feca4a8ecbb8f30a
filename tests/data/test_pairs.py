"""pairs: exact, deterministic, resumable shards with random access."""

import errno
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_coco
from PIL import Image

from afigan.data import pairs
from afigan.data.degradation import DEGRADATIONS, downscale
from afigan.data.images import read_rgb
from afigan.data.pairs import PairReader, write_pairs
from afigan.data.prepare.stage import prepare

IDS = [7 + 10 * k for k in range(5)]


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """train.json of 5 images, to be written as shards of 2, 2 and 1; the current folder is a fresh one."""
    monkeypatch.chdir(tmp_path)
    value = tiny_coco.annotations(images=5)
    sections = {name: tiny_coco.write_split(tmp_path / "set", name, value) for name in ("train", "val")}
    for name in sections:
        tiny_coco.write_images(value, tmp_path / "set" / name)
    data = SimpleNamespace(
        source="coco",
        **sections,
        unlabeled=SimpleNamespace(images=None),
        test=SimpleNamespace(images=None),
        repair=False,
    )
    prepare(data, 0, Path("data/prepared"), workers=1)
    return Path("data/prepared/train.json")


def write(annotations, out="data/pairs/bilinear", degradation="bilinear", **changes):
    options = {"image_format": "png", "shard_size": 2, "workers": 1} | changes
    write_pairs(annotations, degradation, out, **options)
    return contents(out)


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def originals(annotations):
    value = json.loads(annotations.read_text("utf-8"))
    return {image["id"]: read_rgb(Path(value["info"]["root"], image["file_name"])) for image in value["images"]}


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_what_is_read_back_is_the_degraded_image(prepared, degradation):
    write(prepared, degradation=degradation)
    reader = PairReader("data/pairs/bilinear")
    assert (reader.degradation, reader.scale) == (degradation, 0.5)
    for image_id, full in originals(prepared).items():
        small = downscale(full, degradation)
        assert reader.size(image_id) == small.size
        read = reader.read(image_id)
        assert read.mode == "RGB"
        assert np.array_equal(read, small)


def test_jpeg_is_close(prepared):
    write(prepared, image_format="jpeg")
    small, full = PairReader("data/pairs/bilinear").read(7), originals(prepared)[7]
    difference = np.asarray(small, float) - np.asarray(downscale(full, "bilinear"), float)
    assert np.abs(difference).mean() < 4


def test_shards_are_ordinary_tar_files_and_the_index_points_into_them(prepared):
    files = write(prepared)
    assert sorted(files) == ["index.json", "shard-00000.tar", "shard-00001.tar", "shard-00002.tar"]
    index = json.loads(files["index.json"])
    assert {key: index[key] for key in ("degradation", "scale", "format")} == {
        "degradation": "bilinear",
        "scale": 0.5,
        "format": "png",
    }
    assert [int(key) for key in index["images"]] == IDS
    for key, place in index["images"].items():
        with tarfile.open(Path("data/pairs/bilinear", place["shard"])) as tar:
            member = tar.getmember(f"{key}.png")
            assert (member.offset_data, member.size) == (place["offset"], place["length"])
            assert (member.mtime, member.uid, member.uname) == (0, 0, "")
            with Image.open(tar.extractfile(member)) as image:
                assert image.size == (place["width"], place["height"])


def test_bytes_do_not_depend_on_workers_or_on_what_was_there(prepared):
    alone = write(prepared)
    assert write(prepared, "elsewhere", workers=2) == alone
    Path("elsewhere/stale.txt").touch()
    assert write(prepared, "elsewhere", workers=3) == alone
    assert list(Path("runs/pairs").iterdir()) == []


def fail_in_shard(monkeypatch, number, act):
    """Let the second image of a shard `act` instead of being written; return the written shards."""
    original, written = pairs._encode, []

    def encode(image, shard):
        written.append(shard.name)
        if shard.name == f"shard-{number:05d}" and written.count(shard.name) == 2:
            act()
        return original(image, shard)

    monkeypatch.setattr(pairs, "_encode", encode)
    return written


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupted_run_writes_only_the_missing_shards(prepared, monkeypatch):
    expected = write(prepared, "uninterrupted")
    with monkeypatch.context() as patch:
        fail_in_shard(patch, 1, interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(prepared)
    assert not Path("data/pairs/bilinear").exists()
    with monkeypatch.context() as patch:
        written = fail_in_shard(patch, 9, interrupt)
        assert write(prepared) == expected
    assert set(written) == {"shard-00001", "shard-00002"}
    assert list(Path("runs/pairs").iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_continues(prepared, monkeypatch, workers):
    expected = write(prepared, "uninterrupted")
    context = multiprocessing.get_context("fork")
    with monkeypatch.context() as patch:
        fail_in_shard(patch, 1, lambda: time.sleep(60))
        process = context.Process(target=write, args=(prepared,), kwargs={"workers": workers})
        process.start()
        deadline = time.monotonic() + 20
        while not list(Path("runs/pairs").glob("*/shard-00000.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    written = fail_in_shard(monkeypatch, 9, interrupt)
    assert write(prepared) == expected
    assert "shard-00000" not in written


def test_a_run_killed_before_its_last_step_does_not_start_again(prepared, monkeypatch):
    expected = write(prepared, "uninterrupted")
    with monkeypatch.context() as patch:
        patch.setattr(pairs, "_publish", lambda *_: interrupt())
        with pytest.raises(KeyboardInterrupt):
            write(prepared)
    written = fail_in_shard(monkeypatch, 9, interrupt)
    assert write(prepared) == expected
    assert written == []


def test_shards_of_other_images_are_not_used(prepared, monkeypatch):
    with monkeypatch.context() as patch:
        fail_in_shard(patch, 1, interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(prepared)
    path = next(Path("set/train").rglob("*0.png"))
    Image.new("RGB", Image.open(path).size, "red").save(path)
    os.utime(path, ns=(1, 1))
    write(prepared)
    assert PairReader("data/pairs/bilinear").read(7).getpixel((3, 3)) == (255, 0, 0)


def test_another_disk_is_reached_by_copying(prepared, monkeypatch):
    expected = write(prepared)
    real = Path.replace

    def replace(self, target):
        if "runs" in self.parts and "runs" not in Path(target).parts:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    assert write(prepared, "elsewhere/bilinear") == expected
    assert list(Path("runs/pairs").iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("fault", ["missing", "broken", "resized"])
def test_an_image_that_changed_since_prepare_is_named(prepared, fault, workers):
    path = next(Path("set/train").rglob("*3.png"))
    if fault == "missing":
        path.unlink()
    elif fault == "broken":
        path.write_bytes(b"no image")
    else:
        Image.new("RGB", (3, 3)).save(path)
    with pytest.raises(ValueError, match=r"image 37 \(.*bild-ä3.png\).*run the stage prepare again"):
        write(prepared, workers=workers)
    assert not Path("data/pairs/bilinear").exists()


def test_unknown_settings_are_refused_by_name(prepared):
    with pytest.raises(ValueError, match=r"'box'.*nearest, bilinear, bicubic"):
        write(prepared, degradation="box")
    with pytest.raises(ValueError, match=r"'webp'.*png, jpeg"):
        write(prepared, image_format="webp")


def test_a_worker_that_dies_is_reported(prepared, monkeypatch):
    fail_in_shard(monkeypatch, 1, lambda: os._exit(1))
    with pytest.raises(RuntimeError, match="a worker process died"):
        write(prepared, workers=2)


def test_readers_name_what_is_absent(prepared, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere: no low-resolution images here.*run the stage pairs"):
        PairReader(tmp_path / "nowhere")
    write(prepared)
    reader = PairReader("data/pairs/bilinear")
    for use in (reader.read, reader.size):
        with pytest.raises(ValueError, match=r"image 8 is not in .*index.json"):
            use(8)
    os.truncate("data/pairs/bilinear/shard-00002.tar", 600)
    with pytest.raises(ValueError, match=r"image 47: .*shard-00002.tar is cut short"):
        reader.read(47)


def read_many(reader, seed, queue):
    rng = np.random.default_rng(seed)
    queue.put([(i, np.asarray(reader.read(i)).tobytes()) for i in rng.choice(IDS, 100).tolist()])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_is_shared_with_worker_processes(prepared, method):
    write(prepared)
    reader = PairReader("data/pairs/bilinear")
    expected = {i: np.asarray(reader.read(i)).tobytes() for i in IDS}  # its files are open now
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    workers = [context.Process(target=read_many, args=(reader, seed, queue)) for seed in range(2)]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert all(expected[i] == data for i, data in queue.get(timeout=60))
    for worker in workers:
        worker.join()
    assert np.asarray(pickle.loads(pickle.dumps(reader)).read(7)).tobytes() == expected[7]


def test_the_stage_starts_without_torch():
    code = """
        import sys
        import afigan.data.pairs, afigan.data.prepare.stage
        assert not {"torch", "detectron2"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=Path(__file__).parents[2])
