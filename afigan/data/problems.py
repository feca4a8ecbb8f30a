"""The problems of a data set: all of them are collected and shown at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_SHOWN = 50


@dataclass(frozen=True)
class Problem:
    """One problem of a data set: its place, its reason and its remedy."""

    file: str  # the annotation file (or the folder) it was found in
    kind: str  # "file", "folder", "image", "annotation" or "category"
    id: int | str | None  # the id within the file; None for the file itself
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.kind} {self.id}" if self.id is not None else f"this {self.kind}"
        return f"{self.file}: {where}: {self.reason} ({self.remedy})"


class DataError(ValueError):
    """The error of a data set that cannot be used; `problems` has all reasons, the text the first `MAX_SHOWN`.

    The complete list, one problem per line, is in the file `listing`, which the text names.
    """

    def __init__(self, problems: Sequence[Problem], listing: Path):
        assert problems, "a DataError needs a problem"
        self.problems = tuple(problems)
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(f"{problem}\n" for problem in problems), "utf-8", errors="backslashreplace")
        count = len(problems)
        lines = [f"{count} problem{'s' * (count > 1)} in the data; nothing was prepared. Complete list: {listing}"]
        lines += [f"  {problem}" for problem in problems[:MAX_SHOWN]]
        if count > MAX_SHOWN:
            lines.append(f"  ... and {count - MAX_SHOWN} more")
        super().__init__("\n".join(lines))
