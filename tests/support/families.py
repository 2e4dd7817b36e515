"""Small data in the shape of the hub's data sets, tasks of the tests' own, and lm-eval's own evaluator on both."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_WORDS = ("red", "blue", "green", "old", "new", "warm", "cold", "small")
_THINGS = ("a house", "the river", "my dog", "one tree", "her book", "the road", "an apple", "his coat")
_STARTS = {"train": 0, "validation": 3, "test": 5}  # no split begins like another
ANY_LOSS = "{max_absolute_drop: 1}"


@dataclass(frozen=True, kw_only=True)
class Family:
    """One of lm-eval's tasks: where its YAML lies, a row of its data set, and the checks that a gate makes of it."""

    name: str
    folder: str
    row: Callable[[int], dict[str, Any]]
    splits: tuple[str, ...] = ("train", "validation")
    metrics: Mapping[str, str] = field(default_factory=lambda: {"acc": ANY_LOSS})
    settings: str = ""

    def files(self, data: Path) -> dict[str, str]:
        """Its data by split."""
        return {split: str(data / f"{self.name}-{split}.jsonl") for split in self.splits}

    def write(self, data: Path) -> None:
        """Write 5 to 7 documents for each split."""
        for number, (split, file) in enumerate(self.files(data).items()):
            rows = [self.row(n) for n in range(_STARTS[split], _STARTS[split] + 5 + number)]
            write_jsonl(Path(file), rows)

    def thresholds(self, data: Path) -> str:
        """Its entry in thresholds.yaml."""
        dataset = json.dumps({"path": "json", "data_files": self.files(data)})
        metrics = ", ".join(f"{json.dumps(name)}: {threshold}" for name, threshold in self.metrics.items())
        return f"  {self.name}:\n    dataset: {dataset}\n    metrics: {{{metrics}}}\n{self.settings}"

    def override(self, data: Path) -> dict[str, Any]:
        """Its entry in lm-eval's list of tasks: the registered task with other data."""
        local = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": self.files(data)}}
        return {"group": f"local-{self.name}", "task": [{"task": self.name, **local}]}


def _word(number: int) -> str:
    return _WORDS[number % len(_WORDS)]


def _thing(number: int) -> str:
    return _THINGS[number * 3 % len(_THINGS)]


def _boolq(n: int) -> dict[str, Any]:
    return {"question": f"is {_thing(n)} {_word(n)}", "passage": f"{_thing(n)} is {_word(n + n % 2)}.", "idx": n, "label": int(n % 3 == 0)}  # fmt: skip


def _rte(n: int) -> dict[str, Any]:
    return {"sentence1": f"{_thing(n)} was {_word(n)}.", "sentence2": f"There is {_thing(n + n % 2)}.", "label": n % 2, "idx": n}  # fmt: skip


def _hellaswag(n: int) -> dict[str, Any]:
    ctx_a, ctx_b = f"[header] How to paint {_thing(n)} [title] Take {_word(n)} paint.", "then  he"
    return {
        "ind": n, "activity_label": "Painting", "ctx_a": ctx_a, "ctx_b": ctx_b, "ctx": f"{ctx_a} {ctx_b}",
        "endings": [f"sees {_thing(n + k)}{' again' * k}." for k in range(4)], "source_id": f"wikihow~{n}", "split": "train",
        "split_type": "indomain", "label": str(n * 3 % 4),
    }  # fmt: skip


def _winogrande(n: int) -> dict[str, Any]:
    return {
        "sentence": f"Ann saw {_thing(n)} and Bob did not, so _ was {_word(n)} today.",
        "option1": "Ann", "option2": "Bob", "answer": str(1 + n % 3 % 2),
    }  # fmt: skip


def _arc(n: int) -> dict[str, Any]:
    labels = ["1", "2", "3", "4"] if n % 4 == 1 else ["A", "B", "C", "D"][: 3 + n % 2]  # both are in the data set
    texts = [f"{_thing(n + k)}{' and more' * (k % 2)}" for k in range(len(labels))]
    return {"id": f"Q{n}", "question": f"What is {_word(n)}?", "choices": {"text": texts, "label": labels}, "answerKey": labels[n % len(labels)]}  # fmt: skip


def _openbookqa(n: int) -> dict[str, Any]:
    choices = {"text": [f"{_word(n + k)} {_thing(n)}" for k in range(4)], "label": ["A", "B", "C", "D"]}
    return {"id": f"7-{n}", "question_stem": f"When it is {_word(n)} one sees", "choices": choices, "answerKey": " ABCD"[n % 4 + 1]}  # fmt: skip


def _piqa(n: int) -> dict[str, Any]:
    return {"goal": f"How to clean {_thing(n)}?", "sol1": f"Use {_word(n)} water.", "sol2": f"Use {_word(n + 3)} sand and time.", "label": n % 3 % 2}  # fmt: skip


def _gsm8k(n: int) -> dict[str, Any]:
    if n % 3 == 0:  # an answer that even a tiny model finds
        return {"question": f"Ann has {n} apples and sells them all. How many has she?", "answer": f"{n} - {n} = <<{n}-{n}=0>>0\n#### 0"}  # fmt: skip
    return {"question": f"Ann has {n} apples and buys 2 more. How many has she?", "answer": f"{n} + 2 = <<{n}+2={n + 2}>>{n + 2}\n#### {n + 2}"}  # fmt: skip


