"""What a run prints: progress, tables, failures, the log."""
