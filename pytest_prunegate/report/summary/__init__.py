"""A run as plain values: what all reports show, and nothing about how."""
