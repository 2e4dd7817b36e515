"""The options and their ini twins. Imported by every pytest run, so that it holds nothing but their declaration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

DEFAULT_SEED = 1234  # lm-eval's own default


class Flag:
    """An option: its flag, ini twin (None where it has none), default, metavar and help."""

    def __init__(self, flag: str, ini: str | None, default: str | None, metavar: str, text: str) -> None:
        self.flag = flag
        self.ini = ini
        self.default = default
        self.metavar = metavar
        self.help = text
        self.dest = flag.removeprefix("--").replace("-", "_")


ORIGINAL = Flag(
    "--original",
    None,
    None,
    "MODEL",
    "the original model: a directory, a hub id or id@revision; NAME=MODEL names it",
)
PRUNED = Flag("--pruned", None, None, "MODEL", "the pruned model, likewise; both together switch the gate on")
THRESHOLDS = Flag(
    "--thresholds",
    "prunegate_thresholds",
    None,
    "FILE",
    "thresholds file (default: thresholds.yaml), or 'default' for the built-in one",
)
TASKS = Flag(
    "--prunegate-tasks",
    None,
    None,
    "NAMES",
    "only these tasks (comma separated); one that the file lacks is added under its defaults",
)
LIMIT = Flag(
    "--prunegate-limit",
    None,
    None,
    "N",
    "documents per task: a seeded random sample, the same for both models",
)
SEED = Flag("--prunegate-seed", "prunegate_seed", str(DEFAULT_SEED), "N", "seed of the sample of documents")
BATCH = Flag("--prunegate-batch-size", "prunegate_batch_size", "1", "N", "requests per batch, or lm-eval's auto")
DEVICE = Flag(
    "--prunegate-device",
    "prunegate_device",
    "auto",
    "DEVICE",
    "cpu, cuda, cuda:1, mps (default: a GPU if there is one)",
)
DTYPE = Flag("--prunegate-dtype", "prunegate_dtype", "auto", "DTYPE", "dtype of both models (default: the original's)")
CACHE = Flag(
    "--prunegate-cache-dir",
    "prunegate_cache_dir",
    None,
    "DIR",
    "for downloads and the index of lm-eval's tasks",
)
OUTPUT = Flag("--prunegate-output", "prunegate_output", "prunegate-results", "DIR", "for results, reports and the log")
STORE = Flag(
    "--prunegate-store",
    "prunegate_store",
    ".prunegate",
    "DIR",
    "keeps every response, so that nothing is computed twice",
)
ALL = (
    ORIGINAL,
    PRUNED,
    THRESHOLDS,
    TASKS,
    LIMIT,
    SEED,
    BATCH,
    DEVICE,
    DTYPE,
    CACHE,
    OUTPUT,
    STORE,
)


def add_options(parser: pytest.Parser) -> None:
    """Declare all options and their ini twins."""
    group = parser.getgroup("prunegate", "pruned language models (pytest-prunegate)")
    for option in ALL:
        group.addoption(option.flag, dest=option.dest, metavar=option.metavar, default=None, help=option.help)
        if option.ini:
            parser.addini(option.ini, f"like {option.flag}", default=None)


def is_requested(config: pytest.Config) -> bool:
    """Whether a gate was asked for at all."""
    return any(config.getoption(flag.dest) is not None for flag in (ORIGINAL, PRUNED))
