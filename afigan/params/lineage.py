"""The ancestors of a result, and a hash of all parameters that it depends on.

Nodes are those of `afigan.params.stages`.
"""

from afigan.params.schema import Params
from afigan.params.stages import STAGES, experiment, schedule, seed
from afigan.runtime.files import digest

_HARMLESS = {"workers", "checkpoint_every"}


def parents(params: Params, node: str) -> list[str]:
    """Return the nodes whose results `node` reads, without `node` itself."""
    kind = node.split("/")[0]
    item = experiment(params, node)
    if kind == "backbones":
        return []
    if kind in ("evaluations", "submissions", "pseudo_labels"):
        return [item.model]
    if kind == "afigan":
        return [f"detectors/{item.teacher}"]
    found = [f"backbones/{item.backbone}"]
    if kind == "extractors":
        found.append(f"detectors/{item.teacher}")
    if kind == "students":
        found.append(f"pseudo_labels/{item.labels}")
    return list(dict.fromkeys([*found, item.init]))


def fingerprint(params: Params, node: str) -> str:
    """Return the hex SHA-256 of every parameter that can change the result at `node`, its ancestors' included."""
    kind = node.split("/")[0]
    item = experiment(params, node)
    # the embedded set is drawn from the seed
    data = {"data": params.data.model_dump(), "seed": params.seed if params.data.source == "shapes" else None}
    own: dict[str, object] = {"node": node, "experiment": item.model_dump(), "threads": params.threads, **data}
    if kind in STAGES:  # each process draws its own RoIs
        own |= {"seed": seed(params, node), "model": params.model.model_dump(), "processes": params.processes}
        if kind != "backbones" or item.weights == "crops":
            own["schedule"] = schedule(params, node).model_dump(exclude=_HARMLESS)
    else:
        own["evaluate"] = params.evaluate.model_dump()
    if kind != "backbones":
        own["input"] = params.input.model_dump()
    if hasattr(item, "degradation"):
        own["pairs"] = params.pairs.format
    return digest(own | {"parents": [fingerprint(params, parent) for parent in parents(params, node)]})
