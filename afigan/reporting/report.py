"""Stage `tables`: everything a run has measured, under results/."""

import json
from pathlib import Path

from afigan.config import check_params, compose
from afigan.lineage import fingerprint
from afigan.reporting.claims_table import write_claims
from afigan.reporting.summary import write_readme
from afigan.reporting.tables import write_tables
from afigan.schema import Params, Schedule

RESULTS = Path("results")
BENCHMARK, CLAIMS = RESULTS / "benchmark.json", RESULTS / "claims.md"
PREPARED = Path("data/prepared")
PROFILES = Path("conf/profile")
FIGURES = {
    "Detections, nearest beside AFI": "detections",
    "Grad-CAM of the features under each interpolation": "gradcam",
    "Feature maps of one validation image": "features",
    "Losses of stage 1, AFI-GAN": "losses_afigan",
    "Losses of stage 2, multi-scale AF extractors": "losses_extractors",
    "Losses of stage 3, target detectors": "losses_detectors",
}
PAPER_IMAGES = {"train": 118_287, "val": 5_000}  # COCO 2017
PAPER_SCHEDULE = (90_000, 16)  # iterations and images of stage 3, the 1x recipe


def write_report(params: Params) -> None:
    """Write results/tables/, results/claims.md and results/README.md from the metrics, times and figures there are.

    Raises:
        ValueError: metrics or times are malformed or of other parameters, a figure is missing.
    """
    hashes = {key: fingerprint(params, f"evaluations/{key}") for key in params.experiments.evaluations}
    tables = {name: dict(rows) for name, rows in params.tables.items()}
    measured = (tables, RESULTS / "metrics", hashes)
    write_tables(*measured, RESULTS / "tables", BENCHMARK)
    write_claims(*measured, CLAIMS, BENCHMARK)
    summary = json.loads((PREPARED / "summary.json").read_text("utf-8"))
    images = {split: values["images"] for split, values in summary.items()}
    detector = params.train_detector
    write_readme(
        RESULTS / "README.md",
        profile=profile_name(params),
        dataset=describe_data(params, images, len(summary["train"]["categories"])),
        schedules={
            "stage 1": describe_schedule(params.train_afigan),
            "stage 2": describe_schedule(params.train_extractor),
            "stage 3": describe_schedule(detector),
        },
        claims=CLAIMS,
        tables_dir=RESULTS / "tables",
        figures={caption: RESULTS / "figures" / f"{name}.png" for caption, name in FIGURES.items()},
        comparable=params.data.source == "coco"
        and PAPER_IMAGES.items() <= images.items()
        and (detector.iterations, detector.batch_size) == PAPER_SCHEDULE,
    )


def profile_name(params: Params) -> str:
    """The profile of conf/ that composes to these parameters; `custom` if none does."""
    for path in sorted(PROFILES.glob("*.yaml")):
        if check_params(compose(path.stem)) == params:
            return path.stem
    return "custom"


def describe_data(params: Params, images: dict[str, int], categories: int) -> str:
    """One line on what was trained and measured on."""
    shapes = params.data.source == "shapes"
    name = f"the embedded shapes drawn from seed {params.seed}" if shapes else str(params.data.train.annotations)
    counts = ", ".join(f"{count:,} {split}" for split, count in images.items() if count)
    return f"{name} ({counts} images; {categories} classes), short side {params.input.test_short_side} px"


def describe_schedule(schedule: Schedule) -> str:
    """One line on the training of a stage."""
    rate = f"lr {schedule.lr:g}"
    rate += ", cosine" if schedule.schedule == "cosine" else f" x {schedule.gamma:g} at {schedule.milestones}"
    return f"{schedule.iterations:,} iterations of {schedule.batch_size} images, {schedule.optimizer}, {rate}"
