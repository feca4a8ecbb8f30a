"""All claims of the paper, and the questions beyond them, judged on one run."""

from dataclasses import dataclass

from afigan.reporting.claims import CLAIMS, QUESTIONS
from afigan.reporting.costs import CostOutcome, judge_costs
from afigan.reporting.results import Results
from afigan.reporting.verdicts import Outcome, judge


@dataclass(frozen=True)
class Judged:
    """Verdicts of a run. claims: C1 to C7. costs: C8. questions: those beyond the paper. source: the judged results."""

    claims: tuple[Outcome, ...]
    costs: CostOutcome
    questions: tuple[Outcome, ...]
    source: Results

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The outcomes about AP: claims, then questions."""
        return self.claims + self.questions


def judge_run(results: Results) -> Judged:
    """Judge all claims and questions. Raises ValueError as `afigan.reporting.comparisons.find` does."""
    claims = tuple(judge(claim, results) for claim in CLAIMS)
    questions = tuple(judge(question, results) for question in QUESTIONS)
    return Judged(claims, judge_costs(results), questions, results)
