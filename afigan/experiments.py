"""One experiment of params.yaml with what it leaves to the rest of the file: schedule, seed, network.

A node is a folder of models/, `KIND/KEY`, of the kinds `backbones`, `afigan`, `extractors`, `detectors` and `students`;
besides, `pseudo_labels/KEY`, `evaluations/KEY` and `submissions/KEY` name what is made of them.
"""

from typing import Any

from afigan.schema import BackboneExperiment, Head, Params, Pyramid, Schedule

STAGES = {
    "backbones": "train_backbone",
    "afigan": "train_afigan",
    "extractors": "train_extractor",
    "detectors": "train_detector",
    "students": "train_detector",
}


def experiment(params: Params, node: str) -> Any:
    """What params.yaml says under `experiments` of a node."""
    kind, key = node.split("/")
    return getattr(params.experiments, kind)[key]


def schedule(params: Params, node: str) -> Schedule:
    """The section of its stage, with the experiment's own changes.

    Raises:
        ValueError: a change is no key of a schedule, or of a wrong type.
    """
    base = getattr(params, STAGES[node.split("/")[0]])
    change = experiment(params, node).schedule
    return type(base).model_validate(base.model_dump(by_alias=True) | change) if change else base


def seed(params: Params, node: str) -> int:
    """Of everything random in a node's training."""
    own = experiment(params, node).seed
    return params.seed if own is None else own


def backbone(params: Params, node: str) -> BackboneExperiment:
    """The backbone of a detector, a student or an extractor."""
    return params.experiments.backbones[experiment(params, node).backbone]


def pyramid(params: Params, node: str) -> Pyramid:
    """Its pyramid."""
    return experiment(params, node).pyramid or params.model.pyramid


def head(params: Params, node: str) -> Head:
    """Its detection head."""
    return experiment(params, node).head or params.model.head


def starts_at_p2(head: Head, pyramid: Pyramid) -> bool:
    """Whether a detector has the levels P2-P6, as the R-CNN family has them; else P3-P7, as every BiFPN."""
    return "rcnn" in head and pyramid != "bifpn"


def interpolated_levels(params: Params, node: str) -> tuple[str, ...]:
    """N_s..N_e of its pyramid, fine to coarse: see `afigan.pyramids.base.Pyramid`."""
    levels = ("p2", "p3", "p4", "p5", "p6", "p7")
    if pyramid(params, node) == "bifpn":
        return levels[1:]
    return levels[0 if starts_at_p2(head(params, node), pyramid(params, node)) else 1 : 4]
