"""Where models are put."""

from __future__ import annotations

import platform


def resolve_device(device: str) -> str:
    """The device that "auto" stands for: a GPU where there is one. Imports torch only to look."""
    if device != "auto":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def hardware_name(device: str) -> str:
    """What computes on a device, for provenance: ``cuda: NVIDIA L4``, ``cpu: x86_64``. Imports torch for a GPU, and to look."""
    resolved = resolve_device(device)
    if not resolved.startswith("cuda"):
        return f"{resolved}: {platform.machine()}"
    import torch

    return f"cuda: {torch.cuda.get_device_name(resolved)}" if torch.cuda.is_available() else resolved
