"""Training batches: the same at a position after any start, and pairs whose two sides show the same."""

import json

import numpy as np
import pytest
import torch
from detectron2.data import detection_utils
from PIL import Image
from pycocotools import mask as coco_mask

from afigan.data import loader
from afigan.data.degradation import DEGRADATIONS, downscaled_size
from afigan.data.images import read_rgb
from afigan.data.loader import TrainingSet, batches
from afigan.data.pairs import PairReader, write_pairs
from afigan.data.split import half, read_split
from afigan.params.schema import Input, Schedule

INPUT = Input(short_sides=[48], max_side=100, test_short_side=48)
SIZES = {11: (64, 48), 20: (61, 45), 33: (50, 70), 5: (48, 64)}  # id: width, height; the last one has no object
RED = {11: (6, 10, 20, 16), 20: (4, 5, 23, 17), 33: (3, 30, 21, 25)}  # x, y, w, h, left of the middle


def polygon(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def mask(image_id, x, y, w, h):
    width, height = SIZES[image_id]
    pixels = np.zeros((height, width), dtype=np.uint8, order="F")
    pixels[y : y + h, x : x + w] = 1
    return pixels


def compressed(image_id, *box):
    rle = coco_mask.encode(mask(image_id, *box))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def counts(image_id, *box):
    flat = mask(image_id, *box).flatten(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *changes, len(flat)])  # starts with zeros: no box touches the first pixel
    return {"size": [SIZES[image_id][1], SIZES[image_id][0]], "counts": runs.tolist()}


SEGMENTATIONS = {"polygons": lambda _, *box: polygon(*box), "compressed": compressed, "counts": counts}


