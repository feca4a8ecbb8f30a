"""Check the data set, or draw the embedded one, and write it in the form that later stages read: data/prepared/."""

import sys
from pathlib import Path
from typing import Any

from _stage import main


def run(params: Any) -> None:
    from afigan.data.prepare import watched
    from afigan.data.prepare.cautions import cautions
    from afigan.data.prepare.stage import prepare
    from afigan.data.prepare.terminal import show

    summary = prepare(params.data, params.seed, Path("data/prepared"), params=params)
    watched.link(params.data.annotation_files)
    show(summary, cautions(summary, params), sys.stdout)


if __name__ == "__main__":
    main(__doc__, run)
