"""detectron2 as an oracle: its own models, built from its own configs, equal ours with nearest interpolation.

The configs here are those of detectron2's model zoo (Base-RCNN-FPN, Base-RetinaNet and what extends them), with a
smaller ResNet and narrower heads. detectron2's FPN alone is in tests/pyramids/test_fpn.py.
"""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.modeling import GeneralizedRCNNWithTTA, build_model
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from PIL import Image

from afigan.detectors import Architecture, build_detector, heads
from afigan.detectors.build import set_test_limits
from afigan.evaluation.predict import multi_scale_detector, predict, whole_input
from afigan.params.experiments import BackboneExperiment
from afigan.params.schema import Evaluate, Model

CLASSES, CHANNELS, WIDTH = 3, 16, 32
SCORE, DETECTIONS = 0.05, 60
HEADS = ["faster_rcnn", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn", "retinanet"]
R_CNN = HEADS[:-1]


def oracle_config(head):
    """Return the config of a model of detectron2's zoo."""
    cfg = get_cfg()
    rcnn = head != "retinanet"
    cascade = head.startswith("cascade")
    changes = {
        "MODEL.DEVICE": "cpu",
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
        "MODEL.RESNETS.OUT_FEATURES": [f"res{n}" for n in ((2, 3, 4, 5) if rcnn else (3, 4, 5))],
        "MODEL.FPN.IN_FEATURES": [f"res{n}" for n in ((2, 3, 4, 5) if rcnn else (3, 4, 5))],
        "MODEL.FPN.OUT_CHANNELS": CHANNELS,
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
        "TEST.DETECTIONS_PER_IMAGE": DETECTIONS,
    }
    if rcnn:
        changes |= {
            "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
            "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
            "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
            "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
            "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
            "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
            "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000 if cascade else 1000,
            "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
            "MODEL.ROI_HEADS.NAME": "CascadeROIHeads" if cascade else "StandardROIHeads",
            "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
            "MODEL.ROI_HEADS.NUM_CLASSES": CLASSES,
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST": SCORE,
            "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
            "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
            "MODEL.ROI_BOX_HEAD.FC_DIM": WIDTH,
            "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": cascade,
            "MODEL.MASK_ON": heads.HEADS[head].masks,
            "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
            "MODEL.ROI_MASK_HEAD.NUM_CONV": 4,
            "MODEL.ROI_MASK_HEAD.CONV_DIM": WIDTH,
            "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
        }
    else:
        changes |= {
            "MODEL.META_ARCHITECTURE": "RetinaNet",
            "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
            "MODEL.ANCHOR_GENERATOR.SIZES": [
                [size, size * 2 ** (1 / 3), size * 2 ** (2 / 3)] for size in (32, 64, 128, 256, 512)
            ],
            "MODEL.RETINANET.NUM_CLASSES": CLASSES,
            "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": 0.0,
            "MODEL.RETINANET.SCORE_THRESH_TEST": SCORE,
        }
    cfg.merge_from_list([part for item in changes.items() for part in item])
    return cfg


def architecture(head):
    """Return the same model in our words: `Model` has the zoo's sizes by default."""
    roi_heads = {"fc_dim": WIDTH, "mask_dim": WIDTH}
    sizes = [32.0, 64.0, 128.0, 256.0, 512.0]
    model = Model(channels=CHANNELS, anchor_sizes=sizes, roi_heads=roi_heads)
    return Architecture(
        model, BackboneExperiment(name="resnet18", freeze_at=2), CLASSES, head=head, interpolator="nearest"
    )


def spread(detector):
    """Scale the predictors' weights in one pass, so that detections differ in place, score and class."""
    deviations = {"cls_score": 2.0, "objectness_logits": 2.0, "predictor": 2.0, "bbox_pred": 0.5, "anchor_deltas": 0.5}
    layers = {
        m: deviations[name.split(".")[-1]] for name, m in detector.named_modules() if name.split(".")[-1] in deviations
    }

    def scale(layer, inputs, output):
        """Centre the output's channels and set their deviation, only once: RetinaNet's head sees every level."""
        if deviation := layers.pop(layer, None):
            with torch.no_grad():
                mean = output.transpose(0, 1).flatten(1).mean(dim=1)
                centred = output - mean.reshape(1, -1, *[1] * (output.ndim - 2))
                factor = deviation / centred.std()
                layer.weight.mul_(factor)
                layer.bias.sub_(mean).mul_(factor)
            return centred * factor

    hooks = [layer.register_forward_hook(scale) for layer in layers]
    detector.eval()(batch(False))
    for hook in hooks:
        hook.remove()
    assert not layers


def both(head):
    """Build detectron2's model and ours with its weights."""
    torch.manual_seed(0)
    theirs = build_model(oracle_config(head))
    with torch.no_grad():
        for name, value in theirs.backbone.bottom_up.state_dict().items():
            if name.endswith("norm.weight"):
                value.mul_(0.7)  # residual blocks without real statistics double the signal
        spread(theirs)
    ours = build_detector(architecture(head))
    ours.load_state_dict(theirs.state_dict())  # strict: the names are detectron2's
    set_test_limits(ours, SCORE, DETECTIONS)
    return theirs, ours


def batch(masks):
    """Return two training samples of different sizes; the second has one object."""
    generator = torch.Generator().manual_seed(1)
    items = []
    for (height, width), number in (((120, 160), 3), ((150, 101), 1)):
        size = torch.tensor([width, height])
        sides = size * (0.2 + 0.5 * torch.rand(number, 2, generator=generator))
        corner = (size - sides) * torch.rand(number, 2, generator=generator)
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(torch.cat([corner, corner + sides], dim=1))
        instances.gt_classes = torch.randint(0, CLASSES, (number,), generator=generator)
        if masks:
            corners = instances.gt_boxes.tensor.double().tolist()
            instances.gt_masks = PolygonMasks([[[a, b, c, b, c, d, a, d]] for a, b, c, d in corners])
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
        items.append({"image": image, "instances": instances, "height": 2 * height, "width": 2 * width})
    return items


@pytest.mark.parametrize("head", HEADS)
def test_losses_and_gradients_equal_detectron2s(head):
    found = []
    for detector in both(head):
        torch.manual_seed(2)  # of the sampling of anchors and RoIs
        with EventStorage(0):
            losses = detector.train()(batch(heads.HEADS[head].masks))
        sum(losses.values()).backward()
        gradients = {name: p.grad for name, p in detector.named_parameters() if p.grad is not None}
        found.append(({name: loss.item() for name, loss in losses.items()}, gradients))
    (expected, their_gradients), (losses, gradients) = found
    assert losses == pytest.approx(expected, rel=1e-6, abs=1e-9) and all(expected.values())
    assert gradients.keys() == their_gradients.keys()
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-6, atol=1e-6 * float(gradient.abs().max()))


