"""Detectors at paper scale, at half scale, and through detectron2's ordinary configuration."""

import json
import types
from typing import get_args

import pytest
import torch
from composed import composed
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch import RetinaNet
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from torch import nn

import afigan
from afigan.detectors import Architecture, build_detector
from afigan.detectors.build import detectron2_config, set_test_limits
from afigan.detectors.heads import HEADS
from afigan.detectors.load import load_interpolator
from afigan.interpolators import INTERPOLATORS, build_interpolator
from afigan.params.experiments import BackboneExperiment
from afigan.params.lineage import Lineage
from afigan.params.loading import check_params
from afigan.params.schema import Model
from afigan.params.types import Pyramid
from afigan.pyramids.fpn import InterpolatedFPN

PAPER = Model(anchor_sizes=[32.0, 64.0, 128.0, 256.0, 512.0])
R50 = BackboneExperiment(name="resnet50")
MINI = Model(
    channels=16,
    anchor_sizes=[16.0, 32.0, 64.0, 128.0, 256.0],
    canonical_box_size=112.0,
    roi_heads={"batch_size_per_image": 16, "fc_dim": 32, "mask_dim": 16},
    rpn={"batch_size_per_image": 16, "proposals_train": 32, "proposals_test": 32},
)
SMALL = BackboneExperiment(name="resnet_mini", norm="BN")


def mini(**changes):
    torch.manual_seed(0)
    architecture = {"model": MINI, "backbone": SMALL, "num_classes": 3, "interpolator": "afi"} | changes
    scale = architecture.pop("image_scale", 1.0)
    return build_detector(Architecture(**architecture), scale)


def sample(height=96, width=128, classes=3, masks=True):
    """Return a detectron2 training sample with two objects."""
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor([[8.0, 8.0, 60.0, 70.0], [40.0, 30.0, 110.0, 90.0]]))
    instances.gt_classes = torch.tensor([0, classes - 1])
    if masks:
        corners = [[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in instances.gt_boxes.tensor.double().tolist()]
        instances.gt_masks = PolygonMasks(corners)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": height, "width": width}


@pytest.mark.parametrize("interpolator", [name for name, traits in INTERPOLATORS.items() if traits.learned])
def test_every_place_of_a_pyramid_starts_with_the_g_of_stage_1(interpolator):
    pyramid, g = mini(interpolator=interpolator).backbone, build_interpolator(interpolator, 16)
    before = {name: value.clone() for name, value in pyramid.state_dict().items()}
    load_interpolator(pyramid, g.state_dict(), "afigan/main")
    assert len(pyramid.upsample) == (1 if INTERPOLATORS[interpolator].shared else 3)
    for module in pyramid.upsample:
        assert all(torch.equal(value, g.state_dict()[name]) for name, value in module.state_dict().items())
    after = pyramid.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if not name.startswith("upsample."))


# --- size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interpolator", "millions"), [("nearest", 44), ("afi", 52), ("deconv", 53), ("bicubic-5conv", 53)]
)
def test_parameters_at_paper_scale(interpolator, millions):
    """Tables 1 and 6: Mask R-CNN with ResNet-50 and FPN, 80 classes."""
    assert parameters(interpolator=interpolator) / 1e6 == pytest.approx(millions, abs=1.0)


@pytest.mark.parametrize(
    ("head", "millions"), [("mask_rcnn", (44, 52)), ("retinanet", (37, 45)), ("centermask", (51, 59))]
)
def test_parameters_of_table_3(head, millions):
    """With 80 classes, nearest and AFI; one G comes in, nothing else."""
    nearest, afi = (parameters(head=head, interpolator=name) for name in ("nearest", "afi"))
    assert (nearest / 1e6, afi / 1e6) == pytest.approx(millions, abs=1.5)
    assert afi - nearest == 7_834_624


def parameters(**changes):
    """Count the parameters of a detector at paper scale."""
    detector = build_detector(Architecture(**{"model": PAPER, "backbone": R50, "num_classes": 80} | changes))
    return sum(p.numel() for p in detector.parameters())


def timm_backbone(name):
    return BackboneExperiment(name=f"timm/{name}", norm="FrozenBN", pixel_format="RGB")


