"""Copy a finished run's results to docs/results/NAME: tables, claims, their plot, detections, provenance.

Pictures that show photographs are left out, because they are not ours to publish. A run that is stale or incomplete is
refused. The verdicts of the run `evidence` are also written into README.md, between its marks for them.

Machine, date and wall time are those that the stages have recorded in runs/; options override them.
"""

import argparse
from pathlib import Path

from _stage import clean_exit, stage_parser


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument("--from", dest="run", type=Path, required=True, metavar="RUNDIR", help="where params.yaml is")
    parser.add_argument("--name", required=True, help="folder of docs/results")
    parser.add_argument("--command", required=True, help="the command that started the run, such as `make evidence`")
    parser.add_argument("--commit", help="commit of the code that ran (default: that of this checkout)")
    parser.add_argument("--machine", help="description (default: this machine, if the stages ran on it)")
    parser.add_argument("--wall-time", type=seconds, metavar="H:MM:SS", help="default: as recorded in runs/")
    parser.add_argument("--date", help="day of the run's end, such as 2026-11-26 (default: as recorded in runs/)")
    arguments = parser.parse_args()
    with clean_exit(arguments.traceback):
        import _publication

        given = _publication.Given(
            arguments.command, arguments.commit, arguments.machine, arguments.wall_time, arguments.date
        )
        for path in _publication.publish(arguments.run, arguments.name, given):
            print(f"publish: {path}")


def seconds(text: str) -> int:
    """Read seconds from a text: `2:45:10` -> 9910."""
    try:
        hours, minutes, rest = map(int, text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: give hours, minutes and seconds, such as 2:45:10") from None
    return 3600 * hours + 60 * minutes + rest


if __name__ == "__main__":
    main()
