"""AP of resampled validation sets, computed exactly from the matches of each image: the bootstrap over images.

A replicate draws as many images as there are, with replacement (Efron and Tibshirani, An Introduction to the Bootstrap,
1993). An image drawn w times counts w times. No detector and no matching is needed, because matching is done image by
image. All rows and all seeds that are compared must have the same weights, because their images are the same.
"""

import numpy as np

from afigan.evaluation.matches import AREAS, IOUS, Matches

LEVELS = np.linspace(0.0, 1.0, 101)  # values of recall at which COCO reads precision
CELLS = 1 << 20  # replicates x detections at a time: a few arrays of 4 MiB


def image_weights(images: int, replicates: int, seed: int) -> np.ndarray:
    """Draw the count of each image in each replicate: (replicates, images) int32; each row sums to `images`."""
    shares = np.full(images, 1 / images)
    return np.random.default_rng(seed).multinomial(images, shares, size=replicates).astype(np.int32)


def replicate_ap(matches: Matches, weights: np.ndarray, area: str = "all") -> np.ndarray:
    """Return AP in percent at IoU 0.50:0.05:0.95 of each replicate, (R,) float64, to rounding.

    COCO's evaluation gives the same AP for a set that has image i `weights[r, i]` times. They may differ only if two
    detections of a class in one image have the same score, because COCO orders the detections of copies differently.

    Args:
        matches: the matches of one evaluation.
        weights: (R, I) integers, as from `image_weights`.
        area: one of AREAS.

    Returns:
        AP, averaged over the categories that have an object of that size in the replicate; NaN if none has.
    """
    assert weights.ndim == 2 and weights.shape[1] == matches.images
    found, left_out = matches.detections(area)
    truths = matches.truths[AREAS.index(area)]
    total, categories = np.zeros(len(weights)), np.zeros(len(weights))
    for k in range(len(matches.categories)):
        pairs = slice(*matches.truth_starts[k : k + 2])
        if not truths[pairs].any():
            continue
        own = slice(*matches.starts[k : k + 2])
        counts = ~left_out[:, own].all(axis=0)  # at one threshold at least
        image, hits, ignored = matches.image[own][counts], found[:, own][:, counts], left_out[:, own][:, counts]
        rows = max(1, CELLS // max(1, len(image)))
        for first in range(0, len(weights), rows):
            some = slice(first, first + rows)
            drawn = weights[some]
            objects = drawn[:, matches.truth_image[pairs]] @ truths[pairs]
            there = objects > 0
            total[some] += np.where(there, _category_ap(drawn[:, image], objects, hits, ignored), 0)
            categories[some] += there
    with np.errstate(invalid="ignore"):
        return 100 * total / categories


def _category_ap(drawn: np.ndarray, objects: np.ndarray, hits: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Return AP of one category, as a share of 1, (r,).

    Precision rises only at true positives, so its envelope and the reached levels of recall are computed only there.
    The number of counted detections up to that place is one running sum for all thresholds, minus the ignored ones.

    Args:
        drawn: (r, D), the count of each detection in each replicate.
        objects: (r,), the number of the category's objects.
        hits: (T, D) bool, true positives.
        ignored: (T, D) bool, detections that do not count.
    """
    reached = _levels_reached(objects)
    offsets = reached.shape[1] * np.arange(len(drawn))[:, None]
    up_to = np.cumsum(drawn, axis=1, dtype=np.int32)
    area = np.zeros(len(drawn))
    for t in range(IOUS):
        (places,) = np.nonzero(hits[t])
        if not len(places):
            continue
        true = np.cumsum(drawn[:, places], axis=1, dtype=np.int32)
        assert (true[:, -1] <= objects).all(), "an object is found twice"
        counted = up_to[:, places]
        (without,) = np.nonzero(ignored[t])
        if len(without):
            sums = np.zeros((len(drawn), len(without) + 1), dtype=np.int32)
            np.cumsum(drawn[:, without], axis=1, out=sums[:, 1:])
            counted -= sums[:, np.searchsorted(without, places)]
        # 0 / 0 before the first one that is drawn
        precision = true / np.maximum(counted, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        levels = reached.ravel()[true + offsets]
        area += levels[:, 0] * envelope[:, 0] + (np.diff(levels, axis=1) * envelope[:, 1:]).sum(axis=1)
    return area / (IOUS * len(LEVELS))


def _levels_reached(objects: np.ndarray) -> np.ndarray:
    """Count the LEVELS that a recall of n / objects reaches, for each n: (r, max + 1). The level 0 is always reached.

    The comparison uses the same floats as COCO's evaluation, whose levels are not exactly n / 100.
    """
    count = np.maximum(objects, 1)[:, None]
    needed = np.ceil(LEVELS * count).astype(np.int64)
    needed -= (needed - 1) / count >= LEVELS
    needed += needed / count < LEVELS
    width = int(count.max()) + 1
    flat = (needed + width * np.arange(len(objects))[:, None]).ravel()
    return np.bincount(flat, minlength=width * len(objects)).reshape(-1, width).cumsum(axis=1).astype(np.int32)
