"""torchvision's FCOS as an oracle: the head, the targets, the losses and the detections equal ours.

Three of its choices differ, and each has a test: its locations are the upper left corners of cells, its levels exclude
their bounds, and its box loss is not weighted by centerness (docs/method.md). The oracle here gets our locations, and
no object is exactly on a bound.
"""

import pytest
import torch
from detectron2.structures import Boxes, Instances, pairwise_point_box_distance
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection import fcos
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from afigan.detectors.fcos.head import FCOSHead
from afigan.detectors.fcos.proposals import FCOSProposals
from afigan.detectors.fcos.targets import Locations, assign

C, CLASSES = 32, 3
STRIDES = [8, 16, 32, 64, 128]
BOUNDS = [64.0, 128.0, 256.0, 512.0]  # torchvision's: 4 and 8 strides of a level
SIZES = [(250, 380), (320, 200)]  # of a batch's images
PADDED = (384, 384)
SCENES = 12


class Recorder(fcos.FCOSHead):
    """torchvision's head, with the object that each location learns; -1 for none."""

    def compute_loss(self, targets, head_outputs, anchors, matched_idxs):
        self.matched = torch.stack(matched_idxs)
        return super().compute_loss(targets, head_outputs, anchors, matched_idxs)


def maps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, C, -(-PADDED[0] // s), -(-PADDED[1] // s)) for s in STRIDES]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def oracle(**limits):
    """Build torchvision's FCOS around nothing: it gets the outputs of a head."""
    backbone = nn.Identity()
    backbone.out_channels = C
    return fcos.FCOS(backbone, CLASSES, head=Recorder(C, 1, CLASSES), **limits)


def ours(**limits):
    head = FCOSHead(channels=C, num_levels=len(STRIDES), num_classes=CLASSES)
    names = [f"p{level}" for level in range(3, 8)]
    return FCOSProposals(
        in_features=names, strides=STRIDES, head=head, num_classes=CLASSES, bounds=BOUNDS, **limits
    ).train()


def cells(locations):
    """Return the squares of one stride around the locations: torchvision's anchors."""
    half = locations.strides[:, None] / 2
    return torch.cat([locations.points - half, locations.points + half], dim=1)


LOCATIONS = Locations.of(maps(), STRIDES, BOUNDS)
PER_LEVEL = [level.stop - level.start for level in LOCATIONS.levels]


def scene(seed):
    """Return the boxes and classes of two images: any size, often one inside another, never exactly on a bound."""
    generator = torch.Generator().manual_seed(seed)
    images = []
    for index, (height, width) in enumerate(SIZES):
        number = (seed + index) % 4 * 3  # 0, 3, 6 or 9
        size = torch.tensor([width, height])
        sides = size * (0.03 + 0.95 * torch.rand(number, 2, generator=generator) ** 2)
        corner = (size - sides) * torch.rand(number, 2, generator=generator)
        boxes = torch.cat([corner, corner + sides], dim=1).mul(64).round() / 64  # distances to locations are exact
        images.append((boxes, torch.randint(0, CLASSES, (number,), generator=generator)))
    return images


def predictions(seed):
    """Return random outputs of a head: class logits, distances in strides, centerness logits; in float64."""
    given = {"generator": torch.Generator().manual_seed(100 + seed), "dtype": torch.float64}
    n = len(LOCATIONS.points)
    logits = 3 * torch.randn(2, n, CLASSES, **given) - 1
    return logits, 0.1 + 4 * torch.rand(2, n, 4, **given), torch.randn(2, n, **given)


def instances(images):
    return [
        Instances(size, gt_boxes=Boxes(boxes), gt_classes=labels)
        for size, (boxes, labels) in zip(SIZES, images, strict=True)
    ]


def oracle_losses(theirs, images, outputs):
    """Return torchvision's losses from outputs of our head, in float64.

    In float32, torchvision could not tell two objects whose areas differ by less than 8 pixels.
    """
    logits, distances, centerness = outputs
    targets = [{"boxes": boxes.double(), "labels": labels} for boxes, labels in images]
    names = {"cls_logits": logits, "bbox_regression": distances, "bbox_ctrness": centerness[..., None]}
    return theirs.compute_loss(targets, names, [cells(LOCATIONS).double()] * 2, PER_LEVEL)


# --- the head ---------------------------------------------------------------------------------------------------------


def test_the_head_equals_torchvisions():
    """The same maps but for the distances: exp, with a scale for each level, and not ReLU."""
    theirs, head = fcos.FCOSHead(C, 1, CLASSES), FCOSHead(channels=C, num_levels=len(STRIDES), num_classes=CLASSES)
    parts = {
        "class_tower": theirs.classification_head.conv,
        "box_tower": theirs.regression_head.conv,
        "classes": theirs.classification_head.cls_logits,
        "distances": theirs.regression_head.bbox_reg,
        "centerness": theirs.regression_head.bbox_ctrness,
    }
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.1).add_(parameter.ndim == 1)
        head.scales.copy_(torch.tensor([1.0, 0.5, 2.0, 0.3, 1.5]))
        for name, module in parts.items():
            getattr(head, name).load_state_dict(module.state_dict())
        expected, (logits, distances, centerness) = theirs(maps()), head(maps())
    assert torch.equal(logits, expected["cls_logits"])
    assert torch.equal(centerness, expected["bbox_ctrness"].squeeze(2))
    scales = head.scales.repeat_interleave(torch.tensor(PER_LEVEL))[:, None].detach()
    inside = distances < 99  # ours ends at 100 strides
    assert inside.float().mean() > 0.5 and expected["bbox_regression"].gt(0).any()
    exponents = (distances.log() / scales).relu()
    torch.testing.assert_close(exponents[inside], expected["bbox_regression"][inside], rtol=1e-6, atol=2e-6)


