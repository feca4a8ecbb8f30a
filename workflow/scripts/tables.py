"""Write our tables beside the paper's, the verdicts on its claims, and pages that show both.

results/tables/, results/claims.{md,csv,png}, results/README.md, and results/index.html for a browser.
"""

from typing import Any

from _stage import main


def run(params: Any) -> None:
    from afigan.reporting.report import write_report

    write_report(params)


if __name__ == "__main__":
    main(__doc__, run)
