"""FCOS: targets against loops, losses by hand, detections against a slow detector, and that it learns."""

import math

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from fvcore.nn import giou_loss
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_detectors import C, config, sample, tiny, without_truth
from torch import nn
from torch.nn import functional as F

import afigan
from afigan.detectors import normalisers
from afigan.detectors.fcos.head import FCOSHead
from afigan.detectors.fcos.losses import box_loss, centerness_loss, classification_loss
from afigan.detectors.fcos.proposals import add_fcos_config
from afigan.detectors.fcos.targets import Locations, assign, centerness, decode, encode
from afigan.detectors.normalisers import mean_over_processes

STRIDES = [8, 16, 32]


def locations_of(height=96, width=128, strides=(8, 16, 32), bounds=(32, 64)):
    maps = [torch.zeros(1, 1, -(-height // s), -(-width // s)) for s in strides]
    return Locations.of(maps, strides, bounds)


def giou(a, b):
    """Compute GIoU of two boxes by the formula."""
    overlap = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return overlap / union - (hull - union) / hull


def iou(a, b):
    overlap = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def focal(logit, truth, alpha=0.25, gamma=2.0):
    p = 1 / (1 + math.exp(-logit))
    return -alpha * (1 - p) ** gamma * math.log(p) if truth else -(1 - alpha) * p**gamma * math.log(1 - p)


# --- locations and targets -------------------------------------------------------------------------------------------


def test_locations_are_the_centres_of_cells_row_by_row():
    found = locations_of(height=40, width=64, strides=(8, 32), bounds=(50,))
    expected = [
        (x * s + s / 2, y * s + s / 2) for s, h, w in [(8, 5, 8), (32, 2, 2)] for y in range(h) for x in range(w)
    ]
    assert found.points.tolist() == [list(point) for point in expected]
    assert found.strides.tolist() == [8] * 40 + [32] * 4
    assert found.sizes.tolist() == [[0, 50]] * 40 + [[50, math.inf]] * 4
    assert found.levels == [slice(0, 40), slice(40, 44)]


coordinates = st.integers(0, 128)


@settings(max_examples=150, deadline=None)
@given(
    corners=st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), max_size=6),
    bounds=st.sampled_from([(16, 32), (32, 64), (12, 20), (64, 64)]),
    radius=st.sampled_from([0.5, 1.0, 1.5, 2.5, 100.0]),
)
def test_assignment_against_a_loop(corners, bounds, radius):
    """Coordinates are integers: then sides fall on bounds, locations on rims, and floats are exact."""
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    locations = locations_of(bounds=bounds)
    found = assign(locations, Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)), radius).tolist()
    position = 0
    for level, stride in enumerate(STRIDES):
        least, greatest = (0, *bounds)[level], (*bounds, math.inf)[level]
        for row in range(96 // stride):
            for column in range(128 // stride):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                smallest = math.inf
                for x0, y0, x1, y1 in boxes:
                    inside = x0 < x < x1 and y0 < y < y1
                    central = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)) < radius * stride
                    fits = least <= max(x - x0, y - y0, x1 - x, y1 - y) <= greatest
                    if inside and central and fits:
                        smallest = min(smallest, (x1 - x0) * (y1 - y0))
                if smallest == math.inf:
                    assert found[position] == -1
                else:  # of two equally small ones, either is correct
                    x0, y0, x1, y1 = boxes[found[position]]
                    assert (x1 - x0) * (y1 - y0) == smallest and x0 < x < x1 and y0 < y < y1
                position += 1
    assert position == len(found)


@pytest.mark.parametrize(("more", "levels"), [(-0.5, {8}), (0, {8, 16}), (0.5, {16})])
def test_an_object_on_the_border_of_two_levels_belongs_to_both(more, levels):
    """Levels of strides 8 and 16 meet at 32 pixels, which is how far the left side of the object is."""
    learned = set()
    for stride, centre in ((8, 36.0), (16, 40.0)):
        locations = locations_of(bounds=(32, 64))
        here = (locations.points == centre).all(dim=1) & (locations.strides == stride)
        box = Boxes(torch.tensor([[centre - 32 - more, centre - 24, centre + 24, centre + 24]]))
        if assign(locations, box, radius=1.5)[here].tolist() == [0]:
            learned.add(stride)
    assert learned == levels


