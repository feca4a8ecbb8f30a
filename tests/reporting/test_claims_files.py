"""results/claims.md and claims.csv: every contrast is in both, with the numbers that were computed."""

import csv
import io
import re

import pytest
from measured import REPLICATES, Measured

from afigan.reporting.benchmark import PaperSize
from afigan.reporting.claims_csv import COLUMNS, claims_csv
from afigan.reporting.claims_markdown import BEGIN, END, claims_markdown, question_table, verdict_table
from afigan.reporting.comparisons import find
from afigan.reporting.judged import judge_run

CLAIMS = [f"C{number}" for number in range(1, 9)]
QUESTIONS = [*(f"Q{i}" for i in range(1, 8)), "Q9"]


def cells(text: str) -> list[list[str]]:
    """Return the rows of the Markdown tables in a text, without headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [
        row
        for row, rule in zip(rows, [*lines[1:], ""], strict=True)
        if not rule.startswith("|:") and "---" not in row[0]
    ]


def section(run: Measured, name: str) -> str:
    text = claims_markdown(judge_run(run.results))
    return re.search(rf"### {name}: .*?(?=\n### |\n## )", text, re.DOTALL)[0]


def table(run: Measured, name: str) -> list[dict[str, str]]:
    """Return the table of a claim's section."""
    lines = [line for line in section(run, name).splitlines() if line.startswith("|")]
    headings, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(headings, row, strict=True)) for row in rows]


def records(run: Measured) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(claims_csv(judge_run(run.results)))))


@pytest.fixture
def run() -> Measured:
    return Measured()


@pytest.fixture
def five(run: Measured) -> Measured:
    """A run of five seeds with A5 above A1 by 3 ± 0.31, and an error of the images of 0.2."""
    import numpy as np

    run.put(4, "A1", [10.0] * 5, [10.0] * 5)
    run.put(4, "A5", [12.5, 12.5, 13.0, 13.5, 13.5], [9.9, 10.0, 10.0, 10.0, 10.1])
    noise = np.random.default_rng(0).normal(size=REPLICATES)
    run.resamples.noise = {("A5", "box"): 0.2 * noise / noise.std(ddof=1)}
    return run


def test_the_verdicts_are_eight_lines_between_marks(run: Measured) -> None:
    run.put_printed(seeds=2)
    text = verdict_table(judge_run(run.results))
    lines = text.splitlines()
    assert (lines[0], lines[-1]) == (BEGIN, END) and len(lines) == 2 + 2 + 8
    rows = cells(text)
    assert [row[0] for row in rows] == CLAIMS
    assert "+2.2 box AP, +1.6 mask AP" in rows[0][1] and "36.9" in rows[6][1] and "8 M parameters" in rows[7][1]
    assert [row[2] for row in rows] == [
        *("agrees", "not run", "agrees", "agrees", "agrees"),
        "agrees, in part",
        *2 * ("agrees",),
    ]
    assert rows[0][3] == "AFI − nearest<br>box +2.1 [+2.1, +2.1], paper +2.1<br>mask +1.6 [+1.6, +1.6], paper +1.6"
    assert rows[1][3] == "M − nearest, Mask R-CNN<br>not run"
    cost = "+8.0 M parameters, × 1.64 time"
    assert rows[7][3] == f"AFI − nearest, Mask R-CNN, as in this run<br>{cost}<br>paper {cost}"
    assert text in claims_markdown(judge_run(run.results))


def test_questions_have_a_table_of_their_own(five: Measured) -> None:
    five.put(4, "NN with stage 2", [11.0] * 5)
    rows = cells(question_table(judge_run(five.results)))
    assert [row[0] for row in rows] == QUESTIONS
    assert (
        rows[0][2] == "higher"
        and rows[0][3] == "A5 − NN with stage 2<br>box +2.0 [+1.3, +2.7]<br>mask undefined (no masks)"
    )
    assert {row[2] for row in rows[1:]} == {"not run"}


def test_a_line_by_hand(five: Measured) -> None:
    """Seeds: 0.5 / sqrt(5) = 0.2236; images 0.2; both 0.3, of 0.09 / (0.05 / 4 + 0.04 / 99) = 7 degrees: 2.365.

    Only A1 and A5 of the claim's rows have been run: two contrasts are judged.
    """
    box, mask, *_ = table(five, "C3")
    assert box == {
        "contrast": "A5 − A1",
        "AP": "box",
        "mean [95 % interval]": "+3.0 [+2.3, +3.7]",
        "verdict": "agrees",
        "seeds": "5",
        "SE, seeds": "0.22",
        "SE, images": "0.20",
        "SE, both": "0.30",
        "p for": "<0.001",
        "p against": "1.000",
        "the paper": "+2.6",
        "in the interval": "yes",
    }
    assert mask["mean [95 % interval]"] == "0.0 [-0.1, +0.1]" and mask["verdict"] == "undecided"
    assert (mask["p for"], mask["the paper"], mask["in the interval"]) == ("0.500", "+1.8", "no")
    others = table(five, "C3")[2:]
    assert {row["verdict"] for row in others} == {"not judged", "—"} and others[0]["mean [95 % interval]"] == "not run"
    assert "- not run: Table 4: `A6`, `A4`, `NN with stage 2`" in section(five, "C3")
    assert "- data and schedule: shapes, 400 training and 100 validation images; 160 iterations" in section(five, "C3")


