"""A run as plain values: what all reports show, and nothing about how."""

__all__ = [
    "all_answers",
    "candidate_records",
    "candidates",
    "changed",
    "changed_records",
    "check_records",
    "earlier",
    "file_names",
    "model_records",
    "records",
    "results_file",
    "summary",
    "values",
    "wording",
]
