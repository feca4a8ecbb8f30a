"""Stage `prepare`: check a data set completely and write it in the form that every later stage reads."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from afigan.data.images import find_images
from afigan.data.parallel import available_cpus
from afigan.data.prepare.coco import check_annotations, check_same_categories, clean, has_masks, load_annotations
from afigan.data.prepare.entries import is_unicode
from afigan.data.prepare.fraction import divide, group_problems
from afigan.data.prepare.image_files import check_images, folder_problem, inspect_images
from afigan.data.prepare.problems import DataError, Problem
from afigan.data.prepare.shapes import write_shapes
from afigan.runtime.files import atomic_dir, write_json

# COCO's size classes: small below 32 x 32 square pixels, large above 96 x 96.
_SMALL, _LARGE = 32**2, 96**2
_CHUNK = 1000  # entries written at a time


@dataclass(frozen=True)
class _Split:
    name: str  # "train", "val", "unlabeled" or "test"
    file: str  # the file that problems name
    folder: Path  # where its images are now
    root: str  # where later stages find them
    annotations: Any


def prepare(data: Any, seed: int, out: Path, *, workers: int | None = None) -> None:
    """Write `out`/{train,val,unlabeled,test}.json and summary.json, completely or not at all.

    `data` is the section `data` of params.yaml. For `shapes` the images are drawn to `out`/images/SPLIT; for `coco`
    they are used in place. `workers` processes (default: all cores) decode every image once.

    Raises:
        DataError: the data set has problems; the complete list is then in `out`.problems.txt.
    """
    out, workers = Path(out), workers or available_cpus()
    listing = out.with_name(f"{out.name}.problems.txt")
    listing.unlink(missing_ok=True)
    with atomic_dir(out) as folder:
        problems: list[Problem] = []
        val: _Split | None
        if data.source == "shapes":
            train, val, unlabeled, test = _draw_shapes(data.shapes, seed, folder, out)
        else:
            train = _read_coco("train", data.train)
            val = None if data.val.fraction else _read_coco("val", data.val)
            unlabeled = _read_unlabeled(data.unlabeled.images, workers, problems)
            test = _read_test(data.test)
        problems += _check(train, val, test, workers)
        if val is None:
            train, val = _divide(train, data.val, problems)
        if problems:
            raise DataError(problems, listing)

        masks = has_masks(train.annotations)
        categories = train.annotations["categories"]
        summary = {}
        for split in (train, val, unlabeled, test):
            annotations, flat = clean({**split.annotations, "categories": categories}, masks=masks)
            info = {"source": data.source, "root": split.root, "masks": masks, "split": split.name}
            _write_split(folder / f"{split.name}.json", {"info": info, **annotations})
            counts = _summarise(annotations, split.folder)
            summary[split.name] = {**counts, "flat_objects_left_out": flat, "masks": masks}
        write_json(folder / "summary.json", summary)


def _draw_shapes(shapes: Any, seed: int, folder: Path, out: Path) -> Iterator[_Split]:
    counts = {name: getattr(shapes, name) for name in ("train", "val", "unlabeled", "test")}
    for name, annotations in write_shapes(folder, **counts, size=shapes.size, seed=seed).items():
        place = Path("images", name)
        yield _Split(
            name, f"shapes {name}" if counts[name] else "", folder / place, (out / place).as_posix(), annotations
        )


def _read_coco(name: str, source: Any) -> _Split:
    annotations = load_annotations(source.annotations)
    return _Split(name, str(source.annotations), Path(source.images), str(source.images), annotations)


def _divide(whole: _Split, source: Any, problems: list[Problem]) -> tuple[_Split, _Split]:
    """Return train and val, both `whole` if there are problems, to which those of the division are added."""
    if any(problem.kind == "file" for problem in problems):
        return whole, whole
    problems += group_problems(whole.annotations, source.group, file=whole.file)
    if problems:
        return whole, whole
    train, val, empty = divide(whole.annotations, source.fraction, source.group, file=whole.file)
    problems += empty
    return replace(whole, annotations=train), replace(whole, name="val", annotations=val)


def _read_unlabeled(images: Any, workers: int, problems: list[Problem]) -> _Split:
    """Read all image files under the folder `images` in sorted order, with ids from 1; none if there is no folder."""
    found: list[dict[str, Any]] = []
    folder = Path(images or "")
    if images:
        names, why = list[str](), ""
        try:
            names += find_images(folder)
        except OSError as error:
            why = f" ({error.filename}: {error.strerror})"
        sizes = inspect_images([folder / name for name in names], workers, "checking unlabeled images")
        for key, (name, size) in enumerate(zip(names, sizes, strict=True), start=1):
            if not is_unicode(name):
                size = "has a name that is not valid Unicode"
            if isinstance(size, str):
                problems.append(Problem(str(folder), "image", name, size, "restore or remove the file"))
            else:
                found.append({"id": key, "file_name": name, "width": size[0], "height": size[1]})
        if not names:
            reason = f"is not a folder with images in it{why}"
            problems.append(folder_problem(folder, reason, "correct data.unlabeled.images"))
    root = str(images) if images else ""
    return _Split("unlabeled", root, folder, root, {"images": found, "annotations": []})


def _read_test(source: Any) -> _Split:
    """Read the challenge's images: COCO's image_info file has no annotations, and another file's are not used."""
    if source is None or source.images is None:
        return _Split("test", "", Path(), "", {"images": [], "annotations": []})
    split = _read_coco("test", source)
    if isinstance(split.annotations, dict):
        split.annotations["annotations"] = []
    return split


