"""Hooks of the site (mkdocs.yml): pages from outside docs/, and relative links that hold on GitHub and in the site."""

import ast
import re
from os.path import normpath, relpath
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "examples": "examples.md",
}
SOURCES = {page: source for source, page in OUTSIDE.items()}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
FENCE = re.compile(r"^(```\w+) (\S+/\S+)$")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of `OUTSIDE`."""
    for source, page in OUTSIDE.items():
        text = examples() if source == "examples" else (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of a page, which are relative to its place in the repository, into links between pages.

    A code block with a file's name after its language gets the name as its title.
    """
    lines, code = [], False
    for line in markdown.split("\n"):
        if line.lstrip().startswith("```"):
            line, code = FENCE.sub(r'\1 title="\2"', line), not code
        elif not code:
            line = LINK.sub(lambda link: linked(page.file.src_uri, link[1]), line)
        lines.append(line)
    return "\n".join(lines)


def linked(page: str, link: str) -> str:
    """Return the link between pages for a link between files of the repository; unknown targets stay as they are.

    Args:
        page: the page with the link, relative to the site's sources.
        link: without an anchor.
    """
    source = PurePosixPath(SOURCES.get(page, f"docs/{page}"))
    target = normpath(source.parent / link)
    if target in OUTSIDE:
        target = OUTSIDE[target]
    elif target.startswith("examples/"):
        target = OUTSIDE["examples"]
    elif target.startswith("docs/"):
        target = target.removeprefix("docs/")
    else:
        return link  # the strict build names it
    return relpath(target, PurePosixPath(page).parent)


def examples() -> str:
    """Return the page of examples/: each program under the first line of its docstring."""
    parts = ["# Examples", "Complete programs. `tests/examples` runs each of them."]
    for file in sorted((ROOT / "examples").glob("*.py")):
        code = file.read_text("utf-8")
        title = (ast.get_docstring(ast.parse(code)) or "").split("\n")[0]
        parts += [f"## {file.name}", title, f'```python title="examples/{file.name}"\n{code}```']
    return "\n\n".join(parts) + "\n"
