"""Read image files as detectron2 reads them: turned upright by their EXIF orientation, then RGB."""

import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from PIL import Image, UnidentifiedImageError

# Suffixes of images when a folder is searched.
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

# The formats that Pillow may read, for any file name. It knows others; an EPS file is a program that it would run.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")
_ORIENTATION_TAG = 0x0112
MISSING = "the file does not exist"  # what `inspect_image` says of a missing file
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset((5, 6, 7, 8))
_EIGHT_BIT_MODES = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB"))


def read_rgb(path: str | Path) -> Image.Image:
    """Read the image of a file: RGB, 8 bits per channel, upright. Raise Pillow's error for an unreadable file."""
    with Image.open(path, formats=_FORMATS) as image:
        image.load()  # turns a TIFF upright, and takes its tag away
        method = _UPRIGHT.get(_orientation(image))
        upright = image if method is None else image.transpose(method)
        return upright.convert("RGB")


class Inspected(NamedTuple):
    """The size of a sound image as it is read, upright, and the EXIF orientation by which its pixels are turned."""

    width: int  # pixels
    height: int
    orientation: int  # 1 (as stored) to 8; from 5 on, width and height are those of the stored pixels exchanged


def inspect_image(path: str | Path) -> Inspected:
    """Decode an image file completely; return its upright size and its orientation.

    Raises:
        ValueError: the file cannot be used as an image; the text is the reason.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe may block for ever
            raise ValueError("it is not a regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings (odd EXIF, many pixels) are not errors
            with Image.open(path, formats=_FORMATS) as image:
                image.load()
                frames, file_format, mode = getattr(image, "n_frames", 1), image.format, image.mode
                orientation = _orientation(image)
                width, height = image.size
    except FileNotFoundError:
        raise ValueError(MISSING) from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(f"has too many pixels: more than the {most} that Pillow reads") from None
    except UnidentifiedImageError:
        raise ValueError(f"cannot be read: its format is none of {', '.join(_FORMATS)}") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        why = getattr(error, "strerror", None) or error or type(error).__name__  # strerror omits the path
        raise ValueError(f"cannot be read: {why}") from None
    # A camera's MPO file is a photograph followed by its previews; the first frame is the image.
    if frames > 1 and file_format != "MPO":
        raise ValueError(f"has {frames} frames, not one")
    if mode not in _EIGHT_BIT_MODES:
        raise ValueError(f"has pixels of mode {mode}, which do not fit into 8 bits per channel")
    if orientation in _SIDEWAYS:
        width, height = height, width
    return Inspected(width, height, orientation)


def find_images(folder: Path) -> Iterator[str]:
    """Yield the paths of all image files under `folder`, relative to it and in sorted order, without hidden files.

    Links to folders are not followed.

    Raises:
        OSError: `folder`, or one in it, cannot be listed.
    """
    names = (Path(place, name) for place, _, files in os.walk(folder, onerror=_fail) for name in files)
    names = (name.relative_to(folder) for name in names if name.suffix.lower() in SUFFIXES)
    yield from sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def _fail(error: OSError) -> NoReturn:
    raise error


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        return int(orientation) if orientation in _UPRIGHT else 1
    except Exception:  # damaged EXIF data does not give the orientation; detectron2 ignores it as well
        return 1
