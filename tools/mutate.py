"""Breaks random lines of the package, one at a time, and sees whether the fast tests notice.

    python tools/mutate.py [--number 30] [--seed 1]

A line is broken by turning a comparison, an "and", an "or", a condition or a number into another. The tests of the line's room run first,
and all fast tests where those are content. It works on a copy; what nobody noticed is printed, and the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
COMPARED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not", ast.IsNot: "is",
            ast.In: "not in", ast.NotIn: "in"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A piece of a line, and what stands in its place."""

    module: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.before}  ->  {self.after}"


def mutations() -> list[Mutation]:
    """All that can be done to lines of the package."""
    return [one for path in sorted((ROOT / "pytest_prunegate").rglob("*.py")) for one in _of(path)]


def is_noticed(mutation: Mutation, copy: Path) -> bool:
    """Whether a test fails on it."""
    path = copy / mutation.module
    whole = path.read_text(encoding="utf-8")
    lines = whole.split("\n")
    lines[mutation.line - 1] = lines[mutation.line - 1].replace(mutation.before, mutation.after, 1)
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        room = Path(mutation.module).parts[1:-1]
        own = copy.joinpath("tests", *room[:2] if room[:1] == ("report",) else room[:1])
        return (bool(room) and own.is_dir() and _fails(copy, str(own))) or _fails(copy)
    finally:
        path.write_text(whole, encoding="utf-8")


def _of(path: Path) -> Iterator[Mutation]:
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.expr) or node.lineno != node.end_lineno:
            continue
        before = ast.get_source_segment(source, node) or ""
        after = _broken(node, source)
        if after is not None and source.split("\n")[node.lineno - 1].count(before) == 1:
            yield Mutation(module=str(path.relative_to(ROOT)), line=node.lineno, before=before, after=after)


def _broken(node: ast.expr, source: str) -> str | None:
    """The node's text with another meaning; None where there is none."""
    texts = [
        ast.get_source_segment(source, inner) for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.expr)
    ]
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            return f"{texts[0]} {COMPARED[type(op)]} {texts[1]}"
        case ast.BoolOp(op=ast.And()):
            return " or ".join(f"({text})" for text in texts)
        case ast.BoolOp(op=ast.Or()):
            return " and ".join(f"({text})" for text in texts)
        case ast.IfExp():
            return f"{texts[2]} if {texts[0]} else {texts[1]}"
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return str(value + 1)
    return None


def _fails(copy: Path, *tests: str) -> bool:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-n",
        "2",
        "--dist=worksteal",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    return (
        subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=False, timeout=1800).returncode
        != 0
    )


def main() -> None:
    """Break lines, and say which of them nobody noticed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--number", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chosen = random.Random(given.seed).sample(mutations(), given.number)  # noqa: S311 - no secret
    unnoticed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
        if _fails(copy):
            raise SystemExit("The fast tests fail as it is: nothing can be said of broken lines.")
        for number, mutation in enumerate(chosen, 1):
            noticed = is_noticed(mutation, copy)
            unnoticed += [] if noticed else [str(mutation)]
            print(f"{number}: {'noticed' if noticed else 'NOT NOTICED'} {mutation}", flush=True)
    print(json.dumps({"mutations": given.number, "noticed": given.number - len(unnoticed), "unnoticed": unnoticed}))


if __name__ == "__main__":
    main()
