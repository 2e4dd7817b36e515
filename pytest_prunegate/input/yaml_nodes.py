"""Reads YAML as nodes that know their line, and collects every mistake instead of stopping at the first."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TAG = "tag:yaml.org,2002:"
_KINDS = {"map": "a mapping", "seq": "a list", "str": "text", "int": "a number", "float": "a number",
          "bool": "true or false", "null": "empty"}  # fmt: skip
_MAX_EXPONENT = 300  # of a number, either way, and its digits: about what a float holds
_MAX_DIGITS = 9  # more documents or tokens than there are
_OPENING, _CLOSING = ("SequenceStartEvent", "MappingStartEvent"), ("SequenceEndEvent", "MappingEndEvent")
_MOST_VALUES = 100_000  # no file of thresholds has so many
_MAX_DEPTH = 50  # deeper nesting, or an alias that contains itself, is no thresholds file


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One mistake: its line (from 1; 0 for a task that only an option names) and its message."""

    line: int
    message: str


@dataclass(kw_only=True)
class Mistakes:
    """Collects mistakes of one file; `display` is the file as the user would name it."""

    display: str
    found: list[Mistake] = field(default_factory=list)

    def add(self, line: int, message: str) -> None:
        """Record a mistake at a line; the same one is recorded once."""
        mistake = Mistake(line=line, message=message)
        if mistake not in self.found:
            self.found.append(mistake)

    def render(self) -> str:
        """All mistakes in the order of their lines, one ``file:line: message`` each."""
        ordered = sorted(self.found, key=lambda mistake: mistake.line)
        places = [f"{self.display}:{mistake.line}" if mistake.line else "--prunegate-tasks" for mistake in ordered]
        return "\n".join(f"{place}: {mistake.message}" for place, mistake in zip(places, ordered, strict=True))


@dataclass(frozen=True)
class Node:
    """A YAML node with its path in the file (``gsm8k.accuracy``) and the list that its mistakes go to."""

    raw: Any
    path: str
    mistakes: Mistakes
    depth: int = 0

    @property
    def line(self) -> int:
        """Line of the node in the file, counted from 1."""
        return int(self.raw.start_mark.line) + 1

    @property
    def span(self) -> tuple[int, int]:
        """The characters of the text that hold the node, its quotes, anchor and tag included."""
        return self.raw.start_mark.index, self.raw.end_mark.index

    @property
    def kind(self) -> str:
        """YAML kind: map, seq, str, int, float, bool, null, or a foreign tag."""
        return str(self.raw.tag).removeprefix(_TAG)

    @property
    def text(self) -> str:
        """The scalar as it is written; empty for mappings and lists."""
        return self.raw.value if isinstance(self.raw.value, str) else ""

    @property
    def shown(self) -> str:
        """The value as a message shows it."""
        return self.text or _KINDS.get(self.kind, self.kind)

    def wrong(self, message: str) -> None:
        """Record a mistake at this node."""
        self.mistakes.add(self.line, f"{self.path}: {message}" if self.path else message)

    def child(self, raw: Any, name: str) -> Node:
        """A node below this one."""
        path = f"{self.path}.{name}" if self.path else name
        return Node(raw, path, self.mistakes, self.depth + 1)

    def entries(self, *, what: str) -> Iterator[tuple[str, Node]]:
        """Keys and values of a mapping, duplicates reported; anything else is a mistake.

        Args:
            what: what the mapping should hold, for the message ("metrics with their thresholds").
        """
        if self.kind != "map":
            self.wrong(f"expected {what}, found {self.shown}.")
            return
        if self.depth > _MAX_DEPTH:
            self.wrong("is nested too deeply; an alias may contain itself.")
            return
        seen: dict[str, int] = {}
        for key, value in self.raw.value:
            name = key.value if isinstance(key.value, str) else ""
            line = key.start_mark.line + 1
            if not name:
                self.mistakes.add(line, f"{self.path or 'the file'}: a key must be text.")
            elif name in seen:
                self.mistakes.add(line, f"{self.child(value, name).path} is there twice (first in line {seen[name]}).")
            else:
                seen[name] = line
                yield name, self.child(value, name)

    def items(self, *, what: str) -> Iterator[Node]:
        """Members of a list; anything else is a mistake."""
        if self.kind != "seq":
            self.wrong(f"expected {what}, found {self.shown}.")
            return
        for position, raw in enumerate(self.raw.value):
            yield self.child(raw, f"[{position}]")

    def number(self) -> Decimal | None:
        """The scalar as a finite decimal, exactly as written; None where it is none, or beyond what exact arithmetic takes in a moment."""
        if self.kind not in {"int", "float", "str"}:
            return None
        try:
            value = Decimal(self.text.strip().replace("_", ""))
        except InvalidOperation:
            return None
        is_bounded = (
            value.is_finite()
            and abs(value.adjusted()) <= _MAX_EXPONENT
            and len(value.as_tuple().digits) <= _MAX_EXPONENT
        )
        return value if is_bounded else None

    def positive_integer(self, *, least: int, what: str) -> int | None:
        """A whole number of at least `least`, or a mistake that says what it stands for."""
        value = self.number()
        too_large = value is not None and value.adjusted() >= _MAX_DIGITS
        if value is None or too_large or value != value.to_integral_value() or value < least or self.kind == "float":
            self.wrong(f"expected {what}: a whole number of at least {least}, found {self.shown}.")
            return None
        return int(value)

    def plain(self) -> Any:
        """The node as plain Python values (for keys that are handed on as they are)."""
        if self.depth > _MAX_DEPTH:
            self.wrong("is nested too deeply; an alias may contain itself.")
            return None
        readers = {"map": self._plain_mapping, "seq": self._plain_list, "str": lambda: self.text, "null": lambda: None,
                   "bool": lambda: self.text.lower() in {"true", "yes", "on"},
                   "int": self._plain_number, "float": self._plain_number}  # fmt: skip
        if self.kind not in readers:
            self.wrong(f"the YAML tag {self.raw.tag} is not supported here.")
            return None
        return readers[self.kind]()

    def _plain_mapping(self) -> dict[str, Any]:
        return {name: value.plain() for name, value in self.entries(what="a mapping")}

    def _plain_list(self) -> list[Any]:
        return [value.plain() for value in self.items(what="a list")]

    def _plain_number(self) -> int | float | None:
        value = self.number()
        if value is None:
            self.wrong(f"{self.text} is not a finite decimal number, or too large.")
            return None
        return int(value) if self.kind == "int" else float(value)


