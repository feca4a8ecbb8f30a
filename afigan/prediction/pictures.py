"""Detections in files and folders of images: pictures with the objects drawn, and COCO results."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from afigan.data.images import find_images, inspect_image, read_rgb
from afigan.detectors.build import Detector
from afigan.evaluation.predict import coco_results
from afigan.prediction.detector import metadata_of, predict
from afigan.prediction.drawing import draw, side_by_side
from afigan.runtime.files import atomic_path, write_json

KEPT = (".jpg", ".jpeg", ".png")  # suffixes that a picture keeps; another image becomes NAME.SUFFIX.png
SHOWN = 10  # problems in one message
RESULTS, COMPARED, IMAGES = "results.json", "compare.json", "images.json"


@dataclass(frozen=True)
class Found:
    """The numbers of images and of detections, of one detector or of two."""

    images: int
    objects: tuple[int, ...]


def find_pictures(given: Sequence[str | Path], out: Path | None = None) -> dict[str, Path]:
    """Return {name of the picture to draw: path of an image}.

    Args:
        given: images, folders, whose images are taken with those in their subfolders, and patterns like `*.jpg`.
        out: the folder of earlier pictures; they are left out where a folder or a pattern has other images too.

    Raises:
        ValueError: something is not there, two images would have one name, or one is no sound image.
    """
    found: dict[str, Path] = {}
    for item in given:
        for path, name in _expand(item, out):
            kept = name if Path(name).suffix.lower() in KEPT else f"{name}.png"
            other = found.setdefault(kept, path)
            if not other.samefile(path):
                raise ValueError(f"{other} and {path} would both become {kept}: predict them in two calls")
    problems = []
    for path in found.values():
        try:
            str(path).encode("utf-8")
            inspect_image(path)
        except UnicodeEncodeError:
            readable = os.fsencode(path).decode("utf-8", "backslashreplace")
            problems.append(f"{readable} has a name that is not UTF-8, as JSON files are: rename it")
        except ValueError as reason:
            problems.append(f"{path} {reason}")
    if problems:
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError("these are not images that can be read:\n  " + "\n  ".join(problems[:SHOWN]) + more)
    return found


def _expand(item: str | Path, out: Path | None) -> list[tuple[Path, str]]:
    path = Path(item)
    if path.is_dir():
        names = list(find_images(path))
        if not names:
            raise ValueError(f"{path} has no images")
        return _without_earlier([(path / name, name) for name in names], out)
    if path.exists():
        return [(path, path.name)]
    matching = sorted(Path(name) for name in glob.glob(str(item), recursive=True) if Path(name).is_file())
    if not matching:
        raise ValueError(f"{item} does not exist: give images, folders, or patterns such as 'photos/*.jpg'")
    return _without_earlier([(name, name.name) for name in matching], out)


def _without_earlier(images: list[tuple[Path, str]], out: Path | None) -> list[tuple[Path, str]]:
    if out is None:
        return images
    others = [(path, name) for path, name in images if out.resolve() not in path.resolve().parents]
    return others or images


def predict_pictures(
    model: Detector, given: Sequence[str | Path], out: Path, score: float = 0.5, compare: Detector | None = None
) -> Found:
    """Write pictures with detections, and `results.json` and `images.json`, to a folder.

    `results.json` has COCO results. `images.json` is the COCO data set that their image and category ids belong to,
    without annotations. With `compare` a picture shows both detectors, and `compare.json` has the other one's results.

    Args:
        model: from `load_detector`.
        given: as in `find_pictures`.
        out: the folder. Its other files stay; JSON files of an earlier call go when this one begins.
        score: the least score of a detection.
        compare: another detector, from `load_detector` too.

    Raises:
        ValueError: an image cannot be used, the score is not from 0 to 1, the classes of the two detectors differ, or a
            picture would overwrite an image.
    """
    if not 0 <= score <= 1:
        raise ValueError(f"score: {score:g} is not from 0 to 1")
    detectors = [model] if compare is None else [model, compare]
    about = [metadata_of(detector) for detector in detectors]
    if (about[0].classes, about[0].category_ids) != (about[-1].classes, about[-1].category_ids):
        raise ValueError(
            f"{about[0].node} detects {', '.join(about[0].classes)}, and {about[1].node} detects "
            f"{', '.join(about[1].classes)}: compare detectors of the same classes"
        )
    pictures = find_pictures(given, out)
    for name, path in pictures.items():
        if (out / name).exists() and (out / name).samefile(path):
            raise ValueError(f"{path} would be overwritten: choose another folder than {out}")
    for file in (RESULTS, COMPARED, IMAGES):  # their numbers of images are those of the earlier call
        (out / file).unlink(missing_ok=True)
    results: list[list[dict]] = [[] for _ in detectors]
    images = []
    for number, (name, path) in enumerate(tqdm(pictures.items(), desc="predict", disable=None), start=1):
        image = read_rgb(path)
        images.append({"id": number, "file_name": str(path), "height": image.height, "width": image.width})
        drawn: list[tuple[str, Image.Image]] = []
        for detector, metadata, found in zip(detectors, about, results, strict=True):
            instances = predict(detector, image, score)
            found += coco_results(instances, number, metadata.category_ids)
            drawn.append((f"{metadata.node}: {len(instances)} objects", draw(image, instances, metadata.classes)))
        with atomic_path(out / name) as temporary:
            (drawn[0][1] if compare is None else side_by_side(drawn)).save(temporary, quality=92)
    categories = [
        {"id": number, "name": name} for number, name in zip(about[0].category_ids, about[0].classes, strict=True)
    ]
    write_json(out / IMAGES, {"images": images, "annotations": [], "categories": categories}, indent=None)
    for file, found in zip((RESULTS, COMPARED), results, strict=False):
        write_json(out / file, found, indent=None)
    return Found(len(images), tuple(map(len, results)))
