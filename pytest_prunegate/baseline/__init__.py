"""Baselines as files: a model's answers, and all that a gate needs to know of it, in place of the model."""
