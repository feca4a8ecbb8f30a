"""Arbitrary changes of annotation files and of params.yaml: valid for all readers, or refused by name.

`FUZZ=5000 python -m pytest tests/data/prepare/test_input_fuzz.py` tries that many of each, different ones every time.
"""

import contextlib
import copy
import io
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_coco
import yaml
from composed import composed
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from afigan.data.loader import TrainingSet
from afigan.data.prepare.cautions import cautions
from afigan.data.prepare.coco import check_annotations, clean
from afigan.data.prepare.findings import summarise
from afigan.data.prepare.image_files import check_images
from afigan.data.prepare.problems import DataError
from afigan.data.prepare.shared_images import shared_images
from afigan.data.prepare.stage import prepare
from afigan.data.split import read_split
from afigan.detectors import Architecture
from afigan.params.lineage import Lineage
from afigan.params.loading import check_params, load_params
from afigan.params.schema import Input, Params
from afigan.params.stages import NETWORKS, TRAINED
from afigan.training.backbone import ObjectCrops

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = int(os.environ.get("FUZZ", "0"))
fuzz = settings(
    max_examples=EXAMPLES or 120,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

NUMBERS = [0, -1, 1, 2, 3, 7, 17, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**30, 10**400, 0.0, -0.0, 0.5, 1e-300, 1e30]
NUMBERS += [1e308, 1e-3, 31.0, 20.0, math.nan, math.inf, -math.inf, True, False]
TEXTS = [
    "",
    "a",
    "a1",
    "main",
    "..",
    "/",
    "a/../../b",
    "nul\0",
    "half\ud800",
    "e\u0301",
    "x" * 5000,
    "1",
    "nan",
    "on",
    "~",
]


def one_of(values: list) -> st.SearchStrategy:
    """Draw one of the values by number, because a report would print all of them."""
    return st.integers(0, len(values) - 1).map(values.__getitem__)


SCALARS = st.none() | one_of(NUMBERS) | one_of(TEXTS) | st.integers() | st.floats() | st.text(max_size=9)
KEYS = st.sampled_from(
    ["id", "bbox", "segmentation", "size", "counts", "images", "a1", "main", "A", "", "1"]
) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, way: tuple = ()) -> list[tuple]:
    """Return the paths to all nodes of a tree, including its root."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, item in inside for place in places(item, (*way, key)))]


def similar(draw: st.DrawFn, value: Any, tree: Any) -> Any:
    """Draw a plausible replacement of a value: of its type, or nearly so."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float) and draw(st.booleans()):
        step = draw(st.sampled_from([value, 1, 2, 0.5, 1e-9, 40, -value / 2]))
        return draw(st.sampled_from([value + step, value - step, float(value + step), int(value - step)]))
    others = [node for node in (at(tree, way) for way in places(tree)) if type(node) is type(value)]
    return copy.deepcopy(draw(one_of(others)))


def at(tree: Any, way: Sequence) -> Any:
    return reduce(lambda node, key: node[key], way, tree)


def mutated(draw: st.DrawFn, value: Any) -> Any:
    """Draw `value` with some nodes replaced, removed, duplicated, extended or exchanged."""
    tree = {"root": copy.deepcopy(value)}
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        *way, last = draw(one_of(places(tree)[1:]))
        holder = at(tree, way)
        change = draw(st.sampled_from(["similar"] * 8 + ["replace", "remove", "twice", "add", "exchange", "wrap"]))
        if change == "similar":
            holder[last] = similar(draw, holder[last], tree)
        elif change == "remove" and way:
            del holder[last]
        elif change == "twice" and isinstance(holder, list):
            holder.insert(last, copy.deepcopy(holder[last]))
        elif change == "add" and isinstance(holder[last], dict):
            holder[last][draw(KEYS)] = draw(VALUES)
        elif change == "add" and isinstance(holder[last], list):
            holder[last].append(draw(VALUES))
        elif change == "exchange":
            holder[last] = copy.deepcopy(at(tree, draw(one_of(places(tree)[1:]))))
        elif change == "wrap":
            holder[last] = [holder[last]]
        else:
            holder[last] = draw(VALUES)
    return tree["root"]


# --- annotation files -------------------------------------------------------------------------------------------------


