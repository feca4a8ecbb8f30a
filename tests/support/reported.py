"""Inputs of the stage `tables`, written into the working directory without any training: `write_inputs`."""

import json
from pathlib import Path

import numpy as np
from lineages import fingerprint
from PIL import Image
from summaries import summary

from afigan.outputs.paths import PAGE
from afigan.params.schema import Params
from afigan.reporting import report
from afigan.reporting.embedded import IMAGES, LOSSES, Compared, Curve, Detections, Images, Item, Losses
from afigan.reporting.metrics import AP_NAMES, AR_NAMES, ERROR_KINDS
from afigan.runtime.files import write_json

CLASSES = ("disc", "box & <b>bow</b>")  # names are any text
WIDTH, HEIGHT = 96, 64  # of a compared image


def write_inputs(params: Params) -> None:
    """Write summary, metrics of every evaluation, times, figures and what the page embeds.

    The evaluation number i has box AP 30 + i and mask AP 20 + i, AP by class and errors included.
    """
    found = summary(7, {CLASSES[0]: 1230, CLASSES[1]: 4})
    write_json("data/prepared/summary.json", found)
    timed = {}
    for i, key in enumerate(params.experiments.evaluations):
        hashed = {"params_hash": fingerprint(params, f"evaluations/{key}")}
        about = {
            "key": key,
            "model": params.experiments.evaluations[key].model,
            **hashed,
            "inputs": {"val.json": "ab12"},
        }
        about |= {
            "data": {"source": "shapes", "train_images": 7, "val_images": 7},
            "schedule": {"stage": 3, "iterations": 9, "batch_size": 2},
            "seed": 0,
        }
        about |= {"multi_scale": params.experiments.evaluations[key].multi_scale, "params_M": 1.25}
        for kind, base in (("box", 30.0), ("mask", 20.0)):
            values = {name: base + i + place / 8 for place, name in enumerate(AP_NAMES)}
            classes = [{"name": name, "objects": 28, "AP": base + i + 0.5, "AP50": None} for name in CLASSES]
            recalls = {name: base + i + place / 16 for place, name in enumerate(AR_NAMES)}
            errors = {kind: {"count": 0, "dAP": None} for kind in ERROR_KINDS} | {
                "missed": {"count": 17, "dAP": 2.5 + i}
            }
            about[kind] = values | recalls | {"classes": classes, "errors": errors}
        write_json(f"results/metrics/{key}.json", about)
        timed[key] = hashed | {"model": about["model"], "params_M": 1.25, "time_ms": 3.0 + i}
    write_json("results/benchmark.json", {"device": "AMD EPYC", "threads": 2, "runs": 50, "rows": timed})
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    Path("results/figures").mkdir(parents=True, exist_ok=True)
    for name in report.CAPTIONS.values():
        Image.fromarray(noise).save(f"results/figures/{name}.png")
    write_embedded(params)


def write_embedded(params: Params, folder: Path = PAGE) -> None:
    """Write two compared images, one all red for the first detector and all blue for the second, and losses."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number in (3, 41):
        pair = []
        for place, (title, colour) in enumerate((("nearest", (200, 0, 0)), ("AFI", (0, 0, 200)))):
            name = f"{number}_{place}.jpg"
            Image.new("RGB", (WIDTH, HEIGHT), colour).save(folder / name)
            items = (Item(name=CLASSES[1], colour="#1f77b4", box=(10.0, 12.0, 40.0, 50.5), score=0.75),) * place
            pair.append(Detections(title=title, picture=name, found=place, items=items))
        truth = Item(name=CLASSES[1], colour="#1f77b4", box=(9.0, 12.0, 40.0, 50.0), outline="M9 12L40 12L40 50Z")
        compared = Compared(
            image=number, rank=1, of=2, width=WIDTH, height=HEIGHT, pair=(pair[0], pair[1]), objects=(truth,)
        )
        images.append(compared)
    write_json(folder / IMAGES, Images(rule="By a rule.", images=tuple(images)).model_dump(mode="json"))
    curves = [
        Curve(stage=stage, run=run, term=term, iterations=(1, 2, 9), values=(4.0, 2.0, 1.0 + i), last=1.0 + i)
        for stage in ("afigan", "extractors", "detectors")
        for i, run in enumerate(getattr(params.experiments, stage))
        for term in ("total", "content")
    ]
    stages = {"afigan": "Stage 1", "extractors": "Stage 2", "detectors": "Stage 3"}
    text = Losses(stages=stages, curves=tuple(curves)).model_dump(mode="json")
    (folder / LOSSES).write_text(json.dumps(text), "utf-8")
