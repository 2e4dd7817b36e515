"""The models that people really have: adapters, other tokenizers and dtypes, other backends, GGUF, quantised, pruned."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import BOOLQ, GSM8K
from support.tiny import write_adapter, write_gguf, write_merged, write_tiny_llama

from pytest_prunegate.checkpoint.gguf import read_gguf
from pytest_prunegate.input.model_argument import parse_model
from pytest_prunegate.tasks import tokenizers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conftest import Bench

    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.verdict.check_scores import Measurement

ACC = f"""
tasks:
  boolq:
    {BOOLQ}
    limit: 4
    metrics: {{acc: {{max_absolute_drop: 1}}}}
"""
TEXT = f"""
tasks:
  gsm8k:
    {GSM8K}
    limit: 3
    num_fewshot: 0
    max_gen_toks: 4
    metrics: {{"exact_match,flexible-extract": {{max_absolute_drop: 1}}}}
    outputs: {{max_cut: 5%}}
"""
SPARSITY = "sparsity: {{min: {least}}}\n"
LINEAR = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
"""Weights in the tiny llama's linear layers: two layers of q and o, k and v, and gate, up and down."""
REQUESTS = 8  # two answers to each of four questions


MERGED = 11_264 / 2 / 18_432  # half of the matrices that the adapter leaves alone, over all


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_tiny_llama(folder / "original", seed=1)
    write_tiny_llama(folder / "pruned", seed=2)
    return folder


@pytest.fixture
def project(real_bench: Bench, checkpoints: Path) -> Bench:
    shutil.copytree(checkpoints, real_bench.path, dirs_exist_ok=True)
    real_bench.thresholds(ACC)
    return real_bench


def loglikelihoods(measured: Mapping[str, Measurement], side: Side = "pruned") -> list[float]:
    return [response.loglikelihood or 0.0 for response in measured["boolq"].scorers[side]._responses]


def summary_of(project: Bench) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((project.results / "comparison_results.json").read_text())
    return loaded


def executed(project: Bench) -> dict[str, int]:
    """Requests that the last run asked a model, by side."""
    return project.executed("boolq")


def reports_of(project: Bench) -> Sequence[str]:
    return [(project.results / f"comparison_report.{ending}").read_text() for ending in ("md", "html")]


def run(project: Bench, *arguments: str, original: str = "original", pruned: str = "pruned") -> pytest.RunResult:
    return project.run(*arguments, models=(f"--original={original}", f"--pruned={pruned}"))


