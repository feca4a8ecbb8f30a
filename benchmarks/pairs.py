"""Measure the images per second that the stage `pairs` writes on one core, beside a plain loop: decode, halve, encode.

The photographs of a folder are repeated until there are enough.
"""

import argparse
import io
import json
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from afigan.data.images import find_images  # noqa: E402
from afigan.data.pairs import FORMATS, write_pairs  # noqa: E402


def plain(paths: list[Path], image_format: str) -> None:
    """Decode, halve and encode with Pillow: the least work."""
    for path in paths:
        with Image.open(path) as image:
            half = ((image.width + 1) // 2, (image.height + 1) // 2)
            small = image.convert("RGB").resize(half, Image.Resampling.BILINEAR)
        small.save(io.BytesIO(), **FORMATS[image_format])


def stage(prepared: Path, out: Path, image_format: str) -> None:
    write_pairs(
        prepared, "bilinear", out / "pairs", image_format=image_format, shard_size=1000, workers=1, runs=out / "runs"
    )


def measure(folder: Path, images: int) -> None:
    """Print images per second of processor time for each format."""
    names = list(find_images(folder))
    names = (names * (images // len(names) + 1))[:images]
    with tempfile.TemporaryDirectory(prefix="afigan-pairs-") as temporary:
        out = Path(temporary)
        entries = []
        for key, name in enumerate(names, start=1):
            with Image.open(folder / name) as image:
                entries.append({"id": key, "file_name": name, "width": image.width, "height": image.height})
        (out / "train.json").write_text(json.dumps({"info": {"root": str(folder)}, "images": entries}))
        for image_format in FORMATS:
            rates = []
            for work in (
                lambda f: plain([folder / name for name in names], f),
                lambda f: stage(out / "train.json", out, f),
            ):
                start = time.process_time()
                work(image_format)
                rates.append(len(names) / (time.process_time() - start))
            share = f"{rates[1] / rates[0]:.0%}"
            print(f"{image_format}: {rates[1]:.0f} images/s, plain loop {rates[0]:.0f} images/s: {share}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="a folder of photographs")
    parser.add_argument("--images", type=int, default=300, help="number of photographs (default: %(default)s)")
    arguments = parser.parse_args()
    measure(arguments.photos, arguments.images)
