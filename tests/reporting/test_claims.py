"""The claims and the questions: the rows of each contrast, and its verdict."""

import pytest
from measured import ROWS, Measured

from afigan.reporting.claims import CLAIMS, CONTROL, LONGER, QUESTIONS
from afigan.reporting.judged import Judged, judge_run
from afigan.reporting.verdicts import Outcome

DETECTORS = ("RetinaNet", "FCOS", "Faster R-CNN", "Mask R-CNN", "CenterMask")
FIVE = [0.0, -0.1, 0.1, 0.05, -0.05]  # what five seeds add; standard error 0.0354


@pytest.fixture
def run() -> Measured:
    return Measured()


def judged(run: Measured) -> Judged:
    return judge_run(run.results)


def outcome(run: Measured, name: str) -> Outcome:
    return next(o for o in judged(run).outcomes if o.claim.name == name)


def means(run: Measured, name: str) -> dict[tuple[str, str], float | None]:
    """Return (contrast, metric) -> mean, None if it has none."""
    return {
        (f.comparison.text, f.comparison.column): None if f.effect is None else round(f.effect.mean, 6)
        for f in outcome(run, name).findings
    }


def verdicts(run: Measured, name: str) -> list[str | None]:
    return [judgement.verdict for judgement in outcome(run, name).judgements]


def around(value: float) -> list[float]:
    return [value + each for each in FIVE]


# --- the paper's own numbers -----------------------------------------------------------------------------------------


def test_the_papers_numbers_agree_with_its_claims(run: Measured) -> None:
    """The tables contain the numbers that the claims quote, except for Table 2, whose numbers are not known."""
    run.put_printed(seeds=2)
    assert {o.claim.name: o.verdict for o in judged(run).claims} == {
        "C1": "agrees",
        "C2": "not run",
        "C3": "agrees",
        "C4": "agrees",
        "C5": "agrees",
        "C6": "agrees, in part",
        "C7": "agrees",
    }
    assert means(run, "C1") == {  # (2.5 + 2.9 + 3.3 + 1.5 + 2.5 + 1.9 + 2.7 + 3.2 + 0.8 + 0.8 + 1.5) / 11; 9.3 / 6
        ("AFI − nearest", "box_AP"): 2.145455,
        ("AFI − nearest", "mask_AP"): 1.55,
    }
    assert list(means(run, "C3").values()) == [2.6, 1.8, 0.2, 0.2, -1.1, -0.7, -1.3, -0.8, None, None]
    assert list(means(run, "C4").values()) == [0.0, -0.1, -1.3, 1.6, 1.0]
    assert list(means(run, "C5").values()) == [-1.6, -1.1]
    assert list(means(run, "C6").values()) == [-0.2, 0.1, 0.0, 0.1, None, None]
    assert list(means(run, "C7").values()) == [-4.3, -4.8]


def test_the_papers_difference_is_that_of_its_printed_values(run: Measured) -> None:
    """For every claim: with printed values as measurements, the mean is the paper's difference, to the last digit."""
    run.put_printed(seeds=1)
    found = [f for o in judged(run).claims for f in o.findings if f.effect is not None]
    assert len(found) == 2 + 8 + 5 + 2 + 4 + 2
    for finding in found:
        assert finding.printed == pytest.approx(finding.effect.mean, abs=1e-6), finding.comparison


def test_mirrored_numbers_contradict(run: Measured) -> None:
    run.put_printed(seeds=2, sign=-1.0)
    found = {o.claim.name: o.verdict for o in judged(run).claims}
    assert {found[name] for name in ("C1", "C3", "C4", "C5", "C7")} == {"contradicts"}
    assert found["C6"] == "agrees, in part"  # to be the same has no sign


def test_one_seed_decides_nothing(run: Measured) -> None:
    run.put_printed(seeds=1)
    found = {o.claim.name: o.verdict for o in judged(run).claims}
    assert {found[name] for name in ("C1", "C3", "C4", "C5", "C7")} == {"undecided (one seed)"}
    assert found["C6"] == "undecided (one seed), in part"
    assert all(not j.p for o in judged(run).claims for j in o.judgements)


def test_nothing_run(run: Measured) -> None:
    assert {o.verdict for o in judged(run).outcomes} == {"not run"}
    names = [f"{kind}{i}" for kind in "CQ" for i in range(1, 8)]
    assert [o.claim.name for o in judged(run).outcomes] == [*names, "Q9"]


