"""The smoke profile's pipeline, run from nothing by both engines: `pytest_plugins = ["runs"]` gives the fixture.

The runs are created once a session, and shared: a test that changes something in them puts it back, or uses a copy.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from dags import copy_project, environment

RUN = {"dvc": ["dvc", "repro"], "snakemake": ["snakemake", "--cores", "2"]}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The project of each engine after its run, both at a time; a training of each is killed after an iteration."""
    roots = {engine: copy_project(tmp_path_factory.mktemp(engine), "smoke") for engine in RUN}
    started = {engine: _start(engine, root) for engine, root in roots.items()}
    uninterrupted = set(RUN)
    while uninterrupted:
        for engine in sorted(uninterrupted):
            if list(roots[engine].glob("runs/extractors/main-*/checkpoint-00000001.pt")):
                holder = (roots[engine] / "runs/locks/train_extractor-main.lock").read_text("utf-8").split()[1]
                os.kill(int(holder), signal.SIGKILL)
                uninterrupted.remove(engine)
            assert started[engine].poll() is None, _log(roots[engine])
        time.sleep(0.005)
    for engine, process in started.items():
        assert process.wait(timeout=900) != 0
        started[engine] = _start(engine, roots[engine])
    for engine, process in started.items():
        assert process.wait(timeout=900) == 0, _log(roots[engine])
    return roots


def _start(engine: str, root: Path) -> subprocess.Popen:
    log = (root / "run.log").open("a")
    return subprocess.Popen(RUN[engine], cwd=root, env=environment(), stdout=log, stderr=log)


def _log(root: Path) -> str:
    return (root / "run.log").read_text("utf-8")[-4000:]
