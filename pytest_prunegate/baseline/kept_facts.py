"""What the store keeps of models and tasks besides answers, so that a baseline can be made where there is only the store.

Four tables of their own beside the answers; nothing of them serves a verdict.
"""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.baseline.container import canonical, digest_of
from pytest_prunegate.baseline.records import Asking, joined_environments
from pytest_prunegate.baseline.tokenizer_files import TokenizerFiles
from pytest_prunegate.evaluation.requests import Conditions
from pytest_prunegate.store import Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_prunegate.store import Store

_BATCH = 500  # keys per query
_TABLES = (
    "CREATE TABLE IF NOT EXISTS sides (side TEXT PRIMARY KEY, facts TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS tokenizers (digest TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS askings (digest TEXT PRIMARY KEY, side TEXT NOT NULL, content BLOB NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS askings_of_a_side ON askings (side)",
)


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
        for statement in _TABLES:
            self._execute(statement)

    def has_side(self, key: str) -> bool:
        """Whether a model's facts are kept."""
        return bool(self._execute("SELECT 1 FROM sides WHERE side=?", key))

    def keep_side(self, key: str, model: Mapping[str, Any], conditions: Conditions, tokenizer: TokenizerFiles) -> None:
        """Keep a model's facts and its tokenizer."""
        packed = gzip.compress(canonical(tokenizer.as_json()).encode(), mtime=0)
        self._execute("INSERT OR IGNORE INTO tokenizers VALUES (?, ?)", tokenizer.digest, packed)
        facts = {"model": dict(model), "conditions": asdict(conditions), "tokenizer": tokenizer.digest}
        self._execute("INSERT OR REPLACE INTO sides VALUES (?, ?, ?)", key, canonical(facts), time.time())

    def keep_asking(self, side: str, asking: Asking) -> None:
        """Keep what a model is asked of a task, once."""
        text = canonical(asking.as_json())
        digest = digest_of([side, text])
        if not self._execute("SELECT 1 FROM askings WHERE digest=?", digest):
            packed = gzip.compress(text.encode(), mtime=0)
            self._execute("INSERT OR IGNORE INTO askings VALUES (?, ?, ?)", digest, side, packed)

    def sides(self) -> list[KeptSide]:
        """All models, the newest first."""
        found = []
        for key, text, created in self._execute("SELECT side, facts, created FROM sides ORDER BY created DESC, side"):
            facts = json.loads(text)
            told = {name: facts[name] for name in ("model", "tokenizer")}
            found.append(KeptSide(key=key, conditions=Conditions(**facts["conditions"]), created=created, **told))
        return found

    def tokenizer(self, digest: str) -> TokenizerFiles:
        """A tokenizer that is kept."""
        ((packed,),) = self._execute("SELECT content FROM tokenizers WHERE digest=?", digest)
        return TokenizerFiles.from_json(json.loads(gzip.decompress(packed)))

    def askings(self, side: str) -> tuple[Asking, ...]:
        """What a model was asked, one for each run that asked for something else."""
        rows = self._execute("SELECT content FROM askings WHERE side=? ORDER BY digest", side)
        return tuple(Asking.from_json(json.loads(gzip.decompress(packed))) for (packed,) in rows)

    def responses(self, model: str, keys: Iterable[str]) -> tuple[dict[str, Response], tuple[Mapping[str, Any], ...]]:
        """A model's answers by key, and where they were computed."""
        responses: dict[str, Response] = {}
        environments = []
        wanted = sorted(keys)
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            marks = ",".join("?" * len(batch))
            query = (
                f"SELECT request, response, provenance, created FROM responses WHERE model=? AND request IN ({marks})"  # noqa: S608 - only question marks are put in
            )
            for key, response, provenance, created in self._execute(query, model, *batch):
                responses[key] = Response(**json.loads(response))
                environments.append(_environment(json.loads(provenance), created))
        return responses, joined_environments(environments)

    def _execute(self, query: str, *parameters: object) -> list[Any]:
        return self._store._execute(query, parameters)  # noqa: SLF001 - one file, one way to say that it cannot be read


def side_key(fingerprint: str, conditions: Conditions) -> str:
    """The key of a model under its conditions."""
    return f"{fingerprint[:12]}-{digest_of([fingerprint, asdict(conditions)])[:12]}"


def _environment(provenance: Mapping[str, Any], created: float) -> dict[str, Any]:
    day = time.strftime("%Y-%m-%d", time.gmtime(created))
    hardware = str(provenance.get("hardware") or provenance.get("device"))
    return {"hardware": hardware, "libraries": dict(provenance.get("libraries") or {}), "first": day, "last": day}
