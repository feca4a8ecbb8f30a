"""The folders of models/: a stage writes one, a later stage starts from it; it is checked when it is read."""

from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from afigan.outputs.paths import MODELS
from afigan.runtime.files import read_json


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


def prefixed(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Return a module's state dict under a prefix; `part` is the inverse."""
    return {prefix + name: value for name, value in module.state_dict().items()}
