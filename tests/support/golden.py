"""Golden files: what a user sees, kept in `tests/golden` and compared byte for byte.

After a change that is meant, renew them and read the difference before it is committed:

    PRUNEGATE_RENEW_GOLDEN=1 pytest -n0 tests/report && git diff tests/golden
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden"
RENEW = "PRUNEGATE_RENEW_GOLDEN"


def assert_golden(name: str, text: str) -> None:
    """The text is what the golden file of this name holds; renewed first where the environment asks for it.

    Raises:
        AssertionError: it differs, or there is no such file.
    """
    path = FOLDER / name
    if os.environ.get(RENEW):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
    assert path.is_file(), f"there is no tests/golden/{name}; write it with {RENEW}=1"
    kept = path.read_bytes().decode()
    assert text.splitlines() == kept.splitlines(), f"not as in tests/golden/{name}; if this is meant, renew it with {RENEW}=1"  # fmt: skip
    assert text == kept, f"the ends of lines differ from those in tests/golden/{name}"
