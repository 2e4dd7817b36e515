"""What a baseline file holds, as records, and the way to JSON and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec

from pytest_prunegate.baseline.container import canonical, read_container
from pytest_prunegate.baseline.tokenizer_files import TokenizerFiles
from pytest_prunegate.errors import InputError
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.requests import Conditions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_UNREADABLE = (msgspec.ValidationError, KeyError, TypeError, ValueError, AttributeError, RecursionError)
Day = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class Sample(TypedDict):
    """A draw of documents: with which seed, how many were asked for (None: all), and how many they were."""

    seed: int | None
    limit: str | None
    documents: int


class Place(TypedDict):
    """Where answers were computed: hardware, versions of libraries by name, and the days of the first and the last."""

    hardware: str
    libraries: dict[str, str]
    first: Day
    last: Day


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a model was asked of a task, or of one member of a group.

    `settings` are in the words of thresholds.yaml, with the number of examples and their seed as they came out. `data` and
    `template` are digests. `samples` are the draws (seed, limit, documents) that `documents` come from, which have the keys
    of each document's requests by its id; `total` is the full set.
    """

    task: str
    version: str
    settings: Mapping[str, Any]
    data: str
    template: str | None
    total: int
    samples: tuple[Sample, ...]
    documents: Mapping[int, tuple[str, ...]]

    @property
    def identity(self) -> str:
        """What two askings share that differ in their documents alone."""
        return canonical([self.task, self.version, self.settings, self.data, self.template, self.total])

    @property
    def keys(self) -> set[str]:
        """The keys of all requests."""
        return {key for keys in self.documents.values() for key in keys}

    def only(self, known: Mapping[str, Response]) -> Asking:
        """The same with those documents whose requests are all answered."""
        whole = {number: keys for number, keys in self.documents.items() if all(key in known for key in keys)}
        return replace(self, documents=whole)

    def as_json(self) -> dict[str, Any]:
        """As a file or the store keeps it."""
        return asdict(self) | {"documents": {str(number): list(keys) for number, keys in self.documents.items()}}

    @classmethod
    def from_json(cls, found: Any) -> Asking:
        """The way back.

        Raises:
            msgspec.ValidationError: it is nothing that `as_json` makes.
        """
        return msgspec.convert(found, cls, str_keys=True)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A model's answers with everything that a gate asks of the model itself.

    `model` has the model's facts, `environments` where answers were computed (device, hardware, libraries, first and last
    date), `responses` the answers by the key of their request.
    """

    model: Mapping[str, Any]
    conditions: Conditions
    tokenizer: TokenizerFiles
    environments: tuple[Place, ...]
    askings: tuple[Asking, ...]
    responses: Mapping[str, Response]

    @property
    def holds(self) -> str:
        """What it holds, in words."""
        by_task: dict[str, set[int]] = {}
        for asking in self.askings:
            by_task.setdefault(asking.task, set()).update(asking.documents)
        return ", ".join(f"{task} ({len(documents)} documents)" for task, documents in sorted(by_task.items())) or "no task"  # fmt: skip

    def is_of_same_model(self, other: Baseline) -> bool:
        """Whether two hold the answers of one model, asked under the same conditions."""
        return (self.model["fingerprint"], self.conditions) == (other.model["fingerprint"], other.conditions)

    def joined(self, earlier: Baseline) -> Baseline:
        """This one with what an earlier one of the same model holds besides; of two answers to one request, this one's."""
        responses = {**earlier.responses, **self.responses}
        return replace(
            self, responses=responses, askings=joined_askings([*earlier.askings, *self.askings]),
            environments=joined_environments([*earlier.environments, *self.environments]),
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """The content of a file; the same for equal baselines."""
        return {
            "model": dict(self.model),
            "conditions": asdict(self.conditions),
            "tokenizer": self.tokenizer.as_json(),
            "environments": [dict(one) for one in self.environments],
            "askings": [asking.as_json() for asking in self.askings],
            "responses": {key: response_json(response) for key, response in self.responses.items()},
        }


def read_baseline(path: Path, where: str) -> Baseline:
    """The baseline in a file.

    Raises:
        InputError: the file is damaged, or what it holds is no baseline.
    """
    content = read_container(path, where)
    try:
        found = msgspec.convert(content, _Content, str_keys=True)
        _refuse_unprintable([content["environments"], content["conditions"], content["askings"]])
        _refuse_unknown(Conditions, [content["conditions"]])
        _refuse_unknown(Asking, content["askings"])
        _refuse_unknown(Response, content["responses"].values())
        if any(math.isnan(response.loglikelihood or 0.0) for response in found.responses.values()):
            raise ValueError("a log-likelihood is NaN")
        return Baseline(
            model=found.model, conditions=found.conditions, tokenizer=TokenizerFiles.from_json(found.tokenizer),
            environments=found.environments, askings=found.askings, responses=found.responses,
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{where}: {path}: {error}") from error
    except _UNREADABLE as error:
        raise InputError(
            f"{where}: {path}: what this baseline holds cannot be understood: {error}. Make it again with this version."
        ) from error


@dataclass(frozen=True, kw_only=True)
class _Content:
    """The content of a file; what it says of the model and the tokenizer is looked at by those who read it."""

    model: dict[str, Any]
    conditions: Conditions
    tokenizer: dict[str, Any]
    environments: tuple[Place, ...]
    askings: tuple[Asking, ...]
    responses: dict[str, Response]


def joined_askings(askings: Iterable[Asking]) -> tuple[Asking, ...]:
    """Askings that differ in their documents alone become one."""
    found: dict[str, Asking] = {}
    for asking in askings:
        known = found.get(asking.identity)
        if known is not None:
            samples = {canonical(sample): sample for sample in (*known.samples, *asking.samples)}
            ordered = tuple(samples[key] for key in sorted(samples))
            found[asking.identity] = replace(known, samples=ordered, documents=_joined_documents(known, asking))
        else:
            found[asking.identity] = asking
    return tuple(found[identity] for identity in sorted(found))


def _joined_documents(one: Asking, other: Asking) -> dict[int, tuple[str, ...]]:
    """The documents of both; of one that was asked more in the one than in the other, everything."""
    found = dict(one.documents)
    for number, keys in other.documents.items():
        found[number] = tuple(dict.fromkeys((*found.get(number, ()), *keys)))
    return found


def joined_environments(environments: Iterable[Place]) -> tuple[Place, ...]:
    """Each environment once, with its first and last date."""
    found: dict[str, Place] = {}
    for one in environments:
        key = canonical({name: value for name, value in one.items() if name not in {"first", "last"}})
        known = found.setdefault(key, one.copy())
        known["first"], known["last"] = min(known["first"], one["first"]), max(known["last"], one["last"])
    return tuple(found[key] for key in sorted(found))


def response_json(response: Response) -> dict[str, Any]:
    """A response without what it does not have."""
    return {
        name: value
        for name, value in asdict(response).items()
        if value is not None and (name, value) != ("truncated", False)
    }


def _refuse_unknown(record: type, found: Iterable[Mapping[str, Any]]) -> None:
    """Msgspec passes over fields that a dataclass lacks; whoever wrote one meant something by it."""
    known = {field.name for field in fields(record)}
    if unknown := {name for one in found for name in one if name not in known}:
        raise ValueError(f"it has what is not known here: {', '.join(sorted(unknown))}")


def _refuse_unprintable(value: Any) -> None:
    """Text that is shown must not steer a terminal; settings are shown as JSON, which does not."""
    if isinstance(value, dict):
        _refuse_unprintable([inner for name, inner in value.items() if name not in {"settings", "documents"}])
    elif isinstance(value, list):
        for inner in value:
            _refuse_unprintable(inner)
    elif isinstance(value, str) and not value.isprintable():
        raise ValueError(f"it says {value!r}")