def test_encode_by_hand_and_decode_undoes_it():
    points, strides = torch.tensor([[20.0, 12.0], [48.0, 80.0]]), torch.tensor([8.0, 32.0])
    boxes = torch.tensor([[4.0, 8.0, 36.0, 28.0], [16.0, 0.0, 64.0, 96.0]])
    distances = encode(points, strides, boxes)
    assert distances.tolist() == [[2, 0.5, 2, 2], [1, 2.5, 0.5, 0.5]]
    assert torch.equal(decode(points, strides, distances), boxes)
    anything = torch.rand(50, 4) * 10
    where = torch.rand(50, 2) * 100
    torch.testing.assert_close(
        encode(where, torch.full((50,), 16.0), decode(where, torch.full((50,), 16.0), anything)), anything
    )


def test_centerness_by_hand():
    distances = torch.tensor([[3.0, 2.0, 3.0, 2.0], [1.0, 2.0, 4.0, 8.0], [2.0, 8.0, 1.0, 2.0]])
    torch.testing.assert_close(centerness(distances), torch.tensor([1.0, 0.25, math.sqrt(0.5 * 0.25)]))


# --- losses ----------------------------------------------------------------------------------------------------------


def test_classification_loss_against_the_formula():
    logits = torch.tensor([[[0.3, -1.2], [2.0, 0.1], [-0.7, -3.0]], [[1.1, 0.0], [-2.2, 0.6], [0.5, 0.4]]])
    positive = torch.tensor([[False, True, False], [True, False, True]])
    found = classification_loss(logits, positive, torch.tensor([1, 0, 1]), alpha=0.25, gamma=2.0)
    truths = {(0, 1, 1), (1, 0, 0), (1, 2, 1)}
    total = sum(
        focal(logits[n, r, k].item(), (n, r, k) in truths) for n in range(2) for r in range(3) for k in range(2)
    )
    assert found.item() == pytest.approx(total / 3, rel=1e-5)
    other = classification_loss(logits, positive, torch.tensor([1, 0, 1]), alpha=0.6, gamma=1.0)
    total = sum(
        focal(logits[n, r, k].item(), (n, r, k) in truths, 0.6, 1.0)
        for n in range(2)
        for r in range(3)
        for k in range(2)
    )
    assert other.item() == pytest.approx(total / 3, rel=1e-5)


def test_box_loss_by_hand():
    """Squares of side 2 in one of side 4: GIoU 1/4. Apart: sides 1 and 1 at the corners of a hull of 4: -1/2."""
    one = torch.ones(1, 4)
    assert box_loss(one, 2 * one).item() == pytest.approx(0.75, abs=1e-5)
    found = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
    truth = torch.tensor([[2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0]])  # the second's centerness: 1/3
    second = 1 - giou((-1, -1, 0, 0), (-1, -1, 3, 3))
    assert box_loss(found, truth).item() == pytest.approx((0.75 + second / 3) / (1 + 1 / 3), abs=1e-5)


def test_box_loss_is_fvcores_giou_in_pixels():
    points, strides = torch.rand(40, 2) * 100, torch.tensor([8.0, 16.0] * 20)
    found, truth = torch.rand(40, 4) * 4 + 0.1, torch.rand(40, 4) * 4 + 0.1
    pixels = [decode(points, strides, x) for x in (found, truth)]
    slow = [1 - giou(a, b) for a, b in zip(*(x.tolist() for x in pixels), strict=True)]
    torch.testing.assert_close(giou_loss(*pixels), torch.tensor(slow), rtol=1e-4, atol=1e-4)
    weights = centerness(truth)
    expected = (giou_loss(*pixels) * weights).sum() / weights.sum()
    torch.testing.assert_close(box_loss(found, truth), expected, rtol=1e-4, atol=1e-4)


