"""What Snakemake and DVC say of the stages, and how each is told to take what the other has made for its own."""

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

from afigan.files import sha256_file

for engine in ("snakemake", "dvc"):  # they have handlers of their own
    logging.getLogger(engine).propagate = False


@dataclass(frozen=True)
class Stage:
    """A stage as Snakemake has it.

    Attributes:
        name: `train_detector@a1`, as DVC calls it.
        outputs: files and folders.
        runs: whether Snakemake would run it.
        due: why it would, other stages' being run left aside; empty if for nothing else.
        doubts: {output: why Snakemake's records do not vouch for it, though Snakemake may let it pass}, of its own
            outputs and of those that it was made from.
    """

    name: str
    outputs: tuple[str, ...]
    runs: bool
    due: str
    doubts: dict[str, str]


def snakemake_has_records() -> bool:
    """Whether Snakemake has made anything here."""
    return any(Path(".snakemake/metadata").glob("*"))


def dvc_has_records() -> bool:
    """Whether DVC has made anything here, or has been told what another checkout has made."""
    return Path("dvc.lock").is_file()


def first(lines: list[str], most: int) -> list[str]:
    """That many of them, and how many more there are."""
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]


def snakemake_stages() -> list[Stage]:
    """The stages of Snakefile with today's params.yaml. Nothing is run.

    Raises:
        ValueError: Snakemake cannot say; in its words.
    """
    with _snakemake("dryrun", DAGSettings(force_incomplete=True)) as workflow:
        jobs = [job for job in workflow.dag.jobs if job.shellcmd]
        made, sums = {str(out) for job in jobs for out in job.output}, {}
        return [_stage(job, workflow.dag, workflow.persistence, made, sums) for job in jobs]


def snakemake_takes_all() -> None:
    """Records of today's parameters, code and inputs for every output, and times of change in the stages' order.

    The contents stay as they are.

    Raises:
        ValueError: Snakemake cannot; in its words.
    """
    with _snakemake("touch", DAGSettings(forceall=True, force_incomplete=True)):
        pass


def dvc_changes() -> dict[str, str]:
    """{stage: what of it `dvc status` finds changed}, in few words.

    Raises:
        ValueError: DVC cannot say; in its words.
    """
    with _dvc() as repo:
        return {stage: "; ".join(first([*_changes(reasons)], 3)) for stage, reasons in repo.status().items()}


def dvc_stages() -> dict[str, str]:
    """{output: the stage that makes it}."""
    with _dvc() as repo:
        return {out.def_path: stage.addressing for stage in repo.index.stages for out in stage.outs}


def dvc_takes_all() -> None:
    """dvc.lock with what lies there now, which is copied to the cache.

    The outputs stay the files that they are, their times of change as well: Snakemake goes by them.

    Raises:
        ValueError: DVC cannot; in its words.
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
    """What Snakemake does not look at: it knows by their times of change what is newer than the outputs, no more.

    Args:
        record: Snakemake's, of an output.
        made: all outputs.
        sums: those of files that have been looked at, to which others are added.
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
            yield (path, f"is not what {output} was made from") if path in made else (output, f"is of another {path}")
    if changed_since(Path(output), record.endtime):
        yield output, "has changed since Snakemake made it"


def changed_since(path: Path, recorded: float) -> bool:
    """Whether an output is not of the time of change, in seconds, that Snakemake recorded when it was made.

    The recorded time of a folder is that of the file .snakemake_timestamp, which is written to it last.
    """
    if path.is_dir():
        return max(file.lstat().st_mtime for file in (path, *path.rglob("*"))) > recorded
    return recorded not in (path.lstat().st_mtime, path.stat().st_mtime)


@contextmanager
def _snakemake(executor: str, settings: DAGSettings) -> Iterator[Any]:
    """Snakemake's workflow object after `executor` has been over it."""
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
        raise ValueError(f"DVC: {error}") from error


def _changes(reasons: list[Any]) -> Iterator[str]:
    """[{"changed outs": {"models/x": "deleted"}}, "always changed"] -> `deleted models/x`, `always changed`."""
    for reason in reasons:
        if reason == "changed command":
            yield "is of another command, or of other parameters"  # which stand behind it in dvc.yaml
        elif isinstance(reason, str):
            yield reason
        else:
            yield from (f"{how} {what}" for changes in reason.values() for what, how in _pairs(changes))


def _pairs(changes: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Parameters are one level deeper than files: under the name of their own file."""
    for what, how in changes.items():
        yield from how.items() if isinstance(how, dict) else [(what, how)]
