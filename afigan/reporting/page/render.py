"""results/index.html: all of a run on one page, in one file that needs no other one and no network."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import DictLoader, Environment, StrictUndefined

from afigan.data.prepare.cautions import cautions
from afigan.data.prepare.findings import table
from afigan.params.schema import Params
from afigan.reporting.claims_markdown import RULES
from afigan.reporting.embedded import Images, Losses
from afigan.reporting.judged import Judged
from afigan.reporting.markdown import ShownTable
from afigan.reporting.page import facts as facts_
from afigan.reporting.page.cards import axis, claim_cards, margin, question_cards
from afigan.reporting.page.curves import HEIGHT, WIDTH, stages
from afigan.reporting.page.markup import bullets, inline
from afigan.reporting.page.runs import runs
from afigan.reporting.page.summaries import class_grids, error_grids
from afigan.reporting.page.tables import main_view, other_views
from afigan.reporting.summary import HOW, setting
from afigan.reporting.text import Grid
from afigan.runtime.files import digest

TEMPLATES = ("page.html", "macros.html", "page.css", "page.js")
TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class Content:
    """Everything that the page shows.

    profile, dataset, schedules, comparable, own: as `afigan.reporting.summary.readme_text` takes them.
    contents: evaluation -> its metrics file. summary: of the data. folder: of the pictures that `images` names.
    pictures: caption -> (file, description for those who cannot see it).
    """

    params: Params
    judged: Judged
    profile: str
    dataset: str
    schedules: Mapping[str, str]
    comparable: bool
    own: bool
    tables: Sequence[ShownTable]
    contents: Mapping[str, Any]
    summary: Mapping[str, Any]
    images: Images
    losses: Losses
    folder: Path
    pictures: Mapping[str, tuple[Path, str]]
    facts: facts_.Facts


def page_text(content: Content) -> str:
    """Return the page. Equal content gives the same text."""
    scale = axis(content.judged)
    claims, questions = claim_cards(content.judged, scale), question_cards(content.judged, scale)
    verdicts: dict[str, list[str]] = {}
    for card in claims:
        verdicts.setdefault(card.verdict, []).append(card.name)
    values = content.params.model_dump(mode="json", by_alias=True)
    return (
        environment()
        .get_template("page.html")
        .render(
            c=content,
            claims=claims,
            questions=questions,
            verdicts=verdicts,
            kinds={card.verdict: card.kind for card in claims},
            scale=scale,
            margin=margin(scale),
            tables=[(shown, main_view(shown, content.contents), other_views(shown)) for shown in content.tables],
            stages=stages(content.losses),
            size=(WIDTH, HEIGHT),
            runs=runs(content.params, content.contents),
            classes=class_grids(content.contents, (content.params.figures.nearest, content.params.figures.afi)),
            errors=error_grids(content.contents),
            data=table(content.summary),
            warnings=cautions(content.summary, content.params),
            facts=content.facts,
            groups=grouped(content.facts.stages),
            each=each(content.facts.stages),
            marks=(facts_.BEGIN, facts_.END),
            setting=setting(comparable=content.comparable, own=content.own),
            how=HOW,
            rules=bullets(RULES),
            parameters=yaml.safe_dump(values, sort_keys=False, allow_unicode=True),
            params_sha256=digest(content.params.model_dump(mode="json")),
        )
    )


def environment() -> Environment:
    """Return the templates of this package, with the filters that they use."""
    folder = files("afigan.reporting.page") / "template"
    loader = DictLoader({name: (folder / name).read_text("utf-8") for name in TEMPLATES})
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals["zipped"] = lambda grid: zip(*grid.values(), strict=True)
    made.filters |= {"inline": inline, "embedded": embedded, "clock": clock}
    return made


def embedded(path: Path) -> str:
    """Return a picture as a data URI."""
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def clock(seconds: float) -> str:
    """Format seconds as 0:01:12."""
    return str(timedelta(seconds=round(seconds)))


def each(times: Sequence[tuple[str, float]]) -> Grid:
    """Return the stages with their times."""
    return {"stage": [node for node, _ in times], "seconds": [f"{seconds:.1f}" for _, seconds in times]}


def grouped(times: Sequence[tuple[str, float]]) -> list[tuple[str, int, float, float]]:
    """Return (kind of stage, number of stages, their seconds, share of the longest kind in percent)."""
    kinds: dict[str, list[float]] = {}
    for node, seconds in times:
        kinds.setdefault(node.partition("/")[0], []).append(seconds)
    longest = max((sum(values) for values in kinds.values()), default=0.0) or 1.0
    return [(kind, len(v), sum(v), round(100 * sum(v) / longest, 1)) for kind, v in kinds.items()]
