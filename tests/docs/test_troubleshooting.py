"""docs/troubleshooting.md: its messages are those of the source, and every case of bad input is on the page."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
QUOTED = [next(group for group in row if group) for row in re.findall(r"^\| (?:``(.+?)``|`(.+?)`) \|", PAGE, re.M)]
IN_TEXT = ["… in the data; nothing was prepared. Complete list: …", "… in params.yaml would repair …"]
VALUE = "\0"
# cases whose text begins within a value, and pydantic's own words for a value of another type
OTHER = ("aaaaaaaaaa", "is not that of its mask", "Input should be a valid")


def pattern(message: str) -> re.Pattern[str]:
    """Return the fixed words of a message, with anything where it has `…`."""
    return re.compile(".*".join(map(re.escape, message.split("…"))), re.DOTALL)


def texts(path: Path) -> set[str]:
    """Return the texts of a module; a value in an f-string is a NUL, or the text if the value is one."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.add("".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


@pytest.fixture(scope="module")
def source() -> set[str]:
    files = [*(ROOT / "afigan").rglob("*.py"), *(ROOT / "workflow").rglob("*.py")]
    return set().union(*map(texts, files))


@pytest.mark.parametrize("message", QUOTED + IN_TEXT)
def test_the_source_has_the_message(source, message):
    assert message in PAGE
    assert any(pattern(message).search(text) for text in source)


def test_a_message_that_nobody_writes_would_be_found(source):
    assert not any(pattern("its bbox is wrong in … ways").search(text) for text in source)


def cases(name: str, position: int) -> list[str]:
    """Return the messages of a table of tests/data/prepare/test_bad_input.py, which are at one position of its rows.

    They are read from the source, because to import it would load torch.
    """
    tree = ast.parse((ROOT / "tests/data/prepare/test_bad_input.py").read_text("utf-8"))
    (table,) = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    rows = [row.elts[position] for row in table.values]
    return [eval(ast.unparse(row), {"CONFIG": "", "SUB": "'a.png'", "STEM": "stem"}) for row in rows]


def test_the_page_has_every_case_of_bad_input():
    """A case's message may be cut off at a value, so the page's words count up to their first value."""
    messages = [*cases("FIELDS", -1), *cases("SETS", -2)]
    for name in ("FILES", "WEIGHTS", "LEFT"):
        messages += cases(name, -1)
    assert len(messages) > 150
    parts = [[part.strip(" (") for part in message.split("…")] for message in QUOTED]
    starts = [next(part for part in found if len(part) > 5) for found in parts]
    missing = [
        message
        for message in messages
        if not any(start in message for start in starts)
        and not any(message.strip(" (;:,") in words for words in QUOTED)
        and not any(words in message for words in OTHER)
    ]
    assert not missing
