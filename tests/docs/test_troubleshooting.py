"""docs/troubleshooting.md: its messages are those of the source, and every case of bad input is on the page."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
QUOTED = [next(group for group in row if group) for row in re.findall(r"^\| (?:``(.+?)``|`(.+?)`) \|", PAGE, re.M)]
IN_TEXT = ["… in the data; nothing was prepared. Complete list: …", "… in params.yaml would repair …"]
VALUE = "\0"


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


def bad_input():
    """Import the module with all cases of bad input."""
    path = ROOT / "tests/data/prepare/test_bad_input.py"
    spec = importlib.util.spec_from_file_location("cases_of_bad_input", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_every_case_of_bad_input():
    """A case's message may be cut off anywhere, so its words have to begin one of the page, or contain it."""
    cases = bad_input()
    messages = [message for _, _, message in cases.FIELDS.values()]
    messages += [reason for _, _, reason, _ in cases.SETS.values()]
    messages += [message for *_, message in (*cases.FILES.values(), *cases.WEIGHTS.values(), *cases.LEFT.values())]
    assert len(messages) > 150
    patterns = [pattern(message) for message in QUOTED if len(message.replace("…", "").strip()) > 8]
    fixed = [message.replace("…", "").strip() for message in QUOTED]
    missing = [
        message
        for message in messages
        if not any(known.search(message) for known in patterns)
        and not any(tail(message) in words for words in fixed)
    ]
    assert not missing


def tail(message: str) -> str:
    """Return a message without the place before it, as in `train.json: image 7: `, and without a cut-off value."""
    return re.split(r": (?=[^:]*$)", message)[-1].strip(" (;:,")