# --- computed by hand ------------------------------------------------------------------------------------------------


def test_c1_by_hand(run: Measured) -> None:
    """Pair i gains i + 1, or 0.4 more with the second seed; rows of several scales or self-training do not count."""
    pairs = [label for label in ROWS[1] if label.endswith("nearest")]
    assert len(pairs) == 11
    for i, nearest in enumerate(pairs):
        masks = "Mask" in nearest or "S-101" in nearest
        gain = [i + 1.0, i + 1.4]
        run.put(1, nearest, [20.0, 22.0], [10.0, 14.0] if masks else None)
        afi = nearest.replace("nearest", "afi")
        run.put(1, afi, [20 + gain[0], 22 + gain[1]], [10 + 2.0, 14 + 3.0] if masks else None)
    for row, mask in (("nearest", 0.0), ("afi", 90.0)):  # the paper prints no masks of Swin-T
        gain = [11.0, 11.4] if row == "afi" else [0.0, 0.0]
        run.put(1, f"Swin-T-BiFPN, Cascade R-CNN, {row}", [20 + gain[0], 22 + gain[1]], [mask, mask])
    for label in ROWS[1]:
        if "multi-scale" in label or "self-training" in label:
            run.put(1, label, [90.0, 0.0], [90.0, 0.0])
    # box: seed 0 has the mean 6.0, seed 1 6.4; mask 2.0 and 3.0 in each of the 6 pairs
    box, mask = outcome(run, "C1").findings
    assert (box.effect.mean, mask.effect.mean) == pytest.approx((6.2, 2.5))
    assert (box.effect.seed_error, mask.effect.seed_error) == pytest.approx((0.2, 0.5))
    assert (len(box.each), box.possible, len(mask.each), mask.possible) == (11, 11, 6, 6)
    assert (min(box.each), max(box.each)) == pytest.approx((1.2, 11.2))
    del run.rows[1][pairs[0]], run.rows[1][pairs[-1].replace("nearest", "afi")]
    box, mask = outcome(run, "C1").findings  # pairs 2 to 10 are left: 6.0 and 6.4 again; of masks all but none
    assert box.effect.mean == pytest.approx(6.2) and (len(box.each), box.possible) == (9, 11)
    assert box.missing == (pairs[0], pairs[-1].replace("nearest", "afi"))
    # the paper's mean is of the same nine pairs, without RetinaNet's 2.5 and Swin-T's 1.5
    assert box.printed == pytest.approx((2.9 + 3.3 + 1.5 + 2.5 + 1.9 + 2.7 + 3.2 + 0.8 + 0.8) / 9, abs=1e-6)
    # t = 6.2 / 0.2 = 31 with one degree: p = 0.0103; mask t = 5: p = 0.0628
    assert verdicts(run, "C1") == ["agrees", "undecided"]
    assert outcome(run, "C1").verdict == "undecided, in part"


def put_table2(run: Measured, offsets: dict[str, list[float]]) -> None:
    """Fill Table 2: kind of row -> each of the five detectors' gain over 20 box AP; half of it over 10 mask AP."""
    for i, detector in enumerate(DETECTORS):
        masks = detector in ("Mask R-CNN", "CenterMask")
        for row, gains in ({"nearest": [0.0] * 5} | offsets).items():
            mask = [10 + gains[i] / 2 + each for each in FIVE] if masks else None
            run.put(2, f"{detector}, {row}", around(20 + gains[i]) if row != "nearest" else [20.0] * 5, mask)


def test_c2_by_hand(run: Measured) -> None:
    put_table2(run, {"G, rdb": [0.1, -0.3, 0.5, 1.2, 1.0], "M, rdb": [9.0, 9.0, 9.0, 2.8, 9.0]})
    assert list(means(run, "C2").values()) == [0.5, 0.55, 2.8, 1.4]  # 2.5 / 5; (0.6 + 0.5) / 2
    assert outcome(run, "C2").verdict == "agrees"
    # the table is not legible; what the text quotes of one pair is known
    assert [f.printed for f in outcome(run, "C2").findings] == [None, None, 2.8, 2.0]
    assert [f.inside for f in outcome(run, "C2").findings] == [None, None, True, False]
    put_table2(run, {"G, rdb": [0.1, -0.3, 0.5, 1.2, 1.0], "M, rdb": [9.0, 9.0, 9.0, -2.8, 9.0]})
    assert outcome(run, "C2").verdict == "contradicts"
    del run.rows[2]["Mask R-CNN, M, rdb"], run.rows[2]["FCOS, nearest"]
    assert list(means(run, "C2").values()) == [0.7, 0.55, None, None]
    assert outcome(run, "C2").verdict == "agrees, in part"


