"""results/README.md: verdicts, their plot, tables and figures of one run, and how far to trust the numbers."""

from collections.abc import Mapping

from afigan.reporting.claims_markdown import question_table, verdict_table
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
PAPER_SETTING = "Our numbers below are for the paper's data and schedules, trained here."
PLOT = """\
![Every contrast with its 95 % interval, and the paper's]({plot})

Every contrast of box AP and of mask AP, with its 95 % interval, and the paper's printed difference as a tick.
[claims.md](claims.md) explains each verdict; [claims.csv](claims.csv) has the unrounded values."""


def readme_text(
    judged: Judged,
    *,
    profile: str,
    dataset: str,
    schedules: Mapping[str, str],
    plot: str,
    tables: Mapping[str, str],
    figures: Mapping[str, str],
    comparable: bool = False,
    data: str = "",
) -> str:
    """Return the page: a heading that says whose numbers these are, verdicts, plot, tables and figures.

    profile: name of the profile; dataset: one line on data and sizes; schedules: stage -> one line on its training;
    plot: the picture of all contrasts; tables: path of tableN.md -> its text; figures: caption -> picture. All paths
    are relative to the page.
    comparable: whether data and schedules are the paper's, so that our values can be compared with the paper's.
    data: the findings on the data set.
    """
    setting = (PAPER_SETTING if comparable else OTHER_SETTING).replace("\n", "\n> ")
    parts = [
        f"# Results of the profile `{profile}`",
        f"> {setting}",
        "## The paper's claims",
        verdict_table(judged),
        PLOT.format(plot=plot),
        "## Questions that the paper does not ask",
        question_table(judged),
        "## How the numbers were produced",
        f"- data: {dataset}\n" + "\n".join(f"- {stage}: {schedule}" for stage, schedule in schedules.items()),
        HOW,
    ]
    if data:
        parts += ["## The data set", data]
    for path, text in tables.items():
        csv = path.removesuffix(".md") + ".csv"
        parts += [text.strip(), f"[{csv.rpartition('/')[2]}]({csv})"]
    if figures:
        parts.append("## Figures")
    for caption, path in figures.items():
        parts += [f"### {caption}", f"![{caption}]({path})"]
    return "\n\n".join(parts) + "\n"