# --- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(SCENES))
def test_each_location_learns_the_object_that_torchvision_assigns(seed):
    theirs, images = oracle(), scene(seed)
    oracle_losses(theirs, images, predictions(seed))
    found = torch.stack([assign(LOCATIONS, Boxes(boxes), 1.5) for boxes, _ in images])
    assert torch.equal(found, theirs.head.matched)
    assert (found >= 0).any() or not sum(len(boxes) for boxes, _ in images)


@pytest.mark.parametrize(
    "box", [[36.0, 60.0, 150.0, 140.0], [40.0, 64.0, 150.0, 144.0]], ids=["the end of P3", "the beginning of P4"]
)
def test_objects_on_a_bound_are_learned_here_and_not_there(box):
    """Their left side is 64 pixels from locations of a level; torchvision excludes both bounds of a level."""
    boxes, theirs = torch.tensor([box]), oracle()
    oracle_losses(theirs, [(boxes, torch.tensor([0]))] * 2, predictions(0))
    found, expected = assign(LOCATIONS, Boxes(boxes), 1.5), theirs.head.matched[0]
    farthest = pairwise_point_box_distance(LOCATIONS.points, Boxes(boxes)).amax(dim=(1, 2))
    at_bound = farthest == 64
    assert (found[at_bound] == 0).any() and (expected[at_bound] == -1).all()
    assert torch.equal(found[~at_bound], expected[~at_bound])


def test_torchvisions_locations_are_the_corners_of_cells_and_ours_their_centres():
    generator = AnchorGenerator(tuple((s,) for s in STRIDES), ((1.0,),) * len(STRIDES))
    images = ImageList(torch.zeros(2, 3, *PADDED), list(SIZES))
    anchors = generator(images, maps())[0]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert torch.equal(centres + LOCATIONS.strides[:, None] / 2, LOCATIONS.points)


# --- losses -----------------------------------------------------------------------------------------------------------


