"""Write results on the test images in the form of COCO's challenge server: results/submissions/KEY/."""

from typing import Any

from _stage import main


def run(params: Any, key: str) -> None:
    from afigan.evaluation.submission import submit

    submit(params, key)


if __name__ == "__main__":
    main(__doc__, run, "key", "experiments.submissions")
