"""What the stages share: where their data lies, the device, the seed and the run's folder."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

import afigan
from afigan.files import digest, sha256_file
from afigan.lineage import fingerprint, parents
from afigan.schema import Params
from afigan.training import engine
from afigan.training.models import MODELS, check_trained

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
