"""The rows that are compared by the paper's claims C1 to C7 (section 5) and by questions beyond the paper.

This module states only the paper's words; a run's results are computed from metrics files. C8, on costs, is in
`afigan.reporting.costs`.
"""

from collections.abc import Sequence
from dataclasses import replace

from afigan.reporting.comparisons import Comparison, Contrast, Expected, difference
from afigan.reporting.layout import LAYOUTS, flags_of
from afigan.reporting.paper import printed_records, printed_rows
from afigan.reporting.verdicts import Claim

BOX, MASK, BOTH = ("box_AP",), ("mask_AP",), ("box_AP", "mask_AP")
DETECTORS = ("RetinaNet", "FCOS", "Faster R-CNN", "Mask R-CNN", "CenterMask")  # of Table 2
WITH_MASKS = ("Mask R-CNN", "CenterMask")
CONTROL, LONGER = "NN with stage 2", "NN, stages 2 and 3 together"  # rows of ours in Table 4
NEAREST_LONGER, NEAREST_L_AF = "nearest, stages 2 and 3 together", "nearest, AFI without stage 1"  # of Table 10
OTHERS = ("deconv", "carafe", "dysample", "lda-aqu", "afi-light")  # upsamplers that Table 10 has with AFI's training


def paired_rows(table: int, printed: str = "box_AP") -> list[Contrast]:
    """Return AFI minus nearest for a table's rows of one scale, without self-training, that print `printed`."""
    labels, records = printed_rows(table), printed_records(table)
    references = {label: LAYOUTS[table].reference_of(label, labels) for label in labels}
    return [
        difference(label, reference)
        for label, reference in references.items()
        if reference not in (None, label) and not flags_of(label) and records[label][printed] is not None
    ]


def _compare(
    text: str,
    table: int,
    contrasts: Sequence[Contrast],
    expected: Expected | None,
    columns: Sequence[str] = BOTH,
    quoted: Sequence[float | None] = (None, None),
) -> tuple[Comparison, ...]:
    return tuple(
        Comparison(text, table, column, tuple(contrasts), expected, value)
        for column, value in zip(columns, quoted, strict=False)
    )


def _table2(detectors: Sequence[str], row: str, reference: str) -> list[Contrast]:
    return [difference(f"{detector}, {row}", f"{detector}, {reference}") for detector in detectors]


def _blocks(detectors: Sequence[str]) -> list[Contrast]:
    return [contrast for kind in "GM" for contrast in _table2(detectors, f"{kind}, rb", f"{kind}, rdb")]


CLAIMS = (
    Claim(
        "C1",
        "AFI over NN, averaged over Table 1's pairs: +2.2 box AP, +1.6 mask AP",
        (
            *_compare("AFI − nearest", 1, paired_rows(1), "above", BOX),
            *_compare("AFI − nearest", 1, paired_rows(1, "mask_AP"), "above", MASK),
        ),
    ),
    Claim(
        "C2",
        "G alone: +0.1…1.1 box, +0.1…0.8 mask; with the extractor, Mask R-CNN R-50-FPN: +2.8 box, +2.0 mask",
        (
            *_compare("G − nearest", 2, _table2(DETECTORS, "G, rdb", "nearest"), "above", BOX),
            *_compare("G − nearest", 2, _table2(WITH_MASKS, "G, rdb", "nearest"), "above", MASK),
            *_compare(
                "M − nearest, Mask R-CNN", 2, _table2(["Mask R-CNN"], "M, rdb", "nearest"), "above", quoted=(2.8, 2.0)
            ),
        ),
        main=2,
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
            # without the control, A5 − A1 is mostly longer training
            *_compare(f"A5 − {CONTROL} (its control)", 4, [difference("A5", CONTROL)], None),
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
        main=4,
        note="of deconv, other papers print the opposite: with 3x3 kernels, in a pyramid that upsamples P6 too, it is "
        "0.1 to 0.2 box AP below nearest; this paper prints 1.6 above nearest for its 6x6 one. AFI is trained for "
        "longer than deconv here, as in the paper: Q9 has both with the same training",
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
)


def _ask(name: str, question: str, row: str, reference: str) -> Claim:
    """Return a question about two rows of Table 4; rows that are trained for longer have a schedule of their own."""
    asked = _compare(f"{row} − {reference}", 4, [difference(row, reference)], "open")
    return Claim(name, question, tuple(replace(c, of_schedules=LONGER in (row, reference)) for c in asked))


def _trained(upsamplers: Sequence[str], reference: str) -> list[Contrast]:
    """Return AFI's training minus another one of the same upsampler, for rows of Table 10."""
    return [difference(f"{name}, AFI", f"{name}, {reference}") for name in upsamplers]


QUESTIONS = (
    _ask("Q1", "Is it the method, or the longer training? A5 against nearest with a stage 2 of its own", "A5", CONTROL),
    _ask("Q2", "What does the discriminator add? On against off", "A5", "A5 without D"),
    replace(
        _ask(
            "Q3", "What does its gradient in G add? On against detached, as in the released code", "A5", "A5 detached"
        ),
        note="a detached discriminator gives G no gradient: G and M are then those without a discriminator, and Q3 is "
        "the measurement of Q2",
    ),
    _ask("Q4", "Is stage 1 better on merged maps, which G sees in a pyramid, than on output maps?", "A5 merged", "A5"),
    _ask("Q5", "What do stage 1 and L_AF add? Against a stage 2 of its own", "A5", "AFI, stage 2 without L_AF"),
    _ask("Q6", "What does longer training alone add? Nearest, as long as stages 2 and 3 together", LONGER, "A1"),
    _ask("Q7", "What does A5 add to longer training?", "A5", LONGER),
    # the ninth after the eight claims; there is no Q8
    Claim(
        "Q9",
        "Does AFI training help other upsamplers? Stage 1 and L_AF, against a stage 2 of the upsampler's own",
        (
            *_compare("AFI − with stage 2, other upsamplers", 10, _trained(OTHERS, "with stage 2"), "open"),
            *_compare("AFI − alone, other upsamplers", 10, _trained(OTHERS, "alone"), None),
            *(
                comparison
                for name in (*OTHERS, "afi")
                for comparison in _compare(f"{name}: AFI − with stage 2", 10, _trained([name], "with stage 2"), None)
            ),
            # is the gain the training's, or G's? the same training, another network
            *(
                comparison
                for name in OTHERS
                for comparison in _compare(
                    f"afi − {name}, both with AFI training", 10, [difference("afi, AFI", f"{name}, AFI")], None
                )
            ),
            # nearest for as long as stages 2 and 3, and with L_AF: what is left to a learned upsampler?
            *(
                replace(comparison, of_schedules=True)
                for comparison in _compare(
                    "AFI, other upsamplers − nearest, as long",
                    10,
                    [difference(f"{name}, AFI", NEAREST_LONGER) for name in OTHERS],
                    None,
                )
            ),
            *_compare(
                "nearest: L_AF in stage 2 − without",
                10,
                [difference(NEAREST_L_AF, "nearest, with stage 2")],
                None,
            ),
            *_compare("afi − nearest, both with L_AF", 10, [difference("afi, AFI", NEAREST_L_AF)], None),
        ),
        note="AFI − alone has the longer training in it, so that only the difference to the control is judged. The "
        "control has stages 2 and 3 of the same lengths, no stage 1 and no L_AF. What is G's own is its difference to "
        "other upsamplers with the same training. “As long” is nearest in stage 3 alone, with the iterations of stages "
        "2 and 3. The contrasts with nearest were added after the others had been seen",
    ),
)
