"""The Python in the documents runs, page by page and in order, where a model, a photograph and weights are."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from folders import write_detector
from PIL import Image
from readme import snippet
from torchvision.models import ResNet50_Weights, resnet50

from afigan.interpolators import AFInterpolator
from afigan.interpolators.released import convert_released

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# a block with a file's name after the language is that file; tests/workflow/test_extending.py runs those
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = {
    page.relative_to(ROOT).as_posix(): found for page in PAGES if (found := BLOCK.findall(page.read_text("utf-8")))
}


def released() -> dict[str, torch.Tensor]:
    """Return weights of G under the names of the authors' files."""
    names = {"head": "0.0", "conv": "2.0", "deconv": "3.0", "tail": "4.0"}
    state = {}
    for name, value in AFInterpolator(256).state_dict().items():
        if dense := re.fullmatch(r"blocks\.(\d)\.convs\.(\d)\.weight", name):
            last = int(dense[2]) == 4
            name = f"1.RDBs.{dense[1]}.conv{int(dense[2]) + 1}{'' if last else '.0'}.weight"
        else:
            layer, _, kind = name.rpartition(".")
            name = f"{names[layer]}.{kind}"
        state[f"Generators.0.{name}"] = value
    assert convert_released(state).keys() == AFInterpolator(256).state_dict().keys()
    return state


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with what the blocks read."""
    root = tmp_path_factory.mktemp("reader")
    write_detector(root / "models/detectors/a5")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 15, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((150, 90)).save(root / "photo.jpg")
    torch.save(released(), root / "released.pth")
    # the names and shapes of DySample's public module
    sizes = {"offset.weight": (32, 256, 1, 1), "offset.bias": (32,), "init_pos": (1, 32, 1, 1)}
    torch.save({name: torch.zeros(size) for name, size in sizes.items()}, root / "dysample.pth")
    # torchvision would fetch its backbone's weights
    weights = root / "hub/checkpoints" / Path(ResNet50_Weights.IMAGENET1K_V1.url).name
    weights.parent.mkdir(parents=True)
    torch.save(resnet50(weights=None).state_dict(), weights)
    return root


def test_the_pages_with_code_are_found():
    assert {"README.md", "docs/index.md", "docs/use.md", "docs/api/index.md"} <= BLOCKS.keys()
    assert len(BLOCKS["docs/use.md"]) == 5


@pytest.mark.parametrize("page", BLOCKS)
def test_the_code_of_a_page_runs(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(folder / "hub"))
    names = {"__name__": "page"}
    for number, block in enumerate(BLOCKS[page], 1):
        exec(compile(block, f"{page}, block {number}", "exec"), names)


def test_the_page_on_own_data_has_the_parameters_of_the_readme():
    assert snippet() in (ROOT / "docs/own-data.md").read_text("utf-8")