def varied(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a COCO set that is mostly valid except for geometry: any polygons and boxes, most of them of one another."""
    value = tiny_coco.annotations()
    coordinate = st.floats(0, 20) | st.integers(0, 20) | st.floats(-3, 40)
    if draw(st.booleans()):
        del value["annotations"][2]  # a crowd as run lengths, which makes bitmaps of all masks
    for annotation in value["annotations"]:
        if draw(st.booleans()):
            x, y, right, bottom = (draw(st.floats(0, 20)) for _ in range(4))
            annotation["bbox"] = [min(x, right), min(y, bottom), abs(right - x), abs(bottom - y)]
        if draw(st.booleans()) and isinstance(annotation["segmentation"], list):
            points = st.lists(coordinate, min_size=6, max_size=12)
            annotation["segmentation"] = draw(
                st.lists(points.map(lambda p: p[: len(p) // 2 * 2]), min_size=1, max_size=3)
            )
        if draw(st.integers(0, 5)):
            agree(annotation)
        if draw(st.booleans()):
            annotation["iscrowd"] = draw(st.sampled_from([0, 1, True, None]))
        if draw(st.booleans()):
            del annotation["area"]
    if draw(st.booleans()):
        for annotation in value["annotations"]:
            del annotation["segmentation"]
    return value


def agree(annotation: dict[str, Any]) -> None:
    """Give an annotation the box and the area of its polygons."""
    if isinstance(annotation["segmentation"], list):
        xs, ys = ([v for polygon in annotation["segmentation"] for v in polygon[axis::2]] for axis in (0, 1))
        annotation["bbox"] = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]


@st.composite
def annotation_files(draw: st.DrawFn) -> bytes:
    """Draw a small COCO file with changes as a tree, as text, or as bytes."""
    value = varied(draw)
    content = json.dumps(mutated(draw, value) if draw(st.integers(0, 3)) else value).encode()
    kind = draw(st.sampled_from(["tree", "tree", "tree", "tree", "tree", "cut", "bytes", "encoding", "token"]))
    if kind == "cut":
        return content[: draw(st.integers(0, len(content)))]
    if kind == "bytes":
        position = draw(st.integers(0, len(content)))
        return content[:position] + draw(st.binary(max_size=4)) + content[position + draw(st.integers(0, 4)) :]
    if kind == "encoding":
        return content.decode().encode(draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-32", "utf-16-le"])))
    if kind == "token":
        numbers = list(re.finditer(rb"-?\d+\.?\d*", content))
        if numbers:
            number = draw(st.sampled_from(numbers))
            word = draw(st.sampled_from([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000, b"[" * 2000, b"01"]))
            return content[: number.start()] + word + content[number.end() :]
    return content


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    tiny_coco.write_images(tiny_coco.annotations(), folder)
    return folder


def hold_together(image: dict[str, Any]) -> None:
    """Assert that areas are at most those of the boxes, and that boxes are those of the polygons, whole or clipped."""
    for annotation in image["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert annotation["area"] <= 1.01 * width * height + 1.01
        polygons = annotation.get("segmentation")
        if not annotation["iscrowd"] and isinstance(polygons, list):
            for axis, side in enumerate(("width", "height")):
                values = [v for polygon in polygons for v in polygon[axis::2]]
                ends = (x, x + width) if axis == 0 else (y, y + height)
                for end, value in zip(ends, (min(values), max(values)), strict=True):
                    inside = min(max(value, 0), image[side])
                    assert min(value, inside) - 2.1 <= end <= max(value, inside) + 2.1


def use(folder: Path) -> None:
    """Run all readers of a prepared training and validation set."""
    masks = json.loads((folder / "summary.json").read_text("utf-8"))["train"]["masks"]
    for name in ("train", "val"):
        split = read_split(folder / f"{name}.json")
        assert split["masks"] is masks
        for image in split["images"]:
            hold_together(image)
        for flip in (False, True):
            inputs = Input(short_sides=[40], max_side=90, test_short_side=40, flip=flip)
            dataset = TrainingSet(split, inputs, "RGB", 0, annotated=name == "train" and flip)
            for position in range(3):
                item = dataset[position]
                instances = item["instances"]
                assert instances.gt_boxes.tensor.isfinite().all()
                height, width = item["image"].shape[1:]
                x, y = instances.gt_boxes.tensor[:, 0::2], instances.gt_boxes.tensor[:, 1::2]
                assert (x >= 0).all() and (x <= width).all() and (y >= 0).all() and (y <= height).all()
                if masks and len(instances):
                    assert instances.gt_masks.crop_and_resize(instances.gt_boxes.tensor, 8).shape[1:] == (8, 8)
        ObjectCrops(split, "RGB", 0)[0]
        with contextlib.redirect_stdout(io.StringIO()):
            truth, nothing = COCO(str(folder / f"{name}.json")), COCO()
            nothing.dataset = truth.dataset | {"annotations": []}
            nothing.createIndex()
            for kind in ("bbox", "segm") if masks else ("bbox",):
                evaluation = COCOeval(truth, nothing, kind)
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
                assert evaluation.stats[0] == 0  # there are objects, and none was found


@fuzz
@given(annotation_files(), st.sampled_from(["train", "val", "both", "both, in groups"]))
def test_an_annotation_file_is_fit_for_use_or_refused(photographs, tmp_path, content, role):
    (tmp_path / "odd.json").write_bytes(content)
    (tmp_path / "good.json").write_text(json.dumps(tiny_coco.annotations()))
    splits = [
        SimpleNamespace(images=str(photographs), annotations=str(tmp_path / f"{n}.json"), fraction=None)
        for n in ("odd", "good")
    ]
    if role == "val":
        splits.reverse()
    elif role != "train":  # some of its images are those of val
        splits[1] = SimpleNamespace(fraction=0.4, group=r"(\w+)\." if "groups" in role else None)
    nothing = SimpleNamespace(images=None, annotations="")
    data = SimpleNamespace(source="coco", train=splits[0], val=splits[1], unlabeled=nothing, test=nothing, repair=False)
    out = tmp_path / "prepared"
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress
            prepare(data, 0, out, workers=1)
    except DataError as error:
        event("refused")
        assert all(str(problem).startswith(str(tmp_path)) and problem.remedy for problem in error.problems)
        assert len(str(error)) < 500 * (len(error.problems) + 1)
        listing = tmp_path / "prepared.problems.txt"
        assert len(listing.read_text("utf-8").splitlines()) == len(error.problems)
        return
    event("taken")
    use(out)


# --- sound sets, spoilt as exporters and scripts do ------------------------------------------------------------------

# what becomes of left, top, width, height of a box, and of the image's width and height; what the error names
SPOILT_BOXES = {
    "corners": (lambda x, y, w, h, *_: [x, y, x + w, y + h], "left, top, right, bottom"),
    "corners, rows first": (lambda x, y, w, h, *_: [y, x, y + h, x + w], "top, left, bottom, right"),
    "centre": (lambda x, y, w, h, *_: [x + w / 2, y + h / 2, w, h], "x and y of the centre, width, height"),
    "exchanged": (lambda x, y, w, h, *_: [x, y, h, w], "x, y, height, width"),
    "0..1": (lambda x, y, w, h, iw, ih: [x / iw, y / ih, w / iw, h / ih], "normalised to 0..1"),
    "per cent": (lambda x, y, w, h, iw, ih: [100 * x / iw, 100 * y / ih, 100 * w / iw, 100 * h / ih], "in per cent"),
    "twice": (lambda x, y, w, h, *_: [2 * x, 2 * y, 2 * w, 2 * h], "in other units, about 2 times"),
}
SPOILT_AREAS = {
    "too much": lambda area, box, image: 1.02 * box + 2,
    "the image": lambda area, box, image: image,
    "one": lambda area, box, image: 1,
    "none": lambda area, box, image: 0.0,
    "a part": lambda area, box, image: area / image,
    "small": lambda area, box, image: area / 5,
}
SPOILT_NAMES = {
    "backslashes": lambda name: name.replace("/", "\\"),
    "URL": lambda name: f"http://localhost:8080/data/{name}",
    "~": lambda name: f"~/{name}",
    "missing": lambda name: f"elsewhere/{name}",
}


def sound(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a sound set of eight to sixteen oblong hexagons in images of 400 x 300 pixels."""
    value = tiny_coco.annotations(images=2)
    value["annotations"] = []
    for image in value["images"]:
        image |= {"width": 400, "height": 300}
    for key in range(draw(st.integers(8, 16))):
        width, height = draw(st.integers(40, 90)), draw(st.integers(15, 28))
        if draw(st.booleans()):
            width, height = height, width
        x, y = draw(st.integers(30, 390 - width)), draw(st.integers(30, 290 - height))
        cut = width / 4
        polygon = [x + cut, y, x + width - cut, y, x + width, y + height / 2]
        polygon += [x + width - cut, y + height, x + cut, y + height, x, y + height / 2]
        box = {"bbox": [x, y, width, height], "area": 0.75 * width * height, "segmentation": [polygon]}
        image = value["images"][key % 2]["id"]
        value["annotations"].append({"id": key + 1, "image_id": image, "category_id": 3, "iscrowd": 0, **box})
    return value


@settings(fuzz, max_examples=EXAMPLES or 60)
@given(st.data())
def test_a_spoilt_set_is_refused_for_what_it_is(data):
    value = sound(data.draw)
    objects = value["annotations"]
    assert check_annotations(value, file="set.json") == []
    kind = data.draw(one_of([*SPOILT_BOXES, *SPOILT_AREAS]))
    event(kind)
    some = objects if data.draw(st.booleans()) else objects[: data.draw(st.integers(1, len(objects)))]
    for annotation in some:
        box = annotation["bbox"]
        if kind in SPOILT_BOXES:
            annotation["bbox"] = SPOILT_BOXES[kind][0](*box, 400, 300)
        else:
            annotation["area"] = SPOILT_AREAS[kind](annotation["area"], box[2] * box[3], 400 * 300)
    problems = check_annotations(value, file="set.json")
    assert {problem.id for problem in problems} == {annotation["id"] for annotation in some}
    for problem in problems:
        assert "clip" not in problem.remedy
        assert ("bbox" in problem.reason) == (kind in SPOILT_BOXES)
    if kind in SPOILT_BOXES and len(some) == len(objects):
        assert sum(SPOILT_BOXES[kind][1] in problem.reason for problem in problems) > 0.5 * len(objects)


@settings(fuzz, max_examples=EXAMPLES or 40)
@given(st.data())
def test_spoilt_names_and_turned_pictures_are_named(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("turned")
    value = tiny_coco.annotations(images=data.draw(st.integers(1, 4)))
    (root / "sub").mkdir()
    expected = {}
    for image in value["images"]:
        exif = Image.Exif()
        orientation = exif[0x0112] = data.draw(st.integers(1, 8))
        Image.new("RGB", (image["width"], image["height"])).save(root / image["file_name"], exif=exif)
        if orientation >= 5:
            expected[image["id"]] = f"its EXIF orientation tag is {orientation}"
        if data.draw(st.booleans()):
            kind = data.draw(st.sampled_from(list(SPOILT_NAMES)))
            image["file_name"] = SPOILT_NAMES[kind](image["file_name"])
            expected[image["id"]] = "the file does not exist" + ("" if kind == "missing" else ": ")
            expected[image["id"]] += {"missing": "", "~": "~ is not"}.get(kind, f"the name {'is a' * (kind == 'URL')}")
    found = check_images(value, root, file="set.json", workers=1, description="checking")
    of_images = {problem.id: problem.reason for problem in found if problem.kind == "image"}
    assert of_images.keys() == expected.keys()
    assert all(reason in of_images[key] for key, reason in expected.items())
    missing = sum(reason == "the file does not exist" for reason in expected.values())
    assert (found[:1] != [] and found[0].kind == "folder") == (missing == len(value["images"]))
    if found:
        error = DataError(found, root / "problems.txt")
        assert len((root / "problems.txt").read_text("utf-8").splitlines()) == len(found) == len(error.problems)


# --- sound sets, spoilt in ways that repair knows; sound sets that deserve warnings -----------------------------------

Change = Callable[[st.DrawFn, dict[str, Any]], None]


def numbers_as_floats(draw: st.DrawFn, value: dict[str, Any]) -> None:
    entry = draw(one_of(value[draw(st.sampled_from(["images", "annotations", "categories"]))]))
    whole = [key for key in ("id", "image_id", "category_id", "iscrowd", "width", "height") if key in entry]
    for key in draw(st.lists(st.sampled_from(whole), min_size=1)):
        entry[key] = float(entry[key])


def short_contours(draw: st.DrawFn, value: dict[str, Any]) -> None:
    mask = draw(one_of(value["annotations"]))["segmentation"]
    x, y = mask[0][:2]
    for short in draw(st.lists(st.sampled_from([[], [x, y], [x + 1, y, x + 2, y]]), min_size=1, max_size=3)):
        mask.insert(draw(st.integers(0, len(mask))), short)


def a_pixel_outside(draw: st.DrawFn, value: dict[str, Any]) -> None:
    box = value["annotations"][0]["bbox"]  # `at_the_border` has put it there
    step = draw(st.sampled_from([0.25, 0.5, 1]))
    value["annotations"][0]["bbox"] = [-step, box[1], box[2] + step, box[3]]


def backslashes(draw: st.DrawFn, value: dict[str, Any]) -> None:
    image = draw(one_of(value["images"]))
    image["file_name"] = image["file_name"].replace("/", "\\")


def a_project_added(draw: st.DrawFn, value: dict[str, Any]) -> None:
    name = draw(one_of(value["categories"]))["name"]  # a name of its own would be no error
    for category in value["categories"]:
        category["supercategory"] = name
    value["categories"].insert(0, {"id": 0, "name": name, "supercategory": "none"})


def nothing_added(draw: st.DrawFn, value: dict[str, Any]) -> None:
    known = {"id": 1000 + len(value["annotations"]), "image_id": value["images"][0]["id"], "category_id": 3}
    x, y, length = draw(st.integers(0, 9)), draw(st.integers(0, 9)), draw(st.integers(1, 50))
    of_no_size = {"bbox": draw(st.sampled_from([[x, y, 0, length], [x, y, length, 0.0], [x, y, 0, 0]])), "area": 0}
    empty = {"bbox": draw(st.sampled_from([None, []])), "segmentation": draw(st.sampled_from([None, [], [[]]]))}
    entry = draw(st.sampled_from([None, {}, known, known | empty, known | of_no_size]))
    value["annotations"].insert(draw(st.integers(0, len(value["annotations"]))), entry)


# in this order: nothing changes what the last one adds
REPAIRABLE: list[Change] = [
    numbers_as_floats,
    short_contours,
    a_pixel_outside,
    backslashes,
    a_project_added,
    nothing_added,
]


def at_the_border(annotation: dict[str, Any]) -> None:
    """Move an object to the left border of its image."""
    x = annotation["bbox"][0]
    annotation["bbox"][0] = 0
    annotation["segmentation"] = [[v - x * (i % 2 == 0) for i, v in enumerate(annotation["segmentation"][0])]]


@settings(fuzz, max_examples=EXAMPLES or 25)
@given(st.data())
def test_a_set_spoilt_in_ways_that_repair_knows_becomes_the_sound_one(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("repaired")
    value = sound(data.draw)
    at_the_border(value["annotations"][0])
    value["annotations"][1]["category_id"] = 90  # a class without objects could be left out
    for number, image in enumerate(value["images"]):
        path = folder / "images" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (image["width"], image["height"]), number).save(path)
    nothing = SimpleNamespace(images=None, annotations="")

    def prepared(name: str, repair: bool) -> Path:
        files = [
            SimpleNamespace(images=str(folder / "images"), annotations=str(folder / f), fraction=None)
            for f in (name, "sound.json")
        ]
        section = {"source": "coco", "train": files[0], "val": files[1], "unlabeled": nothing, "test": nothing}
        with contextlib.redirect_stderr(io.StringIO()):  # progress
            prepare(SimpleNamespace(**section, repair=repair), 0, folder / "out", workers=1)
        return folder / "out"

    (folder / "sound.json").write_text(json.dumps(value))
    expected = json.loads((prepared("sound.json", data.draw(st.booleans())) / "train.json").read_text("utf-8"))
    chosen = data.draw(st.lists(st.sampled_from(REPAIRABLE), min_size=1, unique=True))
    for way in sorted(chosen, key=REPAIRABLE.index):
        event(way.__name__)
        way(data.draw, value)
    (folder / "spoilt.json").write_text(json.dumps(value))
    if chosen == [a_pixel_outside]:  # no error, because COCO has such boxes
        prepared("spoilt.json", repair=False)
    else:
        with pytest.raises(
            DataError, match=r"data\.repair: true in params\.yaml would repair (\d+) of the \1\)"
        ) as caught:
            prepared("spoilt.json", repair=False)
        assert all(problem.repairable and "spoilt.json" in problem.file for problem in caught.value.problems)
    out = prepared("spoilt.json", repair=True)
    assert json.loads((out / "train.json").read_text("utf-8")) == expected
    repairs = json.loads((out / "repairs.json").read_text("utf-8"))
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    assert len(repairs["train"]) == sum(summary["train"]["repairs"].values()) >= len(chosen)
    assert repairs["val"] == [] and (folder / "spoilt.json").read_text() == json.dumps(value)


@settings(fuzz, max_examples=EXAMPLES or 30)
@given(st.data())
def test_what_deserves_a_warning_has_one(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("warned")
    (folder / "sub").mkdir()
    values, summary = {}, {}
    for name in ("train", "val"):
        value = values[name] = sound(data.draw)
        crowds = data.draw(st.sampled_from([0, 0, 10, 60]))  # per cent
        classes = data.draw(st.sampled_from([[3], [90], [3, 90]]))
        for annotation in value["annotations"]:
            annotation["category_id"] = data.draw(st.sampled_from(classes))
            annotation["iscrowd"] = int(data.draw(st.integers(0, 99)) < crowds)
            annotation["area"] = data.draw(st.sampled_from([900.0, 5000.0, 9999.0]))
        value["annotations"][0]["iscrowd"] = 0
        for image in value["images"]:
            (folder / image["file_name"]).touch()
        summary[name] = summarise(clean(value, masks=True)[0], folder, flat=0, masks=True, off_masks={}, repairs={})
    summary["train"]["only_supercategories"] = []
    shared = data.draw(st.integers(0, 2))
    summary["val"]["shared_with_train"] = {"count": shared, "examples": ["a"] * shared}
    warnings = cautions(summary, check_params(PROFILES["smoke"]))

    def expect(words: str, condition: Any) -> None:
        assert any(words in warning for warning in warnings) == bool(condition), (words, warnings)

    single = {name: [a for a in value["annotations"] if not a["iscrowd"]] for name, value in values.items()}
    seen = {name: {a["category_id"] for a in objects} for name, objects in single.items()}
    expect("images of val are also in train", shared)
    expect("train has no object of", seen["val"] - seen["train"])
    expect("val has no object of", seen["train"] - seen["val"])
    expect("neither train nor val", {3, 90} - seen["train"] - seen["val"])
    for name, objects in single.items():
        expect(f"annotations of {name} are crowds", 2 * len(objects) < len(values[name]["annotations"]))
        for size, area in (("small", 900.0), ("medium", 5000.0), ("large", 9999.0)):
            empty = not any(a["area"] == area for a in objects)
            assert any(f"no {size}" in text and text.startswith(name) for text in warnings) == empty
    times = 4 / len({a["image_id"] for a in single["train"]})  # two iterations of two images
    expect(" see each of ", times < 10)
    expect(
        " see objects of ",
        min(times * sum(a["category_id"] == k for a in single["train"]) for k in seen["train"]) < 100,
    )


@settings(fuzz, max_examples=EXAMPLES or 30)
@given(st.data())
def test_images_that_two_splits_share_are_found(tmp_path_factory, data):
    """Under one path, a link, or another name for the same bytes."""
    folder = tmp_path_factory.mktemp("shared")
    sides: dict[str, list[Path]] = {"train": [], "val": []}
    contents = data.draw(st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"ba"]), min_size=1, max_size=6))
    for number, content in enumerate(contents):
        path = folder / f"{number}.png"
        path.write_bytes(content)
        for name, paths in sides.items():
            if data.draw(st.booleans()):
                link = folder / f"{name}{number}.png"
                link.symlink_to(path)
                paths.append(data.draw(st.sampled_from([path, link, folder / "." / path.name])))
    known = {path.read_bytes() for path in sides["train"]}
    expected = [place for place, path in enumerate(sides["val"]) if path.read_bytes() in known]
    assert shared_images(sides["train"], sides["val"]) == expected


