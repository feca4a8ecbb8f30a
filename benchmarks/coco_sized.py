"""Write a synthetic data set of COCO 2017's size and layout: real counts and text, pictures as small as you like.

    python benchmarks/coco_sized.py /data/synthetic && ln -s /data/synthetic datasets/coco    # PROFILE=paper finds it
    python benchmarks/coco_sized.py /data/synthetic --scale 5    # pictures of COCO's pixels and bytes

The distributions are those of 1389 annotations of the true train2017 and val2017: 80 classes with gaps in their ids,
7.3 objects an image on average and half of the images with fewer than 5, polygons of 44 numbers on average (their
logarithm is normal), 1.3 % crowds as run lengths, 1 % of images without an object, annotations in no order. train's
json has 443 MB (COCO's: 470 MB). Pictures are of about 128 x 96 pixels times `scale`, noise on a ramp; 256 files, all
others are hard links to them. At a scale of 5 a file has 152 kB on average; those of COCO's train2017 have 160 kB.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from afigan.runtime.files import atomic_dir

SIZES = ((128, 96), (96, 128), (128, 128), (112, 84))  # width, height
DISTINCT = 256  # pictures; a file system allows 65000 links to one
GAPS = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))  # category ids that COCO leaves out
CATEGORIES = [{"supercategory": "thing", "id": n, "name": f"class {n}"} for n in range(1, 91) if n not in GAPS]
TRAIN = (118_000, 860_000)  # images, annotations
VAL = (5_000, 36_500)
LAST_ID = 581_929  # of COCO's images
CHUNK = 10_000  # annotations written at once


def write_set(out: Path, *, images: int = TRAIN[0], objects: int = TRAIN[1], scale: int = 1, seed: int = 0) -> None:
    """Write `out`/{train,val,unlabeled,test}2017 and `out`/annotations; `images` and `objects` are train's."""
    rng = np.random.default_rng(seed)
    (out / "annotations").mkdir(parents=True)
    pictures = write_pictures(out / "pictures", min(DISTINCT, images), scale, rng)
    sizes = {
        "train": (images, objects),
        "val": (min(images, VAL[0]), min(objects, VAL[1])),
        "unlabeled": (min(images, 1000), 0),
        "test": (min(images, 1000), 0),
    }
    names = {"train": "instances_train2017", "val": "instances_val2017", "test": "image_info_test-dev2017"}
    for split, (count, annotations) in sizes.items():
        entries = link_images(out / f"{split}2017", pictures, count, rng)
        if split in names:
            write_annotations(out / "annotations" / f"{names[split]}.json", entries, annotations, rng)


def write_pictures(folder: Path, count: int, scale: int, rng: np.random.Generator) -> list[tuple[Path, int, int]]:
    """Write JPEG files; return them with their width and height."""
    folder.mkdir()
    pictures = []
    for number in range(count):
        width, height = (side * scale for side in SIZES[number % len(SIZES)])
        ramp = np.linspace(0, 200, width)[None, :, None] + rng.normal(25, 9, (height, width, 3))
        path = folder / f"{number}.jpg"
        Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(path, quality=95)
        pictures.append((path, width, height))
    return pictures


def link_images(
    folder: Path, pictures: list[tuple[Path, int, int]], count: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return COCO's image entries, ids with gaps; each file is a hard link to one of the pictures."""
    folder.mkdir()
    ids = np.sort(rng.choice(LAST_ID, count, replace=False)) + 1
    entries = []
    for key, choice in zip(ids.tolist(), rng.integers(len(pictures), size=count).tolist(), strict=True):
        picture, width, height = pictures[choice]
        name = f"{key:012d}.jpg"
        os.link(picture, folder / name)
        entries.append(
            {
                "license": 1 + key % 8,
                "file_name": name,
                "coco_url": f"http://images.cocodataset.org/{folder.name}/{name}",
                "height": height,
                "width": width,
                "date_captured": "2013-11-14 11:18:45",
                "flickr_url": f"http://farm1.staticflickr.com/{key % 9999}/{key * 7919}_5d2dd0ee1f_z.jpg",
                "id": key,
            }
        )
    return entries


def write_annotations(path: Path, images: list[dict[str, Any]], objects: int, rng: np.random.Generator) -> None:
    """Write COCO's instances file; without objects, its image_info file."""
    head = {"info": {"description": "synthetic, of COCO's size"}, "licenses": [], "categories": CATEGORIES}
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({**head, "images": images})[:-1])
        if objects:
            occupied = rng.permutation(len(images))[: max(1, round(0.99 * len(images)))]
            share = rng.lognormal(0.0, 0.95, len(occupied))
            others = rng.choice(occupied, objects - len(occupied), p=share / share.sum())
            owners = rng.permutation(np.concatenate([occupied, others]))
            classes = np.arange(1, len(CATEGORIES) + 1) ** -0.8  # a third of COCO's objects are persons
            kinds = rng.choice(len(CATEGORIES), objects, p=classes / classes.sum())
            ids = (np.sort(rng.choice(2_300_000, objects, replace=False)) + 1).tolist()
            file.write(', "annotations": [')
            for start in range(0, objects, CHUNK):
                part = slice(start, start + CHUNK)
                chunk = draw([images[n] for n in owners[part]], kinds[part], ids[part], rng)
                file.write((", " if start else "") + json.dumps(chunk)[1:-1])
            file.write("]")
        file.write("}\n")


