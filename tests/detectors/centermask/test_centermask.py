"""CenterMask: RoI levels, attention and mask scores against loops, targets of training, and that it learns."""

import math

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, build_model, build_resnet_backbone
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead, mask_rcnn_loss
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from hypothesis import given
from hypothesis import strategies as st
from tiny_detectors import C, config, rectangle, sample, tiny, without_truth
from torch import nn
from torch.nn import functional as F
from torchvision.ops import roi_align

import afigan
from afigan.detectors.centermask.heads import add_centermask_config
from afigan.detectors.centermask.mask_scoring import MaskIoUHead, mask_areas, mask_iou, mask_iou_loss
from afigan.detectors.centermask.spatial_attention import SpatialAttention, SpatialAttentionMaskHead
from afigan.detectors.roi_pooling import AdaptiveROIPooler, roi_levels
from afigan.pyramids.fpn import InterpolatedFPN

TWO = [(8, 8, 56, 64), (72, 24, 112, 88)]


@pytest.fixture(autouse=True)
def storage():
    """detectron2's samplers report to one."""
    with EventStorage():
        yield


def detector(**changes):
    return tiny(masks=True, **changes)


# --- RoI levels ------------------------------------------------------------------------------------------------------


@given(
    height=st.integers(32, 2000),
    width=st.integers(32, 2000),
    share=st.one_of(st.floats(1e-6, 1.0), st.sampled_from([1.0, 0.5, 0.25, 0.125, 0.0])),
    k_max=st.sampled_from([5, 7]),
)
def test_roi_level_against_the_formula(height, width, share, k_max):
    area = np.float32(share * height * width)
    if area > 0:
        level = math.ceil(k_max - np.log2(np.float32(height * width) / area))
        expected = min(max(level, 3), k_max)
    else:
        expected = 3
    found = roi_levels(torch.tensor([float(area)]), torch.tensor([float(height * width)]), 3, k_max)
    assert found.tolist() == [expected]


def test_roi_levels_by_hand():
    """More than half of the image: P5; more than a quarter: P4; the rest: P3."""
    areas = torch.tensor([100.0, 51.0, 50.0, 26.0, 25.0, 3.0])
    assert roi_levels(areas, torch.full((6,), 100.0), 3, 5).tolist() == [5, 5, 4, 4, 3, 3]


