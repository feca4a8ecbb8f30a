"""Bad and unusual input, by name: it works correctly, or one error names file, id, reason and remedy, at once.

Every case takes the path of a user's input: through the functions that the stage scripts call, some through a script.
More keys of params.yaml are in test_config, other weights in test_weights, arbitrary input in test_input_fuzz.
"""

import codecs
import copy
import json
import os
import pickle
import runpy
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_coco
import torch
import yaml
from composed import composed, put
from PIL import Image
from pycocotools.coco import COCO
from safetensors.torch import save_file

from afigan.backbones import build_backbone
from afigan.data.checks import check_prepared
from afigan.data.images import inspect_image
from afigan.data.loader import TrainingSet
from afigan.data.pairs import PairReader, write_pairs
from afigan.data.prepare.problems import DataError
from afigan.data.prepare.stage import prepare
from afigan.data.split import read_split
from afigan.detectors.load import load_architecture
from afigan.evaluation.coco import coco_metrics
from afigan.outputs.models import load_config, load_weights
from afigan.outputs.prepared import read_summary
from afigan.params.loading import check_params, load_params
from afigan.params.schema import Input, Params
from afigan.weights import load_pretrained

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "workflow/scripts"
SMOKE = composed("smoke")
PREPARED = Path("data/prepared")
NAN, INF = float("nan"), float("inf")
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)  # of image 7


@dataclass
class Given:
    """A data set and parameters in the working directory. They are valid until a case changes something."""

    train: dict[str, Any]
    val: dict[str, Any]
    values: dict[str, Any]

    @property
    def image(self) -> Path:
        """The file of image 7 of the training set."""
        return Path("train", self.train["images"][0]["file_name"])

    def set(self, name: str, value: Any) -> None:
        """Change params.yaml under a dotted name; ... removes it."""
        put(self.values, name.split("."), value)

    def prepare(self) -> Params:
        """Do the work of the script; an existing annotation file is not written again."""
        for name in ("train", "val"):
            if not os.path.lexists(f"{name}.json"):
                Path(f"{name}.json").write_text(json.dumps(getattr(self, name)))
        params = check_params(self.values)
        prepare(params.data, params.seed, PREPARED, workers=1)
        return params

    def boxes_only(self) -> None:
        for split in (self.train, self.val):
            for annotation in split["annotations"]:
                del annotation["segmentation"]


@pytest.fixture
def given(tmp_path, monkeypatch) -> Given:
    monkeypatch.chdir(tmp_path)
    values = copy.deepcopy(SMOKE)
    splits = {name: {"images": name, "annotations": f"{name}.json"} for name in ("train", "val", "test")}
    values["data"] |= {"source": "coco", **splits, "unlabeled": {"images": "more"}}
    values["data"]["test"]["images"] = None
    values["experiments"]["submissions"] = {}
    for name in ("train", "val"):
        tiny_coco.write_images(tiny_coco.annotations(), Path(name))
    Path("more").mkdir()
    Image.fromarray(PIXELS).save("more/a.png")
    return Given(tiny_coco.annotations(), tiny_coco.annotations(), values)


def refused(given: Given) -> list[str]:
    """Return the lines of the one error; the attempt leaves nothing but the list of them."""
    with pytest.raises(DataError) as raised:
        given.prepare()
    head, *lines = str(raised.value).splitlines()
    assert "nothing was prepared. Complete list: data/prepared.problems.txt" in head
    assert [path.name for path in Path("data").iterdir()] == ["prepared.problems.txt"]
    return [line.strip() for line in lines]


# --- fields of the annotation file ------------------------------------------------------------------------------------

