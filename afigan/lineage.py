"""What a result depends on: the experiments it descends from, and a hash of all their parameters.

A node is `backbone`, `afigan/KEY`, `extractors/KEY`, `detectors/KEY` (a folder of models/) or `evaluations/KEY`.
"""

from afigan.files import digest
from afigan.schema import Params

_HARMLESS = {"workers", "checkpoint_every"}
_STAGE = {"afigan": "train_afigan", "extractors": "train_extractor", "detectors": "train_detector"}


def parents(params: Params, node: str) -> list[str]:
    """The nodes whose weights `node` reads, itself not among them."""
    if node == "backbone":
        return []
    kind, key = node.split("/")
    item = getattr(params.experiments, kind)[key]
    if kind == "evaluations":
        return [item.model]
    if kind == "afigan":
        return [f"detectors/{item.teacher}"]
    teacher = [f"detectors/{item.teacher}"] if kind == "extractors" else []
    return list(dict.fromkeys(["backbone", *teacher, item.init]))


def fingerprint(params: Params, node: str) -> str:
    """Hex SHA-256 of every parameter that can change the result at `node`, those of its ancestors included."""
    kind, _, key = node.partition("/")
    # each process draws its own RoIs and has its own statistics of batch normalisation
    own: dict[str, object] = {"seed": params.seed, "threads": params.threads, "processes": params.processes}
    own |= {"data": params.data.model_dump(), "model": params.model.model_dump()}
    if node == "backbone":
        if params.model.backbone.weights == "crops":
            own["schedule"] = params.train_backbone.model_dump(exclude=_HARMLESS)
    else:
        item = getattr(params.experiments, kind)[key]
        own |= {"node": node, "experiment": item.model_dump(), "input": params.input.model_dump()}
        if kind == "evaluations":
            own["evaluate"] = params.evaluate.model_dump()
        else:
            own["schedule"] = getattr(params, _STAGE[kind]).model_dump(exclude=_HARMLESS)
        if hasattr(item, "degradation"):
            own["pairs"] = params.pairs.format
    return digest(own | {"parents": [fingerprint(params, parent) for parent in parents(params, node)]})
