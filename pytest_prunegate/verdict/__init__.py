"""From the scores of both models to a verdict: sampling, what was fixed before, pairs, intervals, noise.

It may import stats, tasks and what lies below them. It loads no model and asks none.
"""
