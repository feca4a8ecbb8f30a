"""Adoption: the outputs of one engine in the working directory become the other's too, if none is stale."""

from collections.abc import Iterable

from afigan.outputs.currency import stale
from afigan.params.schema import Params
from workflow.adopt import engines

NAMED = 20  # refused outputs named in one message


def to_dvc(params: Params) -> str:
    """Write dvc.lock and DVC's cache for Snakemake's outputs; return a sentence on it.

    Raises:
        ValueError: something is stale, or an engine cannot do its part.
    """
    if not engines.snakemake_has_records():
        raise ValueError("Snakemake has created nothing here. If DVC has, run `make adopt-snakemake`")
    stages = engines.snakemake_stages()
    found = {stage.name: f"is due: {stage.due}" for stage in stages if stage.due}
    doubts = {path: doubt for stage in stages for path, doubt in stage.doubts.items()} | stale(params)
    # outputs that will be created anyway need not be named
    kept = [output for stage in stages if not stage.runs for output in stage.outputs]
    again = {}
    for path, doubt in doubts.items():
        if output := within(path, kept):
            found[path] = doubt
            again[output] = True
    if found:
        redo = " ".join(["snakemake --cores 2", *(["--forcerun", *again] if again else [])])
        remedy = f"`{redo}` creates them again. If DVC created them, run `make adopt-snakemake`"
        raise ValueError(listed("not adopted, because not all outputs are Snakemake's and current", found, remedy))
    engines.dvc_takes_all()
    if changes := engines.dvc_changes():
        raise ValueError(listed("DVC has adopted the outputs, but still finds changes", changes))
    return f"DVC has all {len(stages)} stages; `git add dvc.lock` keeps them, `dvc push` shares them"


def to_snakemake(params: Params) -> str:
    """Write Snakemake's records of outputs that DVC has created or fetched; return a sentence on it.

    Raises:
        ValueError: something is stale, or an engine cannot do its part.
    """
    if not engines.dvc_has_records():
        raise ValueError("DVC has created nothing here: there is no dvc.lock. If Snakemake has, run `make adopt-dvc`")
    if changes := engines.dvc_changes():
        remedy = (
            "`dvc repro` creates them again, `dvc pull` fetches them if another checkout has pushed them. If "
            "Snakemake created them, run `make adopt-dvc`"
        )
        raise ValueError(listed("not adopted, because not all outputs are DVC's and current", changes, remedy))
    if found := stale(params):  # outputs of a `dvc commit -f`, which takes any
        makers = engines.dvc_stages()
        again = dict.fromkeys(makers[output] for path in found if (output := within(path, makers)))
        remedy = f"`dvc repro --force --downstream {' '.join(again)}` creates them again"
        raise ValueError(listed("not adopted, because stale outputs were committed to DVC", found, remedy))
    engines.snakemake_takes_all()
    stages = engines.snakemake_stages()
    if due := {stage.name: stage.due for stage in stages if stage.runs}:
        raise ValueError(listed("Snakemake has adopted the outputs, but would still run", due))
    return f"Snakemake has all {len(stages)} stages"


def within(path: str, outputs: Iterable[str]) -> str | None:
    """Return the output that is the file or contains it."""
    return next((output for output in outputs if path == output or path.startswith(f"{output}/")), None)


def listed(title: str, found: dict[str, str], remedy: str = "") -> str:
    lines = engines.first([f"{name} {reason}" for name, reason in found.items()], NAMED)
    return "\n  ".join([f"{title}:", *lines]) + (f"\n{remedy}" if remedy else "")
