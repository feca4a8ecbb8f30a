"""results/README.md: verdicts, their plot, tables and figures of one run, and how far to trust the numbers."""

from collections.abc import Mapping
from itertools import chain

from afigan.reporting.claims_markdown import not_run, question_table, verdict_table
from afigan.reporting.judged import Judged

HOW = """\
This repository measured every number of ours; none was typed. `params.yaml` says what is run. The stages create from it
the data (`data/prepared`), the models (`models/`), each evaluation's metrics and the matches that these come from
(`results/metrics/KEY.json`, `KEY.matches.npz`), and the times (`results/benchmark.json`). The claims and the tables
are computed from those files. A file is used only if the hash of its parameters is that of `params.yaml`. A row of
several seeds shows their mean ± sample standard deviation. A difference between two rows is computed seed by seed, for
the seeds that both have, and has a 95 % interval in brackets; [claims.md](claims.md) says how. A row that has not been
run shows `—`. Run `dvc repro` or `snakemake` to fill or redo it. The paper's values are those it prints. Each table has
a CSV beside it, with the unrounded values, differences and provenance."""

OTHER_SETTING = """\
**Our numbers below are this profile's, not COCO's.** The paper's are for COCO val2017 after about 12 epochs.
Compare the differences between the rows of one column, never our value with the paper's."""
OWN_SETTING = """\
**The numbers below are those of your data set**, measured on its validation images. The paper's are for COCO: compare
the differences between the rows of one column, never a value with the paper's."""
PAPER_SETTING = "Our numbers below are for the paper's data and schedules, trained here."
PLOT = """\
![Every contrast with its 95 % interval, and the paper's]({plot})

Every contrast of box AP and of mask AP, with its 95 % interval, and the paper's printed difference as a tick.
[claims.md](claims.md) explains each verdict; [claims.csv](claims.csv) has the unrounded values."""


def setting(*, comparable: bool, own: bool) -> str:
    """Return the words on whose numbers a report has; the arguments are those of `readme_text`."""
    return OWN_SETTING if own else PAPER_SETTING if comparable else OTHER_SETTING


def readme_text(
    judged: Judged,
    *,
    profile: str,
    dataset: str,
    schedules: Mapping[str, str],
    plot: str,
    tables: Mapping[str, str],
    figures: Mapping[str, str],
    breakdown: str = "",
    comparable: bool = False,
    own: bool = False,
    data: str = "",
) -> str:
    """Return the page: a heading that says whose numbers these are, verdicts, plot, tables and figures.

    profile: name of the profile; dataset: one line on data and sizes; schedules: stage -> one line on its training;
    plot: the picture of all contrasts; tables: path of tableN.md -> its text; figures: caption -> picture. All paths
    are relative to the page.
    breakdown: the section on classes, recall and errors.
    comparable: whether data and schedules are the paper's, so that our values can be compared with the paper's.
    own: whether the data are a user's own. Then the breakdown and the tables come before the verdicts, and claims and
        questions that have not been run are left out, except for one folded line.
    data: the findings on the data set.
    """
    quoted = setting(comparable=comparable, own=own).replace("\n", "\n> ")
    heading = [f"# Results of the profile `{profile}`", f"> {quoted}"]
    how = [
        "## How the numbers were produced",
        f"- data: {dataset}\n" + "\n".join(f"- {stage}: {schedule}" for stage, schedule in schedules.items()),
        HOW,
    ]
    if data:
        how += ["## The data set", data]
    rows = []
    for path, text in tables.items():
        csv = path.removesuffix(".md") + ".csv"
        rows += [text.strip(), f"[{csv.rpartition('/')[2]}]({csv})"]
    pictures = ["## Figures"] if figures else []
    for caption, path in figures.items():
        pictures += [f"### {caption}", f"![{caption}]({path})"]
    claims = _claims(judged, plot, only_run=own)
    details = [breakdown.strip()]
    sections = [details, how, rows, claims, pictures] if own else [claims, how, rows, details, pictures]
    return "\n\n".join(part for part in [*heading, *chain(*sections)] if part) + "\n"


def _claims(judged: Judged, plot: str, only_run: bool) -> list[str]:
    """Return verdicts, plot and answers; only_run: those that have been run, and one folded line on the others."""
    verdicts, answers = (table(judged, only_run) for table in (verdict_table, question_table))
    parts = ["## The paper's claims", verdicts]
    if only_run:
        parts.append(not_run(judged))
    if verdicts or answers:
        parts.append(PLOT.format(plot=plot))
    if answers:
        parts += ["## Questions that the paper does not ask", answers]
    return parts
