"""results/claims.md: the verdicts in one table, then the contrasts of each, then the rules of the verdicts."""

from collections.abc import Iterable, Sequence

from afigan.reporting.comparisons import Finding
from afigan.reporting.costs import NAME, PARAMS_M, SAYS, TOLERANCE, Cost, CostOutcome
from afigan.reporting.judged import Judged
from afigan.reporting.resamples import REPLICATES
from afigan.reporting.results import NOT_RUN, Results
from afigan.reporting.text import Grid, folded, grid, number, probability, with_interval, words
from afigan.reporting.verdicts import (
    AGREES,
    CONTRADICTS,
    HIGHER,
    LEVEL,
    LOWER,
    MARGIN,
    NOTHING_RUN,
    SAME,
    SAME_LEVEL,
    Judgement,
    Outcome,
)

BEGIN, END = "<!-- verdicts -->", "<!-- /verdicts -->"  # around the table of eight lines, in the README too
UNDEFINED, NO_SEED = "undefined (no masks)", "no seed in common"
TESTS = {AGREES: "p for", CONTRADICTS: "p against", HIGHER: "p higher", LOWER: "p lower", SAME: "p same"}
RULES = f"""\
## The rules

- **A contrast** is computed seed by seed, for the seeds that all its rows have. A contrast of several pairs of rows is
  the mean of the pairs. Two parts of it are due to chance, and each has a standard error (SE). *Seeds*: initialisation,
  order and sampling in training; this SE comes from the spread over n seeds, with n − 1 degrees of freedom. *Images*:
  the choice of the validation images, as far as it changes the contrast of all seeds alike; this SE comes from
  {REPLICATES:,} resamples of the images, which are the same for all rows and all seeds. The tables show both, and the
  SE of both: the root of the sum of their squares.
- **Intervals** are t intervals of 95 % and include both parts. With one seed there is only the images' part, and
  nothing is decided. With two seeds, 91 to 97 % of simulated intervals contained the truth, with three 94 to 96 %.
- **Above or below:** the contrast agrees if a one-sided test for the claim's sign has p < {LEVEL}. It contradicts if
  the test for the other sign has.
- **The same** means within {MARGIN:g} AP. The contrast agrees if two one-sided tests at {SAME_LEVEL:.0%} reject that it
  is larger. It contradicts if it is proved to be larger: its complete interval is beyond {MARGIN:g} AP (one-sided
  p < {LEVEL}). If no difference is found, this does not prove that two rows are the same.
- **Several contrasts of one claim** are tested at once. Holm's method adjusts the p values for the claim together, and
  those against it together. Each interval is for one contrast, and is not adjusted.
- **A claim** agrees if all judged contrasts do, contradicts if one does, and is undecided otherwise. *In part* means
  that some of the rows that it is judged on have not been run, not with all their seeds, or have no masks. Rows that
  differ in data, in the scales of the test, or in the schedule of a stage that all of them have, are not judged. The
  questions about longer training (Q6, Q7) allow other schedules.
- **Questions** have no answer in the paper, and are tested for a difference on either side and for being the same. Q9
  judges the mean over upsamplers; the differences of single ones are shown, not judged. There is no Q8.
- **“Only”** in C3 is taken to mean that A6 gains less than half of what A5 gains.
- **C8** is judged at the paper's C = 256 if that was timed: AFI must add {PARAMS_M:g} M parameters, within
  {TOLERANCE:.0%}, and must take longer. Otherwise it is judged on this run's Mask R-CNN if that has the paper's size.
  Times of different devices are not compared; the paper's ratio of times is shown beside ours.
- **The paper's difference** is the difference of its printed values for the same rows. The tables say whether it is in
  our interval. This decides nothing, because data and schedule differ.
- A verdict holds only for the data and schedule named with it."""


