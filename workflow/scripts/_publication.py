"""Publication of a finished run in the documentation: checks, copies, provenance and a page."""

import contextlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from afigan.outputs import status
from afigan.outputs.currency import stale
from afigan.outputs.paths import all_nodes
from afigan.outputs.prepared import read_summary
from afigan.params.loading import load_params
from afigan.params.schema import Params
from afigan.reporting import report
from afigan.reporting.claims_markdown import BEGIN, END, question_table, verdict_table
from afigan.reporting.judged import Judged
from afigan.reporting.page import facts
from afigan.runtime import state
from afigan.runtime.files import atomic_dir, atomic_path, digest, read_json, sha256_file, write_json

ROOT = Path(__file__).resolve().parents[2]
DOCS, README = ROOT / "docs/results", ROOT / "README.md"
IN_README = "evidence"  # the run whose verdicts README.md has
PLOT, DETECTIONS = "claims.png", "detections.png"
NAMED = 20  # refused items named in one message


@dataclass(frozen=True)
class Given:
    """A run's provenance from the command line; None: take it from the run's own files.

    wall_time: seconds.
    """

    command: str
    commit: str | None = None
    machine: str | None = None
    wall_time: float | None = None
    date: str | None = None


def publish(
    run: Path, name: str, given: Given, docs: Path = ROOT / "docs/results", readme: Path = ROOT / "README.md"
) -> list[Path]:
    """Copy the results of the run in the folder `run` to `docs`/`name`; return what was written.

    Raises:
        ValueError: the run is stale or incomplete, its report is not what the stage `tables` would write now, or
            neither its files nor `given` have the time and machine of the run.
    """
    docs, readme = Path(docs).resolve(), Path(readme).resolve()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"--name {name}: use small letters, digits and _")
    text = readme.read_text("utf-8") if name == IN_README else ""
    if name == IN_README and not (BEGIN in text and END in text):
        raise ValueError(f"{readme} has no marks {BEGIN} and {END}: add them where the verdicts belong")
    with contextlib.chdir(run):
        params = load_params("params.yaml")
        judged = checked(params)
        with atomic_dir(docs / name) as folder:
            shutil.copytree("results/tables", folder / "tables", ignore=shutil.ignore_patterns(".*"))
            for file in ("claims.md", "claims.csv"):
                shutil.copy(Path("results", file), folder)
            for picture in pictures(params):
                with Image.open(Path("results/figures", picture)) as image:  # git keeps every version of it
                    image.convert("RGB").quantize(256).save(folder / picture, optimize=True)
            about = provenance(params, name, given, folder)
            write_json(folder / "provenance.json", about)
            (folder / "README.md").write_text(page(about, judged), "utf-8")
    written = [docs / name]
    if name == IN_README:
        before, _, rest = text.partition(BEGIN)
        with atomic_path(readme) as temporary:
            temporary.write_text(before + verdict_table(judged) + rest.partition(END)[2], "utf-8")
        written.append(readme)
    return written


def pictures(params: Params) -> list[str]:
    """Return the pictures to publish: photographs have owners, images of the embedded set do not."""
    return [PLOT, DETECTIONS] if params.data.source == "shapes" else [PLOT]


def checked(params: Params) -> Judged:
    """Return the verdicts of the run in the working directory if it is complete, reported and has its params.yaml.

    Raises:
        ValueError: one of these conditions fails; the message names it.
    """
    found = {row.node: row.status for row in status.rows(params, state.now()) if row.status not in ("done", "there")}
    if found:
        raise ValueError(_listed("the run is not finished", found))
    if found := stale(params):
        raise ValueError(_listed("the run is stale", found))
    texts, judged = report.report(params)
    found = {
        path.as_posix(): "does not match its metrics"
        for path, text in texts.items()
        if not path.is_file() or facts.without_facts(path.read_text("utf-8")) != facts.without_facts(text)
    }
    if not report.PLOT.is_file():
        found[report.PLOT.as_posix()] = "is not there"
    if found:
        raise ValueError(_listed("the report is stale: run the stage `tables` again", found))
    return judged


