"""Write our tables beside the paper's, and a page that shows them: results/tables/ and results/README.md."""

from typing import Any

from _stage import main


def run(params: Any) -> None:
    from afigan.reporting.report import write_report

    write_report(params)


if __name__ == "__main__":
    main(__doc__, run)