def prepared(folder, segmentation="polygons", masks=True):
    """Write a prepared split of four images: a red box left of the middle, on a smooth ramp, dark on the left."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for image_id, (width, height) in SIZES.items():
        ramp = np.linspace(30, 220, width)[None, :, None] * np.ones((height, 1, 3))
        ramp[..., 0] *= 0.4
        if image_id in RED:
            x, y, w, h = RED[image_id]
            ramp[y : y + h, x : x + w] = (250, 0, 0)
            item = {"id": 10 * image_id, "image_id": image_id, "category_id": 7, "bbox": [x, y, w, h], "area": w * h}
            annotations.append(item | {"iscrowd": 0})
            # a crowd of another category, which is left out
            crowd = {"bbox": [30, 2, 9, 9], "area": 81, "iscrowd": 1, "category_id": 3}
            annotations.append(item | crowd | {"id": 10 * image_id + 1})
        Image.fromarray(ramp.astype(np.uint8)).save(folder / "images" / f"{image_id}.png")
        images.append({"id": image_id, "file_name": f"{image_id}.png", "width": width, "height": height})
    for item in annotations if masks else []:
        box = [int(v) for v in item["bbox"]]
        make = counts if item["iscrowd"] else SEGMENTATIONS[segmentation]
        item["segmentation"] = make(item["image_id"], *box)
    value = {
        "info": {"source": "coco", "root": str(folder / "images"), "masks": masks, "split": "train"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "box"}, {"id": 3, "name": "ball"}],
    }
    path = folder / "train.json"
    path.write_text(json.dumps(value))
    return path


def reader(path, degradation="bilinear"):
    out = path.parent / "pairs" / degradation
    runs = path.parent / "runs"
    write_pairs(path, degradation, out, image_format="png", shard_size=3, workers=1, runs=runs)
    return PairReader(out)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """train.json with polygons, and its bilinear pairs; read-only."""
    path = prepared(tmp_path_factory.mktemp("set"))
    return path, reader(path)


def dataset(path, pairs=None, seed=0, pixel_format="RGB", inputs=INPUT, annotated=True):
    return TrainingSet(read_split(path), inputs, pixel_format, seed, pairs, annotated)


def images(data):
    """Return the images that a training sequence draws from."""
    return [data.image(index) for index in range(data.epoch)]


def reddest(image):
    """Return the box x0, y0, x1, y1 of the red pixels of an image (3, H, W)."""
    red, green, _ = image.float()
    ys, xs = torch.nonzero((red - green) > 100, as_tuple=True)
    return torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()


def flipped(item):
    """Return True if the ramp, dark on the left, is dark on the right now."""
    row = item["image"][2, 0].float()
    return bool(row[:5].mean() > row[-5:].mean())


def bitmaps(instances):
    """Return the masks of instances, (objects, H, W) bool, for every mask format."""
    masks = instances.gt_masks
    if hasattr(masks, "polygons"):
        return np.stack([detection_utils.polygons_to_bitmask(p, *instances.image_size) for p in masks.polygons])
    return masks.tensor.numpy()


# --- positions -------------------------------------------------------------------------------------------------------


def same(one, other):
    """Return True if two items agree, including their low-resolution sides."""
    boxes = torch.equal(one["instances"].gt_boxes.tensor, other["instances"].gt_boxes.tensor)
    alike = one["image_id"] == other["image_id"] and torch.equal(one["image"], other["image"]) and boxes
    return alike and ("low" not in one or same(one["low"], other["low"]))


def test_an_epoch_is_a_permutation(train):
    data = dataset(train[0], annotated=False)
    epochs = [[data.image_index(4 * epoch + i) for i in range(4)] for epoch in range(20)]
    assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 10
    other = dataset(train[0], annotated=False, seed=1)
    assert [[other.image_index(4 * epoch + i) for i in range(4)] for epoch in range(20)] != epochs


def test_an_item_depends_only_on_its_position(train):
    inputs = INPUT.model_copy(update={"short_sides": [32, 40, 48]})
    data = dataset(*train, inputs=inputs)
    expected = [data[i] for i in range(12)]
    assert len({item["image"].shape for item in expected}) > 3 and len({flipped(item) for item in expected}) == 2
    np.random.seed(5)
    torch.manual_seed(5)
    again = dataset(*train, inputs=inputs)
    assert all(same(again[i], expected[i]) for i in reversed(range(12)))


def test_seeds_differ_in_order_and_in_flips(train):
    orders, flips = set(), set()
    for seed in range(4):
        data = dataset(train[0], seed=seed)
        orders.add(tuple(data.image_index(i) for i in range(12)))
        flips.add(tuple(flipped(data[i]) for i in range(12)))
    assert len(orders) == len(flips) == 4


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("first", [0, 3])
def test_batches_depend_neither_on_workers_nor_on_where_they_start(train, workers, first):
    data = dataset(*train)
    schedule = Schedule(iterations=5, batch_size=2, lr=0.1, workers=workers)
    state = torch.get_rng_state()
    found = list(batches(data, schedule, first))
    assert torch.equal(torch.get_rng_state(), state)
    assert [len(batch) for batch in found] == [2] * (5 - first)
    for iteration, batch in enumerate(found, start=first):
        assert all(same(item, data[2 * iteration + k]) for k, item in enumerate(batch))


# --- one side --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
def test_boxes_and_masks_match_their_object(tmp_path, segmentation):
    data = dataset(prepared(tmp_path, segmentation))
    assert {flipped(data[i]) for i in range(12)} == {True, False}
    for item in (data[i] for i in range(12)):
        instances = item["instances"]
        assert item["image"].shape[1:] == instances.image_size and item["image"].dtype == torch.uint8
        assert min(instances.image_size) == 48
        assert (item["height"], item["width"]) == SIZES[item["image_id"]][::-1]
        assert instances.gt_classes.tolist() == [1]
        box = instances.gt_boxes.tensor[0]
        assert (box - reddest(item["image"])).abs().max() <= 1.5
        red = torch.zeros(instances.image_size, dtype=torch.bool)
        x0, y0, x1, y1 = reddest(item["image"]).int()
        red[y0:y1, x0:x1] = True
        drawn = torch.from_numpy(bitmaps(instances)[0])
        assert (drawn & red).sum() / (drawn | red).sum() > 0.85


def test_polygons_stay_polygons_unless_there_are_run_lengths(tmp_path):
    path = prepared(tmp_path)
    assert dataset(path).mask_format == "polygon"  # those of the crowds do not count
    value = json.loads(path.read_text())
    value["annotations"][0]["segmentation"] = counts(11, *RED[11])
    path.write_text(json.dumps(value))
    mixed = dataset(path)
    assert {type(mixed[i]["instances"].gt_masks).__name__ for i in range(3)} == {"BitMasks"}


@pytest.mark.filterwarnings("error:.*not writable")  # torch's, once a process if nothing else is asked for
@pytest.mark.parametrize("pixel_format", ["RGB", "BGR"])
@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
def test_no_read_only_array_reaches_torch(tmp_path, segmentation, pixel_format):
    path = prepared(tmp_path, segmentation)
    data = dataset(path, reader(path), pixel_format=pixel_format)
    torch.set_warn_always(True)
    try:
        items = [data[i] for i in range(12)]
    finally:
        torch.set_warn_always(False)
    assert pixel_format == "BGR" or {flipped(item) for item in items} == {True, False}


def test_boxes_without_masks(tmp_path):
    data = dataset(prepared(tmp_path, masks=False))
    assert not data[0]["instances"].has("gt_masks") and len(data[0]["instances"]) == 1


def test_bgr(train):
    rgb, bgr = (dataset(*train, pixel_format=name)[1] for name in ("RGB", "BGR"))
    assert torch.equal(bgr["image"], rgb["image"].flip(0)) and torch.equal(
        bgr["low"]["image"], rgb["low"]["image"].flip(0)
    )


def test_no_flip_where_none_is_wanted(train):
    data = dataset(train[0], inputs=INPUT.model_copy(update={"flip": False}))
    assert not any(flipped(data[i]) for i in range(12))


# --- which images ----------------------------------------------------------------------------------------------------


def test_crowds_are_left_out_always_and_empty_images_where_objects_are_needed(train):
    needed, all_images = dataset(train[0]), dataset(train[0], annotated=False)
    assert [image["id"] for image in images(needed)] == [11, 20, 33]
    assert [image["id"] for image in images(all_images)] == [11, 20, 33, 5]
    both = images(needed) + images(all_images)
    assert all(not a["iscrowd"] for image in both for a in image["annotations"])
    assert {len(all_images[i]["instances"]) for i in range(4)} == {0, 1}


def test_an_image_with_only_crowds_has_no_objects(tmp_path):
    path = prepared(tmp_path)
    value = json.loads(path.read_text())
    value["annotations"] = [a for a in value["annotations"] if a["iscrowd"] or a["image_id"] != 20]
    path.write_text(json.dumps(value))
    assert [image["id"] for image in images(dataset(path))] == [11, 33]
    value["annotations"] = [a for a in value["annotations"] if a["iscrowd"]]
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match="no image with an object"):
        dataset(path)
    assert dataset(path, annotated=False).epoch == 4


# --- pairs -----------------------------------------------------------------------------------------------------------


def shrink(image):
    """Compute the low-resolution image of an image (3, H, W) by hand."""
    size = half(image.shape[1:])
    pixels = Image.fromarray(image.permute(1, 2, 0).numpy())
    return torch.from_numpy(np.asarray(pixels.resize(size[::-1], Image.Resampling.BILINEAR)).copy()).permute(2, 0, 1)


def distance(one, other):
    return (one.float() - other.float()).abs().mean().item()


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_both_sides_show_the_same(train, degradation):
    data = dataset(train[0], reader(train[0], degradation) if degradation != "bilinear" else train[1])
    flips = set()
    for item in (data[i] for i in range(12)):
        low = item["low"]
        assert low["image"].shape[1:] == half(item["image"].shape[1:]) == low["instances"].image_size
        assert low["image_id"] == item["image_id"]
        wanted = shrink(item["image"])
        assert distance(low["image"], wanted) < 4 < 40 < distance(low["image"], wanted.flip(2))
        flips.add(flipped(item))
        assert flipped(low) == flipped(item)
    assert flips == {True, False}


def test_the_low_side_is_read_from_the_pairs(train):
    """Its pixels are those on disk, not the original's degraded again."""

    class Green:
        def read(self, image_id):
            return Image.new("RGB", downscaled_size(*SIZES[image_id]), (0, 255, 0))

    for item in (dataset(train[0], Green())[i] for i in range(3)):
        assert item["low"]["image"].flatten(1).unique(dim=1).tolist() == [[0], [255], [0]]


