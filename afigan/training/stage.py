"""What the stages share: where their data lies, the device, the seed and the run's folder."""

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import afigan
from afigan import experiments, state
from afigan.files import digest, read_json
from afigan.lineage import fingerprint, parents
from afigan.provenance import sums
from afigan.schema import MASK_HEADS, Params
from afigan.training import distributed, engine
from afigan.training.models import MODELS, check_trained

PREPARED = Path("data/prepared")
PAIRS = Path("data/pairs")
PSEUDO = Path("data/pseudo")


def choose_device(params: Params) -> torch.device:
    """The device to compute on.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if params.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda, but torch sees no GPU; set it to auto or cpu")
    return torch.device("cuda" if params.device != "cpu" and torch.cuda.is_available() else "cpu")


def on_all_ranks(function: Callable[..., None], params: Params, name: str) -> None:
    """Run a training stage's function on `processes` processes.

    Raises:
        ValueError: there are fewer GPUs than processes; and whatever the function raises.
    """
    torch.set_num_threads(params.threads)
    distributed.launch(params.processes, function, params, name, device=choose_device(params))


def seed_everything(seed: int, threads: int) -> None:
    """Seed Python, NumPy and torch and make torch's sums repeatable."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
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


def check_masks(params: Params) -> None:
    """Mask heads need masks: whichever experiment is run first says so.

    Raises:
        ValueError: the data set has boxes only, and an experiment has a mask head.
    """
    if read_summary()["train"]["masks"]:
        return
    for kind in ("extractors", "detectors", "students"):
        for key in getattr(params.experiments, kind):
            if (head := experiments.head(params, f"{kind}/{key}")) in MASK_HEADS:
                raise ValueError(
                    f"experiments.{kind}.{key}: {head} needs masks, and the data set has boxes only; set its head, or "
                    "model.head, to faster_rcnn, cascade_rcnn, retinanet or fcos"
                )


def check_drawn(params: Params) -> None:
    """What is drawn last is known first.

    Raises:
        ValueError: `figures.image` is beyond the validation set.
    """
    if params.figures.image >= (images := read_summary()["val"]["images"]):
        raise ValueError(f"figures.image: {params.figures.image}, but the validation set has {images} images: lower it")


def read_summary() -> dict[str, Any]:
    """What `prepare` says of the data set."""
    return read_json(PREPARED / "summary.json")


def check_labels(params: Params, key: str) -> None:
    """Pseudo-labels that were made with other parameters must not pass for those of today's.

    Raises:
        ValueError: `data/pseudo/KEY.json` was, or it is not there.
    """
    path = PSEUDO / f"{key}.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: make it first (`dvc repro` or `snakemake` does)")
    if read_json(path)["info"]["params_hash"] != fingerprint(params, f"pseudo_labels/{key}"):
        raise ValueError(f"{path} was made with other parameters than these: make it again")


@contextmanager
def open_run(params: Params, node: str, inputs: list[Path]) -> Iterator[tuple[Path, dict[str, str]]]:
    """The run's folder for a node, and the sums of all it starts from, for `save_model`.

    The run's checkpoints are removed once the body has ended well.

    Args:
        inputs: the data files that the run reads besides its parents' weights.

    Raises:
        ValueError: a parent was trained with other parameters, a mask head has no masks to learn from, or there is no
            image to draw in the end.
    """
    check_masks(params)
    check_drawn(params)
    trained = [parent for parent in parents(params, node) if parent.split("/")[0] in experiments.STAGES]
    for parent in trained:
        check_trained(params, parent)
    weights = [MODELS / parent / "model.safetensors" for parent in trained]
    found = sums([*inputs, *weights])
    software = [code_version(), torch.__version__, choose_device(params).type]
    kind, _, key = node.rpartition("/")
    params_hash = fingerprint(params, node)
    run = state.RUNS / kind / f"{key}-{digest([params_hash, found, software])[:12]}"
    with state.recorded(run, node, params_hash, first=distributed.is_main()):
        yield run, found
        engine.finish(run)
