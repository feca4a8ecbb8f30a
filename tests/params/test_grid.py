"""All of the paper's experiments at once: both engines have to list the due stages in seconds."""

from pathlib import Path

from ruamel.yaml import YAML

from afigan.params import lineage
from afigan.params.loading import check_params, compose

CONF = Path(__file__).parents[2] / "conf"


def test_fingerprints_ask_little_of_the_grid(monkeypatch):
    """A fingerprint computes its ancestors' again: a few per node, not one for each way through the graph."""
    params = check_params(compose("paper", CONF))
    kinds = type(params.experiments).model_fields
    nodes = [f"{kind}/{key}" for kind in kinds for key in getattr(params.experiments, kind)]
    calls, digest = [], lineage.digest
    monkeypatch.setattr(lineage, "digest", lambda value: calls.append(value["node"]) or digest(value))
    for node in nodes:
        lineage.fingerprint(params, node)
    assert set(calls) == set(nodes) and len(nodes) < len(calls) < 12 * len(nodes)


def test_dvc_reads_yaml_in_c():
    """It parses params.yaml once for each stage: that takes Python six times as long."""
    assert YAML(typ="safe").Parser.__name__ == "CParser"
