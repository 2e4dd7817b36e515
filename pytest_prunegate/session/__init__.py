"""pytest's side of a run: items, phases, fixtures, workers, exit codes and what is said at the end.

It may import every room below; only ``plugin`` imports it, and only when a gate was asked for.
"""

__all__ = ["fixtures", "run"]
