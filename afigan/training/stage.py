"""Parts that the training stages share: first checks, the run's folder, and the output in models/."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

import afigan
from afigan.data.split import PSEUDO, read_summary
from afigan.outputs.models import MODELS, check_trained
from afigan.outputs.provenance import record, sums
from afigan.params import stages as experiments
from afigan.params.lineage import fingerprint, parents
from afigan.params.masks import WITHOUT_MASKS, heads_with_masks
from afigan.params.schema import Params
from afigan.runtime import comm, state
from afigan.runtime.device import choose_device
from afigan.runtime.files import atomic_path, digest, read_json, sha256_file, write_json
from afigan.training import engine
from afigan.training.launch import launch


def on_all_ranks(function: Callable[..., None], params: Params, name: str) -> None:
    """Run a training stage's function on `processes` processes.

    Raises:
        ValueError: there are fewer GPUs than processes.
        Exception: any error of the function.
    """
    torch.set_num_threads(params.threads)
    launch(params.processes, function, params, name, device=choose_device(params.device))


def code_version() -> str:
    """Return a hash of the package's modules, because a run must not continue with other code."""
    root = Path(afigan.__file__).parent
    sums = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        module = path.relative_to(root)
        if "reporting" not in module.parts:
            sums.update(str(module).encode() + path.read_bytes())
    return sums.hexdigest()


def check_masks(params: Params) -> None:
    """Check, in the experiment that runs first, that the data have masks for all mask heads.

    Raises:
        ValueError: the data set has boxes only, and an experiment has a mask head.
    """
    if read_summary()["train"]["masks"]:
        return
    if heads := heads_with_masks(params):
        name, head = next(iter(heads.items()))
        raise ValueError(f"{name}: {head} needs masks, but the data set has only boxes; {WITHOUT_MASKS}")


def check_drawn(params: Params) -> None:
    """Check before training that the image for the figures exists.

    Raises:
        ValueError: `figures.image` is beyond the validation set.
    """
    if params.figures.image >= (images := read_summary()["val"]["images"]):
        raise ValueError(f"figures.image: {params.figures.image}, but the validation set has {images} images: lower it")


def check_labels(params: Params, key: str) -> None:
    """Refuse pseudo-labels that were created with other parameters than the current ones.

    Raises:
        ValueError: `data/pseudo/KEY.json` was created with other parameters, or it is missing.
    """
    path = PSEUDO / f"{key}.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: create it first (`dvc repro` or `snakemake` does)")
    if read_json(path)["info"]["params_hash"] != fingerprint(params, f"pseudo_labels/{key}"):
        raise ValueError(f"{path} was created with other parameters than the current ones: create it again")


@contextmanager
def open_run(params: Params, node: str, inputs: list[Path]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Open the run's folder for a node; yield it and the hashes of the run's inputs, which `save_model` needs.

    The run's checkpoints are removed when the body has ended without an error.

    Args:
        inputs: the data files that the run reads in addition to its parents' weights.

    Raises:
        ValueError: a parent was trained with other parameters, a mask head has no masks to learn from, or the image of
            the figures does not exist.
    """
    check_masks(params)
    check_drawn(params)
    trained = [parent for parent in parents(params, node) if parent.split("/")[0] in experiments.STAGES]
    for parent in trained:
        check_trained(params, parent)
    weights = [MODELS / parent / "model.safetensors" for parent in trained]
    found = sums([*inputs, *weights])
    software = [code_version(), torch.__version__, choose_device(params.device).type]
    kind, _, key = node.rpartition("/")
    params_hash = fingerprint(params, node)
    run = state.RUNS / kind / f"{key}-{digest([params_hash, found, software])[:12]}"
    with state.recorded(run, node, params_hash, first=comm.is_main_process()):
        yield run, found
        engine.finish(run)


def save_model(
    params: Params,
    node: str,
    inputs: dict[str, str],
    weights: dict[str, Tensor],
    log: list[dict[str, float]],
    config: dict[str, Any],
) -> None:
    """Write `models/NODE` on rank 0: log and config first, the weights last, each file atomically.

    Args:
        inputs: the hashes of the model's inputs, from `open_run`. The config has them, and the hash of the weights.
    """
    if not comm.is_main_process():
        return
    out = MODELS / node
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "log.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in log), "utf-8")
    with atomic_path(out / "model.safetensors") as temporary:
        # not `save_file`: only the owner can read its file, and nobody removes its temporary file after a SIGKILL
        temporary.write_bytes(save({name: value.detach().cpu().contiguous() for name, value in weights.items()}))
        made = record(params, node, inputs) | {"sha256": sha256_file(temporary)}
        write_json(out / "config.json", {"node": node, **made, **config})
