"""Warnings about a data set that is sound, but from which a detector may learn little, or whose AP may mislead.

They are computed from summary.json and params.yaml, so that the report has those of the current parameters.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from afigan.data.prepare.findings import SIZES, Finding, Summary
from afigan.data.prepare.problems import REPAIR
from afigan.params.lineage import Lineage
from afigan.params.schema import Params
from afigan.runtime.messages import shown

LEAST_EPOCHS = 10  # times that a schedule should see an image
LEAST_OBJECTS = 100  # times that it should see an object of a class
_NAMED = 5  # classes that a sentence names


def cautions(summary: Summary, params: Params) -> list[str]:
    """Return the warnings, one sentence or a few each, the most telling first.

    Args:
        summary: split -> the value of `afigan.data.prepare.findings.summarise`.
        params: of the run; its training schedules decide how often an object is seen.
    """
    train, val = summary["train"], summary["val"]
    return [
        *_shared(val),
        *_crowds("train", train),
        *_crowds("val", val),
        *_classes(train, val),
        *_sizes("train", train, "so no detector learns from such objects"),
        *_sizes("val", val, "so the AP of such objects is undefined"),
        *_boxes("train", train),
        *_boxes("val", val),
        *_schedule(train, params),
    ]


def _shared(val: Finding) -> Iterator[str]:
    if (unlabeled := val.get("shared_with_unlabeled", {"count": 0}))["count"]:  # absent before it was compared
        yield (
            f"{unlabeled['count']} of {val['images']} images of val are also unlabeled images, for example "
            f"{_listed(unlabeled['examples'])}: students learn from pseudo-labels of them, and their AP says little "
            "about new images. Take them out of data.unlabeled.images."
        )
    shared = val["shared_with_train"]
    if shared["count"]:
        yield (
            f"{shared['count']} of {val['images']} images of val are also in train, for example "
            f"{_listed(shared['examples'])}: AP on them says little about new images. Use other images for val."
        )


def _crowds(split: str, found: Finding) -> Iterator[str]:
    if found["crowds"] * 2 > found["annotations"]:
        yield (
            f"{found['crowds']} of {found['annotations']} annotations of {split} are crowds (iscrowd: 1). Training "
            "leaves crowds out, and AP does not count them. If each is one object, set its iscrowd to 0."
        )


def _classes(train: Finding, val: Finding) -> Iterator[str]:
    counts, tested = train["objects_per_class"], val["objects_per_class"]
    needless = set(train["only_supercategories"])
    for name in train["only_supercategories"]:
        yield (
            f"the class {shown(name)} has no annotation, and other classes name it as their supercategory: it is "
            f"probably none of its own. {REPAIR} leaves it out."
        )
    absent = [name for name, count in counts.items() if not count and name not in needless]
    unlearnt = [name for name in absent if tested[name]]
    rest = [name for name in absent if not tested[name]]
    if unlearnt:
        yield (
            f"train has no object of {_of(unlearnt, counts)}, but val has some: no detector can find them. Add images "
            "of them to train."
        )
    if rest:
        yield (
            f"neither train nor val has an object, crowds apart, of {_of(rest, counts)}: remove them from the "
            "categories, or add images of them."
        )
    if untested := [name for name, count in counts.items() if count and not tested[name]]:
        yield f"val has no object of {_of(untested, counts)}: AP leaves them out. Add images of them to val."


def _sizes(split: str, found: Finding, consequence: str) -> Iterator[str]:
    if found["objects"] and (empty := [size for size, count in found["sizes"].items() if not count]):
        meanings = ", ".join(f"{size}: {SIZES[size]}" for size in empty)
        yield f"{split} has no {' and no '.join(empty)} objects ({meanings}), {consequence}."


def _boxes(split: str, found: Finding) -> Iterator[str]:
    off = found["boxes_off_masks"]
    if off["count"]:
        yield (
            f"{off['count']} of {found['objects']} boxes of {split} differ from their masks by more than a pixel, at "
            f"most by {off['pixels']:g}, for example those of the annotations {_listed(off['examples'])}. That is "
            "tolerated; correct them if they should be exact."
        )


def _schedule(train: Finding, params: Params) -> Iterator[str]:
    """Yield what the shortest schedule of a detector sees too rarely; images without objects are not trained on."""
    images = train["images_with_objects"]
    counts = {name: count for name, count in train["objects_per_class"].items() if count}
    own = [key for key, item in params.experiments.detectors.items() if item.schedule]
    lineage = Lineage(params)
    lengths = {f"experiments.detectors.{key}.schedule": lineage[f"detectors/{key}"].schedule for key in own}
    if not own or len(own) < len(params.experiments.detectors):
        lengths = {"train_detector": params.train_detector} | lengths
    name, schedule = min(lengths.items(), key=lambda item: item[1].iterations * item[1].batch_size)
    times = schedule.iterations * schedule.batch_size / images
    told = f"{name}: {schedule.iterations:,} iterations of batch_size {schedule.batch_size}"
    if times < LEAST_EPOCHS:
        enough = math.ceil(LEAST_EPOCHS * images / schedule.batch_size)
        yield (
            f"{told} see each of the {images:,} images of train that have objects {_times(times)}, which is fewer than "
            f"{LEAST_EPOCHS}. {enough:,} iterations would be {LEAST_EPOCHS} times."
        )
    rare = sorted((name for name, count in counts.items() if times * count < LEAST_OBJECTS), key=counts.__getitem__)
    if rare:
        named = [f"{shown(name)} ({counts[name]:,} in train, {_times(times * counts[name])})" for name in rare[:_NAMED]]
        enough = math.ceil(LEAST_OBJECTS * images / counts[rare[0]] / schedule.batch_size)
        yield (
            f"{told} see objects of {len(rare):,} of {len(train['objects_per_class']):,} classes fewer than "
            f"{LEAST_OBJECTS} times: {_listed(named, len(rare), quoted=True)}. Mark more of them, or train for longer: "
            f"{enough:,} iterations would be {LEAST_OBJECTS} times for all."
        )


def _times(count: float) -> str:
    text = f"{count:.1f}" if count < 10 else f"{count:.0f}"
    return f"{text.removesuffix('.0')} time{'s' * (text not in ('1', '1.0'))}"


def _of(names: Sequence[str], classes: Mapping[str, int]) -> str:
    return f"{len(names):,} of {len(classes):,} classes ({_listed(names)})"


def _listed(values: Sequence[Any], count: int | None = None, quoted: bool = False) -> str:
    """Return the first values, and how many more there are of `count`."""
    count = len(values) if count is None else count
    texts = [value if quoted else shown(value) for value in values[:_NAMED]]
    return ", ".join(texts) + (f" and {count - len(texts):,} more" if count > len(texts) else "")
