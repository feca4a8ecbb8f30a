"""What the three stages share: their run's folder, the weights they start from, what they leave behind."""

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import afigan
from afigan.config import Params
from afigan.detectors import Architecture, build_detector
from afigan.files import atomic_path, digest, sha256_file, write_json
from afigan.lineage import fingerprint, parents
from afigan.training import engine

MODELS = Path("models")
RUNS = Path("runs")
PREPARED = Path("data/prepared")
PAIRS = Path("data/pairs")


def choose_device(params: Params) -> torch.device:
    """The device to compute on.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if params.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda, but torch sees no GPU; set it to auto or cpu")
    return torch.device("cuda" if params.device != "cpu" and torch.cuda.is_available() else "cpu")


def seed_everything(params: Params) -> None:
    """Seed Python, NumPy and torch and make torch's sums repeatable."""
    random.seed(params.seed)
    np.random.seed(params.seed)
    torch.manual_seed(params.seed)
    torch.set_num_threads(params.threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def load_weights(node: str) -> dict[str, Tensor]:
    """The weights of `models/NODE`.

    Raises:
        ValueError: they are not there, or no safetensors file.
    """
    path = MODELS / node / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: train it first (`dvc repro` or `snakemake` does)")
    try:
        return load_file(path)
    except Exception as error:  # safetensors' own error type is private
        raise ValueError(f"{path} is not a whole safetensors file ({error}): remove it and run again") from None


def load_config(node: str) -> dict[str, Any]:
    """What `models/NODE` was trained with, as `save_model` wrote it.

    Raises:
        ValueError: it is not there.
    """
    path = MODELS / node / "config.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: train it first (`dvc repro` or `snakemake` does)")
    return json.loads(path.read_text("utf-8"))


def check_trained(params: Params, node: str) -> None:
    """Weights that were trained with other parameters must not pass for those of today's.

    Raises:
        ValueError: `models/NODE` was.
    """
    if load_config(node)["params_hash"] != fingerprint(params, node):
        raise ValueError(
            f"models/{node} was trained with other parameters than these: train it again (`dvc repro` or `snakemake` "
            "does)"
        )


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def load_part(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load all of a module's weights.

    Raises:
        ValueError: the weights are of another architecture; what differs is named.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"the weights of {source} do not fit: {error}\nThey were trained with other parameters; train them again"
        ) from None


def load_teacher(key: str, device: torch.device) -> nn.Module:
    """F: the frozen backbone and pyramid of `models/detectors/KEY`, in evaluation mode."""
    node = f"detectors/{key}"
    detector = build_detector(Architecture.from_dict(load_config(node)["architecture"]))
    load_part(detector, load_weights(node), node)
    return detector.eval().requires_grad_(False).to(device)


def code_version() -> str:
    """A hash of the package's modules: a run does not go on with other code than it began with."""
    root = Path(afigan.__file__).parent
    sums = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        module = path.relative_to(root)
        if "reporting" not in module.parts:
            sums.update(str(module).encode() + path.read_bytes())
    return sums.hexdigest()


@contextmanager
def open_run(params: Params, node: str, inputs: list[Path]) -> Iterator[Path]:
    """The run's folder for a node; its checkpoints are removed once the body has ended well.

    Args:
        inputs: the data files that the run reads besides its parents' weights.

    Raises:
        ValueError: a parent was trained with other parameters.
    """
    for parent in parents(params, node):
        check_trained(params, parent)
    weights = [MODELS / parent / "model.safetensors" for parent in parents(params, node)]
    sums = {str(path): sha256_file(path) for path in [*inputs, *weights]}
    software = [code_version(), torch.__version__, choose_device(params).type]
    kind, _, key = node.rpartition("/")
    run = RUNS / kind / f"{key}-{digest([fingerprint(params, node), sums, software])[:12]}"
    yield run
    engine.finish(run)


def save_model(
    params: Params, node: str, state: dict[str, Tensor], log: list[dict[str, float]], config: dict[str, Any]
) -> None:
    """Write `models/NODE`: log and config first, the weights last, each whole or not at all."""
    out = MODELS / node
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "log.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in log), "utf-8")
    write_json(out / "config.json", {"node": node, "params_hash": fingerprint(params, node), **config})
    with atomic_path(out / "model.safetensors") as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, temporary)