def compose_document(text: str, mistakes: Mistakes) -> Node | None:
    """Parse YAML text into its root node; a syntax error becomes a mistake.

    Returns:
        The root, or None where there is no document or it does not parse.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if deep := _too_deep(yaml.parse(text, Loader=loader)):  # composing it would exhaust the stack
            mistakes.add(deep, f"is nested deeper than {_MAX_DEPTH} levels.")
            return None
        raw = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        mistakes.add(line, f"not valid YAML: {error.problem or error.context}.")
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mistakes.add(1, f"not valid YAML: {str(error).splitlines()[0]}.")
        return None
    if raw is None:
        return None
    if _expanded(raw, {}) > _MOST_VALUES:
        line = raw.start_mark.line + 1
        mistakes.add(
            line, f"is too large: with its aliases written out it holds more than {_MOST_VALUES:,} values, or an alias contains itself."
        )  # fmt: skip
        return None
    return Node(raw, "", mistakes)


def _too_deep(events: Iterable[Any]) -> int | None:
    """The line of a document where it nests too deeply; None where it does not."""
    depth = 0
    for event in events:
        depth += (event.__class__.__name__ in _OPENING) - (event.__class__.__name__ in _CLOSING)
        if depth > _MAX_DEPTH:
            return int(event.start_mark.line) + 1
    return None


def _expanded(raw: Any, known: dict[int, int]) -> int:
    """Values of a node with its aliases written out, which a short file can make any number of."""
    if id(raw) in known:
        return known[id(raw)]
    known[id(raw)] = _MOST_VALUES + 1  # met again inside of itself
    parts = [] if isinstance(raw.value, str) else raw.value
    inner = (each for part in parts for each in (part if isinstance(part, tuple) else (part,)))
    known[id(raw)] = 1 + sum(_expanded(each, known) for each in inner)
    return known[id(raw)]