def draw(
    images: list[dict[str, Any]], kinds: np.ndarray, ids: list[int], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Draw one annotation for each of `images`: star-shaped polygons, every eighth in two parts; crowds as runs."""
    count = len(images)
    size = np.array([(image["width"], image["height"]) for image in images], dtype=float)
    extent = np.exp(rng.uniform(np.log(0.03), np.log(0.5), (count, 2))) * size  # half the width and the height
    centre = rng.uniform(0.1, 0.9, (count, 2)) * size
    corners = np.clip(np.exp(rng.normal(3.57, 0.7, count)) / 2, 3, 400).astype(int)
    starts = np.concatenate([[0], np.cumsum(corners)])
    of = np.repeat(np.arange(count), corners)
    angles = 2 * np.pi * (np.arange(len(of)) - starts[of] + rng.uniform(0, 0.9, len(of))) / corners[of]
    points = centre[of] + rng.uniform(0.7, 1, len(of))[:, None] * extent[of] * np.stack(
        [np.cos(angles), np.sin(angles)], axis=1
    )
    points = np.clip(points, 0, size[of]).round(2)
    low, high = (function.reduceat(points, starts[:-1]) for function in (np.minimum, np.maximum))
    annotations = []
    for n, image in enumerate(images):
        width, height = (high[n] - low[n]).round(2).tolist()
        item: dict[str, Any] = {"area": width * height * 0.7, "iscrowd": 0, "image_id": image["id"]}
        item |= {"bbox": [*low[n].tolist(), max(width, 0.01), max(height, 0.01)]}
        item |= {"category_id": CATEGORIES[kinds[n]]["id"], "id": ids[n]}
        shape = points[starts[n] : starts[n + 1]]
        if ids[n] % 79 == 0:
            item |= {"iscrowd": 1, "id": 900_100_000_000 + ids[n], **crowd(image, rng)}
        else:
            cut = len(shape) // 2 if ids[n] % 8 == 0 and len(shape) >= 6 else len(shape)
            item["segmentation"] = [part.ravel().tolist() for part in (shape[:cut], shape[cut:]) if len(part)]
        annotations.append(item)
    return annotations


def crowd(image: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Draw a mask as uncompressed run lengths, column by column, with its box and its area."""
    height, pixels = image["height"], image["height"] * image["width"]
    ends = np.sort(rng.choice(pixels - 1, 2 * int(rng.integers(50, 500)), replace=False)) + 1
    counts = np.diff([0, *ends, pixels]).tolist()
    left, right = int(ends[0]) // height, (int(ends[-1]) - 1) // height
    return {
        "segmentation": {"size": [height, image["width"]], "counts": counts},
        "bbox": [float(left), 0.0, float(right - left + 1), float(height)],
        "area": float(sum(counts[1::2])),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--images", type=int, default=TRAIN[0], help="images of train2017 (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=TRAIN[1], help="objects of train2017 (default: %(default)s)")
    parser.add_argument("--scale", type=int, default=1, help="of the pictures' sides; 5: COCO's (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} is there already: remove it, or give another folder")
    with atomic_dir(arguments.out) as unfinished:
        write_set(unfinished, images=arguments.images, objects=arguments.objects, scale=arguments.scale)
