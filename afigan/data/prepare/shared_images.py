"""Images that two splits share: one file under two paths, or two files of the same bytes."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from afigan.runtime.files import sha256_file


def shared_images(train: Sequence[Path], val: Sequence[Path]) -> list[int]:
    """Return the positions in `val` of the existing files that are also in `train`, whatever their names.

    Only files of the same size are read.
    """
    files = {os.path.realpath(path) for path in train}
    by_size: dict[int, list[str]] = defaultdict(list)
    for file in sorted(files):
        by_size[os.stat(file).st_size].append(file)
    hashes: dict[int, set[str]] = {}  # of train's files of a size
    shared = []
    for position, path in enumerate(val):
        size = os.stat(path).st_size
        if os.path.realpath(path) in files:
            shared.append(position)
        elif size in by_size:
            if size not in hashes:
                hashes[size] = {sha256_file(file) for file in by_size[size]}
            if sha256_file(path) in hashes[size]:
                shared.append(position)
    return shared
