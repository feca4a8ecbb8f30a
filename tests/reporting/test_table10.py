"""Table 10, our own, and its question Q9: does AFI training help other upsamplers?"""

import pytest
from measured import Measured

from afigan.reporting.claims import CLAIMS, OTHERS
from afigan.reporting.claims_markdown import claims_markdown, notes_of
from afigan.reporting.judged import judge_run
from afigan.reporting.layout import LAYOUTS
from afigan.reporting.paper import printed_records, printed_rows
from afigan.reporting.tables import compare, tables_text
from afigan.reporting.verdicts import Outcome

FIVE = [0.0, -0.1, 0.1, 0.05, -0.05]
ALONE, CONTROL, AFI = "alone", "with stage 2", "AFI"


@pytest.fixture
def run() -> Measured:
    return Measured()


def put(run: Measured, name: str, gain: float, longer: float = 5.0, chance: float = 1.0) -> None:
    """Add the three rows of an upsampler: AFI training adds `gain` to the `longer` that its control has gained."""
    values = {ALONE: 20.0, CONTROL: 20 + longer, AFI: 20 + longer + gain}
    for training, value in values.items():
        around = [value + chance * each * (training == AFI) for each in FIVE]
        run.put(10, f"{name}, {training}", around, around)


def q9(run: Measured) -> Outcome:
    (found,) = (outcome for outcome in judge_run(run.results).questions if outcome.claim.name == "Q9")
    return found


# --- the table -------------------------------------------------------------------------------------------------------


def test_every_upsampler_is_there_alone_and_the_others_with_afi() -> None:
    rows = set(printed_rows(10))
    upsamplers = {label.partition(", ")[0] for label in rows}
    assert {*OTHERS, "nearest", "bilinear", "bicubic", "dysample-plus", "fade", "afi"} == upsamplers
    assert {f"{name}, {ALONE}" for name in upsamplers} <= rows
    assert {f"{name}, {training}" for name in (*OTHERS, "afi") for training in (CONTROL, AFI)} <= rows
    assert {f"nearest, {CONTROL}", "nearest, stages 2 and 3 together", "nearest, AFI without stage 1"} <= rows


def test_figures_of_another_neck_are_in_a_column_of_their_own() -> None:
    """They are no printed values of ours: no AP column has them."""
    records = printed_records(10)
    necks = {label: record["another_neck_box_AP"] for label, record in records.items()}
    assert {label: value for label, value in necks.items() if value is not None} == {
        "nearest, alone": 37.4,
        "carafe, alone": 38.6,
        "dysample, alone": 38.6,
        "dysample-plus, alone": 38.7,
        "lda-aqu, alone": 39.2,
        "fade, alone": 38.5,
    }
    assert all(record[column] is None for record in records.values() for column in ("box_AP", "mask_AP"))


def test_it_says_whose_it_is_and_compares_with_nearest(run: Measured) -> None:
    run.put(10, "nearest, alone", [20.0, 21.0], [18.0, 19.0], params_M=1.0, ms=10.0)
    run.put(10, "carafe, AFI", [25.0, 27.0], [22.0, 23.0], params_M=1.5, ms=12.5)
    text = tables_text(run.results)["table10.md"]
    assert text.startswith("## Table 10 (ours, not the paper's). ") and "The paper has no such table." in text
    assert "(ours only)" not in text and "box AP paper" not in text and "another neck box AP" in text
    frame = compare(10, run.results).set_index("row")
    carafe = frame.loc["carafe, AFI"]
    assert (carafe["reference"], carafe["box_AP_ours_delta"], carafe["time_ratio_ours"]) == (
        "nearest, alone",
        5.5,
        1.25,
    )
    assert frame.loc["carafe, alone", "box_AP_ours"] == "—"
    assert list(frame.index) == printed_rows(10) and LAYOUTS[10].ours


def test_another_upsampler_is_appended(run: Measured) -> None:
    run.put(10, "sharpen, alone", [20.0], [18.0])
    text = tables_text(run.results)["table10.md"]
    assert text.index("| afi ") < text.index("| sharpen, alone ") and "(ours only)" not in text


