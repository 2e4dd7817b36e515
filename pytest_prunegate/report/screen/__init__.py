"""What a run prints: progress, tables, failures, the log."""

__all__ = ["failing", "log", "marked_lines", "progress", "table", "terminal"]
