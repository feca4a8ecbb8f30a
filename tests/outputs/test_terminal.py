"""`make status` on a terminal: the same words as the plain text, in colours, and a live table."""

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml
from composed import composed
from rich.console import Console

from afigan.outputs import terminal
from afigan.outputs.status import SILENT, Row, cells, render
from afigan.runtime.state import State

SCRIPT = Path(__file__).resolve().parents[2] / "workflow/scripts/status.py"
NOW = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
RUN = State(node="detectors/a1", params_hash="", iteration=30, total=40, seconds=2.0, losses={"loss_total": 1.25})
ROWS = [
    Row("prepare", "done"),
    Row("detectors/a1", "running", RUN, (20, NOW - timedelta(seconds=90))),
    Row("detectors/a2", "failed", reason="ValueError: [red] no such colour (runs/detectors/a2/error.log)"),
    Row("detectors/a4", SILENT, note="silent"),
    Row("detectors/a5", "waiting", note="for extractors/main"),
]


def console(width: int = 140, height: int = 40, colours: bool = True) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    system = "standard" if colours else None
    return Console(file=file, force_terminal=True, width=width, height=height, color_system=system), file


def plain(text: str) -> str:
    """Return a text without the commands to the terminal."""
    return re.sub(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07)", "", text)


def test_it_has_all_words_of_the_plain_text() -> None:
    screen, file = console()
    terminal.show(screen, ROWS, NOW)
    text = plain(file.getvalue())
    for row in ROWS:
        assert all(word in text for word in cells(row, NOW))
    assert "detectors/a2: ValueError: [red] no such colour" in text  # no markup
    summary = render(ROWS, NOW, 1000).splitlines()[0]
    assert text.splitlines()[0] == summary


@pytest.mark.parametrize(("status", "code"), [("done", "32"), ("failed", "1;31"), ("running", "1;36")])
def test_statuses_have_colours(status: str, code: str) -> None:
    screen, file = console()
    terminal.show(screen, ROWS, NOW)
    assert f"\x1b[{code}m{status}" in file.getvalue()
    screen, file = console(colours=False)
    terminal.show(screen, ROWS, NOW)
    assert f"\x1b[{code}m" not in file.getvalue()


def test_a_narrow_terminal_cuts_lines() -> None:
    screen, file = console(width=70)
    terminal.show(screen, ROWS, NOW)
    assert all(len(line) <= 70 for line in plain(file.getvalue()).splitlines())


@pytest.mark.parametrize(("height", "shown"), [(40, True), (7, False)])
def test_a_low_terminal_shows_what_is_in_progress(height: int, shown: bool) -> None:
    screen, file = console(height=height)
    with terminal.live(screen) as update:
        update(ROWS, NOW)
        during = " ".join(plain(file.getvalue()).split())  # a long summary is on two lines
        assert ("prepare" in during) == shown and ("not shown: 2 done or waiting" in during) != shown
        assert "detectors/a2" in during
    after = plain(file.getvalue().rpartition("\x1b[?1049l")[2])  # back from the second screen
    assert "prepare" in after and "detectors/a5" in after  # the last table remains


def on_a_terminal(folder: Path, *arguments: str, end: bool = False, term: str = "xterm-256color") -> tuple[int, str]:
    """Run the script on a terminal of 120 x 60; `end`: interrupt it when it has written something."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 120, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    command = [sys.executable, str(SCRIPT), *arguments]
    environment |= {"TERM": term}
    with subprocess.Popen(command, cwd=folder, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        while select.select([ours], [], [], 120)[0]:
            try:
                chunk = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            written += chunk
            if end and b"tables" in written:
                process.send_signal(signal.SIGINT)
                end = False
        else:
            process.kill()
        os.close(ours)
        return process.wait(), written.decode()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(composed("smoke")))
    return tmp_path


def test_the_script_on_a_terminal(root: Path) -> None:
    status, text = on_a_terminal(root)
    assert status == 0 and "\x1b[" in text and "detectors/a1" in plain(text)
    assert "\x1b[?1049h" not in text  # it leaves what was on the screen


def test_the_script_watches_until_it_is_interrupted(root: Path) -> None:
    status, text = on_a_terminal(root, "--watch", "0.1", end=True)
    assert status == 0 and "\x1b[?1049h" in text and "\x1b[?1049l" in text
    assert "tables" in plain(text.rpartition("\x1b[?1049l")[2])


def test_a_terminal_without_colours_gets_plain_text(root: Path) -> None:
    status, text = on_a_terminal(root, term="dumb")
    assert status == 0 and "\x1b[" not in text and "detectors/a1" in text


def test_an_error_is_not_hidden(root: Path) -> None:
    (root / "params.yaml").write_text("seed: no")
    status, text = on_a_terminal(root, "--watch", "1")
    assert status == 2 and "\x1b[?1049h" not in text and "seed" in text
