"""The folders of models/: what a stage leaves behind and a later one starts from, checked when it is read."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from afigan.detectors import Architecture, build_detector
from afigan.files import read_json
from afigan.lineage import fingerprint
from afigan.schema import Params

MODELS = Path("models")


def load_weights(node: str) -> dict[str, Tensor]:
    """The weights of `models/NODE`.

    Raises:
        ValueError: they are not there, or no safetensors file.
    """
    path = MODELS / node / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: train it first (`dvc repro` or `snakemake` does)")
    try:
        return load_file(path)
    except Exception as error:  # safetensors' own error type is private
        raise ValueError(f"{path} is not a whole safetensors file ({error}): remove it and run again") from None


def load_config(node: str) -> dict[str, Any]:
    """What `models/NODE` was trained with, as `save_model` wrote it.

    Raises:
        ValueError: it is not there, or damaged.
    """
    path = MODELS / node / "config.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: train it first (`dvc repro` or `snakemake` does)")
    config = read_json(path)
    if not isinstance(config, dict) or "params_hash" not in config:
        raise ValueError(f"{path} does not say what was trained: remove it and run the stage again that made it")
    return config


def check_trained(params: Params, node: str) -> None:
    """Weights that were trained with other parameters must not pass for those of today's.

    Raises:
        ValueError: `models/NODE` was.
    """
    if load_config(node)["params_hash"] != fingerprint(params, node):
        raise ValueError(
            f"models/{node} was trained with other parameters than these: train it again (`dvc repro` or `snakemake` "
            "does)"
        )


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def load_part(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load all of a module's weights.

    Raises:
        ValueError: the weights are of another architecture; what differs is named.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"the weights of {source} do not fit: {error}\nThey were trained with other parameters; train them again"
        ) from None


def load_architecture(node: str) -> Architecture:
    """What the detector of `models/NODE` is built of.

    Raises:
        ValueError: it is not there, or of another version of this project.
    """
    config = load_config(node)
    try:
        return Architecture.from_dict(config["architecture"])
    except (KeyError, TypeError, ValueError) as error:
        path = MODELS / node / "config.json"
        raise ValueError(f"{path} is not of this version ({error}): run the stage again that made it") from None


def load_detector(node: str, device: torch.device) -> nn.Module:
    """The detector of `models/NODE`, frozen and in evaluation mode, with the anchors of full-size images.

    So is an extractor's M (A3): anchors follow the images that a detector sees (SPEC 5.2). Its D is left.
    """
    detector = build_detector(load_architecture(node))
    weights = {name: value for name, value in load_weights(node).items() if not name.startswith("discriminator.")}
    load_part(detector, weights, node)
    return detector.eval().requires_grad_(False).to(device)


def load_pyramid(pyramid: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Load all that two pyramids have in common: of P2-P6 and P3-P7 not the ends, if all of the backbone and of G.

    Args:
        pyramid: that of T, with its backbone.
        weights: of M's pyramid.
        source: for the error.

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
    """A module's state dict under a prefix, for `part` to find."""
    return {prefix + name: value for name, value in module.state_dict().items()}
