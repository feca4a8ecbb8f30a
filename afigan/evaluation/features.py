"""One feature map of F under each interpolation, beside the map that G learns to predict."""

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from afigan.data.degradation import downscale
from afigan.data.images import read_rgb
from afigan.data.split import PREPARED, half, read_split, resized_shape, to_tensor
from afigan.detectors.load import load_architecture, load_detector
from afigan.interpolators import build_interpolator
from afigan.outputs.models import load_config, load_part, load_weights, part
from afigan.runtime.device import choose_device, seed_everything
from afigan.schema import Params


def feature_maps(params: Params) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return one level of F for one validation image, and each interpolation of the halved image's map.

    Returns:
        By name, float maps: `low resolution` (C, H/2, W/2), then `nearest`, `bilinear`, `AFI` and the
        `high-resolution target` (C, H, W); and the image, (H', W', 3) uint8 RGB.

    Raises:
        ValueError: a model is missing, `figures.image` is beyond the validation set.
    """
    seed_everything(params.seed, params.threads, params.deterministic)
    device = choose_device(params.device)
    settings, inputs = params.figures, params.input
    experiment = params.experiments.afigan[settings.afigan]
    pixel_format = load_architecture(f"detectors/{experiment.teacher}").backbone.pixel_format
    images = read_split(PREPARED / "val.json")["images"]
    if settings.image >= len(images):
        raise ValueError(f"figures.image: {settings.image}, but the validation set has {len(images)} images")
    record = images[settings.image]
    shape = resized_shape(record["height"], record["width"], inputs.test_short_side, inputs.max_side)
    picture = read_rgb(record["path"])
    low_picture = downscale(picture, experiment.degradation)
    high, low = (
        np.asarray(p.resize(s[::-1], Image.Resampling.BILINEAR))
        for p, s in ((picture, shape), (low_picture, half(shape)))
    )

    teacher = load_detector(f"detectors/{experiment.teacher}", device)
    node = f"afigan/{settings.afigan}"
    config = load_config(node)
    interpolator = build_interpolator("afi", config["channels"], blocks=config["blocks"]).eval().to(device)
    load_part(interpolator, part(load_weights(node), "interpolator."), node)
    with torch.no_grad():
        maps = []
        for pixels in (low, high):
            batch = teacher.preprocess_image([{"image": to_tensor(pixels, pixel_format)}])
            maps.append(teacher.backbone(batch.tensor)[settings.level])
        source, target = maps
        made = {
            "nearest": F.interpolate(source, scale_factor=2.0, mode="nearest"),
            "bilinear": F.interpolate(source, scale_factor=2.0, mode="bilinear"),
            "AFI": interpolator(source),
        }
    made = {name: value[:, :, : target.shape[2], : target.shape[3]] for name, value in made.items()}
    named = {"low resolution": source, **made, "high-resolution target": target}
    return {name: value[0].float().cpu().numpy() for name, value in named.items()}, high