def test_centerness_loss_against_the_formula():
    logits, truth = torch.tensor([0.7, -1.3]), torch.tensor([[1.0, 2.0, 4.0, 8.0], [1.0, 1.0, 1.0, 1.0]])
    positive = torch.tensor([[True, False, False, True]])

    def entropy(logit, target):
        p = 1 / (1 + math.exp(-logit))
        return -(target * math.log(p) + (1 - target) * math.log(1 - p))

    expected = (entropy(0.7, 0.25) + entropy(-1.3, 1.0)) / 2
    assert centerness_loss(logits, truth, positive).item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_objects():
    detector = tiny()
    losses = detector([sample([], []), sample([], [])])
    assert losses["loss_fcos_box"] == 0 and losses["loss_fcos_centerness"] == 0
    assert torch.isfinite(losses["loss_fcos_cls"]) and losses["loss_fcos_cls"] > 0
    sum(losses.values()).backward()
    # none is None: with several processes, all of them must have the same gradients to exchange
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in detector.parameters())


def test_a_nan_reaches_the_training_loop():
    """The loop has a message for it; an assertion inside a loss has none."""
    assert box_loss(torch.full((1, 4), math.nan), torch.ones(1, 4)).isnan()


def test_normalisers_are_means_over_processes(monkeypatch):
    """As seen from a process beside which another has added `others`."""

    class TwoProcesses:
        others = 3.0
        is_available = is_initialized = staticmethod(lambda: True)
        get_world_size = staticmethod(lambda: 2)

        @classmethod
        def all_reduce(cls, value):
            value += cls.others

    logits, positive, labels = torch.randn(1, 4, 2), torch.tensor([[True, False, False, False]]), torch.tensor([1])
    found, truth = torch.rand(1, 4) + 0.1, torch.rand(1, 4) + 0.1
    alone = [
        classification_loss(logits, positive, labels, alpha=0.25, gamma=2.0),
        centerness_loss(torch.ones(1), truth, positive),
        box_loss(found, truth),
    ]
    monkeypatch.setattr(normalisers, "dist", TwoProcesses)
    value = torch.tensor(5.0)
    assert mean_over_processes(value) == 4 and value == 5
    together = [
        classification_loss(logits, positive, labels, alpha=0.25, gamma=2.0),
        centerness_loss(torch.ones(1), truth, positive),
        box_loss(found, truth),
    ]
    weight = centerness(truth).item()
    for one, other, normaliser in zip(alone, together, [1, 1, weight], strict=True):
        torch.testing.assert_close(other, one * normaliser / ((normaliser + 3) / 2))


def test_losses_of_a_batch_against_a_loop():
    """Each prediction has its own target: three images, one of them empty."""
    batch = [
        sample([(8, 8, 60, 70), (40, 30, 110, 90)], [0, 2]),
        sample([], []),
        sample([(70, 5, 90, 25)], [1]),
    ]
    detector = tiny()
    generator = detector.proposal_generator
    # predictions that differ from place to place
    torch.manual_seed(1)
    for module in generator.head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.1)
    losses = {name: loss.item() for name, loss in detector(batch).items()}
    maps = detector.backbone(detector.preprocess_image(batch).tensor)
    locations = Locations.of(list(maps.values()), generator.strides, generator.bounds)
    logits, distances, centres = (x.detach() for x in generator.head(list(maps.values())))
    positives, cls, box, ctr, weights = 0, 0.0, 0.0, 0.0, 0.0
    for n, item in enumerate(batch):
        truth = item["instances"]
        index = assign(locations, truth.gt_boxes, 1.5).tolist()
        for r, obj in enumerate(index):
            label = truth.gt_classes[obj].item() if obj >= 0 else None
            cls += sum(focal(logits[n, r, k].item(), k == label) for k in range(3))
            if obj < 0:
                continue
            positives += 1
            (x, y), s = locations.points[r].tolist(), locations.strides[r].item()
            x0, y0, x1, y1 = truth.gt_boxes.tensor[obj].tolist()
            left, top, right, bottom = x - x0, y - y0, x1 - x, y1 - y
            weight = math.sqrt(min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom))
            a, b, c, d = (s * v for v in distances[n, r].tolist())
            box += weight * (1 - giou((x - a, y - b, x + c, y + d), (x0, y0, x1, y1)))
            weights += weight
            p = 1 / (1 + math.exp(-centres[n, r].item()))
            ctr -= weight * math.log(p) + (1 - weight) * math.log(1 - p)
    assert positives > 5
    assert losses == pytest.approx(
        {
            "loss_fcos_cls": cls / positives,
            "loss_fcos_box": box / weights,
            "loss_fcos_centerness": ctr / positives,
        },
        rel=1e-4,
    )


