"""Experiments under several seeds: `seeds: [0, 1, 2]` of a profile, written out when params.yaml is composed."""

from typing import Any

from afigan.experiments import STAGES

REFERENCES = ("backbone", "teacher", "init", "model", "labels")


def replicate(values: dict[str, Any]) -> dict[str, Any]:
    """Replace `seeds` by a copy of every experiment per seed: `a1` for the first, `a1_s1` for seed 1, and so on.

    A copy refers to the copies of the same seed. A table's row names all its evaluations. Submissions and figures use
    the first seed.
    """
    values = dict(values)
    seeds = values.pop("seeds", [values["seed"]])
    values["seed"] = seeds[0]
    experiments = values["experiments"]
    copied = {kind: dict(items) for kind, items in experiments.items()}
    for seed in seeds[1:]:
        suffix = f"_s{seed}"
        for kind, items in experiments.items():
            if kind != "submissions":
                for key, item in items.items():
                    copied[kind][key + suffix] = _copy(item, suffix) | ({"seed": seed} if kind in STAGES else {})
    values["experiments"] = copied
    if len(seeds) > 1:
        values["tables"] = {
            table: {row: [key, *(f"{key}_s{seed}" for seed in seeds[1:])] for row, key in rows.items()}
            for table, rows in values["tables"].items()
        }
    return values


def _copy(item: dict[str, Any], suffix: str) -> dict[str, Any]:
    return {name: value + suffix if name in REFERENCES else value for name, value in item.items()}
