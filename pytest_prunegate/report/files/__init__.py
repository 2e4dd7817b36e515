"""The files of a report: each whole or not at all, with the earlier ones archived."""

__all__ = ["report_files"]
