"""All of the paper's experiments at once: both engines have to list the due stages in seconds."""

from pathlib import Path

from ruamel.yaml import YAML

from afigan.params import lineage
from afigan.params.loading import check_params, compose

CONF = Path(__file__).parents[2] / "conf"


def test_every_hash_of_the_grid_is_computed_once(monkeypatch):
    params = check_params(compose("paper", CONF))
    calls, digest = [], lineage.digest
    monkeypatch.setattr(lineage, "digest", lambda value: calls.append(value["node"]) or digest(value))
    found = lineage.Lineage(params)
    assert len({node.params_hash for node in found}) == len(calls) == len(set(calls)) > 150


def test_dvc_reads_yaml_in_c():
    """It parses params.yaml once for each stage: that takes Python six times as long."""
    assert YAML(typ="safe").Parser.__name__ == "CParser"
