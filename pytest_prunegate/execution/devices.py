"""Where models are put, how much room there is, and the settings of foreign libraries that hold for the whole process."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import psutil


def prepare_environment(cache_dir: Path | None) -> None:
    """Send downloads, converted data sets and the plots' fonts to the cache directory, where one is given, and keep libraries quiet.

    What the user's environment already says is left alone, except where the directory was asked for.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # silences a warning on every fork
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if cache_dir is None:
        return
    os.environ["HF_HUB_CACHE"] = str(cache_dir / "hub")
    os.environ["HF_DATASETS_CACHE"] = str(cache_dir / "datasets")
    os.environ.setdefault("MPLCONFIGDIR", str(cache_dir / "matplotlib"))  # its cache of fonts
    if datasets := sys.modules.get("datasets"):
        datasets.config.HF_DATASETS_CACHE = str(cache_dir / "datasets")


_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))  # v2, v1
_NO_LIMIT = 2**60  # version 1 writes a number near 2**63


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


def free_memory(device: str) -> tuple[int, str] | None:
    """Bytes that a model may take on a device, and who says so; None where nobody does.

    Args:
        device: as torch names it, not "auto".
    """
    kind = device.partition(":")[0]
    if kind == "cuda":
        return _free_on_cuda(device)
    return _free_of_the_machine() if kind in {"cpu", "mps"} else None


def _free_on_cuda(device: str) -> tuple[int, str] | None:
    import torch

    try:
        return int(torch.cuda.mem_get_info(torch.device(device))[0]), "as CUDA tells it"
    except (RuntimeError, AssertionError):  # no such device, or no driver: told when the model is loaded
        return None


def available_memory() -> int:
    """Bytes of memory that this process may still take: the machine's, or less where a container's limit is nearer."""
    free, limit = int(psutil.virtual_memory().available), _left_in_cgroup()
    return free if limit is None else min(free, limit)


def _free_of_the_machine() -> tuple[int, str]:
    free, basis = psutil.virtual_memory().available + psutil.swap_memory().free, "available memory and swap"
    limit = _left_in_cgroup()
    return (limit, "what the container's limit leaves") if limit is not None and limit < free else (free, basis)


def _left_in_cgroup() -> int | None:
    """What a container's limit leaves; None where there is no limit. Cached files count as free: the kernel drops them."""
    for limit_file, used_file in _LIMITS:
        limit, used = (_number(_CGROUP / name) for name in (limit_file, used_file))
        if limit is not None and used is not None and limit < _NO_LIMIT:
            return max(0, limit - used + _cached_files((_CGROUP / used_file).parent / "memory.stat"))
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such controller, or "max"
        return None


def _cached_files(path: Path) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