def claims_markdown(judged: Judged) -> str:
    """Return the text of claims.md."""
    parts = [
        "# The paper's claims",
        verdict_table(judged),
        "## Questions that the paper does not ask",
        question_table(judged),
        *(part for outcome in judged.claims for part in _section(outcome, judged.source)),
        *_cost_section(judged.costs),
        *(part for outcome in judged.questions for part in _section(outcome, judged.source)),
        RULES,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict_table(judged: Judged, only_run: bool = False) -> str:
    """Return a line for each claim, between the marks by which publishing finds the table.

    only_run: leave out the claims of which nothing has been run; the text is empty if that is all of them.
    """
    rows = [(o.claim.name, o.claim.says, o.verdict, _main(o)) for o in judged.claims]
    rows.append((NAME, SAYS, judged.costs.verdict, _main_cost(judged.costs)))
    if only_run and not (rows := [row for row in rows if row[2] != NOTHING_RUN]):
        return ""
    table = grid(_columns(("claim", "the paper says", "here", "main contrast: mean [95 % interval]"), rows), left=4)
    return f"{BEGIN}\n{table}\n{END}"


def question_table(judged: Judged, only_run: bool = False) -> str:
    """Return a line for each question; `only_run` as in `verdict_table`."""
    rows = [(o.claim.name, o.claim.says, o.verdict, _main(o)) for o in judged.questions]
    if only_run and not (rows := [row for row in rows if row[2] != NOTHING_RUN]):
        return ""
    return grid(_columns(("", "question", "answer here", "contrast: mean [95 % interval]"), rows), left=4)


def not_run(judged: Judged) -> str:
    """Return one folded line that names the claims of which nothing has been run; empty if there are none."""
    claims = [(o.claim.name, o.claim.says) for o in judged.claims if o.verdict == NOTHING_RUN]
    if judged.costs.verdict == NOTHING_RUN:
        claims.append((NAME, SAYS))
    if not claims:
        return ""
    names = ", ".join(name for name, _ in claims)
    table = grid(_columns(("claim", "the paper says"), claims), left=2)
    return folded(f"Claims of the paper that were not run here: {names}", table)


def _columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Grid:
    return {heading: [row[i] for row in rows] for i, heading in enumerate(headings)}


def _main(outcome: Outcome) -> str:
    """Return the main contrast, in each metric that it has."""
    name = outcome.main.comparison.text
    lines = [name]
    findings = [finding for finding in outcome.findings if finding.comparison.text == name]
    if all(_value(finding) == NOTHING_RUN for finding in findings):
        return f"{name}<br>{NOTHING_RUN}"
    for finding in findings:
        text = f"{_metric(finding)} {_value(finding)}"
        lines.append(text if finding.printed is None else f"{text}, paper {number(finding.printed, signed=True)}")
    return "<br>".join(lines)


def _main_cost(costs: CostOutcome) -> str:
    ours, printed = costs.ours[0], costs.printed[0]
    return f"AFI − nearest, {ours.text}<br>{_cost_text(ours)}<br>paper {_cost_text(printed)}"


def _metric(finding: Finding) -> str:
    return finding.comparison.column.removesuffix("_AP")


def _cost_text(cost: Cost) -> str:
    if cost.params_M is None:
        return NOTHING_RUN
    text = f"{number(cost.params_M, 1, signed=True)} M parameters"
    return text if cost.ratio is None else f"{text}, × {number(cost.ratio, 2)} time"


def _value(finding: Finding) -> str:
    if finding.effect is None:
        return NO_SEED if finding.terms else NOTHING_RUN if finding.missing else UNDEFINED
    text = with_interval(finding.effect.mean, finding.interval)
    return f"{text} (images alone)" if finding.effect.seed_error is None and finding.interval else text


def _section(outcome: Outcome, results: Results) -> list[str]:
    claim = outcome.claim
    says = f"{claim.says[0].upper()}{claim.says[1:]}{'' if claim.says.endswith('?') else '.'}"
    notes = "\n".join(f"- {note}" for note in notes_of(outcome, results))
    return [f"### {claim.name}: {outcome.verdict}", says, grid(contrast_grid(outcome), left=4), notes]


def contrast_grid(outcome: Outcome) -> Grid:
    """Return a claim's contrasts with their intervals, verdicts, standard errors and p values; 4 columns of words."""
    tests = dict.fromkeys(word for judgement in outcome.judgements for word in judgement.adjusted)
    headings = (
        *("contrast", "AP", "mean [95 % interval]", "verdict", "seeds", "SE, seeds", "SE, images", "SE, both"),
        *(TESTS[word] for word in tests),
        *("the paper", "in the interval"),
    )
    rows = [_line(f, j, tests) for f, j in zip(outcome.findings, outcome.judgements, strict=True)]
    if all(finding.printed is None for finding in outcome.findings):
        headings, rows = headings[:-2], [row[:-2] for row in rows]
    return _columns(headings, rows)


def _line(finding: Finding, judgement: Judgement, tests: Iterable[str]) -> list[str]:
    effect, comparison = finding.effect, finding.comparison
    errors = (effect.seed_error, effect.image_error, effect.error) if effect is not None else (None,) * 3
    verdict = judgement.verdict or ("not judged" if comparison.expected is None else NOT_RUN)
    inside = {True: "yes", False: "no", None: "·"}[finding.inside]
    return [
        comparison.text,
        _metric(finding),
        _value(finding),
        verdict,
        str(len(finding.seeds)) if effect is not None else NOT_RUN,
        *(NOT_RUN if error is None else number(error, 2) for error in errors),
        *(probability(judgement.adjusted[word]) if word in judgement.adjusted else NOT_RUN for word in tests),
        "·" if finding.printed is None else number(finding.printed, signed=True),
        inside,
    ]


def notes_of(outcome: Outcome, results: Results) -> list[str]:
    """Return notes for which a line has no place: the claim's own, data, pairs and seeds of contrasts, missing runs."""
    notes = [outcome.claim.note] if outcome.claim.note else []
    settings = dict.fromkeys("; ".join(row.setting) for f in outcome.findings for _, row in f.terms.values())
    if settings:
        notes.append(f"data and schedule: {' / '.join(settings)}")
    for finding in outcome.findings:
        comparison = finding.comparison
        name = f"{comparison.text}, {words(comparison.column)}"
        if len(comparison.contrasts) > 1 and finding.each:
            ends = dict.fromkeys(number(end, signed=True) for end in (min(finding.each), max(finding.each)))
            range_ = f", from {' to '.join(ends)}" if len(ends) == 2 else ""
            notes.append(f"{name}: mean of {len(finding.each)} of {finding.possible} pairs{range_}")
        if finding.differing:
            notes.append(f"{name}: rows differ in {', '.join(finding.differing)}")
        if finding.others and finding.terms:
            common = ", ".join(map(str, finding.seeds)) or "none"
            others = ", ".join(map(str, finding.others))
            notes.append(f"{name}: of the seeds that all its rows have ({common}); only some have {others}")
    return notes + _lengths(outcome) + _gaps(outcome, results)


def _lengths(outcome: Outcome) -> list[str]:
    """Return the iterations of stages 2 and 3 of rows that are compared because of them."""
    rows = {label: row for f in outcome.findings if f.comparison.of_schedules for label, (_, row) in f.terms.items()}
    lengths = []
    for label, row in rows.items():
        stages = [
            [f"{trainings[kind]['iterations']:,}" for kind in ("extractors", "detectors") if kind in trainings]
            for trainings in row.trainings
        ]
        lengths += [f"`{label}` {text}" for text in dict.fromkeys(" + ".join(stage) for stage in stages)]
    return [f"iterations of stages 2 and 3: {', '.join(lengths)}"] if lengths else []


def _gaps(outcome: Outcome, results: Results) -> list[str]:
    """Return the missing rows and the missing seeds of a claim; nothing if none of its rows has been run."""
    comparisons = outcome.claim.comparisons
    labels = dict.fromkeys((c.table, label) for c in comparisons for contrast in c.contrasts for label in contrast)
    rows = {(table, label): results.row(table, label) for table, label in labels}
    gaps: dict[int, list[str]] = {}
    for (table, label), row in rows.items():
        if row is None:
            gaps.setdefault(table, []).append(f"`{label}`")
        elif len(row.runs) < len(row.evaluations):
            count = f"{len(row.evaluations) - len(row.runs)} of {len(row.evaluations)} seeds"
            gaps.setdefault(table, []).append(f"`{label}` ({count})")
    if not gaps or not any(rows.values()):
        return []
    where = "; ".join(f"Table {table}: {', '.join(missing)}" for table, missing in gaps.items())
    return [f"not run: {where}"]


def _cost_section(costs: CostOutcome) -> list[str]:
    table, notes = cost_grid(costs)
    return [
        f"### {NAME}: {costs.verdict}",
        f"{SAYS[0].upper()}{SAYS[1:]}.",
        grid(table, left=1),
        "\n".join(f"- {note}" for note in notes),
    ]


def cost_grid(costs: CostOutcome) -> tuple[Grid, list[str]]:
    """Return the costs of claim C8, with one column of words, and the notes below."""
    rows, notes = [], []
    for i, (ours, printed) in enumerate(zip(costs.ours, costs.printed, strict=True)):
        assert printed.params_M is not None and printed.ratio is not None
        rows.append(
            [
                ours.text,
                NOT_RUN if ours.params_M is None else number(ours.params_M, 2, signed=True),
                number(printed.params_M, signed=True),
                NOT_RUN if ours.time_ms is None else number(ours.time_ms, signed=True),
                NOT_RUN if ours.ratio is None else f"× {number(ours.ratio, 2)}",
                f"× {number(printed.ratio, 2)}",
                costs.verdict.removesuffix(", in part") if i == 0 else "not judged",
            ]
        )
        if ours.setting:
            pairs = f"; mean of {ours.pairs} of {ours.possible} pairs" if ours.possible > 1 else ""
            notes.append(f"{ours.text}: {ours.setting}{pairs}")
        if ours.missing and ours.params_M is not None:
            notes.append(f"{ours.text}, not run: {', '.join(f'`{label}`' for label in ours.missing)}")
    headings = ("AFI − nearest", "parameters (M)", "paper", "time (ms)", "time ratio", "paper's ratio", "verdict")
    return _columns(headings, rows), notes
