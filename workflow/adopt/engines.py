"""Snakemake and DVC: their records of the stages, and how each takes the other's outputs as its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from snakemake.api import SnakemakeApi
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

from afigan.runtime.files import sha256_file

for engine in ("snakemake", "dvc"):  # they have handlers of their own
    logging.getLogger(engine).propagate = False


@dataclass(frozen=True)
class Stage:
    """A stage in Snakemake's view.

    Attributes:
        name: `train_detector@a1`, as DVC calls it.
        outputs: files and folders.
        runs: whether Snakemake would run it.
        due: why Snakemake would run it, apart from other stages being run; empty if there is no other reason.
        doubts: {output: why Snakemake's records do not prove it, although Snakemake may accept it}, for the stage's own
            outputs and for those that it depends on.
    """

    name: str
    outputs: tuple[str, ...]
    runs: bool
    due: str
    doubts: dict[str, str]


def snakemake_has_records() -> bool:
    """Return True if Snakemake has created any output here."""
    return any(Path(".snakemake/metadata").glob("*"))


def dvc_has_records() -> bool:
    """Return True if DVC has created any output here, or knows another checkout's outputs from dvc.lock."""
    return Path("dvc.lock").is_file()


def first(lines: list[str], most: int) -> list[str]:
    """Return the first `most` lines, and a line with the number of others."""
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]


def snakemake_stages() -> list[Stage]:
    """Return the stages of Snakefile with the current params.yaml. Nothing is run.

    Raises:
        ValueError: Snakemake fails; the message is Snakemake's.
    """
    with _snakemake("dryrun", DAGSettings(force_incomplete=True)) as workflow:
        jobs = [job for job in workflow.dag.jobs if job.shellcmd]
        made = {str(out) for job in jobs for out in job.output}
        sums: dict[str, str] = {}
        return [_stage(job, workflow.dag, workflow.persistence, made, sums) for job in jobs]


def snakemake_takes_all() -> None:
    """Write records of the current parameters, code and inputs for every output; order times of change by stage.

    The contents of the outputs do not change.

    Raises:
        ValueError: Snakemake fails; the message is Snakemake's.
    """
    with _snakemake("touch", DAGSettings(forceall=True, force_incomplete=True)):
        pass


def dvc_changes() -> dict[str, str]:
    """Return {stage: the changes that `dvc status` finds}, in few words.

    Raises:
        ValueError: DVC fails; the message is DVC's.
    """
    with _dvc() as repo:
        return {stage: "; ".join(first([*_changes(reasons)], 3)) for stage, reasons in repo.status().items()}


def dvc_stages() -> dict[str, str]:
    """Return {output: the stage that creates it}."""
    with _dvc() as repo:
        return {out.def_path: stage.addressing for stage in repo.index.stages for out in stage.outs}


def dvc_takes_all() -> None:
    """Write dvc.lock for the present outputs, and copy them to the cache.

    The outputs stay the same files with the same times of change, because Snakemake uses these times.

    Raises:
        ValueError: DVC fails; the message is DVC's.
    """
    with _dvc() as repo:
        repo.commit(force=True, relink=False)


def _stage(job: Any, dag: Any, persistence: Any, made: set[str], sums: dict[str, str]) -> Stage:
    runs, outputs = dag.needrun(job), [*map(str, job.output)]
    records = [persistence.metadata(out) for out in job.output]
    doubts = [doubt for out, record in zip(outputs, records, strict=True) for doubt in _doubts(out, record, made, sums)]
    return Stage(
        name="@".join([job.rule.name, *job.wildcards]),
        outputs=tuple(outputs),
        runs=runs,
        due=_due(dag.reason(job)) if runs else "",
        doubts=dict(doubts),
    )


def _due(reason: Any) -> str:
    found = [name for name in reason.get_names() if name != "input files updated by another job"]
    return ", ".join([*found, *sorted(reason.updated_input - reason.updated_input_run), *sorted(reason.missing_output)])


def _doubts(output: str, record: Any, made: set[str], sums: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield doubts that Snakemake does not check: it only knows, by times of change, which files are newer.

    Args:
        record: Snakemake's record of an output.
        made: all outputs.
        sums: hashes of the files read so far; this function adds others.
    """
    if not Path(output).exists():
        yield output, "is not there"
        return
    if record is None:
        yield output, "is not known to Snakemake"
        return
    for path, recorded in record.input_checksums.items():
        if path not in sums:
            sums[path] = f"sha256:{sha256_file(path)}" if Path(path).is_file() else ""
        if sums[path] != recorded:
            if path in made:
                yield path, f"is not what {output} was created from"
            else:
                yield output, f"was created from another {path}"
    if changed_since(Path(output), record.endtime):
        yield output, "has changed since Snakemake created it"


def changed_since(path: Path, recorded: float) -> bool:
    """Return True if an output's time of change, in seconds, is not the one that Snakemake recorded.

    The recorded time of a folder is that of the file .snakemake_timestamp, which Snakemake writes to it last.
    """
    if path.is_dir():
        return max(file.lstat().st_mtime for file in (path, *path.rglob("*"))) > recorded
    return recorded not in (path.lstat().st_mtime, path.stat().st_mtime)


@contextmanager
def _snakemake(executor: str, settings: DAGSettings) -> Iterator[Any]:
    """Give Snakemake's workflow object after `executor` has processed it."""
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, enable_file_logging=False)) as api:
            workflow = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))
            workflow.dag(settings).execute_workflow(executor=executor)
            yield workflow._workflow
    except WorkflowError as error:
        raise ValueError(f"Snakemake: {error}") from error


@contextmanager
def _dvc() -> Iterator[Repo]:
    try:
        with Repo() as repo:
            yield repo
    except DvcException as error:
        remedy = ": run `git init`" if "not a git repository" in str(error) else ""
        raise ValueError(f"DVC: {error}{remedy}") from error


def _changes(reasons: list[Any]) -> Iterator[str]:
    """Convert [{"changed outs": {"models/x": "deleted"}}, "always changed"]: `deleted models/x`, `always changed`."""
    for reason in reasons:
        if reason == "changed command":
            yield "has another command or other parameters"  # parameters are behind the command in dvc.yaml
        elif isinstance(reason, str):
            yield reason
        else:
            yield from (f"{how} {what}" for changes in reason.values() for what, how in _pairs(changes))


def _pairs(changes: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names and changes. Parameters are one level deeper than files: under the name of their own file."""
    for what, how in changes.items():
        yield from how.items() if isinstance(how, dict) else [(what, how)]
