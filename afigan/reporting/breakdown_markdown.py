"""Some evaluations in detail, as Markdown: AP and AR, AP of each class, kinds of errors."""

import html
from collections.abc import Sequence

from afigan.reporting.markdown import UNDEFINED
from afigan.reporting.metrics import AP_NAMES, AR_NAMES, ERROR_KINDS, REDO, Metrics
from afigan.reporting.results import NOT_RUN
from afigan.reporting.text import Grid, folded, grid, number

KINDS = ("box", "mask")
MANY = 30  # classes; a longer table is folded
MEANS = {
    "classification": "IoU ≥ 0.5 with an object of another class",
    "localisation": "0.1 ≤ IoU < 0.5 with an object of the class",
    "both": "0.1 ≤ IoU < 0.5 with an object of another class",
    "duplicate": "an object that a detection of a higher score has found",
    "background": "IoU < 0.1 with every object",
    "missed": "an object that nothing finds, and no error of localisation or classification is about",
}
CLASSES = f"Objects are those in the validation images, without crowds. `{UNDEFINED}`: there are no such objects."
ERRORS = """\
A false positive has one kind: the first of localisation, classification, duplicate, both and background that fits
(TIDE, Bolya et al., ECCV 2020). dAP is the AP50 that the detector would gain without the errors of one kind. The gains
do not add up. The largest of the first evaluation is first."""


def breakdown_markdown(runs: Sequence[Metrics]) -> str:
    """Return a section on evaluations that have been run, with one table for each of AP and AR, classes, errors.

    Raises:
        ValueError: two of them count different objects.
    """
    models = ", ".join(f"`{run.key}` is {_model(run)}" for run in runs)
    parts = [
        "## Classes, recall and errors",
        f"{models}. All values of every evaluation are in `results/metrics/KEY.json`; AP and AR are in percent."
        if runs
        else "The evaluations have not been run yet.",
    ]
    if runs:
        parts += ["### AP and AR", grid(_averages(runs), left=2), *_classes(runs), *_errors(runs)]
    old = [f"`{run.key}`" for run in runs if not run.breakdowns]
    if old:
        parts.append(
            f"The metrics of {', '.join(old)} lack this, because an older version wrote them: "
            "run the stage `evaluate` again."
        )
    return "\n\n".join(parts) + "\n"


def _model(run: Metrics) -> str:
    return f"`{run.model}`" + (" at several scales" if run.multi_scale else "")


def _averages(runs: Sequence[Metrics]) -> Grid:
    """Return a row for the boxes and one for the masks of each run that has them."""
    columns: Grid = {name: [] for name in ("evaluation", "of", *AP_NAMES, *AR_NAMES)}
    for run in runs:
        for kind in KINDS:
            averages = {name: run.values[f"{kind}_{name}"] for name in AP_NAMES}
            breakdown = run.breakdowns.get(kind)
            if breakdown is None and all(value is None for value in averages.values()):
                continue
            columns["evaluation"].append(f"`{run.key}`")
            columns["of"].append("boxes" if kind == "box" else "masks")
            for name, value in averages.items():
                columns[name].append(_cell(value))
            for name in AR_NAMES:
                columns[name].append(NOT_RUN if breakdown is None else _cell(breakdown.recalls[name]))
    return columns


def _classes(runs: Sequence[Metrics]) -> list[str]:
    """Return the table of classes, folded if it is long; nothing without breakdowns."""
    found = [(run, kind, run.breakdowns[kind]) for kind in KINDS for run in runs if kind in run.breakdowns]
    if not found:
        return []
    first, _, known = found[0]
    counted = [(entry.name, entry.objects) for entry in known.classes]
    columns: Grid = {"class": [_name(name) for name, _ in counted], "objects": [f"{n:,}" for _, n in counted]}
    for run, kind, breakdown in found:
        if [(entry.name, entry.objects) for entry in breakdown.classes] != counted:
            raise ValueError(
                f"the metrics of the evaluations '{first.key}' and '{run.key}' are of different validation images; "
                f"delete the older file and {REDO}"
            )
        columns[f"`{run.key}` {kind} AP"] = [_cell(entry.AP) for entry in breakdown.classes]
        columns[f"`{run.key}` {kind} AP50"] = [_cell(entry.AP50) for entry in breakdown.classes]
    table = grid(columns, left=1)
    if len(counted) > MANY:
        table = folded(f"{len(counted)} classes", table)
    return ["### AP of each class", CLASSES, table]


def _errors(runs: Sequence[Metrics]) -> list[str]:
    """Return the table of errors, the largest first; nothing without breakdowns."""
    found = [(run, kind, run.breakdowns[kind].errors) for kind in KINDS for run in runs if kind in run.breakdowns]
    if not found:
        return []
    largest = found[0][2]
    order = sorted(ERROR_KINDS, key=lambda kind: -(largest[kind].dAP or 0.0))
    columns: Grid = {"error": order, "meaning": [MEANS[kind] for kind in order]}
    for run, kind, errors in found:
        columns[f"`{run.key}` {kind}: number"] = [f"{errors[name].count:,}" for name in order]
        columns[f"`{run.key}` {kind}: dAP"] = [_cell(errors[name].dAP) for name in order]
    return ["### Kinds of errors", grid(columns, left=2), ERRORS]


def _cell(value: float | None) -> str:
    return UNDEFINED if value is None else number(value)


def _name(name: str) -> str:
    """Return a class's name, of any characters, as a cell of a table."""
    return html.escape(" ".join(name.split()), quote=False).replace("|", "\\|")