# --- the question ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "answer"),
    [(2.0, "higher"), (-2.0, "lower"), (0.0, "the same within 1 AP"), (0.5, "higher, the same within 1 AP")],
)
def test_its_answer_is_the_gain_over_the_control(run: Measured, gain: float, answer: str) -> None:
    """However much the longer training of stage 2 adds, for which the control and AFI's row both have it."""
    for name in OTHERS:
        put(run, name, gain)
    outcome = q9(run)
    assert outcome.verdict == answer
    assert outcome.main.effect is not None and outcome.main.effect.mean == pytest.approx(gain)
    alone = outcome.findings[2]
    assert alone.comparison.text.startswith("AFI − alone") and alone.effect is not None
    assert alone.effect.mean == pytest.approx(5 + gain) and outcome.judgements[2].verdict is None


def test_chance_leaves_it_undecided(run: Measured) -> None:
    for name in OTHERS:
        put(run, name, 1.0, chance=30.0)
    assert q9(run).verdict == "undecided"


def test_it_is_the_mean_of_the_upsamplers(run: Measured) -> None:
    for i, name in enumerate(OTHERS):
        put(run, name, float(i))
    outcome = q9(run)
    assert outcome.main.effect is not None and outcome.main.effect.mean == pytest.approx(2.0)
    assert outcome.main.each == pytest.approx((0.0, 1.0, 2.0, 3.0, 4.0)) and outcome.verdict == "higher"
    each = {f.comparison.text: f.effect.mean for f in outcome.findings if f.effect and f.comparison.column == "box_AP"}
    assert each["carafe: AFI − with stage 2"] == pytest.approx(1.0)


def test_g_itself_is_shown_and_not_judged(run: Measured) -> None:
    put(run, "afi", 3.0)
    assert q9(run).verdict == "undecided, in part"
    put(run, "deconv", 2.0)
    assert q9(run).verdict == "higher, in part"  # of the one that has been run


def test_longer_training_and_l_af_of_nearest_are_shown_and_not_judged(run: Measured) -> None:
    """What nearest reaches in the same time, and what L_AF adds where there is no upsampler to learn."""
    for i, name in enumerate(OTHERS):
        put(run, name, float(i), chance=0.0)  # 25 ... 29
    longer = "370 iterations"  # on purpose: this row may be compared all the same
    run.put(10, "nearest, stages 2 and 3 together", [24.0] * 5, [24.5] * 5, schedule=longer)
    run.put(10, f"afi, {AFI}", [27.0] * 5, [27.0] * 5)
    run.put(10, f"nearest, {CONTROL}", [23.0] * 5, [23.0] * 5)
    run.put(10, "nearest, AFI without stage 1", [23.5] * 5, [22.0] * 5)
    outcome = q9(run)
    found = {
        (finding.comparison.text, finding.comparison.column): (finding.effect, judgement.verdict, finding.comparable)
        for finding, judgement in zip(outcome.findings, outcome.judgements, strict=True)
    }
    for text, box, mask in (
        ("AFI, other upsamplers − nearest, as long", 3.0, 2.5),
        ("nearest: L_AF in stage 2 − without", 0.5, -1.0),
        ("afi − nearest, both with L_AF", 3.5, 5.0),
    ):
        for column, mean in (("box_AP", box), ("mask_AP", mask)):
            effect, verdict, comparable = found[text, column]
            assert effect is not None and effect.mean == pytest.approx(mean)
            assert verdict is None and comparable
    assert outcome.verdict == "higher"  # by the difference to the control, as before


def test_nothing_run(run: Measured) -> None:
    assert q9(run).verdict == "not run"


def test_what_other_papers_say_of_deconv_is_beside_claim_4(run: Measured) -> None:
    run.put(6, "nearest", [20.0, 20.0])
    run.put(6, "deconv", [21.0, 21.1])
    judged = judge_run(run.results)
    (fourth,) = (outcome for outcome in judged.claims if outcome.claim.name == "C4")
    assert "0.1 to 0.2 box AP below nearest" in notes_of(fourth, judged.source)[0]
    assert f"- {fourth.claim.note}" in claims_markdown(judged)
    assert [claim.name for claim in CLAIMS if claim.note] == ["C4"]
