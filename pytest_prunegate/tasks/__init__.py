"""What is asked and how it is scored: checks, lm-eval's tasks, documents, requests, outputs.

It may import checkpoint, store and input.
"""