def assert_refused(project: Bench, result: pytest.RunResult, *lines: str) -> None:
    """A usage error with these lines, before a model was loaded or a file was written."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(list(lines))
    result.stderr.no_fnmatch_line("*Traceback*")
    result.stderr.no_fnmatch_line("*INTERNALERROR*")
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert not project.results.exists()
    assert not (project.path / ".prunegate").exists()


def assert_error(result: pytest.RunResult, *lines: str) -> None:
    """The checks ended as errors with these lines, not as failures and not with a traceback."""
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(list(lines))
    result.stdout.no_fnmatch_line("*Traceback*")


def edit_config(folder: Path, name: str = "config.json", **changes: Any) -> None:
    path = folder / name
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


class TestAdapters:
    @pytest.fixture
    def adapter(self, project: Bench) -> Path:
        return write_adapter(project.path / "adapter", project.path / "pruned")

    @pytest.mark.slow
    def test_an_adapter_scores_as_the_merged_model(
        self, project: Bench, adapter: Path, measured: Mapping[str, Measurement]
    ) -> None:
        write_merged(project.path / "merged", project.path / "pruned", adapter)
        run(project, pruned="merged").assert_outcomes(passed=1)
        merged, score = loglikelihoods(measured), measured["boolq"].scorers["pruned"].score(("acc", "none"))
        run(project).assert_outcomes(passed=1)
        base = loglikelihoods(measured)
        run(project, pruned="adapter").assert_outcomes(passed=1)
        assert loglikelihoods(measured) == pytest.approx(merged, abs=1e-4)
        assert measured["boolq"].scorers["pruned"].score(("acc", "none")).by_document == score.by_document
        assert loglikelihoods(measured) != pytest.approx(base, abs=0.1)

    def test_the_base_of_an_adapter_is_named_with_its_sparsity(self, project: Bench, adapter: Path) -> None:
        prune(project.path / "pruned", share=0.5)
        result = run(project, pruned="tuned=adapter")
        result.assert_outcomes(passed=1)
        note = f"The pruned model tuned is an adapter on {project.path}/pruned; sparsity of that base: 50.0%."
        result.stdout.fnmatch_lines([f"pruned:   tuned = adapter on {project.path}/pruned *", f"note:     {note}"])
        assert all(note in report for report in reports_of(project))
        model = summary_of(project)["models"]["pruned"]
        assert (model["sparsity"], model["base_sparsity"]) == (pytest.approx(MERGED), 0.5)
        assert model["base"] == f"{project.path}/pruned"

    def test_sparsity_is_that_of_the_merged_weights(self, project: Bench, adapter: Path) -> None:
        """The base would pass: 50.0% of it is zero, and an adapter fills what it changes."""
        prune(project.path / "pruned", share=0.5)
        project.thresholds(SPARSITY.format(least="31%"))
        result = run(project, pruned="adapter")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["FAILED *sparsity 30.56%, threshold 31%"])
        project.thresholds(SPARSITY.format(least="30%"))
        assert run(project, pruned="adapter").ret == 0

    def test_a_pattern_is_not_looked_for_in_the_base_s_file(self, project: Bench, adapter: Path) -> None:
        """The base keeps 2:4, and the merged weights do not."""
        from support.pruned_checkpoints import by_groups
        from support.pruned_checkpoints import prune as prune_each

        prune_each(project.path / "pruned", by_groups(2, 4))
        project.thresholds('sparsity: {min: 1%, per_layer_min: 1%, pattern: "2:4"}\n')
        result = run(project, pruned="adapter")
        outcomes = {check["name"]: check["outcome"] for check in summary_of(project)["checks"]}
        assert outcomes == {"min": "pass", "per_layer_min": "fail", "pattern": "error"}
        result.stdout.fnmatch_lines(["*the pattern of the pruned model adapter cannot be counted: *"])

    def test_an_adapter_of_nan_is_told_before_anything(self, project: Bench, adapter: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = adapter / "adapter_model.safetensors"
        tensors = load_file(path)
        next(iter(tensors.values()))[0] = float("nan")
        save_file(tensors, path, {"format": "pt"})
        assert_refused(project, run(project, pruned="adapter"), "*adapter: weights are NaN or infinite: *")

    def test_a_base_on_the_hub_is_asked_about(self, project: Bench, adapter: Path) -> None:
        edit_config(adapter, "adapter_config.json", base_model_name_or_path="org/dense-7b")
        assert_refused(
            project,
            run(project, pruned="adapter"),
            "*--pruned=adapter: the adapter's recorded base is org/dense-7b, which is no local directory.*"
            "--prunegate-peft-base=MODEL*--prunegate-peft-base=recorded*",
        )
        result = run(project, "--prunegate-peft-base=pruned", pruned="adapter")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["pruned:   adapter on pruned *"])

    @pytest.mark.slow
    def test_a_recorded_base_on_the_hub_is_looked_for_where_it_is_wanted(self, project: Bench, adapter: Path) -> None:
        write_adapter(adapter, project.path / "pruned", recorded="org/dense-7b")
        cache = project.path / "cache" / "hub" / "models--org--dense-7b"
        (cache / "refs").mkdir(parents=True)
        (cache / "refs" / "main").write_text("a" * 40)
        shutil.copytree(project.path / "pruned", cache / "snapshots" / ("a" * 40))
        shutil.copytree(project._cache, project.path / "cache", dirs_exist_ok=True)
        project._cache = project.path / "cache"
        result = run(project, "--prunegate-peft-base=recorded", pruned="adapter")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["pruned:   adapter on org/dense-7b *"])

    def test_the_recorded_revision_of_a_base_belongs_to_it(self, project: Bench, adapter: Path) -> None:
        edit_config(adapter, "adapter_config.json", base_model_name_or_path="org/dense-7b", revision="abc123")
        given = parse_model("pruned", "adapter", project.path, peft_base="recorded")
        assert given.base is not None
        assert given.base.revision == "abc123"

    @pytest.mark.parametrize(
        ("models", "arguments", "message"),
        [
            (
                ("original", "pruned"),
                "--prunegate-peft-base=original",
                "*--prunegate-peft-base=original: is for adapters, and --pruned=pruned is a whole model.*",
            ),
            (
                ("adapter", "pruned"),
                "-q",
                "*--original=adapter: this is an adapter; a whole model is needed here.*",
            ),
            (
                ("original", "adapter"),
                "--prunegate-peft-base=adapter",
                "*--prunegate-peft-base=adapter: this is an adapter; a whole model is needed here.*",
            ),
            (
                ("original", "adapter"),
                "--prunegate-peft-base=nowhere/at/all",
                "*--prunegate-peft-base=nowhere/at/all: there is no directory */nowhere/at/all.*",
            ),
            (
                ("original", "adapter"),
                "--prunegate-peft-base=base.gguf",
                "*--prunegate-peft-base=base.gguf: a GGUF file cannot be the base of an adapter.*",
            ),
            (
                ("original", "both"),
                "-q",
                "*--pruned=both: this directory holds a whole model and an adapter; move one of them away.*",
            ),
            (
                ("original", "nameless"),
                "-q",
                "*--pruned=nameless: the adapter records no base model. Name it with --prunegate-peft-base=MODEL.*",
            ),
            (
                ("original", "damaged"),
                "-q",
                "*--pruned=damaged: adapter_config.json cannot be read: *",
            ),
        ],
        ids=[
            "base of a whole model", "adapter as original", "adapter as base", "no such base", "gguf as base", "whole model and adapter",
            "no base recorded", "damaged",
        ],
    )  # fmt: skip
    def test_what_cannot_be_meant_is_refused(
        self, project: Bench, adapter: Path, models: tuple[str, str], arguments: str, message: str
    ) -> None:
        write_gguf(project.path / "base.gguf", project.path / "original")
        shutil.copytree(project.path / "pruned", project.path / "both")
        shutil.copytree(adapter, project.path / "both", dirs_exist_ok=True)
        shutil.copytree(adapter, project.path / "nameless")
        edit_config(project.path / "nameless", "adapter_config.json", base_model_name_or_path=None)
        shutil.copytree(adapter, project.path / "damaged")
        (project.path / "damaged" / "adapter_config.json").write_text("{")
        assert_refused(project, run(project, arguments, original=models[0], pruned=models[1]), message)

    def test_a_base_is_refused_where_the_original_is_measured_alone(self, project: Bench) -> None:
        result = project.run(
            "--prunegate-baseline-only", "--prunegate-peft-base=pruned", models=("--original=original",)
        )
        assert_refused(project, result, "*--prunegate-peft-base*")

    def test_a_pickled_adapter_is_not_opened(self, project: Bench, adapter: Path) -> None:
        (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
        assert_refused(
            project,
            run(project, pruned="adapter"),
            "*there is no adapter_model.safetensors in this adapter. Save it as *",
        )

    def test_adapter_and_base_decide_what_is_asked_anew_and_their_places_do_not(
        self, project: Bench, adapter: Path
    ) -> None:
        run(project, pruned="adapter")
        assert executed(project) == {"original": REQUESTS, "pruned": REQUESTS}
        shutil.copytree(adapter, project.path / "elsewhere")
        shutil.copytree(project.path / "pruned", project.path / "base")
        run(project, "--prunegate-peft-base=base", pruned="elsewhere")
        assert executed(project) == {"original": 0, "pruned": 0}
        run(project, "--prunegate-peft-base=original", pruned="adapter")
        assert executed(project) == {"original": 0, "pruned": REQUESTS}
        write_adapter(project.path / "other", project.path / "pruned", seed=5)
        run(project, pruned="other")
        assert executed(project) == {"original": 0, "pruned": REQUESTS}
        edit_config(project.path / "other", "adapter_config.json", lora_alpha=16)
        run(project, pruned="other")
        assert executed(project) == {"original": 0, "pruned": REQUESTS}

    def test_an_adapter_on_padded_embeddings_scores_as_the_merged_model(
        self, project: Bench, measured: Mapping[str, Measurement]
    ) -> None:
        resize(project.path / "pruned", 320)
        adapter = write_adapter(project.path / "adapter", project.path / "pruned")
        write_merged(project.path / "merged", project.path / "pruned", adapter)
        run(project, pruned="merged").assert_outcomes(passed=1)
        merged = loglikelihoods(measured)
        run(project, pruned="adapter").assert_outcomes(passed=1)
        assert loglikelihoods(measured) == pytest.approx(merged, abs=1e-4)

    def test_an_adapter_may_bring_tokens_of_its_own(self, project: Bench, measured: Mapping[str, Measurement]) -> None:
        shutil.copytree(project.path / "pruned", project.path / "resized")
        resize(project.path / "resized", 301, pad="[PAD]")
        adapter = write_adapter(project.path / "adapter", project.path / "resized", embeddings=True)
        write_merged(project.path / "merged", project.path / "resized", adapter)
        copy_tokenizer(project.path / "resized", adapter)
        run(project, pruned="merged").assert_outcomes(passed=1)
        merged = loglikelihoods(measured)
        run(project, "--prunegate-peft-base=pruned", pruned="adapter").assert_outcomes(passed=1)
        assert loglikelihoods(measured) == pytest.approx(merged, abs=1e-4)

    def test_an_adapter_whose_tensors_have_other_names_is_an_error(self, project: Bench, adapter: Path) -> None:
        """peft warns, and leaves the base as it is: a dense or merely pruned model would pass for the fine-tuned one."""
        from safetensors.torch import load_file, save_file

        path = adapter / "adapter_model.safetensors"
        tensors = {name.replace("base_model.model.", "wrapped."): tensor for name, tensor in load_file(path).items()}
        save_file(tensors, path)
        assert_error(run(project, pruned="adapter"), "*the adapter does not fit this base: * have no counterpart*")

    def test_an_adapter_of_a_deeper_base_is_an_error(self, project: Bench, adapter: Path) -> None:
        edit_config(project.path / "original", num_hidden_layers=1)
        drop_tensors(project.path / "original", "layers.1.")
        result = run(project, "--prunegate-peft-base=original", pruned="adapter")
        assert_error(result, "*the adapter does not fit this base: *layers.1.*")


class TestVocabularies:
    def test_an_added_pad_token_is_a_note(self, project: Bench) -> None:
        resize(project.path / "pruned", 301, pad="[PAD]")
        result = run(project)
        result.assert_outcomes(passed=1)
        notes = [
            "The vocabularies differ in size: 300 rows of embeddings in the original, 301 in the pruned model.",
            "The tokenizers' files differ; every prompt of this run is compared in both encodings.",
        ]
        result.stdout.fnmatch_lines([f"note:     {note}" for note in notes])
        for note in notes:
            assert all(note in report.replace("&#39;", "'") for report in reports_of(project))

    def test_padded_embeddings_are_a_note(self, project: Bench) -> None:
        resize(project.path / "pruned", 320)
        result = run(project)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["note:     The vocabularies differ in size: 300 *, 320 in the pruned model."])
        result.stdout.no_fnmatch_line("*tokenizers' files differ*")

    def test_another_merge_table_is_an_error_that_names_the_document(self, project: Bench) -> None:
        drop_merges(project.path / "pruned")
        result = run(project)
        assert_error(
            result,
            "*boolq: document *: the two models' tokenizers encode its prompt differently (* tokens, the first difference at token *, "
            "behind *--prunegate-pruned-args=tokenizer=DIRECTORY_OF_THE_ORIGINAL.*",
        )
        assert not any(summary_of(project)["checks"][0][key] for key in ("original", "pruned"))
        result = run(project, "--prunegate-pruned-args=tokenizer=original")
        result.assert_outcomes(passed=1)
        assert result.ret == 0

    def test_a_bos_that_one_side_adds_is_an_error(self, project: Bench) -> None:
        add_bos(project.path / "pruned")
        assert_error(run(project), "*document *encode its prompt differently (*, the first difference at token 0, *")
        run(project, "--prunegate-pruned-args=tokenizer=original").assert_outcomes(passed=1)

    def test_a_bos_that_the_arguments_add_to_one_side_is_an_error(self, project: Bench) -> None:
        for side in ("original", "pruned"):
            add_bos(project.path / side)
        assert_error(
            run(project, "--prunegate-pruned-args=add_bos_token=False"), "*document *encode its prompt differently *"
        )
        both = [f"--prunegate-{side}-args=add_bos_token=False" for side in ("original", "pruned")]
        run(project, *both).assert_outcomes(passed=1)

    def test_fewer_embeddings_than_tokens_are_an_error(self, project: Bench) -> None:
        resize(project.path / "pruned", 200)
        assert_error(run(project), "pruned model pruned: *")

    def test_a_tokenizer_that_is_not_there_is_named(self, project: Bench) -> None:
        assert_refused(
            project,
            run(project, "--prunegate-pruned-args=tokenizer=./no/where"),
            "*--prunegate-pruned-args=tokenizer=./no/where: there is no directory */no/where.*",
        )

    def test_a_checkpoint_without_a_tokenizer_says_so(self, project: Bench) -> None:
        for path in (project.path / "pruned").glob("tokenizer*"):
            path.unlink()
        assert_refused(project, run(project), "*there is no tokenizer in this directory. Save the original's beside *")
        run(project, "--prunegate-pruned-args=tokenizer=original").assert_outcomes(passed=1)


class TestWeights:
    def test_a_checkpoint_that_lacks_a_tensor_is_an_error_and_not_random(self, project: Bench) -> None:
        drop_tensors(project.path / "pruned", "layers.1.mlp.up_proj")
        lines = "*the files lack model.layers.1.mlp.up_proj.weight, and transformers would fill in random numbers*"
        assert_refused(project, run(project), lines)
        assert project.executor.requests == []

    @pytest.mark.parametrize(
        ("name", "changes"),
        [
            ("config.json", {"text_config": 3}),
            ("config.json", {"quantization_config": {"quant_method": "compressed-tensors", "sparsity_config": 3}}),
        ],
    )
    def test_a_configuration_that_makes_no_sense_is_no_traceback(
        self, project: Bench, name: str, changes: dict[str, Any]
    ) -> None:
        edit_config(project.path / "pruned", name, **changes)
        result = run(project)
        assert result.ret in {pytest.ExitCode.USAGE_ERROR, 10}
        assert "INTERNALERROR" not in "\n".join(result.outlines + result.errlines)

    def test_code_of_a_checkpoint_counts_in_the_key(self, project: Bench) -> None:
        run(project)
        run(project, "--prunegate-pruned-args=trust_remote_code=true", "--prunegate-trust=remote-code")
        assert executed(project) == {"original": 0, "pruned": REQUESTS}


class TestDtypes:
    def test_bf16_weights_are_evaluated_in_the_originals_fp32(self, project: Bench) -> None:
        save_as(project.path / "pruned", "bfloat16")
        run(project).assert_outcomes(passed=1)
        assert dtypes(project) == ("float32", "float32")

    def test_one_sides_argument_changes_one_side_and_is_shown(self, project: Bench) -> None:
        run(project)
        result = run(project, "--prunegate-pruned-args=dtype=bfloat16")
        result.assert_outcomes(passed=1)
        assert dtypes(project) == ("float32", "bfloat16")
        assert executed(project) == {"original": 0, "pruned": REQUESTS}
        result.stdout.fnmatch_lines(["original: original (*, float32, *", "pruned:   pruned (*, bfloat16, *"])
        for report in reports_of(project):
            assert "float32" in report
            assert "bfloat16" in report

    def test_the_option_changes_both(self, project: Bench) -> None:
        run(project, "--prunegate-dtype=bfloat16").assert_outcomes(passed=1)
        assert dtypes(project) == ("bfloat16", "bfloat16")
        run(project, "--prunegate-dtype=bfloat16", "--prunegate-original-args=dtype=auto").assert_outcomes(passed=1)
        assert dtypes(project) == ("float32", "bfloat16")

    def test_a_dtype_that_there_is_not(self, project: Bench) -> None:
        result = run(project, "--prunegate-pruned-args=dtype=float33")
        assert_refused(project, result, "*--prunegate-pruned-args*dtype*float33*float32, bfloat16, float16*")


class TestArguments:
    @pytest.mark.parametrize(
        ("argument", "place"),
        [
            ("pretrained=x", "the model is the value of --original or --pruned"),
            ("device=cuda", "use --prunegate-device, for both models"),
            ("batch_size=4", "use --prunegate-batch-size, for both models"),
            ("max_batch_size=4", "use --prunegate-batch-size=auto, for both models"),
            ("peft=x", "give the adapter's directory as --pruned, and its base with --prunegate-peft-base"),
            ("gguf_file=x", "give the .gguf file itself as --original or --pruned"),
            ("subfolder=x", "give the folder's own path as --original or --pruned"),
            ("delta=x", "merge the delta into its base, and give the merged model"),
            ("enable_thinking=True", "write chat_template_kwargs: {enable_thinking: true} in the thresholds file*"),
            ('{"chat_template_args": {"a": 1}}', "write chat_template_kwargs in the thresholds file, the same for both models"),
        ],
    )  # fmt: skip
    def test_what_has_a_place_of_its_own_is_refused_with_that_place(
        self, project: Bench, argument: str, place: str
    ) -> None:
        key = "chat_template_args" if argument.startswith("{") else argument.split("=", maxsplit=1)[0]
        result = run(project, f"--prunegate-original-args={argument}")
        assert_refused(project, result, f"*--prunegate-original-args: {key}: {place}.")

    def test_all_mistakes_are_told_at_once(self, project: Bench) -> None:
        result = run(project, "--prunegate-original-args=device=cuda,peft=x", "--prunegate-pruned-args=batch_size=4")
        assert_refused(
            project,
            result,
            "*--prunegate-original-args: device: *",
            "*--prunegate-original-args: peft: *",
            "*--prunegate-pruned-args: batch_size: *",
        )

    @pytest.mark.parametrize("written", ["bfloat16", "dtype=bfloat16,oops", "{dtype: bfloat16}", "{"])
    def test_what_is_no_argument_is_refused(self, project: Bench, written: str) -> None:
        result = run(project, f"--prunegate-pruned-args={written}")
        assert_refused(project, result, "*--prunegate-pruned-args: expected key=value,key=value or a JSON object*")

    def test_a_json_object_is_taken(self, project: Bench) -> None:
        run(project, '--prunegate-pruned-args={"dtype": "bfloat16", "max_length": 400}').assert_outcomes(passed=1)
        pruned = summary_of(project)["models"]["pruned"]
        assert (pruned["dtype"], pruned["max_length"]) == ("bfloat16", 400)

    def test_a_revision_of_a_local_path_is_refused(self, project: Bench) -> None:
        result = run(project, "--prunegate-pruned-args=revision=main")
        assert_refused(project, result, "*--pruned=pruned: revision is for hub ids, and this is a local path.*")

    def test_a_device_map_says_where_and_changes_no_answer(
        self, project: Bench, measured: Mapping[str, Measurement]
    ) -> None:
        run(project, "--prunegate-pruned-args=device_map=auto").assert_outcomes(passed=1)
        assert executed(project) == {"original": REQUESTS, "pruned": REQUESTS}
        wherever = loglikelihoods(measured)
        result = run(project)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["time:     every answer is in the store; no model is loaded"])
        assert executed(project) == {"original": 0, "pruned": 0}
        run(project, "--prunegate-pruned-args=device_map=cpu", f"--prunegate-store={project.path}/another")
        assert executed(project) == {"original": REQUESTS, "pruned": REQUESTS}
        assert loglikelihoods(measured) == pytest.approx(wherever, abs=1e-4)

    def test_an_argument_that_transformers_does_not_know_is_an_error(self, project: Bench) -> None:
        assert_error(
            run(project, "--prunegate-pruned-args=no_such_thing=1"),
            "*pruned model pruned: cannot be loaded from */pruned: TypeError: *no_such_thing*",
        )

    def test_an_argument_that_changes_answers_asks_anew(self, project: Bench) -> None:
        run(project)
        run(project, "--prunegate-pruned-args=attn_implementation=eager").assert_outcomes(passed=1)
        assert executed(project) == {"original": 0, "pruned": REQUESTS}
        assert summary_of(project)["models"]["pruned"]["arguments"] == {"attn_implementation": "eager"}
        assert all("attn_implementation" in report.split("Command")[0] for report in reports_of(project))

    def test_a_maximum_length_is_taken(self, project: Bench) -> None:
        run(project, "--prunegate-pruned-args=max_length=64").assert_outcomes(passed=1)
        lengths = [model["max_length"] for model in summary_of(project)["models"].values()]
        assert lengths == [512, 64]
        assert_error(
            run(project, "--prunegate-pruned-args=max_length=8"), "*document *pruned model pruned: * the model takes 8*"
        )

    @pytest.mark.parametrize("length", ["0", "-5", "long", "1.5"])
    def test_a_maximum_length_that_is_none_is_refused(self, project: Bench, length: str) -> None:
        result = run(project, f"--prunegate-pruned-args=max_length={length}")
        assert_refused(project, result, "*--prunegate-pruned-args*max_length*")


class TestBackends:
    def test_a_class_that_takes_no_checkpoint_is_an_error_and_no_random_verdict(self, project: Bench) -> None:
        result = run(project, "--prunegate-backend=dummy")
        assert_error(result, "--prunegate-backend=dummy: this model class takes no checkpoint*")
        assert summary_of(project)["checks"][0]["pruned"] is None

    @pytest.mark.parametrize("name", ["local-completions", "openai-chat-completions", "sglang-generate"])
    def test_servers_are_named_as_models_and_not_as_a_backend(self, project: Bench, name: str) -> None:
        result = run(project, f"--prunegate-backend={name}")
        assert_refused(
            project, result, f"*--prunegate-backend={name}: asks a server*--pruned=NAME=http://HOST:PORT/v1."
        )

    def test_an_adapter_is_not_left_out_by_another_backend(self, project: Bench) -> None:
        project.pytester.makeconftest(RULES)
        adapter = write_adapter(project.path / "adapter", project.path / "original")
        result = run(project, "--prunegate-backend=by-rule", pruned=str(adapter))
        assert_refused(project, result, "*--prunegate-backend=by-rule: the pruned model * is an adapter: merge it*")

    def test_answers_of_another_backend_are_not_served(self, project: Bench) -> None:
        project.pytester.makeconftest(RULES)
        run(project)
        run(project, "--prunegate-backend=by-rule")
        assert executed(project) == {"original": REQUESTS, "pruned": REQUESTS}
        run(project, "--prunegate-backend=huggingface")
        assert executed(project) == {"original": REQUESTS, "pruned": REQUESTS}, "whoever asks for lm-eval's own gets it"
        for name in ("by-rule", "fast", "hf"):
            run(project, f"--prunegate-backend={name}")
            assert executed(project) == {"original": 0, "pruned": 0}, name

    def test_a_name_that_lm_eval_does_not_have(self, project: Bench) -> None:
        result = run(project, "--prunegate-backend=dumy")
        assert_refused(
            project, result, "*--prunegate-backend=dumy: there is no backend of this name. Did you mean *dummy*"
        )

    def test_a_model_class_of_the_users_own(self, project: Bench, measured: Mapping[str, Measurement]) -> None:
        project.pytester.makeconftest(RULES)
        project.thresholds(ACC)
        run(project, "--prunegate-backend=by-rule").assert_outcomes(passed=1)
        scores = {side: scorer.score(("acc", "none")).by_document for side, scorer in measured["boolq"].scorers.items()}
        even = {number: int(number in range(0, 20, 2)) for number in scores["pruned"]}
        assert scores["pruned"] == even, "it says yes to everything"
        assert scores["original"] == {number: 1 - right for number, right in even.items()}, "and it says no"

    def test_a_share_that_the_backend_does_not_tell_is_an_error(self, project: Bench) -> None:
        project.pytester.makeconftest(RULES)
        project.thresholds(TEXT)
        result = run(project, "--prunegate-backend=by-rule")
        result.assert_outcomes(passed=1, errors=1)
        assert result.ret == 10
        result.stdout.fnmatch_lines(["*gsm8k.max_cut: the backend does not say which outputs were cut."])
        outputs = summary_of(project)["tasks"][0]["outputs"]["pruned"]
        assert outputs["cut"] is None
        assert outputs["empty"] == 0

    def test_a_users_own_variant_of_lm_evals_class_gets_the_model(
        self, project: Bench, measured: Mapping[str, Measurement]
    ) -> None:
        project.pytester.makeconftest(VARIANT)
        result = run(project, "--prunegate-backend=variant", "--prunegate-dtype=float64")
        result.assert_outcomes(passed=1)
        found = loglikelihoods(measured)
        run(project, "--prunegate-dtype=float64")
        assert found == pytest.approx(loglikelihoods(measured), abs=1e-9)

    def test_a_model_class_that_breaks_is_an_error(self, project: Bench) -> None:
        project.pytester.makeconftest(
            RULES.replace("by-rule", "broken").replace("return answers", "raise KeyError('no')")
        )
        assert_error(
            run(project, "--prunegate-backend=broken"),
            "*original model original: failed while it answered: KeyError: 'no'. What was answered is kept.",
        )

    def test_a_model_class_whose_package_is_missing_ends_the_run(self, project: Bench) -> None:
        assert importlib.util.find_spec("vllm") is None
        result = run(project, "--prunegate-backend=vllm")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*vllm*"])


RULES = '''
from lm_eval.api.model import LM
from lm_eval.api.registry import model_registry, register_model


class ByRule(LM):
    """The original says no, whatever else says yes."""

    def __init__(self, pretrained, batch_size=1, device="cpu"):
        super().__init__()
        self.answer = "no" if pretrained.endswith("original") else "yes"

    def loglikelihood(self, requests, disable_tqdm=False):
        answers = [(-1.0 if request.args[1].strip() == self.answer else -2.0, False) for request in requests]
        return answers

    def generate_until(self, requests, disable_tqdm=False):
        answers = [f"The answer is {len(request.args[0])}." for request in requests]
        return answers

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError


if "by-rule" not in model_registry:  # a second run in one process
    register_model("by-rule")(ByRule)
'''


VARIANT = """
from lm_eval.api.registry import model_registry, register_model
from lm_eval.models.huggingface import HFLM


