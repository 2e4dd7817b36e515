"""Writes what is said of the records: the JSON Schemas that ship, and the fields in docs/templates.md.

    python tools/record_schemas.py

Both come from the records themselves: the types of their fields, and what their docstrings say of them under "Attributes".
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from pytest_prunegate.report.history.records import HistoryRun
from pytest_prunegate.report.summary.candidate_records import CandidatesSummary
from pytest_prunegate.report.summary.changed_records import (
    AnswerLine,
    ChangedCounts,
    ChangedLine,
)
from pytest_prunegate.report.summary.records import ModelResults, Summary

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "templates.md"
DOCUMENTS = {
    "results": (Summary, "comparison_results.json"),
    "model_results": (ModelResults, "original_model_results.json, pruned_model_results.json and baseline_results.json"),
    "history": (HistoryRun, "A line of history.jsonl"),
    "candidates": (CandidatesSummary, "candidates_results.json"),
    "answers": (AnswerLine, "A line of answers.jsonl"),
    "changed": (ChangedLine, "A line of changed.jsonl"),
}
"""The records that are a file, or a line of one, by the name of their schema, and what they are."""
IN_JSON = {(Summary, "changed"): ChangedCounts}
"""Fields that another record stands for in JSON."""
_FIELDS = "## Fields\n"
_SHORT_LIST = re.compile(r"\[\s+([^\[\]{}]{1,120}?)\s+\]")
_ATTRIBUTE = re.compile(r"^ {4}(\w+): ", re.MULTILINE)


def described(record: Any) -> tuple[str, dict[str, str]]:
    """A record's docstring: what it says of the record, and of each field.

    Raises:
        ValueError: the fields that it names are not those of the record, in their order.
    """
    text, _, attributes = inspect.cleandoc(record.__doc__ or "").partition("\n\nAttributes:\n")
    parts = _ATTRIBUTE.split("\n" + attributes)
    found = {name: " ".join(said.split()) for name, said in zip(parts[1::2], parts[2::2], strict=True)}
    if list(found) != (names := [field.name for field in dataclasses.fields(record)]):
        raise ValueError(f"{record.__name__} has the fields {', '.join(names)}; its docstring names {', '.join(found)}")
    return " ".join(text.split()), found


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a document."""
    record, what = DOCUMENTS[name]
    replaced = {field: other for (owner, field), other in IN_JSON.items() if owner is record}
    _, components = msgspec.json.schema_components([record, *replaced.values()], ref_template="#/$defs/{name}")
    for one in records_in(record, *replaced.values()):
        _describe(components[one.__name__], one)
    found = components.pop(record.__name__)
    for field, other in replaced.items():
        found["properties"][field] |= {"$ref": f"#/$defs/{other.__name__}"}
    version = (found["properties"].get("version", {}).get("enum") or [None])[0]
    used = _used(found, components)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:pytest-prunegate:{name.replace('_', '-')}" + (f":{version}" if version else ""),
        "title": f"{what} of pytest-prunegate",
        **{key: value for key, value in found.items() if key != "title"},
        "$defs": {name: components[name] for name in sorted(used)},
    }


def schema_text(name: str) -> str:
    """A schema as its file holds it."""
    text = json.dumps(schema(name), indent=2, ensure_ascii=False)
    return _SHORT_LIST.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def records_in(*records: type) -> list[type]:
    """These records and all that are fields of theirs, each once."""
    found: dict[type, None] = {}
    waiting = list(records)
    while waiting:
        record = waiting.pop(0)
        if record not in found:
            found[record] = None
            waiting += [inner for hint in get_type_hints(record).values() for inner in _records_of(hint)]
    return list(found)


def fields_page() -> str:
    """The part of docs/templates.md that lists the fields of the records that a template sees."""
    sections = [_section(record) for record in records_in(Summary) if record not in IN_JSON.values()]
    return "\n".join(sections)


def write() -> None:
    """Write the schemas and the page."""
    for name in DOCUMENTS:
        (ROOT / "pytest_prunegate" / f"{name}.schema.json").write_text(schema_text(name), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """docs/templates.md with the fields as they are."""
    before, heading, after = PAGE.read_text(encoding="utf-8").partition(_FIELDS)
    introduction = after.partition("\n### ")[0]
    return f"{before}{heading}{introduction}\n{fields_page()}"


def _records_of(hint: Any) -> list[type]:
    """The records that a type is made of."""
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return [hint]
    return [record for inner in getattr(hint, "__args__", ()) for record in _records_of(inner)]


def _describe(node: dict[str, Any], record: type) -> None:
    text, fields = described(record)
    node |= {"description": text, "additionalProperties": False}
    optional = {
        name for name, hint in get_type_hints(record).items() if msgspec.UnsetType in getattr(hint, "__args__", ())
    }
    node["required"] = [name for name in node["properties"] if name not in optional]
    for name, inner in node["properties"].items():
        inner.pop("default", None)
        node["properties"][name] = {"description": fields[name], **_plain(inner)}


def _plain(node: dict[str, Any]) -> dict[str, Any]:
    """A field that may be null, in the shorter way to say so."""
    value: dict[str, Any]
    value, *others = node.get("anyOf", [node])
    return value | {"type": [value["type"], "null"]} if others == [{"type": "null"}] and "type" in value else node


def _used(node: Any, components: dict[str, Any]) -> set[str]:
    """The definitions that a schema refers to, through others too."""
    found: set[str] = set()
    waiting = re.findall(r'"#/\$defs/(\w+)"', json.dumps(node))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += re.findall(r'"#/\$defs/(\w+)"', json.dumps(components[name]))
    return found


def _section(record: type) -> str:
    text, fields = described(record)
    lines = [f"### {record.__name__}", "", text, ""]
    hints = get_type_hints(record)
    for name, said in fields.items():
        inner = ", ".join(f"[{one.__name__}](#{one.__name__.lower()})" for one in _records_of(hints[name]))
        lines.append(f"- `{name}`{f' ({inner})' if inner else ''}: {said}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    write()