def test_a_second_iteration_of_retinanet_equals_detectron2s():
    """The running normaliser of its losses too."""
    found = []
    for detector in both("retinanet"):
        with EventStorage(0):
            losses = [detector.train()(batch(False)[:number]) for number in (2, 1)]
        found.append([{name: loss.item() for name, loss in one.items()} for one in losses])
    assert found[1] == [pytest.approx(one, rel=1e-6) for one in found[0]] and found[0][0] != found[0][1]


@pytest.mark.parametrize("head", HEADS)
def test_detections_equal_detectron2s_bit_for_bit(head):
    theirs, ours = both(head)
    inputs = [{key: value for key, value in item.items() if key != "instances"} for item in batch(False)]
    with torch.no_grad():
        expected, found = (detector.eval()(inputs) for detector in (theirs, ours))
    for one, other in zip(found, expected, strict=True):
        one, other = one["instances"], other["instances"]
        assert len(one) == len(other) > 3 and one.image_size == other.image_size
        assert len(other.scores.unique()) > 3 and len(other.pred_classes.unique()) > 1
        assert torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)
        assert torch.equal(one.scores, other.scores) and torch.equal(one.pred_classes, other.pred_classes)
        assert one.has("pred_masks") == other.has("pred_masks") == (heads.HEADS[head].masks)
        if heads.HEADS[head].masks:
            assert torch.equal(one.pred_masks, other.pred_masks) and 0 < other.pred_masks.float().mean() < 1


@pytest.mark.parametrize("flip", [True, False], ids=["mirrored", "plain"])
@pytest.mark.parametrize("head", R_CNN)
def test_multi_scale_testing_equals_detectron2s(tmp_path, head, flip):
    """From a file to COCO results: detectron2 reads and resizes the image by itself."""
    theirs, ours = (detector.eval() for detector in both(head))
    path = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    views = {"short_sides": [64, 96], "max_side": 128, "flip": flip}

    cfg = oracle_config(head)
    cfg.TEST.AUG.ENABLED, cfg.TEST.AUG.FLIP = True, flip
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE = (64, 96), 128
    with torch.no_grad():
        output = GeneralizedRCNNWithTTA(cfg, theirs)([{"file_name": str(path), "height": 90, "width": 130}])
    expected = instances_to_coco_json(output[0]["instances"], 7)

    settings = Evaluate(batch_size=3, score_threshold=SCORE, detections=DETECTIONS, multi_scale=views)
    split = {"images": [{"path": path, "height": 90, "width": 130, "id": 7}], "category_ids": [0, 1, 2]}
    detector = multi_scale_detector(ours, architecture(head), settings)
    found = predict(detector, split, lambda image: whole_input(image, "BGR"), batch_size=1)
    assert len(expected) > 3 and len({result["category_id"] for result in expected}) > 1
    assert ("segmentation" in expected[0]) == (heads.HEADS[head].masks)
    if not heads.HEADS[head].masks:
        assert found == expected
        return
    for one, other in zip(found, expected, strict=True):
        assert {**one, "segmentation": None} == {**other, "segmentation": None}
        assert one["segmentation"] == other["segmentation"]
