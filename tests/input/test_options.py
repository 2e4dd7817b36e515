"""The page of options has every one of them, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_prunegate import flags

PAGE = (Path(__file__).parents[2] / "docs" / "options.md").read_text()


def test_the_page_has_each_option() -> None:
    """Behind a comma the prefix of the option before it is left out."""
    written = re.findall(r"`(--?[a-z][a-z-]*)`?", re.sub(r"\| [^|]* \|$", "", PAGE, flags=re.MULTILINE))
    named = {name if name.startswith("--") else f"--prunegate{name}" for name in written}
    assert {flag.flag for flag in flags.ALL} == named - {"--prunegate-", "--"}
