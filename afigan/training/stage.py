"""Parts that the training stages share: the processes, the run's folder, and the output in models/."""

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
from afigan.outputs.currency import check_current
from afigan.outputs.paths import MODELS
from afigan.outputs.provenance import record, sums
from afigan.params.lineage import Lineage, Node
from afigan.params.schema import Params
from afigan.params.stages import is_trained
from afigan.runtime import comm, state
from afigan.runtime.device import choose_device
from afigan.runtime.files import atomic_path, digest, sha256_file, write_json
from afigan.training import engine
from afigan.training.launch import launch


def on_all_ranks(function: Callable[[Node], None], params: Params, name: str) -> None:
    """Run a training stage's function of a node on `processes` processes.

    Raises:
        ValueError: there are fewer GPUs than processes.
        Exception: any error of the function.
    """
    torch.set_num_threads(params.threads)
    launch(params.processes, _on_this_rank, function, params, name, device=choose_device(params.device))


def _on_this_rank(function: Callable[[Node], None], params: Params, name: str) -> None:
    function(Lineage(params)[name])


def code_version() -> str:
    """Return a hash of the package's modules, because a run must not continue with other code."""
    root = Path(afigan.__file__).parent
    sums = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        module = path.relative_to(root)
        if "reporting" not in module.parts:
            sums.update(str(module).encode() + path.read_bytes())
    return sums.hexdigest()


@contextmanager
def open_run(node: Node, inputs: list[Path]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Open the run's folder for a node; yield it and the hashes of the run's inputs, which `save_model` needs.

    The run's checkpoints are removed when the body has ended without an error.

    Args:
        inputs: the data files that the run reads in addition to its parents' weights.

    Raises:
        ValueError: a parent is missing or was created with other parameters.
    """
    for parent in node.parents:
        check_current(parent)
    weights = [MODELS / parent.name / "model.safetensors" for parent in node.parents if is_trained(parent.name)]
    found = sums([*inputs, *weights])
    software = [code_version(), torch.__version__, choose_device(node.params.device).type]
    run = state.RUNS / node.kind / f"{node.key}-{digest([node.params_hash, found, software])[:12]}"
    with state.recorded(run, node.name, node.params_hash, first=comm.is_main_process()):
        yield run, found
        engine.finish(run)


def save_model(
    node: Node,
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
    out = MODELS / node.name
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "log.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in log), "utf-8")
    with atomic_path(out / "model.safetensors") as temporary:
        # not `save_file`: only the owner can read its file, and nobody removes its temporary file after a SIGKILL
        temporary.write_bytes(save({name: value.detach().cpu().contiguous() for name, value in weights.items()}))
        about = record(node, inputs) | {"sha256": sha256_file(temporary)}
        write_json(out / "config.json", {"node": node.name, **about, **config})
