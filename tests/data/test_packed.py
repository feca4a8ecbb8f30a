"""Packed records: a sequence like any other, one copy of which all processes share."""

import gc
import json
import multiprocessing
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest

from afigan.data.loader import TrainingSet
from afigan.data.packed import Packed
from afigan.data.pairs import PairReader
from afigan.data.split import read_split
from afigan.params.schema import Input

RECORDS = [{"id": 3, "name": "ä", "boxes": [[1.5, 2.0], []]}, {"id": 4}, {}, {"id": 900100000007}]


def test_packed_records_are_a_sequence():
    packed = Packed(record for record in RECORDS)
    assert list(packed) == [packed[n] for n in range(4)] == RECORDS and len(packed) == 4
    assert (packed[-1], packed[1:3], packed[:-1], packed[::-2]) == (
        RECORDS[-1], RECORDS[1:3], RECORDS[:-1], RECORDS[::-2]
    )  # fmt: skip
    for index in (4, -5):
        with pytest.raises(IndexError):
            packed[index]
    assert list(Packed([])) == [] and Packed([])[:3] == []


def test_an_item_is_a_copy():
    packed = Packed(RECORDS)
    packed[0]["boxes"].clear()
    assert packed[0] == RECORDS[0]


def images(count, numbers):
    """Return records with one polygon each, as `read_split` does."""
    for key in range(count):
        polygon = [key + n / 8 for n in range(numbers)]
        item = {"bbox": [0.0, 0.0, 9.0, 9.0], "category_id": 0, "iscrowd": 0, "segmentation": [polygon]}
        yield {"id": key, "path": f"{key}.png", "width": 9, "height": 9, "annotations": [item]}


def private(pipe, records):
    """Send the MiB of its own memory that a process gains by reading all records."""

    def dirty():
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024

    before = dirty()
    for record in records:
        sum(record["annotations"][0]["segmentation"][0])
    pipe.send(dirty() - before)


def growth(records):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=private, args=(theirs, records))
    process.start()
    found = ours.recv()
    process.join()
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="asks Linux for its memory")
def test_a_forked_process_shares_them():
    plain = list(images(3000, 300))
    packed = Packed(plain)
    assert growth(packed) < 4 < 20 < growth(plain)


def test_a_spawned_process_shares_them():
    """The bytes sent to it do not contain the records, and lead to them."""
    packed = Packed(images(100, 300))
    sent = bytes(ForkingPickler.dumps(packed))
    assert len(sent) < 2000
    assert list(ForkingPickler.loads(sent)) == list(packed)


def tracked(make):
    """Count the Python containers that exist only while the result of `make` is alive."""
    gc.collect()
    before = len(gc.get_objects())
    kept = make()
    gc.collect()
    found = len(gc.get_objects()) - before
    del kept
    return found


def test_nothing_in_the_loader_is_an_object_for_each_image(tmp_path):
    names = ("id", "width", "height")
    entries = [{**{name: image[name] for name in names}, "file_name": image["path"]} for image in images(500, 8)]
    annotations = [{"image_id": image["id"], **image["annotations"][0]} for image in images(500, 8)]
    split = {"info": {"root": "", "masks": True}, "images": entries, "annotations": annotations}
    (tmp_path / "train.json").write_text(json.dumps(split | {"categories": [{"id": 0, "name": "thing"}]}))
    place = {"shard": "shard-00000.tar", "offset": 512, "length": 9, "width": 5, "height": 5}
    index = {"degradation": "bilinear", "scale": 0.5, "images": {str(entry["id"]): place for entry in entries}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    inputs = Input(short_sides=[9], max_side=9, test_short_side=9)

    def make():
        return TrainingSet(read_split(tmp_path / "train.json"), inputs, "RGB", 0, PairReader(tmp_path))

    def unpacked():
        return list(read_split(tmp_path / "train.json")["images"])

    assert make().epoch == 500
    assert tracked(make) < 100 < tracked(unpacked)
