"""A tiny world for tests: embedded shapes and every experiment of the zoo profile, at two iterations.

Name it in a test module, `pytest_plugins = ["toy"]`, to have its fixtures. All tests of a session share `world`, which
keeps its trained models. Tests that train again, or change files, use `own_world`, a copy.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from composed import put
from lineages import parents
from safetensors.torch import load_file
from torch import Tensor

from afigan.data.checks import check_prepared
from afigan.data.pairs import write_pairs
from afigan.data.prepare.stage import prepare
from afigan.evaluation.pseudo_labels import write_pseudo_labels
from afigan.params.loading import check_params, compose
from afigan.params.schema import Params
from afigan.params.stages import TRAINED
from afigan.training.afigan import train_afigan
from afigan.training.backbone import write_backbone
from afigan.training.detector import train_detector
from afigan.training.extractor import train_extractor

CONF = Path(__file__).resolve().parents[2] / "conf"
TRAIN: dict[str, Callable[[Params, str], None]] = {
    "backbones": write_backbone,
    "afigan": train_afigan,
    "extractors": train_extractor,
    "detectors": train_detector,
    "pseudo_labels": write_pseudo_labels,
    "students": train_detector,
}
SWITCHES: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "switches.yaml").read_text("utf-8"))


def toy_values() -> dict[str, Any]:
    """Return params.yaml's values: those of the zoo profile, with fewer images, and the switches."""
    values = compose("zoo", CONF)
    for kind, items in SWITCHES.items():
        values["experiments"][kind] |= items
    values["data"]["shapes"] |= {"train": 6, "val": 3, "unlabeled": 2, "test": 2}
    values["train_backbone"]["iterations"] = 2
    for stage in ("train_backbone", "train_afigan", "train_extractor", "train_detector"):
        values[stage]["checkpoint_every"] = 1
    return values


def toy_params(change: dict[str, Any] | None = None) -> Params:
    """Return checked toy parameters; `change` maps dotted names to other values."""
    values = toy_values()
    for name, value in (change or {}).items():
        put(values, name.split("."), value)
    return check_params(values)


class World:
    """A root with prepared data, in which `model` trains on demand, or copies from the original of this world."""

    def __init__(self, root: Path, params: Params, original: "World | None" = None) -> None:
        self.root, self.params, self.original = root, params, original

    def __enter__(self) -> "World":
        self._context = pytest.MonkeyPatch()
        self._context.chdir(self.root)
        return self

    def __exit__(self, *exception: object) -> None:
        self._context.undo()

    def prepare(self) -> "World":
        """Prepare data and pairs."""
        with self:
            prepare(self.params.data, self.params.seed, Path("data/prepared"), workers=1)
            for degradation in self.params.pairs.degradations:
                write_pairs(
                    Path("data/prepared/train.json"),
                    degradation,
                    Path("data/pairs") / degradation,
                    image_format="png",
                    shard_size=5,
                    workers=1,
                )
        return self

    def train(self, node: str) -> None:
        """Train a node whose parents exist, again if it exists itself."""
        kind, _, key = node.partition("/")
        with self:
            if kind in TRAINED:
                check_prepared(self.params)
            TRAIN[kind](self.params, node if kind in ("detectors", "students") else key)

    def model(self, node: str) -> dict[str, Tensor]:
        """Return the weights of a node, if it has any; a missing node is created first, with its ancestors."""
        kind, _, key = node.partition("/")
        place = Path("data/pseudo", f"{key}.json") if kind == "pseudo_labels" else Path("models", node)
        if not (self.root / place).exists():
            for parent in parents(self.params, node):
                self.model(parent)
            if self.original is not None:
                self.original.model(node)
                copy = shutil.copy if kind == "pseudo_labels" else shutil.copytree
                (self.root / place).parent.mkdir(parents=True, exist_ok=True)
                copy(self.original.root / place, self.root / place)
            else:
                self.train(node)
        return {} if kind == "pseudo_labels" else load_file(self.root / place / "model.safetensors")

    def config(self, node: str) -> dict[str, Any]:
        return json.loads((self.root / "models" / node / "config.json").read_text("utf-8"))

    def log(self, node: str) -> list[dict[str, float]]:
        text = (self.root / "models" / node / "log.jsonl").read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def output(self, node: str) -> dict[str, bytes]:
        """Return all files of models/NODE."""
        return {path.name: path.read_bytes() for path in sorted((self.root / "models" / node).iterdir())}


def under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries of a state dict under a prefix, without it; there must be some."""
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    assert found, f"nothing under {prefix}"
    return found


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Return True if two state dicts agree bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A shared world: train in it only nodes that no other test trains with other parameters."""
    return World(tmp_path_factory.mktemp("world"), toy_params()).prepare()


@pytest.fixture
def own_world(world: World, tmp_path: Path) -> Iterator[World]:
    """A copy of `world` to work in: it is the working directory."""
    root = tmp_path / "world"
    shutil.copytree(world.root / "data", root / "data")
    with World(root, world.params, world) as own:
        yield own
