"""What a server reports of its model: all that is known of one whose files are elsewhere."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.checkpoint.facts import AS_SERVED, ModelFacts, ServedModel, tokenizer_source
from pytest_prunegate.checkpoint.location import tokenizer_folder
from pytest_prunegate.checkpoint.sparsity import Sparsity
from pytest_prunegate.errors import InputError, ModelError
from pytest_prunegate.execution.client import Client

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_prunegate.input.model_argument import ModelArgument

_LENGTHS = ("max_model_len", "context_length", "max_context_length", "context_window", "n_ctx")
# Fields that change from day to day, or say who may ask, and not what is served.
_PASSING = re.compile(r"object|permissions?|created.*|.*_at|.*time.*|status|state|last_.*|loaded|tags|aliases")
_SHOWN = 20  # models that a message lists


def with_served(
    facts: Mapping[str, ModelFacts], models: Mapping[str, ModelArgument], *, cache_dir: Path | None
) -> dict[str, ModelFacts]:
    """The facts of the models that are known, and those of served ones with them, in the models' order.

    Raises:
        InputError: it is not settled which of a server's models is meant, what encodes its prompts, or how much it takes.
        ModelError: a server does not answer.
    """
    served = {side: argument for side, argument in models.items() if argument.url and side not in facts}
    folders = {side: tokenizer_folder(argument, cache_dir) for side, argument in served.items()}
    lent = dict(facts)
    for named in (True, False):  # a side that names its tokenizer may lend it to one that does not
        for side, argument in served.items():
            if (folders[side] is not None) is named:
                lent[side] = _facts(argument, folders[side], next(iter(lent.values()), None))
    return {side: lent[side] for side in models if side in lent}


def client_of(facts: ModelFacts) -> Client:
    """The client that asks for a served model, as its arguments say."""
    assert facts.served is not None
    settings = {"timeout": facts.arguments.get("timeout"), "attempts": facts.arguments.get("max_retries")}
    return Client(title=facts.title, url=facts.served.url, **{key: value for key, value in settings.items() if value})


def _facts(argument: ModelArgument, folder: Path | None, lender: ModelFacts | None) -> ModelFacts:
    assert argument.url is not None
    if folder is None and lender is None:
        raise InputError(
            f"--prunegate-{argument.side}-args: name the served model's tokenizer, a directory or a hub id: tokenizer=DIR_OR_HUB_ID. A server "
            "does not give it, and prompts are measured and encoded with it."
        )
    title = f"{argument.side} model {argument.name}"
    entry = _entry(argument, Client(title=title, url=argument.url, attempts=1).get("models"))
    borrowed = folder is None and lender is not None
    source = lender.tokenizer if folder is None and lender is not None else tokenizer_source(folder) if folder else None
    assert source is not None
    return ModelFacts(
        side=argument.side, name=argument.name, path=argument.url, folder=source.folder, revision=None,
        fingerprint=_fingerprint(argument, entry), architecture=None, dtype=AS_SERVED,
        max_length=_max_length(argument, entry) - 1,  # the server generates a token behind whatever it scores
        parameters=None, size=None, sparsity=Sparsity(problem="a served model, whose weights are not here"), tokenizer=source,
        arguments={key: value for key, value in argument.arguments.items() if key != "max_length"} | {"model": entry["id"]},
        served=ServedModel(url=argument.url, model=entry["id"], lender=lender.side if borrowed and lender else None),
    )  # fmt: skip


def _entry(argument: ModelArgument, report: Any) -> dict[str, Any]:
    """What is reported of the model that is meant."""
    entries = report.get("data") if isinstance(report, dict) else None
    known = {str(entry["id"]): entry for entry in entries or () if isinstance(entry, dict) and entry.get("id")}
    if not known:
        raise ModelError(f"{argument.where}: {argument.url}/models lists no model. Is this the address of an OpenAI-compatible server?")  # fmt: skip
    flag, wanted = f"--prunegate-{argument.side}-args=model", argument.arguments.get("model")
    ids = ", ".join(list(known)[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
    if wanted is not None and str(wanted) not in known:
        raise InputError(f"{flag}={wanted}: the server at {argument.url} does not list this model. It lists: {ids}.")
    if wanted is None and len(known) > 1:
        raise InputError(f"{argument.where}: this server lists {len(known)} models. Say which one with {flag}=ID: {ids}.")  # fmt: skip
    key = next(iter(known)) if wanted is None else str(wanted)
    return known[key] | {"id": key}


def _fingerprint(argument: ModelArgument, entry: dict[str, Any]) -> str:
    """Of the name and of what is served. The address is left out: a server that moves keeps its answers."""
    said = json.dumps(["served", argument.name, _telling(entry)], sort_keys=True, default=str)
    return xxhash.xxh3_128(said.encode()).hexdigest()


def _telling(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _telling(inner) for key, inner in value.items() if not _PASSING.fullmatch(str(key))}
    return value


def _max_length(argument: ModelArgument, entry: dict[str, Any]) -> int:
    """Tokens that fit, prompt and answer together."""
    meta = entry.get("meta")
    places = [entry, meta if isinstance(meta, dict) else {}]
    told = [place[key] for place in places for key in _LENGTHS if isinstance(place.get(key), int) and place[key] > 1]
    asked, flag = argument.arguments.get("max_length"), f"--prunegate-{argument.side}-args=max_length"
    if asked is None and not told:
        raise InputError(f"{argument.where}: the server does not report how many tokens it takes. Say it with {flag}=N.")  # fmt: skip
    if asked is not None and told and asked > told[0]:
        raise InputError(f"{flag}={asked}: the server takes {told[0]} tokens.")
    return int(told[0] if asked is None else asked)
