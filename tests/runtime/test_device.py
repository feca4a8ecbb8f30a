"""The device to compute on, and repeatable random numbers."""

import random

import numpy as np
import pytest
import torch
from toy import toy_params

from afigan.runtime.device import choose_device, seed_everything


def test_a_missing_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(toy_params().device).type == "cpu"
    with pytest.raises(ValueError, match="device: cuda"):
        choose_device(toy_params({"device": "cuda"}).device)


def test_a_present_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = {asked: choose_device(toy_params({"device": asked}).device).type for asked in ("auto", "cuda", "cpu")}
    assert found == {"auto": "cuda", "cuda": "cuda", "cpu": "cpu"}


def test_a_seed_draws_again():
    def drawn(seed):
        seed_everything(seed, torch.get_num_threads())
        return random.random(), np.random.rand(), torch.rand(()).item()

    first, other = drawn(3), drawn(4)
    assert drawn(3) == first
    assert all(a != b for a, b in zip(first, other, strict=True))
