"""A prepared split as it is read, and the images that a detector sees."""

import json

import numpy as np
import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from afigan.data.degradation import downscaled_size
from afigan.data.split import half, read_split, resized_shape, to_tensor


@pytest.fixture
def val(tmp_path):
    """A split of three images; the second holds no object, the categories are not in the order of their ids."""
    value = {
        "info": {"root": str(tmp_path / "images"), "masks": False},
        "images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in (50, 20, 7)],
        "annotations": [
            {"id": number, "image_id": image_id, "category_id": category_id, "bbox": [1, 2, 3, 4], "iscrowd": 0}
            for number, (image_id, category_id) in enumerate([(7, 90), (50, 2), (7, 17), (50, 90)])
        ],
        "categories": [{"id": 90, "name": "third"}, {"id": 2, "name": "first"}, {"id": 17, "name": "second"}],
    }
    path = tmp_path / "val.json"
    path.write_text(json.dumps(value))
    return path


def test_a_split_is_indexed(val):
    split = read_split(val)
    assert split["masks"] is False
    assert split["classes"] == ["first", "second", "third"] and split["category_ids"] == [2, 17, 90]
    assert [image["id"] for image in split["images"]] == [50, 20, 7]
    assert [image["path"] for image in split["images"]] == [str(val.parent / f"images/{n}.png") for n in (50, 20, 7)]
    objects = [[(a["id"], a["category_id"]) for a in image["annotations"]] for image in split["images"]]
    assert objects == [[(1, 0), (3, 2)], [], [(0, 2), (2, 1)]]


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((400, 2000), (267, 1333)),
        ((800, 800), (800, 800)),
        ((1, 3000), (1, 1333)),
    ],
)
def test_resized_shapes_are_detectron2s(size, shape):
    assert resized_shape(*size, 800, 1333) == shape


@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    short_side=st.integers(1, 1200),
    max_side=st.integers(1, 2000),
)
@example(size=(306, 612), short_side=800, max_side=1333)  # 666.5 rows, which half of 1333 / 612 * 612 is not
@example(size=(612, 306), short_side=800, max_side=1333)
@example(size=(1, 3000), short_side=800, max_side=1333)  # 0.44 rows
@example(size=(640, 640), short_side=800, max_side=1333)
@example(size=(641, 640), short_side=800, max_side=800)
def test_any_resized_shape_is_detectron2s(size, short_side, max_side):
    theirs = ResizeShortestEdge.get_output_shape(*size, short_side, max_side)
    assert resized_shape(*size, short_side, max_side) == tuple(max(1, side) for side in theirs)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_half_is_the_size_of_the_degraded_image(height, width):
    assert half((height, width)) == downscaled_size(width, height)[::-1]
    shape = resized_shape(height, width, 40, 64)
    assert min(shape) >= 1 and max(shape) <= 64


def test_channel_order():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert torch.equal(to_tensor(pixels, "RGB"), torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(to_tensor(pixels, "BGR"), torch.from_numpy(pixels.copy()).permute(2, 0, 1).flip(0))


@pytest.mark.filterwarnings("error:.*not writable")  # torch's, once a process if nothing else is asked for
@pytest.mark.parametrize("pixel_format", ["RGB", "BGR"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (4, 5)])
def test_a_tensor_has_memory_of_its_own(pixel_format, shape):
    """Pillow's pixels are read-only, and those of one pixel are in torch's order already."""
    image = np.asarray(Image.new("RGB", shape[::-1], (10, 20, 30)))
    assert not image.flags.writeable
    torch.set_warn_always(True)
    try:
        tensor = to_tensor(image, pixel_format)
    finally:
        torch.set_warn_always(False)
    tensor += 1
    assert image[0, 0].tolist() == [10, 20, 30]
