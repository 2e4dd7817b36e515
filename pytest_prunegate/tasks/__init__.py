"""What is asked and how it is scored: checks, lm-eval's tasks, documents, requests, outputs.

It may import checkpoint, store and input.
"""

__all__ = [
    "agreement",
    "answer_texts",
    "chat",
    "checks",
    "guarded",
    "index",
    "kinds",
    "metric_names",
    "own_scorers",
    "prepared",
    "requests",
    "scorer",
    "scores",
    "side_by_side",
    "speed",
    "task_builder",
    "thresholds_file",
    "tokenizers",
    "unmeasurable",
]
