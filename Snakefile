# The stages as Snakemake runs them: `snakemake --cores 2`. dvc.yaml has the same stages with the same commands, and
# explains the dependencies; tests/workflow/test_pipelines.py compares the two.
import json
import shutil
import sys
from functools import reduce
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

sys.path[:0] = [str(workflow.basedir), str(Path(workflow.basedir, "workflow"))]
from afigan.params.loading import load_params
from afigan.runtime.files import read_json
from afigan.params.lineage import fingerprint, parents
from dependencies import code  # a stage's script and the modules that it imports

if config:
    raise WorkflowError("--config and --configfile do not reach the stages: edit params.yaml, or `make params`.")
try:
    PARAMS = load_params("params.yaml")
except ValueError as error:
    raise WorkflowError(str(error))
VALUES = yaml.safe_load(open("params.yaml", encoding="utf-8"))
EXPERIMENTS = PARAMS.experiments
# GPUs of a process. `auto` looks on this machine; if others run the jobs, params.yaml has to say `device: cuda`
GPU = int(PARAMS.device == "cuda" or (PARAMS.device == "auto" and shutil.which("nvidia-smi") is not None))

KINDS = ("backbones", "afigan", "extractors", "detectors", "students")
WEIGHTS = ("model.safetensors", "config.json")  # a model's descendants depend on these
MODEL = (*WEIGHTS, "log.jsonl")
MODELS = [f"models/{kind}/{key}/{name}" for kind in KINDS for key in getattr(EXPERIMENTS, kind) for name in MODEL]
METRICS = [f"results/metrics/{key}.{suffix}" for key in EXPERIMENTS.evaluations for suffix in ("matches.npz", "json")]
SUBMISSIONS = [f"results/submissions/{key}" for key in EXPERIMENTS.submissions]
DRAWN = ("losses_afigan", "losses_extractors", "losses_detectors", "features", "detections", "gradcam")
FIGURES = [f"results/figures/{name}.png" for name in DRAWN]
FOR_PAGE = "results/figures/page"  # a folder
REPORT = [
    "results/figures/claims.png",
    *(f"results/{name}" for name in ("claims.csv", "claims.md", "index.html", "README.md")),
]

# Snakemake redoes outputs whose records have other parameters. It has no records of DVC's outputs, and would keep them
if not any(Path(".snakemake/metadata").glob("*")):
    for config_file in map(Path, MODELS):
        node = config_file.parent.relative_to("models").as_posix()
        if config_file.name == "config.json" and config_file.is_file():
            if read_json(config_file).get("params_hash") != fingerprint(PARAMS, node):
                raise WorkflowError(
                    f"models/{node} has other parameters, and Snakemake did not create it: run `dvc repro`, then `make adopt-snakemake`."
                )


def watch(*names):
    """Return the values of these parameters as text: a job is redone when one of them changes.

    `params.yaml` itself is no input of any rule, because its time of change means nothing. A name may have wildcards.
    """

    def values(wildcards):
        paths = [name.format(**wildcards) for name in names]
        return {
            path: json.dumps(reduce(lambda v, k: v.get(k), path.split("."), VALUES), sort_keys=True) for path in paths
        }

    return values


def weights(kind):
    """Return the files of the models, or of the pseudo-labels, that the experiment {key} starts from or evaluates."""

    def files(wildcards):
        nodes = [node.split("/") for node in parents(PARAMS, f"{kind}/{wildcards.key}")]
        return [
            file
            for of, key in nodes
            for file in (
                [f"data/pseudo/{key}.json"]
                if of == "pseudo_labels"
                else [f"models/{of}/{key}/{name}" for name in WEIGHTS]
            )
        ]

    return files


def pairs(kind):
    """Return the low-resolution images that the experiment {key} is trained with."""
    return lambda wildcards: f"data/pairs/{getattr(EXPERIMENTS, kind)[wildcards.key].degradation}"


wildcard_constraints:
    key="[a-z][a-z0-9_]*",
    degradation="[a-z]+",


localrules:
    all,


# Every result, not only the last: Snakemake does not notice a missing file between two existing ones.
rule all:
    input:
        MODELS,
        METRICS,
        SUBMISSIONS,
        FIGURES,
        FOR_PAGE,
        "results/tables",
        REPORT,


include: "workflow/rules/resources.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/reporting.smk"
