"""Check the data set, or draw the embedded one, and write it in the form that later stages read: data/prepared/."""

from pathlib import Path
from typing import Any

from _stage import main


def run(params: Any) -> None:
    from afigan.data.prepare import watched
    from afigan.data.prepare.stage import prepare

    prepare(params.data, params.seed, Path("data/prepared"))
    watched.link(params.data.annotation_files)


if __name__ == "__main__":
    main(__doc__, run)
