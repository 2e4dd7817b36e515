"""What CI systems read: JUnit properties, annotations, step summaries."""

__all__ = ["github", "junit"]
