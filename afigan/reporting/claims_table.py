"""results/claims.md: a line a claim, with what the paper says, what a run shows and a verdict by a stated rule."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from afigan.files import atomic_path
from afigan.reporting.claims import PARAMS_M, TOLERANCE, Claim, claims
from afigan.reporting.comparisons import AGREES, DISAGREES, MARGIN, NOTHING_RUN, Finding, find
from afigan.reporting.results import NOT_RUN, Results, Row, Tables, read_results
from afigan.reporting.text import Grid, grid, number, with_spread

UNITS = {"box_AP": ("box", 1), "mask_AP": ("mask", 1), "params_M": ("M parameters", 2), "time_ms": ("ms", 1)}
SIGNS = {AGREES: " ✓", DISAGREES: " ✗", None: ""}  # of one difference; undecided else
UNSURE = " ?"
RULE = f"""\
± is the sample standard deviation of a difference over seeds; SE is its standard error, where the rows have different
seeds and are not paired. The verdicts are computed from these numbers:

- `✓`: the difference has the sign that the claim gives it by more than two standard errors; one that should hardly
  matter is within {MARGIN} AP with two standard errors added. `✗`: it is on the other side by more than two standard
  errors. `?`: neither, and always with one seed, or if its rows differ in data or schedule. No sign: it is not judged.
- A claim `agrees` if all its differences do, and `does not agree` if one does not; else it is undecided. `in part`:
  some of what it is about has not been run.
- “Only” in C3 is taken to mean that A6 gains less than half of what A5 gains.
- C8 is judged on Mask R-CNN, and only if with nearest interpolation it has the paper's parameters to {TOLERANCE:.0%}:
  AFI has to add {PARAMS_M:g} M, to {TOLERANCE:.0%}, and to take longer. Times of different devices are not compared.
- A verdict is on the data and schedule named beside it, no others; with few seeds two standard errors are a low bar."""

Rows = dict[tuple[int, str], Row]  # (number of the table, label)


def write_claims(
    tables: Tables, metrics_dir: Path, hashes: dict[str, str], out: Path, benchmark: Path | None = None
) -> None:
    """Write `out` (results/claims.md). The other arguments and the errors are those of `read_results`."""
    text = claims_markdown(read_results(tables, metrics_dir, hashes, benchmark))
    with atomic_path(out) as temporary:
        temporary.write_text(text, "utf-8")


def claims_markdown(results: Results) -> str:
    """The claims as a Markdown table, what has not been run of those judged in part, and the rule of the verdicts."""
    lines: Grid = {heading: [] for heading in ("claim", "the paper", "this run", "data; schedule", "seeds", "verdict")}
    gaps = []
    for claim in claims(results):
        findings = [find(comparison, results) for comparison in claim.comparisons]
        for column, cell in zip(lines.values(), _line(claim, findings, results), strict=True):
            column.append(cell)
        gaps += _gap(claim, findings, results)
    parts = ["## The paper's claims", grid(lines, left=len(lines)), "\n".join(gaps), RULE]
    return "\n\n".join(part for part in parts if part) + "\n"


def _line(claim: Claim, findings: Sequence[Finding], results: Results) -> list[str]:
    verdict = claim.verdict(findings)
    rows = [row for finding in findings for _, row in finding.terms.values()]
    if not rows:
        return [claim.name, claim.says, NOT_RUN, NOT_RUN, NOT_RUN, verdict]
    groups = groupby(findings, key=lambda finding: finding.comparison.text)
    shown = [f"{text}: {_values(list(group))}" for text, group in groups]
    settings = list(dict.fromkeys("; ".join(row.setting) for row in rows))
    if any(finding.comparison.column == "time_ms" and finding.estimate for finding in findings):
        settings.append(f"time: {results.benchmark.setting}")
    counts = sorted({len(row.runs) for row in rows})
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return [claim.name, claim.says, "<br>".join(shown), "<br>".join(settings), seeds, verdict]


def _values(findings: list[Finding]) -> str:
    """The values of comparisons that differ only in the metric."""
    if all(finding.estimate is None and finding.missing for finding in findings):
        return NOTHING_RUN
    return ", ".join(_value(finding) for finding in findings)


def _value(finding: Finding) -> str:
    column, estimate = finding.comparison.column, finding.estimate
    unit, digits = UNITS[column]
    if estimate is None:
        return f"{unit} {NOTHING_RUN if finding.missing or column == 'time_ms' else 'undefined'}"
    seeds_matter = column != "params_M"
    spread = estimate.spread if seeds_matter else None
    notes = []
    if spread is None and estimate.error is not None and seeds_matter:
        notes.append(f"SE {number(estimate.error, digits)}")
    if column == "time_ms":
        notes.append(f"× {number(finding.ratio, 2)}")
    if len(finding.comparison.contrasts) > 1:
        ends = dict.fromkeys(number(end, digits, signed=True) for end in (min(finding.each), max(finding.each)))
        pairs = f"mean of {len(finding.each)} of {finding.possible} pairs"
        notes.append(f"{pairs}, {' to '.join(ends)}" if len(ends) == 2 else pairs)
    text = f"{with_spread(estimate.mean, spread, digits, signed=True)} {unit}{SIGNS.get(finding.verdict, UNSURE)}"
    return f"{text} ({'; '.join(notes)})" if notes else text


def _gap(claim: Claim, findings: Sequence[Finding], results: Results) -> list[str]:
    """What has not been run of a claim of which something has: whole rows, or some of their seeds."""
    comparisons = [finding.comparison for finding in findings]
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
    return [f"- {claim.name}, not run: {where}"]
