"""Stage `pairs`: write the low-resolution images I_lr of the training pairs in shards, and read them back.

`OUT`/shard-00000.tar, ... are ordinary uncompressed tar files of encoded images. `OUT`/index.json has the place of each
image's bytes in them, so that one `pread` reads any image. A million small files would be slow on a cluster.
"""

import errno
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from afigan.data.degradation import DEGRADATIONS, downscale, downscaled_size
from afigan.data.images import read_rgb
from afigan.data.parallel import map_images
from afigan.runtime.files import atomic_dir, atomic_path, digest, read_json, sha256_file, write_json

SCALE = 0.5
# png is lossless (compress level 1: 3.5 times as fast as Pillow's 6, 4 % more bytes); jpeg keeps full-size chroma
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 1},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
_PLACE = ("shard", "offset", "length", "width", "height")  # an image's entry of index.json


@dataclass(frozen=True)
class _Shard:
    name: str
    work: Path
    images: list[dict[str, Any]]  # COCO image entries
    root: Path
    degradation: str
    image_format: str

    @property
    def index(self) -> Path:
        """The file with the places of the shard's images, written when the shard is complete."""
        return self.work / f"{self.name}.json"


def write_pairs(
    annotations: str | Path,
    degradation: str,
    out: str | Path,
    *,
    image_format: str,
    shard_size: int,
    workers: int,
    runs: str | Path = "runs/pairs",
) -> None:
    """Write the low-resolution version (`down_0.5`) of every image of a prepared COCO file to the folder `out`.

    Finished shards are kept in `runs`/DEGRADATION-DIGEST until all are done, so that a killed run can continue. DIGEST
    is a hash of the inputs and settings. At the end this folder replaces `out` in one step. The bytes do not depend on
    `workers`, on interruptions or on the clock.

    Args:
        annotations: `data/prepared/train.json`.
        degradation: one of `DEGRADATIONS`.
        image_format: one of `FORMATS`.
        shard_size: images per shard.
        workers: processes; each writes one shard at a time.

    Raises:
        ValueError: an unknown setting, or an image that is not what `prepare` saw; the text names it.
    """
    annotations, out = Path(annotations), Path(out)
    if degradation not in DEGRADATIONS:
        raise ValueError(f"unknown degradation {degradation!r}: use one of {', '.join(DEGRADATIONS)}")
    if image_format not in FORMATS:
        raise ValueError(f"unknown image format {image_format!r}: use one of {', '.join(FORMATS)}")
    assert shard_size >= 1 and workers >= 1
    prepared = read_json(annotations)
    images, root = prepared["images"], Path(prepared["info"]["root"])

    settings = [degradation, SCALE, image_format, FORMATS[image_format], shard_size, PIL.__version__]
    key = digest([sha256_file(annotations), settings, [_fingerprint(root, image) for image in images]])
    work = Path(runs) / f"{degradation}-{key[:16]}"
    work.mkdir(parents=True, exist_ok=True)
    shards = [
        _Shard(f"shard-{number:05d}", work, images[start : start + shard_size], root, degradation, image_format)
        for number, start in enumerate(range(0, len(images), shard_size))
    ]
    if not (work / "index.json").exists():  # otherwise only the last step is missing
        missing = [shard for shard in shards if not shard.index.exists()]
        done = len(images) - sum(len(shard.images) for shard in missing)
        map_images(
            _write_shard, missing, workers=workers, images=len(images), description=f"{degradation} pairs", done=done
        )
        located: dict[str, Any] = {}
        for shard in shards:
            located |= json.loads(shard.index.read_bytes())
        index = {"degradation": degradation, "scale": SCALE, "format": image_format, "images": located}
        write_json(work / "index.json", index, indent=None)
    _publish(work, out, [f"{shard.name}.tar" for shard in shards])


def _fingerprint(root: Path, image: dict[str, Any]) -> list[int]:
    """Return a file's size and time of change, so that an edited image does not reuse its old shard."""
    try:
        status = (root / image["file_name"]).stat()
    except OSError as error:
        raise ValueError(
            f"image {image['id']} ({root / image['file_name']}): {error.strerror}; run the stage prepare again"
        ) from None
    return [status.st_size, status.st_mtime_ns]


