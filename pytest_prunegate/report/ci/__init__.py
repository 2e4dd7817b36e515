"""What CI systems read: JUnit properties, annotations, step summaries."""
