"""What a user wrote, in options and in YAML, as frozen values; every mistake at once.

It imports the root alone.
"""

__all__ = [
    "file_rules",
    "model_argument",
    "options",
    "rule",
    "rules",
    "running_rules",
    "task_reader",
    "threshold_values",
    "thresholds",
    "yaml_nodes",
]
