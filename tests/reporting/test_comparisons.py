"""Contrasts of rows: their seeds, the images' part, and the paper's difference beside them."""

from pathlib import Path

import numpy as np
import pytest
from composed import composed
from measured import REPLICATES, Measured

from afigan.params.lineage import Lineage
from afigan.params.loading import check_params
from afigan.reporting.claims import CONTROL, LONGER
from afigan.reporting.claims_markdown import notes_of
from afigan.reporting.comparisons import Comparison, Contrast, Finding, difference, find
from afigan.reporting.judged import judge_run
from afigan.reporting.verdicts import Outcome, judge_findings

PLAIN = difference("A5", "A1")
PROFILES = [path.stem for path in sorted(Path(__file__).parents[2].joinpath("conf/profile").glob("*.yaml"))]


def found(run: Measured, *contrasts: Contrast, column: str = "box_AP", quoted: float | None = None) -> Finding:
    return find(Comparison("A5 − A1", 4, column, contrasts or (PLAIN,), "above", quoted), run.results)


@pytest.fixture
def run() -> Measured:
    return Measured()


def noise(seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, REPLICATES)


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_rows_are_compared_on_their_common_seeds(run: Measured) -> None:
    run.put(4, "A1", [10.0, 12.0, 11.0, 50.0], seeds=[0, 1, 2, 3])
    run.put(4, "A5", [90.0, 14.0, 16.0], seeds=[7, 2, 1])
    finding = found(run)
    assert (finding.seeds, finding.others) == ((1, 2), (0, 3, 7))
    assert finding.effect.mean == pytest.approx((4 + 3) / 2) and finding.effect.seeds == 2
    assert finding.effect.seed_error == pytest.approx(0.5)


def test_a_seed_that_has_not_been_run_is_left_out(run: Measured) -> None:
    run.put(4, "A1", [20.0, 20.0, 20.0])
    run.put(4, "A5", [10.0, None, 12.0])
    finding = found(run)
    assert (finding.seeds, finding.others, finding.effect.mean) == ((0, 2), (1,), -9.0)


def test_rows_without_a_common_seed_are_not_compared(run: Measured) -> None:
    run.put(4, "A1", [10.0, 12.0], seeds=[0, 1])
    run.put(4, "A5", [20.0, 26.0], seeds=[2, 3])
    finding = found(run)
    assert finding.effect is None and finding.interval is None and finding.others == (0, 1, 2, 3)
    assert judge_findings([finding])[0].verdict == "undecided (no seed in common)"


def test_several_pairs_are_averaged_seed_by_seed(run: Measured) -> None:
    for label, values in {"A1": [10.0, 20.0], "A5": [12.0, 21.0], "A2": [10.0, 10.0], "A6": [16.0, 15.0]}.items():
        run.put(4, label, values)
    finding = found(run, PLAIN, difference("A6", "A2"))  # 2, 1 and 6, 5: 4 and 3
    assert (finding.effect.mean, finding.effect.seed_error) == pytest.approx((3.5, 0.5))
    assert finding.each == pytest.approx((1.5, 5.5)) and finding.possible == 2
    del run.rows[4]["A2"]
    finding = found(run, PLAIN, difference("A6", "A2"))
    assert finding.each == pytest.approx((1.5,)) and (finding.possible, finding.missing) == (2, ("A2",))


def test_pairs_are_averaged_over_the_seeds_that_all_have(run: Measured) -> None:
    run.put(4, "A1", [10.0, 20.0, 30.0])
    run.put(4, "A5", [12.0, 21.0, 33.0])
    run.put(4, "A2", [10.0], seeds=[2])
    run.put(4, "A6", [15.0], seeds=[2])
    finding = found(run, PLAIN, difference("A6", "A2"))
    assert (finding.seeds, finding.others) == ((2,), (0, 1)) and finding.effect.mean == pytest.approx((3 + 5) / 2)


def test_rows_without_masks_have_no_contrast_of_masks(run: Measured) -> None:
    run.put(4, "A1", [10.0, 20.0], [1.0, 2.0])
    run.put(4, "A5", [12.0, 21.0])
    finding = found(run, column="mask_AP")
    assert finding.effect is None and finding.terms == {} and finding.missing == () and finding.possible == 0


