"""Models that a function makes: layers of several widths, which no configuration describes, and everything that such a function can do wrong."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.families import write_choice_task
from support.tiny import TEXT, write_tiny_llama

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench

MAKER = """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SIZES = [24, 40]


def load_model():
    model = AutoModelForCausalLM.from_pretrained("original")
    for size, layer in zip(SIZES, model.model.layers):
        for name in ("gate_proj", "up_proj"):
            shrink(layer.mlp, name, getattr(layer.mlp, name).weight[:size])
        shrink(layer.mlp, "down_proj", layer.mlp.down_proj.weight[:, :size])
    return model, AutoTokenizer.from_pretrained("original")


def shrink(mlp, name, weight):
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = torch.nn.Parameter(weight.detach().clone())
    setattr(mlp, name, linear)
"""
THRESHOLDS = """
tasks:
  choices: {metrics: {acc: {max_absolute_drop: 1}}}
perplexity:
  wikitext2: {max_relative_increase: 900%, seqlen: 32, dataset: {path: text, data_files: {test: data/text.txt}}}
"""
OWN = "--prunegate-include-path=own"
MODELS = ("--original=original", "--pruned=maker:load_model")


@pytest.fixture
def project(real_bench: Bench) -> Iterator[Bench]:
    write_tiny_llama(real_bench.path / "original", seed=1)
    write_choice_task(real_bench.path / "own", "choices", 12)
    (real_bench.path / "data" / "text.txt").write_text(TEXT)
    real_bench.thresholds(THRESHOLDS)
    write(real_bench, MAKER)
    yield real_bench
    sys.modules.pop("maker", None)
    sys.path[:] = [path for path in sys.path if path != str(real_bench.path)]


def write(bench: Bench, code: str) -> None:
    sys.modules.pop("maker", None)
    (bench.path / "maker.py").write_text(code)


def model_of(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.results / "comparison_results.json").read_text())["models"]["pruned"]
    return found


def test_layers_of_several_widths_are_run_counted_and_kept(project: Bench) -> None:
    result = project.run(OWN, models=MODELS)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "pruned: *maker:load_model (*parameters*sparsity 0.0%*fingerprint *",
            "*The pruned model is made by maker:load_model of */maker.py: its fingerprint is of its tensors, its configuration and that file.*",
        ]
    )
    found = model_of(project)
    assert found["path"] == "maker:load_model"
    assert found["architecture"] == "LlamaForCausalLM"
    assert found["weights"] == sum(32 * (32 + 16 + 16 + 32) + 3 * 32 * size for size in (24, 40))
    again = project.run(OWN, models=MODELS)
    again.assert_outcomes(passed=2)
    again.stdout.fnmatch_lines(["time:*every answer is in the store; no model is loaded"])


def test_it_answers_as_the_same_model_in_files(project: Bench) -> None:
    """A function that loads a checkpoint makes the model that the checkpoint is."""
    write(project, MAKER.replace("SIZES = [24, 40]", "SIZES = []"))
    project.run(OWN, models=MODELS).assert_outcomes(passed=2)
    checks = json.loads((project.results / "comparison_results.json").read_text())["checks"]
    assert all(check["original"] == check["pruned"] for check in checks)


def test_another_model_has_another_fingerprint(project: Bench) -> None:
    project.run(OWN, models=MODELS).assert_outcomes(passed=2)
    first = model_of(project)["fingerprint"]
    write(project, MAKER.replace("[24, 40]", "[24, 32]"))
    project.run(OWN, models=MODELS).assert_outcomes(passed=2)
    assert model_of(project)["fingerprint"] != first


def test_its_zeros_are_judged(project: Bench) -> None:
    write(
        project,
        MAKER
        + "\n\ndef sparse():\n    model, tokenizer = load_model()\n    model.model.layers[0].mlp.up_proj.weight.data[:, ::2] = 0\n    return model, tokenizer\n",
    )
    project.thresholds("sparsity: {min: 3%, per_layer_min: 3%}\n")
    result = project.run(models=("--original=original", "--pruned=half=maker:sparse"))
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["where: *Least sparse: *", "*Counted in 14 tensors.*"])
    assert model_of(project)["zeros"] == 24 * 16


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('no GPU here')", "*--pruned=maker:load_model: the function raised: *no GPU here*"),
        (
            "return 5",
            "*--pruned=maker:load_model: the function returned int. It takes no arguments, and returns a transformers model*",
        ),
        ("return torch.nn.Linear(2, 2), None", "*the function returned Linear, NoneType. It takes no arguments*"),
    ],
)
def test_what_a_function_does_wrong_is_told_in_a_sentence(project: Bench, code: str, message: str) -> None:
    write(project, f"import torch\n\ndef load_model():\n    {code}\n")
    result = project.run(OWN, models=MODELS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


@pytest.mark.parametrize(
    ("pruned", "more", "message"),
    [
        ("nowhere:load_model", (), "*--pruned=nowhere:load_model: there is no such directory, and as a function: nowhere cannot be imported: *"),
        ("maker:other", (), "*--pruned=maker:other: *maker.py has no function other. It takes no arguments, and *"),
        ("maker:load_model", ("--prunegate-pruned-args=trust_remote_code=True",), "*--prunegate-pruned-args: trust_remote_code: *loads its model by itself*"),
        ("original", ("--prunegate-mask-from=maker:load_model",), "*--prunegate-mask-from=maker:load_model: this is a function that makes a model; a checkpoint is needed here.*"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(project: Bench, pruned: str, more: tuple[str, ...], message: str) -> None:
    result = project.run(OWN, *more, models=("--original=original", f"--pruned={pruned}"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_a_function_that_makes_another_model_each_time_is_an_error(project: Bench) -> None:
    write(
        project,
        MAKER.replace(
            "    return model,", "    model.model.layers[0].mlp.up_proj.weight.data.normal_()\n    return model,"
        ),
    )
    result = project.run(OWN, models=MODELS)
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        [
            "*maker:load_model made a model with other tensors than the first time. Load its weights, or seed what draws them.*"
        ]
    )


def test_weights_that_are_no_numbers_are_an_error(project: Bench) -> None:
    write(
        project,
        MAKER.replace(
            "    return model,",
            "    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = float('nan')\n    return model,",
        ),
    )
    result = project.run(OWN, models=MODELS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*maker:load_model: weights are NaN or infinite: model.layers.0.mlp.up_proj.weight (1 of 768)*"]
    )


def test_shapes_that_no_configuration_describes_name_this_way_out(project: Bench) -> None:
    write(
        project,
        MAKER
        + "\n\nif __name__ == '__main__':\n    model, tokenizer = load_model()\n    model.save_pretrained('saved')\n    tokenizer.save_pretrained('saved')\n",
    )
    project.pytester.runpython(project.path / "maker.py")
    result = project.run(OWN, models=("--original=original", "--pruned=saved"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*model.layers.0.mlp.* is [[]24, 32] in the files, [[]64, 32] in the model*--pruned=my_module:load_model.*"]
    )


def test_a_script_that_reads_a_command_line_is_told_so(project: Bench) -> None:
    write(project, "import argparse\n\nargparse.ArgumentParser().parse_args(['--no'])\n")
    result = project.run(OWN, models=MODELS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*maker cannot be imported: SystemExit: 2*"])


def test_an_object_that_can_be_called_makes_a_model_too(project: Bench) -> None:
    write(project, MAKER + "\n\nimport functools\nmade = functools.partial(load_model)\n")
    project.run(OWN, models=("--original=original", "--pruned=maker:made")).assert_outcomes(passed=2)


def test_weights_that_are_not_there_are_an_error(project: Bench) -> None:
    write(
        project,
        MAKER.replace("    return model,", "    model.model.layers[0].mlp.up_proj.to('meta')\n    return model,"),
    )
    result = project.run(OWN, models=MODELS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*a model without all of its weights: model.layers.0.mlp.up_proj.weight on the meta device. Load them*"]
    )
