"""The smoke profile's pipeline, run from nothing by both engines: `pytest_plugins = ["runs"]` gives the fixture.

The runs are made once a session, and shared: who changes something in them puts it back, or works in a copy.
"""

import subprocess
from pathlib import Path

import pytest
from dags import copy_project, environment

RUN = {"dvc": ["dvc", "repro"], "snakemake": ["snakemake", "--cores", "2"]}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The project of each engine after its run, both at a time."""
    roots = {engine: copy_project(tmp_path_factory.mktemp(engine), "smoke") for engine in RUN}
    started = {}
    for engine, root in roots.items():
        log = (root / "run.log").open("w")
        started[engine] = subprocess.Popen(RUN[engine], cwd=root, env=environment(), stdout=log, stderr=log)
    for engine, process in started.items():
        assert process.wait(timeout=900) == 0, (roots[engine] / "run.log").read_text("utf-8")[-4000:]
    return roots