def provenance(params: Params, name: str, given: Given, folder: Path) -> dict[str, Any]:
    """Return the provenance of the run in the working directory, and the SHA-256 of every file in `folder`."""
    nodes = all_nodes(params)
    spans = sorted(span for _, span in facts.recorded(nodes))
    if not spans and (given.wall_time is None or given.date is None):
        raise ValueError("runs/ does not say when the run took place: give --wall-time and --date")
    summary = read_summary()
    images = {split: values["images"] for split, values in summary.items()}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    evaluations = params.experiments.evaluations
    seeds = sorted({read_json(f"results/metrics/{key}.json")["seed"] for key in evaluations})
    return {
        "name": name,
        "profile": report.profile_name(params),
        "params_sha256": digest(params.model_dump(mode="json")),
        "data": report.describe_data(params, images, len(summary["train"]["categories"])),
        "evaluations": len(evaluations),
        "seeds": seeds,
        "command": given.command,
        "commit": given.commit or _told(facts.commit, "--commit"),
        "date": given.date or f"{max(end for _, end in spans):%Y-%m-%d}",
        "wall_time_s": round(given.wall_time if given.wall_time is not None else facts.covered(spans)),
        "machine": given.machine or _told(lambda: facts.machine(nodes), "--machine"),
        "libraries": {library: version(library) for library in facts.LIBRARIES},
        "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in files},
    }


def page(about: dict[str, Any], judged: Judged) -> str:
    """Return README.md of a published run; it shows the files that `about` lists."""
    seeds = about["seeds"]
    facts = {
        "profile": f"`{about['profile']}` (SHA-256 of all parameters {about['params_sha256'][:12]}…)",
        "data": about["data"],
        "what": f"{about['evaluations']} evaluations, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}",
        "command": f"`{about['command']}`",
        "commit": about["commit"],
        "date": about["date"],
        "wall time": str(timedelta(seconds=about["wall_time_s"])),
        "machine": about["machine"],
        "libraries": ", ".join(f"{library} {number}" for library, number in about["libraries"].items()),
    }
    tables = [Path(file).stem for file in about["files"] if file.startswith("tables/") and file.endswith(".md")]
    tables.sort(key=lambda table: int(table.removeprefix("table")))  # Table 10 after Table 9
    named = [f"[{table}](tables/{table}.md) ([csv](tables/{table}.csv))" for table in tables]
    detections = "Not published: they show photographs of the data set."
    if DETECTIONS in about["files"]:
        detections = f"![Detections, nearest beside AFI]({DETECTIONS})"
    parts = [
        f"# Results of the run `{about['name']}`",
        "Written by `make publish` from the run's files. [What such a run can and cannot say](../README.md).",
        "\n".join(["| | |", "|---|---|", *(f"| {fact} | {value} |" for fact, value in facts.items())]),
        "## The paper's claims",
        verdict_table(judged),
        "How each verdict is reached: [claims.md](claims.md); every contrast: [claims.csv](claims.csv).",
        f"![Every contrast with its 95 % interval, and the paper's]({PLOT})",
        "## Questions that the paper does not ask",
        question_table(judged),
        "## Tables",
        "\n".join(f"- {entry}" for entry in named),
        "## Detections",
        detections,
    ]
    return "\n\n".join(parts) + "\n"


def _told(fact: Callable[[], str], option: str) -> str:
    try:
        return fact()
    except ValueError as error:
        raise ValueError(f"{error}: give {option}") from None


def _listed(title: str, found: dict[str, str]) -> str:
    lines = [f"{name} {reason}" for name, reason in found.items()]
    more = [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    return "\n  ".join([f"{title}:", *lines[:NAMED], *more])
