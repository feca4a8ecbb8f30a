"""Verdicts on contrasts, claims and questions, by tests whose levels and margin are stated here.

Several contrasts of one claim are tested together: their p values are adjusted by Holm's method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from afigan.reporting.comparisons import Comparison, Expected, Finding, find
from afigan.reporting.results import Results
from afigan.reporting.statistics import Effect, holm, p_equivalent, p_sided

MARGIN = 1.0  # AP; two rows that differ by less are the same
LEVEL = 0.025  # of a one-sided test: a found difference is outside its 95 % interval
SAME_LEVEL = 0.05  # of each of the two one-sided tests for equivalence

AGREES, CONTRADICTS, UNDECIDED, NOTHING_RUN = "agrees", "contradicts", "undecided", "not run"
HIGHER, LOWER, SAME = "higher", "lower", f"the same within {MARGIN:g} AP"
ONE_SEED, OTHER_TERMS = "undecided (one seed)", "undecided (rows differ in data or schedule)"
NO_COMMON_SEED, NO_IMAGES = "undecided (no seed in common)", "undecided (no resampled images)"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper about rows of its tables, or a question (`open`) beyond the paper.

    says: the paper's words in short, or the question.
    main: index in `comparisons` of the one to show where only one fits.
    note: what a reader of the verdict should know, beside this run; may be empty.
    """

    name: str
    says: str
    comparisons: tuple[Comparison, ...]
    main: int = 0
    note: str = ""


@dataclass(frozen=True)
class Judgement:
    """The verdict on one contrast.

    verdict: None if the contrast is not judged or has not been run.
    p: verdict -> p value of the test for it. adjusted: p after Holm's adjustment over the contrasts of the claim.
    """

    verdict: str | None
    p: Mapping[str, float]
    adjusted: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """A run's result on a claim: a finding and a judgement for each of its comparisons, and the verdict on all."""

    claim: Claim
    findings: tuple[Finding, ...]
    judgements: tuple[Judgement, ...]
    verdict: str

    @property
    def main(self) -> Finding:
        return self.findings[self.claim.main]


def judge(claim: Claim, results: Results) -> Outcome:
    """Find and judge all comparisons of a claim. Raises ValueError as `find` does."""
    findings = tuple(find(comparison, results) for comparison in claim.comparisons)
    judgements = judge_findings(findings)
    return Outcome(claim, findings, judgements, overall(findings, judgements))


def judge_findings(findings: Sequence[Finding]) -> tuple[Judgement, ...]:
    """Judge contrasts that belong together: each test of one is adjusted for the same test of the others."""
    testable = [excuse(finding) == "" for finding in findings]
    raw: list[dict[str, float]] = [{} for _ in findings]
    for i, (finding, tested) in enumerate(zip(findings, testable, strict=True)):
        if tested:
            assert finding.effect is not None and finding.comparison.expected is not None
            raw[i] = p_values(finding.effect, finding.comparison.expected)
    adjusted: list[dict[str, float]] = [{} for _ in findings]
    for word in dict.fromkeys(word for p in raw for word in p):
        family = [i for i, p in enumerate(raw) if word in p]
        for i, value in zip(family, holm([raw[i][word] for i in family]), strict=True):
            adjusted[i][word] = value
    verdicts = [
        decide(p, finding.comparison.expected) if tested else excuse(finding)
        for finding, tested, p in zip(findings, testable, adjusted, strict=True)
    ]
    return tuple(map(Judgement, verdicts, raw, adjusted))


def excuse(finding: Finding) -> str | None:
    """Return the reason why a contrast cannot be tested; empty if it can be. None: it is not judged or not run."""
    if finding.comparison.expected is None:
        return None
    if not finding.comparable:
        return OTHER_TERMS
    if finding.effect is None:
        return NO_COMMON_SEED if finding.terms else None
    if finding.effect.seed_error is None:
        return ONE_SEED
    return NO_IMAGES if finding.effect.image_error is None else ""


def p_values(effect: Effect, expected: Expected) -> dict[str, float]:
    """Return verdict -> p value of the test that decides for it."""
    higher, lower = p_sided(effect, 1), p_sided(effect, -1)
    if expected == "above":
        return {AGREES: higher, CONTRADICTS: lower}
    if expected == "below":
        return {AGREES: lower, CONTRADICTS: higher}
    equivalent = p_equivalent(effect, MARGIN)
    if expected == "open":
        return {HIGHER: higher, LOWER: lower, SAME: equivalent}
    return {AGREES: equivalent, CONTRADICTS: p_beyond(effect, MARGIN)}


def p_beyond(effect: Effect, margin: float) -> float:
    """Return the p value of the test that an effect is larger than the margin, on one side or the other.

    It is below LEVEL exactly where the complete 95 % interval is outside the margin.
    """
    return min(
        p_sided(replace(effect, mean=effect.mean - margin), 1), p_sided(replace(effect, mean=effect.mean + margin), -1)
    )


def decide(adjusted: Mapping[str, float], expected: Expected | None) -> str:
    """Return the verdict by adjusted p values; on a question, an effect can both have a sign and be small."""
    equivalence = {SAME} if expected == "open" else {AGREES} if expected == "same" else set()
    words = [word for word, p in adjusted.items() if p < (SAME_LEVEL if word in equivalence else LEVEL)]
    return ", ".join(words) or UNDECIDED


def overall(findings: Sequence[Finding], judgements: Sequence[Judgement]) -> str:
    """Return the verdict on a claim: it agrees if all judged contrasts do, and contradicts if any does.

    On a question, return the answers by metric if they differ.
    """
    if all(finding.effect is None and not finding.terms for finding in findings):
        return NOTHING_RUN
    judged = [(f, j.verdict) for f, j in zip(findings, judgements, strict=True) if f.comparison.expected is not None]
    verdicts = dict.fromkeys(verdict for _, verdict in judged if verdict is not None)
    question = any(finding.comparison.expected == "open" for finding, _ in judged)
    if question:
        if len(verdicts) < 2:
            verdict = next(iter(verdicts), UNDECIDED)
        else:
            words = [(f.comparison.column.removesuffix("_AP"), v) for f, v in judged if v is not None]
            verdict = "; ".join(f"{metric} {answer}" for metric, answer in words)
    elif CONTRADICTS in verdicts:
        verdict = CONTRADICTS
    elif undecided := [verdict for verdict in verdicts if verdict != AGREES]:
        verdict = undecided[0] if len(undecided) == 1 else UNDECIDED
    else:
        verdict = AGREES if verdicts else UNDECIDED
    # a claim is about masks too; a question is about what there is
    return verdict if all(f.complete and (question or f.defined) for f, _ in judged) else in_part(verdict)


def in_part(verdict: str) -> str:
    """Mark a verdict because some of its rows or seeds have not been run, or have no masks."""
    return f"{verdict}, in part"
