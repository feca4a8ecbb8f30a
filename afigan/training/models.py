"""The folders of models/: a stage writes one, a later stage starts from it; it is checked when it is read."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from afigan.detectors import Architecture, build_detector
from afigan.files import read_json
from afigan.lineage import fingerprint
from afigan.schema import Params
from afigan.training.device import move

MODELS = Path("models")


def load_weights(node: str) -> dict[str, Tensor]:
    """Read the weights of `models/NODE`.

    Raises:
        ValueError: they are missing, or are not a safetensors file.
    """
    path = MODELS / node / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: train it first (`dvc repro` or `snakemake` does)")
    try:
        return load_file(path)
    except Exception as error:  # safetensors' own error type is private
        raise ValueError(f"{path} is not a complete safetensors file ({error}): remove it and run again") from None


def load_config(node: str) -> dict[str, Any]:
    """Read the configuration with which `models/NODE` was trained, as `save_model` wrote it.

    Raises:
        ValueError: it is missing or damaged.
    """
    path = MODELS / node / "config.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: train it first (`dvc repro` or `snakemake` does)")
    config = read_json(path)
    if not isinstance(config, dict) or "params_hash" not in config:
        raise ValueError(f"{path} does not say what was trained: remove it and run its stage again")
    return config


def check_trained(params: Params, node: str) -> None:
    """Refuse weights that were trained with other parameters than the current ones.

    Raises:
        ValueError: `models/NODE` was trained with other parameters.
    """
    if load_config(node)["params_hash"] != fingerprint(params, node):
        raise ValueError(
            f"models/{node} was trained with other parameters than the current ones: train it again (`dvc repro` or "
            "`snakemake` does)"
        )


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries under `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def load_part(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load all of a module's weights.

    Raises:
        ValueError: the weights are of another architecture; the message names what differs.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"the weights of {source} do not fit: {error}\nThey were trained with other parameters; train them again"
        ) from None


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


def load_detector(node: str, device: torch.device) -> nn.Module:
    """Build the detector of `models/NODE`, frozen and in evaluation mode, with the anchors of full-size images.

    The same holds for an extractor's M (A3): anchors follow the images that a detector sees (section 4.2 halves them;
    docs/method.md). M's D is not loaded.
    """
    detector = build_detector(load_architecture(node))
    weights = {name: value for name, value in load_weights(node).items() if not name.startswith("discriminator.")}
    load_part(detector, weights, node)
    return move(detector.eval().requires_grad_(False), device)


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


def prefixed(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Return a module's state dict under a prefix; `part` is the inverse."""
    return {prefix + name: value for name, value in module.state_dict().items()}
