"""Imports go one way: figures; training, evaluation, reporting; detectors; pyramids; outputs, params, runtime."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import afigan

ROOT = Path(__file__).parents[1]
# A part imports from parts of lower rank and from itself. Reports also read the matches that an evaluation writes.
RANKS = {
    **dict.fromkeys(["compat", "losses", "discriminator", "interpolators", "runtime"], 0),
    **dict.fromkeys(["params", "backbones"], 1),
    "outputs": 2,
    **dict.fromkeys(["pyramids", "weights", "data"], 3),
    **dict.fromkeys(["detectors", "torchvision", "export"], 4),
    **dict.fromkeys(["training", "evaluation", "reporting"], 5),
    **dict.fromkeys(["figures", "prediction"], 6),
    "commands": 7,
    "__main__": 8,
}


def modules():
    """Return {name: syntax tree} of all modules of the package."""
    found = {}
    for path in sorted((ROOT / "afigan").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return found


def imports(name, tree, everywhere=True):
    """Return a module's imports, in functions too: full names of modules, or of names in them."""
    names = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


MODULES = modules()
# the package itself offers `add_afigan_config`, imported when it is asked for; that is no dependency
EDGES = {name: imports(name, tree, everywhere=name != "afigan") for name, tree in MODULES.items()}


def part(name):
    """Return `interpolators` of `afigan.interpolators.afi.AFInterpolator`; empty for the package itself."""
    return "".join(name.split(".")[1:2]) if ".".join(name.split(".")[:2]) in MODULES else ""


def test_every_part_has_its_rank():
    assert {part(name) for name in MODULES} - {""} == set(RANKS)


@pytest.mark.parametrize("name", MODULES)
def test_nothing_points_back(name):
    for target in EDGES[name]:
        ours, theirs = part(name), part(target)
        if not target.startswith("afigan.") or not ours or not theirs or ours == theirs:
            continue
        reads_matches = ours == "reporting" and theirs == "evaluation"
        assert RANKS[theirs] < RANKS[ours] or reads_matches, f"{name} imports {target}"


def test_reports_need_no_training():
    """Tables need only files, matches included: drawing them needs neither torch nor a detector."""
    found = {t for name, edges in EDGES.items() if part(name) == "reporting" for t in edges if t.startswith("afigan.")}
    targets = {part(t) for t in found if not t.startswith("afigan.evaluation.matches.")}
    assert not targets & {"training", "evaluation", "detectors", "pyramids", "interpolators", "backbones"}


def test_there_is_no_circle():
    def module(target):
        while target not in MODULES:
            target = target.rpartition(".")[0]
        return target

    graph = {
        name: {module(t) for t in edges if t.startswith("afigan.")} - {name, "afigan"} for name, edges in EDGES.items()
    }
    TopologicalSorter(graph).prepare()


def test_the_method_knows_nothing_of_the_workflow():
    for name, edges in EDGES.items():
        assert not {target for target in edges if target.split(".")[0] in ("workflow", "dvc", "snakemake", "tests")}, (
            name
        )


@pytest.mark.parametrize("script", sorted((ROOT / "workflow/scripts").glob("*.py")), ids=lambda path: path.stem)
def test_scripts_need_no_torch_of_their_own(script):
    """A script answers --help and refuses a wrong params.yaml before it imports anything heavy."""
    tree = ast.parse(script.read_text("utf-8"))
    assert not {t for t in imports(script.stem, tree) if t.split(".")[0] in ("torch", "detectron2")}
    heavy = ("afigan.training", "afigan.evaluation", "afigan.detectors", "afigan.pyramids")
    assert not {t for t in imports(script.stem, tree, everywhere=False) if t.startswith(heavy)}


LIGHT = (
    "afigan",
    "afigan.params.loading",
    "afigan.params.lineage",
    "afigan.data.prepare.stage",
    "afigan.data.pairs",
    "afigan.reporting.bootstrap",
    "afigan.reporting.statistics",
    "afigan.outputs.status",
    "afigan.reporting.tables",
)


def test_light_modules_stay_light():
    code = "import importlib, sys\n" + "\n".join(
        f"importlib.import_module({name!r}); assert not {{'torch', 'detectron2'}} & set(sys.modules), {name!r}"
        for name in LIGHT
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_the_package_offers():
    assert afigan.add_afigan_config.__module__ == "afigan.pyramids.registry"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = afigan.nothing
