"""The examples run and learn at toy size."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import World

from afigan.export.formats import export_interpolator
from afigan.interpolators import AFInterpolator

pytest_plugins = ["toy"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_has_a_test():
    text = Path(__file__).read_text("utf-8")
    assert all(f'load("{path.stem}")' in text for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("interpolator", ["nearest", "afi"])
def test_timm_features_and_a_plain_loop(capsys, interpolator):
    small = ["--model", "resnet10t", "--channels", "8", "--side", "64", "--batch", "4"]
    losses = load("timm_features").main([*small, "--iterations", "15", "--interpolator", interpolator])
    assert len(losses) == 15 and np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert "iteration 15: loss " in capsys.readouterr().out


def test_a_timm_model_of_other_strides_is_refused():
    with pytest.raises(ValueError, match=r"has maps of strides .*: this example needs 4, 8, 16, 32"):
        load("timm_features").Network("vgg11", "afi", 8, pretrained=False)


def test_a_torchvision_detector_with_an_exported_interpolator(world: World, tmp_path, monkeypatch, capsys):
    weights = world.model("afigan/main")
    with world:
        file = export_interpolator("afigan/main", tmp_path / "g.safetensors", "safetensors").absolute()
    monkeypatch.chdir(tmp_path)
    example = load("torchvision_detection")
    seen = []
    build = example.build
    monkeypatch.setattr(example, "build", lambda *given: seen.append(build(*given)) or seen[-1])
    small = ["--channels", "8", "--side", "64", "--batch", "2", "--weights", str(file)]
    example.main([*small, "--iterations", "0"])
    (g,) = seen[0].backbone.fpn.upsample
    assert isinstance(g, AFInterpolator)
    assert all(torch.equal(value, weights[f"interpolator.{name}"]) for name, value in g.state_dict().items())
    losses = example.main([*small, "--iterations", "8"])
    assert len(losses) == 8 and np.mean(losses[-3:]) < np.mean(losses[:3])
    assert "detections in a new image" in capsys.readouterr().out


def test_detectron2s_train_net(world: World, tmp_path, monkeypatch):
    """One iteration from G of stage 1, and a second one that continues from the checkpoint."""
    weights = world.model("afigan/main")
    shutil.copytree(world.root / "models/afigan/main", tmp_path / "main")
    monkeypatch.chdir(tmp_path)
    example = load("detectron2_train_net")
    data = world.root / "data/prepared"
    small = {
        "MODEL.DEVICE": "cpu",
        "MODEL.FPN.OUT_CHANNELS": 8,
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
        "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 8,
        "INPUT.MIN_SIZE_TRAIN": (64,),
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.BASE_LR": 1e-3,
        "DATALOADER.NUM_WORKERS": 0,
        "OUTPUT_DIR": "out",
    }
    options = [str(part) for item in small.items() for part in item]
    images = world.root / json.loads((data / "train.json").read_text("utf-8"))["info"]["root"]
    command = ["--images", str(images), "--annotations", str(data / "train.json"), "--weights", "main"]
    seen = []
    train = example.DefaultTrainer.train

    def upsample(trainer):
        return {name: value.clone() for name, value in trainer.model.backbone.upsample[0].state_dict().items()}

    monkeypatch.setattr(
        example.DefaultTrainer, "train", lambda trainer: (seen.append(upsample(trainer)), train(trainer))[1]
    )
    trainer = example.main(example.parse([*command, *options, "SOLVER.MAX_ITER", "1"]))
    assert all(torch.equal(value, weights[f"interpolator.{name}"]) for name, value in seen[0].items())
    first = upsample(trainer)
    assert any(not torch.equal(first[name], seen[0][name]) for name in first)  # it has learned
    assert Path("out/model_final.pth").is_file()
    trainer = example.main(example.parse(["--resume", *command, *options, "SOLVER.MAX_ITER", "2"]))
    assert all(torch.equal(value, first[name]) for name, value in seen[1].items())
    assert trainer.iter == 2
