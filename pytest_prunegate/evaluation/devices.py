"""Where models are put."""

from __future__ import annotations


def resolve_device(device: str) -> str:
    """The device that "auto" stands for: a GPU where there is one. Imports torch only to look."""
    if device != "auto":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
