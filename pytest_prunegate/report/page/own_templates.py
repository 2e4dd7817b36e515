"""A user's own templates (``--prunegate-template``): found wrong before anything is loaded, rendered beside our reports."""

from __future__ import annotations

import os
import time
import traceback
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_prunegate.atomic_file import replacing
from pytest_prunegate.errors import InputError
from pytest_prunegate.plain import one_line, seen_from
from pytest_prunegate.report.page.renderer import TEMPLATE_SUFFIX, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.report.summary.file_names import FileNames
    from pytest_prunegate.report.summary.records import Summary

OPTION = "--prunegate-template"
OURS = (
    "original_model_results*.json", "pruned_model_results*.json", "comparison_*", "candidates_*", "changed*.jsonl", "answers*.jsonl", "history.*",
    "baseline*.json*", "evaluation.log", "archive", ".*",
)  # fmt: skip
"""Names in the output folder that are not a template's to take."""
_MOST = 20_000_000  # characters of what a template writes: more than any report, less than would fill a disk
_PATIENCE = 60  # seconds
_REMEDY = "docs/templates.md lists what a template may use"


def check_templates(templates: Sequence[Path], output: Path) -> None:
    """See that templates can be read and their results be written, and find errors of syntax in them and what they include.

    Raises:
        InputError: with every mistake.
    """
    mistakes: list[str] = []
    taken: dict[str, Path] = {}
    for path in templates:
        name, given = output_name(path), f"{OPTION}={shown_path(path)}"
        if any(fnmatch(name.casefold(), pattern) for pattern in OURS) or not name:
            mistakes.append(
                f"{given}: its result would be {output / name}, a name of our own. Call the template otherwise."
            )
        if os.path.abspath(output / name) == os.path.abspath(path):  # noqa: PTH100 - symlinks stay, `..` goes: as pytest does
            mistakes.append(f"{given}: its result would replace it. Give its name the ending {TEMPLATE_SUFFIX}.")
        if (other := taken.setdefault(name.casefold(), path)) is not path:
            mistakes.append(
                f"{given}: its result would be {name}, as that of {shown_path(other)}. Call one of them otherwise."
            )
        mistakes += _mistakes_in(path)
    if mistakes:
        raise InputError("\n".join(mistakes))


def output_name(path: Path) -> str:
    """Name of a template's result: its own without ``.j2``."""
    return path.name.removesuffix(TEMPLATE_SUFFIX)


def write_own(
    summary: Summary, templates: Sequence[Path], folder: Path, names: FileNames
) -> tuple[list[Path], list[str]]:
    """Render templates into a folder, each whole or not at all; one that fails loses no other's result.

    Args:
        summary: what they get.
        templates: as `check_templates` let them pass.
        folder: takes the results. What an earlier run left of a template that fails is removed: it is not of this run.
        names: of the comparison's files; those of one of several candidates carry its name.

    Returns:
        The files, and what went wrong, each in a sentence with the template's line.
    """
    written, problems = [], []
    for path in templates:
        target = folder / names.named(output_name(path))
        try:
            text = _rendered(path, summary)
            with replacing(target) as file:
                file.write(text.encode())
        except Exception as error:  # noqa: BLE001 - a template of others may raise whatever it likes, and the run has to end well
            target.unlink(missing_ok=True)
            problems.append(f"{_place(path, error)}: {_said(error)}. {target.name} was not written; {_REMEDY}.")
        else:
            written.append(target)
    return written, problems


def _rendered(path: Path, summary: Summary) -> str:
    """What a template writes, within a time and a size that no report needs.

    Raises:
        Exception: whatever the template does wrong.
    """
    from jinja2.sandbox import safe_range

    deadline, size, pieces = time.monotonic() + _PATIENCE, 0, []

    def look_at_the_clock(*bounds: int) -> range:
        if time.monotonic() > deadline:
            raise TimeoutError(f"it was not done after {_PATIENCE} seconds")
        return safe_range(*bounds)

    sandbox = environment(path.parent, path.name)
    sandbox.globals["range"] = look_at_the_clock  # a loop in a loop that writes nothing
    for piece in sandbox.get_template(path.name).generate(summary=summary):
        look_at_the_clock(0)
        size += len(piece)
        if size > _MOST:
            raise ValueError(f"it writes more than {_MOST:,} characters")
        pieces.append(piece)
    return "".join(pieces).encode("utf-8", "backslashreplace").decode()


def _mistakes_in(path: Path) -> Iterator[str]:
    """What is wrong with a file before it is rendered."""
    import jinja2

    given = f"{OPTION}={shown_path(path)}"
    if not path.is_file():
        what = "this is no file" if path.exists() else "there is no such file"
        yield f"{given}: {what}; a Jinja2 template is needed."
        return
    sandbox = environment(path.parent, path.name)
    waiting, seen = [path.name], set[str]()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        try:
            assert sandbox.loader is not None
            source, file, _ = sandbox.loader.get_source(sandbox, name)
            tree = sandbox.parse(source, name, file)
            sandbox.compile(tree, name, file)
        except jinja2.TemplateNotFound:
            yield f"{given}: it includes {name}, which is not in its folder. Put it there, or say `ignore missing`."
        except jinja2.TemplateSyntaxError as error:
            yield f"{shown_path(Path(error.filename or path.parent / name))}:{error.lineno}: {error.message}"
        except UnicodeDecodeError:
            yield f"{given}: {shown_path(path.parent / name)} is not UTF-8 text."
        except OSError as error:
            yield f"{given}: {error}"
        else:
            waiting += [other for other in _needed(tree) if other not in {*seen, *waiting}]


def _needed(tree: Any) -> Iterator[str]:
    """Names of the templates that a template cannot do without, as far as it says them in so many words."""
    from jinja2 import nodes

    for node in tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
        name = node.template.value if isinstance(node.template, nodes.Const) else None
        if isinstance(name, str) and not getattr(node, "ignore_missing", False):
            yield name


def _place(path: Path, error: BaseException) -> str:
    """The innermost line of a template that an error passed through."""
    found = shown_path(path)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if "__jinja_exception__" in frame.f_globals:  # Jinja's stand-in for a line of a template
            found = f"{shown_path(Path(frame.f_code.co_filename))}:{line}"
    return found


def shown_path(path: Path) -> str:
    """A path as short as it can be where the user stands."""
    return str(seen_from(Path.cwd(), path))


def _said(error: BaseException) -> str:
    text = one_line(str(error)).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
