"""From the scores of both models to a verdict: sampling, what was fixed before, pairs, intervals, noise.

It may import stats, tasks and what lies below them. It loads no model and asks none.
"""

__all__ = [
    "answers",
    "candidate_pairs",
    "check_scores",
    "compare",
    "judge",
    "ledger",
    "loss_interval",
    "noise",
    "outcome",
    "outlook",
    "sampling",
    "verdicts",
]
