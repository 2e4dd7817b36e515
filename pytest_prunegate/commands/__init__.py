"""What ``python -m pytest_prunegate`` does besides running the gate: store, fetch, history, thresholds.

They may import report, gate, store and input.
"""

__all__ = ["fetch", "history", "local_data", "proposal", "ratchet", "recorded", "store"]
