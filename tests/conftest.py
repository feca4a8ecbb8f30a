"""Set-up before any test: detectron2 can be imported, torch uses one thread (the same sums everywhere), SIGINT ends."""

import os
import re
import signal
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

import afigan  # noqa: F401  (finds detectron2's missing operators, see afigan.compat)
from afigan.runtime import preemption

ROOT = Path(__file__).resolve().parents[1]
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
torch.set_num_threads(1)
# on a busy machine, the time of an example says nothing about the code
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")
# a shell that starts the tests in the background has them ignore it
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give the tests of a file to one process, and so those of all files that share a run or a trained world."""
    return _ByWorld(config, log)


class _ByWorld(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return _world(nodeid.partition("::")[0])


@cache
def _world(file: str) -> str:
    """Return the fixtures that a test file shares with others, by its `pytest_plugins`; otherwise the file."""
    found = re.search(r'^pytest_plugins = \["(\w+)"\]', (ROOT / file).read_text("utf-8"), re.MULTILINE)
    return found[1] if found else file


@pytest.fixture(autouse=True)
def no_sigterm_of_another_test():
    """Forget a SIGTERM that a test has sent to this process, which ends no other test."""
    yield
    preemption._asked.clear()
