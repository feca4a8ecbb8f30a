"""All training stages on the ranks of one torchrun, because a start takes seconds.

torchrun --nproc-per-node 2 tests/support/torchrun_stages.py PARAMS NODE...
"""

import logging
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from afigan.params.lineage import Lineage  # noqa: E402
from afigan.params.loading import load_params  # noqa: E402
from afigan.params.schema import Params  # noqa: E402
from afigan.runtime import comm  # noqa: E402
from afigan.runtime.device import choose_device  # noqa: E402
from afigan.training import afigan, backbone, detector, extractor  # noqa: E402
from afigan.training.launch import launch  # noqa: E402

STAGES = {"backbones": backbone, "afigan": afigan, "extractors": extractor, "detectors": detector}


def train(params: Params, nodes: list[str]) -> None:
    """Train one node after the other, as the ranks of `on_all_ranks` do."""
    for node in nodes:
        kind, _ = node.split("/")
        run = getattr(STAGES[kind], "_write" if kind == "backbones" else "_train")
        run(Lineage(params)[node])
        comm.synchronize()  # until rank 0 has written it


if __name__ == "__main__":
    logging.getLogger("afigan").setLevel(logging.WARNING)
    params = load_params(sys.argv[1])
    launch(params.processes, train, params, sys.argv[2:], device=choose_device(params.device))
