"""The three losses of FCOS (Tian et al., 2020, section 2), over the locations of a batch."""

import torch
from fvcore.nn import sigmoid_focal_loss
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from afigan.detectors.fcos.targets import centerness
from afigan.detectors.normalisers import mean_over_processes


def classification_loss(logits: Tensor, positive: Tensor, classes: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Return the focal loss of every class at every location, divided by the number of positive locations.

    Args:
        logits: (N, R, K).
        positive: (N, R), whether a location has an object to learn.
        classes: (P,), those of the positive locations.
        alpha, gamma: of the focal loss.
    """
    truth = torch.zeros_like(logits)
    truth[(*positive.nonzero(as_tuple=True), classes)] = 1
    loss = sigmoid_focal_loss(logits, truth, alpha=alpha, gamma=gamma, reduction="sum")
    return loss / _count(positive)


def box_loss(distances: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - GIoU, weighted by the location's true centerness, divided by the sum of these weights.

    Args:
        distances, truth: (P, 4), at the positive locations, in strides. The location is the origin of its boxes,
            because GIoU depends neither on place nor on scale.
    """
    signs = distances.new_tensor([-1, -1, 1, 1])
    # torchvision's, because fvcore's stops at a NaN with an assertion; the training loop has a message for it
    loss = generalized_box_iou_loss(distances * signs, truth * signs)
    weights = centerness(truth)
    return (loss * weights).sum() / mean_over_processes(weights.sum()).clamp(min=1e-6)


def centerness_loss(logits: Tensor, truth: Tensor, positive: Tensor) -> Tensor:
    """Return the binary cross-entropy with the true centerness of positive locations, divided by their number.

    Args:
        logits: (P,), at the positive locations.
        truth: (P, 4), their distances.
        positive: (N, R), whether a location is positive.
    """
    return F.binary_cross_entropy_with_logits(logits, centerness(truth), reduction="sum") / _count(positive)


def _count(positive: Tensor) -> Tensor:
    """Return the number of positive locations, the mean over the processes; 1 where there is none."""
    return mean_over_processes(positive.sum().float()).clamp(min=1)
