"""Links to the annotation files that not every data set has, through which DVC notices that they have changed.

DVC has no optional dependencies. But it runs a stage again if one of its outputs has changed, and follows links. So
`data/annotations/SPLIT` is an output of the stage `prepare`: a link to the annotation file of the split, or a line of
text if it has none of its own. Snakemake has the files themselves as inputs, and does not look at the links.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from afigan.runtime.files import atomic_path

WATCHED = Path("data/annotations")
NONE = "This split has no annotation file of its own.\n"  # git has the files with this text


def link(files: Mapping[str, str], folder: Path = WATCHED) -> None:
    """Write `folder`/{val,test}: links to `files[split]`, relative where the file's own path is."""
    for split in ("val", "test"):
        with atomic_path(folder / split) as path:
            if split not in files:
                path.write_text(NONE, "utf-8")
            elif os.path.isabs(files[split]):
                path.symlink_to(files[split])
            else:
                path.symlink_to(os.path.relpath(os.path.abspath(files[split]), os.path.realpath(folder)))