def test_c3_by_hand(run: Measured) -> None:
    run.put(4, "A1", [10.0, 12.0, 14.0], [10.0] * 3)
    run.put(4, "A6", [11.0, 12.0, 16.0], [10.0] * 3)  # gains 1, 0, 2
    run.put(4, "A5", [18.0, 24.0, 24.0], [12.0] * 3)  # gains 8, 12, 10
    run.put(4, "A4", [18.0, 23.0, 19.0], [11.0] * 3)  # 0, -1, -5 from A5
    run.put(4, CONTROL, [12.0, 20.0, 21.0], [11.5] * 3)  # A5 is 6, 4, 3 above
    found = {f.comparison.text: f.effect for f in outcome(run, "C3").findings if f.comparison.column == "box_AP"}
    values = {text: (effect.mean, effect.seed_error) for text, effect in found.items()}
    assert values == {
        "A5 − A1": pytest.approx((10.0, (4 / 3) ** 0.5)),
        "A6 − A1": pytest.approx((1.0, (1 / 3) ** 0.5)),
        "(A6 − A1) − ½ (A5 − A1)": pytest.approx((-4.0, 1.0)),  # -3, -6, -3
        "A4 − A5": pytest.approx((-2.0, (7 / 3) ** 0.5)),
        "A5 − NN with stage 2 (its control)": pytest.approx((13 / 3, (7 / 9) ** 0.5)),
    }
    # Three of the six judged ones have no spread, so Holm multiplies the others by 3, 2 and 1. With two degrees of
    # freedom p = (1 - t / sqrt(t^2 + 2)) / 2: 0.0065 at t = 8.66, 0.0286 at 4 and 0.16 at 1.3
    assert verdicts(run, "C3") == [
        *("agrees", "agrees"),
        *(None, None),
        *("undecided", "agrees"),
        *("undecided", "agrees"),
        *(None, None),
    ]
    assert outcome(run, "C3").verdict == "undecided"


def test_c3_does_not_agree_if_the_module_alone_brings_most(run: Measured) -> None:
    for label, value in {"A1": 10.0, "A6": 13.0, "A5": 14.0, "A4": 12.0}.items():
        run.put(4, label, [value, value + 1])
    assert means(run, "C3")["(A6 − A1) − ½ (A5 − A1)", "box_AP"] == 1.0
    assert means(run, "C3")["(A6 − A1) − ½ (A5 − A1)", "mask_AP"] is None  # no masks
    assert outcome(run, "C3").verdict == "contradicts, in part"


def test_c3_is_judged_without_its_control(run: Measured) -> None:
    for label, value in {"A1": 10.0, "A6": 10.1, "A5": 14.0, "A4": 12.0}.items():
        run.put(4, label, [value, value], [value, value])
    assert outcome(run, "C3").verdict == "agrees"
    assert outcome(run, "C3").findings[-1].missing == (CONTROL,)


def test_c6_counts_residual_blocks_of_g_and_m(run: Measured) -> None:
    gains = {"G, rdb": [1.0] * 5, "M, rdb": [2.0] * 5}
    put_table2(run, gains | {"G, rb": [1.2] * 5, "M, rb": [2.0, 2.0, 2.0, 2.0, 1.0]})
    found = means(run, "C6")
    assert found["RB − RDB", "box_AP"] == 0.0  # (5 * 0.2 - 1) / 10
    assert found["RB − RDB", "mask_AP"] == -0.075  # (2 * 0.1 + 0 - 0.5) / 4
    assert outcome(run, "C6").verdict == "agrees, in part"
    put_table2(run, gains | {"G, rb": [5.0] * 5, "M, rb": [2.0] * 5})  # 2 box, 1 mask: the latter is just at the margin
    assert verdicts(run, "C6")[-2:] == ["contradicts", "undecided"]
    assert outcome(run, "C6").verdict == "contradicts, in part"


