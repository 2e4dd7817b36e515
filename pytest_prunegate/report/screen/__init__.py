"""What a run prints: progress, tables, failures, the log."""

__all__ = ["failed_check", "log", "marked_lines", "progress", "table", "terminal"]
