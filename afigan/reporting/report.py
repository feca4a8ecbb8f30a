"""Stage `tables`: all measurements of a run, under results/."""

from collections.abc import Iterable
from pathlib import Path

from afigan.outputs.paths import BENCHMARK, FIGURES, METRICS, PAGE, PLOT, RESULTS, TABLES, all_nodes
from afigan.outputs.prepared import read_summary
from afigan.params.lineage import Lineage
from afigan.params.loading import composed_digest
from afigan.params.schema import Params, Schedule
from afigan.reporting.breakdown_markdown import breakdown_markdown
from afigan.reporting.claims_csv import claims_csv
from afigan.reporting.claims_markdown import claims_markdown
from afigan.reporting.coco_classes import COCO_CLASSES
from afigan.reporting.data_set import data_set
from afigan.reporting.embedded import read_images, read_losses
from afigan.reporting.intervals import draw_intervals
from afigan.reporting.judged import Judged, judge_run
from afigan.reporting.markdown import shown_table
from afigan.reporting.metrics import read_metrics
from afigan.reporting.page.facts import facts
from afigan.reporting.page.render import Content, page_text
from afigan.reporting.page.runs import read_contents
from afigan.reporting.results import read_results
from afigan.reporting.summary import readme_text
from afigan.reporting.tables import compare, tables_text
from afigan.runtime.files import atomic_path

CAPTIONS = {
    "Detections, nearest beside AFI": "detections",
    "Grad-CAM of the features under each interpolation": "gradcam",
    "Feature maps of one validation image": "features",
    "Losses of stage 1, AFI-GAN": "losses_afigan",
    "Losses of stage 2, multi-scale AF extractors": "losses_extractors",
    "Losses of stage 3, target detectors": "losses_detectors",
}
PAGE_PICTURES = {  # of CAPTIONS: description for those who cannot see it. The page shows the others in other ways
    "gradcam": "Heat maps over one validation image, a row for each level of the pyramid and a column for each "
    "detector. Bright places have the features that raise the scores of the annotated objects' detections; the title "
    "over each map gives the share of the heat inside the annotated boxes.",
    "features": "One level of the pyramid in the same colours: from the halved image, upsampled by nearest, by "
    "bilinear and by AF interpolation, and the target from the full image; the titles give the mean distances to it.",
}
PAPER_IMAGES = {"train": 118_287, "val": 5_000}  # COCO 2017
FEW = 3  # evaluations, of which all are shown in detail
PAPER_ITERATIONS = {"train_afigan": 150_000, "train_extractor": 270_000, "train_detector": 90_000}
PAPER_BATCH, PAPER_CHANNELS, PAPER_SHORT_SIDE = 16, 256, 800


def write_report(params: Params) -> None:
    """Write results/tables/, claims.{md,csv}, index.html, README.md, figures/claims.png from metrics, times, figures.

    Raises:
        ValueError: metrics, matches or times are malformed or have other parameters, or a figure is missing.
    """
    texts, judged = report(params)
    for stale in TABLES.glob("table[0-9]*.*"):
        stale.unlink()  # a table of another profile would look like one of this profile
    draw_intervals(judged, PLOT)
    for path, text in texts.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text, "utf-8")