# --- the head --------------------------------------------------------------------------------------------------------


def test_parameters_at_paper_scale():
    """Eight 3x3 convolutions with group normalisation, three predictors, five scales."""
    head = FCOSHead(channels=256, num_levels=5, num_classes=80)
    expected = 8 * (9 * 256 * 256 + 256 + 2 * 256) + (9 * 256 + 1) * (80 + 4 + 1) + 5
    assert sum(p.numel() for p in head.parameters()) == expected


@pytest.mark.parametrize(("channels", "groups"), [(256, 32), (32, 32), (16, 16), (48, 16), (40, 8), (27, 1)])
def test_groups_fit_any_width(channels, groups):
    head = FCOSHead(channels=channels, num_levels=1, num_classes=3)
    assert {m.num_groups for m in head.modules() if isinstance(m, nn.GroupNorm)} == {groups}


@pytest.mark.parametrize("training", [True, False])
def test_one_cell_is_normalised_alike_in_any_batch(training):
    """With one channel per group, the cell is the only value to normalise over."""
    head = FCOSHead(channels=C, num_levels=1, num_classes=3).train(training)
    x = torch.randn(2, C, 1, 1)
    for one, two in zip(head([x[:1]]), head([x]), strict=True):
        torch.testing.assert_close(one, two[:1])


def test_towers_normalise_as_torch_does():
    head = FCOSHead(channels=C, num_levels=1, num_classes=3, num_convs=1)
    x = torch.randn(2, C, 6, 5)
    conv, norm, _ = head.class_tower
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    expected = F.group_norm(conv(x), C, norm.weight, norm.bias).relu()
    torch.testing.assert_close(head.class_tower(x), expected)


def test_what_training_starts_from():
    head = FCOSHead(channels=C, num_levels=2, num_classes=3, prior_prob=0.01)
    classes, distances, centres = head([torch.randn(2, C, 8, 8), torch.randn(2, C, 4, 4)])
    torch.testing.assert_close(classes.sigmoid(), torch.full_like(classes, 0.01), rtol=0.5, atol=0)
    torch.testing.assert_close(distances, torch.ones_like(distances), rtol=0.5, atol=0)
    torch.testing.assert_close(centres.sigmoid(), torch.full_like(centres, 0.5), rtol=0.5, atol=0)


def test_a_level_has_a_scale_of_its_own():
    head = FCOSHead(channels=C, num_levels=2, num_classes=3)
    maps = [torch.randn(2, C, 8, 8), torch.randn(2, C, 4, 4)]
    before = [x.detach() for x in head(maps)]
    nn.init.constant_(head.scales[1:], 2.0)
    after = head(maps)
    assert torch.equal(after[0], before[0]) and torch.equal(after[2], before[2])
    assert torch.equal(after[1][:, :64], before[1][:, :64])
    torch.testing.assert_close(after[1][:, 64:], before[1][:, 64:] ** 2)  # exp(2x) = exp(x)^2