# --- rows that do not fit ---------------------------------------------------------------------------------------------


def test_rows_with_other_data_or_schedules_are_not_judged(run: Measured) -> None:
    run.put(7, "same", [20.0, 20.0])
    run.put(7, "different", [10.0, 10.0], schedule="80 iterations")
    assert outcome(run, "C5").verdict == "undecided (rows differ in data or schedule), in part"  # without masks
    assert means(run, "C5")["different − same", "box_AP"] == -10.0


def test_one_contrast_that_contradicts_decides(run: Measured) -> None:
    """C4 has several: one that is on the wrong side decides, whatever is known of the others."""
    for label in ("nearest", "bilinear", "deconv"):
        run.put(6, label, [20.0, 20.0])
    run.put(6, "afi", [15.0, 15.0])
    run.put(6, "bicubic", [20.0])
    assert outcome(run, "C4").verdict == "contradicts, in part"
    run.put(6, "afi", [25.0, 25.0])
    run.put(6, "deconv", [21.0, 21.0])
    assert outcome(run, "C4").verdict == "undecided (one seed), in part"
    assert verdicts(run, "C4") == ["agrees", "undecided (one seed)", None, "agrees", "agrees"]


def test_only_an_unjudged_part_run(run: Measured) -> None:
    run.put(4, "A6", [10.0, 11.0])
    run.put(4, "A1", [10.0, 11.0])
    assert verdicts(run, "C3") == [None] * 10
    assert outcome(run, "C3").verdict == "undecided, in part"


# --- questions -------------------------------------------------------------------------------------------------------

ASKED = {
    "Q1": ("A5", CONTROL),
    "Q2": ("A5", "A5 without D"),
    "Q3": ("A5", "A5 detached"),
    "Q4": ("A5 merged", "A5"),
    "Q5": ("A5", "AFI, stage 2 without L_AF"),
    "Q6": (LONGER, "A1"),
    "Q7": ("A5", LONGER),
}


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize(
    ("box", "mask", "answer"),
    [
        (2.0, 2.0, "higher"),
        (-2.0, -2.0, "lower"),
        (0.01, -0.01, "the same within 1 AP"),
        (0.5, 0.5, "higher, the same within 1 AP"),
        (2.0, 0.0, "box higher; mask the same within 1 AP"),
    ],
)
def test_a_question_compares_its_rows(run: Measured, name: str, box: float, mask: float, answer: str) -> None:
    row, reference = ASKED[name]
    run.put(4, reference, [20.0] * 5, [20.0] * 5)
    run.put(4, row, around(20 + box), around(20 + mask))
    assert list(means(run, name).values()) == [box, mask]
    assert outcome(run, name).verdict == answer
    others = {o.claim.name: o.verdict for o in judged(run).questions if o.claim.name != name}
    assert set(others.values()) == {"not run"}


def test_questions_of_the_length_of_training_compare_other_schedules(run: Measured) -> None:
    """Only those: the rows of the others must have one schedule. The rows of all must have the same data."""
    for label in ("A1", "A5", CONTROL):
        run.put(4, label, [20.0, 20.0])
    run.put(4, LONGER, [25.0, 25.0], schedule="400 iterations")
    assert (outcome(run, "Q6").verdict, outcome(run, "Q7").verdict) == ("higher", "lower")
    run.put(4, CONTROL, [25.0, 25.0], schedule="400 iterations")
    assert outcome(run, "Q1").verdict == "undecided (rows differ in data or schedule)"
    run.put(4, LONGER, [25.0, 25.0], source="coco")
    assert outcome(run, "Q6").verdict == "undecided (rows differ in data or schedule)"


def test_a_question_that_is_not_decided(run: Measured) -> None:
    run.put(4, "A1", [20.0] * 3)
    run.put(4, LONGER, [20.0, 22.0, 24.0])
    assert outcome(run, "Q6").verdict == "undecided"
    run.put(4, LONGER, [20.0])
    assert outcome(run, "Q6").verdict == "undecided (one seed)"


def test_names_are_unique_and_every_main_contrast_is_there() -> None:
    claims = (*CLAIMS, *QUESTIONS)
    assert len({claim.name for claim in claims}) == len(claims) == 15
    assert all(0 <= claim.main < len(claim.comparisons) for claim in claims)
