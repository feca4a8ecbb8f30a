"""The parts of params.yaml that are written out when it is composed: evaluations, and experiments a seed."""

from typing import Any

from afigan.params.stages import REFERENCES, TRAINED


def evaluate_rows(values: dict[str, Any]) -> dict[str, Any]:
    """Write out evaluations: of every detector and student that a table's row or a figure names by its key.

    A submission without values is the evaluation of its key.
    """
    experiments = values["experiments"]
    figures = values.get("figures", {})
    named = [key for rows in values["tables"].values() for key in rows.values()]
    named += [figures.get("nearest"), figures.get("afi"), *figures.get("gradcam", {}).values()]
    evaluations: dict[str, Any] = {}
    for kind in ("detectors", "students"):
        for key in experiments.get(kind, {}):
            if key in named:
                evaluations.setdefault(key, {"model": f"{kind}/{key}"})
    evaluations |= experiments.get("evaluations", {})
    submissions = {
        key: item or evaluations.get(key, {}) for key, item in (experiments.get("submissions") or {}).items()
    }
    return values | {"experiments": experiments | {"evaluations": evaluations, "submissions": submissions}}


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
                    copied[kind][key + suffix] = _copy(item, suffix) | ({"seed": seed} if kind in TRAINED else {})
    values["experiments"] = copied
    if len(seeds) > 1:
        values["tables"] = {
            table: {row: [key, *(f"{key}_s{seed}" for seed in seeds[1:])] for row, key in rows.items()}
            for table, rows in values["tables"].items()
        }
    return values


def _copy(item: dict[str, Any], suffix: str) -> dict[str, Any]:
    return {name: value + suffix if name in REFERENCES else value for name, value in item.items()}
