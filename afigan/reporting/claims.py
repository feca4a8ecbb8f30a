"""The paper's claims C1 to C8 (SPEC 8): which rows they are about and what they say of them.

Only what the paper says is written here; what a run shows of it is computed from metrics files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from afigan.reporting.comparisons import (
    AGREES,
    DISAGREES,
    NOTHING_RUN,
    UNDECIDED,
    Comparison,
    Contrast,
    Expected,
    Finding,
    difference,
    in_part,
    overall,
)
from afigan.reporting.layout import LAYOUTS, flags_of
from afigan.reporting.paper import printed_records, printed_rows
from afigan.reporting.results import Results

BOX, MASK, BOTH = ("box_AP",), ("mask_AP",), ("box_AP", "mask_AP")
DETECTORS = ("RetinaNet", "FCOS", "Faster R-CNN", "Mask R-CNN", "CenterMask")  # of Table 2
WITH_MASKS = ("Mask R-CNN", "CenterMask")
PARAMS_M = 8.0  # that the paper's AF interpolator costs
TOLERANCE = 0.1  # relative; of parameters
OTHER_SIZE = "undecided (not the paper's size)"


@dataclass(frozen=True)
class Claim:
    """says: the paper's words in short. verdict: from the findings on `comparisons`, in their order."""

    name: str
    says: str
    comparisons: tuple[Comparison, ...]
    verdict: Callable[[Sequence[Finding]], str] = overall


def claims(results: Results) -> list[Claim]:
    """All claims; `results` says from which table C8 can be taken."""
    return [
        Claim(
            "C1",
            "AFI over NN, averaged over Table 1's pairs: +2.2 box AP, +1.6 mask AP",
            (
                *_compare("AFI − nearest", 1, _pairs(1), "above", BOX),
                *_compare("AFI − nearest", 1, _pairs(1, "mask_AP"), "above", MASK),
            ),
        ),
        Claim(
            "C2",
            "G alone: +0.1…1.1 box, +0.1…0.8 mask; with the extractor, Mask R-CNN R-50-FPN: +2.8 box, +2.0 mask",
            (
                *_compare("G − nearest", 2, _table2(DETECTORS, "G, rdb", "nearest"), "above", BOX),
                *_compare("G − nearest", 2, _table2(WITH_MASKS, "G, rdb", "nearest"), "above", MASK),
                *_compare("M − nearest, Mask R-CNN", 2, _table2(["Mask R-CNN"], "M, rdb", "nearest"), "above"),
            ),
        ),
        Claim(
            "C3",
            "without adversarial pre-training (A6) only +0.2 box, +0.2 mask; all stages (A5) +2.6, +1.8; "
            "frozen G (A4) lower than A5",
            (
                *_compare("A5 − A1", 4, [difference("A5", "A1")], "above"),
                *_compare("A6 − A1", 4, [difference("A6", "A1")], None),
                *_compare("(A6 − A1) − ½ (A5 − A1)", 4, [{"A6": 1.0, "A5": -0.5, "A1": -0.5}], "below"),
                *_compare("A4 − A5", 4, [difference("A4", "A5")], "below"),
            ),
        ),
        Claim(
            "C4",
            "NN = bilinear = bicubic; “+5conv” loses about 1.3 box; deconv gains; AFI gains 1.0 box more than deconv",
            (
                *_compare("bilinear − nearest", 6, [difference("bilinear", "nearest")], "same", BOX),
                *_compare("bicubic − nearest", 6, [difference("bicubic", "nearest")], "same", BOX),
                *_compare(
                    "5conv − without",
                    6,
                    [difference(f"{name}-5conv", name) for name in ("nearest", "bilinear", "bicubic")],
                    "below",
                    BOX,
                ),
                *_compare("deconv − nearest", 6, [difference("deconv", "nearest")], "above", BOX),
                *_compare("AFI − deconv", 6, [difference("afi", "deconv")], "above", BOX),
            ),
        ),
        Claim(
            "C5",
            "mismatched semantic levels lose 1.6 box, 1.1 mask",
            _compare("different − same", 7, [difference("different", "same")], "below"),
        ),
        Claim(
            "C6",
            "the degradation used for I_lr hardly matters; RDB against RB hardly matters",
            (
                *_compare("degradation nearest − bilinear", 8, [difference("nearest", "bilinear")], "same"),
                *_compare("degradation bicubic − bilinear", 8, [difference("bicubic", "bilinear")], "same"),
                *_compare("RB − RDB", 2, _blocks(DETECTORS), "same", BOX),
                *_compare("RB − RDB", 2, _blocks(WITH_MASKS), "same", MASK),
            ),
        ),
        Claim(
            "C7",
            "iterated 2x/4x/8x from P5 without laterals is far worse: 36.9 box, 4.3 below",
            _compare("B1 − B2", 9, [difference("B1", "B2")], "below"),
        ),
        _costs(results),
    ]


