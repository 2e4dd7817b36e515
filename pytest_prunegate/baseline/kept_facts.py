"""What the store keeps of models and tasks besides answers, and the baseline that is made of it where there is only the store.

Facts beside the answers; nothing of them serves a verdict. ``python -m pytest_prunegate store export`` asks for the baseline.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.baseline.container import canonical, digest_of, write_container
from pytest_prunegate.baseline.records import Asking, Baseline, joined_askings, joined_environments
from pytest_prunegate.baseline.tokenizer_files import TokenizerFiles
from pytest_prunegate.errors import InputError
from pytest_prunegate.store import Store
from pytest_prunegate.tasks.requests import Conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pytest_prunegate.baseline.records import Place
    from pytest_prunegate.store import Response


_SIDE, _TOKENIZER, _ASKING = "side", "tokenizer", "asking"


@dataclass(frozen=True, kw_only=True)
class KeptSide:
    """A model as the store knows it, under the conditions that it was asked under."""

    key: str
    model: Mapping[str, Any]
    conditions: Conditions
    tokenizer: str
    created: float


class KeptFacts:
    """Facts of models, their tokenizers, and what they were asked, in the store's file.

    Raises:
        StoreError: from every method: the store cannot be read or written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def has_side(self, key: str) -> bool:
        """Whether a model's facts and its tokenizer are kept."""
        found = self._store.facts(_SIDE, key)
        return bool(found and self._store.facts(_TOKENIZER, json.loads(found[0][1])["tokenizer"]))

    def keep_side(self, key: str, model: Mapping[str, Any], conditions: Conditions, tokenizer: TokenizerFiles) -> None:
        """Keep a model's facts and its tokenizer."""
        self._store.keep_fact(_TOKENIZER, tokenizer.digest, _packed(canonical(tokenizer.as_json())))
        facts = {"model": dict(model), "conditions": asdict(conditions), "tokenizer": tokenizer.digest}
        self._store.keep_fact(_SIDE, key, canonical(facts))

    def keep_asking(self, side: str, asking: Asking) -> None:
        """Keep what a model is asked of a task, once."""
        text = canonical(asking.as_json())
        key = f"{side}/{digest_of([side, text])}"
        if not self._store.facts(_ASKING, key):
            self._store.keep_fact(_ASKING, key, _packed(text))

    def sides(self) -> list[KeptSide]:
        """All models, the newest first."""
        found = []
        for key, text, created in self._store.facts(_SIDE):
            facts = json.loads(text)
            told = {name: facts[name] for name in ("model", "tokenizer")}
            found.append(KeptSide(key=key, conditions=Conditions(**facts["conditions"]), created=created, **told))
        return sorted(found, key=lambda side: (-side.created, side.key))

    def tokenizer(self, digest: str) -> TokenizerFiles | None:
        """A tokenizer that is kept; None where it is damaged."""
        found = self._store.facts(_TOKENIZER, digest)
        return TokenizerFiles.from_json(json.loads(_unpacked(found[0][1]))) if found else None

    def askings(self, side: str) -> tuple[Asking, ...]:
        """What a model was asked, one for each run that asked for something else."""
        rows = self._store.facts(_ASKING, f"{side}/*")
        return tuple(Asking.from_json(json.loads(_unpacked(content))) for _, content, _ in rows)

    def responses(self, model: str, keys: Iterable[str]) -> tuple[dict[str, Response], tuple[Place, ...]]:
        """A model's answers by key, and where they were computed."""
        wanted = set(keys)
        rows = [row for row in self._store.rows(model) if row.key in wanted]
        environments = [_environment(row.provenance, row.created, row.created) for row in rows]
        return {row.key: row.response for row in rows}, joined_environments(environments)

    def environments(self, model: str, keys: Iterable[str]) -> list[dict[str, Any]]:
        """Where a model's answers to these requests were computed, in batches of which size, and how many were."""
        return [
            _environment(found.provenance, found.first, found.last)
            | {"batch_sizes": [found.provenance["batch_size"]] if "batch_size" in found.provenance else [], "answers": found.responses}
            for found in self._store.provenances(model, keys)
        ]  # fmt: skip


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _unpacked(text: str) -> str:
    return gzip.decompress(base64.b64decode(text)).decode()


