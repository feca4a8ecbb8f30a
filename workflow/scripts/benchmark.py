"""Measure parameters and time per image: results/benchmark.json. Nothing else should run meanwhile.

All evaluated models are measured and, unless benchmark.paper_size is null, the paper's Mask R-CNN with nearest and with
AFI interpolation.
"""

from typing import Any

from _stage import main


def run(params: Any) -> None:
    from afigan.evaluation.speed import benchmark

    benchmark(params)


if __name__ == "__main__":
    main(__doc__, run)
