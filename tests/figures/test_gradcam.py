"""Grad-CAM: by hand, against autograd on every family of detectors, and the picture of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances
from PIL import Image
from tiny_coco import annotations, write_images
from torch import Tensor, nn
from torch.nn import functional as F

from afigan.data.split import read_split
from afigan.detectors import Architecture, build_detector
from afigan.detectors.build import set_test_limits
from afigan.detectors.heads import HEADS
from afigan.figures import gradcam
from afigan.figures.gradcam import draw_gradcam_figure, found_score, grad_cam, share_inside
from afigan.figures.pictures import Objects, Panel
from afigan.params.experiments import BackboneExperiment
from afigan.params.schema import Input, Model
from afigan.runtime.files import write_json

MODEL = Model(
    channels=16,
    anchor_sizes=[16.0, 32.0, 64.0, 128.0, 256.0],
    canonical_box_size=56.0,
    roi_heads={"fc_dim": 32, "mask_dim": 16},
    rpn={"proposals_test": 32},
)
INPUTS = Input(short_sides=[64], max_side=128, test_short_side=64)


# --- by hand ---------------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """A detector of one object with the score sum(weights * p3), and of a false alarm with p3's sum; p4 is not used.

    p3 is two channels of the image, halved, p4 the same, quartered.
    """

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights
        self.backbone = nn.Module()
        self.backbone.fpn_output3 = nn.AvgPool2d(2)
        self.backbone.fpn_output4 = nn.AvgPool2d(4)
        self.backbone.output_module = lambda level: getattr(self.backbone, f"fpn_output{level[1:]}")
        self.backbone.output_shape = lambda: {"p3": ShapeSpec(stride=2), "p4": ShapeSpec(stride=4)}

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        image = batch[0]["image"][None, :2].float()
        image = F.pad(image, (0, -image.shape[3] % 4, 0, -image.shape[2] % 4))
        self.backbone.fpn_output4(image)
        p3 = self.backbone.fpn_output3(image)
        found = Instances(image.shape[2:])
        found.scores = torch.stack([(self.weights * p3).sum(), p3.sum()])
        found.pred_boxes = Boxes(torch.tensor([[2.0, 3.0, 12.0, 11.0], [0.0, 0.0, 4.0, 4.0]]))
        found.pred_classes = torch.tensor([0, 1])
        return [{"instances": found}]


def test_by_hand() -> None:
    """w_1 = mean(1, 3) = 2 and w_2 = mean(-2, 0) = -1: 2 A_1 - A_2, and 0 where that is negative."""
    weights = torch.tensor([[[1.0, 3.0], [1.0, 3.0]], [[-2.0, 0.0], [-2.0, 0.0]]])
    maps = torch.tensor([[[1.0, 5.0], [0.0, 2.0]], [[1.0, 0.0], [3.0, 4.0]]])
    image = maps.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    detector = Linear(weights)
    cam = grad_cam(detector, "p3", {"image": image.to(torch.uint8)}, lambda found: found.scores[0])
    expected = F.interpolate(torch.tensor([[[[1.0, 10.0], [0.0, 0.0]]]]), scale_factor=2, mode="bilinear")[0, 0]
    np.testing.assert_allclose(cam, expected, rtol=1e-6)


def test_the_padding_is_cut_off() -> None:
    """An image of 3 x 2 pixels is padded to 4 x 4 and halved; its own pixels do not move."""
    image = torch.tensor([[[4, 4], [4, 4], [8, 8]], [[0, 0], [0, 0], [0, 0]]], dtype=torch.uint8)
    cam = grad_cam(Linear(torch.ones(2, 2, 2)), "p3", {"image": image}, lambda found: found.scores[0])
    padded = torch.tensor([[[[4.0, 0.0], [4.0, 0.0]]]])
    expected = F.interpolate(padded, scale_factor=2, mode="bilinear")[0, 0]
    np.testing.assert_allclose(cam, expected[:3, :2], rtol=1e-6)


def test_a_map_that_is_not_used_has_no_heat() -> None:
    image = torch.full((2, 4, 4), 9, dtype=torch.uint8)
    cam = grad_cam(Linear(torch.ones(2, 2, 2)), "p4", {"image": image}, lambda found: found.scores[0])
    assert cam.shape == (4, 4) and not cam.any()


def test_the_share_inside_by_hand() -> None:
    cam = np.array([[1.0, 2.0, 0.0], [4.0, 0.0, 3.0]])
    assert share_inside(cam, np.array([[0.0, 0.0, 2.0, 1.0]])) == 0.3
    assert share_inside(cam, np.array([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 2.0]])) == 0.7  # of the union
    assert share_inside(cam, np.array([[0.6, 0.0, 1.4, 1.6]])) == 0  # contains only the centres of (0, 1) and (1, 1)
    assert share_inside(cam, np.zeros((0, 4))) == 0 and share_inside(0 * cam, np.array([[0.0, 0.0, 3.0, 2.0]])) == 0


# --- every family of detectors ---------------------------------------------------------------------------------------


def build(head: str, interpolator: str = "afi") -> nn.Module:
    backbone = BackboneExperiment(name="resnet_mini", norm="BN")
    detector = build_detector(Architecture(MODEL, backbone, 3, head=head, interpolator=interpolator))
    set_test_limits(detector, 0.0, 100)
    return detector.eval().requires_grad_(False)


@pytest.fixture(params=sorted(HEADS))
def detector(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(3)
    return build(request.param)


def sample() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8, generator=generator)
    return {"image": image, "height": 140, "width": 180}


def test_against_autograd(detector: nn.Module) -> None:
    """A frozen detector, its map computed again as a leaf, and the formula written out."""
    item = sample()

    def objective(found: Instances) -> Tensor:
        return (found.scores * found.pred_boxes.area().detach()).sum()

    kept = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0] * 1

    hook = detector.backbone.output_module("p3").register_forward_hook(keep)
    objective(detector([item])[0]["instances"]).backward()
    hook.remove()
    (leaf,) = kept
    weights = leaf.grad[0].flatten(1).mean(dim=1)
    expected = torch.einsum("c,chw->hw", weights, leaf.detach()[0]).clamp(min=0)
    expected = F.interpolate(expected[None, None], scale_factor=8, mode="bilinear")[0, 0, :70, :90]

    cam = grad_cam(detector, "p3", item, objective)
    assert cam.shape == (70, 90) and cam.max() > 0
    np.testing.assert_allclose(cam, expected, rtol=1e-4, atol=1e-6 * cam.max())
    np.testing.assert_array_equal(grad_cam(detector, "p3", item, objective), cam)
    assert not detector.training and not any(p.requires_grad or p.grad is not None for p in detector.parameters())
    assert not detector.backbone.output_module("p3")._forward_hooks


def test_the_same_under_no_grad_and_without_detections(detector: nn.Module) -> None:
    item = sample()
    with torch.no_grad():
        cam = grad_cam(detector, "p3", item, lambda found: found.scores.sum())
    assert cam.any()
    assert not grad_cam(detector, "p3", item, lambda found: found.scores[:0].sum()).any()


def test_the_score_is_that_of_the_objects_found() -> None:
    """Of five detections, one each for two objects; a second one, one of another class and one elsewhere are not."""
    truth = Objects(np.array([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [50.0, 0, 60, 10]]), np.array([1, 0, 2]))
    found = Instances((40, 70))
    boxes = [[0.0, 0, 10, 9], [0.0, 0, 10, 10], [20.0, 0, 30, 10], [20.0, 0, 30, 9], [50.0, 20, 60, 30]]
    found.pred_boxes = Boxes(torch.tensor(boxes))
    found.pred_classes = torch.tensor([1, 1, 2, 0, 2])
    found.scores = torch.tensor([0.5, 0.25, 0.9, 0.125, 0.8], requires_grad=True)
    score = found_score(found, truth)
    assert score.item() == 0.625
    score.backward()
    assert found.scores.grad.tolist() == [1, 0, 0, 1, 0]
    assert found_score(found, Objects(np.zeros((0, 4)), np.zeros(0, int))).item() == 0


# --- the figure ------------------------------------------------------------------------------------------------------


@pytest.fixture
def records(tmp_path: Path) -> list[dict[str, Any]]:
    """Images 7, 17 and 27; 27 has a crowd, but no object."""
    values = annotations()
    (crowd,) = [item for item in values["annotations"] if item["iscrowd"]]
    values["annotations"].append(crowd | {"id": 1, "image_id": 27})
    write_images(values, tmp_path)
    write_json(tmp_path / "val.json", values | {"info": {"root": str(tmp_path), "masks": True}})
    return read_split(tmp_path / "val.json")["images"]


def test_the_figure(tmp_path: Path, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The figure shows the first image with an object from the given position on, with boxes at the detector's size."""
    drawn: list[Any] = []
    draw = gradcam.draw_heat_maps
    monkeypatch.setattr(gradcam, "draw_heat_maps", lambda *arguments: drawn.append(arguments) or draw(*arguments))
    detectors = {"red": Linear(torch.tensor([[[3.0]], [[0.0]]])), "green": Linear(torch.tensor([[[0.0]], [[2.0]]]))}
    for position in (0, 1, 2):
        arguments = detectors, records, position, ["p3", "p4"], ["dog", "cup"], INPUTS, "RGB"
        draw_gradcam_figure(*arguments, tmp_path / f"{position}.png")
        with Image.open(tmp_path / f"{position}.png") as image:
            image.load()
    panels: list[Panel] = [panel for _, panel, *_ in drawn]
    assert [panel.title.split(":")[0] for panel in panels] == ["image 7", "image 17", "image 7"]
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    image, objects = panels[0].image, panels[0].objects
    assert image.shape == (64, 99, 3)
    np.testing.assert_allclose(objects.boxes, [[2 * 99 / 31, 3 * 3.2, 12 * 99 / 31, 11 * 3.2]])
    covered = 10 * 8 / (31 * 20)
    assert panels[0].title == f"image 7: boxes cover {covered:.0%}"

    rows = drawn[0][0]
    assert list(rows) == ["p3", "p4"]
    for channel, (title, cam) in enumerate(rows["p3"].items()):
        pixels = F.pad(torch.from_numpy(image[:, :, channel]).float()[None, None], (0, 1))
        expected = F.interpolate(F.avg_pool2d(pixels, 2), scale_factor=2, mode="bilinear")[0, 0, :, :99]
        np.testing.assert_allclose(cam, expected / expected.max(), rtol=1e-5)
        share = share_inside(expected.numpy(), objects.boxes)
        assert title == f"{list(detectors)[channel]} (finds 1 of 1): {share:.0%} inside"
    assert list(rows["p4"]) == [f"{name} (finds 1 of 1): 0 everywhere" for name in detectors]
    assert not any(cam.any() for cam in rows["p4"].values())


