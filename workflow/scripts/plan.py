"""Show what params.yaml asks for, what of it is done, and the hours that the rest takes, from past runs' journals.

An estimate needs one run with the current parameters of a similar experiment; until then it says `unknown`.
"""

import contextlib
import signal
from pathlib import Path

from _stage import clean_exit, stage_parser


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--params", default="params.yaml", help="parameters of the run, which is in their folder (default: %(default)s)"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in `plan.py | head`
    file = Path(arguments.params)
    with clean_exit(arguments.traceback):
        from afigan.params.loading import load_params
        from afigan.reporting.plan import plan, render, row_costs
        from afigan.runtime.state import now

        params = load_params(file)
        with contextlib.chdir(file.parent):
            items = plan(params, now())
        seconds = {item.node: item.seconds for item in items}
        print(render(items, row_costs(params, seconds.get), params.processes))


if __name__ == "__main__":
    main()
