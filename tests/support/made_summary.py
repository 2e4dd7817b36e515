"""Summaries for tests of reports: made up, with every kind of check, and as many changed answers as wanted."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.model_argument import SIDES, Side
from pytest_prunegate.report.summary.changed_records import ChangedAnswer, ChangedAnswers, ChangedScore
from pytest_prunegate.report.summary.check_records import CheckSummary, IntervalSummary, LossOnScale, PartSummary
from pytest_prunegate.report.summary.headline import headline, measured, verdict
from pytest_prunegate.report.summary.model_records import LayerSparsity, ModelSummary, PartSparsity, PatternSummary
from pytest_prunegate.report.summary.provenance_records import (
    Environment,
    ModelProvenance,
    RunProvenance,
    TaskProvenance,
)
from pytest_prunegate.report.summary.records import SUMMARY_VERSION, SharesOfOutputs, Summary, TaskSummary
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from pytest_prunegate.verdict.outcome import Direction


def made_model(side: Side, **changes: Any) -> ModelSummary:
    """A model; the pruned one is half sparse, layer by layer a little more."""
    layers = tuple(
        LayerSparsity(layer=layer, zeros=zeros, weights=1000, share=zeros / 1000)
        for layer in range(30)
        for zeros in [0 if side == "original" else 300 + 13 * layer]
    )
    zeros = sum(layer.zeros for layer in layers)
    values: dict[str, Any] = {
        "side": side, "name": None if side == "original" else "wanda50", "path": f"/models/{side}", "revision": None, "base": None,
        "fingerprint": ("0" if side == "original" else "1") * 32, "architecture": "LlamaForCausalLM", "parameters": 134_515_008,
        "size": 269_060_552, "quantised": None, "backend": "hf", "dtype": "bfloat16", "arguments": {}, "max_length": 2048,
        "sparsity": zeros / 30_000, "zeros": zeros, "weights": 30_000, "sparsity_problem": None, "base_sparsity": None, "router_zeros": 0, "router_weights": 0,
        "wikitext_ppl": 18.42 if side == "original" else 20.61, "wikitext_windows": "141 of 141 windows of 2048 tokens",
        "layers": layers, **made_structure(side),
    }  # fmt: skip
    return ModelSummary(**(values | changes))


def made_structure(side: Side) -> dict[str, Any]:
    """The original is dense; half of the pruned model's matrices are 2:4, and its MLP is the sparser part."""
    if side == "original":
        parts = (
            PartSparsity(part="attention", zeros=0, weights=10_000, share=0.0),
            PartSparsity(part="MLP", zeros=0, weights=20_000, share=0.0),
        )
        return {"patterns": (PatternSummary(name="dense", matrices=210, weights=30_000),), "parts": parts, "blocks": ()}
    patterns = (
        PatternSummary(name="2:4", matrices=120, weights=20_000), PatternSummary(name="unstructured", matrices=90, weights=10_000),
    )  # fmt: skip
    parts = (
        PartSparsity(part="attention", zeros=4000, weights=10_000, share=0.4),
        PartSparsity(part="MLP", zeros=10_655, weights=20_000, share=0.53275),
    )
    return {"patterns": patterns, "parts": parts, "blocks": (0, 0, 0, 0, 3, 30, 80, 4, 0, 0, 0, 0)}


def made_check(task: str, name: str, outcome: str, original: float, pruned: float, **changes: Any) -> CheckSummary:
    """A check on 200 documents, with an interval three points wide on either side."""
    relative = (pruned - original) / (original or 1.0)  # sparsity's is replaced
    low, high = relative - 0.03, relative + 0.03
    sentence = f"{task} {name} {original:.4f} -> {pruned:.4f} (threshold: relative drop at most 5%). {outcome.upper()} on all 200 documents."
    values: dict[str, Any] = {
        "task": task, "name": name, "metric": name, "filter": "none", "location": "thresholds.yaml:7", "line": 7,
        "thresholds": ("relative drop at most 5%",), "outcome": Outcome(outcome), "original": original, "pruned": pruned,
        "difference": pruned - original, "relative": relative, "recovery": pruned / (original or 1.0),
        "interval": IntervalSummary(
            relative=(-high, -low), absolute=(-high * original, -low * original), pruned=(0.0, 1.0), of_full_run=False,
            is_anytime=False, unit="documents", confidence=0.95, relative_change=(low, high),
            text=f"{low:+.1%} to {high:+.1%}", subject="other documents like these",
        ),
        "decision": None, "noise": None, "broken": ("relative drop at most 5%",) if outcome == "fail" else (), "silent": None,
        "documents": 200, "total_documents": 200, "unit": "documents", "lost": 21, "gained": 6, "reason": sentence, "members": (),
        "exact": None, "identity": None, "measured": "2026-11-25T10:00:00+00:00", "is_earlier": False, "parts": (),
        "scale": LossOnScale(drop=-relative, low=-high, high=-low, limit=0.05),
    }  # fmt: skip
    return CheckSummary(**(values | changes))