def terms_of_oracle(theirs, images, outputs):
    """Return torchvision's losses, and of each positive location its 1 - GIoU and its true centerness."""
    ious, truths = [], []

    def box_loss(predicted, truth, reduction):
        ious.append(generalized_box_iou_loss(predicted, truth, reduction="none"))
        return generalized_box_iou_loss(predicted, truth, reduction=reduction)

    def cross_entropy(logits, truth, reduction):
        truths.append(truth)
        return binary_cross_entropy(logits, truth, reduction=reduction)

    generalized_box_iou_loss = fcos.generalized_box_iou_loss
    binary_cross_entropy = F.binary_cross_entropy_with_logits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcos, "generalized_box_iou_loss", box_loss)
        patch.setattr(F, "binary_cross_entropy_with_logits", cross_entropy)
        losses = oracle_losses(theirs, images, outputs)
    return losses, ious[-1], truths[-1]  # the focal loss has cross-entropies too, before


@pytest.mark.parametrize("seed", range(SCENES))
def test_losses_equal_torchvisions(seed):
    """Box losses of single locations are weighted by centerness, both as torchvision computes them."""
    theirs, generator = oracle(), ours()
    images, outputs = scene(seed), predictions(seed)
    expected, boxes, weights = terms_of_oracle(theirs, images, outputs)
    losses = generator.losses(LOCATIONS, *outputs, instances(images))
    assert len(boxes) == len(weights) == (theirs.head.matched >= 0).sum()
    box_loss = (boxes * weights).sum() / weights.sum() if len(weights) else torch.tensor(0.0)
    found = [losses[f"loss_fcos_{name}"].item() for name in ("cls", "box", "centerness")]
    assert found == pytest.approx(
        [expected["classification"].item(), box_loss.item(), expected["bbox_ctrness"].item()], rel=1e-6
    )


def test_gradients_equal_torchvisions():
    """Gradients of the classification and centerness losses reach the same predictions."""
    images = scene(2)
    gradients = []
    for which in ("theirs", "ours"):
        outputs = [x.requires_grad_() for x in predictions(2)]
        if which == "theirs":
            losses = oracle_losses(oracle(), images, outputs)
            total = losses["classification"] + losses["bbox_ctrness"]
        else:
            losses = ours().losses(LOCATIONS, *outputs, instances(images))
            total = losses["loss_fcos_cls"] + losses["loss_fcos_centerness"]
        total.backward()
        gradients.append([outputs[0].grad, outputs[2].grad])
    for found, expected in zip(gradients[1], gradients[0], strict=True):
        assert expected.any()
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max())


# --- detections -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "topk", "nms", "most"), [(0.05, 1000, 0.6, 100), (0.3, 50, 0.3, 1000), (0.6, 1000, 0.9, 7)]
)
@pytest.mark.parametrize("seed", range(3))
def test_detections_equal_torchvisions(threshold, topk, nms, most, seed):
    """torchvision also keeps boxes of no area, in the padding."""
    theirs = oracle(score_thresh=threshold, nms_thresh=nms, detections_per_img=10**6, topk_candidates=topk)
    generator = ours(
        test_score_thresh=threshold, test_nms_thresh=nms, max_detections_per_image=most, test_topk_candidates=topk
    )
    logits, distances, centerness = (x.float() for x in predictions(seed))
    outputs = {"cls_logits": logits, "bbox_regression": distances, "bbox_ctrness": centerness[..., None]}
    split = {name: list(x.split(PER_LEVEL, dim=1)) for name, x in outputs.items()}
    anchors = [list(cells(LOCATIONS).split(PER_LEVEL))] * 2
    expected = theirs.postprocess_detections(split, anchors, SIZES)
    found = generator.detect(LOCATIONS, logits, distances, centerness, SIZES)
    for one, other in zip(found, expected, strict=True):
        sides = other["boxes"][:, 2:] - other["boxes"][:, :2]
        kept = {name: x[(sides > 0).all(dim=1)][:most] for name, x in other.items()}
        assert 0 < len(one) <= most
        assert torch.equal(one.pred_boxes.tensor, kept["boxes"])
        assert torch.equal(one.pred_classes, kept["labels"])
        torch.testing.assert_close(one.scores, kept["scores"], rtol=1e-6, atol=0)
