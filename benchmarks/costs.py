"""Print the GPU hours of profile `paper`, a line for each row of its tables, from the figures of docs/benchmarks.md.

An iteration takes as long as that of Mask R-CNN with R50-FPN at two images a GPU; other heads, pyramids, interpolators
and backbones cost something else. Evaluations, submissions and pseudo-labels have the time of an image at one scale.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rates import GPU_SECONDS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from afigan.params.lineage import Lineage  # noqa: E402
from afigan.params.loading import check_params, compose  # noqa: E402
from afigan.params.schema import Params  # noqa: E402
from afigan.params.stages import KINDS  # noqa: E402
from afigan.reporting.plan import row_costs  # noqa: E402

BATCH = 2  # images of GPU_SECONDS' iterations
IMAGE_SECONDS = 0.0267  # of Mask R-CNN with AFI at inference
# of COCO 2017: val, test-dev, unlabeled
IMAGES = {"evaluations": 5_000, "submissions": 20_288, "pseudo_labels": 123_403}


def gpu_hours(params: Params) -> Callable[[str], float]:
    """Return a function of a node's name: the hours of one GPU, which `processes` GPUs share."""
    lineage = Lineage(params)

    def hours(name: str) -> float:
        node = lineage[name]
        if node.kind in IMAGES:
            return IMAGES[node.kind] * IMAGE_SECONDS / 3600
        if not node.is_training:
            return 0.0
        each = GPU_SECONDS["train_detector" if node.kind == "students" else KINDS[node.kind].name]
        return node.schedule.iterations * node.schedule.batch_size / BATCH * each / 3600

    return hours


def markdown(params: Params) -> str:
    """Return a table with a line for each row, or for rows of one table that cost the same."""
    hours = gpu_hours(params)
    lines = ["| table | row | GPU hours of all it needs | of it, for this row alone |", "|---|---|---|---|"]
    groups: dict[tuple[str, int, int], list[str]] = {}
    for cost in sorted(row_costs(params, hours), key=lambda cost: int(cost.table.removeprefix("table"))):
        assert cost.needed is not None and cost.own is not None
        groups.setdefault((cost.table, round(cost.needed), round(cost.own)), []).append(cost.row)
    for (table, needed, own), rows in groups.items():
        lines.append(f"| {table.removeprefix('table')} | {'; '.join(rows)} | {needed:,} | {own:,} |")
    kinds: dict[str, list[float]] = {}
    for node in Lineage(params):
        kinds.setdefault(node.kind, []).append(hours(node.name))
    lines += ["", "| experiments | number | GPU hours |", "|---|---|---|"]
    lines += [f"| {kind} | {len(values)} | {sum(values):,.0f} |" for kind, values in kinds.items()]
    lines += [f"| all | {sum(map(len, kinds.values()))} | {sum(map(sum, kinds.values())):,.0f} |"]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="paper", help="default: %(default)s")
    print(markdown(check_params(compose(parser.parse_args().profile, ROOT / "conf"))))