def test_pooling_against_one_roi_at_a_time():
    """Two images of different sizes: a box of one image and its twin in the other are pooled from different levels."""
    torch.manual_seed(0)
    maps = [torch.randn(2, 4, 128 // s, 128 // s) for s in (8, 16, 32)]
    sizes = [(128, 128), (64, 64)]
    boxes = [
        torch.tensor([[0.0, 0.0, 128.0, 120.0], [10.0, 20.0, 60.0, 60.0], [0.0, 0.0, 90.0, 80.0]]),
        torch.tensor([[10.0, 20.0, 60.0, 60.0], [1.0, 2.0, 64.0, 62.0]]),
    ]
    pooler = AdaptiveROIPooler(
        output_size=14, scales=[1 / 8, 1 / 16, 1 / 32], sampling_ratio=0, pooler_type="ROIAlignV2"
    )
    pooled = pooler(maps, [Boxes(b) for b in boxes], sizes)
    levels, expected = [], []
    for n, (size, own) in enumerate(zip(sizes, boxes, strict=True)):
        for x0, y0, x1, y1 in own.tolist():
            share = (x1 - x0) * (y1 - y0) / (size[0] * size[1])
            levels.append(5 if share > 0.5 else 4 if share > 0.25 else 3)
            x, stride = maps[levels[-1] - 3], 2 ** levels[-1]
            roi = torch.tensor([[n, x0, y0, x1, y1]])
            expected.append(roi_align(x, roi, 14, spatial_scale=1 / stride, aligned=True))
    assert levels == [5, 3, 4, 4, 5]
    torch.testing.assert_close(pooled, torch.cat(expected))
    none = pooler(maps, [Boxes(torch.zeros(0, 4))] * 2, sizes)
    assert none.shape == (0, 4, 14, 14)


def test_pooling_is_exact_on_half_precision_maps():
    """Coordinates in bfloat16 would be multiples of 4 px at 1000 px."""
    ramp = torch.arange(160).float().expand(1, 1, 160, 160)
    pooler = AdaptiveROIPooler(output_size=1, scales=[1 / 8], sampling_ratio=1, pooler_type="ROIAlignV2")
    pooled = pooler([ramp.bfloat16()], [Boxes(torch.tensor([[1000.0, 1000.0, 1002.0, 1002.0]]))], [(1280, 1280)])
    assert pooled.dtype == torch.float32
    assert pooled.item() == pytest.approx(1001 / 8 - 0.5, abs=1e-3)


# --- the mask head ---------------------------------------------------------------------------------------------------


def test_attention_against_a_loop():
    attention, x = SpatialAttention(), torch.randn(2, 5, 4, 6)
    weights, bias = attention.conv.weight.detach().numpy()[0], attention.conv.bias.item()
    values = x.numpy()
    expected = np.zeros_like(values)
    for n in range(2):
        for row in range(4):
            for column in range(6):
                total = bias
                for i in range(3):
                    for j in range(3):
                        y, z = row + i - 1, column + j - 1
                        if 0 <= y < 4 and 0 <= z < 6:
                            total += weights[0, i, j] * values[n, :, y, z].mean()
                            total += weights[1, i, j] * values[n, :, y, z].max()
                expected[n, :, row, column] = values[n, :, row, column] / (1 + math.exp(-total))
    torch.testing.assert_close(attention(x), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def mask_heads():
    """Return our mask head, and Mask R-CNN's with the same weights."""
    cfg, shape = config(masks=True), ShapeSpec(channels=C, height=14, width=14)
    ours, theirs = SpatialAttentionMaskHead(cfg, shape), MaskRCNNConvUpsampleHead(cfg, shape)
    nn.init.normal_(ours.predictor.weight)  # as it is, its logits hardly differ
    loaded = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not loaded.missing_keys and set(loaded.unexpected_keys) == {"attention.conv.weight", "attention.conv.bias"}
    return ours, theirs


def test_open_attention_leaves_mask_rcnns_head():
    ours, theirs = mask_heads()
    x = torch.randn(3, C, 14, 14)
    assert not torch.allclose(ours.layers(x), theirs.layers(x))
    nn.init.zeros_(ours.attention.conv.weight)
    nn.init.constant_(ours.attention.conv.bias, 100.0)
    torch.testing.assert_close(ours.layers(x), theirs.layers(x))
    assert ours.layers(x).shape == (3, 3, 28, 28)


def test_attention_weighs_what_the_deconvolution_sees():
    ours, theirs = mask_heads()
    x = torch.randn(3, C, 14, 14)
    seen = []
    ours.deconv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    ours.layers(x)
    for conv in theirs.conv_norm_relus:
        x = conv(x)
    torch.testing.assert_close(seen[0], ours.attention(x))


# --- the MaskIoU head ------------------------------------------------------------------------------------------------


def test_maskiou_head_by_parts():
    head = MaskIoUHead(channels=C, resolution=14, num_classes=3, conv_dim=8, fc_dim=20)
    features, masks = torch.randn(4, C, 14, 14), torch.rand(4, 1, 28, 28)
    x = torch.cat([features, masks.reshape(4, 1, 14, 2, 14, 2).amax(dim=(3, 5))], dim=1)
    for conv, stride in zip(head.convs, (1, 1, 1, 2), strict=True):
        x = F.conv2d(x, conv.weight, conv.bias, stride=stride, padding=1).clamp(min=0)
    assert x.shape == (4, 8, 7, 7)
    x = x.reshape(4, -1)
    for fc in head.fcs:
        x = (x @ fc.weight.T + fc.bias).clamp(min=0)
    torch.testing.assert_close(head(features, masks), x @ head.predictor.weight.T + head.predictor.bias)


def test_maskiou_head_starts_as_in_the_reference():
    """Normal deviates of variance 2 / fan-out in convolutions and hidden layers, no bias; the last layer's are 0.01."""
    torch.manual_seed(0)
    head = MaskIoUHead(channels=64, resolution=14, num_classes=80, conv_dim=64, fc_dim=512)
    for layer in [*head.convs, *head.fcs]:
        fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
        kurtosis = (layer.weight**4).mean() / (layer.weight**2).mean() ** 2
        assert kurtosis.item() == pytest.approx(3, abs=0.15)  # 1.8 of a uniform distribution
        assert not layer.bias.any()
    assert head.predictor.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_maskiou_loss_by_hand():
    """The two masks that miss their objects do not count, whatever is predicted of them."""
    predicted = torch.tensor([0.9, 0.4, 7.0, -0.1], requires_grad=True)
    loss = mask_iou_loss(predicted, torch.tensor([0.5, 0.8, 0.0, 0.0]))
    assert loss.item() == pytest.approx((0.5 * 0.16 + 0.5 * 0.16) / 2)
    loss.backward()
    torch.testing.assert_close(predicted.grad, torch.tensor([0.2, -0.2, 0.0, 0.0]))  # d / 2 RoIs


@pytest.mark.parametrize("count", [0, 3])
def test_masks_that_all_miss_their_objects_have_no_loss_but_a_gradient(count):
    predicted = torch.full((count,), 0.7, requires_grad=True)
    loss = mask_iou_loss(predicted, torch.zeros(count))
    loss.backward()
    assert loss.item() == 0 and torch.equal(predicted.grad, torch.zeros(count))


grids = st.lists(st.booleans(), min_size=16, max_size=16)


@given(predicted=grids, inside=grids, outside=st.integers(0, 20))
def test_mask_iou_against_sets(predicted, inside, outside):
    """The object has cells inside the RoI, and `outside` more."""
    mask = {i for i, on in enumerate(predicted) if on}
    thing = {i for i, on in enumerate(inside) if on} | {100 + i for i in range(outside)}
    expected = len(mask & thing) / len(mask | thing) if mask | thing else 0.0
    as_grid = [torch.tensor(grid).reshape(1, 4, 4) for grid in (predicted, inside)]
    found = mask_iou(*as_grid, torch.tensor([float(len(thing))]))
    assert found.tolist() == pytest.approx([expected])


def test_an_object_is_not_smaller_than_its_part_in_the_roi():
    full = torch.ones(1, 4, 4, dtype=torch.bool)
    assert mask_iou(full, full, torch.tensor([15.0])).tolist() == [1.0]


def bitmasks(boxes, size=(96, 128)):
    tensor = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(tensor, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return BitMasks(tensor)


def test_mask_areas():
    """Rectangles, a triangle of half its box, and two parts of one object."""
    expected = torch.tensor([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in TWO]).float()
    torch.testing.assert_close(mask_areas(PolygonMasks([rectangle(*box) for box in TWO]), 28), expected)
    torch.testing.assert_close(mask_areas(bitmasks(TWO), 28), expected)
    odd = PolygonMasks([[[10, 10, 66, 10, 10, 38]], rectangle(0, 0, 10, 20) + rectangle(30, 0, 40, 20)])
    torch.testing.assert_close(mask_areas(odd, 28), torch.tensor([56 * 28 / 2, 400.0]), rtol=0.06, atol=0)
    assert mask_areas(bitmasks([]), 28).shape == (0,)


# --- training --------------------------------------------------------------------------------------------------------


def proposals_at(boxes, size=(96, 128)):
    n = len(boxes)
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Instances(size, proposal_boxes=Boxes(tensor), objectness_logits=torch.zeros(n))


def test_rois_are_those_that_overlap_an_object_and_the_objects_themselves():
    heads = detector().roi_heads
    near, far = (8.0, 8.0, 56.0, 40.0), (8.0, 8.0, 56.0, 34.0)  # 32/56 and 26/56 of the first object
    other = (72.0, 30.0, 112.0, 88.0)
    item = sample(TWO, [2, 1], masks=True)
    empty = sample([], [], masks=True)
    found, none = heads.sample(
        [proposals_at([near, far, other]), proposals_at([near])], [item["instances"], empty["instances"]]
    )
    assert len(none) == 0
    learned = {
        tuple(box): (label, tuple(truth))
        for box, label, truth in zip(
            found.proposal_boxes.tensor.tolist(),
            found.gt_classes.tolist(),
            found.gt_boxes.tensor.tolist(),
            strict=True,
        )
    }
    first, second = (tuple(map(float, box)) for box in TWO)
    assert learned == {near: (2, first), first: (2, first), other: (1, second), second: (1, second)}
    for box, area, masks in zip(found.gt_boxes, found.gt_areas, found.gt_masks, strict=True):
        assert area == pytest.approx(Boxes(box[None]).area().item())
        assert torch.equal(PolygonMasks([masks]).get_bounding_boxes().tensor[0], box)


def test_rois_are_limited_as_in_mask_rcnn():
    item = sample(TWO, [0, 1], masks=True)
    heads = detector(MODEL__ROI_HEADS__BATCH_SIZE_PER_IMAGE=24).roi_heads  # of which a quarter has objects
    found = heads.sample([proposals_at([TWO[0]] * 50)], [item["instances"]])
    assert len(found[0]) == 6


class Fixed(nn.Module):
    """A module that returns its constructor's argument."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, *inputs):
        self.inputs = inputs
        return self.value

    layers = forward


def with_fixed_heads(logits, ious):
    heads = detector().roi_heads
    heads.mask_head, heads.maskiou_head = Fixed(logits), Fixed(ious)
    return heads


def features(n=1):
    return {name: torch.randn(n, C, 128 // s, 128 // s) for name, s in {"p3": 8, "p4": 16, "p5": 32}.items()}


@pytest.mark.parametrize("kind", ["polygons", "bitmasks"])
def test_losses_against_detectron2s_and_a_loop(kind):
    """Four RoIs in two images, some of which hold only a part of their object."""
    torch.manual_seed(0)
    images = [
        ([(8, 8, 56, 64), (8, 8, 56, 36), (72, 24, 112, 88)], [0, 0, 1]),  # all, half of and all of its objects
        ([(20, 0, 60, 64)], [0]),  # 36 of 48 columns of the object, and 4 more
    ]
    item = sample(TWO, [2, 1])["instances"]
    masks = PolygonMasks([rectangle(*box) for box in TWO]) if kind == "polygons" else bitmasks(TWO)
    positives = []
    for boxes, objects in images:
        rois = Instances((96, 128), proposal_boxes=Boxes(torch.tensor(boxes).float()))
        index = torch.tensor(objects)
        rois.gt_classes, rois.gt_masks = item.gt_classes[index], masks[index]
        rois.gt_areas = item.gt_boxes.area()[index]
        positives.append(rois)
    logits, ious = torch.randn(4, 3, 28, 28), torch.rand(4, 3)
    heads = with_fixed_heads(logits, ious)
    losses = heads.losses(features(2), positives)
    torch.testing.assert_close(losses["loss_mask"], mask_rcnn_loss(logits, positives))
    errors = []
    boxes = [(box, obj) for own, objects in images for box, obj in zip(own, objects, strict=True)]
    for n, ((x0, y0, x1, y1), obj) in enumerate(boxes):
        a0, b0, a1, b1 = TWO[obj]
        label = [2, 1][obj]
        width, height = (x1 - x0) / 28, (y1 - y0) / 28
        overlap = area = 0.0
        for row in range(28):
            for column in range(28):
                if logits[n, label, row, column] > 0:
                    x, y = x0 + (column + 0.5) * width, y0 + (row + 0.5) * height
                    area += width * height
                    overlap += width * height * (a0 < x < a1 and b0 < y < b1)
        target = overlap / (area + (a1 - a0) * (b1 - b0) - overlap)
        errors.append(0.5 * (ious[n, label].item() - target) ** 2)
    assert losses["loss_maskiou"].item() == pytest.approx(sum(errors) / 4, rel=0.02)
    sent_features, sent_masks = heads.maskiou_head.inputs
    labels = torch.cat([rois.gt_classes for rois in positives])
    torch.testing.assert_close(sent_masks[:, 0], torch.stack([logits[n, k].sigmoid() for n, k in enumerate(labels)]))
    assert sent_features.shape == (4, C, 14, 14)


def test_a_perfect_mask_of_half_an_object_has_half_its_iou():
    rois = Instances((96, 128), proposal_boxes=Boxes(torch.tensor([[8.0, 8.0, 56.0, 36.0]])))
    rois.gt_classes, rois.gt_masks = torch.tensor([1]), PolygonMasks([rectangle(*TWO[0])])
    rois.gt_areas = mask_areas(rois.gt_masks, 28)
    heads = with_fixed_heads(torch.full((1, 3, 28, 28), 9.0), torch.zeros(1, 3))
    assert heads.losses(features(), [rois])["loss_maskiou"].item() == pytest.approx(0.5 * 0.5**2)


def test_a_detector_gives_five_losses_and_gradients_to_all():
    model = detector()
    batch = [sample(TWO, [0, 2], masks=True), sample([], [], masks=True)]
    losses = model(batch)
    assert set(losses) == {
        "loss_mask",
        "loss_maskiou",
        "loss_fcos_cls",
        "loss_fcos_box",
        "loss_fcos_centerness",
    }
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    nn.init.normal_(model.roi_heads.mask_head.predictor.weight)  # at first next to nothing passes it
    sum(model(batch).values()).backward()
    for name, parameter in model.roi_heads.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_no_gradient_flows_through_boxes():
    """A mask's loss must not move the box that it is drawn in."""
    model = detector()
    batch = [sample(TWO, [0, 2], masks=True)]
    losses = model(batch)
    (losses["loss_mask"] + losses["loss_maskiou"]).backward()
    assert all(p.grad is None for p in model.proposal_generator.parameters())
    assert all(p.grad is not None for p in model.backbone.convs[:3].parameters())


def test_proposals_in_training_are_the_detections():
    """Found on the training image, with the limits of the test."""
    model = detector()
    model.proposal_generator.max_detections_per_image = 7
    batch = [sample(TWO, [0, 2], masks=True), sample([(30, 20, 90, 80)], [1], masks=True, seed=3)]
    images = model.preprocess_image(batch)
    maps = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, maps, [item["instances"] for item in batch])
    detections, losses = model.eval().proposal_generator(images, maps)
    assert losses == {}
    for given_, expected in zip(proposals, detections, strict=True):
        assert len(given_) == 7 and not given_.proposal_boxes.tensor.requires_grad
        assert torch.equal(given_.proposal_boxes.tensor, expected.pred_boxes.tensor)
        torch.testing.assert_close(given_.objectness_logits.sigmoid(), expected.scores)


def test_fcos_alone_does_not_detect_in_training(monkeypatch):
    model = tiny()
    monkeypatch.setattr(model.proposal_generator, "detect", None)
    model([sample(TWO, [0, 2])])


@pytest.mark.parametrize("boxes", [[], TWO])
def test_images_without_objects(boxes):
    """Alone in a batch, or beside others."""
    model = detector()
    losses = model([sample([], [], masks=True), sample(boxes, list(range(len(boxes))), masks=True)])
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert (losses["loss_mask"] == 0) == (losses["loss_maskiou"] == 0) == (not boxes)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_boxes_without_masks_are_refused():
    with pytest.raises(ValueError, match="these objects have only boxes: train FCOS instead"):
        detector()([sample(TWO, [0, 2], masks=False)])


def test_classes_must_agree():
    with pytest.raises(ValueError, match=r"FCOS.NUM_CLASSES 3 and MODEL.ROI_HEADS.NUM_CLASSES 7 differ"):
        build_model(config(masks=True, MODEL__ROI_HEADS__NUM_CLASSES=7))


def test_the_callers_instances_do_not_change():
    item = sample(TWO, [0, 2], masks=True)
    model = detector()
    images = model.preprocess_image([item])
    maps = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, maps, [item["instances"]])
    model.roi_heads(images, maps, proposals, [item["instances"]])
    assert set(item["instances"].get_fields()) == {"gt_boxes", "gt_classes", "gt_masks"}
    assert len(item["instances"]) == 2


# --- detections ------------------------------------------------------------------------------------------------------


def found_at(boxes, classes, scores, size=(96, 128)):
    return Instances(
        size,
        pred_boxes=Boxes(torch.tensor(boxes).float()),
        pred_classes=torch.tensor(classes),
        scores=torch.tensor(scores),
    )


def test_a_masks_score_is_its_boxs_score_times_its_iou():
    ious = torch.tensor([[0.1, 0.5, 0.9], [0.2, 0.6, 0.8], [0.3, 1.4, -0.2]])
    logits = torch.randn(3, 3, 28, 28)
    heads = with_fixed_heads(logits, ious).eval()
    instances = [found_at(TWO, [2, 0], [0.5, 0.4]), found_at([TWO[1]], [1], [0.3])]
    first, second = heads.forward_with_given_boxes(features(2), instances)
    assert first.mask_scores.tolist() == pytest.approx([0.5 * 0.9, 0.4 * 0.2])
    assert second.mask_scores.tolist() == pytest.approx([0.3])  # an IoU is at most 1
    assert first.scores.tolist() == pytest.approx([0.5, 0.4])
    torch.testing.assert_close(first.pred_masks, torch.stack([logits[0, 2:3], logits[1, :1]]).sigmoid())
    torch.testing.assert_close(second.pred_masks, logits[2:, 1:2].sigmoid())
    assert torch.equal(heads.maskiou_head.inputs[1], torch.cat([first.pred_masks, second.pred_masks]))


def test_boxes_are_those_of_fcos():
    model, alone = detector().eval(), tiny().eval()
    alone.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("roi_heads")})
    items = [without_truth(sample(TWO, [0, 2], seed=n)) for n in range(2)]
    for ours, expected in zip(model(items), alone(items), strict=True):
        ours, expected = ours["instances"], expected["instances"]
        assert len(ours) > 0 and torch.equal(ours.pred_boxes.tensor, expected.pred_boxes.tensor)
        assert torch.equal(ours.scores, expected.scores)
        assert ours.pred_masks.shape == (len(ours), 96, 128) and ours.pred_masks.dtype == torch.bool
        assert ours.mask_scores.shape == ours.scores.shape


