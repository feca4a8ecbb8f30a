"""One experiment per seed: copies that refer to one another, and rows that name all of them."""

import copy
from pathlib import Path

from lineages import fingerprint, parents

from afigan.params.lineage import Lineage
from afigan.params.loading import check_params, compose
from afigan.params.seeds import evaluate_rows, replicate
from afigan.params.stages import TRAINED

CONF = Path(__file__).resolve().parents[2] / "conf"


def replicated(seeds):
    values = compose("mini", CONF)
    return values, replicate(copy.deepcopy(values) | {"seeds": seeds})


def test_one_seed_changes_nothing_but_the_seed():
    values, made = replicated([7])
    assert made == values | {"seed": 7}
    assert replicate(copy.deepcopy(values)) == values


def test_every_experiment_exists_once_per_seed():
    values, made = replicated([0, 1, 5])
    params = check_params(made)
    for kind, items in values["experiments"].items():
        expected = {key + suffix for key in items for suffix in ("", "_s1", "_s5")}
        assert set(made["experiments"][kind]) == (set(items) if kind == "submissions" else expected)
    for kind in TRAINED:
        for key in getattr(params.experiments, kind):
            expected_seed = int(key.partition("_s")[2]) if key.endswith(("_s1", "_s5")) else 0
            assert Lineage(params)[f"{kind}/{key}"].seed == expected_seed


def test_copies_descend_from_copies_of_their_seed():
    _, made = replicated([0, 1])
    params = check_params(made)

    def ancestors(node):
        return {node}.union(*(ancestors(parent) for parent in parents(params, node)))

    assert ancestors("evaluations/a5_s1") == {f"{node}_s1" for node in ancestors("evaluations/a5")}
    assert fingerprint(params, "evaluations/a5_s1") != fingerprint(params, "evaluations/a5")


def test_rows_name_one_evaluation_per_seed():
    values, made = replicated([0, 1, 2])
    assert made["tables"]["table4"]["A5"] == ["a5", "a5_s1", "a5_s2"]
    assert made["figures"] == values["figures"]


def test_the_small_profile_has_three_seeds():
    tables = compose("small", CONF)["tables"]
    assert {len(keys) for rows in tables.values() for keys in rows.values()} == {3}


def test_rows_and_figures_that_name_a_detector_or_a_student_are_evaluated():
    values = {
        "experiments": {
            "detectors": {"a1": {}, "a5": {}, "teacher": {}, "bilinear": {}},
            "students": {"one": {}},
            "evaluations": {"a5": {"model": "extractors/main"}, "a3": {"model": "extractors/main"}},
            "submissions": {"a1": None, "one": {"model": "detectors/a5"}},
        },
        "tables": {"table4": {"A1": "a1", "A5": "a5", "A3": "a3", "ours": "one", "wrong": "nothing"}},
        "figures": {"gradcam": {"bilinear": "bilinear"}},
    }
    found = evaluate_rows(values)["experiments"]
    assert found["evaluations"] == {
        "a5": {"model": "extractors/main"},  # as given
        "a3": {"model": "extractors/main"},
        "a1": {"model": "detectors/a1"},
        "bilinear": {"model": "detectors/bilinear"},
        "one": {"model": "students/one"},
    }
    assert found["submissions"] == {"a1": {"model": "detectors/a1"}, "one": {"model": "detectors/a5"}}
    assert "bilinear" not in values["experiments"]["evaluations"]