# --- images -----------------------------------------------------------------------------------------------------------


def test_the_images_part_is_that_of_the_difference(run: Measured) -> None:
    """A resample's effect on both rows cancels; its effect on one row is the images' part, the same in all seeds."""
    run.put(4, "A1", [10.0, 10.0, 10.0])
    run.put(4, "A5", [12.0, 12.5, 13.0])
    shared, own = noise(0, 50.0), noise(1)
    run.resamples.noise = {("A1", "box"): shared, ("A5", "box"): shared + own}
    finding = found(run)
    assert finding.effect.image_error == pytest.approx(own.std(ddof=1))
    assert finding.effect.seed_error == pytest.approx(0.5 / 3**0.5)
    assert finding.effect.error == pytest.approx((own.var(ddof=1) + 0.25 / 3) ** 0.5)
    assert found(run, column="mask_AP").effect is None


def test_pairs_of_rows_are_resampled_together(run: Measured) -> None:
    for label in ("A1", "A2", "A5", "A6"):
        run.put(4, label, [10.0, 10.0])
    run.resamples.noise = {("A5", "box"): noise(1), ("A6", "box"): noise(2), ("A2", "box"): noise(3)}
    finding = found(run, PLAIN, difference("A6", "A2"))
    expected = ((noise(1) + noise(2) - noise(3)) / 2).std(ddof=1)
    assert finding.effect.image_error == pytest.approx(expected)


def test_with_one_seed_the_interval_is_only_over_images(run: Measured) -> None:
    run.put(4, "A1", [10.0])
    run.put(4, "A5", [12.0])
    run.resamples.noise = {("A5", "box"): noise(1)}
    finding = found(run)
    assert finding.effect.seed_error is None and finding.effect.error == pytest.approx(noise(1).std(ddof=1))
    half = 1.984 * noise(1).std(ddof=1)  # the 97.5 % point of t with 99 degrees, of 100 images
    assert finding.interval == pytest.approx((2 - half, 2 + half), abs=1e-3)
    assert judge_findings([finding])[0].verdict == "undecided (one seed)"


# --- the paper --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spread", "inside"),
    [
        (0.30, False),  # error 0.3 / sqrt(5), times 2.776: 3 ± 0.37 has not the paper's 2.6
        (0.35, True),  # 3 ± 0.43
    ],
)
def test_the_papers_difference_in_the_interval(run: Measured, spread: float, inside: bool) -> None:
    five = np.array([-1.0, -1.0, 0.0, 1.0, 1.0]) * spread  # a standard deviation of `spread`
    run.put(4, "A1", [10.0] * 5)
    run.put(4, "A5", list(13.0 + five))
    finding = found(run)
    assert finding.printed == 2.6 and finding.inside == inside  # 41.2 - 38.6
    assert finding.interval[1] - 3.0 == pytest.approx(2.776 * spread / 5**0.5, abs=1e-3)


def test_the_papers_difference_is_of_the_rows_that_were_run(run: Measured) -> None:
    for label in ("A1", "A5", "A2"):
        run.put(4, label, [10.0, 11.0])
    assert found(run, PLAIN, difference("A4", "A1")).printed == pytest.approx(2.6)
    run.put(4, "A4", [10.0, 11.0])
    assert found(run, PLAIN, difference("A4", "A1")).printed == pytest.approx((2.6 + 1.3) / 2)
    weighted = found(run, {"A2": 1.0, "A5": -0.5, "A1": -0.5})
    assert weighted.printed == pytest.approx(0.8 - 1.3)


def test_rows_that_the_paper_does_not_print(run: Measured) -> None:
    run.put(4, "ours", [10.0, 11.0])
    run.put(4, "A1", [10.0, 11.0])
    finding = found(run, difference("ours", "A1"))
    assert finding.printed is None and finding.inside is None and finding.effect.mean == 0.0
    assert found(run, difference("ours", "A1"), quoted=2.8).printed == 2.8
    assert found(run).inside is None and found(run).printed == 2.6  # of what has not been run, the paper's stays


