"""The problems of a data set: all of them are collected, and shown at once in groups of one reason."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = 3  # problems shown of each group
MAX_GROUPS = 16  # groups shown
REPAIR = "data.repair: true"  # the setting that repairs

# A wrong file or folder explains other problems; a wrong image size those of the boxes in the image.
_MOST_TELLING = ("file", "folder", "category", "image", "annotation")
_PLURALS = {"category": "categories"}
_NUMBER = re.compile(r"[-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|\b(?:inf|nan)\b)")
# a value as `repr` writes it, also one that is cut short
_TEXT = re.compile(r"""'(?:[^'\\]|\\.)*(?:'|$)|"(?:[^"\\]|\\.)*(?:"|$)""", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """One problem of a data set: its place, its reason and its remedy."""

    file: str  # the annotation file (or the folder) it was found in
    kind: str  # "file", "folder", "image", "annotation" or "category"
    id: int | str | None  # the id within the file; None for the file itself
    reason: str
    remedy: str
    repairable: bool = False  # whether `data.repair: true` would repair it

    def __str__(self) -> str:
        where = f"{self.kind} {self.id}" if self.id is not None else f"this {self.kind}"
        remedy = f"{self.remedy}; {REPAIR} would repair it" if self.repairable else self.remedy
        return f"{self.file}: {where}: {self.reason} ({remedy})"

    @property
    def alike(self) -> str:
        """The reason without its numbers and quoted values, which do not make another reason."""
        return _NUMBER.sub("0", _TEXT.sub("''", self.reason))


def grouped(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Return the problems in groups of one file, kind, reason and repairability, the most telling group first.

    Two reasons are one if they differ only in numbers and quoted values. Files and folders come before categories,
    images and annotations; among those of one kind, the larger group comes first, and then the earlier one.
    """
    groups: dict[tuple[str, str, str, bool], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.file, problem.kind, problem.alike, problem.repairable), []).append(problem)
    return sorted(groups.values(), key=lambda group: (_MOST_TELLING.index(group[0].kind), -len(group)))


class DataError(ValueError):
    """The error of a data set that cannot be used; `problems` has all reasons, the text examples of each group.

    The complete list, one problem per line and in the same order, is in the file `listing`, which the text names.
    """

    def __init__(self, problems: Sequence[Problem], listing: Path):
        assert problems, "a DataError needs a problem"
        groups = grouped(problems)
        self.problems = tuple(problem for group in groups for problem in group)
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(f"{problem}\n" for problem in self.problems), "utf-8", errors="backslashreplace")
        count = len(problems)
        lines = [f"{count} problem{'s' * (count > 1)} in the data; nothing was prepared. Complete list: {listing}"]
        for group in groups[:MAX_GROUPS]:
            lines += [f"  {problem}" for problem in group[:EXAMPLES]]
            if len(group) > EXAMPLES:
                kind = group[0].kind
                kinds = _PLURALS.get(kind, f"{kind}s")
                lines.append(f"    ... {len(group)} {kinds} of {group[0].file} in all (these are the first {EXAMPLES})")
        if hidden := sum(map(len, groups[MAX_GROUPS:])):
            lines.append(f"  ... and {hidden} more, for {len(groups) - MAX_GROUPS} other reasons")
        if repairable := sum(problem.repairable for problem in problems):
            lines.append(f"  ({REPAIR} in params.yaml would repair {repairable} of the {count})")
        super().__init__("\n".join(lines))