def _write_shard(shard: _Shard, tick: Callable[[], None]) -> None:
    index = {}
    with (
        atomic_path(shard.work / f"{shard.name}.tar") as path,
        path.open("wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for image in shard.images:
            data, (width, height) = _encode(image, shard)
            member = tarfile.TarInfo(f"{image['id']}.{shard.image_format}")  # time 0, owner 0, mode 644
            member.size = len(data)
            offset = file.tell() + tarfile.BLOCKSIZE  # a ustar header is one block
            tar.addfile(member, io.BytesIO(data))
            index[str(image["id"])] = {
                "shard": f"{shard.name}.tar",
                "offset": offset,
                "length": len(data),
                "width": width,
                "height": height,
            }
            tick()
    write_json(shard.index, index, indent=None)


def _encode(image: dict[str, Any], shard: _Shard) -> tuple[bytes, tuple[int, int]]:
    path = shard.root / image["file_name"]
    try:
        full = read_rgb(path)
    except Exception as error:  # any error of Pillow for a damaged file
        raise ValueError(f"image {image['id']} ({path}) cannot be read: {error}; run the stage prepare again") from None
    if full.size != (image["width"], image["height"]):
        raise ValueError(f"image {image['id']} ({path}) has changed its size; run the stage prepare again")
    small = downscale(full, shard.degradation, SCALE)
    assert small.size == downscaled_size(*full.size, SCALE)
    buffer = io.BytesIO()
    small.save(buffer, **FORMATS[shard.image_format])
    return buffer.getvalue(), small.size


def _publish(work: Path, out: Path, shards: list[str]) -> None:
    """Replace `out` by the finished folder `work`: by a rename, or by copies where `out` is on another disk."""
    names = {"index.json", *shards}
    for path in work.iterdir():
        if path.name not in names:
            path.unlink()
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    try:
        work.replace(out)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_dir(out) as folder:
            shutil.copytree(work, folder, dirs_exist_ok=True)
        shutil.rmtree(work)


class PairReader:
    """Random access to the low-resolution images that `write_pairs` wrote to the folder `path`.

    A reader opens files on first use and reads at explicit positions. Forked or spawned data-loading processes may
    therefore share it.

    Raises:
        ValueError: `write_pairs` did not write the folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            index = json.loads((self.path / "index.json").read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path}: no low-resolution images here ({error}); run the stage pairs") from None
        self.degradation: str = index["degradation"]
        self.scale: float = index["scale"]
        # arrays, because data-loading processes share them; each would have its own copy of so many Python objects
        places = sorted((int(key), *(place[name] for name in _PLACE)) for key, place in index["images"].items())
        self._ids = np.array([key for key, *_ in places], dtype=np.int64)
        self._shards = sorted({shard for _, shard, *_ in places})
        numbers = {shard: number for number, shard in enumerate(self._shards)}
        self._places = np.array([(numbers[shard], *rest) for _, shard, *rest in places], dtype=np.int64)
        self._files: dict[str, int] = {}
        self._owner = os.getpid()

    def size(self, image_id: int) -> tuple[int, int]:
        """Return a low-resolution image's width and height in pixels. ValueError: no image has this id."""
        *_, width, height = self._place(image_id)
        return width, height

    def read(self, image_id: int) -> Image.Image:
        """Read a low-resolution image, RGB. ValueError: no image has this id, or its shard is cut short."""
        shard, offset, length, *_ = self._place(image_id)
        data = os.pread(self._file(shard), length, offset)
        if len(data) != length:
            raise ValueError(f"image {image_id}: {self.path / shard} is cut short; run the stage pairs again")
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    def _place(self, image_id: int) -> tuple[str, int, int, int, int]:
        row = int(np.searchsorted(self._ids, image_id))
        if row == len(self._ids) or self._ids[row] != image_id:
            raise ValueError(f"image {image_id} is not in {self.path / 'index.json'}; run the stage pairs again")
        number, *rest = self._places[row].tolist()
        return (self._shards[number], *rest)

    def _file(self, shard: str) -> int:
        if self._owner != os.getpid():  # a forked process opens its own
            self._files, self._owner = {}, os.getpid()
        if shard not in self._files:
            self._files[shard] = os.open(self.path / shard, os.O_RDONLY)
        return self._files[shard]