# where, new value or ..., what the error says
FIELDS = {
    "image id twice": (("images", 0, "id"), 17, "image 17: its id is used twice"),
    "image id a text": (("images", 0, "id"), "7", "image number 1 of the list: its id is '7'"),
    "image id a float": (("images", 0, "id"), 7.0, "image number 1 of the list: its id is 7.0"),
    "image id beyond 53 bits": (
        ("images", 0, "id"),
        2**53,
        "image number 1 of the list: its id is 9007199254740992",
    ),
    "image id negative": (
        ("images", 0, "id"),
        -1,
        "image number 1 of the list: its id is -1, not a whole number from 0",
    ),
    "image id a tree": (("images", 0, "id"), {"a": [[[[[0]]]]] * 99}, "image number 1 of the list: its id is {'a': ["),
    "image that annotations lack": (("images", 0), ..., "annotation 100: no image has its image_id 7"),
    "image no object": (("images", 0), 5, "image number 1 of the list: is not an object"),
    "name absolute": (
        ("images", 0, "file_name"),
        "/etc/a.jpg",
        "image 7: its file_name '/etc/a.jpg' is an absolute path",
    ),
    "name climbs": (("images", 0, "file_name"), "../train.png", "image 7: its file_name '../train.png' leads out"),
    "name climbs late": (
        ("images", 0, "file_name"),
        "a/../../b.jpg",
        "image 7: its file_name 'a/../../b.jpg' leads out",
    ),
    "name of the folder above": (("images", 0, "file_name"), "..", "image 7: its file_name '..' leads out"),
    "name of the folder": (("images", 0, "file_name"), ".", "image 7: its file_name '.' leads out"),
    "name empty": (("images", 0, "file_name"), "", "image 7: its file_name is ''"),
    "name null": (("images", 0, "file_name"), None, "image 7: its file_name is None"),
    "name a number": (("images", 0, "file_name"), 7, "image 7: its file_name is 7"),
    "name with a NUL": (("images", 0, "file_name"), "a\0.png", "image 7: 'a\\x00.png' cannot be read: "),
    "name too long": (("images", 0, "file_name"), "a" * 300, "image 7: 'aaaaaaaaaa"),
    "name no Unicode": (
        ("images", 0, "file_name"),
        "a\ud800.png",
        "image 7: its file_name 'a\\ud800.png' is not valid Unicode",
    ),
    "name of another image": (
        ("images", 0, "file_name"),
        "sub/../sub/bild-ä1.png",
        "image 17: its file_name 'sub/bild-ä1.png' is also that of image 7",
    ),
    "width a text": (("images", 0, "width"), "31", "image 7: its size is '31' x 20"),
    "width true": (("images", 0, "width"), True, "image 7: its size is True x 20"),
    "height 0": (("images", 0, "height"), 0, "image 7: its size is 31 x 0"),
    "height missing": (("images", 0, "height"), ..., "image 7: its size is 31 x None"),
    "height enormous": (("images", 0, "height"), 10**30, "image 7: its size is 31 x 1000000000000000000000000000000"),
    "category id twice": (("categories", 0, "id"), 90, "category 90: its id is used twice"),
    "category name twice": (("categories", 0, "name"), "cup", "category 90: its name 'cup' is also that of category 3"),
    "category name empty": (("categories", 0, "name"), "", "category 3: its name is ''"),
    "category name no Unicode": (("categories", 0, "name"), "\udfff", "category 3: its name is '\\udfff'"),
    "category missing": (("categories", 0), ..., "annotation 100: no category has its category_id 3"),
    "annotation id twice": (("annotations", 1, "id"), 100, "annotation 100: its id is used twice"),
    "annotation id true": (("annotations", 0, "id"), True, "annotation number 1 of the list: its id is True"),
    "image_id unknown": (("annotations", 0, "image_id"), 8, "annotation 100: no image has its image_id 8"),
    "image_id a list": (("annotations", 0, "image_id"), [7], "annotation 100: no image has its image_id [7]"),
    "category_id unknown": (("annotations", 0, "category_id"), 1, "annotation 100: no category has its category_id 1"),
    "box missing": (("annotations", 0, "bbox"), ..., "annotation 100: its bbox is None"),
    "box of three numbers": (("annotations", 0, "bbox"), [1, 2, 3], "annotation 100: its bbox is [1, 2, 3]"),
    "box of NaN": (("annotations", 0, "bbox", 0), NAN, "annotation 100: its bbox is [nan"),
    "box of Infinity": (("annotations", 0, "bbox", 2), INF, "annotation 100: its bbox is [2.0, 3.0, inf"),
    "box of texts": (("annotations", 0, "bbox", 2), "9", "annotation 100: its bbox is [2.0, 3.0, '9'"),
    "box of truth values": (("annotations", 0, "bbox", 2), True, "annotation 100: its bbox is [2.0, 3.0, True"),
    "box of huge numbers": (("annotations", 0, "bbox", 2), 10**400, "annotation 100: its bbox is [2.0, 3.0, 1000"),
    "box of no width": (
        ("annotations", 0, "bbox", 2),
        0,
        "annotation 100: its bbox [2.0, 3.0, 0, 8.0] has no width or no height",
    ),
    "box of negative height": (
        ("annotations", 0, "bbox", 3),
        -4,
        "annotation 100: its bbox [2.0, 3.0, 10.0, -4] has no width or no height",
    ),
    "box beyond the right": (
        ("annotations", 0, "bbox", 0),
        22.5,
        "annotation 100: its bbox [22.5, 3.0, 10.0, 8.0] (x, y",
    ),
    "box above the top": (("annotations", 0, "bbox", 1), -1.5, "annotation 100: its bbox [2.0, -1.5, 10.0, 8.0] (x, y"),
    "box far outside": (
        ("annotations", 0, "bbox"),
        [900, 900, 5, 5],
        "is not that of its mask, which extends from (2, 3) to (12, 11) (correct the box or the mask",
    ),
    "area negative": (("annotations", 0, "area"), -1, "annotation 100: its area is -1"),
    "area NaN": (("annotations", 0, "area"), NAN, "annotation 100: its area is nan"),
    "area a text": (("annotations", 0, "area"), "80", "annotation 100: its area is '80'"),
    "area more than the image": (("annotations", 0, "area"), 727, "annotation 100: its area is 727"),
    "iscrowd 2": (("annotations", 0, "iscrowd"), 2, "annotation 100: its iscrowd is 2"),
    "iscrowd a text": (("annotations", 0, "iscrowd"), "0", "annotation 100: its iscrowd is '0'"),
    "mask missing": (("annotations", 0, "segmentation"), ..., "annotation 100: it has no segmentation"),
    "mask empty": (("annotations", 0, "segmentation"), [], "annotation 100: it has no segmentation"),
    "mask a text": (("annotations", 0, "segmentation"), "abc", "annotation 100: its segmentation is of type str"),
    "polygon of two points": (
        ("annotations", 0, "segmentation"),
        [[1, 2, 3, 4]],
        "annotation 100: polygon 1 of its segmentation has 4 numbers, not an even count of 6 or more",
    ),
    "polygon of an odd count": (
        ("annotations", 0, "segmentation"),
        [[1] * 7],
        "annotation 100: polygon 1 of its segmentation has 7 numbers",
    ),
    "polygon of NaN": (
        ("annotations", 0, "segmentation"),
        [[1] * 6, [NAN] * 6],
        "annotation 100: polygon 2 of its segmentation is not",
    ),
    "polygon not in a list": (
        ("annotations", 0, "segmentation"),
        [1, 2, 3, 4, 5, 6],
        "annotation 100: polygon 1 of its segmentation is not",
    ),
    "polygon far outside": (
        ("annotations", 0, "segmentation"),
        [[2, 3, 12, 3, 12, 1e9]],
        "annotation 100: polygon 1 of its segmentation is far outside of the image of 31x20 pixels",
    ),
    "runs of another size": (
        ("annotations", 2, "segmentation", "size"),
        [31, 20],
        "its run-length segmentation is of size [31, 20]",
    ),
    "runs of a size in floats": (
        ("annotations", 2, "segmentation", "size"),
        [20.0, 31.0],
        "its run-length segmentation is of size [20.0, 31.0]",
    ),
    "runs too short": (
        ("annotations", 2, "segmentation", "counts"),
        [5, 30],
        "its run-length segmentation covers 35 of 620 pixels",
    ),
    "runs negative": (("annotations", 2, "segmentation", "counts"), [5, -30], "segmentation has unreadable counts"),
    "runs damaged": (("annotations", 2, "segmentation", "counts"), "\x01", "segmentation has unreadable counts"),
    "runs missing": (("annotations", 2, "segmentation", "counts"), None, "segmentation has unreadable counts"),
}


@pytest.mark.parametrize(("path", "value", "message"), FIELDS.values(), ids=FIELDS)
def test_a_wrong_field_is_named(given, path, value, message):
    put(given.train, path, value)
    lines = refused(given)
    assert any(line.startswith("train.json: ") and message in line for line in lines), lines
    assert all(line.endswith(")") and len(line) < 450 for line in lines)  # the remedy


# --- files, folders and sets ------------------------------------------------------------------------------------------


def rename(given: Given, name: str) -> Path:
    """Give image 7 another file name."""
    path = given.image
    given.train["images"][0]["file_name"] = name
    given.image.parent.mkdir(parents=True, exist_ok=True)
    return path.rename(given.image)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_jpeg(given: Given) -> None:
    Image.fromarray(PIXELS).save(given.image, "JPEG")
    given.image.write_bytes(given.image.read_bytes()[:-200])


def frames(file_format: str) -> Callable[[Given], None]:
    def write(given: Given) -> None:
        first, second = (Image.new("RGB", (31, 20), color) for color in ("red", "blue"))
        first.save(given.image, file_format, save_all=True, append_images=[second])

    return write


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """Return a PNG file; `rows` are its bytes, each row's after a 0."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bomb(given: Given) -> None:
    """Write 2.5 gigapixels in 70 bytes."""
    given.image.write_bytes(png(50_000, 50_000, 8, 2, b""))
    given.train["images"][0] |= {"width": 50_000, "height": 50_000}


def sideways(given: Given) -> None:
    """Declare the size as many tools do: that of the stored pixels, not of the displayed picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(given.image, exif=exif)


def instead(make: Callable[[Path], Any]) -> Callable[[Given], None]:
    """Return a change that puts something else in place of image 7."""

    def replace(given: Given) -> None:
        given.image.unlink()
        make(given.image)

    return replace


def only(keep: Callable[[dict], bool]) -> Callable[[Given], None]:
    def leave(given: Given) -> None:
        given.train["annotations"] = [a for a in given.train["annotations"] if keep(a)]

    return leave


