"""Collect the Python packages that benchmarks/gpu.py needs on a machine with torch, torchvision, timm and no network.

The versions are those of this environment. Packages in pure Python are copied from it; compiled ones are fetched for
the other machine's Python with uv. The result is one archive, which needs neither pip nor root to unpack. Packages
that are large and common beside torch (numpy, scipy, pandas, matplotlib, tensorboard) are left out; `--missing` names
those that the machine lacks.
"""

import argparse
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

# what the stages import, and Snakemake, which runs them
ROOTS = ("captum", "contourpy", "faster-coco-eval", "hydra-core", "matplotlib", "numpy", "pandas", "pb1-detectron2")
ROOTS += ("pillow", "pycocotools", "pydantic", "pyyaml", "safetensors", "scipy", "snakemake", "tensorboard", "tqdm")
# the other machine has these, and everything that they need
PRESENT = ("torch", "torchvision", "timm")
# so common beside torch, and so large, that they are collected only if `--missing` names them
COMMON = ("matplotlib", "numpy", "pandas", "scipy", "tensorboard")
LARGEST = 60 * 2**20  # bytes of the archive


def normal(name: str) -> str:
    """Return a package's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(roots: Iterable[str], without: set[str], python: str | None = None) -> set[str]:
    """Return the names of installed packages that `roots` need, themselves included, except for those in `without`.

    Args:
        python: major and minor version of the Python that needs them, such as 3.12 (default: this one's).
    """
    versions = {} if python is None else {"python_version": python, "python_full_version": f"{python}.0"}
    found: set[str] = set()
    waiting = [normal(root) for root in roots]
    while waiting:
        name = waiting.pop()
        if name in found or name in without:
            continue
        try:
            requires = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:  # an optional one that the lock leaves out
            continue
        found.add(name)
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate({"extra": "", **versions}):
                waiting.append(normal(requirement.name))
    return found


def compiled(name: str) -> bool:
    """Return whether an installed package has compiled modules."""
    return any(path.suffix == ".so" for path in metadata.distribution(name).files or [])


def copy(name: str, site: Path) -> None:
    """Copy an installed package in pure Python to another folder of packages."""
    for path in metadata.distribution(name).files or []:
        source = Path(path.locate())
        if ".." not in path.parts and "__pycache__" not in path.parts and source.is_file():
            target = site / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def collect(archive: Path, python: str, platform: str, missing: list[str]) -> None:
    """Write the archive.

    Raises:
        ValueError: it is larger than LARGEST.
        CalledProcessError: uv finds no compiled package for that Python.
    """
    # torchvision needs numpy, and that may be missing all the same
    present = closure([*PRESENT, *(name for name in COMMON if name not in missing)], set(), python) - set(missing)
    names = sorted(closure(ROOTS, present, python))
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        site.mkdir()
        fetched = [f"{name}=={metadata.version(name)}" for name in names if compiled(name)]
        target = ["--target", str(site), "--python-version", python, "--python-platform", platform]
        subprocess.run(
            ["uv", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", *target, *fetched], check=True
        )
        # commands and the packages' own tests, which scipy and pandas install too
        for folder in (site / "bin", *site.glob("**/tests")):
            shutil.rmtree(folder, ignore_errors=True)
        for name in names:
            if not compiled(name):
                copy(name, site)
        archive.parent.mkdir(parents=True, exist_ok=True)
        temporary = archive.with_name(archive.name + ".part")
        with tarfile.open(temporary, "w:xz") as out:
            out.add(site, ".")
        if (size := temporary.stat().st_size) > LARGEST:
            temporary.unlink()
            raise ValueError(f"the archive has {size / 2**20:.0f} MiB: name fewer packages with --missing")
        temporary.replace(archive)
    print(f"{archive}: {len(names)} packages for Python {python}, {size / 2**20:.0f} MiB. There:")
    print(f"  mkdir -p /tmp/site && tar -xJf {archive} -C /tmp/site && export PYTHONPATH=/tmp/site")
    print(f"The other machine has to have {', '.join(PRESENT)} and", end=" ")
    print(f"{', '.join(name for name in COMMON if name not in missing) or 'nothing else'}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="3.12", help="the other machine's Python (default: %(default)s)")
    parser.add_argument("--platform", default="x86_64-manylinux_2_28", help="for uv (default: %(default)s)")
    parser.add_argument("--missing", nargs="*", default=[], choices=COMMON, help="packages that the machine lacks too")
    parser.add_argument("-o", "--output", type=Path, default=Path("wheels/site.tar.xz"), help="default: %(default)s")
    arguments = parser.parse_args()
    collect(arguments.output, arguments.python, arguments.platform, arguments.missing)