def test_a_batch_gives_the_results_of_single_images():
    model = detector().eval()
    items = [without_truth(sample(TWO, [0, n], seed=n)) for n in range(3)]
    for item, expected in zip(items, model(items), strict=True):
        found, expected = model([item])[0]["instances"], expected["instances"]
        assert len(found) == len(expected) > 0
        torch.testing.assert_close(found.mask_scores, expected.mask_scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-4, atol=1e-3)


def test_no_detections_are_a_valid_result():
    model = detector().eval()
    model.proposal_generator.test_score_thresh = 0.99
    found = model([without_truth(sample(TWO, [0, 2]))])[0]["instances"]
    assert len(found) == 0 and found.has("pred_masks") and found.has("mask_scores")


# --- size ------------------------------------------------------------------------------------------------------------


@BACKBONE_REGISTRY.register()
def fpn_with_p6_from_p5(cfg, input_shape):
    """The pyramid of FCOS's and CenterMask's papers."""
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    return InterpolatedFPN(
        bottom_up=build_resnet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=channels,
        interpolator=cfg.MODEL.AFIGAN.INTERPOLATOR,
        top_block=LastLevelP6P7(channels, channels, "p5"),
    )


@pytest.mark.parametrize(("interpolator", "millions"), [("nearest", 51), ("afi", 59)])
def test_parameters_at_paper_scale(interpolator, millions):
    """With ResNet-50, 256 channels and 80 classes."""
    cfg = get_cfg()
    afigan.add_afigan_config(cfg)
    add_centermask_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "fpn_with_p6_from_p5"
    cfg.MODEL.AFIGAN.INTERPOLATOR = interpolator
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.PROPOSAL_GENERATOR.NAME, cfg.MODEL.ROI_HEADS.NAME = "FCOSProposals", "CenterMaskHeads"
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 4
    cfg.MODEL.MASK_ON = True
    model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=1.5)


