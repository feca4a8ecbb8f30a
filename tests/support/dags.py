"""The two engines' pipelines in one form: command -> its dependencies, outputs and parameters.

As a program, in a project's root, it prints Snakemake's jobs as one JSON object; with `--due`, those that are due.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from afigan.params.loading import check_params, compose, load_params

ROOT = Path(__file__).resolve().parents[2]
WATCHED = "data/annotations"
# what both engines need of the repository, without what its own runs have left in it
PROJECT = ("Snakefile", "dvc.yaml", ".dvcignore", ".dvc/config", "afigan", "conf", "profiles", "workflow", WATCHED)


@dataclass(frozen=True)
class Job:
    """A job. Paths are relative to the project's root; the outputs in a folder that is read count as the folder."""

    deps: frozenset[str]
    outs: frozenset[str]
    params: frozenset[str]


Dag = dict[str, Job]


def copy_project(root: Path, profile: str) -> Path:
    """Copy the project to the folder `root`, with params.yaml of a profile, as a Git repository without commits."""
    for name in PROJECT:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    values = compose(profile, ROOT / "conf")
    write_params(root, values)
    for file in check_params(values).data.annotation_files.values():  # the engines look only at the names
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shutil.copy(ROOT / ".gitignore", root)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


def write_params(root: Path, values: dict) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")


def nested(values: dict, path: str) -> tuple[dict, str]:
    """Return the dictionary that contains the dotted name, and the name's last part."""
    *sections, last = path.split(".")
    for section in sections:
        values = values[section]
    return values, last


@contextmanager
def changed(root: Path, path: str, value: Any) -> Iterator[None]:
    """Give params.yaml another value under a dotted name within the context."""
    file = root / "params.yaml"
    text = file.read_text("utf-8")
    values = yaml.safe_load(text)
    section, last = nested(values, path)
    section[last] = value
    write_params(root, values)
    try:
        yield
    finally:
        file.write_text(text, "utf-8")


def environment() -> dict[str, str]:
    """Return environment variables of a process that finds this environment's programs."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def dvc_dag(root: Path) -> Dag:
    """Return the stages of dvc.yaml with the current params.yaml.

    The links of `prepare` count as the annotation files that DVC watches through them.
    """
    from dvc.repo import Repo

    files = load_params(root / "params.yaml").data.annotation_files

    with Repo(str(root)) as repo:
        stages = list(repo.index.stages)
        made = {out.def_path for stage in stages for out in stage.outs}
        links = {out for out in made if out.startswith(f"{WATCHED}/")}
        assert links == {f"{WATCHED}/{split}" for split in ("val", "test")}

        def within(path: str) -> Iterator[str]:
            if (root / path).is_dir() and path.startswith("afigan/"):
                inside = [
                    file.relative_to(root).as_posix() for file in (root / path).rglob("*") if file.suffix != ".pyc"
                ]
                yield from (file for file in inside if (root / file).is_file())
            else:
                yield from [out for out in made if out.startswith(f"{path}/")] or [path]

        templates = yaml.safe_load((root / "dvc.yaml").read_text("utf-8"))["stages"]
        return {
            bare(stage.cmd): Job(
                deps=frozenset(f for d in stage.deps if d not in stage.params for f in within(d.def_path))
                | frozenset(files.values() if links & {out.def_path for out in stage.outs} else ()),
                outs=frozenset(out.def_path for out in stage.outs) - links,
                params=frozenset(name for parameters in stage.params for name in parameters.params)
                | frozenset(_named(templates, stage.name)),
            )
            for stage in stages
        }


def bare(text: str) -> str:
    """Return a stage's command without the parameters behind it."""
    return text.split(" # ")[0]


def _named(templates: dict[str, Any], stage: str) -> Iterator[str]:
    """Yield the parameters behind a stage's command in dvc.yaml."""
    name, _, key = stage.partition("@")
    template = templates[name]
    _, _, comment = template.get("do", template)["cmd"].partition(" # ")
    for found in re.findall(r"\$\{(.+?)\}", comment):
        yield f"{template['foreach'][2:-1]}.{key}" if found == "item" else found


def dvc_commands(root: Path) -> dict[str, str]:
    """Return {stage: its command, with the parameters behind it}."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return {stage.name: stage.cmd for stage in repo.index.stages}


def dvc_due(root: Path) -> set[str]:
    """Return the commands of the stages that `dvc status` calls changed, and of all that depend on them."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        changed = [name for name, reasons in repo.status().items() if reasons != ["always changed"]]
    commands = dvc_commands(root)
    return downstream(dvc_dag(root), {bare(commands[name.rpartition(":")[2]]) for name in changed})


def downstream(dag: Dag, commands: Iterable[str]) -> set[str]:
    """Return these commands and those that depend on their outputs."""
    due = set(commands)
    while more := {c for c, job in dag.items() if c not in due and any(job.deps & dag[d].outs for d in due)}:
        due |= more
    return due


def snakemake_dag(root: Path, due: bool = False) -> Dag:
    """Return the jobs of Snakefile with the current params.yaml, or only those that are due."""
    command = [sys.executable, str(Path(__file__)), *(["--due"] if due else [])]
    environ = environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = json.loads(done.stdout.splitlines()[-1])
    return {command: Job(**{name: frozenset(paths) for name, paths in job.items()}) for command, job in jobs.items()}


def _print_snakemake_dag(due: bool) -> None:
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(resource_settings=ResourceSettings(cores=2), snakefile=Path("Snakefile"))
        workflow.dag(DAGSettings(forceall=not due)).execute_workflow(executor="dryrun")
        jobs = {}
        for job in workflow._workflow.dag.needrun_jobs(exclude_finished=False):
            if job.shellcmd:
                params = {name for values in job.params for name in values}
                jobs[job.shellcmd] = {"deps": list(job.input), "outs": list(job.output), "params": list(params)}
    print(json.dumps(jobs))


if __name__ == "__main__":
    _print_snakemake_dag("--due" in sys.argv)