def flat(given: Given) -> None:
    for annotation in given.train["annotations"][:2]:
        annotation |= {"bbox": [2.0, 3.0, 10.0, 0.0], "area": 0.0, "segmentation": [[2.0, 3.0, 12.0, 3.0, 7.0, 3.0]]}


def raw(content: bytes) -> Callable[[Given], None]:
    return lambda given: Path("train.json").write_bytes(content)


def other_categories(given: Given) -> None:
    given.val["categories"][0]["name"] = "cat"


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 31 20\n(/tmp/x) (w) file\n"
SUB = "'sub/bild-ä0.png'"
# what is done; where the error is; the reason; the remedy
SETS = {
    "image missing": (
        lambda g: g.image.unlink(),
        "train.json: image 7",
        f"{SUB} the file does not exist",
        "put a complete",
    ),
    "image of no bytes": (
        lambda g: g.image.write_bytes(b""),
        "train.json: image 7",
        "cannot be read",
        "put a complete",
    ),
    "image truncated, PNG": (lambda g: cut(g.image), "train.json: image 7", "cannot be read", "put a complete"),
    "image truncated, JPEG": (
        cut_jpeg,
        "train.json: image 7",
        "cannot be read: image file is truncated",
        "put a complete",
    ),
    "image of 16 bits": (
        lambda g: Image.fromarray(np.full((20, 31), 4000, np.uint16)).save(g.image),
        "train.json: image 7",
        "has pixels of mode I;16, which do not fit into 8 bits",
        "put a complete, single-frame 8-bit image there (under train)",
    ),
    "image of floats": (
        lambda g: Image.fromarray(np.full((20, 31), 0.5, np.float32)).save(g.image, "TIFF"),
        "train.json: image 7",
        "has pixels of mode F",
        "put a complete",
    ),
    "image animated, GIF": (frames("GIF"), "train.json: image 7", "has 2 frames, not one", "single-frame"),
    "image animated, PNG": (frames("PNG"), "train.json: image 7", "has 2 frames, not one", "single-frame"),
    "image animated, WebP": (frames("WEBP"), "train.json: image 7", "has 2 frames, not one", "single-frame"),
    "image of two pages": (frames("TIFF"), "train.json: image 7", "has 2 frames, not one", "single-frame"),
    "image gigantic": (bomb, "train.json: image 7", "has too many pixels: more than", "put a complete"),
    "image of another size": (
        lambda g: Image.new("RGB", (20, 31)).save(g.image),
        "train.json: image 7",
        "is 20x31 pixels upright, but declared as 31x20: width and height are exchanged",
        "exchange them, or restore",
    ),
    "image of any other size": (
        lambda g: Image.new("RGB", (30, 20)).save(g.image),
        "train.json: image 7",
        "is 30x20 pixels upright, but declared as 31x20",
        "correct width and height, or restore",
    ),
    "image turned, its size not": (
        sideways,
        "train.json: image 7",
        "as its pixels are stored: its EXIF orientation tag is 6, and turns it",
        "if the boxes fit the upright picture, declare 20x31; if they fit the stored pixels, remove the tag",
    ),
    "image is a page": (
        lambda g: g.image.write_bytes(b"<html>404</html>"),
        "train.json: image 7",
        "cannot be read: its format is none of JPEG, PNG, ",
        "put a complete",
    ),
    "image is a program": (
        lambda g: g.image.write_bytes(EPS),
        "train.json: image 7",
        "its format is none of",
        "put a complete",
    ),
    "image is a folder": (
        instead(Path.mkdir),
        "train.json: image 7",
        "cannot be read: it is not a regular file",
        "put a complete",
    ),
    "image is a pipe": (
        instead(os.mkfifo),
        "train.json: image 7",
        "cannot be read: it is not a regular file",
        "put a complete",
    ),
    "image is a link to itself": (
        instead(lambda path: path.symlink_to(path.name)),
        "train.json: image 7",
        "cannot be read: ",
        "put a complete",
    ),
    "image is a link to nothing": (
        instead(lambda path: path.symlink_to("nowhere")),
        "train.json: image 7",
        "the file does not exist",
        "put a complete",
    ),
    "image folder missing": (
        lambda g: g.set("data.train.images", "nowhere"),
        "nowhere: this folder",
        "is not a folder",
        "correct the path in params.yaml",
    ),
    "image folder is a file": (
        lambda g: (Path("train.txt").touch(), g.set("data.train.images", "train.txt")),
        "train.txt: this folder",
        "is not a folder",
        "correct the path in params.yaml",
    ),
    "image folder of a long name": (
        lambda g: g.set("data.train.images", "x" * 300),
        "xxx: this folder",
        "is not a folder",
        "correct the path in params.yaml",
    ),
    "images in another folder": (
        lambda g: g.set("data.train.images", "more"),
        "more: this folder",
        "has none of the 3 images that train.json names, so it is probably not their folder",
        "correct the folder in params.yaml, or every file_name",
    ),
    "image of a Windows path": (
        lambda g: g.train["images"][0].update(file_name="sub\\bild-ä0.png"),
        "train.json: image 7",
        "the file does not exist: the name has backslashes",
        "write / between the folders of a path: 'sub/bild-ä0.png'",
    ),
    "image of a drive": (
        lambda g: g.train["images"][0].update(file_name="C:\\set\\bild-ä0.png"),
        "train.json: image 7",
        "the file does not exist: the name has a drive of Windows",
        "write the path that the file has here",
    ),
    "image of a drive with slashes": (
        lambda g: g.train["images"][0].update(file_name="c:/set/bild-ä0.png"),
        "train.json: image 7",
        "the file does not exist: the name has a drive of Windows",
        "write the path that the file has here",
    ),
    "image folder of backslashes": (
        lambda g: g.set("data.train.images", "set\\train"),
        "set\\train: this folder",
        "is not a folder: the name has backslashes",
        "write / between the folders of a path: 'set/train'",
    ),
    "image of the web": (
        lambda g: g.train["images"][0].update(file_name="https://example.org/bild-ä0.png"),
        "train.json: image 7",
        "the file does not exist: the name is a URL",
        "download the file",
    ),
    "image in a bucket": (
        lambda g: g.train["images"][0].update(file_name="s3://bucket/bild-ä0.png"),
        "train.json: image 7",
        "the file does not exist: the name is a URL",
        "download the file",
    ),
    "image at home": (
        lambda g: g.train["images"][0].update(file_name="~/bild-ä0.png"),
        "train.json: image 7",
        "the file does not exist: ~ is not replaced",
        "write the path without ~",
    ),
    "image folder at home": (
        lambda g: g.set("data.train.images", "~/train"),
        "~/train: this folder",
        "is not a folder: ~ is not replaced",
        "write the path without ~",
    ),
    "image folder of a Windows path": (
        lambda g: g.set("data.train.images", "D:\\train"),
        "D:\\train: this folder",
        "is not a folder: the name has a drive of Windows",
        "write the path that the file has here",
    ),
    "unlabeled folder at home": (
        lambda g: g.set("data.unlabeled.images", "~/more"),
        "~/more: this folder",
        "is not a folder with images in it (~/more: No such file or directory): ~ is not replaced",
        "write the path without ~",
    ),
    "json of the web": (
        lambda g: g.set("data.train.annotations", "http://example.org/train.json"),
        "http://example.org/train.json: this file",
        "cannot be read: No such file or directory: the name is a URL",
        "download the file",
    ),
    "json missing": (
        lambda g: g.set("data.train.annotations", "nowhere.json"),
        "nowhere.json: this file",
        "cannot be read: No such file",
        "correct the path in params.yaml",
    ),
    "json is a folder": (
        lambda g: Path("train.json").mkdir(),
        "train.json: this file",
        "cannot be read: Is a directory",
        "correct the path in params.yaml",
    ),
    "json of no bytes": (raw(b""), "train.json: this file", "is not JSON", "copy or export it again"),
    "json truncated": (raw(b'{"images": [{"id": 1'), "train.json: this file", "is not JSON", "copy or export it again"),
    "json of bytes": (raw(b"\xff\xfe\x00"), "train.json: this file", "is not JSON", "copy or export it again"),
    "json of brackets": (raw(b"[" * 100_000), "train.json: this file", "is not JSON", "copy or export it again"),
    "json with a key twice": (
        raw(b'{"images": [], "images": []}'),
        "train.json: this file",
        "an object has the key 'images' twice",
        "copy or export it again",
    ),
    "json with 5000 digits": (
        raw(b'{"a": ' + b"9" * 5000 + b"}"),
        "train.json: this file",
        "is not JSON",
        "export it again",
    ),
    "json a list": (
        raw(b"[]"),
        "train.json: this file",
        "is not an object with the lists images,",
        "COCO's instances format",
    ),
    "json a null": (
        raw(b"null"),
        "train.json: this file",
        "is not an object with the lists images,",
        "COCO's instances format",
    ),
    "json without lists": (
        raw(b'{"images": []}'),
        "train.json: this file",
        "is not an object with",
        "COCO's instances format",
    ),
    "json with objects for lists": (
        raw(b'{"images": [], "annotations": {}, "categories": []}'),
        "train.json: this file",
        "is not an object with the lists",
        "COCO's instances format",
    ),
    "no images": (
        lambda g: g.train.update(images=[]),
        "train.json: this file",
        "has no images",
        "use a file that has some",
    ),
    "no annotations": (
        only(lambda a: False),
        "train.json: this file",
        "has no annotations",
        "use a file that has some",
    ),
    "no categories": (
        lambda g: g.train.update(categories=[]),
        "train.json: this file",
        "has no categories",
        "use a file that has some",
    ),
    "crowds alone": (
        only(lambda a: a["iscrowd"]),
        "train.json: this file",
        "all of them are crowds or flat",
        "has some",
    ),
    "lines alone": (flat, "train.json: this file", "all of them are crowds or flat", "use a file that has some"),
    "masks in train alone": (
        lambda g: g.val["annotations"][0].pop("segmentation"),
        "val.json: annotation 100",
        "it has no segmentation",
        "give every annotation one, or remove all of them",
    ),
    "other categories in val": (
        other_categories,
        "val.json: category 3",
        "is 'cat' here but 'naïve dog' in train",
        "give both files the same list",
    ),
    "test images missing": (
        lambda g: g.set("data.test", {"images": "test", "annotations": "val.json"}),
        "test: this folder",
        "is not a folder",
        "correct the path",
    ),
    "unlabeled folder missing": (
        lambda g: g.set("data.unlabeled.images", "nowhere"),
        "nowhere: this folder",
        "is not a folder with images in it (nowhere: No such file",
        "correct data.unlabeled.images",
    ),
    "unlabeled folder empty": (
        lambda g: Path("more/a.png").rename("more/a.txt"),
        "more: this folder",
        "is not a folder with images in it",
        "correct data.unlabeled.images",
    ),
    "unlabeled image broken": (
        lambda g: cut(Path("more/a.png")),
        "more: image a.png",
        "cannot be read",
        "restore or remove the file",
    ),
    "unlabeled image of no Unicode": (
        lambda g: Path("more/a.png").rename(os.fsdecode(b"more/\xff.png")),
        "more: image \\udcff.png",
        "has a name that is not valid Unicode",
        "restore or remove the file",
    ),
}