def _wikitext(n: int) -> dict[str, Any]:
    text = f' = {_thing(n)} = \n \n It was {_word(n)} , and cost 1 @,@ {100 + n} " pounds " . \n' + f" {_word(n)} {_thing(n)} ." * n  # fmt: skip
    return {"page": text * (40 if n == 7 else 1)}  # one is longer than the model's context


_BOTH = {"acc": ANY_LOSS, "acc_norm": ANY_LOSS}
_ALL_SPLITS = ("train", "validation", "test")
_ANY_RISE = "{max_relative_increase: 99999999999999999999%}"
FAMILIES = (
    Family(name="boolq", folder="super_glue/boolq", row=_boolq),
    Family(name="rte", folder="glue/rte", row=_rte),
    Family(name="hellaswag", folder="hellaswag", row=_hellaswag, metrics=_BOTH),
    Family(name="winogrande", folder="winogrande", row=_winogrande),
    Family(name="arc_easy", folder="arc", row=_arc, splits=_ALL_SPLITS, metrics=_BOTH),
    Family(name="arc_challenge", folder="arc", row=lambda n: _arc(n + 1), splits=_ALL_SPLITS, metrics=_BOTH),
    Family(name="openbookqa", folder="openbookqa", row=_openbookqa, splits=_ALL_SPLITS, metrics=_BOTH),
    Family(name="piqa", folder="piqa", row=_piqa, metrics=_BOTH),
    Family(
        name="gsm8k_cot", folder="gsm8k", row=_gsm8k, splits=("train", "test"), settings="    max_gen_toks: 12\n",
        metrics={"exact_match,strict-match": ANY_LOSS, "exact_match,flexible-extract": ANY_LOSS},
    ),
    Family(
        name="wikitext", folder="wikitext", row=_wikitext, splits=_ALL_SPLITS,
        metrics=dict.fromkeys(("word_perplexity", "byte_perplexity", "bits_per_byte"), _ANY_RISE),
    ),
)  # fmt: skip


def evaluate_with_lm_eval(
    model: Path | Any, tasks: list[Any], *, include: Iterable[Path | str], **settings: Any
) -> dict[str, Any]:
    """lm-eval's own evaluator.

    Args:
        model: a checkpoint's folder, or a model object of lm-eval's.
        tasks: names, or inline groups.
        include: folders of YAML: paths, or names below lm-eval's own tasks.
        settings: of ``lm_eval.simple_evaluate``.
    """
    import lm_eval
    import pytest
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks import __path__ as tasks_path

    folders = [Path(tasks_path[0]) / folder for folder in dict.fromkeys(include)]  # an absolute one stays as it is
    manager = TaskManager(include_defaults=False, include_path=folders)
    lm = HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=1) if isinstance(model, Path) else model
    with pytest.MonkeyPatch.context() as patch:
        for slow in ("add_env_info", "add_tokenizer_info"):  # one calls pip, the other the hub
            patch.setattr(f"lm_eval.evaluator.{slow}", lambda *_: None)
        found: dict[str, Any] = lm_eval.simple_evaluate(
            model=lm, tasks=tasks, task_manager=manager, bootstrap_iters=0, **settings
        )
    return found


def write_choice_task(folder: Path, name: str, documents: int, **config: Any) -> None:
    """A multiple-choice task of the tests' own, with as many documents as are asked for."""
    rows = [
        {"question": f"{name}, number {n}: what is {_word(n * 5)}?", "choices": [_thing(n + k) for k in range(3)], "answer": n * 7 % 3}
        for n in range(documents)
    ]  # fmt: skip
    write_task(
        folder, name, rows, output_type="multiple_choice", doc_to_text="{{question}}\nAnswer:", doc_to_choice="choices",
        doc_to_target="answer", **{"metric_list": [{"metric": "acc"}], **config},
    )  # fmt: skip


CHOICES_OF_TWO: dict[str, Any] = {
    "output_type": "multiple_choice", "doc_to_text": "is number {{n}} even?", "doc_to_choice": ["no", "yes"], "doc_to_target": "label",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip
"""Questions with a number, answered yes or no."""


def write_task(folder: Path, name: str, rows: list[dict[str, Any]], **config: Any) -> None:
    """A task's YAML with its data beside it."""
    folder.mkdir(exist_ok=True)
    write_jsonl(folder / f"{name}.jsonl", rows)
    files = {"test": str(folder / f"{name}.jsonl")}
    write_yaml(
        folder, name, task=name, dataset_path="json", dataset_kwargs={"data_files": files}, test_split="test", **config
    )


def write_group(folder: Path, name: str, tasks: list[Any], *, weight_by_size: bool | None) -> None:
    """A group's YAML; None for one that aggregates nothing."""
    aggregate = {"aggregate_metric_list": [{"metric": "acc", "weight_by_size": weight_by_size}]}
    write_yaml(folder, name, group=name, task=tasks, **({} if weight_by_size is None else aggregate))


def write_yaml(folder: Path, name: str, **content: Any) -> None:
    """A YAML file; a value that begins with ``!function`` keeps lm-eval's tag."""
    folder.mkdir(exist_ok=True)
    lines = [f"{key}: {value if str(value).startswith('!') else json.dumps(value)}\n" for key, value in content.items()]
    (folder / f"{name}.yaml").write_text("".join(lines))


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def widen(model: Path, max_length: int) -> Path:
    """Give a checkpoint a longer context; rotary positions need no weights for it."""
    config = model / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": max_length}))
    tokenizer = model / "tokenizer_config.json"
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()) | {"model_max_length": max_length}))
    return model