def test_predictions_are_those_of_their_cells():
    """The maps are constant except in one cell, and the head has no neighbourhood."""
    head = FCOSHead(channels=C, num_levels=2, num_classes=3, num_convs=0)
    maps = [torch.zeros(2, C, 4, 6), torch.zeros(2, C, 2, 3)]
    for module in (head.classes, head.distances, head.centerness):
        nn.init.zeros_(module.weight)
        nn.init.ones_(module.weight[:, :, 1, 1])
    still = head(maps)
    maps[0][1, :, 2, 5] = 1.0  # second image, row 2, column 5: location 17 of the first level
    maps[1][0, :, 1, 0] = 1.0  # first image, row 1, column 0: location 3 of the second
    for before, after in zip(still, head(maps), strict=True):
        changed = (before != after).reshape(2, 30, -1).any(dim=2)
        assert changed.nonzero().tolist() == [[0, 24 + 3], [1, 17]]


def test_distances_cannot_overflow():
    head = FCOSHead(channels=C, num_levels=1, num_classes=3)
    nn.init.constant_(head.distances.bias, 1e4)
    distances = head([torch.randn(1, C, 4, 4)])[1]
    torch.testing.assert_close(distances, torch.full_like(distances, 100.0))


@pytest.mark.parametrize(("exponent", "gradient"), [(-9.0, math.exp(-9)), (4.6, math.exp(4.6)), (4.7, 0.0)])
def test_distances_have_a_gradient_below_the_largest(exponent, gradient):
    """Gradient and value are those of an exponential, to the bit; above ln(100) = 4.605 there is no gradient."""
    head = FCOSHead(channels=C, num_levels=1, num_classes=3)
    nn.init.zeros_(head.distances.weight)
    nn.init.constant_(head.distances.bias, exponent)
    distances = head([torch.randn(1, C, 1, 1)])[1]
    distances.sum().backward()
    torch.testing.assert_close(head.distances.bias.grad, torch.full((4,), gradient))
    if gradient:
        assert torch.equal(distances, torch.full((1, 1, 4), exponent).exp())