@pytest.mark.parametrize(("spoil", "where", "reason", "remedy"), SETS.values(), ids=SETS)
def test_a_wrong_set_is_named(given, spoil, where, reason, remedy):
    spoil(given)
    lines = [line.encode(errors="backslashreplace").decode() for line in refused(given)]
    assert any(where in line and remedy in line.partition(reason)[2] for line in lines), lines


def test_an_image_that_may_not_be_read_is_named(given, tmp_path):
    given.image.chmod(0)
    before = os.geteuid()
    try:
        if before == 0:  # who may read everything
            for folder in (tmp_path, *tmp_path.parents[:2], given.image.parent, given.image.parent.parent):
                folder.chmod(0o755)
            os.seteuid(65534)
        with pytest.raises(ValueError, match=r"cannot be read: Permission denied"):
            inspect_image(given.image.absolute())
    finally:
        os.seteuid(before)


def test_all_errors_are_reported_at_once(given):
    given.train["annotations"][0] |= {"image_id": 5, "bbox": [0, 0, 0, 0], "iscrowd": 7}
    given.train["images"][2]["width"] = -1
    given.val["categories"].append({"id": 5, "name": "owl"})
    Path("val/sub/bild-ä1.png").unlink()
    assert len(refused(given)) == 6


# --- images that work -------------------------------------------------------------------------------------------------


def read_through(given: Given) -> np.ndarray:
    """Read image 7 as (20, 31, 3) in RGB, as a detector in training gets it."""
    given.prepare()
    inputs = Input(short_sides=[20], max_side=31, test_short_side=20, flip=False)
    dataset = TrainingSet(read_split(PREPARED / "train.json"), inputs, "RGB", 0, annotated=False)
    (item,) = (item for item in map(dataset.__getitem__, range(3)) if item["image_id"] == 7)
    write_pairs(PREPARED / "train.json", "nearest", "data/pairs", image_format="png", shard_size=9, workers=1)
    assert PairReader("data/pairs").size(7) == (16, 10)
    return item["image"].numpy().transpose(1, 2, 0)


def save(mode: str, pixels: np.ndarray, name: str = "PNG", **options: Any) -> Callable[[Path], None]:
    return lambda path: Image.frombytes(mode, (31, 20), pixels.tobytes()).save(path, name, **options)


def grey(values: np.ndarray) -> np.ndarray:
    return values[:, :, None].repeat(3, 2)


def inks(cmyk: np.ndarray) -> np.ndarray:
    """Convert (H, W, 4) amounts of ink to the remaining light."""
    light = 255 - cmyk.astype(float)
    return light[:, :, :3] * light[:, :, 3:] / 255


def blocks(colors: int) -> np.ndarray:
    """Return (20, 31, colors): four flat quarters, which JPEG keeps to within a few values."""
    quarters = np.random.default_rng(1).integers(30, 220, (2, 2, colors), dtype=np.uint8)
    return quarters.repeat(16, 0).repeat(16, 1)[:20, :31]