class Variant(HFLM):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)


if "variant" not in model_registry:
    register_model("variant")(Variant)
"""


class TestGguf:
    def test_a_gguf_file_scores_as_the_checkpoint_that_it_was_made_of(
        self, project: Bench, measured: Mapping[str, Measurement]
    ) -> None:
        write_gguf(project.path / "pruned.gguf", project.path / "pruned")
        run(project).assert_outcomes(passed=1)
        expected = loglikelihoods(measured)
        result = run(project, pruned="packed=pruned.gguf")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["pruned:   packed = pruned.gguf (*, float32, sparsity 0.0%, *"])
        assert loglikelihoods(measured) == pytest.approx(expected, abs=1e-4)

    def test_zeros_of_a_plain_gguf_are_counted(self, project: Bench) -> None:
        write_gguf(project.path / "pruned.gguf", project.path / "pruned", zeros=1024)
        project.thresholds(SPARSITY.format(least="5.5%"))
        result = run(project, pruned="pruned.gguf")
        result.assert_outcomes(passed=1)
        model = summary_of(project)["models"]["pruned"]
        assert (model["zeros"], model["weights"]) == (1024, LINEAR)
        assert [layer["weights"] for layer in model["layers"]] == [LINEAR // 2] * 2
        assert sum(layer["zeros"] for layer in model["layers"]) == 1024

    def test_zeros_of_a_quantised_gguf_are_not(self, project: Bench) -> None:
        write_gguf(project.path / "pruned.gguf", project.path / "pruned", quantised=True)
        project.thresholds(SPARSITY.format(least="10%"))
        assert_error(
            run(project, pruned="pruned.gguf"),
            "*the sparsity of the pruned model pruned.gguf cannot be counted: *Q8_0*",
        )

    def test_a_gguf_file_takes_a_tokenizer_of_a_directory(self, project: Bench) -> None:
        write_gguf(project.path / "files" / "pruned.gguf", project.path / "pruned")
        drop_merges(project.path / "original")
        assert_error(run(project, pruned="files/pruned.gguf"), "*encode its prompt differently*")
        run(project, "--prunegate-pruned-args=tokenizer=original", pruned="files/pruned.gguf").assert_outcomes(passed=1)

    def test_a_gguf_file_takes_the_tokenizer_of_its_own_directory(self, project: Bench) -> None:
        write_gguf(project.path / "files" / "pruned.gguf", project.path / "pruned")
        drop_merges(project.path / "original")
        copy_tokenizer(project.path / "original", project.path / "files")
        run(project, "--prunegate-pruned-args=tokenizer=files", pruned="files/pruned.gguf").assert_outcomes(passed=1)

    def test_a_gguf_file_beside_a_checkpoints_tokenizer_keeps_its_bos(self, project: Bench) -> None:
        write_gguf(project.path / "files" / "pruned.gguf", project.path / "pruned")
        copy_tokenizer(project.path / "pruned", project.path / "files")
        run(project, pruned="files/pruned.gguf").assert_outcomes(passed=1)

    def test_what_lies_beside_a_gguf_file_never_serves_answers_to_other_prompts(
        self, project: Bench, measured: Mapping[str, Measurement]
    ) -> None:
        write_gguf(project.path / "files" / "pruned.gguf", project.path / "pruned")
        shutil.copy(project.path / "pruned" / "tokenizer.json", project.path / "files")
        arguments = "--prunegate-pruned-args=prefix_token_id=0"
        run(project, arguments, pruned="files/pruned.gguf").assert_outcomes(passed=1)
        for folder in ("files", "original"):
            drop_merges(project.path / folder)
        tokenizers._load.cache_clear()  # as in another process
        if run(project, arguments, pruned="files/pruned.gguf").ret == 0:
            kept = loglikelihoods(measured)
            run(project, arguments, f"--prunegate-store={project.path}/another", pruned="files/pruned.gguf")
            assert loglikelihoods(measured) == pytest.approx(kept, abs=1e-4)

    def test_the_header_is_read(self, project: Bench) -> None:
        header = read_gguf(write_gguf(project.path / "a.gguf", project.path / "pruned", quantised=True))
        assert (header.architecture, header.max_length, header.vocab_size) == ("llama", 512, 300)
        assert header.quantised == ("Q8_0",)
        assert not header.has_template
        shapes = {tensor.name: tensor.shape for tensor in header.tensors}
        assert shapes["blk.0.ffn_up.weight"] == (64, 32)
        assert shapes["blk.1.ffn_gate.weight"] == (64, 32)
        assert len(shapes) == 21

    @pytest.mark.parametrize("content", [b"", b"no gguf at all", "cut"])
    def test_a_damaged_file_is_refused(self, project: Bench, content: bytes | str) -> None:
        path = write_gguf(project.path / "pruned.gguf", project.path / "pruned")
        path.write_bytes(path.read_bytes()[:9000] if isinstance(content, str) else content)
        assert_refused(
            project, run(project, pruned="pruned.gguf"), "*pruned.gguf: this is no GGUF file, or it is damaged: *"
        )

    def test_another_file_is_refused(self, project: Bench) -> None:
        result = run(project, pruned="pruned/model.safetensors")
        assert_refused(
            project,
            result,
            "*this is a file; the directory of a checkpoint, a .gguf file, or a baseline (.json.gz) is needed.*",
        )


class TestQuantised:
    @pytest.fixture
    def gptq(self, project: Bench) -> Bench:
        edit_config(project.path / "pruned", quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 32})
        pack(project.path / "pruned")
        return project

    @pytest.mark.skipif(
        bool(importlib.util.find_spec("gptqmodel") or importlib.util.find_spec("optimum")), reason="gptq is installed"
    )
    def test_a_missing_package_is_named(self, gptq: Bench) -> None:
        result = run(gptq)
        assert_error(result, "*pruned model pruned: cannot be loaded from */pruned: ImportError: *GPTQ*")
        result.stdout.fnmatch_lines(["pruned:   pruned (*gptq, float32, sparsity not counted, *"])
        result.stdout.fnmatch_lines(["Sparsity: original 0.0%, pruned not counted (*quantised (gptq))."])
        assert all("quantised (gptq)" in report for report in reports_of(gptq))
        model = summary_of(gptq)["models"]["pruned"]
        assert model["quantised"] == "gptq"
        assert model["sparsity"] is None
        told = "*pruned model pruned: cannot be loaded here: *GPTQ*"
        result.stdout.fnmatch_lines([f"problem:  {told}"])
        preflight = run(gptq, "--prunegate-preflight", "--prunegate-store=another")
        assert preflight.ret == pytest.ExitCode.USAGE_ERROR
        preflight.stderr.fnmatch_lines([told])

    def test_no_sparsity_threshold_passes_on_packed_weights(self, gptq: Bench) -> None:
        gptq.thresholds(SPARSITY.format(least="10%"))
        assert_error(
            run(gptq),
            "*the sparsity of the pruned model pruned cannot be counted: the weights are packed or quantised (gptq).",
        )
        assert summary_of(gptq)["checks"][0]["pruned"] is None
        preflight = run(gptq, "--prunegate-preflight")
        assert preflight.ret == pytest.ExitCode.USAGE_ERROR
        preflight.stderr.fnmatch_lines(["*the sparsity of the pruned model pruned cannot be counted: *"])

    def test_a_quantised_side_keeps_its_own_dtype(self, gptq: Bench) -> None:
        edit_config(gptq.path / "pruned", dtype="float16")
        run(gptq)
        assert dtypes(gptq) == ("float32", "float16")

    def test_the_option_holds_for_the_side_that_is_not_quantised(self, gptq: Bench) -> None:
        edit_config(gptq.path / "pruned", dtype="float16")
        run(gptq, "--prunegate-dtype=bfloat16", original="pruned", pruned="original")
        assert dtypes(gptq)[1] == "bfloat16"

    @pytest.mark.skipif(not importlib.util.find_spec("bitsandbytes"), reason="bitsandbytes is not installed")
    def test_bitsandbytes_saved_and_on_the_fly(self, project: Bench, measured: Mapping[str, Measurement]) -> None:
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        settings = BitsAndBytesConfig(load_in_8bit=True)
        model = AutoModelForCausalLM.from_pretrained(project.path / "pruned", quantization_config=settings)
        model.save_pretrained(project.path / "packed")
        copy_tokenizer(project.path / "pruned", project.path / "packed")
        run(project, pruned="packed").assert_outcomes(passed=1)
        assert summary_of(project)["models"]["pruned"]["quantised"] == "bitsandbytes, 8 bits"
        packed = loglikelihoods(measured)
        run(project, "--prunegate-pruned-args=load_in_8bit=true").assert_outcomes(passed=1)
        assert loglikelihoods(measured) == pytest.approx(packed, abs=1e-4)
        run(project)
        assert loglikelihoods(measured) != pytest.approx(packed, abs=1e-4)

    def test_quantising_on_the_fly_is_shown(self, project: Bench) -> None:
        result = run(project, "--prunegate-pruned-args=load_in_4bit=true")
        result.stdout.fnmatch_lines(["pruned:   pruned (*4 bits*"])

    @pytest.mark.parametrize(
        ("declared", "problem"),
        [
            ({"format": "dense", "sparsity_config": {"format": "dense"}}, None),
            (
                {"format": "dense", "sparsity_config": {"format": "sparse-bitmask"}},
                "compressed-tensors, sparse-bitmask",
            ),
            ({"format": "pack-quantized", "config_groups": {"group_0": {}}}, "compressed-tensors, pack-quantized"),
        ],
        ids=["pruned", "pruned and packed", "quantised"],
    )
    def test_compressed_tensors_are_counted_where_they_are_not_compressed(
        self, project: Bench, declared: dict[str, Any], problem: str | None
    ) -> None:
        prune(project.path / "pruned", share=0.5)
        edit_config(project.path / "pruned", quantization_config={"quant_method": "compressed-tensors"} | declared)
        if problem:
            pack(project.path / "pruned")
        project.thresholds(SPARSITY.format(least="50%"))
        result = run(project)
        if problem:
            assert_error(
                result,
                f"*cannot be counted: the weights are packed or quantised ({problem}; they cannot be unpacked: *).",
            )
        else:
            result.assert_outcomes(passed=1)


class TestSparsity:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
    def test_zeros_are_counted_in_the_decoders_linear_weights_alone(self, project: Bench, dtype: str) -> None:
        prune(project.path / "pruned", share=0.5, everything_else=True)
        save_as(project.path / "pruned", dtype)
        project.thresholds(SPARSITY.format(least="50%"))
        result = run(project)
        result.assert_outcomes(passed=1)
        assert result.ret == 0
        model = summary_of(project)["models"]["pruned"]
        assert (model["zeros"], model["weights"], model["sparsity"]) == (LINEAR // 2, LINEAR, 0.5)
        half = {"zeros": LINEAR // 4, "weights": LINEAR // 2, "share": 0.5}
        assert model["layers"] == [{"layer": 0, **half}, {"layer": 1, **half}]
        result.stdout.fnmatch_lines(["sparsity *50.0%*PASS"])

    def test_one_weight_below_fails_and_says_so(self, project: Bench) -> None:
        prune(project.path / "pruned", share=0.5, but=1)
        project.thresholds(SPARSITY.format(least="50%"))
        result = run(project)
        result.assert_outcomes(failed=1)
        assert result.ret == 1
        result.stdout.fnmatch_lines(["zeros: * weights", "threshold: sparsity at least 50%", "verdict: * FAIL on *"])

    def test_pickled_weights_are_counted_as_plain_tensors(self, project: Bench) -> None:
        import torch
        from safetensors.torch import load_file

        folder = project.path / "pruned"
        prune(folder, share=0.5)
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        project.thresholds(SPARSITY.format(least="50%"))
        run(project).assert_outcomes(passed=1)
        torch.save({"weights": Path("x")}, folder / "pytorch_model.bin")
        assert_error(
            run(project),
            "*the sparsity of the pruned model pruned cannot be counted: its pickled weights cannot be read: *",
        )


def copy_tokenizer(source: Path, target: Path) -> None:
    for path in source.glob("tokenizer*"):
        shutil.copy(path, target)


def dtypes(project: Bench) -> tuple[str, str]:
    models = summary_of(project)["models"]
    return models["original"]["dtype"], models["pruned"]["dtype"]


def drop_tensors(folder: Path, part: str) -> None:
    """Take the tensors out that have this in their names."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if part not in name}
    save_file(kept, path, metadata={"format": "pt"})


