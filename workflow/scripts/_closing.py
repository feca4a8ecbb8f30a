"""The last five lines of `make repro`: what there is, the verdicts on claims and questions, and where to look."""

import csv
from pathlib import Path
from typing import Any

PAGE = Path("results/index.html")
CLAIMS = Path("results/claims.csv")
KINDS = {  # of experiments -> one, several
    "backbones": ("backbone", "backbones"),
    "afigan": ("AFI-GAN", "AFI-GANs"),
    "extractors": ("extractor", "extractors"),
    "detectors": ("detector", "detectors"),
    "students": ("student", "students"),
    "evaluations": ("evaluation", "evaluations"),
}


def closing(params: Any) -> list[str]:
    """Return five lines about a finished run in the working directory."""
    counts = {kind: len(getattr(params.experiments, kind)) for kind in KINDS}
    there = ", ".join(f"{count} {KINDS[kind][count > 1]}" for kind, count in counts.items() if count)
    numbers = ", ".join(map(str, sorted(int(name.removeprefix("table")) for name in params.tables)))
    tables = f", Table{'s' if len(params.tables) > 1 else ''} {numbers}" if numbers else ""
    found = verdicts(CLAIMS)
    return [
        f"repro: everything is up to date: {there}{tables}",
        f"claims: {grouped({name: verdict for name, verdict in found.items() if name.startswith('C')})}",
        f"questions: {grouped({name: verdict for name, verdict in found.items() if name.startswith('Q')})}",
        f"page: {PAGE} (`make report` opens it)",
        "text: results/README.md, results/claims.md; tables: results/tables/; models: models/",
    ]


def verdicts(path: Path) -> dict[str, str]:
    """Return {claim or question: its verdict} from claims.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["claim"]: row["claim_verdict"] for row in csv.DictReader(file)}


def grouped(found: dict[str, str]) -> str:
    """Return `agrees C8; undecided C3, C4`: what has been run first."""
    names: dict[str, list[str]] = {}
    for name, verdict in sorted(found.items(), key=lambda item: item[1] == "not run"):
        names.setdefault(verdict, []).append(name)
    return "; ".join(f"{verdict} {', '.join(group)}" for verdict, group in names.items()) or "none"
