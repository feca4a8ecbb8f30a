"""The one table of the stages and of the kinds of experiments that they run.

A *node* is one result of a run. The name of an experiment's node is `KIND/KEY`, as in `detectors/a5`. The name of any
other node is that of its stage; `pairs` has a node for each degradation, as in `pairs/bilinear`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Args:
        name: of its script in workflow/scripts and of its rule in both engines.
        kind: the section of `experiments` whose entries it runs; empty for a stage without experiments.
        schedule: the section of params.yaml with its training schedule; empty if it trains nothing.
        title: for people.
        summary: it reads the results of all experiments, and has none of its own.
    """

    name: str
    kind: str = ""
    schedule: str = ""
    title: str = ""
    summary: bool = False


STAGES = (
    Stage("prepare"),
    Stage("pairs"),
    Stage("backbone", "backbones", "train_backbone", "Backbones"),
    Stage("train_afigan", "afigan", "train_afigan", "Stage 1: AFI-GAN"),
    Stage("train_extractor", "extractors", "train_extractor", "Stage 2: multi-scale AF extractor"),
    Stage("train_detector", "detectors", "train_detector", "Stage 3: target detectors"),
    Stage("pseudo_labels", "pseudo_labels"),
    Stage("train_student", "students", "train_detector", "Self-training"),
    Stage("evaluate", "evaluations"),
    Stage("submit", "submissions"),
    Stage("benchmark", summary=True),
    Stage("figures", summary=True),
    Stage("tables", summary=True),
)
KINDS = {stage.kind: stage for stage in STAGES if stage.kind}
SUMMARIES = tuple(stage.name for stage in STAGES if stage.summary)
TRAINED = tuple(stage.kind for stage in STAGES if stage.schedule)  # kinds with a folder of models/
NETWORKS = ("extractors", "detectors", "students")  # kinds with a backbone, a pyramid and a head

# Fields of an experiment that refer to another one: the kind that the value is a key of; empty if it is a node's name
REFERENCES = {"backbone": "backbones", "teacher": "detectors", "labels": "pseudo_labels", "init": "", "model": ""}


def split_node(name: str) -> tuple[str, str]:
    """Return kind and key of a node's name; the key of `prepare` and the like is empty."""
    kind, _, key = name.partition("/")
    return kind, key


def is_trained(name: str) -> bool:
    """Return whether a node is a folder of models/."""
    return split_node(name)[0] in TRAINED
