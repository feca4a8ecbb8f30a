"""Stage `prepare`: check a data set completely and write it in the form that every later stage reads."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from afigan.data.images import find_images
from afigan.data.parallel import available_cpus
from afigan.data.prepare.coco import check_annotations, check_same_categories, clean, has_masks, load_annotations
from afigan.data.prepare.entries import by_id, is_unicode
from afigan.data.prepare.findings import EXAMPLES, summarise
from afigan.data.prepare.fraction import divide, group_problems
from afigan.data.prepare.image_files import check_images, folder_problem, inspect_images
from afigan.data.prepare.problems import DataError, Problem
from afigan.data.prepare.repair import Repair, Source, marked, only_supercategories, repaired
from afigan.data.prepare.repair_entries import BACKSLASHES
from afigan.data.prepare.shapes import write_shapes
from afigan.data.prepare.shared_images import shared_images
from afigan.params.masks import WITHOUT_MASKS, heads_with_masks
from afigan.params.schema import Params
from afigan.runtime.files import atomic_dir, write_json

_CHUNK = 1000  # entries written at a time


@dataclass(frozen=True)
class _Split:
    name: str  # "train", "val", "unlabeled" or "test"
    file: str  # the file that problems name
    folder: Path  # where its images are now
    root: str  # where later stages find them
    annotations: Any


def prepare(
    data: Any, seed: int, out: Path, *, workers: int | None = None, params: Params | None = None
) -> dict[str, dict[str, Any]]:
    """Write `out`/{train,val,unlabeled,test}.json and summary.json, completely or not at all; return the summary.

    `data` is the section `data` of params.yaml. For `shapes` the images are drawn to `out`/images/SPLIT; for `coco`
    they are used in place. `workers` processes (default: all cores) decode every image once. With `data.repair` there
    is `out`/repairs.json too. `params`: the complete parameters; a data set without masks is then refused if a
    detection head needs them.

    Raises:
        DataError: the data set has problems; the complete list is then in `out`.problems.txt.
    """
    out, workers = Path(out), workers or available_cpus()
    listing = out.with_name(f"{out.name}.problems.txt")
    listing.unlink(missing_ok=True)
    with atomic_dir(out) as folder:
        problems: list[Problem] = []
        repairs: dict[str, list[Repair]] = {}
        if data.source == "shapes":
            train, val, unlabeled, test = _draw_shapes(data.shapes, seed, folder, out)
        else:
            train = _read_coco("train", data.train)
            val = _nothing("val") if data.val.fraction else _read_coco("val", data.val)  # divided off when checked
            unlabeled = _read_unlabeled(data.unlabeled.images, workers, problems)
            test = _read_test(data.test)
            if data.repair:
                (train, val, test), repairs = _repaired((train, val, test))
        mild: dict[str, dict[int, float]] = {}
        found, of_images = _check(train, val, test, mild), _check_images((train, val, test), workers)
        if (found or of_images) and data.source == "coco" and not data.repair:
            found, of_images = _marked(found, of_images, (train, val, test), workers)
        problems = [*problems, *found, *of_images, *_check_heads(train, params)]
        if data.source == "coco" and data.val.fraction:
            train, val = _divide(train, data.val, problems)
            mild["val"] = mild["train"]
        if problems:
            raise DataError(problems, listing)

        masks = has_masks(train.annotations)
        categories = train.annotations["categories"]
        summary = {}
        for split in (train, val, unlabeled, test):
            annotations, flat = clean({**split.annotations, "categories": categories}, masks=masks)
            info = {"source": data.source, "root": split.root, "masks": masks, "split": split.name}
            _write_split(folder / f"{split.name}.json", {"info": info, **annotations})
            summary[split.name] = summarise(
                annotations,
                split.folder,
                flat=flat,
                masks=masks,
                off_masks=_of(split.annotations, mild.get(split.name, {})),
                repairs=Counter(repair.repair for repair in repairs.get(split.name, [])),
            )
        summary["train"]["only_supercategories"] = _only_supercategories(train, val)
        summary["val"]["shared_with_train"] = _shared(train, val)
        summary["val"]["shared_with_unlabeled"] = _shared(unlabeled, val)
        write_json(folder / "summary.json", summary)
        if data.source == "coco" and data.repair:
            write_json(folder / "repairs.json", {name: [*map(asdict, found)] for name, found in repairs.items()})
    return summary


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


def _nothing(name: str) -> _Split:
    return _Split(name, "", Path(), "", {"images": [], "annotations": []})


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
        return _nothing("test")
    split = _read_coco("test", source)
    if isinstance(split.annotations, dict):
        split.annotations["annotations"] = []
    return split


def _check(train: _Split, val: _Split, test: _Split, mild: dict[str, dict[int, float]] | None = None) -> list[Problem]:
    """Return the problems of all annotations, and those of val and test that do not fit train; not those of images.

    `mild` gets for train and val what `check_annotations` adds to its own.
    """
    mild = {} if mild is None else mild
    problems = check_annotations(train.annotations, file=train.file, mild=mild.setdefault("train", {}))
    legible = not any(problem.kind == "file" for problem in problems)
    masks = has_masks(train.annotations) if legible else None  # train decides, and val must agree
    if val.file:
        problems += check_annotations(val.annotations, file=val.file, masks=masks, mild=mild.setdefault("val", {}))
        if not any(problem.kind in ("file", "category") for problem in problems):
            problems += check_same_categories(train.annotations, val.annotations, file=val.file)
    if test.file:
        problems += check_annotations(test.annotations, file=test.file, masks=False, labelled=False)
        if not any(problem.kind in ("file", "category") for problem in problems):
            problems += check_same_categories(train.annotations, test.annotations, file=test.file)
    return problems


def _check_images(splits: Sequence[_Split], workers: int) -> list[Problem]:
    problems = []
    for split in splits:
        if split.file:
            problems += check_images(
                split.annotations,
                split.folder,
                file=split.file,
                workers=workers,
                description=f"checking {split.name} images",
            )
    return problems


def _check_heads(train: _Split, params: Params | None) -> list[Problem]:
    """Return the problem of a data set without masks of which a detection head is to learn masks."""
    annotations = train.annotations
    if params is None or not isinstance(annotations, dict) or not isinstance(annotations.get("annotations"), list):
        return []
    heads = heads_with_masks(params)
    if not heads or not annotations["annotations"] or has_masks(annotations):
        return []
    name, head = next(iter(heads.items()))
    others = f"; {len(heads) - 1} other experiments have such a head" if len(heads) > 1 else ""
    reason = f"has only boxes, but {head}, the head of {name}, needs masks{others}"
    return [Problem(train.file, "file", None, reason, WITHOUT_MASKS)]


def _repaired(splits: Sequence[_Split]) -> tuple[list[_Split], dict[str, list[Repair]]]:
    values, repairs = repaired([Source(split.file, split.folder, split.annotations) for split in splits])
    mended = [replace(split, annotations=value) for split, value in zip(splits, values, strict=True)]
    return mended, {split.name: found for split, found in zip(splits, repairs, strict=True)}


def _marked(
    found: list[Problem], of_images: list[Problem], splits: Sequence[_Split], workers: int
) -> tuple[list[Problem], list[Problem]]:
    """Return the problems, each with whether `data.repair` would end it: repair what it would, and check again."""
    mended, repairs = _repaired(splits)
    if not any(repairs.values()):
        return found, of_images
    left = list[Problem]()  # of images; only those of a repaired name are decoded again
    for split in mended:
        renamed = {repair.id for repair in repairs[split.name] if repair.repair == BACKSLASHES}
        left += [problem for problem in of_images if problem.file == split.file and problem.id not in renamed]
        if renamed:
            images = [
                image for key, image in by_id(split.annotations["images"], "image", "", []).items() if key in renamed
            ]
            left += _check_images([replace(split, annotations={"images": images})], workers)
    return marked(found, _check(mended[0], mended[1], mended[2])), marked(of_images, left)


def _of(annotations: dict[str, Any], mild: dict[int, float]) -> dict[int, float]:
    """Return the part of `mild` that is about a file's annotations, by the file's ids: it may have been divided."""
    return {a["id"]: mild[a["id"]] for a in annotations["annotations"] if a["id"] in mild} if mild else {}


def _only_supercategories(train: _Split, val: _Split) -> list[str]:
    """Return the names of classes without annotations that other classes name as their supercategory."""
    annotated = {entry["category_id"] for split in (train, val) for entry in split.annotations["annotations"]}
    return [entry["name"] for entry in only_supercategories(train.annotations["categories"], annotated)]


def _shared(other: _Split, val: _Split) -> dict[str, Any]:
    """Return the number of val's images that are also in another split, and the names of some."""
    names = [image["file_name"] for image in val.annotations["images"]]
    paths = ([split.folder / image["file_name"] for image in split.annotations["images"]] for split in (other, val))
    shared = shared_images(*paths)
    return {"count": len(shared), "examples": [names[position] for position in shared[:EXAMPLES]]}


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
