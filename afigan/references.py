"""What parts of params.yaml say of one another: the weights that experiments start from, the rows they fill."""

from typing import Any

from afigan.schema import Params


def broken_references(params: Params) -> list[str]:
    """What one part says of another that does not hold, each naming its key."""
    experiments = params.experiments
    problems = []
    for stage in ("train_backbone", "train_afigan", "train_extractor", "train_detector"):
        if (size := getattr(params, stage).batch_size) % params.processes:
            problems.append(f"{stage}.batch_size: {size} images are not evenly shared by {params.processes} processes")

    def lookup(where: str, node: str) -> Any:
        kind, _, key = node.partition("/")
        if node == "backbone":
            return None
        found = getattr(experiments, kind).get(key)
        if found is None:
            known = ", ".join(getattr(experiments, kind)) or "none"
            problems.append(f"{where}: there is no experiments.{kind}.{key}; those that exist: {known}")
        return found

    def agree(where: str, ours: Any, theirs: Any, *names: str) -> None:
        for name in names:
            if theirs is not None and getattr(ours, name) != getattr(theirs, name, getattr(ours, name)):
                value, other = getattr(ours, name), getattr(theirs, name)
                problems.append(f"{where}.{name}: {value!r}, but the weights it starts from have {other!r}")

    for kind in ("afigan", "extractors"):
        for key, item in getattr(experiments, kind).items():
            where = f"experiments.{kind}.{key}"
            teacher = lookup(f"{where}.teacher", f"detectors/{item.teacher}")
            if teacher is not None and teacher.init != "backbone":
                problems.append(f"{where}.teacher: F must be trained without AFI-GAN, {item.teacher} starts from one")
            if item.degradation not in params.pairs.degradations:
                problems.append(
                    f"{where}.degradation: {item.degradation} is not among pairs.degradations; add it there"
                )
            if kind == "extractors":
                if item.init != "backbone" and item.interpolator != "afi":
                    problems.append(f"{where}.init: {item.interpolator} takes nothing from stage 1; set it to backbone")
                agree(where, item, lookup(f"{where}.init", item.init), "blocks", "degradation", "match")
            if item.match == "different" and len(params.model.levels) < 2:
                problems.append(f"{where}.match: different levels need at least two in model.levels")
    for key, item in experiments.detectors.items():
        where = f"experiments.detectors.{key}"
        start = lookup(f"{where}.init", item.init)
        if item.reuse == "M" and not item.init.startswith("extractors/"):
            problems.append(f"{where}.reuse: M can be reused from an extractor only, init is {item.init}")
        if item.init.startswith("afigan/") and item.interpolator != "afi":
            problems.append(f"{where}.init: {item.interpolator} takes nothing from stage 1; set it to backbone")
        agree(where, item, start, "blocks", *(("interpolator", "upsampling") if item.init.startswith("extr") else ()))
    for key, item in experiments.evaluations.items():
        lookup(f"experiments.evaluations.{key}.model", item.model)
    for table, rows in params.tables.items():
        problems += [
            f"tables.{table}.{row}: there is no experiments.evaluations.{key}"
            for row, key in rows.items()
            if key not in experiments.evaluations
        ]
    lookup("figures.afigan", f"afigan/{params.figures.afigan}")
    return problems