def report(params: Params) -> tuple[dict[Path, str], Judged]:
    """Return all texts that the stage writes, README.md last, and the verdicts that the plot shows.

    The page, index.html, has facts that differ from run to run; `page.facts.without_facts` cuts them out.

    Raises:
        ValueError: as `write_report`.
    """
    summary = read_summary()
    evaluations = list(Lineage(params).of_kind("evaluations"))
    hashes = {node.key: node.params_hash for node in evaluations}
    trainings = {node.key: node.trainings for node in evaluations}
    named = {name: dict(rows) for name, rows in params.tables.items()}
    results = read_results(named, METRICS, hashes, BENCHMARK, trainings)
    for name in CAPTIONS.values():
        if not (path := FIGURES / f"{name}.png").is_file():
            raise ValueError(f"the figure {path} does not exist; run the stage `figures` first")
    runs = [
        read_metrics(path, key, hashes[key]) for key in detailed(params) if (path := METRICS / f"{key}.json").is_file()
    ]
    judged = judge_run(results)
    tables = {f"tables/{name}": text for name, text in tables_text(results).items()}
    images = {split: values["images"] for split, values in summary.items()}
    profile, dataset = profile_name(params), describe_data(params, images, len(summary["train"]["categories"]))
    schedules = {
        "stage 1": describe_schedule(params.train_afigan),
        "stage 2": describe_schedule(params.train_extractor),
        "stage 3": describe_schedule(params.train_detector),
    }
    comparable = PAPER_IMAGES.items() <= images.items() and has_papers_settings(params)
    own = is_own(params, summary["train"]["categories"])
    readme = readme_text(
        judged,
        profile=profile,
        dataset=dataset,
        schedules=schedules,
        plot=PLOT.relative_to(RESULTS).as_posix(),
        tables={name: text for name, text in tables.items() if name.endswith(".md")},
        figures={caption: f"figures/{name}.png" for caption, name in CAPTIONS.items()},
        breakdown=breakdown_markdown(runs),
        own=own,
        comparable=comparable,
        data=data_set(summary, params),
    )
    page = page_text(
        Content(
            params=params,
            judged=judged,
            profile=profile,
            dataset=dataset,
            schedules=schedules,
            comparable=comparable,
            own=own,
            tables=[shown_table(number, compare(number, results), results) for number in results.rows],
            contents=read_contents(params, RESULTS),
            summary=summary,
            images=read_images(),
            losses=read_losses(),
            folder=PAGE,
            pictures={
                caption: (FIGURES / f"{name}.png", PAGE_PICTURES[name])
                for caption, name in CAPTIONS.items()
                if name in PAGE_PICTURES
            },
            facts=facts(all_nodes(params)),
        )
    )
    claims = {"claims.md": claims_markdown(judged), "claims.csv": claims_csv(judged)}
    texts = {**tables, **claims, "index.html": page, "README.md": readme}
    return {RESULTS / name: text for name, text in texts.items()}, judged


def detailed(params: Params) -> list[str]:
    """Return the evaluations to show in detail: all if they are few, else the two whose detections are drawn."""
    keys = list(params.experiments.evaluations)
    return keys if len(keys) <= FEW else list(dict.fromkeys([params.figures.nearest, params.figures.afi]))


def has_papers_settings(params: Params) -> bool:
    """Return True if COCO's files are learned at the paper's sizes, by the three schedules of the paper."""
    schedules = {name: getattr(params, name) for name in PAPER_ITERATIONS}
    return (
        params.data.source == "coco"
        and {name: schedule.iterations for name, schedule in schedules.items()} == PAPER_ITERATIONS
        and {schedule.batch_size for schedule in schedules.values()} == {PAPER_BATCH}
        and (params.model.channels, params.input.test_short_side) == (PAPER_CHANNELS, PAPER_SHORT_SIDE)
    )


def is_own(params: Params, classes: Iterable[str]) -> bool:
    """Return True if the data are neither the embedded set nor images with COCO's classes."""
    return params.data.source == "coco" and set(classes) != COCO_CLASSES


def profile_name(params: Params) -> str:
    """Return the profile of conf/ that the parameters were composed from, with a note if they have changed since."""
    composed = params.composed
    if composed is None:
        return "custom"
    return composed.profile if composed.digest == composed_digest(params) else f"{composed.profile}, edited"


def describe_data(params: Params, images: dict[str, int], categories: int) -> str:
    """Return one line on the data of training and measurement."""
    shapes = params.data.source == "shapes"
    name = f"the embedded shapes drawn from seed {params.seed}" if shapes else str(params.data.train.annotations)
    counts = ", ".join(f"{count:,} {split}" for split, count in images.items() if count)
    return f"{name} ({counts} images; {categories} classes), short side {params.input.test_short_side} px"


def describe_schedule(schedule: Schedule) -> str:
    """Return one line on the training of a stage."""
    rate = f"lr {schedule.lr:g}"
    rate += ", cosine" if schedule.lr_schedule == "cosine" else f" x {schedule.gamma:g} at {schedule.milestones}"
    return f"{schedule.iterations:,} iterations of {schedule.batch_size} images, {schedule.optimizer}, {rate}"
