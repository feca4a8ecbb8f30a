"""Recognise file names that no file can have here: URLs, the home folder's ~, Windows' drives and backslashes."""

import re

from afigan.runtime.messages import shown

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*://|data:)", re.IGNORECASE)
_HOME = re.compile(r"~[^/\\]*/|~$")  # ~/ or ~user/
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


def oddity(name: str) -> tuple[str, str] | None:
    """Return for the name of a missing file the reason why it is missing, and a remedy; None for an ordinary name."""
    if _URL.match(name):
        return "the name is a URL", "download the file, and name it relative to its folder"
    if _HOME.match(name):
        return "~ is not replaced by your home folder", "write the path without ~"
    if _DRIVE.match(name):
        return "the name has a drive of Windows", "write the path that the file has here, with / between folders"
    if better := without_backslashes(name):
        return "the name has backslashes", f"write / between the folders of a path: {shown(better)}"
    return None


def without_backslashes(name: str) -> str | None:
    """Return a path of Windows with / between its folders; None if it has no backslash, or a drive."""
    return name.replace("\\", "/") if "\\" in name and not _DRIVE.match(name) else None
