"""Show the progress of every experiment of params.yaml, and errors, from the files that the stages write.

Call it during a run, on any machine that sees this folder. It has colours on a terminal, and none in a file or a pipe.

  done             the output exists and has the current parameters of the experiment and of its ancestors
  there            the output exists, without a record of its parameters
  stale            the output has other parameters
  running          with iterations done, remaining time at the speed so far, newest checkpoint, last losses
  failed           the error, and the file with its traceback
  interrupted      by Ctrl-C; preempted: by SIGTERM. A training that is run again continues from its checkpoint
  no sign of life  the process has ended without a report, or another machine has reported nothing for ten minutes
  waiting          none of these; the stages that it waits for are named
"""

import argparse
import contextlib
import shutil
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

WIDE = 1000  # characters per line if the output is not a terminal: nothing is cut


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--params", default="params.yaml", help="parameters of the run, which is in their folder (default: %(default)s)"
    )
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="repeat every SECONDS until interrupted")


def run(arguments: argparse.Namespace) -> None:
    from afigan.outputs.status import Row, render, rows
    from afigan.params.loading import load_params
    from afigan.runtime.state import now

    file = Path(arguments.params)

    def look() -> tuple[list[Row], datetime]:
        moment = now()
        return rows(load_params(file.name), moment), moment

    load_params(file)  # its errors name the path as it was given
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in `afigan status | head`
    with contextlib.suppress(KeyboardInterrupt), contextlib.chdir(file.parent):
        if sys.stdout.isatty():
            from afigan.outputs import terminal

            if console := terminal.screen():
                if arguments.watch is None:
                    terminal.show(console, *look())
                    return
                first = look()  # an error in params.yaml is not hidden by the screen of the table
                with terminal.live(console) as update:
                    update(*first)
                    while True:
                        time.sleep(max(arguments.watch, 0.0))
                        update(*look())
        while True:
            table, moment = look()
            size = shutil.get_terminal_size((WIDE, 0))
            height = size.lines if arguments.watch is not None and sys.stdout.isatty() else None
            print(render(table, moment, size.columns, height), flush=True)
            if arguments.watch is None:
                break
            time.sleep(max(arguments.watch, 0.0))
