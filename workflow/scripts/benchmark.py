"""Parameters and time per image of an evaluation's model: results/benchmark/KEY.json. Not part of the pipeline."""

from typing import Any

from _stage import main


def run(params: Any, key: str) -> None:
    from afigan.evaluation.speed import benchmark

    benchmark(params, key)


if __name__ == "__main__":
    main(__doc__, run, "key", "experiments.evaluations")
