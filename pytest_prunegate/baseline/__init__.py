"""Baselines as files: a model's answers, and all that a gate needs to know of it, in place of the model.

It may import execution, tasks, store and what lies below them.
"""

__all__ = ["kept_facts", "model_description", "records", "run_baselines"]
