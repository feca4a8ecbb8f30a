"""Layout of each table: its comparison, the labels of its rows, the reference row of each row."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

MULTI_SCALE, SELF_TRAINING = "multi-scale", "self-training"
COSTS = ("params_M", "time_ms")
ABLATION = "Paper: Mask R-CNN R-50-FPN, COCO val2017, about 12 epochs."
UPSAMPLERS = """\
The paper has no such table. Training: *alone* is stage 3 only; *AFI* is all three stages, with the upsampler as G;
*with stage 2* is AFI's control, with stages 2 and 3 of the same lengths, but no stage 1 and no L_AF; *stages 2 and 3
together* is stage 3 with the iterations of both. Nearest, bilinear and bicubic have nothing to learn in stage 1; fade
needs the finer lateral map, which stage 1 has not: *AFI without stage 1* has L_AF in stage 2 alone.
Upsampling: the modules of the pyramid, for one image of this run. *Another neck* is what other papers print for
Faster R-CNN R-50, COCO val2017, about 12 epochs, with a pyramid that upsamples P6 too: compare it with no other
column."""

Record = Mapping[str, Any]  # a printed row: column -> value, None where nothing is printed


@dataclass(frozen=True)
class TableLayout:
    """One table of the paper, or of our own.

    title: the subject of the comparison.
    paper: the setting of the printed values.
    shown: the columns that identify a row to a reader; the flags of its label are added to the last.
    label: printed row -> its label, words joined by commas; unique in the table.
    reference: the last words of the label of a row to which others are compared. Rows are compared if their labels have
        the first `group` words in common.
    costs: the columns of costs that are shown although the paper prints none.
    ours: whether the table is our own: the paper has none like it.
    """

    title: str
    paper: str
    shown: tuple[str, ...]
    label: Callable[[Record], str]
    reference: str
    group: int = 0
    costs: tuple[str, ...] = ()
    ours: bool = False

    def group_of(self, label: str) -> tuple[str, ...]:
        return tuple(label.split(", ")[: self.group])

    def reference_of(self, label: str, labels: Collection[str]) -> str | None:
        """Return the row of `labels` to which row `label` is compared; None if there is none.

        Both rows have the same self-training. A row of multi-scale testing is compared to a single-scale row if there
        is no other.
        """
        flags = flags_of(label)
        for kept in (flags, [flag for flag in flags if flag != MULTI_SCALE]):
            reference = ", ".join([*self.group_of(label), self.reference, *kept])
            if reference in labels:
                return reference
        return None


def flags_of(label: str) -> list[str]:
    """Return the words of a label that describe the row's training or testing, not its detector."""
    return [word for word in label.split(", ") if word in (MULTI_SCALE, SELF_TRAINING)]


def _join(*words: str | None) -> str:
    return ", ".join(word for word in words if word)


def _label_table1(row: Record) -> str:
    flags = (MULTI_SCALE if row["multi_scale_test"] else None, SELF_TRAINING if row["self_training"] else None)
    return _join(row["backbone"], row["detector"], row["interpolation"], *flags)


def _label_table2(row: Record) -> str:
    if row["interpolator"] == "nearest":
        return _join(row["detector"], "nearest")
    return _join(row["detector"], "M" if row["extractor"] else "G", row["blocks"])


LAYOUTS = {
    1: TableLayout(
        title="Detectors with nearest and AF interpolation",
        paper="Paper: COCO test-dev; ours: the validation set. Compare only differences.",
        shown=("backbone", "detector", "interpolation"),
        label=_label_table1,
        reference="nearest",
        group=2,
        costs=COSTS,
    ),
    2: TableLayout(
        title="G alone and the multi-scale AF extractor, with dense and with residual blocks",
        paper="Paper: R-50-FPN, COCO val2017; no values, because the table is not legible in the copy that was read.",
        shown=("detector", "interpolator", "extractor", "blocks"),
        label=_label_table2,
        reference="nearest",
        group=1,
        costs=COSTS,
    ),
    3: TableLayout(
        title="Detection head of the multi-scale AF extractor",
        paper="Paper: R-50-FPN, COCO val2017, about 12 epochs; time on a Titan Xp.",
        shown=("detector", "interpolation", "extractor_head"),
        label=lambda row: _join(row["detector"], row["interpolation"], row["extractor_head"]),
        reference="nearest",
        group=1,
        costs=COSTS,
    ),
    4: TableLayout(
        title="Progressive training: what each stage adds",
        paper=ABLATION,
        shown=(
            "name",
            "interpolation",
            "stage1_afigan",
            "stage2_extractor",
            "stage3_detector",
            "freeze_interpolator",
        ),
        label=lambda row: row["name"],
        reference="A1",
    ),
    5: TableLayout(
        title="Pyramids with nearest and AF interpolation",
        paper="Paper: RetinaNet R-50, COCO val2017, about 12 epochs.",
        shown=("pyramid", "interpolation"),
        label=lambda row: _join(row["pyramid"], row["interpolation"]),
        reference="nearest",
        group=1,
        costs=COSTS,
    ),
    6: TableLayout(
        title="Interpolation methods in the pyramid's top-down path",
        paper=ABLATION,
        shown=("interpolation",),
        label=lambda row: row["interpolation"],
        reference="nearest",
    ),
    7: TableLayout(
        title="Semantic level of the maps compared in L_AF",
        paper=ABLATION,
        shown=("semantic_level",),
        label=lambda row: row["semantic_level"],
        reference="same",
    ),
    8: TableLayout(
        title="Degradation that creates the low-resolution image",
        paper=ABLATION,
        shown=("degradation",),
        label=lambda row: row["degradation"],
        reference="bilinear",
    ),
    9: TableLayout(
        title="Upsampling P5 repeatedly against upsampling level by level",
        paper=ABLATION,
        shown=("name", "upsampling"),
        label=lambda row: row["name"],
        reference="B2",
    ),
    10: TableLayout(
        title="Upsamplers trained with the detector alone, and with AFI-GAN's three stages",
        paper=UPSAMPLERS,
        shown=("upsampler", "training", "another_neck_box_AP"),
        label=lambda row: _join(row["upsampler"], row["training"]),
        reference="nearest, alone",
        costs=("params_M", "upsampling_params_K", "upsampling_multiply_adds_M", "time_ms"),
        ours=True,
    ),
}
