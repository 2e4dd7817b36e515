"""``python -m pytest_prunegate store export``: a baseline from the store alone, without the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.baseline.container import write_container
from pytest_prunegate.baseline.kept_facts import KeptFacts
from pytest_prunegate.baseline.records import Baseline, joined_askings
from pytest_prunegate.errors import InputError
from pytest_prunegate.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_prunegate.baseline.kept_facts import KeptSide
    from pytest_prunegate.baseline.records import Asking


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
