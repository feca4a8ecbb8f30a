"""The few forms of Markdown in the report's texts, as HTML."""

import re

from markupsafe import Markup, escape

FORMS = (
    (r"\*\*(.+?)\*\*", r"<strong>\1</strong>"),
    (r"(?<![\w*])\*(?! )([^*]+?)(?<! )\*(?![\w*])", r"<em>\1</em>"),
    (r"`(.+?)`", r"<code>\1</code>"),
    (r"\[([^\]]+)\]\(([\w./-]+)\)", r'<a href="\2">\1</a>'),
)


def inline(text: str) -> Markup:
    """Return a paragraph with its emphasis, code and links to files."""
    html = str(escape(" ".join(text.split())))
    for form, replacement in FORMS:
        html = re.sub(form, replacement, html)
    return Markup(html)


def bullets(text: str) -> list[Markup]:
    """Return the items of a list whose items begin with `- `; headings are left out."""
    items = re.split(r"^- ", text, flags=re.MULTILINE)[1:]
    return [inline(item) for item in items]