def test_results_are_float32_for_any_type_of_the_convolutions():
    head = FCOSHead(channels=C, num_levels=1, num_classes=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predictions = head([torch.randn(1, C, 4, 4)])
    assert all(x.dtype == torch.float32 for x in predictions)


# --- detections ------------------------------------------------------------------------------------------------------


def random_predictions(locations, classes=3, seed=0):
    torch.manual_seed(seed)
    n = len(locations.points)
    return torch.randn(2, n, classes) * 2 - 1, torch.rand(2, n, 4) * 3, torch.randn(2, n) * 2


def slow_detections(locations, logits, distances, centres, size, threshold, topk, nms, most):
    """Compute boxes, scores and classes of one image by loops."""
    candidates = []
    for level in locations.levels:
        found = []
        for r in range(level.start, level.stop):
            for k in range(logits.shape[1]):
                score = math.sqrt(torch.sigmoid(logits[r, k]).item() * torch.sigmoid(centres[r]).item())
                if score > threshold:
                    (x, y), s = locations.points[r].tolist(), locations.strides[r].item()
                    left, top, right, bottom = (s * v for v in distances[r].tolist())
                    box = [max(x - left, 0), max(y - top, 0), min(x + right, size[1]), min(y + bottom, size[0])]
                    found.append((score, k, box))
        candidates += sorted(found, reverse=True)[:topk]
    kept = []
    for score, k, box in sorted(candidates, reverse=True):
        empty = box[2] <= box[0] or box[3] <= box[1]
        if not empty and all(label != k or iou(box, other) <= nms for _, label, other in kept):
            kept.append((score, k, box))
    return kept[:most]


@pytest.mark.parametrize(
    ("threshold", "topk", "nms", "most"), [(0.05, 1000, 0.6, 100), (0.3, 20, 0.3, 1000), (0.5, 1000, 0.9, 7)]
)
def test_detections_against_a_slow_detector(threshold, topk, nms, most):
    generator = tiny().proposal_generator
    generator.test_score_thresh, generator.test_topk_candidates = threshold, topk
    generator.test_nms_thresh, generator.max_detections_per_image = nms, most
    locations = locations_of()
    predictions = random_predictions(locations)
    sizes = [(96, 128), (50, 90)]  # the second is padded: locations outside have nothing to find
    for n, found in enumerate(generator.detect(locations, *predictions, sizes)):
        expected = slow_detections(locations, *(x[n] for x in predictions), sizes[n], threshold, topk, nms, most)
        assert 0 < len(expected) <= most and len(found) == len(expected)
        torch.testing.assert_close(found.scores, torch.tensor([score for score, _, _ in expected]))
        assert found.pred_classes.tolist() == [k for _, k, _ in expected]
        torch.testing.assert_close(
            found.pred_boxes.tensor, torch.tensor([box for _, _, box in expected]), rtol=1e-4, atol=1e-3
        )


def test_limits_come_from_the_config():
    changes = {
        "MODEL__FCOS__SCORE_THRESH_TEST": 0.2,
        "MODEL__FCOS__TOPK_CANDIDATES_TEST": 33,
        "MODEL__FCOS__NMS_THRESH_TEST": 0.4,
        "TEST__DETECTIONS_PER_IMAGE": 11,
    }
    generator = tiny(**changes).proposal_generator
    limits = (generator.test_score_thresh, generator.test_topk_candidates, generator.test_nms_thresh)
    assert (*limits, generator.max_detections_per_image) == (0.2, 33, 0.4, 11)


def test_no_detections_are_a_valid_result():
    detector = tiny().eval()
    detector.proposal_generator.test_score_thresh = 0.99
    found = detector([without_truth(sample([(8, 8, 60, 70)], [0]))])[0]["instances"]
    assert len(found) == 0 and found.pred_boxes.tensor.shape == (0, 4)


def test_a_batch_gives_the_results_of_single_images():
    detector = tiny().eval()
    items = [without_truth(sample([(8 * i, 8, 60 + 8 * i, 70)], [i], seed=i)) for i in range(3)]
    for module in detector.proposal_generator.head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.1)
    together = [output["instances"] for output in detector(items)]
    for item, expected in zip(items, together, strict=True):
        found = detector([item])[0]["instances"]
        assert len(found) == len(expected) > 0
        torch.testing.assert_close(found.scores, expected.scores)
        torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-4, atol=1e-3)


def test_boxes_are_given_in_the_size_that_is_asked_for():
    detector = tiny().eval()
    item = without_truth(sample([(8, 8, 60, 70)], [0]))
    plain, larger = (detector([item | {"height": 96 * n, "width": 128 * n}])[0]["instances"] for n in (1, 3))
    assert larger.image_size == (288, 384)
    torch.testing.assert_close(larger.pred_boxes.tensor, 3 * plain.pred_boxes.tensor)


# --- the way in ------------------------------------------------------------------------------------------------------


def test_any_detectron2_project():
    """On this package's pyramid, with the config's defaults."""
    cfg = get_cfg()
    afigan.add_afigan_config(cfg)
    add_fcos_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.BACKBONE.NAME = "build_afigan_retinanet_fpn_backbone"
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    cfg.MODEL.PROPOSAL_GENERATOR.NAME, cfg.MODEL.ROI_HEADS.NAME = "FCOSProposals", "NoROIHeads"
    detector = build_model(cfg)
    assert detector.proposal_generator.strides == [8, 16, 32, 64, 128]
    assert detector.proposal_generator.head.classes.out_channels == 80
    losses = detector([sample([(8, 8, 60, 70)], [2])])
    assert set(losses) == {"loss_fcos_cls", "loss_fcos_box", "loss_fcos_centerness"}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in detector.parameters() if p.requires_grad)
    found = detector.eval()([without_truth(sample([(8, 8, 60, 70)], [2]))])[0]["instances"]
    assert set(found.get_fields()) == {"pred_boxes", "scores", "pred_classes"} and 0 < len(found) <= 100


