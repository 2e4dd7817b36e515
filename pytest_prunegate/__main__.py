"""``python -m pytest_prunegate``: what is done with results, beside the runs of pytest that make them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.commands.fetch import add_fetch
from pytest_prunegate.commands.history import add_history
from pytest_prunegate.commands.store import add_store
from pytest_prunegate.errors import InputError, PrunegateError

if TYPE_CHECKING:
    from collections.abc import Sequence

_MISUSED = 2  # as argparse has it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Returns:
        The exit code: 0, or 2 where what was asked for cannot be done; the reason is on stderr.
    """
    parser = argparse.ArgumentParser(prog="python -m pytest_prunegate", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_thresholds(commands)
    add_store(commands)
    add_fetch(commands)
    add_history(commands)
    given = parser.parse_args(arguments)
    try:
        given.run(given)
    except PrunegateError as error:
        sys.stderr.write(f"{error}\n")
        return _MISUSED
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n" if error.filename else f"{error}\n")
        return _MISUSED
    return 0


def _add_thresholds(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "thresholds", help="propose a thresholds file from a recorded run or for local data, or tighten one",
        description="Propose a thresholds file from a recorded run (what was lost, plus its noise) or for data in a folder, or tighten one by a run.",
    )  # fmt: skip
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--from", dest="source", metavar="RESULTS", type=Path,
        help="a comparison_results.json, or the output folder that holds it",
    )  # fmt: skip
    source.add_argument(
        "--local",
        metavar="DIR",
        type=Path,
        help="a folder with data: JSON lines of SQuAD v2 or GSM8K, text for perplexity",
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the proposed file there; it must not exist")
    parser.add_argument(
        "--ratchet", metavar="FILE", type=Path, help="tighten this thresholds file; nothing is loosened"
    )
    parser.add_argument("--write", action="store_true", help="with --ratchet: write the file in place")
    parser.set_defaults(run=_thresholds)


def _thresholds(given: argparse.Namespace) -> None:
    if given.write and not given.ratchet:
        raise InputError("--write is for --ratchet=FILE. To write a proposed file, give --output=FILE.")
    if given.output and given.ratchet:
        raise InputError("--output is for a proposed file. --ratchet prints the tightened one, or writes it in place with --write.")  # fmt: skip
    if given.local and given.ratchet:
        raise InputError("--ratchet tightens a file by the results of a run: --from=RESULTS, not --local.")
    if given.ratchet:
        _ratchet(given)
    else:
        _propose(given)


def _propose(given: argparse.Namespace) -> None:
    output: Path | None = given.output
    if output is not None and output.exists():
        tighten = "" if given.local else f", or tighten this one with --ratchet={output}"
        raise InputError(f"{output}: is there already. Name another file{tighten}.")
    path = (output or Path("thresholds.yaml")).absolute()
    text, told = _proposed_for(given.local, path) if given.local else _proposed_from(given.source, path)
    if output is None:
        sys.stdout.write(text)
        return
    with output.open("x", encoding="utf-8", newline="") as file:
        file.write(text)
    sys.stderr.write(f"{output}: {told}\n")


def _proposed_from(source: Path, path: Path) -> tuple[str, str]:
    from pytest_prunegate.commands.proposal import propose
    from pytest_prunegate.commands.recorded import read_run

    found = propose(read_run(source), path=path)
    left_out = f"; {found.left_out} checks without one, and why, are comments in it" if found.left_out else ""
    return found.text, f"{found.thresholds} thresholds{left_out}"


def _proposed_for(folder: Path, path: Path) -> tuple[str, str]:
    from pytest_prunegate.commands.local_data import propose_local

    return propose_local(folder, near=path.parent), "run pytest --original=MODEL --pruned=MODEL beside it"


def _ratchet(given: argparse.Namespace) -> None:
    from pytest_prunegate.commands.ratchet import tighten, write_in_place
    from pytest_prunegate.commands.recorded import read_run

    found = tighten(given.ratchet, read_run(given.source))
    if not given.write:
        sys.stdout.write(found.text)
    elif found.tightened:
        write_in_place(given.ratchet, found.text)
    for line in (*found.tightened, *found.left):
        sys.stderr.write(f"{line}\n")
    if not found.tightened:
        sys.stderr.write(f"{given.ratchet}: nothing to tighten\n")


if __name__ == "__main__":
    sys.exit(main())
