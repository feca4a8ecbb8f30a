"""One experiment of params.yaml with what it takes from the rest of the file: schedule, seed, network.

A node is a folder of models/, `KIND/KEY`. Its kind is `backbones`, `afigan`, `extractors`, `detectors` or `students`.
The nodes `pseudo_labels/KEY`, `evaluations/KEY` and `submissions/KEY` name results of these models.
"""

from typing import Any

from afigan.params.schema import BackboneExperiment, Head, Params, Pyramid, Schedule

STAGES = {
    "backbones": "train_backbone",
    "afigan": "train_afigan",
    "extractors": "train_extractor",
    "detectors": "train_detector",
    "students": "train_detector",
}


def experiment(params: Params, node: str) -> Any:
    """Return the entry of a node under `experiments` of params.yaml."""
    kind, key = node.split("/")
    return getattr(params.experiments, kind)[key]


def schedule(params: Params, node: str) -> Schedule:
    """Return the section of the node's stage, with the experiment's own changes.

    Raises:
        ValueError: a change is not a key of a schedule, or has a wrong type.
    """
    base = getattr(params, STAGES[node.split("/")[0]])
    change = experiment(params, node).schedule
    return type(base).model_validate(base.model_dump(by_alias=True) | change) if change else base


def seed(params: Params, node: str) -> int:
    """Return the seed of everything random in a node's training."""
    own = experiment(params, node).seed
    return params.seed if own is None else own


def backbone(params: Params, node: str) -> BackboneExperiment:
    """Return the backbone of a detector, a student or an extractor."""
    return params.experiments.backbones[experiment(params, node).backbone]


def pyramid(params: Params, node: str) -> Pyramid:
    """Return the pyramid of a detector, a student or an extractor."""
    return experiment(params, node).pyramid or params.model.pyramid


def head(params: Params, node: str) -> Head:
    """Return the detection head of a detector, a student or an extractor."""
    return experiment(params, node).head or params.model.head


def starts_at_p2(head: Head, pyramid: Pyramid) -> bool:
    """Return whether a detector has P2-P6, as the R-CNN family has; otherwise it has P3-P7, as every BiFPN has."""
    return "rcnn" in head and pyramid != "bifpn"


def interpolated_levels(params: Params, node: str) -> tuple[str, ...]:
    """Return N_s..N_e of the node's pyramid, fine to coarse: see `afigan.pyramids.base.Pyramid`."""
    levels = ("p2", "p3", "p4", "p5", "p6", "p7")
    if pyramid(params, node) == "bifpn":
        return levels[1:]
    return levels[0 if starts_at_p2(head(params, node), pyramid(params, node)) else 1 : 4]
