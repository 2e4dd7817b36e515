"""What lm-eval's own evaluator says on the small data of these tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_prunegate.tasks.task_builder import with_local_data

if TYPE_CHECKING:
    from pathlib import Path


def evaluate_with_lm_eval(model: Path, data: Path, **settings: Any) -> dict[str, Any]:
    """lm-eval's own evaluator on boolq and on gsm8k with one example; settings are its own."""
    from lm_eval import evaluate
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks import __path__ as tasks_path

    loaded = {}
    for name, folder, files, shots in (
        ("boolq", "super_glue/boolq", {"validation": "boolq.jsonl"}, 0), ("gsm8k", "gsm8k", {"train": "gsm8k.jsonl", "test": "gsm8k.jsonl"}, 1),
    ):  # fmt: skip
        config = dict(
            TaskManager(include_defaults=False, include_path=f"{tasks_path[0]}/{folder}").task_index[name].cfg or {}
        )
        config.pop("tag", None)
        config = json.loads(json.dumps(config))
        dataset = {"path": "json", "data_files": {split: str(data / file) for split, file in files.items()}}
        task = with_local_data(ConfigurableTask, dataset, task=name, config=config, num_fewshot=shots)(config=config)
        task.set_config("num_fewshot", shots)
        task.set_fewshot_seed(1234)
        if name == "gsm8k":
            task.set_config("generation_kwargs", {"max_gen_toks": 12}, update=True)
        loaded[name] = task
    lm = HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=1)
    found: dict[str, Any] = evaluate(lm=lm, task_dict={"tasks": loaded}, bootstrap_iters=0, **settings)
    return found
