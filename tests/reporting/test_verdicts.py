"""The rules of the verdicts, against points of t's distribution from a table, and Holm's method by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afigan.reporting.comparisons import Comparison, Finding, difference
from afigan.reporting.results import Row
from afigan.reporting.statistics import Effect
from afigan.reporting.verdicts import (
    LEVEL,
    MARGIN,
    judge_findings,
    overall,
    p_beyond,
)

# t with four degrees of freedom: points with 5, 2.5, 1.25 and 0.833 % above them (Bonferroni's for one, two and three)
T95, T975, T9875, T99167 = 2.132, 2.776, 3.495, 3.961
SEEDS = (0, 1, 2, 3, 4)
RUN = Row((), (), {})  # with all the seeds that it names


def effect(mean: float, error: float = 1.0, seeds: int = 5) -> Effect:
    """Return an effect without a part of the images, so that it has four degrees of freedom."""
    one = seeds == 1
    return Effect(mean, seeds, None if one else error, error if one else 0.0, error, 99.0 if one else seeds - 1.0)


def finding(value: Effect | None, expected: str | None, **changes: object) -> Finding:
    comparison = Comparison("A5 − A1", 4, "box_AP", (difference("A5", "A1"),), expected)
    seeds = SEEDS[: value.seeds] if value is not None else ()
    missing = () if value is not None else ("A5",)
    terms = {"A5": (1.0, RUN), "A1": (-1.0, RUN)} if value is not None else {}
    made = Finding(comparison, value, seeds, (), (value.mean,) if value else (), 1, missing, terms, (), 2.6)
    return replace(made, **changes)


def verdicts(*findings: Finding) -> list[str | None]:
    return [judgement.verdict for judgement in judge_findings(findings)]


def verdict(value: Effect, expected: str) -> str | None:
    return verdicts(finding(value, expected))[0]


# --- one contrast -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t", "above"),
    [
        (T975 + 0.01, "agrees"),
        (T975 - 0.01, "undecided"),
        (0.0, "undecided"),
        (-T975 + 0.01, "undecided"),
        (-T975 - 0.01, "contradicts"),
    ],
)
def test_a_side_is_decided_at_two_and_a_half_percent(t: float, above: str) -> None:
    assert verdict(effect(t), "above") == verdict(effect(-t), "below") == above
    opposite = {"agrees": "contradicts", "contradicts": "agrees"}.get(above, above)
    assert verdict(effect(t), "below") == opposite


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("mean", "error", "expected"),
    [
        (0.2, 0.8 / (T95 + 0.01), "agrees"),  # 0.8 from the margin
        (0.2, 0.8 / (T95 - 0.01), "undecided"),
        (0.0, 1.0 / (T95 + 0.01), "agrees"),
        (0.0, 5.0, "undecided"),  # no difference was found, which proves nothing
        (1.0, 0.0001, "undecided"),  # at the margin
        (3.0, 2.0 / (T975 + 0.01), "contradicts"),  # 2 beyond the margin
        (3.0, 2.0 / (T975 - 0.01), "undecided"),
    ],
)
def test_the_same_is_within_the_margin(mean: float, error: float, expected: str, sign: int) -> None:
    assert MARGIN == 1.0
    assert verdict(effect(sign * mean, error), "same") == expected


@given(st.floats(-5, 5), st.floats(0.01, 5), st.integers(2, 12))
def test_the_same_is_contradicted_if_the_complete_interval_is_beyond(mean: float, error: float, seeds: int) -> None:
    value = effect(mean, error, seeds)
    low, high = value.interval(0.95)
    beyond = max(low - MARGIN, -MARGIN - high)
    if abs(beyond) > 1e-6:
        assert (p_beyond(value, MARGIN) < LEVEL) == (beyond > 0)


@given(st.floats(-5, 5), st.floats(0.01, 5), st.integers(2, 12))
def test_a_side_is_decided_if_the_interval_excludes_zero(mean: float, error: float, seeds: int) -> None:
    value = effect(mean, error, seeds)
    low, high = value.interval(0.95)
    if min(abs(low), abs(high)) > 1e-6:
        word = "agrees" if low > 0 else "contradicts" if high < 0 else "undecided"
        assert verdict(value, "above") == word


@pytest.mark.parametrize(
    ("mean", "error", "answer"),
    [
        (T975 + 0.01, 1.0, "higher"),
        (-T975 - 0.01, 1.0, "lower"),
        (T975 - 0.01, 1.0, "undecided"),
        (0.2, 0.8 / (T95 + 0.01), "the same within 1 AP"),
        (0.5, 0.1, "higher, the same within 1 AP"),
        (-0.5, 0.1, "lower, the same within 1 AP"),
    ],
)
def test_answers_to_a_question(mean: float, error: float, answer: str) -> None:
    assert verdict(effect(mean, error), "open") == answer


def test_two_seeds_need_a_difference_of_thirteen_errors() -> None:
    """One degree of freedom: 12.706."""
    assert verdict(effect(12.6, seeds=2), "above") == "undecided"
    assert verdict(effect(12.8, seeds=2), "above") == "agrees"


@pytest.mark.parametrize("expected", ["above", "below", "same", "open"])
def test_one_seed_decides_nothing(expected: str) -> None:
    judgement = judge_findings([finding(effect(50.0, 0.01, seeds=1), expected)])[0]
    assert judgement.verdict == "undecided (one seed)" and judgement.p == judgement.adjusted == {}


def test_what_is_not_asked_is_not_judged() -> None:
    judgement = judge_findings([finding(effect(50.0), None)])[0]
    assert judgement.verdict is None and judgement.p == {}


def test_what_cannot_be_tested_says_why() -> None:
    good = effect(50.0)
    assert verdicts(finding(good, "above", differing=("schedule",))) == ["undecided (rows differ in data or schedule)"]
    assert verdicts(finding(None, "above")) == [None]
    rows = {"A5": (1.0, RUN), "A1": (-1.0, RUN)}
    assert verdicts(finding(None, "above", terms=rows, missing=())) == ["undecided (no seed in common)"]
    assert verdicts(finding(replace(good, image_error=None), "above")) == ["undecided (no resampled images)"]


# --- several contrasts of one claim -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ts", "expected"),
    [
        ((T9875 + 0.01, T975 + 0.01), ("agrees", "agrees")),  # the larger first, then the other by itself
        ((T975 + 0.01, T9875 + 0.01), ("agrees", "agrees")),
        ((T9875 - 0.01, T9875 - 0.01), ("undecided", "undecided")),  # each alone would agree
        ((T9875 + 0.01, T975 - 0.01), ("agrees", "undecided")),
        ((T99167 + 0.01, T9875 - 0.01, T9875 - 0.01), ("agrees", "undecided", "undecided")),
        ((T99167 - 0.01, T9875 + 0.01, T9875 + 0.01), ("undecided",) * 3),
        ((-T9875 - 0.01, 9.0), ("contradicts", "agrees")),
        ((-T9875 + 0.01, 9.0), ("undecided", "agrees")),  # Holm's among what is against the claim, too
    ],
)
def test_holm_within_a_claim(ts: tuple[float, ...], expected: tuple[str, ...]) -> None:
    assert tuple(verdicts(*(finding(effect(t), "above") for t in ts))) == expected


def test_sides_and_equivalence_are_one_family() -> None:
    """0.1 % and 4 %: twice the former is enough; the latter is then tested alone, at the 5 % of equivalence."""
    same = finding(effect(0.0, 1.0 / (T95 + 0.05)), "same")
    assert verdicts(finding(effect(9.0), "above"), same) == ["agrees", "agrees"]
    # the side is not decided: then equivalence is tested at 2.5 %
    assert verdicts(finding(effect(0.0), "above"), same) == ["undecided", "undecided"]


def test_only_what_is_judged_counts() -> None:
    t = T975 + 0.01
    others = [finding(effect(9.0), None), finding(None, "above"), finding(effect(9.0, seeds=1), "above")]
    assert verdicts(finding(effect(t), "above"), *others)[0] == "agrees"
    assert verdicts(finding(effect(t), "above"), finding(effect(0.0), "above"))[0] == "undecided"


def test_p_values_are_reported_before_and_after_adjustment() -> None:
    first, second = judge_findings([finding(effect(T975), "above"), finding(effect(T9875), "above")])
    assert first.p["agrees"] == pytest.approx(0.025, abs=1e-4) and first.p["contradicts"] == pytest.approx(
        0.975, abs=1e-4
    )
    assert second.p["agrees"] == pytest.approx(0.0125, abs=1e-4)
    assert second.adjusted["agrees"] == pytest.approx(2 * 0.0125, abs=1e-4)
    assert first.adjusted["agrees"] == pytest.approx(0.025, abs=1e-4)
    assert first.adjusted["contradicts"] == second.adjusted["contradicts"] == 1.0


# --- a claim ----------------------------------------------------------------------------------------------------------

YES, NO, PERHAPS, ALONE = effect(9.0), effect(-9.0), effect(0.0), effect(9.0, seeds=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((YES, YES), "agrees"),
        ((YES, PERHAPS), "undecided"),
        ((PERHAPS, NO), "contradicts"),
        ((YES, NO), "contradicts"),
        ((YES, ALONE), "undecided (one seed)"),
        ((PERHAPS, ALONE), "undecided"),
        ((YES, None), "agrees, in part"),
        ((NO, None), "contradicts, in part"),
        ((ALONE, None), "undecided (one seed), in part"),
        ((None, None), "not run"),
    ],
)
def test_a_claim_agrees_if_all_do_and_contradicts_if_one_does(values: tuple, expected: str) -> None:
    findings = [finding(value, "above") for value in values]
    assert overall(findings, judge_findings(findings)) == expected


def test_what_is_not_judged_does_not_make_it_in_part() -> None:
    findings = [finding(YES, "above"), finding(None, None)]
    assert overall(findings, judge_findings(findings)) == "agrees"


def test_nothing_judged_is_undecided() -> None:
    findings = [finding(YES, None), finding(None, "above")]
    assert overall(findings, judge_findings(findings)) == "undecided, in part"