@pytest.mark.parametrize(
    ("backbone", "pyramid", "repeats", "head"),
    [
        (timm_backbone("swin_large_patch4_window12_384"), "bifpn", 7, "cascade_rcnn"),
        (timm_backbone("resnest101e"), "pafpn", 3, "cascade_mask_rcnn"),
        (R50, "bifpn", 3, "centermask"),
    ],
    ids=["Swin-L-BiFPN", "ResNeSt-101-PAFPN", "R50-BiFPN-CenterMask"],
)
def test_the_largest_models_of_the_paper_learn_from_an_image(backbone, pyramid, repeats, head):
    """One forward and backward pass at 256 px, C = 256, 80 classes; G gets a gradient."""
    torch.manual_seed(0)
    detector = build_detector(
        Architecture(PAPER, backbone, 80, head=head, pyramid=pyramid, repeats=repeats, interpolator="afi")
    )
    with EventStorage():
        losses = detector([sample(256, 256, classes=80, masks=head != "cascade_rcnn")])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in detector.backbone.upsample.parameters())


# --- one detector or another -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pyramid", "head"),
    [("fpn", "mask_rcnn"), ("pafpn", "retinanet"), ("bifpn", "centermask"), ("bifpn", "cascade_rcnn")],
)
def test_weights_outside_the_interpolators_do_not_depend_on_them(pyramid, head):
    plain = mini(interpolator="nearest", pyramid=pyramid, head=head).state_dict()
    for interpolator in ("afi", "deconv", "nearest-5conv"):
        changed = mini(interpolator=interpolator, pyramid=pyramid, head=head).state_dict()
        assert all(torch.equal(changed[name], value) for name, value in plain.items())
        assert all("upsample" in name for name in changed.keys() - plain.keys())


LOSSES = {
    "faster_rcnn": {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"},
    "cascade_rcnn": {"loss_rpn_cls", "loss_rpn_loc"}
    | {f"loss_{n}_stage{i}" for n in ("cls", "box_reg") for i in range(3)},
    "retinanet": {"loss_cls", "loss_box_reg"},
    "fcos": {"loss_fcos_cls", "loss_fcos_box", "loss_fcos_centerness"},
}
LOSSES |= {
    "mask_rcnn": LOSSES["faster_rcnn"] | {"loss_mask"},
    "cascade_mask_rcnn": LOSSES["cascade_rcnn"] | {"loss_mask"},
    "centermask": LOSSES["fcos"] | {"loss_mask", "loss_maskiou"},
}


@pytest.mark.parametrize("pyramid", get_args(Pyramid))
@pytest.mark.parametrize("head", sorted(HEADS))
def test_every_head_on_every_pyramid(head, pyramid):
    """The detector and G learn from an image whose sides are no multiples of a stride, and detect in it."""
    detector = mini(head=head, pyramid=pyramid, repeats=2)
    image = sample(101, 135, masks=HEADS[head].masks)
    with EventStorage():
        losses = detector([image])
    assert losses.keys() == LOSSES[head] and all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in detector.backbone.upsample.parameters())
    set_test_limits(detector, 0.0, 5)
    found = detector.eval()([{key: value for key, value in image.items() if key != "instances"}])[0]["instances"]
    assert found.scores.requires_grad  # as Grad-CAM asks for
    assert 0 < len(found) <= 5 and found.has("pred_masks") == HEADS[head].masks


@pytest.mark.parametrize("head", sorted(HEADS))
def test_a_detector_at_half_scale_sees_half_the_sizes(head):
    full, low = (mini(head=head, image_scale=scale) for scale in (1.0, 0.5))
    sizes = [getattr(detector, "anchor_generator", None) for detector in (full, low)]
    if head in ("fcos", "centermask"):
        configs = [detectron2_config(Architecture(MINI, SMALL, 3, head=head), scale) for scale in (1.0, 0.5)]
        bounds = [cfg.MODEL.FCOS.SIZES_OF_INTEREST for cfg in configs]
        assert bounds[0] == [64, 128, 256, 512] and bounds[1] == [32, 64, 128, 256]
        return
    if head != "retinanet":
        sizes = [detector.proposal_generator.anchor_generator for detector in (full, low)]
    for at_full, at_half in zip(*(generator.cell_anchors for generator in sizes), strict=True):
        torch.testing.assert_close(at_half, at_full / 2)


def test_an_architecture_survives_its_file():
    backbone = BackboneExperiment(name="timm/resnest14d", options={"layers": [1, 1, 1, 1]}, pixel_format="RGB")
    architecture = Architecture(MINI, backbone, 3, "mask_rcnn", "fpn", 2, "afi", "rb", "iterated")
    values = json.loads(json.dumps(architecture.as_dict()))
    again = Architecture.from_dict(values)
    assert again == architecture and again.as_dict() == values
    with pytest.raises(ValueError, match="colour"):
        Architecture.from_dict(values | {"model": values["model"] | {"colour": 1}})


