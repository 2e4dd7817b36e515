"""Settings of foreign libraries that hold for the whole process, set before those are imported."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
