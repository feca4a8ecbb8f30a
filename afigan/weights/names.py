"""Rename other libraries' weights to the names of detectron2's ResNets and of timm's feature extractors."""

import re
import sys

import torch
from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BottleneckBlock, ResNet
from torch import Tensor

from afigan.backbones import TimmBackbone
from afigan.backbones.timm_nets import names_in_extractor


def has_torchvisions_names(state: dict[str, Tensor]) -> bool:
    """Return whether the weights have the names of torchvision's ResNets, which timm's have too."""
    return "layer1.0.conv1.weight" in state


def to_resnet(state: dict[str, Tensor], backbone: ResNet, source: str) -> dict[str, Tensor]:
    """Rename torchvision's and Caffe2's weights as detectron2 does; others are returned as they are.

    Raises:
        ValueError: the weights are for other strides or another normalisation than the backbone's.
    """
    if has_torchvisions_names(state):
        block = backbone.res3[0]
        if isinstance(block, BottleneckBlock) and block.conv1.stride != (1, 1):
            raise ValueError(
                f"{source} has torchvision's names, whose ResNets have their strides in the 3x3 convolutions: set "
                "the backbone's options to {stride_in_1x1: false}, and the pixels to RGB (see afigan.weights)"
            )
        return {_from_torchvision(name): value for name, value in state.items()}
    if "conv1_w" in state:
        names = sorted(name for name in state if not name.endswith("_momentum"))
        state = {new: state[old] for old, new in zip(names, convert_basic_c2_names(names), strict=True)}
        if not any("running_mean" in name for name in state):
            return state | _identity_statistics(backbone, source)
    return state


def _from_torchvision(name: str) -> str:
    """Rename a weight of torchvision as detectron2's tools/convert-torchvision-to-d2.py does."""
    if "layer" not in name:
        name = f"stem.{name}"
    name = re.sub(r"layer(\d)", lambda stage: f"res{int(stage[1]) + 1}", name)
    name = re.sub(r"bn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def _identity_statistics(backbone: ResNet, source: str) -> dict[str, Tensor]:
    """Return mean 0 and variance 1 for each normalisation, for a file that has them in its scales and biases."""
    norms = {name: module for name, module in backbone.named_modules() if isinstance(module, FrozenBatchNorm2d)}
    if not norms:
        raise ValueError(f"{source} has no statistics of batch normalisation: set the backbone's norm to FrozenBN")
    return {f"{name}.running_mean": torch.zeros_like(norm.running_mean) for name, norm in norms.items()} | {
        f"{name}.running_var": torch.ones_like(norm.running_var) - norm.eps for name, norm in norms.items()
    }


def to_timm(state: dict[str, Tensor], backbone: TimmBackbone, source: str) -> dict[str, Tensor]:
    """Rename the weights of timm's complete model, or those that timm can convert to it, for its feature extractor.

    timm's conversion also fits a Swin's tables of relative positions to another window.
    """
    if any(name.startswith("net.") for name in state):  # this project's names
        return state
    named = _in_extractor(state, backbone)
    own = backbone.net.state_dict()
    if all(f"net.{name}" in named and named[f"net.{name}"].shape == value.shape for name, value in own.items()):
        return named
    whole = backbone.whole_model(device="meta")
    convert = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return named
    try:
        return _in_extractor(convert(state, whole), backbone)
    except Exception:  # a conversion expects certain names; without it the error says what does not fit
        return named


def _in_extractor(state: dict[str, Tensor], backbone: TimmBackbone) -> dict[str, Tensor]:
    own = backbone.net.state_dict().keys()
    children = {name for name, _ in backbone.net.named_children()}
    named = {}
    for name, value in state.items():
        candidates = names_in_extractor(name)
        known = [n for n in candidates if n in own] or [n for n in candidates if n.split(".")[0] in children]
        named[f"net.{known[0] if known else name}"] = value
    return named