# --- params.yaml ------------------------------------------------------------------------------------------------------

PROFILES = {name: composed(name) for name in ("smoke", "mini", "zoo")}


@st.composite
def parameters(draw: st.DrawFn) -> Any:
    return mutated(draw, PROFILES[draw(st.sampled_from(["smoke", "smoke", "mini", "zoo"]))])


def at_parse_time(params: Params, values: dict[str, Any]) -> None:
    """Use parameters as the Snakefile does before a job runs, and every stage when it begins."""
    lineage = Lineage(params)
    for kind in type(params.experiments).model_fields:
        for key in getattr(params.experiments, kind):
            node = lineage[f"{kind}/{key}"]
            assert re.fullmatch(r"[0-9a-f]{64}", node.params_hash)
            assert all(parent.experiment is not None for parent in node.parents)
            if kind in TRAINED:
                assert node.schedule.iterations > 0 and 0 <= node.seed < 2**32
            if kind in NETWORKS:
                architecture = Architecture.of(node, 3)
                assert (
                    Architecture.from_dict(json.loads(json.dumps(architecture.as_dict(), allow_nan=False)))
                    == architecture
                )
    json.dumps(values, sort_keys=True)  # of which the rules watch parts
    for part in values["experiments"].values():
        for key in part:
            assert re.fullmatch("[a-z][a-z0-9_]*", key) and len(key) <= 100