@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
def test_boxes_and_masks_shrink_with_the_image(tmp_path, segmentation):
    path = prepared(tmp_path, segmentation)
    data = dataset(path, reader(path))
    for item in (data[i] for i in range(9)):
        high, low = item["instances"], item["low"]["instances"]
        assert torch.equal(low.gt_classes, high.gt_classes)
        (h, w), (low_h, low_w) = high.image_size, low.image_size
        scale = torch.tensor([low_w / w, low_h / h] * 2)  # 0.5, but for odd sizes
        assert (scale - 0.5).abs().max() < 0.01
        torch.testing.assert_close(low.gt_boxes.tensor, high.gt_boxes.tensor * scale, rtol=0, atol=1e-3)
        assert (low.gt_boxes.tensor[0] - reddest(item["low"]["image"])).abs().max() <= 1.5
        if segmentation == "polygons":
            for ours, theirs in zip(low.gt_masks.polygons, high.gt_masks.polygons, strict=True):
                np.testing.assert_allclose(ours[0], theirs[0] * np.tile(scale[:2].numpy(), 4), atol=1e-3)
        else:
            assert bitmaps(low).sum() == pytest.approx(bitmaps(high).sum() / 4, rel=0.15)
            box = low.gt_masks.get_bounding_boxes().tensor
            assert (box - low.gt_boxes.tensor).abs().max() <= 1


def test_without_pairs_there_is_one_side(train):
    assert "low" not in dataset(train[0])[0]


def test_a_small_set_is_decoded_once(tmp_path, monkeypatch):
    split = read_split(prepared(tmp_path))
    read = []
    monkeypatch.setattr(loader, "read_rgb", lambda path: read.append(path) or read_rgb(path))
    kept = TrainingSet(split, INPUT, "BGR", 0)
    monkeypatch.setattr(loader, "KEPT", 0)
    plain = TrainingSet(split, INPUT, "BGR", 0)
    for position in range(9):
        assert torch.equal(kept[position]["image"], plain[position]["image"])
    assert len(read) == 3 + 9  # three images with objects