def test_what_an_architecture_says_is_what_is_built():
    pyramid = mini(options={"blocks": "rb"}, upsampling="iterated").backbone
    assert isinstance(pyramid, InterpolatedFPN) and pyramid.upsampling == "iterated"
    assert len(pyramid.upsample[0].blocks) == 5 and not hasattr(pyramid, "fpn_lateral2")
    backbone = SMALL.model_copy(update={"pixel_mean": [1.0, 2.0, 3.0], "pixel_std": [4.0, 5.0, 6.0]})
    detector = mini(backbone=backbone, num_classes=7)
    assert detector.pixel_mean.flatten().tolist() == [1, 2, 3] and detector.pixel_std.flatten().tolist() == [4, 5, 6]
    assert detector.roi_heads.num_classes == 7 and detector.roi_heads.box_predictor.cls_score.out_features == 8


def test_test_limits():
    detector = mini()
    set_test_limits(detector, 0.3, 17)
    predictor = detector.roi_heads.box_predictor
    assert (predictor.test_score_thresh, predictor.test_topk_per_image) == (0.3, 17)
    cascade = mini(head="cascade_rcnn")
    set_test_limits(cascade, 0.3, 17)
    assert all(predictor.test_topk_per_image == 17 for predictor in cascade.roi_heads.box_predictor)


# --- M sees images of half the size ----------------------------------------------------------------------------------


def test_anchors_shrink_with_the_image():
    full, low = (mini(image_scale=scale).proposal_generator.anchor_generator for scale in (1.0, 0.5))
    assert full.strides == low.strides == [4, 8, 16, 32, 64]
    for at_full, at_half, size in zip(full.cell_anchors, low.cell_anchors, MINI.anchor_sizes, strict=True):
        torch.testing.assert_close(at_half, at_full / 2)
        areas = Boxes(at_full).area().sqrt()
        torch.testing.assert_close(areas, torch.full_like(areas, size))


@pytest.mark.parametrize("pooler", ["box_pooler", "mask_pooler"])
def test_an_object_keeps_its_level_at_half_size(pooler):
    """A map that contains its level's number shows the level from which a RoI is pooled."""

    def levels(scale, boxes):
        maps = [torch.full((1, 1, 512 >> i, 512 >> i), float(i)) for i in (2, 3, 4, 5)]
        return getattr(mini(image_scale=scale).roi_heads, pooler)(maps, [Boxes(boxes)])[:, 0, 3, 3].round().tolist()

    sides = torch.tensor([8.0, 27, 29, 55, 57, 111, 113, 223, 225, 400])
    boxes = torch.stack([torch.zeros_like(sides), torch.zeros_like(sides), sides, sides], dim=1)
    expected = [2, 2, 2, 2, 3, 3, 4, 4, 5, 5]  # 112 pixels: the canonical size, from P4 on
    assert levels(1.0, boxes) == expected
    assert levels(0.5, boxes / 2) == expected


def test_scale_changes_no_weight():
    full, low = (mini(image_scale=scale).state_dict() for scale in (1.0, 0.5))
    assert full.keys() == low.keys()
    assert all(torch.equal(low[name], full[name]) for name in full if "anchor" not in name)


# --- the way in for any detectron2 project ---------------------------------------------------------------------------


def fresh_config(interpolator, **changes):
    """Return a detectron2 user's config of an FPN, with detectron2's own (small) ResNet, and our lines."""
    cfg = get_cfg()
    afigan.add_afigan_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.AFIGAN.INTERPOLATOR = interpolator
    cfg.merge_from_list([part for item in changes.items() for part in (item[0].replace("__", "."), item[1])])
    return cfg


def rcnn_config(interpolator):
    return fresh_config(
        interpolator,
        MODEL__META_ARCHITECTURE="GeneralizedRCNN",
        MODEL__BACKBONE__NAME="build_afigan_fpn_backbone",
        MODEL__FPN__IN_FEATURES=["res2", "res3", "res4", "res5"],
        MODEL__ANCHOR_GENERATOR__SIZES=[[32], [64], [128], [256], [512]],
        MODEL__RPN__IN_FEATURES=["p2", "p3", "p4", "p5", "p6"],
        MODEL__ROI_HEADS__NAME="StandardROIHeads",
        MODEL__ROI_HEADS__IN_FEATURES=["p2", "p3", "p4", "p5"],
        MODEL__ROI_BOX_HEAD__NAME="FastRCNNConvFCHead",
        MODEL__ROI_BOX_HEAD__NUM_FC=1,
        MODEL__ROI_BOX_HEAD__FC_DIM=32,
        MODEL__ROI_BOX_HEAD__POOLER_RESOLUTION=7,
    )


