"""The findings of `prepare` on each split: counts, sizes and classes, in summary.json and as a table to read."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from afigan.runtime.messages import shown

# COCO's size classes: small below 32 x 32 square pixels, large above 96 x 96.
_SMALL, _LARGE = 32**2, 96**2
SIZES = {
    "small": "below 32x32 square pixels",
    "medium": "from 32x32 to 96x96 square pixels",
    "large": "above 96x96 square pixels",
}
EXAMPLES = 5  # images or annotations that are named
_LONGEST = 40  # characters of a class name in the table

Finding = Mapping[str, Any]  # the value of `summarise`
Summary = Mapping[str, Finding]  # split -> its findings


def summarise(
    annotations: dict[str, Any],
    folder: Path,
    *,
    flat: int,
    masks: bool,
    off_masks: Mapping[int, float],
    repairs: Mapping[str, int],
) -> dict[str, Any]:
    """Return the findings on one cleaned split.

    The size classes and `objects…` count single objects, sizes by area in square pixels; `annotations` and `categories`
    count crowds too.

    Args:
        annotations: the value of `clean`.
        folder: where the images are.
        flat: the number of flat objects that were left out.
        masks: whether annotations have masks.
        off_masks: annotation id -> pixels by which its box differs from its mask, see `check_annotations`.
        repairs: kind of repair -> count.
    """
    everything = annotations["annotations"]
    objects = [a for a in everything if not a["iscrowd"]]
    names = {category["id"]: category["name"] for category in annotations["categories"]}
    per_category = Counter(names[a["category_id"]] for a in everything)
    per_class = Counter(names[a["category_id"]] for a in objects)
    small, large = (sum(test(a["area"]) for a in objects) for test in ((lambda x: x < _SMALL), (lambda x: x > _LARGE)))
    occupied = {a["image_id"] for a in everything}
    return {
        "images": len(annotations["images"]),
        "annotations": len(everything),
        "categories": {name: per_category[name] for name in names.values()},
        "sizes": {"small": small, "medium": len(objects) - small - large, "large": large},
        "crowds": len(everything) - len(objects),
        "images_without_objects": len(annotations["images"]) - len(occupied),
        "bytes": sum((folder / image["file_name"]).stat().st_size for image in annotations["images"]),
        "flat_objects_left_out": flat,
        "masks": masks,
        "objects": len(objects),
        "objects_per_class": {name: per_class[name] for name in names.values()},
        "images_with_objects": len({a["image_id"] for a in objects}),
        "image_sizes": _image_sizes(annotations["images"]),
        "boxes_off_masks": {
            "count": len(off_masks),
            "pixels": round(max(off_masks.values(), default=0.0), 2),
            "examples": sorted(off_masks)[:EXAMPLES],
        },
        "repairs": dict(repairs),
    }


def table(summary: Summary, longest: int | None = None) -> dict[str, list[str]]:
    """Return a table to read: heading -> cells. Its first column names the rows, the others are the splits with images.

    Rows of problems that no split has are left out.

    Args:
        summary: split -> the value of `summarise`.
        longest: the most classes that are listed, half of them the most frequent, half the rarest; None: all.
    """
    splits = {name: found for name, found in summary.items() if found["images"]}
    rows = [row for row in _facts(splits) if row[0] in _ALWAYS or any(cell not in ("", "0") for cell in row[1:])]
    rows += _classes(splits, longest)
    return dict(zip(("", *splits), map(list, zip(*rows, strict=True)), strict=True))


_ALWAYS = ("objects", *(f"{size}, {meaning}" for size, meaning in SIZES.items()))


def _facts(splits: Summary) -> list[list[str]]:
    """Return rows of a name and a cell for each split; the cell of a split without annotations may be empty."""

    def row(name: str, value: Callable[[Finding], Any], *, annotated: bool = True) -> list[str]:
        cells = ["" if annotated and not found["annotations"] else value(found) for found in splits.values()]
        return [name, *(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells)]

    def size(name: str) -> list[str]:
        return row(f"{name}, {SIZES[name]}", lambda found: found["sizes"][name])

    def repair(kind: str) -> list[str]:
        return row(f"repaired: {kind}", lambda found: found["repairs"].get(kind, 0), annotated=False)

    return [
        row("images", lambda found: found["images"], annotated=False),
        row("pixels of an image", lambda found: _size_text(found["image_sizes"]), annotated=False),
        row("images without objects", lambda found: found["images"] - found["images_with_objects"]),
        row("images that are also in train", lambda found: found.get("shared_with_train", {}).get("count", "")),
        row("annotated with", lambda found: "masks and boxes" if found["masks"] else "boxes only"),
        row("objects", lambda found: found["objects"]),
        *map(size, SIZES),
        row("crowds, left out", lambda found: found["crowds"]),
        row("flat objects, left out", lambda found: found["flat_objects_left_out"]),
        row("boxes off their masks by more than a pixel", lambda found: found["boxes_off_masks"]["count"]),
        *map(repair, dict.fromkeys(kind for found in splits.values() for kind in found["repairs"])),
        row("classes", _classes_text),
    ]


def _classes(splits: Summary, longest: int | None) -> list[list[str]]:
    """Return a row for each class with its counts of objects, `none` for 0; the most frequent in train first."""
    classes = list(next(iter(splits.values()))["objects_per_class"])
    counts = {name: [found["objects_per_class"].get(name, 0) for found in splits.values()] for name in classes}
    annotated = [bool(found["annotations"]) for found in splits.values()]
    rows = []
    for name in sorted(classes, key=lambda name: [-count for count in counts[name]]):
        cells = zip(counts[name], annotated, strict=True)
        rows.append([f"class {_label(name)}", *("" if not there else f"{n:,}" if n else "none" for n, there in cells)])
    if longest is not None and len(rows) > longest:
        most, rarest = rows[: longest // 2], rows[-(longest // 2) :]
        rows = [*most, [f"… {len(rows) - 2 * len(most)} classes between", *[""] * len(splits)], *rarest]
    return rows


def _classes_text(found: Finding) -> str:
    counts = found["objects_per_class"].values()
    without = sum(count == 0 for count in counts)
    return f"{len(counts):,}" + (f", {without:,} without objects" if without else "")


def _label(name: str) -> str:
    """Return a class name that fits into a cell and on a terminal."""
    name = name if name.isprintable() and name.strip() == name else shown(name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _image_sizes(images: list[dict[str, Any]]) -> dict[str, list[float]] | None:
    """Return width and height, in pixels, of the smallest and the largest image by area, and the median of each."""
    if not images:
        return None
    sizes = np.array([(image["width"], image["height"]) for image in images], dtype=np.int64)
    order = np.lexsort((sizes[:, 1], sizes[:, 0], sizes.prod(axis=1)))
    found = {"smallest": sizes[order[0]], "median": np.median(sizes, axis=0), "largest": sizes[order[-1]]}
    return {name: size.tolist() for name, size in found.items()}


def _size_text(sizes: Mapping[str, list[float]]) -> str:
    smallest, median, largest = ("x".join(f"{side:.0f}" for side in size) for size in sizes.values())
    return smallest if smallest == largest == median else f"{smallest} to {largest}, median {median}"
