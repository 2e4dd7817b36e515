"""What a baseline file holds, as records, and the way to JSON and back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any

from pytest_prunegate.baseline.container import canonical, read_container
from pytest_prunegate.baseline.tokenizer_files import TokenizerFiles
from pytest_prunegate.errors import InputError
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.requests import Conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


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
    samples: tuple[Mapping[str, Any], ...]
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
    def from_json(cls, found: Mapping[str, Any]) -> Asking:
        """The way back."""
        samples = tuple({name: sample[name] for name in ("seed", "limit", "documents")} for sample in found["samples"])
        documents = {int(number): tuple(map(str, keys)) for number, keys in found["documents"].items()}
        return cls(**{**found, "settings": dict(found["settings"]), "samples": samples, "documents": documents})


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A model's answers with everything that a gate asks of the model itself.

    `model` has the model's facts, `environments` where answers were computed (device, hardware, libraries, first and last
    date), `responses` the answers by the key of their request.
    """

    model: Mapping[str, Any]
    conditions: Conditions
    tokenizer: TokenizerFiles
    environments: tuple[Mapping[str, Any], ...]
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
        _refuse_unprintable([content["environments"], content["conditions"], content["askings"]])
        return Baseline(
            model=dict(content["model"]), conditions=_conditions(content["conditions"]),
            tokenizer=TokenizerFiles.from_json(content["tokenizer"]), environments=tuple(map(_environment, content["environments"])),
            askings=tuple(map(Asking.from_json, content["askings"])),
            responses={key: _response(found) for key, found in content["responses"].items()},
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{where}: {path}: {error}") from error
    except _UNREADABLE as error:
        raise InputError(
            f"{where}: {path}: what this baseline holds cannot be understood: {type(error).__name__}: {error}. Make it again with this version."
        ) from error


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


def joined_environments(environments: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Each environment once, with its first and last date."""
    found: dict[str, dict[str, Any]] = {}
    for one in environments:
        key = canonical({name: value for name, value in one.items() if name not in {"first", "last"}})
        known = found.setdefault(key, dict(one))
        known["first"], known["last"] = min(known["first"], one["first"]), max(known["last"], one["last"])
    return tuple(found[key] for key in sorted(found))


def response_json(response: Response) -> dict[str, Any]:
    """A response without what it does not have."""
    return {
        name: value
        for name, value in asdict(response).items()
        if value is not None and (name, value) != ("truncated", False)
    }


def _refuse_unprintable(value: Any) -> None:
    """Text that is shown must not steer a terminal; settings are shown as JSON, which does not."""
    if isinstance(value, dict):
        _refuse_unprintable([inner for name, inner in value.items() if name not in {"settings", "documents"}])
    elif isinstance(value, list):
        for inner in value:
            _refuse_unprintable(inner)
    elif isinstance(value, str) and not value.isprintable():
        raise ValueError(f"it says {value!r}")


def _conditions(found: Mapping[str, Any]) -> Conditions:
    for name, value in found.items():
        kinds = (int,) if name in {"max_length", "max_gen_toks"} else (str, NoneType) if name == "tokenizer" else (str,)
        if type(value) not in kinds:
            raise TypeError(f"{name} is {value!r}")
    return Conditions(**found)


def _environment(found: Mapping[str, Any]) -> Mapping[str, Any]:
    libraries = {str(name): str(version) for name, version in found["libraries"].items()}
    return {"hardware": str(found["hardware"]), "libraries": libraries, "first": str(found["first"]), "last": str(found["last"])}  # fmt: skip


def _response(found: Mapping[str, Any]) -> Response:
    response = Response(**found)
    text, number = response.text, response.loglikelihood
    is_text = text is None or isinstance(text, str)
    is_number = number is None or (
        isinstance(number, float | int) and not isinstance(number, bool) and not math.isnan(number)
    )
    flags = (response.greedy, response.cut, response.truncated)
    if not is_text or not is_number or not all(flag is None or isinstance(flag, bool) for flag in flags):
        raise ValueError(f"a response is {dict(found)}")
    return response
