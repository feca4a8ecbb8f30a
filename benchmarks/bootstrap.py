"""Measure time and memory of a paired bootstrap over images at COCO's size: `python benchmarks/bootstrap.py`.

Matches are drawn at random: classes as unequal as COCO's, 7.3 objects and 100 detections an image. One detection in 50
does not count, as if on a crowd. Two rows are compared with the same weights, in one process on one core.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from afigan.evaluation.matches import AREAS, IOUS, Matches  # noqa: E402
from afigan.reporting.bootstrap import image_weights, replicate_ap  # noqa: E402


def draw(images: int, classes: int, detections: int, seed: int) -> Matches:
    """Draw matches of `detections` per image; the probability that an object is found at threshold t falls with t."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, classes + 1)
    shares /= shares.sum()
    starts, truth_starts = [0], [0]
    parts: dict[str, list[np.ndarray]] = {"image": [], "found": [], "left_out": [], "truth_image": [], "truths": []}
    for k in range(classes):
        truths = rng.poisson(7.3 * shares[k], images)
        (truth_image,) = np.nonzero(truths)
        others = np.sort(rng.integers(0, images, round(images * (detections - 7.3) * shares[k])))
        image = np.concatenate([np.repeat(np.arange(images), truths), others])
        is_object = np.arange(len(image)) < truths.sum()
        # objects have higher scores; an object is found up to the threshold of its overlap
        order = np.argsort(-(rng.random(len(image)) + is_object), kind="stable")
        overlap = np.where(is_object, rng.random(len(image)), 0)[order]
        found = overlap > np.linspace(0.3, 0.95, IOUS)[:, None]
        left_out = ~found & (rng.random(len(image)) < 0.02)
        parts["image"].append(image[order])
        parts["found"].append(found)
        parts["left_out"].append(left_out)
        parts["truth_image"].append(truth_image)
        parts["truths"].append(truths[truth_image])
        starts.append(starts[-1] + len(image))
        truth_starts.append(truth_starts[-1] + len(truth_image))
    bits = {n: np.packbits(np.concatenate(parts[n], axis=1), axis=1) for n in ("found", "left_out")}
    return Matches(
        image_ids=np.arange(images),
        categories=np.arange(classes),
        starts=np.array(starts),
        image=np.concatenate(parts["image"]).astype(np.int32),
        truth_starts=np.array(truth_starts),
        truth_image=np.concatenate(parts["truth_image"]).astype(np.int32),
        truths=np.tile(np.concatenate(parts["truths"]).astype(np.int32), (len(AREAS), 1)),
        **{name: np.tile(value, (len(AREAS), 1, 1)) for name, value in bits.items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--replicates", type=int, default=1000)
    arguments = parser.parse_args()
    rows = [draw(arguments.images, arguments.classes, arguments.detections, seed) for seed in (0, 1)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, used = time.perf_counter(), time.process_time()
    weights = image_weights(arguments.images, arguments.replicates, seed=0)
    first, second = (replicate_ap(row, weights) for row in rows)
    seconds, processor = time.perf_counter() - begin, time.process_time() - used
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{len(rows[0].image)} and {len(rows[1].image)} detections, AP {first.mean():.2f} and {second.mean():.2f}")
    print(f"standard error {first.std():.3f}, of the difference {(first - second).std():.3f}")
    print(f"{seconds:.1f} s ({processor:.1f} s of processor time), {more / 1024:.0f} MiB more at most")


if __name__ == "__main__":
    main()
