"""Parameters and time per image of all evaluated models: results/benchmark.json. Nothing else should run meanwhile."""

from typing import Any

from _stage import main


def run(params: Any) -> None:
    from afigan.evaluation.speed import benchmark

    benchmark(params)


if __name__ == "__main__":
    main(__doc__, run)
