"""The experiments whose detection head needs masks."""

from afigan.params.lineage import Lineage
from afigan.params.registered import has_masks, heads
from afigan.params.schema import Params
from afigan.params.stages import NETWORKS

WITHOUT_MASKS = "set its head, or model.head, to " + " or ".join(
    ", ".join(sorted(name for name in heads() if not has_masks(name))).rsplit(", ", 1)
)  # the remedy


def heads_with_masks(params: Params) -> dict[str, str]:
    """Return name -> head of the experiments that cannot be trained on boxes alone, in the order of the stages."""
    nodes = Lineage(params).of_kind(*NETWORKS)
    return {f"experiments.{node.kind}.{node.key}": node.head for node in nodes if has_masks(node.head)}
