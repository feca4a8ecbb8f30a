"""One feature map of F under each interpolation, beside the map that G learns to predict."""

import math
from pathlib import Path

import matplotlib
import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional as F

from afigan.data.degradation import downscale
from afigan.data.images import read_rgb
from afigan.data.split import half, read_split, resized_shape, to_tensor
from afigan.detectors.load import load_architecture, load_detector
from afigan.interpolators import build_interpolator
from afigan.outputs.models import load_config, load_part, load_weights, part
from afigan.outputs.paths import PREPARED
from afigan.params.schema import Params
from afigan.reporting.png import save
from afigan.runtime.device import choose_device, seed_everything

TARGET = "high-resolution target"


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
    interpolator = build_interpolator(config["interpolator"], config["channels"], **config["options"]).eval().to(device)
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


def draw_feature_maps(maps: dict[str, np.ndarray], image: np.ndarray, out: Path, target: str = TARGET) -> None:
    """Draw one image and its feature maps as `out` (PNG), each map reduced to one channel in the same way and colours.

    maps: title -> (C, H, W) of one pyramid level, drawn in this order; the others should resemble `maps[target]`.
    image: (H, W, 3) uint8, RGB.
    The one channel is the projection on the target's first principal component over channels. The title of a map of the
    target's size gives the mean absolute difference to the target (over all channels).
    Raises ValueError if the target is missing, a map is not (C, H, W) with the target's C, or the image not uint8 RGB.
    """
    if target not in maps:
        raise ValueError(f"the maps {list(maps)} have no '{target}', with which the others are compared")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    for name, values in maps.items():
        if values.ndim != 3 or values.shape[0] != maps[target].shape[0]:
            raise ValueError(f"the map '{name}' is {values.shape}; it must be (C, H, W), C as in {maps[target].shape}")
    reference = maps[target].astype(np.float64)
    centre, component = _first_component(reference)
    flat = {name: np.tensordot(component, values - centre, axes=1) for name, values in maps.items()}
    low, high = np.percentile(flat[target], (1, 99))

    columns = 3
    rows = math.ceil((1 + len(maps)) / columns)
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(3.2 * columns + 0.8, 3.3 * rows + 0.3), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        axes[0].imshow(image)
        axes[0].set_title(f"image ({image.shape[1]} x {image.shape[0]})", fontsize=9)
        for axis, (name, values) in zip(axes[1:], maps.items(), strict=False):
            drawn = axis.imshow(flat[name], cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
            title = f"{name} ({values.shape[2]} x {values.shape[1]})"
            if name != target and values.shape == reference.shape:
                title += f"\nmean |difference to target| {np.abs(values - reference).mean():.4f}"
            axis.set_title(title, fontsize=9)
        for axis in axes:
            axis.set_axis_off()
        bar = figure.colorbar(drawn, ax=axes, shrink=0.7, extend="both")
        bar.set_label("projection on the target's first principal component", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        save(figure, out)


def _first_component(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (C, 1, 1) and first principal component (C,) of a (C, H, W) map over positions; the sign is fixed."""
    samples = values.reshape(len(values), -1)
    centre = samples.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh((samples - centre) @ (samples - centre).T)
    component = vectors[:, -1]
    return centre[:, :, None], component * np.sign(component[np.abs(component).argmax()])
