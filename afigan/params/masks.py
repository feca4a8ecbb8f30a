"""The experiments whose detection head needs masks."""

from afigan.params import stages
from afigan.params.schema import MASK_HEADS, Params

WITHOUT_MASKS = "set its head, or model.head, to faster_rcnn, cascade_rcnn, retinanet or fcos"  # the remedy


def heads_with_masks(params: Params) -> dict[str, str]:
    """Return name -> head of the experiments that cannot be trained on boxes alone, in the order of the stages."""
    kinds = ("extractors", "detectors", "students")
    nodes = [(kind, key) for kind in kinds for key in getattr(params.experiments, kind)]
    heads = {f"experiments.{kind}.{key}": stages.head(params, f"{kind}/{key}") for kind, key in nodes}
    return {name: head for name, head in heads.items() if head in MASK_HEADS}
