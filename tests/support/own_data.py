"""A user's own data set in the working directory: rectangles in photographs of noise, and params.yaml of `smoke`."""

import contextlib
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from composed import composed, put
from PIL import Image

from afigan.data.prepare.cautions import cautions
from afigan.data.prepare.problems import DataError
from afigan.data.prepare.stage import prepare
from afigan.params.loading import check_params
from afigan.params.schema import Params

SMOKE = composed("smoke")
PREPARED = Path("data/prepared")
SIDES = ((20, 24), (24, 20), (14, 30), (40, 16))  # width and height of the objects, in pixels


def rectangles(split: str, images: int, width: int = 96, height: int = 64) -> dict[str, Any]:
    """Return a sound set with two objects an image, of two classes in turn."""
    value: dict[str, Any] = {
        "images": [
            {"id": n + 1, "file_name": f"images/{split}_{n}.png", "width": width, "height": height}
            for n in range(images)
        ],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    for n in range(2 * images):
        w, h = SIDES[n % len(SIDES)]
        x, y = 5 + 45 * (n % 2), 6 + n % 3
        item = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "segmentation": [rectangle(x, y, w, h)]}
        value["annotations"].append({"id": n + 1, "image_id": n // 2 + 1, "category_id": n % 2 + 1, **item})
    return value


def rectangle(x: float, y: float, width: float, height: float) -> list[float]:
    """Return a box as a polygon."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


class OwnData:
    """Two sound splits, of other images; change `train`, `val` or `values`, then `prepare`."""

    def __init__(self, train: int = 4, val: int = 2, stored: tuple[int, int] = (96, 64)) -> None:
        """Write the images, of `stored` width and height, and declare them as they are."""
        self.train, self.val = rectangles("train", train, *stored), rectangles("val", val, *stored)
        self.values = copy.deepcopy(SMOKE)
        splits = {name: {"images": "photographs", "annotations": f"{name}.json"} for name in ("train", "val")}
        self.values["data"] |= {"source": "coco", **splits, "unlabeled": {"images": "more"}}
        self.values["data"]["test"] = {"images": None, "annotations": "val.json"}
        self.set("experiments.submissions", {})
        Path("more").mkdir()
        Image.new("RGB", (60, 40)).save("more/a.png")
        rng = np.random.default_rng(0)
        for image in self.train["images"] + self.val["images"]:
            path = Path("photographs", image["file_name"])
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*stored[::-1], 3), dtype=np.uint8)).save(path)

    def set(self, name: str, value: Any) -> None:
        """Change params.yaml under a dotted name."""
        put(self.values, name.split("."), value)

    def each(self, change: Callable[[dict[str, Any]], Any], entries: str = "annotations") -> None:
        """Apply a change to all entries of both splits."""
        for split in (self.train, self.val):
            for entry in split[entries]:
                change(entry)

    def write(self) -> Params:
        """Write the annotation files; return the checked parameters."""
        for name in ("train", "val"):
            Path(f"{name}.json").write_text(json.dumps(getattr(self, name)))
        return check_params(self.values)

    def prepare(self) -> tuple[dict[str, Any], list[str]]:
        """Do the work of the script; return summary and warnings."""
        params = self.write()
        with contextlib.redirect_stderr(io.StringIO()):  # progress
            summary = prepare(params.data, params.seed, PREPARED, workers=1, params=params)
        assert json.loads((PREPARED / "summary.json").read_text()) == summary
        return summary, cautions(summary, params)

    def refused(self) -> list[str]:
        """Return all problems; nothing new is left but their list."""
        try:
            self.prepare()
        except DataError as error:
            assert {path.name for path in Path("data").iterdir()} <= {"prepared", "prepared.problems.txt"}
            return [str(problem) for problem in error.problems]
        raise AssertionError("the set was accepted")


def written() -> dict[str, bytes]:
    """Return the prepared annotation files."""
    return {name: (PREPARED / f"{name}.json").read_bytes() for name in ("train", "val")}
