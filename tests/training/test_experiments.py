"""Every experiment of Tables 1-10, and every other switch, through training and evaluation to filled tables."""

import csv
import io
import json
import shutil

import pytest
import torch
from composed import composed
from lineages import fingerprint
from toy import SWITCHES, World, toy_params

from afigan.evaluation.coco import evaluate
from afigan.evaluation.speed import benchmark
from afigan.figures.stage import draw_figures
from afigan.outputs.paths import PAGE
from afigan.params.lineage import Lineage
from afigan.params.stages import TRAINED
from afigan.reporting.embedded import read_images, read_losses
from afigan.reporting.layout import LAYOUTS
from afigan.reporting.metrics import describe_training
from afigan.reporting.paper import printed_rows
from afigan.reporting.results import read_results
from afigan.reporting.tables import tables_text

pytest_plugins = ["toy"]

PARAMS = toy_params()
CONTROL, LONGER = "NN with stage 2", "detectors/long_nn"
NODES = [f"{kind}/{key}" for kind in TRAINED for key in getattr(PARAMS.experiments, kind)]


@pytest.fixture(scope="module")
def everything(world: World) -> World:
    """All models and all metrics."""
    for node in NODES:
        world.model(node)
    with world:
        for key in PARAMS.experiments.evaluations:
            evaluate(world.params, key)
    return world


def test_the_experiments_are_those_of_the_paper():
    for profile in ("zoo", "paper"):
        for kind, experiments in composed(profile)["experiments"].items():
            assert set(getattr(PARAMS.experiments, kind)) == set(experiments) | set(SWITCHES.get(kind, ()))


@pytest.mark.parametrize("node", NODES)
def test_every_experiment_learns(everything, node):
    weights, log = everything.model(node), everything.log(node)
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert [line["iteration"] for line in log] == ([1, 2, 3, 4] if node == LONGER else [1, 2])
    assert everything.config(node)["params_hash"] == fingerprint(everything.params, node)
    item = Lineage(everything.params)[node].experiment
    names = set(log[0])
    if node.startswith("backbones/"):
        assert names == {"iteration", "lr", "loss_cls"}
    elif node.startswith(("detectors/", "students/")):
        assert not names & {"loss_content", "loss_adversarial", "loss_discriminator"}
    else:
        assert ("loss_discriminator" in names) == ("loss_adversarial" in names) == (item.adversarial != "off")
        assert ("loss_content" in names) == getattr(item, "content", True)
        assert any(name.startswith("discriminator.") for name in weights) == (item.adversarial != "off")


def test_no_two_rows_are_the_same_model(everything):
    """A switch that does nothing would show here."""
    seen: dict[bytes, str] = {}
    for node in NODES:
        content = everything.output(node)["model.safetensors"]
        assert content not in seen, (node, seen.get(content))
        seen[content] = node


@pytest.mark.parametrize("profile", ["zoo", "paper"])
def test_every_printed_row_has_an_experiment(profile):
    """Except for the cited rows of Table 1, which are other authors'. One row is not printed: A5's control."""
    tables = composed(profile)["tables"]
    rows = {f"table{number}": set(printed_rows(number)) for number in LAYOUTS}
    assert {name: set(rows) for name, rows in tables.items()} == rows | {"table4": {*rows["table4"], CONTROL}}


def test_every_row_of_every_table_is_filled(everything):
    hashes = {key: fingerprint(everything.params, f"evaluations/{key}") for key in PARAMS.experiments.evaluations}
    tables = {name: dict(rows) for name, rows in PARAMS.tables.items()}
    assert all(len(keys) == 1 for rows in tables.values() for keys in rows.values())
    assert set(tables) == {f"table{number}" for number in LAYOUTS}
    with everything:
        benchmark(PARAMS)
    results = read_results(
        tables, everything.root / "results/metrics", hashes, everything.root / "results/benchmark.json"
    )
    texts = tables_text(results)
    for name, rows in tables.items():
        written = list(csv.DictReader(io.StringIO(texts[f"{name}.csv"])))
        mine = [row for row in written if row["evaluation"]]
        assert {row["row"]: [row["evaluation"]] for row in mine} == rows, name
        assert all(row.get("source") == "cited" for row in written if not row["evaluation"])
        for row in mine:
            assert row["printed"] == ("0" if row["row"] == CONTROL else "1"), (name, row)
            assert "—" not in row.values(), (name, row)
            ours = json.loads((everything.root / f"results/metrics/{row['evaluation']}.json").read_text())
            for column, value in (
                (f"{kind}_{n}", v) for kind in ("box", "mask") for n, v in (ours[kind] or {}).items()
            ):
                if f"{column}_ours" in row:
                    assert row[f"{column}_ours"] == ("" if value is None else str(value)), (name, column)


def test_the_schedule_of_a3_is_named_as_another(everything):
    schedules = {
        key: json.loads((everything.root / f"results/metrics/{key}.json").read_text())["schedule"]
        for key in PARAMS.experiments.evaluations
    }
    assert schedules["a3"]["stage"] == schedules["nearest_m"]["stage"] == 2
    schedules = {key: describe_training(schedule) for key, schedule in schedules.items()}
    models = {key: PARAMS.experiments.evaluations[key].model for key in schedules}
    detectors = {s for key, s in schedules.items() if models[key].startswith("detectors") and models[key] != LONGER}
    assert len(detectors) == 1  # one schedule for all rows that are compared, but for the row about its length
    students = {s for key, s in schedules.items() if PARAMS.experiments.evaluations[key].model.startswith("students")}
    assert students == {f"{schedule}, with pseudo-labels" for schedule in detectors}


def test_parameters_differ_as_the_modules_do(everything):
    """AFI has one G, the convolutional baselines have one module per place, resizing has none."""
    counts = {
        key: json.loads((everything.root / f"results/metrics/{key}.json").read_text())["params_M"] * 1e6
        for key in ("a1", "a5", "a6", "bilinear", "bicubic", "deconv", "nearest_5conv", "bicubic_5conv")
    }
    c = PARAMS.model.channels
    five_convs = 5 * (9 * c * c + c) + 4 * 2 * c
    deconv = 36 * c * c + c + 9 * c * c + c
    assert counts["bilinear"] == counts["bicubic"] == counts["a1"]
    assert counts["nearest_5conv"] - counts["a1"] == pytest.approx(3 * five_convs)
    assert counts["bicubic_5conv"] == counts["nearest_5conv"]
    assert counts["deconv"] - counts["a1"] == pytest.approx(3 * deconv)
    g = sum(v.numel() for n, v in everything.model("afigan/main").items() if n.startswith("interpolator."))
    assert counts["a5"] - counts["a1"] == pytest.approx(g) and counts["a6"] == counts["a5"]


def test_the_figures_are_drawn(everything):
    with everything:
        shutil.rmtree("results/figures", ignore_errors=True)
        draw_figures(everything.params)
    for name in ("losses_afigan", "losses_extractors", "losses_detectors", "features", "detections", "gradcam"):
        assert (everything.root / f"results/figures/{name}.png").read_bytes().startswith(b"\x89PNG")
    folder = everything.root / PAGE
    pairs = [side for image in read_images(folder).images for side in image.pair]
    assert pairs and all((folder / side.picture).read_bytes().startswith(b"\xff\xd8") for side in pairs)  # JPEG
    drawn = {(curve.stage, curve.run) for curve in read_losses(folder).curves}
    assert drawn == {(k, key) for k in ("afigan", "extractors", "detectors") for key in getattr(PARAMS.experiments, k)}