# --- it learns -------------------------------------------------------------------------------------------------------


def test_masks_of_two_images_are_learned():
    """Ellipses, so that a mask is not its box."""
    batch = [sample(TWO, [0, 2], seed=1), sample([(40, 16, 104, 72)], [1], seed=2)]
    rows, columns = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    for item in batch:
        masks = []
        for x0, y0, x1, y1 in item["instances"].gt_boxes.tensor.tolist():
            x, y = (columns - (x0 + x1) / 2) / (x1 - x0) * 2, (rows - (y0 + y1) / 2) / (y1 - y0) * 2
            masks.append(x**2 + y**2 < 1)
        item["instances"].gt_masks = BitMasks(torch.stack(masks))
        item["image"][:, ~torch.stack(masks).any(dim=0)] = 110
    model = detector(TEST__DETECTIONS_PER_IMAGE=20)  # also what it learns on
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    for _ in range(60):
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        optimizer.step()
    for item, output in zip(batch, model.eval()([without_truth(item) for item in batch]), strict=True):
        found, truth = output["instances"], item["instances"]
        for mask, label in zip(truth.gt_masks.tensor, truth.gt_classes.tolist(), strict=True):
            best = found[found.pred_classes == label]
            iou = (best.pred_masks[0] & mask).sum() / (best.pred_masks[0] | mask).sum()
            assert iou > 0.7
            assert (best.mask_scores[0] / best.scores[0]).item() == pytest.approx(iou.item(), abs=0.2)