def not_measured(task: str, name: str, outcome: str, reason: str, **changes: Any) -> CheckSummary:
    """A check that ended in an error, or was not run."""
    nothing: dict[str, Any] = dict.fromkeys(
        ("original", "pruned", "difference", "relative", "recovery", "interval", "documents", "total_documents", "lost", "gained",
         "measured", "scale")
    )  # fmt: skip
    check = made_check(task, name, outcome, 0.5, 0.5, reason=reason, broken=())
    return replace(check, **(nothing | changes))


def ten_checks() -> tuple[CheckSummary, ...]:
    """A check of every kind and outcome."""
    squad_parts = tuple(
        PartSummary(by="answerable", name=name, documents=100, original=before, pruned=after, difference=after - before,
                    relative=(after - before) / before, lost=lost, gained=gained)
        for name, before, after, lost, gained in (("HasAns", 0.64, 0.51, 18, 3), ("NoAns", 0.82, 0.83, 3, 3))
    )  # fmt: skip
    return (
        made_check("sparsity", "min", "pass", 0.0, 0.4885, filter="", thresholds=("sparsity at least 45%",), metric="sparsity",
                   relative=None, recovery=None, interval=None, scale=None, lost=None, gained=None, unit="weights", documents=30_000,
                   total_documents=30_000, line=3, location="thresholds.yaml:3"),
        made_check("wikitext2", "perplexity", "fail", 18.42, 20.61, thresholds=("relative increase at most 10%",), lost=None, gained=None,
                   relative=0.1189 * -1, documents=141, total_documents=141, unit="windows of 2048 tokens", line=5,
                   location="thresholds.yaml:5", scale=LossOnScale(drop=0.1189, low=0.1101, high=0.1277, limit=0.1)),
        made_check("squadv2", "f1", "fail", 0.73, 0.67, parts=squad_parts, line=8, location="thresholds.yaml:8"),
        made_check("squadv2", "exact_match", "inconclusive", 0.61, 0.585, line=9, location="thresholds.yaml:9"),
        made_check("squadv2", "HasAns_f1", "pass", 0.64, 0.63, line=10, location="thresholds.yaml:10"),
        made_check("gsm8k", "accuracy", "pass", 0.47, 0.48, lost=4, gained=6, line=13, location="thresholds.yaml:13"),
        not_measured("gsm8k_cot", "accuracy", "error", "gsm8k_cot: the pruned model raised on document 3 (ValueError: nan).", line=16,
                     location="thresholds.yaml:16"),
        made_check("boolq", "acc", "pass", 0.8, 0.79, is_earlier=True, measured="2026-11-24T10:00:00+00:00", line=19,
                   location="thresholds.yaml:19"),
        not_measured("rte", "acc", "not run", "not run", line=22, location="thresholds.yaml:22"),
        made_check("hellaswag", "acc_norm", "pass", 0.5512, 0.5498, documents=1000, total_documents=10_042, line=25,
                   location="thresholds.yaml:25"),
    )  # fmt: skip


