"""The site: a strict build warns of nothing, its links have targets, and a reader's browser asks no other host."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")

ROOT = Path(__file__).resolve().parents[2]
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
# links of these kinds load nothing
NAMED = {"canonical", "prev", "next"}


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser loads for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loaded = {""}, list[str](), list[str]()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif LOADED.get(tag) in given and given.get("rel") not in NAMED:
            self.loaded.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}  # it has absolute links


def test_the_build_has_every_document(site):
    for source in (ROOT / "docs").rglob("*.md"):
        name = source.relative_to(ROOT / "docs").with_suffix(".html")
        built = site / (name.with_name("index.html") if source.name == "README.md" else name)
        assert built.is_file(), built
    for name in ("overview", "contributing", "changes", "examples"):
        assert (site / f"{name}.html").is_file()


def test_links_within_the_site_have_targets(site, pages):
    broken, checked = [], 0
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            checked += 1
            known = pages[target].anchors if target in pages else {"", parts.fragment}
            if not target.is_file() or unquote(parts.fragment) not in known:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert checked > 1000 and not broken


def test_a_browser_asks_no_other_host(site, pages):
    loaded = [link for page in pages.values() for link in page.loaded]
    assert loaded and not [link for link in loaded if urlsplit(link).netloc]
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"url\([\"']?(?:https?:)?//|@import", styles)
    # Material's script fetches Mermaid from another host for a page that has a diagram
    assert not [path for path in pages if 'class="mermaid"' in path.read_text("utf-8")]


def test_the_readme_and_the_api_are_pages(site):
    overview = (site / "overview.html").read_text("utf-8")
    assert 'href="method.html"' in overview and 'href="contributing.html"' in overview
    assert "build_interpolator" in (site / "api/interpolators.html").read_text("utf-8")
    assert "content_loss" in (site / "api/losses.html").read_text("utf-8")
    extending = (site / "extending.html").read_text("utf-8")
    assert "afigan/interpolators/sharpen.py" in extending and "```" not in extending