# --- what the rows of a contrast have in common -----------------------------------------------------------------------

STAGE_1, STAGE_2, STAGE_3 = {"iterations": 60, "lr": 0.001}, {"iterations": 160, "lr": 0.002}, {"iterations": 280}
WHOLE = {"afigan": STAGE_1, "extractors": STAGE_2, "detectors": STAGE_3}
TWO_STAGES = {"extractors": STAGE_2, "detectors": STAGE_3}


def question(run: Measured, name: str) -> Outcome:
    return next(outcome for outcome in judge_run(run.results).questions if outcome.claim.name == name)


def test_a_stage_that_only_one_row_has_is_what_is_compared(run: Measured) -> None:
    run.put(4, "A5", [12.0, 13.0], trainings=WHOLE)
    run.put(4, "A1", [10.0, 11.0], trainings={"detectors": STAGE_3})
    assert found(run).comparable


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"extractors": STAGE_2 | {"iterations": 10}}, ("schedule of extractors",)),
        ({"extractors": STAGE_2 | {"lr": 0.1}}, ("schedule of extractors",)),
        ({"detectors": STAGE_3 | {"lr": 0.1}}, ("schedule of detectors",)),
    ],
)
def test_rows_whose_common_stages_differ_are_not_judged(run: Measured, change: dict, expected: tuple) -> None:
    run.put(4, "A5", [12.0] * 3, [12.0] * 3, trainings=WHOLE)
    run.put(4, CONTROL, [10.0] * 3, [10.0] * 3, trainings=TWO_STAGES | change)
    outcome = question(run, "Q1")
    assert outcome.main.differing == expected
    assert outcome.verdict == "undecided (rows differ in data or schedule)"
    assert f"A5 − {CONTROL}, box AP: rows differ in {expected[0]}" in notes_of(outcome, run.results)


def test_rows_that_are_tested_at_other_scales_are_not_judged(run: Measured) -> None:
    run.put(4, "A1", [10.0, 11.0])
    run.put(4, "A5", [12.0, 13.0], multi_scale=True)
    assert found(run).differing == ("scales of the test",)


def test_lengths_are_told_where_they_are_the_question(run: Measured) -> None:
    run.put(4, "A5", [12.0] * 3, [12.0] * 3, trainings=WHOLE)
    run.put(4, LONGER, [10.0] * 3, [10.0] * 3, trainings={"detectors": {"iterations": 1440}})
    outcome = question(run, "Q7")
    assert outcome.verdict == "higher"
    assert f"iterations of stages 2 and 3: `A5` 160 + 280, `{LONGER}` 1,440" in notes_of(outcome, run.results)


@pytest.mark.parametrize("profile", PROFILES)
def test_in_every_profile_all_rows_that_are_compared_can_be(run: Measured, profile: str) -> None:
    params = check_params(composed(profile))
    lineage = Lineage(params)
    for table, rows in params.tables.items():
        for label, keys in rows.items():
            node = lineage[f"evaluations/{keys if isinstance(keys, str) else keys[0]}"]
            scales = node.experiment.multi_scale
            run.put(int(table.removeprefix("table")), label, [1.0], trainings=node.trainings, multi_scale=scales)
    judged = judge_run(run.results)
    findings = [finding for outcome in (*judged.claims, *judged.questions) for finding in outcome.findings]
    assert {finding.comparison.text: finding.differing for finding in findings if finding.differing} == {}


def test_a_seed_that_is_still_to_come_makes_a_claim_in_part(run: Measured) -> None:
    for label, value in {"A1": 10.0, "A6": 10.1, "A5": 14.0, "A4": 12.0}.items():
        run.put(4, label, [value] * 3, [value] * 3)
    (c3,) = (outcome for outcome in judge_run(run.results).claims if outcome.claim.name == "C3")
    assert c3.verdict == "agrees"
    run.put(4, "A4", [12.0, 12.0, None], [12.0] * 3)
    (c3,) = (outcome for outcome in judge_run(run.results).claims if outcome.claim.name == "C3")
    assert c3.verdict == "agrees, in part"
