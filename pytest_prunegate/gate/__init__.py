"""One comparison from plan to results: which models, what will be asked, measuring, progress.

It may import baseline, verdict, execution, tasks and what lies below them.
"""

__all__ = ["candidate_gates", "estimates", "gate", "identity", "pair", "plan", "preflight", "run_input", "run_notes"]
