"""The device to compute on, and repeatable computation on it."""

import os
import random

import numpy as np
import torch
from torch import nn


def choose_device(asked: str) -> torch.device:
    """Return the device to compute on.

    Args:
        asked: `device` of params.yaml: auto, cpu or cuda.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda, but torch sees no GPU; set it to auto or cpu")
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")


def move(module: nn.Module, device: torch.device) -> nn.Module:
    """Move a module to a device; on a GPU, order the weights of convolutions channels-last, which is faster there.

    docs/benchmarks.md has the times. Shapes, names and values do not change.
    """
    if device.type == "cuda":
        return module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types
    return module.to(device)


def seed_everything(seed: int, threads: int, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch and make torch's sums repeatable: on a CPU always, on a GPU if `deterministic`.

    A GPU otherwise adds some gradients in the order in which its threads end: those of RoIAlign and of bilinear
    interpolation, for example.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True  # costs no measurable time: docs/benchmarks.md
    if deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what torch asks for
    torch.use_deterministic_algorithms(deterministic)
