"""What a run found, as values and as everything that shows them: screen, pages, files, history, CI. It decides nothing.

Its rooms may import ``report.summary``, gate, verdict and tasks.
"""
