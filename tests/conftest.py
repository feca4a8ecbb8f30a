"""Before any test: detectron2 can be imported, and torch uses one thread, so that sums are the same everywhere."""

import os

import torch

import afigan  # noqa: F401  (finds detectron2's missing operators, see afigan.compat)

os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
torch.set_num_threads(1)
