"""One annotation file as an annotation tool exports it, with README's lines: prepare divides it and writes it."""

import json
import re
from pathlib import Path

import pytest
from exports import CLASSES, EXPORTS, FRAMES, SCENES, exported, write_images
from readme import own_data

from afigan.data.prepare.stage import prepare
from afigan.data.split import read_split
from afigan.params.loading import check_params


@pytest.mark.parametrize("group", [None, r"(scene\d+)_"])
@pytest.mark.parametrize("tool", EXPORTS)
def test_the_one_file_of_a_tool_is_prepared(tmp_path, monkeypatch, tool, group):
    monkeypatch.chdir(tmp_path)
    value = exported(tool)
    write_images(value, Path("images"))
    Path("annotations.json").write_text(json.dumps(value, ensure_ascii=False), "utf-8")
    values = own_data("photos", Path("."))
    assert values["data"]["val"] == {"fraction": 0.2}
    values["data"]["val"]["group"] = group
    params = check_params(values)
    prepare(params.data, params.seed, Path("prepared"), workers=1)

    sides = {name: read_split(f"prepared/{name}.json") for name in ("train", "val")}
    assert all(set(CLASSES) <= set(side["classes"]) for side in sides.values())
    images = {name: [image["file_name"] for image in side["images"]] for name, side in sides.items()}
    assert len(images["train"]) > len(images["val"]) > 0
    assert sorted(images["train"] + images["val"]) == sorted(image["file_name"] for image in value["images"])
    found = [a for side in sides.values() for image in side["images"] for a in image["annotations"]]
    assert len(found) == len(value["annotations"]) == 2 * SCENES * FRAMES
    assert sorted(item["bbox"] for item in found) == sorted(item["bbox"] for item in value["annotations"])
    if group:
        scenes = {name: {re.search(group, image)[1] for image in side} for name, side in images.items()}
        assert not scenes["train"] & scenes["val"]