def retinanet_config(interpolator):
    return fresh_config(
        interpolator,
        MODEL__META_ARCHITECTURE="RetinaNet",
        MODEL__BACKBONE__NAME="build_afigan_retinanet_fpn_backbone",
        MODEL__FPN__IN_FEATURES=["res3", "res4", "res5"],
        MODEL__ANCHOR_GENERATOR__SIZES=[[32], [64], [128], [256], [512]],
    )


@pytest.mark.parametrize("interpolator", ["afi", "deconv"])
@pytest.mark.parametrize(
    ("config", "levels"),
    [(rcnn_config, ["p2", "p3", "p4", "p5", "p6"]), (retinanet_config, ["p3", "p4", "p5", "p6", "p7"])],
    ids=["GeneralizedRCNN", "RetinaNet"],
)
def test_any_detectron2_project(config, levels, interpolator):
    model = build_model(config(interpolator))
    pyramid = model.backbone
    assert isinstance(pyramid, InterpolatedFPN)
    assert len(pyramid.upsample) == (1 if interpolator == "afi" else len(pyramid.in_features) - 1)
    assert list(pyramid.output_shape()) == levels
    with EventStorage():
        losses = model([sample(classes=80, masks=False)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None for p in pyramid.upsample.parameters())
    with torch.no_grad():
        assert "instances" in model.eval()([{"image": sample()["image"]}])[0]


def test_defaults_give_the_method_of_the_paper():
    pyramid = build_model(rcnn_config("afi")).backbone
    assert type(pyramid.upsample[0]).__name__ == "AFInterpolator" and len(pyramid.upsample[0].blocks) == 3
    assert pyramid.upsampling == "per_level"


def test_a_backbone_of_ours_in_any_detectron2_project():
    cfg = rcnn_config("nearest")
    cfg.merge_from_list(["MODEL.AFIGAN.BACKBONE", "timm/test_resnet", "MODEL.AFIGAN.NORM", "BN"])
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    pyramid = build_model(cfg).backbone
    assert any(isinstance(m, nn.BatchNorm2d) for m in pyramid.bottom_up.modules())
    assert pyramid(torch.randn(1, 3, 64, 64))["p2"].shape == (1, 16, 16, 16)


@pytest.mark.parametrize("channels", [32, 256])
def test_retinanets_signal_does_not_depend_on_its_width(channels):
    torch.manual_seed(0)
    head = mini(head="retinanet", model=MINI.model_copy(update={"channels": channels})).head
    with torch.no_grad():
        out = head.cls_subnet(torch.randn(2, channels, 24, 24))
    # four layers multiply the deviation by about 0.01 sqrt(9 * 256 / 2), the ReLUs included
    assert 0.6 < float(out.square().mean().sqrt()) / (0.01 * (9 * 256 / 2) ** 0.5) ** 4 < 1.6
    if channels == 256:
        assert float(head.cls_subnet[0].weight.std()) == pytest.approx(0.01, rel=0.01)


def test_retinanets_normaliser_is_detectron2s_and_survives():
    """Its losses are detectron2's, step by step; the running mean is a buffer in the checkpoints."""
    ours, theirs = mini(head="retinanet").train(), mini(head="retinanet").train()
    theirs._ema_update = types.MethodType(RetinaNet._ema_update, theirs)
    with EventStorage(0):
        for seed in range(3):
            torch.manual_seed(seed)
            batch = [sample(masks=False), sample(masks=False)]
            losses, expected = ours(batch), theirs(batch)
            assert {k: v.item() for k, v in losses.items()} == pytest.approx({k: v.item() for k, v in expected.items()})
    assert dict(ours.named_buffers())["normalizer"].item() == pytest.approx(theirs.loss_normalizer)
    assert "normalizer" not in ours.state_dict()


@pytest.mark.parametrize("pyramid", ["fpn", "pafpn", "bifpn"])
@pytest.mark.parametrize("head", ["cascade_mask_rcnn", "retinanet", "centermask"])
def test_parameters_know_the_levels_that_a_detector_will_have(head, pyramid):
    values = composed("smoke")
    values["figures"]["level"] = "p3"
    values["model"] |= {"head": head, "pyramid": pyramid}
    values["experiments"]["evaluations"]["student"]["multi_scale"] = False  # which works only with the R-CNN family
    params = check_params(values)
    detector = build_detector(Architecture.of(Lineage(params)["detectors/a1"], 3))
    assert Lineage(params)["detectors/a1"].interpolated_levels == detector.backbone.interpolated_levels