def _compare(
    text: str, table: int, contrasts: Sequence[Contrast], expected: Expected | None, columns: Sequence[str] = BOTH
) -> tuple[Comparison, ...]:
    return tuple(Comparison(text, table, column, tuple(contrasts), expected) for column in columns)


def _pairs(table: int, printed: str = "box_AP") -> list[Contrast]:
    """AFI rows of a table against their nearest rows: of one scale, without self-training, with `printed` in print."""
    labels, records = printed_rows(table), printed_records(table)
    references = {label: LAYOUTS[table].reference_of(label, labels) for label in labels}
    return [
        difference(label, reference)
        for label, reference in references.items()
        if reference not in (None, label) and not flags_of(label) and records[label][printed] is not None
    ]


def _table2(detectors: Sequence[str], row: str, reference: str) -> list[Contrast]:
    return [difference(f"{detector}, {row}", f"{detector}, {reference}") for detector in detectors]


def _blocks(detectors: Sequence[str]) -> list[Contrast]:
    return [contrast for kind in "GM" for contrast in _table2(detectors, f"{kind}, rb", f"{kind}, rdb")]


def _costs(results: Results) -> Claim:
    """C8, of Mask R-CNN in Table 3, or in Table 2 if only that has it; and on average over Table 3."""
    afi, nearest = {3: "Mask R-CNN, afi, Mask R-CNN", 2: "Mask R-CNN, M, rdb"}, "Mask R-CNN, nearest"
    run = [table for table, label in afi.items() if results.row(table, label) and results.row(table, nearest)]
    table = run[0] if run else 3
    columns = ("params_M", "time_ms")
    return Claim(
        "C8",
        "about 8 M parameters, and about 24 ms per image on a Titan Xp",
        (
            *_compare("AFI − nearest, Mask R-CNN", table, [difference(afi[table], nearest)], None, columns),
            *_compare("AFI − nearest, Table 3", 3, _pairs(3), None, columns),
        ),
        _judge_costs,
    )


def _judge_costs(findings: Sequence[Finding]) -> str:
    """On Mask R-CNN; parameters can be judged if it has the paper's size, time on another device only by its sign."""
    if all(finding.estimate is None for finding in findings):
        return NOTHING_RUN
    params, time = findings[:2]
    if params.estimate is None:
        return in_part(UNDECIDED)
    printed = printed_records(3)["Mask R-CNN, nearest"]["params_M"]
    nearest = next(row for weight, row in params.terms.values() if weight < 0).sample("params_M").values[0]
    if abs(nearest - printed) > TOLERANCE * printed:
        verdict = OTHER_SIZE
    else:
        more = abs(params.estimate.mean - PARAMS_M) <= TOLERANCE * PARAMS_M
        slower = time.estimate is None or time.estimate.mean > 0
        verdict = AGREES if more and slower else DISAGREES
    return in_part(verdict) if time.estimate is None or any(finding.missing for finding in findings) else verdict
