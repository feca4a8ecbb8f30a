"""Facts of a run that differ when it is repeated: times of its stages, commit, machine, versions of libraries.

Nothing of this is in results that are compared: the page has them between marks, and `without_facts` cuts them out.
"""

import os
import re
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from afigan.runtime import state
from afigan.runtime.files import read_json

ROOT = Path(__file__).resolve().parents[3]
CODE = ("afigan", "workflow", "conf", "dvc.yaml", "Snakefile", "requirements.lock")  # the code of a run
LIBRARIES = ("torch", "torchvision", "numpy", "scipy")
PAUSE = 300.0  # seconds; an engine needs some between two stages
BEGIN, END = "<!-- facts -->", "<!-- /facts -->"  # around them in the page
UNKNOWN = "not recorded"

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Facts:
    """stages: (node, seconds) of each stage's last process, in the order of their beginnings; wall: seconds of all."""

    stages: Sequence[tuple[str, float]]
    wall: float | None
    date: str
    commit: str
    machine: str
    libraries: str


def facts(nodes: Collection[str]) -> Facts:
    """Return the facts of the run in the working directory; what is not recorded is named so.

    nodes: all nodes of its parameters; runs/ may have others, of experiments that have been removed.
    """
    told = [(node, span) for node, span in recorded(nodes) if node != "tables"]  # which writes the page
    spans = sorted(span for _, span in told)
    stages = sorted(told, key=lambda item: (item[1], item[0]))
    return Facts(
        stages=[(node, (end - begin).total_seconds()) for node, (begin, end) in stages],
        wall=covered(spans) if spans else None,
        date=f"{max(end for _, end in spans):%Y-%m-%d}" if spans else UNKNOWN,
        commit=_or_unknown(commit),
        machine=_or_unknown(lambda: machine(nodes)),
        libraries=", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
    )


def without_facts(page: str) -> str:
    """Return a page without the facts: equal results give equal texts. Other texts are returned unchanged."""
    return re.sub(f"{BEGIN}.*?{END}", "", page, flags=re.DOTALL)


def recorded(nodes: Collection[str]) -> Iterator[tuple[str, Span]]:
    """Yield node, and begin and end of its stage's last process, from state.json."""
    for node in nodes:
        told = state.read(state.RUNS / node)
        if told is not None and told.status == "done":
            yield node, (told.began, told.written)


def covered(spans: Sequence[Span]) -> float:
    """Return seconds from begin to end without pauses, which are gaps longer than PAUSE in which no stage ran."""
    total, end = 0.0, spans[0][0]
    for first, last in spans:
        pause = (first - end).total_seconds()
        begin = first if pause > PAUSE else end
        total += max(0.0, (last - begin).total_seconds())
        end = max(end, last)
    return total


def machine(nodes: Collection[str]) -> str:
    """Return processor or GPU, cores and memory of this machine, on which the stages of `nodes` ran.

    Raises:
        ValueError: the run took place on another machine, or nothing says where.
    """
    here = state.Process().host
    hosts = {told.process.host for node in nodes if (told := state.read(state.RUNS / node))}
    if hosts != {here}:
        raise ValueError("the run took place on another machine, or runs/ does not say on which")
    device = read_json("results/benchmark.json")["device"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{device}, {cores} cores, {memory:.0f} GiB"


def commit() -> str:
    """Return the commit of this file's checkout.

    Raises:
        ValueError: git does not know it.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"git cannot find the commit ({done.stderr.strip()})")
        return done.stdout.strip()

    return git("rev-parse", "HEAD") + (", with changes" if git("status", "--porcelain", "--", *CODE) else "")


def _or_unknown(fact: Callable[[], str]) -> str:
    try:
        return fact()
    except (ValueError, OSError):  # also without git
        return UNKNOWN


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return UNKNOWN
