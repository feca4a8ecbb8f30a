"""The device to compute on, and repeatable computation on it."""

import random

import numpy as np
import torch

from afigan.schema import Params


def choose_device(params: Params) -> torch.device:
    """Return the device to compute on.

    Raises:
        ValueError: params.yaml asks for a GPU and there is none.
    """
    if params.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda, but torch sees no GPU; set it to auto or cpu")
    return torch.device("cuda" if params.device != "cpu" and torch.cuda.is_available() else "cpu")


def seed_everything(seed: int, threads: int) -> None:
    """Seed Python, NumPy and torch and make torch's sums repeatable."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
