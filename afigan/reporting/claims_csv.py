"""results/claims.csv: every contrast with all its computed values, unrounded."""

import pandas as pd

from afigan.reporting.comparisons import Finding
from afigan.reporting.costs import NAME, Cost
from afigan.reporting.judged import Judged
from afigan.reporting.verdicts import AGREES, CONTRADICTS, HIGHER, LOWER, SAME, Judgement

TESTS = {AGREES: "agrees", CONTRADICTS: "contradicts", HIGHER: "higher", LOWER: "lower", SAME: "same"}
COLUMNS = (
    *("claim", "claim_verdict", "contrast", "table", "metric", "expected", "verdict", "mean", "low", "high"),
    *("seeds", "seed_numbers", "pairs", "possible_pairs", "se_seeds", "se_images", "se", "df"),
    *(f"p_{name}{suffix}" for name in TESTS.values() for suffix in ("", "_adjusted")),
    *("paper", "paper_inside", "not_run"),
)


def claims_csv(judged: Judged) -> str:
    """Return the CSV: a line for each contrast and metric, with C8's metrics `params_M`, `time_ms` and `time_ratio`.

    Columns: low, high: the 95 % interval, not adjusted; se_seeds, se_images, se: standard errors of the seeds' part,
    of the images' part and of both; df: the interval's degrees of freedom; p_X: p value of the test for the verdict X,
    p_X_adjusted: the same after Holm's adjustment over the contrasts of the claim.
    A cell is empty if it does not apply or has not been run.
    """
    rows = [
        {"claim": o.claim.name, "claim_verdict": o.verdict} | _cells(finding, judgement)
        for o in judged.outcomes
        for finding, judgement in zip(o.findings, o.judgements, strict=True)
    ]
    for ours, printed in zip(judged.costs.ours, judged.costs.printed, strict=True):
        rows += [{"claim": NAME, "claim_verdict": judged.costs.verdict} | cells for cells in _cost_cells(ours, printed)]
    rows.sort(key=lambda row: str(row["claim"]))  # C1 to C8, then the questions; stable
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object).to_csv(index=False, lineterminator="\n")


def _cells(finding: Finding, judgement: Judgement) -> dict[str, object]:
    comparison, effect = finding.comparison, finding.effect
    cells: dict[str, object] = {
        "contrast": comparison.text,
        "table": comparison.table,
        "metric": comparison.column,
        "expected": comparison.expected,
        "verdict": judgement.verdict,
        "pairs": len(finding.each),
        "possible_pairs": finding.possible,
        "paper": finding.printed,
        "paper_inside": None if finding.inside is None else int(finding.inside),
        "not_run": "; ".join(finding.missing),
    }
    if effect is not None:
        low, high = finding.interval or (None, None)
        cells |= {"mean": effect.mean, "low": low, "high": high, "df": effect.df}
        cells |= {"seeds": len(finding.seeds), "seed_numbers": "; ".join(map(str, finding.seeds))}
        cells |= {"se_seeds": effect.seed_error, "se_images": effect.image_error, "se": effect.error}
    for word, name in TESTS.items():
        cells |= {f"p_{name}": judgement.p.get(word), f"p_{name}_adjusted": judgement.adjusted.get(word)}
    return cells


def _cost_cells(ours: Cost, printed: Cost) -> list[dict[str, object]]:
    metrics = {"params_M": "params_M", "time_ms": "time_ms", "time_ratio": "ratio"}
    return [
        {
            "contrast": f"AFI − nearest, {ours.text}",
            "metric": metric,
            "mean": getattr(ours, attribute),
            "pairs": ours.pairs,
            "possible_pairs": ours.possible,
            "paper": getattr(printed, attribute),
            "not_run": "; ".join(ours.missing),
        }
        for metric, attribute in metrics.items()
    ]
