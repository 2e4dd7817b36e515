"""Numbers in, numbers out: no project imports, no clock, no global generator."""

__all__ = ["early_stopping", "intervals", "margins", "power"]
