"""`down_s`: the degradation that turns I_hr into the low-resolution image I_lr (section 3, Table 8)."""

import math

from PIL import Image

# Pillow's bilinear and bicubic filters are antialiased: shrinking widens their support by 1/scale, so that at scale 0.5
# every source pixel counts. Nearest takes one source pixel in 1/scale and aliases.
DEGRADATIONS: dict[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def downscaled_size(width: int, height: int, scale: float = 0.5) -> tuple[int, int]:
    """Return the width and height, in pixels, of an image after `down_s`: rounded half up, at least 1."""
    return max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5))


def downscale(image: Image.Image, method: str, scale: float = 0.5) -> Image.Image:
    """Return `down_scale(image)` of an RGB (or L) image of any size; see `downscaled_size` for the result's size.

    Raises:
        ValueError: `method` is not one of `DEGRADATIONS`.
    """
    if method not in DEGRADATIONS:
        raise ValueError(f"unknown degradation {method!r}: use one of {', '.join(DEGRADATIONS)}")
    assert image.mode in ("RGB", "L"), image.mode  # Pillow always resizes palette images by nearest
    return image.resize(downscaled_size(*image.size, scale), DEGRADATIONS[method])
