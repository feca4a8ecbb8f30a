"""The frame of every stage script: read its arguments and params.yaml, then call one function of afigan.

`import afigan` finds this repository, which is first on the module path, whether or not the package is installed.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

SCRIPTS = str(Path(__file__).resolve().parent)
# Python has put this folder first; it must be last, so that no script hides a package of the same name
sys.path = [str(Path(SCRIPTS).parents[1]), *(path for path in sys.path if path != SCRIPTS), SCRIPTS]

import _gpus  # noqa: E402 - found beside this file

LOCKS = Path("runs/locks")
CPU_STAGES = ("prepare", "pairs", "tables")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def main(doc: str | None, call: Callable[..., None], option: str | None = None, among: str | None = None) -> NoReturn:
    """Run a stage and exit: 0 done, 2 an error that the user has to fix, 75 ended by SIGTERM, 130 interrupted.

    In one checkout, no two processes run the same stage with the same value of its option at a time.

    Args:
        doc: the script's docstring, shown by --help.
        call: a function of the checked parameters and, if there is an option, of its value. It imports heavy modules
            itself, so that --help and wrong arguments do not wait for torch.
        option: name of a second argument, as in --key.
        among: the section of params.yaml whose keys or items are the option's values, as in `experiments.detectors`.
    """
    parser = stage_parser(doc)
    parser.add_argument("--params", default="params.yaml", help="parameters of the run (default: %(default)s)")
    if option:
        parser.add_argument(f"--{option}", required=True, help=f"one of {among} in the parameters")
    arguments = parser.parse_args()
    with clean_exit(arguments.traceback):
        from afigan.params.lineage import Lineage
        from afigan.params.loading import load_params
        from afigan.params.stages import TRAINED
        from afigan.runtime import state
        from afigan.runtime.files import exclusive

        params = load_params(arguments.params)
        node, params_hash = Path(sys.argv[0]).stem, ""
        values = []
        if option and among:
            values.append(chosen(params, option, among, getattr(arguments, option)))
            section, _, kind = among.partition(".")
            node = f"{kind if section == 'experiments' else section}/{values[0]}"
            params_hash = Lineage(params)[node].params_hash if section == "experiments" else ""
        trains = node.partition("/")[0] in TRAINED
        # set before torch is imported, and in place of Snakemake's values, because results depend on it
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(params.threads)))
        # oneDNN compiles a convolution for every number of RoIs; its default cache holds fewer than a training has
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")
        # under torchrun a rank's number chooses its GPU
        if params.device != "cpu" and Path(sys.argv[0]).stem not in CPU_STAGES and "LOCAL_RANK" not in os.environ:
            _gpus.take(params.processes if trains else 1)
        name = "-".join([Path(sys.argv[0]).stem, *values])
        first = os.environ.get("RANK", "0") == "0"  # under torchrun every rank runs this, and all are one run
        with (
            exclusive(LOCKS / name) if first else contextlib.nullcontext(),
            state.recorded(state.RUNS / node, node, params_hash, first=first),
        ):
            if trains:
                from afigan.data.checks import check_prepared

                check_prepared(params)
            call(params, *values)
    sys.exit(0)


def stage_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all scripts have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    return parser


def chosen(params: Any, option: str, among: str, value: str) -> str:
    """Return `value` if `among` has it.

    Raises:
        ValueError: `among` does not have it; the message lists its values.
    """
    known = list(attrgetter(among)(params))
    if value not in known:
        raise ValueError(f"--{option} {value}: not in {among} of the parameters; choose one of {', '.join(known)}")
    return value


def command(module: ModuleType) -> None:
    """Run a module of afigan.commands as a script."""
    parser = stage_parser(module.__doc__)
    module.add_arguments(parser)
    arguments = parser.parse_args()
    with clean_exit(arguments.traceback):
        module.run(arguments)


@contextlib.contextmanager
def clean_exit(traceback: bool = False) -> Iterator[None]:
    """Turn errors that the user can fix into one message and exit status 2; others keep their traceback."""
    from afigan.runtime import exits

    with exits.clean_exit(Path(sys.argv[0]).stem, traceback):
        yield