def test_an_image_is_preferred_whose_detections_depend_on_every_level(
    tmp_path: Path, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image 7 has heat only on p3, image 17 on both levels."""
    drawn: list[Any] = []
    monkeypatch.setattr(gradcam, "draw_heat_maps", lambda *arguments: drawn.append(arguments))

    def heat(detector: nn.Module, level: str, item: dict[str, Any], objective: Any) -> np.ndarray:
        return np.full(item["image"].shape[1:], float(level == "p3" or item["image_id"] == 17))

    monkeypatch.setattr(gradcam, "grad_cam", heat)
    detectors = {"red": Linear(torch.tensor([[[3.0]], [[0.0]]]))}
    draw_gradcam_figure(detectors, records, 0, ["p3", "p4"], ["dog", "cup"], INPUTS, "RGB", tmp_path / "out.png")
    assert drawn[0][1].title.startswith("image 17:")


def test_sets_without_anything_to_draw_are_refused(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    rest = ["p3"], ["dog", "cup"], INPUTS, "RGB", tmp_path / "out.png"
    with pytest.raises(ValueError, match=r"figures\.image: 3, but the validation set has 3 images"):
        draw_gradcam_figure({}, records, 3, *rest)
    with pytest.raises(ValueError, match="no image of the validation set has an object"):
        draw_gradcam_figure({}, records[2:], 0, *rest)
