"""One fingerprint for the data of a task, or of all members of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.evaluation.prepared import PreparedTask


def joined_fingerprint(parts: Sequence[PreparedTask]) -> str:
    """The data's fingerprint; of several tasks, one of theirs in their order."""
    if len(parts) == 1:
        return parts[0].data_fingerprint
    return xxhash.xxh3_128("-".join(part.data_fingerprint for part in parts).encode()).hexdigest()
