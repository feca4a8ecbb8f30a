"""results/README.md: claims, tables and figures of one run on a page, and what the numbers are worth."""

import os
from pathlib import Path

from afigan.files import atomic_path

HOW = """\
Every number of ours was measured by this repository; none was typed. `params.yaml` says what is run; from it come the
data (`data/prepared`), the models (`models/`), one file of metrics per evaluation (`results/metrics/KEY.json`), the
times (`results/benchmark.json`) and, from those files, the claims and the tables. A file is used only if the hash of
the parameters it was made with is today's. A row of several seeds is their mean ± sample standard deviation. A
difference of two rows of the same seeds is taken seed by seed, and ± is the standard deviation of these; other
differences are those of the means, without ±. A row that has not been run shows `—`. Run `dvc repro` or `snakemake` to
fill or redo it. The paper's values are those it prints. Beside each table lies a CSV with the unrounded values,
differences and provenance."""

OTHER_SETTING = """\
**The numbers of ours below are this profile's, not COCO's.** The paper's are of COCO val2017 after about 12 epochs.
Compare the differences between the rows of one column, never a value of ours with one of the paper."""
PAPER_SETTING = "The numbers of ours below are of the paper's data and schedules, trained anew."


def write_readme(
    out: Path,
    *,
    profile: str,
    dataset: str,
    schedules: dict[str, str],
    claims: Path,
    tables_dir: Path,
    figures: dict[str, Path],
    comparable: bool = False,
) -> None:
    """Write `out` (results/README.md): a heading that says whose numbers these are, claims, tables and figures.

    profile: name of the profile; dataset: one line on data and sizes; schedules: stage -> one line on its training;
    claims: results/claims.md; tables_dir: holds tableN.md and tableN.csv, all of which are shown; figures: caption ->
    picture, linked relatively;
    comparable: whether data and schedules are the paper's, so that a value of ours may stand beside one of the paper.
    Raises ValueError if there are no claims or tables, or a picture is missing.
    """
    out = Path(out)
    tables = sorted(Path(tables_dir).glob("table[0-9].md"))
    if not tables:
        raise ValueError(f"{tables_dir} holds no tables; run the stage `tables` first")
    if not Path(claims).is_file():
        raise ValueError(f"{claims} does not exist; run the stage `tables` first")
    for path in figures.values():
        if not Path(path).is_file():
            raise ValueError(f"the figure {path} does not exist; run the stage `figures` first")

    def link(path: Path) -> str:
        return Path(os.path.relpath(path, out.parent)).as_posix()

    setting = (PAPER_SETTING if comparable else OTHER_SETTING).replace("\n", "\n> ")
    parts = [
        f"# Results of the profile `{profile}`",
        f"> {setting} A small difference may be chance, the more so with one seed.",
        f"- data: {dataset}\n" + "\n".join(f"- {stage}: {schedule}" for stage, schedule in schedules.items()),
        Path(claims).read_text("utf-8").strip(),
        "## How the numbers were produced",
        HOW,
    ]
    for path in tables:
        csv = path.with_suffix(".csv")
        parts += [path.read_text("utf-8").strip(), f"[{csv.name}]({link(csv)})"]
    if figures:
        parts.append("## Figures")
    for caption, path in figures.items():
        parts += [f"### {caption}", f"![{caption}]({link(path)})"]
    with atomic_path(out) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", "utf-8")