def with_palette(path: Path, **options: Any) -> None:
    image = Image.frombytes("P", (31, 20), INDICES.tobytes())
    image.putpalette(PALETTE.tobytes())
    image.save(path, "PNG", **options)


def with_preview(path: Path) -> None:
    """Write an image as cameras do."""
    Image.fromarray(blocks(3)).save(
        path, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))], quality=100, subsampling=0
    )


def sixteen_bits(path: Path) -> None:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP)
    path.write_bytes(png(31, 20, 16, 2, rows))


INDICES = PIXELS[:, :, 0]
PALETTE = np.random.default_rng(2).integers(0, 256, (256, 3), dtype=np.uint8)
FOUR = np.random.default_rng(3).integers(0, 256, (20, 31, 4), dtype=np.uint8)
DEEP = np.random.default_rng(4).integers(0, 2**16, (20, 31, 3))
BITS = np.packbits(INDICES > 99, axis=1)
# how the file is written; the pixels that it means; by how much JPEG or a rounding may miss them
IMAGES = {
    "grey": (save("L", INDICES), grey(INDICES), 0),
    "grey with alpha": (save("LA", FOUR[:, :, :2]), grey(FOUR[:, :, 0]), 0),
    "black and white": (save("1", BITS), grey(255 * (INDICES > 99)), 0),
    "palette": (with_palette, PALETTE[INDICES], 0),
    "palette with a transparent colour": (lambda path: with_palette(path, transparency=7), PALETTE[INDICES], 0),
    "RGBA, alpha ignored": (save("RGBA", FOUR), FOUR[:, :, :3], 0),
    "CMYK, TIFF": (save("CMYK", FOUR, "TIFF"), inks(FOUR), 1),
    "CMYK, JPEG": (save("CMYK", blocks(4), "JPEG", quality=100), inks(blocks(4)), 4),
    "16 bits of RGB": (sixteen_bits, DEEP >> 8, 0),
    "a camera's with a preview": (with_preview, blocks(3), 8),
    "progressive JPEG": (save("RGB", blocks(3), "JPEG", quality=100, subsampling=0, progressive=True), blocks(3), 4),
    "WebP under the name of a PNG": (save("RGB", PIXELS, "WEBP", lossless=True), PIXELS, 0),
    "BMP under the name of a PNG": (save("RGB", PIXELS, "BMP"), PIXELS, 0),
    "TIFF under the name of a PNG": (save("RGB", PIXELS, "TIFF"), PIXELS, 0),
    "JPEG 2000 under the name of a PNG": (save("RGB", PIXELS, "JPEG2000", irreversible=False), PIXELS, 0),
    "GIF of one frame": (lambda path: Image.fromarray(INDICES).save(path, "GIF"), grey(INDICES), 0),
    "damaged EXIF": (save("RGB", PIXELS, exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), PIXELS, 0),
}


@pytest.mark.parametrize(("write", "pixels", "tolerance"), IMAGES.values(), ids=IMAGES)
def test_an_unusual_image_is_read_correctly(given, write, pixels, tolerance):
    write(given.image)
    difference = np.abs(read_through(given).astype(int) - np.asarray(pixels, float))
    assert difference.max() <= tolerance, difference.max()


INVERSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_match_their_objects_in_every_exif_orientation(given, orientation, file_format):
    upright = np.zeros((20, 31, 3), np.uint8)
    upright[3:11, 2:12] = 255  # the box of annotation 100
    stored = Image.fromarray(upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = stored.transpose(INVERSE[orientation]) if orientation > 1 else stored
    turned.save(given.image, file_format, exif=exif, **({"lossless": True} if file_format == "WEBP" else {}))
    assert np.array_equal(read_through(given), upright)
    box = read_split(PREPARED / "train.json")["images"][0]["annotations"][0]["bbox"]
    assert box == [2, 3, 10, 8]


@pytest.mark.parametrize("limit", [620, 310])
def test_an_image_above_pillows_warning_limit_works(given, monkeypatch, limit):
    """It warns above its limit, and refuses above twice as many."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    Image.fromarray(PIXELS).save(given.image)
    given.train = {**given.train, "images": given.train["images"][:1]}
    given.train["annotations"] = [a for a in given.train["annotations"] if a["image_id"] == 7]
    given.val = copy.deepcopy(given.train)
    assert np.array_equal(read_through_first(given), PIXELS)


def read_through_first(given: Given) -> np.ndarray:
    given.prepare()
    inputs = Input(short_sides=[20], max_side=31, test_short_side=20, flip=False)
    return TrainingSet(read_split(PREPARED / "train.json"), inputs, "RGB", 0)[0]["image"].numpy().transpose(1, 2, 0)


# --- sets that work ---------------------------------------------------------------------------------------------------


def both(change: Callable[[dict], Any]) -> Callable[[Given], None]:
    """Return a change that is the same for train and val."""

    def apply(given: Given) -> None:
        for split in (given.train, given.val):
            change(split)

    return apply


def renumber(split: dict) -> None:
    """Renumber: images 0, 1, ...; annotations 0, -1, ...; categories as large as allowed."""
    images = {image["id"]: number for number, image in enumerate(split["images"])}
    categories = {category["id"]: 2**53 - 1 - number for number, category in enumerate(split["categories"])}
    for image in split["images"]:
        image["id"] = images[image["id"]]
    for category in split["categories"]:
        category["id"] = categories[category["id"]]
    for number, annotation in enumerate(split["annotations"]):
        annotation["id"] = -number
        annotation["image_id"] = images[annotation["image_id"]]
        annotation["category_id"] = categories[annotation["category_id"]]


def one_pixel(split: dict) -> None:
    split["images"][1] |= {"width": 1, "height": 1}
    polygon = [[0, 0, 1, 0, 1, 1, 0, 1]]
    split["annotations"][1] |= {"bbox": [0, 0, 1, 1], "area": 1, "segmentation": polygon}


def small(given: Given) -> None:
    both(one_pixel)(given)
    for folder in ("train", "val"):
        Image.new("RGB", (1, 1)).save(Path(folder, "sub/bild-ä1.png"))


def encoded(encoding: str, mark: bytes = b"") -> Callable[[Given], None]:
    def write(given: Given) -> None:
        text = json.dumps(given.train, ensure_ascii=False)
        Path("train.json").write_bytes(mark + text.encode(encoding))

    return write


def named(name: str) -> Callable[[Given], None]:
    return lambda given: rename(given, name) and None


def linked(given: Given) -> None:
    given.image.rename("elsewhere.png")
    given.image.symlink_to(Path("elsewhere.png").absolute())
    Path("val").rename("val-there")
    Path("val").symlink_to("val-there")


def first(split: dict[str, Any]) -> dict[str, Any]:
    return split["images"][0]["annotations"][0]


def field(name: str, value: Any) -> Callable[[Given], None]:
    """Return a change of the first annotation's field, in both splits."""

    def change(split: dict) -> None:
        if value is ...:
            split["annotations"][0].pop(name)
        else:
            split["annotations"][0][name] = value

    return both(change)


# what is done; what is then true of the training set as it is read
WORKING = {
    "nothing wrong": (lambda g: None, lambda s: len(s["images"]) == 3 and s["masks"]),
    "json with a byte order mark": (encoded("utf-8", codecs.BOM_UTF8), lambda s: s["classes"][0] == "naïve dog"),
    "json in UTF-16": (encoded("utf-16"), lambda s: s["classes"][0] == "naïve dog"),
    "ids that are 0, huge, negative of annotations": (
        both(renumber),
        lambda s: [i["id"] for i in s["images"]] == [0, 1, 2] and s["category_ids"] == [2**53 - 2, 2**53 - 1],
    ),
    "a name of spaces, quotes, per cent": (
        named("a 'b' \"c\" %20 {key}.png"),
        lambda s: "%20 {key}" in s["images"][0]["path"],
    ),
    "a name of two lines": (named("two\nlines.png"), lambda s: s["images"][0]["path"].endswith("two\nlines.png")),
    "a name of decomposed letters": (named("a\u0308.png"), lambda s: s["images"][0]["path"] == "train/a\u0308.png"),
    "a name in Chinese and an emoji": (named("图像/🐈.png"), lambda s: s["images"][0]["path"] == "train/图像/🐈.png"),
    "a name without a suffix": (named("image"), lambda s: s["images"][0]["path"] == "train/image"),
    "a name that goes round": (
        lambda g: g.train["images"][0].update(file_name="sub/../sub/./bild-ä0.png"),
        lambda s: Path(s["images"][0]["path"]).is_file(),
    ),
    "links to images and folders": (linked, lambda s: Path(s["images"][0]["path"]).is_symlink()),
    "an image of one pixel": (small, lambda s: (s["images"][1]["width"], s["images"][1]["height"]) == (1, 1)),
    "an image without objects": (lambda g: None, lambda s: s["images"][2]["annotations"] == []),
    "boxes alone": (Given.boxes_only, lambda s: not s["masks"] and "segmentation" not in first(s)),
    "a crowd said to be true": (
        lambda g: g.train["annotations"][2].update(iscrowd=True),
        lambda s: s["images"][0]["annotations"][1]["iscrowd"] is not True,
    ),
    "iscrowd null": (field("iscrowd", None), lambda s: first(s)["iscrowd"] == 0),
    "a box out by part of a pixel": (
        lambda g: (
            field("bbox", [-0.5, 0, 32, 20.9])(g),
            field("segmentation", [[-0.5, 0, 31.5, 0, 31.5, 20.9]])(g),
            field("area", ...)(g),
        ),
        lambda s: first(s)["bbox"] == [-0.5, 0, 32, 20.9],
    ),
    "no area": (field("area", ...), lambda s: first(s)["area"] == 80),
    "NaN where nobody looks": (field("attributes", NAN), lambda s: "attributes" not in first(s)),
    "a polygon that sticks out": (
        lambda g: (
            field("segmentation", [[-10, 3, 12, 3, 12, 11, -10, 11]])(g),
            field("bbox", [0, 3, 12, 8])(g),
            field("area", ...)(g),
        ),
        lambda s: first(s)["area"] == 12 * 8,
    ),
    "a line among objects": (
        lambda g: g.train["annotations"].append(
            g.train["annotations"][0]
            | {"id": 1, "bbox": [2, 3, 9, 0], "area": 0, "segmentation": [[2, 3, 11, 3, 5, 3]]}
        ),
        lambda s: len(s["images"][0]["annotations"]) == 2,
    ),
}


@pytest.mark.parametrize(("change", "holds"), WORKING.values(), ids=WORKING)
def test_an_unusual_set_works(given, change, holds):
    """The set is read as intended and gives training images; detections of all its objects give an AP of 100."""
    change(given)
    given.prepare()
    split = read_split(PREPARED / "train.json")
    assert holds(split)
    inputs = Input(short_sides=[20], max_side=40, test_short_side=20)
    dataset = TrainingSet(split, inputs, "RGB", 0, annotated=False)
    for item in map(dataset.__getitem__, range(3)):
        count = len(
            [a for i in split["images"] if i["id"] == item["image_id"] for a in i["annotations"] if not a["iscrowd"]]
        )
        assert len(item["instances"]) == count

    truth = COCO(str(PREPARED / "val.json"))
    found = []
    for annotation in truth.dataset["annotations"]:
        if not annotation["iscrowd"]:
            found.append({**annotation, "score": 1.0})
            if split["masks"]:
                found[-1]["segmentation"] = truth.annToRLE(annotation)
    for kind in ("bbox", "segm") if split["masks"] else ("bbox",):
        assert coco_metrics(PREPARED / "val.json", found, kind)["AP"] == pytest.approx(100)


# --- params.yaml ------------------------------------------------------------------------------------------------------

# the name of a key, its value, what the error says; beside those in test_config
PARAMETERS = {
    "zero channels": ("model.channels", 0, "model.channels: Input should be greater than or equal to 1 (found 0)"),
    "a million channels": ("model.channels", 10**6, "model.channels: Input should be less than or equal to 65536"),
    "zero iterations": ("train_detector.iterations", 0, "train_detector.iterations: Input should be greater"),
    "zero iterations of one experiment": (
        "experiments.detectors.a5.schedule",
        {"iterations": 0},
        "experiments.detectors.a5.schedule.iterations: Input should be greater than or equal to 1 (found 0)",
    ),
    "an unknown key of one experiment": (
        "experiments.detectors.a5.schedule",
        {"lt": 1},
        "experiments.detectors.a5.schedule.lt: unknown key",
    ),
    "negative lr": ("train_detector.lr", -0.1, "train_detector.lr: Input should be greater than 0 (found -0.1)"),
    "lr with too many digits": ("train_detector.lr", 10**400, "train_detector.lr: Input should be a valid number"),
    "lr true": ("train_detector.lr", True, "train_detector.lr: Input should be a valid number (found True)"),
    "infinite clip": ("train_detector.clip_norm", INF, "train_detector.clip_norm: Input should be a finite number"),
    "momentum NaN": ("train_detector.momentum", NAN, "train_detector.momentum: "),
    "threshold NaN": ("evaluate.score_threshold", NAN, "evaluate.score_threshold: "),
    "seed beyond NumPy's": ("seed", 2**32, "seed: Input should be less than 4294967296"),
    "a million threads": ("threads", 10**6, "threads: Input should be less than or equal to 1024"),
    "a million workers": ("pairs.workers", 10**6, "pairs.workers: Input should be less than or equal to 1024"),
    "processes that share no batch": ("processes", 3, "its batch_size of 2 cannot be split evenly among 3 processes"),
    "milestone 0": ("train_detector.milestones", [0], "train_detector.milestones.0: "),
    "stages that no backbone has": (
        "experiments.backbones.main.freeze_at",
        6,
        "backbones.main.freeze_at: Input should be",
    ),
    "limits that do not ascend": (
        "model.sizes_of_interest",
        [64, 32, 128, 256],
        "model.sizes_of_interest: each has to be",
    ),
    "a degradation twice": (
        "pairs.degradations",
        ["bilinear"] * 2,
        "pairs.degradations: a value appears twice: remove one",
    ),
    "options of NaN": ("experiments.backbones.main.options", {"a": [NAN]}, "main.options: NaN and infinity are"),
    "options of dates": ("experiments.backbones.main.options", {"a": date(2026, 1, 1)}, "backbones.main.options.a"),
    "options of numbered keys": ("experiments.backbones.main.options", {"a": {1: 2}}, "backbones.main.options.a"),
    "a level that the pyramid lacks": (
        "figures.level",
        "p6",
        "figures.level: p6, but G learns on p2, p3, p4, p5 of detectors/a1",
    ),
    "a level that the head's pyramid lacks": (
        "experiments.detectors.a1.head",
        "retinanet",
        "figures.level: p2, but G learns on p3, p4, p5 of detectors/a1",
    ),
    "a level that a BiFPN lacks": (
        "model.pyramid",
        "bifpn",
        "figures.level: p2, but G learns on p3, p4, p5, p6, p7 of detectors/a1",
    ),
    "an image beyond the set": ("figures.image", 4, "figures.image: 4, but the validation set has 4 images: lower it"),
    "a row of nothing": ("tables.table4.A1", [], "tables.table4.A1: List should have at least 1 item"),
    "a row of two lines": ("tables.table4.A\n1", "a1", "tables.table4.'A\\n1': String should match pattern"),
    "no stage 2": ("experiments.extractors", {}, "experiments.extractors: Dictionary should have at least 1 item"),
    "missing teacher": (
        "experiments.afigan.main.teacher",
        "a9",
        "experiments.afigan.main.teacher: there is no experiments.detectors.a9; those that exist: a1, ",
    ),
    "key in capitals": (
        "experiments.backbones.Main",
        {"name": "resnet18"},
        "experiments.backbones.Main: String should",
    ),
    "key too long": ("experiments.backbones." + "x" * 101, {"name": "resnet18"}, "String should have at most 100"),
    "path with a NUL": ("data.train.annotations", "a\0", "data.train.annotations: String should match pattern"),
    "path of nothing": ("data.unlabeled.images", "", "data.unlabeled.images: String should match pattern"),
    "a second name of lambda": ("train_afigan.adversarial_weight", 1.0, "train_afigan.adversarial_weight: unknown key"),
    "a tree where a number belongs": (
        "seed",
        [[[[[[0] * 99]]]]] * 99,
        "seed: Input should be a valid integer (found [[[",
    ),
    "a number too long to write": ("seed", 1 << 50_000, "seed: Input should be"),
}


@pytest.mark.parametrize(("name", "value", "message"), PARAMETERS.values(), ids=PARAMETERS)
def test_a_wrong_parameter_is_named(given, name, value, message):
    given.values = copy.deepcopy(SMOKE)
    given.set(name, value)
    with pytest.raises(ValueError) as raised:
        check_params(given.values)
    head, *lines = str(raised.value).split("\n  ")
    assert head.startswith("params.yaml has ") and any(message in line for line in lines), str(raised.value)
    assert all(len(line) < 500 for line in lines)


def test_two_evaluations_with_one_seed_are_refused(given):
    given.set("experiments.evaluations.twin", {"model": "detectors/a1"})
    given.set("tables.table4.A1", ["a1", "twin"])
    with pytest.raises(ValueError, match=r"tables.table4.A1: a1, twin need different seeds, but have \[0, 0\]"):
        check_params(given.values)


# content of the file, text of the error
FILES = {
    "no YAML": (b"seed: [", "is not YAML"),
    "a backslash in double quotes": (
        rb'data: {val: {fraction: 0.2, group: "(.*)_\d+"}}',
        "; write a text with backslashes in single quotes",
    ),
    "a list": (b"- seed", "expected sections such as data: and model:, found list"),
    "nothing": (b"", "expected sections such as data: and model:, found NoneType"),
    "a text": (b"seed", "expected sections such as data: and model:, found str"),
    "UTF-16": ("seed: 0".encode("utf-16"), "is not YAML"),
    "bytes": (b"\x00\xff", "is not YAML"),
    "a key twice": (b"seed: 0\nthreads: 1\nseed: 1\n", "the key 'seed' appears twice"),
    "a key twice, deep": (
        b"model:\n  rpn: {batch_size: 1, batch_size: 2}\n",
        "the key 'batch_size' appears twice",
    ),
    "a value in itself": (b"seed: &a [*a]", "is not YAML: found unconstructable recursive node"),
    "a key that is a list": (b"? [1]\n: 2", "is not YAML"),
    "an object of Python": (b"seed: !!python/object/apply:os.system [exit]", "is not YAML: could not determine"),
    "a month 13": (b"seed: 2026-13-45", "is not YAML: month must be in 1..12"),
    "a number of 5000 digits": (b"seed: " + b"9" * 5000, "is not YAML: Exceeds the limit"),
    "two documents": (b"seed: 0\n---\nseed: 1\n", "is not YAML"),
    "800 brackets": (b"[" * 800, "is not YAML"),
    "1e-3 for an integer": (b"seed: 1e-3", "seed: Input should be a valid integer (found 0.001)"),
    "yes for a number": (b"threads: yes", "threads: Input should be a valid integer (found True)"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_a_wrong_parameter_file_is_named(tmp_path, content, message):
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError) as raised:
        load_params(path)
    assert str(raised.value).startswith(str(path)) and message in str(raised.value)


def test_a_parameter_file_that_is_a_folder_or_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        load_params(tmp_path)
    with pytest.raises(ValueError, match=r"no.yaml does not exist: compose it with `make params"):
        load_params(tmp_path / "no.yaml")


def test_merged_mappings_may_change_a_key(tmp_path):
    text = yaml.safe_dump({"base": SMOKE["train_afigan"]}).replace("base:", "base: &base", 1)
    values = {name: value for name, value in SMOKE.items() if name != "train_afigan"}
    path = tmp_path / "params.yaml"
    path.write_text(
        f"{yaml.safe_dump(values)}\ntrain_afigan:\n  <<: {{lr: 1}}\n  {{}}".replace("\n  {}", "\n  lr: 0.5")
    )
    assert "base" in text
    with pytest.raises(ValueError, match=r"train_afigan.iterations: missing"):
        load_params(path)


# --- weights ----------------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def pickled(value: Any) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(pickle.dumps(value))


def state(**change: torch.Tensor) -> dict[str, torch.Tensor]:
    return dict(build_backbone("resnet_mini", norm="BN").state_dict()) | change


STEM = "stem.conv1.weight"
WEIGHTS = {
    "a pickle that runs code": (
        "w.pkl",
        pickled({"conv1_w": Evil()}),
        "is not a file of only tensors (it needs pathlib",
    ),
    "the same as a checkpoint": ("w.pth", pickled({"conv1_w": Evil()}), "is not a file of only tensors ("),
    "the same as torch writes it": (
        "w.pth",
        lambda path: torch.save({STEM: Evil()}, path),
        "is not a file of only tensors",
    ),
    "the same under another name": ("w.safetensors", pickled(Evil()), "is not a file of only tensors"),
    "a pickle of texts": ("w.pkl", pickled({"a": np.array(["b"])}), "a is not numeric ("),
    "a pickle of objects": ("w.pkl", pickled({"a": np.array([{}], object)}), "a is not numeric ("),
    "a pickle of code in an array": (
        "w.pkl",
        pickled({"a": np.array([Evil()], object)}),
        "is not a file of only tensors",
    ),
    "truncated": (
        "w.safetensors",
        lambda path: (save_file(state(), path), cut(path)),
        "w.safetensors is not a file of only tensors",
    ),
    "of another architecture": (
        "w.pth",
        lambda path: torch.save(build_backbone("resnet18").state_dict(), path),
        "w.pth does not fit the backbone: of another shape: ",
    ),
    "of other channels": (
        "w.pth",
        lambda path: torch.save(state(**{STEM: torch.ones(8, 3, 7, 7)}), path),
        f"does not fit the backbone: of another shape: {STEM} (1 in all); give weights of its own architecture",
    ),
    "of NaN": (
        "w.pth",
        lambda path: torch.save(state(**{STEM: torch.full((16, 3, 7, 7), NAN)}), path),
        f"does not fit the backbone: not finite: {STEM} (1 in all)",
    ),
    "a folder": ("w.pth", Path.mkdir, "w.pth does not exist: give a file"),
    "missing": ("w.pth", lambda path: None, "w.pth does not exist: give a file"),
}


@pytest.mark.parametrize(("name", "write", "message"), WEIGHTS.values(), ids=WEIGHTS)
def test_wrong_weights_are_named_and_nothing_is_run(tmp_path, monkeypatch, name, write, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    with pytest.raises(ValueError) as raised:
        load_pretrained(build_backbone("resnet_mini", norm="BN"), name, place="experiments.backbones.main.weights")
    text = str(raised.value)
    assert text.startswith(f"experiments.backbones.main.weights: {name}") and message in text
    assert not Path("ran").exists()


# --- what earlier stages have left ------------------------------------------------------------------------------------


def left(path: str, content: bytes) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)
    return Path(path)


CONFIG, TENSORS = "models/detectors/a1/config.json", "models/detectors/a1/model.safetensors"
PICKLE = pickle.dumps(Evil())
# the file, what is in it, who reads it, what the error says
LEFT = {
    "config truncated": (CONFIG, b'{"params_ha', lambda: load_config("detectors/a1"), "is damaged"),
    "config empty": (CONFIG, b"{}", lambda: load_config("detectors/a1"), "does not say what was trained: remove it"),
    "config a list": (CONFIG, b"[]", lambda: load_config("detectors/a1"), "does not say what was trained: remove it"),
    "config of another version": (
        CONFIG,
        b'{"params_hash": "", "architecture": {"model": {}}}',
        lambda: load_architecture("detectors/a1"),
        "config.json is of another version of this project (1 validation error",
    ),
    "config without an architecture": (
        CONFIG,
        b'{"params_hash": ""}',
        lambda: load_architecture("detectors/a1"),
        "is of another version of this project ('architecture'): run its stage again",
    ),
    "weights truncated": (
        TENSORS,
        b"\x10\0\0\0",
        lambda: load_weights("detectors/a1"),
        "is not a complete safetensors file",
    ),
    "weights a pickle": (TENSORS, PICKLE, lambda: load_weights("detectors/a1"), "is not a complete safetensors file"),
    "summary truncated": ("data/prepared/summary.json", b'{"train": ', read_summary, "is damaged"),
    "set truncated": ("data/prepared/val.json", b"[", lambda: read_split("data/prepared/val.json"), "is damaged"),
    "pairs truncated": (
        "data/pairs/nearest/index.json",
        b"{",
        lambda: PairReader("data/pairs/nearest"),
        "run the stage pairs",
    ),
}


@pytest.mark.parametrize(("path", "content", "read", "message"), LEFT.values(), ids=LEFT)
def test_a_damaged_result_is_named(tmp_path, monkeypatch, path, content, read, message):
    monkeypatch.chdir(tmp_path)
    left(path, content)
    with pytest.raises(ValueError) as raised:
        read()
    assert str(Path(path).parent) in str(raised.value) and message in str(raised.value)
    assert not Path("ran").exists()


def test_a_mask_head_needs_masks_before_anything_is_trained(given):
    given.boxes_only()
    params = given.prepare()
    with pytest.raises(
        ValueError, match=r"experiments\.\S+: mask_rcnn needs masks, but the data set has only boxes; set"
    ):
        check_prepared(params)


def test_a_missing_image_for_the_figures_is_reported_before_training(given):
    given.set("figures.image", 3)
    params = given.prepare()
    with pytest.raises(ValueError, match=r"figures.image: 3, but the validation set has 3 images: lower it"):
        check_prepared(params)


# --- the scripts ------------------------------------------------------------------------------------------------------


def run(script: str, *arguments: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a stage's script in this process; return its message before it ends with 2."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", [f"workflow/scripts/{script}.py", *arguments])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    capsys.readouterr()
    with pytest.raises(SystemExit) as raised:
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    assert raised.value.code == 2
    return "\n".join(line for line in capsys.readouterr().err.splitlines() if "images/s" not in line)


def spoil_weights(given: Given) -> None:
    pickled({"conv1_w": Evil()})(Path("w.pkl"))
    given.set("experiments.backbones.main.weights", "w.pkl")


# what is wrong, which script finds it, what it says
SCRIPTED = {
    "parameters": (
        lambda g: g.set("model.channels", 0),
        ["train_afigan", "--key", "main"],
        "model.channels: Input should",
    ),
    "data": (lambda g: g.image.unlink(), ["prepare"], "train.json: image 7: 'sub/bild-ä0.png' the file does not exist"),
    "weights": (
        spoil_weights,
        ["backbone", "--key", "main"],
        "experiments.backbones.main.weights: w.pkl is not a file",
    ),
    "missing teacher": (lambda g: None, ["train_afigan", "--key", "main"], f"{CONFIG} does not exist: create it first"),
    "damaged teacher": (lambda g: left(CONFIG, b"{"), ["train_afigan", "--key", "main"], f"{CONFIG} is damaged"),
    "damaged set": (lambda g: None, ["pairs", "--degradation", "bilinear"], "data/prepared/train.json is damaged"),
    "boxes alone": (
        Given.boxes_only,
        ["train_detector", "--key", "a1"],
        "needs masks, but the data set has only boxes",
    ),
}


@pytest.mark.parametrize(("spoil", "command", "message"), SCRIPTED.values(), ids=SCRIPTED)
def test_a_script_reports_one_error_and_exits_with_2(given, capsys, monkeypatch, spoil, command, message):
    script, *arguments = command
    spoil(given)
    if script not in ("prepare", "train_afigan") or message.startswith("models"):
        given.prepare()
    else:
        for name in ("train", "val"):
            Path(f"{name}.json").write_text(json.dumps(getattr(given, name)))
    if script == "pairs":
        cut(PREPARED / "train.json")
    Path("params.yaml").write_text(yaml.safe_dump(given.values))
    text = run(script, *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert text.startswith(f"{script}: ") and message in text and "Traceback" not in text
    assert not Path("ran").exists() and not list(Path().glob("models/**/*.safetensors"))
