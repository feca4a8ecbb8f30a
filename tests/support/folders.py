"""Folders of models with random weights, written as the stages write them, without a training."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from toy import toy_params

from afigan.detectors.build import Architecture, build_detector
from afigan.detectors.metadata import about_detector

SPLIT = {"classes": ["disc", "box", "triangle"], "category_ids": [2, 17, 90]}


def write_detector(
    folder: Path, head: str = "mask_rcnn", seed: int = 0, change: dict[str, Any] | None = None, **network: Any
) -> nn.Module:
    """Write the folder of a random detector of toy size, whose classifier is sure of much; return the detector."""
    params = toy_params()
    architecture = Architecture(
        params.model, params.experiments.backbones["main"], len(SPLIT["classes"]), head=head, **network
    )
    torch.manual_seed(seed)
    detector = build_detector(architecture).eval()
    for name, value in detector.named_parameters():
        if name.endswith(("cls_score.weight", "cls_score.bias", "cls_logits.weight", "cls_logits.bias")):
            nn.init.normal_(value, std=2.0)
    config = about_detector(params, architecture, SPLIT, "none") | (change or {})
    folder.mkdir(parents=True)
    text = json.dumps({"node": "/".join(folder.parts[-2:]), "params_hash": "x", **config})
    (folder / "config.json").write_text(text)
    save_file(detector.state_dict(), folder / "model.safetensors")
    return detector