def _check(train: _Split, val: _Split | None, test: _Split, workers: int) -> list[Problem]:
    """Return the problems of all splits, and those of val and test that do not fit train. `val`: None is in train."""
    problems = check_annotations(train.annotations, file=train.file)
    legible = not any(problem.kind == "file" for problem in problems)
    masks = has_masks(train.annotations) if legible else None  # train decides, and val must agree
    checked = [train]
    if val is not None:
        checked.append(val)
        problems += check_annotations(val.annotations, file=val.file, masks=masks)
        if not any(problem.kind in ("file", "category") for problem in problems):
            problems += check_same_categories(train.annotations, val.annotations, file=val.file)
    if test.file:
        checked.append(test)
        problems += check_annotations(test.annotations, file=test.file, masks=False, labelled=False)
        if not any(problem.kind in ("file", "category") for problem in problems):
            problems += check_same_categories(train.annotations, test.annotations, file=test.file)
    for split in checked:
        problems += check_images(
            split.annotations,
            split.folder,
            file=split.file,
            workers=workers,
            description=f"checking {split.name} images",
        )
    return problems


def _write_split(path: Path, value: dict[str, Any]) -> None:
    """Write what `write_json` writes without indent, some entries at a time: COCO's are half a gigabyte of text."""
    with path.open("w", encoding="utf-8") as file:
        for number, (name, section) in enumerate(value.items()):
            file.write((", " if number else "{") + f"{json.dumps(name)}: ")
            if not isinstance(section, list):
                file.write(_text(section))
                continue
            for start in range(0, len(section), _CHUNK):
                file.write((", " if start else "[") + _text(section[start : start + _CHUNK])[1:-1])
            file.write("]" if section else "[]")
        file.write("}\n")


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _summarise(annotations: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the counts of a cleaned split; the size classes count single objects, by area in square pixels."""
    objects = [a for a in annotations["annotations"] if not a["iscrowd"]]
    names = {category["id"]: category["name"] for category in annotations["categories"]}
    per_category = Counter(names[a["category_id"]] for a in annotations["annotations"])
    small, large = (sum(test(a["area"]) for a in objects) for test in ((lambda x: x < _SMALL), (lambda x: x > _LARGE)))
    occupied = {a["image_id"] for a in annotations["annotations"]}
    return {
        "images": len(annotations["images"]),
        "annotations": len(annotations["annotations"]),
        "categories": {name: per_category[name] for name in names.values()},
        "sizes": {"small": small, "medium": len(objects) - small - large, "large": large},
        "crowds": len(annotations["annotations"]) - len(objects),
        "images_without_objects": len(annotations["images"]) - len(occupied),
        "bytes": sum((folder / image["file_name"]).stat().st_size for image in annotations["images"]),
    }