def side_key(fingerprint: str, conditions: Conditions) -> str:
    """The key of a model under its conditions."""
    return f"{fingerprint[:12]}-{digest_of([fingerprint, asdict(conditions)])[:12]}"


def _environment(provenance: Mapping[str, Any], first: float, last: float) -> Place:
    hardware = str(provenance.get("hardware") or provenance.get("device") or "not known")
    return {"hardware": hardware, "libraries": dict(provenance.get("libraries") or {}), "first": _day(first), "last": _day(last)}  # fmt: skip


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def export(folder: Path, model: str, output: Path) -> list[str]:
    """Write a model's answers in a store to a file.

    Args:
        folder: the store's.
        model: the model by its path or name, or by the beginning of its fingerprint or key.
        output: the file, which must not exist.

    Returns:
        What there is to say of it.

    Raises:
        InputError: there is no such store or model, several match, or the file is there.
        StoreError: the store cannot be read.
        OSError: the file cannot be written.
    """
    if output.exists():
        raise InputError(f"{output}: is there already. Name another file.")
    if not (folder / "responses.sqlite").is_file():
        raise InputError(
            f"{folder}: there is no store in this folder (responses.sqlite). Name the one of --prunegate-store."
        )
    store = Store(folder)
    try:
        kept = KeptFacts(store)
        side = _chosen(kept.sides(), model, folder)
        baseline, incomplete = _baseline(kept, side)
    finally:
        store.close()
    write_container(output, baseline.as_json())
    size = output.stat().st_size / 1e3
    return [
        f"{output} ({size:,.0f} kB): {side.model['path']} in {side.conditions.dtype}: {baseline.holds}",
        *incomplete,
    ]


def _chosen(sides: Sequence[KeptSide], model: str, folder: Path) -> KeptSide:
    found = [side for side in sides if model in {side.model["path"], side.model["name"]} or _begins(side, model)]
    if len(found) == 1:
        return found[0]
    listed = "".join(f"\n  {_line(side)}" for side in found or sides)
    if found:
        raise InputError(f"--model={model}: {len(found)} models of {folder} match. Name one by its key:{listed}")
    if not sides:
        raise InputError(
            f"{folder}: this store knows answers, and nothing of the models that gave them: that part was lost. Run the gate on it once; "
            "no answer is computed again."
        )
    raise InputError(f"--model={model}: no model of {folder} has this path, name, fingerprint or key. It has:{listed}")


def _begins(side: KeptSide, model: str) -> bool:
    least = 6  # digits of a fingerprint that name it
    return len(model) >= least and (side.key.startswith(model) or str(side.model["fingerprint"]).startswith(model))


def _line(side: KeptSide) -> str:
    name = f"{side.model['name']} = " if side.model["name"] else ""
    return f"{side.key}  {name}{side.model['path']} ({side.conditions.backend}, {side.conditions.dtype}, lm-eval {side.conditions.lm_eval})"


def _baseline(kept: KeptFacts, side: KeptSide) -> tuple[Baseline, list[str]]:
    """A model's answers, and which tasks lack some."""
    asked = kept.askings(side.key)
    responses, environments = kept.responses(
        side.model["fingerprint"], {key for asking in asked for key in asking.keys}
    )
    answered = tuple(
        asking for asking in joined_askings(asking.only(responses) for asking in asked) if asking.documents
    )
    if not answered:
        raise InputError(f"{side.model['path']}: no task is answered in this store; there is nothing to export.")
    keys = {key for asking in answered for key in asking.keys}
    tokenizer = kept.tokenizer(side.tokenizer)
    if tokenizer is None:
        raise InputError(
            f"{side.model['path']}: its tokenizer in this store is damaged. Run the gate on it once; no answer is computed again."
        )
    baseline = Baseline(
        model=side.model, conditions=side.conditions, tokenizer=tokenizer, environments=environments,
        askings=answered, responses={key: responses[key] for key in sorted(keys)},
    )  # fmt: skip
    return baseline, _incomplete(joined_askings(asked), {asking.identity: asking for asking in answered})


def _incomplete(asked: Sequence[Asking], answered: Mapping[str, Asking]) -> list[str]:
    found = []
    for asking in asked:
        known = len(answered[asking.identity].documents) if asking.identity in answered else 0
        if known < len(asking.documents):
            found.append(
                f"{asking.task}: {known} of {len(asking.documents)} documents that were asked for have answers"
            )
    return found