def test_gradients_reach_every_weight_that_has_something_to_learn():
    detector = tiny()
    batch = [sample([(8, 8, 60, 70), (40, 30, 110, 90)], [0, 2])]
    sum(detector(batch).values()).backward()
    for name, parameter in detector.proposal_generator.named_parameters():
        if name != "head.scales":
            assert parameter.grad.abs().sum() > 0, name
    truth = batch[0]["instances"]
    maps = list(detector.backbone(detector.preprocess_image(batch).tensor).values())
    locations = Locations.of(maps, detector.proposal_generator.strides, detector.proposal_generator.bounds)
    assigned = assign(locations, truth.gt_boxes, 1.5)
    learns = [bool((assigned[level] >= 0).any()) for level in locations.levels]
    assert (detector.proposal_generator.head.scales.grad != 0).tolist() == learns and True in learns


@pytest.mark.parametrize("bounds", [[64, 128, 256], [64, 128, 256, 512, 1024], [64, 32, 256, 512]])
def test_bounds_must_fit_the_levels(bounds):
    with pytest.raises(ValueError, match="5 levels need 4 bounds in ascending order"):
        build_model(config(MODEL__FCOS__SIZES_OF_INTEREST=bounds))


def test_settings_reach_the_losses():
    batch = [sample([(8, 8, 60, 70), (40, 30, 110, 90)], [0, 2])]
    plain = tiny()(batch)
    other = tiny(MODEL__FCOS__FOCAL_GAMMA=0.0)(batch)
    assert other["loss_fcos_cls"] > plain["loss_fcos_cls"] and other["loss_fcos_box"] == plain["loss_fcos_box"]
    other = tiny(MODEL__FCOS__FOCAL_ALPHA=0.5)(batch)
    assert other["loss_fcos_cls"] != plain["loss_fcos_cls"]
    other = tiny(MODEL__FCOS__CENTER_SAMPLING_RADIUS=0.6)(batch)
    assert other["loss_fcos_centerness"] != plain["loss_fcos_centerness"]
    other = tiny(MODEL__FCOS__SIZES_OF_INTEREST=[8, 16, 32, 64])(batch)
    assert other["loss_fcos_centerness"] != plain["loss_fcos_centerness"]
    biases = tiny(MODEL__FCOS__PRIOR_PROB=0.3).proposal_generator.head.classes.bias
    torch.testing.assert_close(biases.sigmoid(), torch.full((3,), 0.3))


# --- it learns -------------------------------------------------------------------------------------------------------


def test_two_images_are_learned():
    batch = [
        sample([(8, 8, 56, 64), (72, 24, 112, 88)], [0, 2], seed=1),
        sample([(40, 16, 104, 72)], [1], seed=2),
    ]
    detector = tiny()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=0.005)
    with EventStorage():
        for _ in range(70):
            optimizer.zero_grad()
            sum(detector(batch).values()).backward()
            optimizer.step()
    for item, output in zip(batch, detector.eval()([without_truth(item) for item in batch]), strict=True):
        found, truth = output["instances"], item["instances"]
        best = found[: len(truth)]
        assert sorted(best.pred_classes.tolist()) == sorted(truth.gt_classes.tolist())
        for box, label in zip(truth.gt_boxes.tensor.tolist(), truth.gt_classes.tolist(), strict=True):
            match = best[best.pred_classes == label]
            assert iou(match.pred_boxes.tensor[0].tolist(), box) > 0.7 and match.scores[0] > 0.5


def test_the_callers_instances_do_not_change():
    item = sample([(8, 8, 60, 70)], [0])
    before: Instances = item["instances"]
    fields = {name: getattr(value, "tensor", value).clone() for name, value in before.get_fields().items()}
    tiny()([item])
    after = item["instances"].get_fields()
    assert after.keys() == fields.keys()
    assert all(torch.equal(getattr(after[name], "tensor", after[name]), value) for name, value in fields.items())