def numbers(value: Any, way: tuple = ()) -> list[tuple[tuple, Any]]:
    """Return the numbers and truth values of a tree with their paths."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [pair for key, item in inside for pair in numbers(item, (*way, key))]
    return [(way, value), *found] if isinstance(value, int | float) else found


SWITCHES = {"flip", "amp", "adversarial", "content", "freeze_interpolator", "multi_scale"}
SIGNED = {"pixel_mean"}


@fuzz
@given(parameters())
def test_parameters_are_fit_for_use_or_refused_by_name(values):
    try:
        params = check_params(values)
    except ValueError as error:
        event("refused")
        head, *lines = str(error).splitlines()
        assert head.startswith("params.yaml")
        if isinstance(values, dict):
            assert lines and all(line.startswith("  ") and ": " in line for line in lines), lines
            names = {*map(str, values), *map(repr, values), *Params.model_fields}
            assert all(line.strip().startswith(tuple(names)) for line in lines), lines
        return
    event("taken")
    at_parse_time(params, values)
    for way, number in numbers(values):
        if "options" in way:
            continue
        assert (math.isfinite(number) and abs(number) < 2**32) or isinstance(number, float), way
        assert number >= 0 or SIGNED & set(way), way
        assert isinstance(number, bool) == (way[-1] in SWITCHES), way


SCRAPS = [
    "<<: *a",
    "&a",
    "*a",
    "a: &a [*a]",
    "? [1]",
    "!!int x",
    "!!bool x",
    "!!python/object:os.system x",
    "---",
    "...",
    "%",
]
SCRAPS += [
    "2026-13-45",
    "!!timestamp x",
    "0b_",
    "!!int ''",
    "9" * 5000,
    "0x" + "f" * 5000,
    "[" * 800,
    "\t",
    "\0",
    "\ud800",
]
SCRAPS += [
    "seed: 1",
    "experiments: {}",
    "{seed: 1}",
    '"\\ud800"',
    "!!binary x",
    "!!set {a}",
    "1e-3",
    ".nan",
    "0o8",
    "1:30",
    "2",
    "0.5",
    "true",
    "adamw",
    "# x",
    "~",
]


@st.composite
def parameter_files(draw: st.DrawFn) -> bytes:
    lines = yaml.safe_dump(PROFILES["smoke"], sort_keys=False).splitlines()
    for _ in range(draw(st.integers(1, 2))):
        number = draw(st.integers(0, len(lines) - 1))
        scrap = draw(one_of(SCRAPS) | st.text(max_size=12))
        how = draw(st.sampled_from(["line", "value", "value", "value", "cut", "twice", "instead"]))
        if how == "line":
            lines.insert(number, " " * draw(st.integers(0, 4)) + scrap)
        elif how == "value":
            lines[number] = f"{lines[number].partition(':')[0]}: {scrap}"
        elif how == "cut":
            lines[number] = lines[number][: draw(st.integers(0, len(lines[number])))]
        elif how == "twice":
            lines.insert(number, lines[number])
        else:
            lines[number] = scrap
    text = "\n".join(lines)
    how = draw(
        st.sampled_from([*[("utf-8", "surrogatepass")] * 3, ("utf-16", "surrogatepass"), ("latin-1", "replace")])
    )
    return text.encode(*how)


@settings(fuzz, max_examples=EXAMPLES or 40)
@given(st.one_of(parameter_files(), parameter_files(), st.binary(max_size=40)))
def test_a_parameter_file_is_read_or_refused_by_name(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    try:
        params = load_params(path)
    except ValueError as error:
        event("refused")
        assert str(error).startswith(str(path))
        return
    event("taken")
    at_parse_time(params, yaml.safe_load(content))