def test_with_one_seed_the_text_says_that_the_interval_is_over_images(run: Measured) -> None:
    run.put(9, "B1", [10.0])
    run.put(9, "B2", [20.0])
    row = table(run, "C7")[0]
    assert row["mean [95 % interval]"] == "-10.0 [-10.0, -10.0] (images alone)"
    assert (row["seeds"], row["SE, seeds"], row["verdict"]) == ("1", "—", "undecided (one seed)")
    assert "p for" not in row and "±" not in section(run, "C7")


def test_two_seeds(run: Measured) -> None:
    run.put(9, "B1", [10.0, 12.0])
    run.put(9, "B2", [20.0, 20.0])
    row = table(run, "C7")[0]
    assert row["mean [95 % interval]"] == "-9.0 [-21.7, +3.7]"  # error 1, one degree of freedom: 12.706
    assert (row["seeds"], row["SE, seeds"], row["verdict"]) == ("2", "1.00", "undecided")


def test_seeds_that_do_not_count_are_named(run: Measured) -> None:
    run.put(9, "B1", [10.0, None, 12.0])
    run.put(9, "B2", [20.0, 20.0, 20.0])
    text = section(run, "C7")
    assert "- B1 − B2, box AP: of the seeds that all its rows have (0, 2); only some have 1" in text
    assert "- not run: Table 9: `B1` (1 of 3 seeds)" in text
    run.put(9, "B2", [20.0], seeds=[7])
    assert "(none); only some have 0, 2, 7" in section(run, "C7")
    assert table(run, "C7")[0]["mean [95 % interval]"] == "no seed in common"


def test_pairs_that_are_averaged_are_counted(run: Measured) -> None:
    for detector, gain in (("FCOS", 1.0), ("Faster R-CNN", 2.0)):
        run.put(1, f"R-50-FPN, {detector}, nearest", [20.0, 20.0])
        run.put(1, f"R-50-FPN, {detector}, afi", [20 + gain, 20 + gain])
    assert "- AFI − nearest, box AP: mean of 2 of 11 pairs, from +1.0 to +2.0" in section(run, "C1")
    del run.rows[1]["R-50-FPN, FCOS, afi"]
    assert "- AFI − nearest, box AP: mean of 1 of 11 pairs\n" in section(run, "C1")


def test_rows_that_have_not_been_run_are_named_even_if_nothing_can_be_computed(run: Measured) -> None:
    run.put(4, "A2", [10.0])
    run.put(4, "A1", [10.0])
    assert "- not run: Table 4: `A5`, `A6`, `A4`, `NN with stage 2`" in section(run, "C3")
    assert "- not run" not in section(run, "C5")  # of which nothing has


def test_costs_have_a_table(run: Measured) -> None:
    run.paper_size = PaperSize(256, 480, 640, {"nearest": 44.4, "afi": 52.6}, {"nearest": 2000.0, "afi": 3500.0})
    first, second, third = table(run, "C8")
    assert first == {
        "AFI − nearest": "Mask R-CNN at C = 256",
        "parameters (M)": "+8.20",
        "paper": "+8.0",
        "time (ms)": "+1500.0",
        "time ratio": "× 1.75",
        "paper's ratio": "× 1.64",
        "verdict": "agrees",
    }
    assert (second["parameters (M)"], second["verdict"], third["paper's ratio"]) == ("—", "not judged", "× 1.31")
    assert "- Mask R-CNN at C = 256: 480 x 640 pixels" in section(run, "C8")


def test_the_rules_are_stated(run: Measured) -> None:
    text = " ".join(claims_markdown(judge_run(run.results)).split())
    for words in ("within 1 AP", "Holm", "p < 0.025", "two one-sided tests at 5%", "8 M parameters", "1,000 resamples"):
        assert words in text, words


def test_the_csv_has_every_contrast(five: Measured) -> None:
    judged = judge_run(five.results)
    rows = records(five)
    assert tuple(rows[0]) == COLUMNS
    expected = [(o.claim.name, f.comparison.text, f.comparison.column) for o in judged.outcomes for f in o.findings]
    found = [(row["claim"], row["contrast"], row["metric"]) for row in rows if row["claim"] != "C8"]
    assert found == expected
    assert [row["claim"] for row in rows] == sorted(row["claim"] for row in rows)
    assert [row["metric"] for row in rows if row["claim"] == "C8"] == ["params_M", "time_ms", "time_ratio"] * 2


def test_the_csv_is_not_rounded(five: Measured) -> None:
    row = next(row for row in records(five) if row["contrast"] == "A5 − A1" and row["metric"] == "box_AP")
    effect = find(judge_run(five.results).claims[2].claim.comparisons[0], five.results).effect
    numbers = {name: float(row[name]) for name in ("mean", "low", "high", "se_seeds", "se_images", "se", "df")}
    low, high = effect.interval(0.95)
    assert numbers == {
        "mean": effect.mean,
        "low": low,
        "high": high,
        "se_seeds": pytest.approx(0.5 / 5**0.5),
        "se_images": pytest.approx(0.2),
        "se": pytest.approx(0.3),
        "df": effect.df,
    }
    assert (row["seeds"], row["seed_numbers"], row["pairs"], row["paper"], row["paper_inside"]) == (
        *("5", "0; 1; 2; 3; 4", "1"),
        *("2.6", "1"),
    )
    assert float(row["p_agrees_adjusted"]) == 2 * float(row["p_agrees"]) and row["p_higher"] == ""
    missing = next(row for row in records(five) if row["contrast"] == "A4 − A5")
    assert (missing["mean"], missing["seeds"], missing["not_run"], missing["paper"]) == ("", "", "A4", "-1.3")