def made_changes(total: int, shown: int = 500) -> ChangedAnswers:
    """Changed answers of squadv2, three quarters of them lost; every four questions share a passage."""
    draw = random.Random(total)  # noqa: S311 - no secret
    words = [f"word{number}" for number in range(400)]
    passages = [" ".join(draw.choices(words, k=130)) for _ in range(min(total, shown) // 4 + 1)]
    blocks, answers = [*passages], []
    for number in range(min(total, shown)):
        blocks.append(f"\n\nQuestion: which is the word of number {number}?\nAnswer:")
        change: Direction = "lost" if number < 0.75 * min(total, shown) else "gained"
        right, wrong = draw.choice(words), draw.choice(words)
        before, after = (right, wrong) if change == "lost" else (wrong, right)
        before_score, after_score = float(change == "lost"), float(change != "lost")
        answers.append(ChangedAnswer(
            task="squadv2", member=None, doc_id=number * 7, change=change, size=1.0,
            scores=tuple(
                ChangedScore(check=check, original=before_score, pruned=after_score, change=change) for check in ("f1", "exact_match")
            ),
            prompt=(number // 4, len(blocks) - 1), gold=right,
            original=(("the ", False), (before, True)), pruned=(("the ", False), (after, True)),
        ))  # fmt: skip
    lost = round(0.75 * total)
    return ChangedAnswers(total=total, lost=lost, gained=total - lost, shown=tuple(answers), blocks=tuple(blocks),
                          file="changed.jsonl" if total else None)  # fmt: skip


def made_provenance(side: Side) -> ModelProvenance:
    """A model whose answers were made in two places."""
    model = made_model(side)
    places = tuple(
        Environment(hardware=hardware, libraries={"torch": "2.13.0"}, batch_sizes=("8",), answers=answers, first=first, last="2026-11-25")
        for hardware, answers, first in (("cuda: NVIDIA L4", 900, "2026-11-24"), ("cpu: x86_64", 100, "2026-11-25"))
    )  # fmt: skip
    return ModelProvenance(
        path=model.path, name=model.name, revision=None, base=None, fingerprint=model.fingerprint, file=None, backend="hf", dtype="bfloat16",
        arguments={}, max_length=2048, lm_eval="0.4.13", environments=places,
    )  # fmt: skip


def made_run(tasks: tuple[TaskSummary, ...]) -> RunProvenance:
    """The run's own block."""
    return RunProvenance(
        command="pytest --original=/models/original --pruned=wanda50=/models/pruned", started="2026-11-25T10:00:00+00:00",
        finished="2026-11-25T10:21:12+00:00", seed=1234, batch_size="8", device="cpu", python="3.12.1", platform="Linux-x86_64",
        libraries={"lm_eval": "0.4.13", "torch": "2.13.0"}, commit=None,
        tasks={
            task.name: TaskProvenance(version=task.version, data_fingerprint=task.data_fingerprint, num_fewshot=task.num_fewshot,
                                      fewshot_seeds=(), started=task.started, seconds=task.seconds)
            for task in tasks
        },
    )  # fmt: skip


def made_summary(checks: tuple[CheckSummary, ...] | None = None, *, changes: int = 24, **changed: Any) -> Summary:
    """A summary of these checks, of every kind where none are given."""
    checks = ten_checks() if checks is None else checks
    outcomes = [Outcome(check.outcome) for check in checks]
    tasks = tuple(
        TaskSummary(name=name, version="3", num_fewshot=0, documents=200, total_documents=200, unit="documents", data_fingerprint="d" * 32,
                    requests=200, outputs={side: SharesOfOutputs(outputs=200, empty=0.05, cut=0.01) for side in SIDES}, fewshot_seeds=(),
                    answered_in={}, ties={},
                    started="2026-11-25T10:00:00+00:00", seconds=312.5)
        for name in dict.fromkeys(check.task for check in checks if check.original is not None and check.metric != "sparsity")
    )  # fmt: skip
    values: dict[str, Any] = {
        "version": SUMMARY_VERSION, "verdict": verdict(outcomes),
        "headline": headline(outcomes, partial=sum(check.is_partial for check in checks), earlier=sum(check.is_earlier for check in checks)),
        "notes": ("The pruned model's chat template differs from the original's.",), "differences": (), "reductions": (), "mask": None, "agreement": None, "speed": None, "stale": (), "archive": None,
        "checks_measured": measured(outcomes), "checks_total": len(checks),
        "models": {side: made_model(side) for side in SIDES}, "checks": checks, "tasks": tasks, "asked": {},
        "thresholds_file": "thresholds.yaml", "built_in_thresholds": False, "seed": 1234, "batch_size": "8", "device": "cpu",
        "command": "pytest --original=/models/original --pruned=wanda50=/models/pruned", "started": "2026-11-25T10:00:00+00:00",
        "finished": "2026-11-25T10:21:12+00:00", "python": "3.12.1", "libraries": {"lm_eval": "0.4.13", "torch": "2.13.0"},
        "changed": made_changes(changes), "run": made_run(tasks),
        "provenance": {side: made_provenance(side) for side in SIDES},
    }  # fmt: skip
    return Summary(**(values | changed))
