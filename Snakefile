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
from afigan.outputs.currency import recorded_hash
from afigan.outputs.paths import PREPARED, all_outputs, inputs, outputs
from afigan.params.lineage import Lineage
from afigan.params.loading import load_params
from afigan.params.stages import TRAINED
from dependencies import code  # a stage's script and the modules that it imports

if config:
    raise WorkflowError("--config and --configfile do not reach the stages: edit params.yaml, or `make params`.")
try:
    PARAMS = load_params("params.yaml")
except ValueError as error:
    raise WorkflowError(str(error))
VALUES = yaml.safe_load(open("params.yaml", encoding="utf-8"))
LINEAGE = Lineage(PARAMS)
# GPUs of a process. `auto` looks on this machine; if others run the jobs, params.yaml has to say `device: cuda`
GPU = int(PARAMS.device == "cuda" or (PARAMS.device == "auto" and shutil.which("nvidia-smi") is not None))

# Snakemake redoes outputs whose records have other parameters. It has no records of DVC's outputs, and would keep them
if not any(Path(".snakemake/metadata").glob("*")):
    for node in LINEAGE.of_kind(*TRAINED):
        if recorded_hash(node.name) not in (None, node.params_hash):
            raise WorkflowError(
                f"models/{node.name} has other parameters, and Snakemake did not create it: run `dvc repro`, then `make adopt-snakemake`."
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


def parents(kind):
    """Return the files that the experiment {key} starts from or evaluates."""

    def files(wildcards):
        return [file for parent in LINEAGE[f"{kind}/{wildcards.key}"].parents for file in inputs(parent.name)]

    return files


def pairs(kind):
    """Return the low-resolution images that the experiment {key} is trained with."""
    return lambda wildcards: outputs(f"pairs/{LINEAGE[f'{kind}/{wildcards.key}'].experiment.degradation}")


wildcard_constraints:
    key="[a-z][a-z0-9_]*",
    degradation="[a-z]+",


localrules:
    all,


# Every result, not only the last: Snakemake does not notice a missing file between two existing ones. Pairs that no
# experiment reads are made too, as DVC makes them.
rule all:
    input:
        [path for degradation in PARAMS.pairs.degradations for path in outputs(f"pairs/{degradation}")],
        all_outputs(PARAMS, *TRAINED, "evaluations", "submissions"),
        outputs("figures"),
        outputs("tables"),


include: "workflow/rules/resources.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/reporting.smk"
