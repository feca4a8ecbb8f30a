"""Every path that a stage writes, relative to the folder of a run's params.yaml, and who writes it.

Snakefile and the rules take their outputs from here; a test compares them with dvc.yaml.
"""

from pathlib import Path

from afigan.params.lineage import Lineage
from afigan.params.schema import Params
from afigan.params.stages import KINDS, SUMMARIES, is_trained, split_node

PREPARED = Path("data/prepared")
PAIRS = Path("data/pairs")
PSEUDO = Path("data/pseudo")
MODELS = Path("models")
RESULTS = Path("results")
METRICS = RESULTS / "metrics"
SUBMISSIONS = RESULTS / "submissions"
BENCHMARK = RESULTS / "benchmark.json"
FIGURES = RESULTS / "figures"
TABLES = RESULTS / "tables"
PAGE = FIGURES / "page"  # the pictures and loss curves that results/index.html embeds

WEIGHTS = ("model.safetensors", "config.json")  # a model's descendants depend on these
MODEL_FILES = (*WEIGHTS, "log.jsonl")
DRAWN = ("losses_afigan", "losses_extractors", "losses_detectors", "features", "detections", "gradcam")
PLOT = FIGURES / "claims.png"
REPORT = (
    PLOT,
    RESULTS / "claims.csv",
    RESULTS / "claims.md",
    RESULTS / "index.html",
    RESULTS / "README.md",
)  # besides TABLES


def outputs(node: str) -> list[str]:
    """Return the files and folders that an engine declares as a node's outputs, the last written one last.

    Args:
        node: as in `afigan.params.stages`; the key may be a wildcard, `{key}`.
    """
    kind, key = split_node(node)
    if is_trained(node):
        return [(MODELS / node / name).as_posix() for name in MODEL_FILES]
    found: dict[str, list[Path]] = {
        "prepare": [PREPARED],
        "pairs": [PAIRS / key],
        "pseudo_labels": [PSEUDO / f"{key}.json"],
        "evaluations": [METRICS / f"{key}.matches.npz", METRICS / f"{key}.json"],
        "submissions": [SUBMISSIONS / key],
        "benchmark": [BENCHMARK],
        "figures": [PAGE, *(FIGURES / f"{name}.png" for name in DRAWN)],
        "tables": [TABLES, *REPORT],
    }
    return [path.as_posix() for path in found[kind]]


def all_outputs(params: Params, *kinds: str) -> list[str]:
    """Return the outputs of all nodes of some kinds."""
    return [path for node in Lineage(params).of_kind(*kinds) for path in outputs(node.name)]


def inputs(node: str) -> list[str]:
    """Return the outputs of a node that its descendants depend on."""
    return [(MODELS / node / name).as_posix() for name in WEIGHTS] if is_trained(node) else outputs(node)


def last_output(node: str) -> Path:
    """Return the file that exists when a node is done; an experiment's file has the hash of its parameters."""
    kind, _ = split_node(node)
    if is_trained(node):
        return MODELS / node / "config.json"
    inside = {"prepare": "summary.json", "pairs": "index.json", "submissions": "about.json"}
    if kind in inside:
        return Path(outputs(node)[0], inside[kind])
    return Path(outputs(node)[-1])


def all_nodes(params: Params) -> list[str]:
    """Return the names of all nodes of the parameters, in the order of the stages."""
    pairs = [f"pairs/{degradation}" for degradation in params.pairs.degradations]
    experiments = [node.name for node in Lineage(params).of_kind(*KINDS)]
    return ["prepare", *pairs, *experiments, *SUMMARIES]
