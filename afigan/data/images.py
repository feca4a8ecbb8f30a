"""Reading image files as detectron2 reads them: turned upright by their EXIF orientation, then RGB."""

import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from PIL import Image, UnidentifiedImageError

# Suffixes taken for images where a folder is searched.
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

# What Pillow may take a file for, whatever its name says. It knows more, of which EPS is a program that it would run.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
_EIGHT_BIT_MODES = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB"))


def read_rgb(path: str | Path) -> Image.Image:
    """The image of a file: RGB, 8 bits a channel, upright. Raises whatever Pillow raises for an unreadable file."""
    with Image.open(path, formats=_FORMATS) as image:
        method = _upright_method(image)
        if method is not None:
            image = image.transpose(method)
        return image.convert("RGB")


def inspect_image(path: str | Path) -> tuple[int, int]:
    """Decode an image file completely; its upright width and height in pixels.

    Raises:
        ValueError: the file cannot serve as an image; the text is the reason.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe may take for ever
            raise ValueError("it is no file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of (odd EXIF, many pixels) is not an error
            with Image.open(path, formats=_FORMATS) as image:
                image.load()
                frames, file_format, mode = getattr(image, "n_frames", 1), image.format, image.mode
                method = _upright_method(image)
                width, height = image.size
    except FileNotFoundError:
        raise ValueError("the file does not exist") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(f"has too many pixels: more than the {most} that Pillow reads") from None
    except UnidentifiedImageError:
        raise ValueError(f"cannot be read: it is none of {', '.join(_FORMATS)}") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        why = getattr(error, "strerror", None) or error or type(error).__name__  # the system's own words name no file
        raise ValueError(f"cannot be read: {why}") from None
    # A camera's MPO file is a photograph followed by previews of it; its first frame is the image.
    if frames > 1 and file_format != "MPO":
        raise ValueError(f"has {frames} frames, not one")
    if mode not in _EIGHT_BIT_MODES:
        raise ValueError(f"has pixels of mode {mode}, which do not fit into 8 bits a channel")
    if method is not None and method in _SIDEWAYS:
        width, height = height, width
    return width, height


def find_images(folder: Path) -> Iterator[str]:
    """Paths, relative to `folder` and in sorted order, of all image files under it; hidden files are left out.

    Links to folders are not followed.

    Raises:
        OSError: `folder`, or one in it, cannot be listed.
    """
    names = (Path(place, name) for place, _, files in os.walk(folder, onerror=_fail) for name in files)
    names = (name.relative_to(folder) for name in names if name.suffix.lower() in SUFFIXES)
    yield from sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def _fail(error: OSError) -> NoReturn:
    raise error


def _upright_method(image: Image.Image) -> Image.Transpose | None:
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG))
    except Exception:  # damaged EXIF data says nothing of the orientation; detectron2 ignores it as well
        return None
