"""One line for each finished run, and what is drawn and printed of them."""

__all__ = ["page", "records", "view"]
