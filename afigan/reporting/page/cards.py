"""Cards of the page: a claim or a question with its verdict, a plot of its intervals, and all its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from afigan.reporting.claims_markdown import contrast_grid, cost_grid, notes_of
from afigan.reporting.costs import NAME, SAYS
from afigan.reporting.intervals import STYLES, Mark
from afigan.reporting.judged import Judged
from afigan.reporting.page.scale import Scale
from afigan.reporting.text import Grid
from afigan.reporting.verdicts import AGREES, CONTRADICTS, HIGHER, LOWER, MARGIN, NOTHING_RUN, SAME, UNDECIDED, Outcome

KINDS = {  # verdict -> a word for its colours and shape; the others are `none`
    AGREES: "agrees",
    CONTRADICTS: "contradicts",
    HIGHER: "higher",
    LOWER: "lower",
    SAME: "same",
    UNDECIDED: "undecided",
}
SHAPES = {  # marker of the picture `claims.png` -> the same as the data of an SVG path about 0
    "o": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
    "X": "M-5-3l2-2 3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3Z",
    ">": "M-4-5.5L5.5 0L-4 5.5Z",
    "<": "M4-5.5L-5.5 0L4 5.5Z",
    "D": "M0-6L6 0L0 6L-6 0Z",
    "s": "M-4.5-4.5h9v9h-9Z",
    "d": "M0-6L4 0L0 6L-4 0Z",
}


@dataclass(frozen=True)
class Line:
    """A contrast in one metric. mean, low, high, paper: places on the axis in percent, None if not known.

    first: whether the contrast's name has to be shown, because the line before has another one.
    """

    contrast: str
    first: bool
    metric: str
    value: str
    printed: str
    verdict: str
    kind: str
    shape: str
    mean: float | None
    low: float | None
    high: float | None
    paper: float | None


@dataclass(frozen=True)
class Card:
    """A claim or a question. grid: all numbers, the first `left` columns are words. notes: below the grid."""

    name: str
    says: str
    verdict: str
    kind: str
    lines: Sequence[Line]
    grid: Grid
    left: int
    notes: Sequence[str]

    @property
    def run(self) -> bool:
        return self.verdict != NOTHING_RUN


def axis(judged: Judged) -> Scale:
    """Return the axis that has every interval and every difference of the paper that is shown."""
    findings = [finding for outcome in judged.outcomes for finding in outcome.findings if finding.effect is not None]
    means = [finding.effect.mean for finding in findings if finding.effect is not None]
    ends = [end for finding in findings for end in finding.interval or ()]
    return Scale.around([*means, *ends, *(f.printed for f in findings if f.printed is not None)])


def margin(scale: Scale) -> tuple[float, float]:
    """Return where the band of differences that count as none begins, and its width, in percent."""
    begin, end = scale.percent(-MARGIN), scale.percent(MARGIN)
    return begin, round(end - begin, 2)


def claim_cards(judged: Judged, scale: Scale) -> list[Card]:
    """Return C1 to C8."""
    grid, notes = cost_grid(judged.costs)
    costs = Card(NAME, SAYS, judged.costs.verdict, kind_of(judged.costs.verdict), (), grid, 1, notes)
    return [*(_card(outcome, judged, scale) for outcome in judged.claims), costs]


def question_cards(judged: Judged, scale: Scale) -> list[Card]:
    """Return the questions that the paper does not ask."""
    return [_card(outcome, judged, scale) for outcome in judged.questions]


def kind_of(verdict: str) -> str:
    """Return the word for a verdict's colours; of several verdicts the first decides."""
    return next((kind for word, kind in KINDS.items() if verdict.startswith(word)), "none")


def _card(outcome: Outcome, judged: Judged, scale: Scale) -> Card:
    lines: list[Line] = []
    for finding, judgement in zip(outcome.findings, outcome.judgements, strict=True):
        mark = Mark("", 0.0, finding, judgement)
        metric, value, printed, verdict = mark.texts
        contrast = finding.comparison.text
        effect, interval = finding.effect, finding.interval or (None, None)
        places = (effect and effect.mean, *interval, finding.printed if effect else None)
        mean, low, high, paper = (None if place is None else scale.percent(place) for place in places)
        lines.append(
            Line(
                contrast=contrast,
                first=not lines or lines[-1].contrast != contrast,
                metric=metric,
                value=value,
                printed=printed,
                verdict=verdict,
                kind=kind_of(verdict),
                shape=SHAPES[mark.style[1]],
                mean=mean,
                low=low,
                high=high,
                paper=paper,
            )
        )
    claim = outcome.claim
    return Card(
        claim.name,
        claim.says,
        outcome.verdict,
        kind_of(outcome.verdict),
        lines if outcome.verdict != NOTHING_RUN else (),
        contrast_grid(outcome),
        4,
        notes_of(outcome, judged.source),
    )


assert {shape for _, shape in STYLES.values()} <= SHAPES.keys()
