"""What is computed on, and what makes it repeatable."""

import random

import numpy as np
import torch

from afigan.schema import Params


def choose_device(params: Params) -> torch.device:
    """The device to compute on.

    Raises:
        ValueError: a GPU is asked for and there is none.
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
