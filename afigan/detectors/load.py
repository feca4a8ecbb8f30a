"""Read detectors and their pyramids from the folders of models/."""

import torch
from torch import Tensor, nn

from afigan.detectors.architecture import Architecture
from afigan.detectors.build import Detector, build_detector
from afigan.outputs.models import load_config, load_part, load_weights
from afigan.outputs.paths import MODELS
from afigan.pyramids.base import Pyramid
from afigan.runtime.device import move


def load_architecture(node: str) -> Architecture:
    """Read the architecture of the detector of `models/NODE`.

    Raises:
        ValueError: it is missing, or of another version of this project.
    """
    config = load_config(node)
    try:
        return Architecture.from_dict(config["architecture"])
    except (KeyError, TypeError, ValueError) as error:
        path = MODELS / node / "config.json"
        raise ValueError(f"{path} is of another version of this project ({error}): run its stage again") from None


def load_detector(node: str, device: torch.device) -> Detector:
    """Build the detector of `models/NODE`, frozen and in evaluation mode, with the anchors of full-size images.

    The same holds for an extractor's M (A3): anchors follow the images that a detector sees (section 4.2 halves them;
    docs/method.md). M's D is not loaded.
    """
    detector = build_detector(load_architecture(node))
    weights = {name: value for name, value in load_weights(node).items() if not name.startswith("discriminator.")}
    load_part(detector, weights, node)
    return move(detector.eval().requires_grad_(False), device)


def load_interpolator(pyramid: Pyramid, weights: dict[str, Tensor], source: str) -> None:
    """Load G's weights of stage 1 at every upsampling place of a pyramid.

    Args:
        pyramid: with its backbone.
        weights: of one interpolator.
        source: their origin, for the error message.

    Raises:
        ValueError: the interpolators are of another architecture.
    """
    for interpolator in pyramid.upsample:
        load_part(interpolator, weights, source)


def load_pyramid(pyramid: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Load the weights that two pyramids share. P2-P6 and P3-P7 share the backbone and G, not the end levels.

    Args:
        pyramid: T's pyramid with its backbone.
        weights: the weights of M's pyramid.
        source: their origin, for the error message.

    Raises:
        ValueError: the backbone or the interpolators are of another architecture.
    """
    own = pyramid.state_dict()
    common = {name: w for name, w in weights.items() if name in own and own[name].shape == w.shape}
    core = ("bottom_up.", "upsample.")
    if wrong := [name for name in own.keys() | weights.keys() if name.startswith(core) and name not in common]:
        raise ValueError(f"the weights of {source} do not fit: {sorted(wrong)[:3]} differ ({len(wrong)} in all)")
    pyramid.load_state_dict(common, strict=False)
