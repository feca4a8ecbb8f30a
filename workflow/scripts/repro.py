"""Run all stages of params.yaml on all cores, with one line of progress; both engines know the result.

Snakemake runs the stages, as many at a time as there are cores, seed after seed. In a DVC repository, DVC adopts the
result, so that `dvc status` and `snakemake -n` both have nothing to do. If DVC has run before and Snakemake has not,
DVC continues and Snakemake adopts the result. The stages' output is in logs/repro.log.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from _stage import clean_exit, stage_parser

LOG = Path("logs/repro.log")


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="stages at a time (default: %(default)s)")
    arguments = parser.parse_args()
    with clean_exit(arguments.traceback):
        from _closing import closing

        from afigan.params.loading import load_params

        params = load_params("params.yaml")  # the engines read it here
        from workflow.adopt import adoption, engines

        with_dvc = Path(".dvc").is_dir() and in_git()
        if with_dvc and engines.dvc_has_records() and not engines.snakemake_has_records():
            if subprocess.run(["dvc", "repro"], check=False).returncode:
                raise ValueError("`dvc repro` has failed; its messages are above")
            print(f"repro: {adoption.to_snakemake(params)}")
            print(*closing(params), sep="\n")
            return
        run_snakemake(params, arguments.cores)
        if with_dvc and (not engines.dvc_has_records() or engines.dvc_changes()):
            print(f"repro: {adoption.to_dvc(params)}")
        elif Path(".dvc").is_dir() and not with_dvc:
            print("repro: DVC needs a Git repository to adopt the result: run `git init`, then `make adopt-dvc`")
        print(*closing(params), sep="\n")


def in_git() -> bool:
    """Return True if this folder is in a Git repository, which an unpacked archive is not."""
    here = Path.cwd()
    return any((folder / ".git").exists() for folder in (here, *here.parents))


def run_snakemake(params: Any, cores: int) -> None:
    """Run all stages that are due, the experiments of one seed before those of the next.

    Raises:
        ValueError: a stage has failed, or Snakemake cannot start.
    """
    import _gpus
    from _progress import Progress

    options = ["snakemake", "--cores", str(cores), "--scheduler", "greedy", "--nocolor"]
    at_a_time = max(1, cores // params.threads)
    if params.device != "cpu" and (gpus := _gpus.visible_gpus()):
        options += ["--resources", f"gpu={len(gpus)}"]
        at_a_time = min(at_a_time, max(1, len(gpus) // params.processes))
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("a", encoding="utf-8") as log:
        planned = subprocess.run([*options, "-n", "--quiet", "host"], capture_output=True, text=True, check=False)
        log.write(planned.stdout + planned.stderr)
        if planned.returncode:
            raise ValueError(f"Snakemake cannot run: {planned.stderr.strip() or planned.stdout.strip()}")
        progress = Progress(planned.stdout + planned.stderr, at_a_time)
        if not progress.total:
            return
        for targets, urgent in groups(params):
            command = [*options, *targets, *(["--prioritize", *urgent] if urgent else [])]
            if progress.follow(command, log):
                raise ValueError(
                    f"a stage has failed: its message is in the last lines of {LOG}, and `make status` lists failures. "
                    "Run this again to continue from there:\n" + progress.tail()
                )


def groups(params: Any) -> list[tuple[list[str], list[str]]]:
    """Return the targets of each Snakemake call, and those of their inputs that other stages wait for."""
    from afigan.outputs.paths import last_output, outputs
    from afigan.params.lineage import Lineage

    lineage = Lineage(params)
    by_seed: dict[int, list[str]] = {}
    for node in lineage.of_kind("evaluations"):
        by_seed.setdefault(node.parents[0].seed, []).append(last_output(node.name).as_posix())
    extractors = {node.name: outputs(node.name)[0] for node in lineage.of_kind("extractors")}
    found = []
    for seed, metrics in by_seed.items() if len(by_seed) > 1 else ():
        urgent = [path for name, path in extractors.items() if lineage[name].seed == seed]
        found.append(([*metrics, *urgent], urgent))
    return [*found, ([], [] if found else [*extractors.values()])]


if __name__ == "__main__":
    main()
    sys.exit(0)
