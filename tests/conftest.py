"""Set-up before any test: detectron2 can be imported, torch uses one thread (the same sums everywhere), SIGINT ends."""

import os
import signal

import pytest
import torch
from hypothesis import settings

import afigan  # noqa: F401  (finds detectron2's missing operators, see afigan.compat)
from afigan.runtime import preemption

os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
torch.set_num_threads(1)
# on a busy machine, the time of an example says nothing about the code
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")
# a shell that starts the tests in the background has them ignore it
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share a run or a trained world in one process, and the others of a file in one."""
    for item in items:
        shared = next((name for name in ("runs", "world") if name in getattr(item, "fixturenames", ())), item.path.name)
        item.add_marker(pytest.mark.xdist_group(shared))


@pytest.fixture(autouse=True)
def no_sigterm_of_another_test():
    """Forget a SIGTERM that a test has sent to this process, which ends no other test."""
    yield
    preemption._asked.clear()