def pack(folder: Path) -> None:
    """Put a matrix's numbers into integers, eight in one, under another name."""
    import torch
    from safetensors.torch import load_file, save_file

    path, name = folder / "model.safetensors", "model.layers.0.mlp.up_proj."
    weights = load_file(path)
    weights[f"{name}weight_packed"] = torch.ones(weights.pop(f"{name}weight").numel() // 8, dtype=torch.int32)
    save_file(weights, path, metadata={"format": "pt"})


def prune(folder: Path, *, share: float, but: int = 0, everything_else: bool = False) -> None:
    """Set a share of each linear weight of the layers to zero, half of them to -0.0.

    Args:
        folder: the checkpoint.
        share: of every weight.
        but: so many of them keep a value.
        everything_else: whether embeddings, output head and norms are zero, too.
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    for name, tensor in weights.items():
        if ".layers." in name and tensor.ndim == 2:
            count = int(tensor.numel() * share)
            tensor.view(-1)[:count] = 0.0
            tensor.view(-1)[: count // 2] = -0.0
        elif everything_else:
            tensor.zero_()
    weights["model.layers.0.mlp.up_proj.weight"].view(-1)[:but] = 1.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def save_as(folder: Path, dtype: str) -> None:
    """Save a checkpoint's weights in another dtype, as from_pretrained(dtype=...).save_pretrained does."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = {
        name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit_config(folder, dtype=dtype)


def resize(folder: Path, rows: int, *, pad: str | None = None) -> None:
    """Give a checkpoint more rows of embeddings, and its tokenizer a token for padding."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(rows)
    if pad:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_special_tokens({"pad_token": pad})
        tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def drop_merges(folder: Path) -> None:
    """Forget the last third of a tokenizer's merges."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][: -len(tokenizer["model"]["merges"]) // 3]
    path.write_text(json.dumps(tokenizer))


def add_bos(folder: Path) -> None:
    """Let a tokenizer write a BOS before every text."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
