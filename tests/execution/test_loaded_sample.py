"""What is loaded is what was hashed, counted and watched: tensors that do not fit, files that lie elsewhere, bytes that differ."""

from __future__ import annotations

import json
import re
import shutil
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import write_adapter, write_tiny_llama

from pytest_prunegate.checkpoint.facts import ModelFacts, read_facts
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.errors import InputError, ModelError
from pytest_prunegate.execution.gate_lm import GateLM
from pytest_prunegate.execution.inspector import TorchInspector
from pytest_prunegate.input.model_argument import parse_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Bench

Tensors = dict[str, torch.Tensor]
UP, Q, HEAD, EMBED = (
    "model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.weight", "lm_head.weight", "model.embed_tokens.weight",
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / "model")


def facts_of(folder: Path, **arguments: Any) -> ModelFacts:
    argument = parse_model("pruned", str(folder), folder.parent, arguments=arguments)
    return read_facts(locate(argument, cache_dir=None), inspector=TorchInspector(folder.parent / "layouts"))


def load(facts: ModelFacts) -> GateLM:
    return GateLM(pretrained=str(facts.folder), weights=facts.weights, device="cpu", dtype="float32", batch_size=1)


def edit(folder: Path, change: Callable[[Tensors], object], name: str = "model.safetensors") -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / name, {"format": "pt"})


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))


def halve(tensors: Tensors) -> None:
    """Half of each matrix of the layers is zero."""
    for name, tensor in tensors.items():
        if "_proj" in name:
            tensor.view(-1)[::2] = 0


def renamed(old: str, new: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if old in name]:
            tensors[name.replace(old, new, 1)] = tensors.pop(name)

    return change


MISFITS: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "torch's masks": (
        lambda held: held.update({f"{UP}_orig": held.pop(UP), f"{UP}_mask": torch.ones(64, 32)}),
        rf"masks of a pruner: {UP}_mask, {UP}_orig\..*torch\.nn\.utils\.prune\.remove.*the files lack {UP}",
    ),
    "modelopt's masks": (
        lambda held: held.update({UP.replace("weight", "_weight_mask"): torch.ones(64, 32)}),
        r"masks of a pruner: model\.layers\.0\.mlp\.up_proj\._weight_mask\.",
    ),
    "NNCF's masks": (
        lambda held: held.update({UP.replace("weight", "pre_ops.0.op.binary_mask"): torch.ones(64, 32)}),
        r"masks of a pruner: .*binary_mask\..*nncf\.strip",
    ),
    "compiled": (renamed("model.", "_orig_mod.model."), r"torch\.compile gives \(`_orig_mod`\): save the model itself"),
    "distributed": (renamed("model.", "module.model."), r"DistributedDataParallel gives \(`module`\): save the module inside"),
    "PEFT around it": (renamed("model.", "base_model.model.model."), r"a name that PEFT gives \(`base_model\.model`\): merge the adapter"),
    "PEFT inside": (renamed("q_proj.weight", "q_proj.base_layer.weight"), r"PEFT gives \(`base_layer`\): merge the adapter"),
    "a layer too many": (
        lambda held: held.update({"model.layers.7.mlp.up_proj.weight": torch.zeros(64, 32)}),
        r"no place for model\.layers\.7\.mlp\.up_proj\.weight, which it would be loaded without\. It has 2 layers\.",
    ),
    "added biases": (
        lambda held: held.update({f"model.layers.{n}.mlp.down_proj.bias": torch.zeros(32) for n in (0, 1)}),
        r"no place for model\.layers\.0\.mlp\.down_proj\.bias, model\.layers\.1\.mlp\.down_proj\.bias, which",
    ),
    "lacking": (lambda held: held.pop(UP), rf"the files lack {UP}, and transformers would fill in random numbers"),
    "other shapes": (
        lambda held: held.update({UP: torch.ones(48, 32)}),
        rf"shapes differ: {UP} is \[48, 32\] in the files, \[64, 32\] in the model\. Write the sizes .* into config\.json",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISFITS)
def test_tensors_that_do_not_fit_are_named_with_what_to_do(model: Path, kind: str) -> None:
    change, said = MISFITS[kind]
    edit(model, change)
    with pytest.raises(ModelError, match=re.compile(said)) as caught:
        facts_of(model)
    assert str(caught.value).startswith(
        f"{model}: the weights do not fit the model that config.json describes (LlamaForCausalLM): "
    )


def test_all_that_does_not_fit_is_told_at_once(model: Path) -> None:
    edit(model, lambda held: held.pop(UP))
    edit(
        model,
        lambda held: held.update(
            {Q: torch.ones(3, 3), "x": torch.ones(1), "y_mask": torch.ones(1), "module.z": torch.ones(1)}
        ),
    )
    with pytest.raises(
        ModelError, match=r"masks .*y_mask.*module\.z bears a name.*no place for x, .*the files lack .*shapes differ"
    ):
        facts_of(model)


def test_a_tied_head_that_differs_is_an_error_and_an_equal_one_is_counted_once(model: Path) -> None:
    edit_json(model / "config.json", tie_word_embeddings=True)
    with pytest.raises(
        ModelError, match=rf"ties .*{EMBED}.*, and they differ in the files.*tie_word_embeddings to false"
    ):
        facts_of(model)
    edit(model, lambda held: held.update({HEAD: held[EMBED].clone()}))
    twice = facts_of(model)
    edit(model, lambda held: held.pop(HEAD))
    assert facts_of(model).parameters == twice.parameters
    load(twice)


def test_buffers_that_the_model_computes_itself_are_no_misfit(model: Path) -> None:
    before = facts_of(model)
    edit(model, lambda held: held.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    after = facts_of(model)
    assert (after.parameters, after.sparsity) == (before.parameters, before.sparsity)
    load(after)


def test_a_tensor_in_two_files_is_an_error(model: Path) -> None:
    edit(model, lambda _: None, "model-1.safetensors")
    edit(model, lambda _: None, "model-2.safetensors")
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    )
    with pytest.raises(
        ModelError, match=r"model-2\.safetensors: holds lm_head\.weight, and so does model-1\.safetensors"
    ):
        facts_of(model)


def test_the_files_that_transformers_opens_are_those_that_are_counted(model: Path) -> None:
    edit(model, halve, "model.v2.safetensors")
    edit(model, halve, "other.safetensors")
    torch.save({name: tensor * (0 if "_proj" in name else 1) for name, tensor in load_file(model / "model.safetensors").items()}, model / "pytorch_model.bin")  # fmt: skip
    found = {
        "usual": facts_of(model),
        "variant": facts_of(model, variant="v2"),
        "pickled": facts_of(model, use_safetensors=False),
    }
    edit_json(model / "config.json", transformers_weights="other.safetensors")
    found["named"] = facts_of(model)
    assert {kind: float(facts.sparsity.share or 0) for kind, facts in found.items()} == {
        "usual": 0, "variant": 0.5, "pickled": 1, "named": 0.5,
    }  # fmt: skip
    assert [[path.name for path in facts.weights] for facts in found.values()] == [
        ["model.safetensors"], ["model.v2.safetensors"], ["pytorch_model.bin"], ["other.safetensors"],
    ]  # fmt: skip
    assert len({facts.fingerprint for facts in found.values()}) == len(found)
    load(found["named"])
    with pytest.raises(ModelError, match=r"(model|other)\.safetensors: transformers would (not )?load this file"):
        load(found["usual"])
    (model / "other.safetensors").write_bytes(b"")
    assert "other.safetensors changed" in (found["named"].change() or "")


REDIRECTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "configuration": ("config.json", {"configuration_files": ["config.5.0.0.json"]}, "configuration_files"),
    "tokenizer": ("tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.5.0.0.json"]}, "fast_tokenizer_files"),
    "vocabulary": ("tokenizer_config.json", {"tokenizer_file": "other.json"}, "tokenizer_file: other.json"),
    "weights elsewhere": (
        "config.json",
        {"transformers_weights": "../other.safetensors"},
        "expected the name of a safetensors file",
    ),
    "weights that are not there": (
        "config.json",
        {"transformers_weights": "no.safetensors"},
        "expected the name of a safetensors file",
    ),
}


@pytest.mark.parametrize("kind", REDIRECTS)
def test_a_key_that_leads_elsewhere_is_refused_by_name(model: Path, kind: str) -> None:
    name, keys, said = REDIRECTS[kind]
    edit_json(model / name, **keys)
    shutil.copy(model / "tokenizer.json", model / "other.json")
    shutil.copy(model / "model.safetensors", model.parent / "other.safetensors")
    with pytest.raises(ModelError, match=rf"{name}: .*{said}"):
        facts_of(model)


@pytest.mark.parametrize(
    "arguments",
    [
        {"config": "x", "state_dict": "y"}, {"_configuration_file": "x"}, {"generation_config": "x"}, {"key_mapping": {}}, {"cache_dir": "x"},
        {"adapter_kwargs": {}}, {"ignore_mismatched_sizes": True}, {"autogptq": "name.safetensors"}, {"variant": "../x"}, {"use_safetensors": "no"},
    ],
)  # fmt: skip
def test_an_argument_that_leads_elsewhere_is_refused_by_name(model: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        facts_of(model, **arguments)
    assert all(f"--prunegate-pruned-args: {key}" in str(caught.value) for key in arguments)


def test_every_argument_of_transformers_is_known() -> None:
    """A new one may open files: look at it, and refuse it or add it here."""
    import inspect

    from transformers import PreTrainedModel

    from pytest_prunegate.input.model_argument import ELSEWHERE

    taken = set(re.findall(r'kwargs\.pop\(\s*"(\w+)"', inspect.getsource(PreTrainedModel.from_pretrained)))
    taken |= {
        name for name in inspect.signature(PreTrainedModel.from_pretrained).parameters if name not in {"args", "kwargs"}
    }
    resolved = {"variant", "use_safetensors", "revision"}
    opens_nothing = {
        "pretrained_model_name_or_path", "force_download", "local_files_only", "token", "proxies", "tqdm_class", "_from_pipeline", "_from_auto",
        "dtype", "torch_dtype", "device_map", "max_memory", "offload_folder", "offload_buffers", "quantization_config", "_commit_hash",
        "distributed_config", "device_mesh", "tp_plan", "tp_size", "trust_remote_code", "allow_all_kernels", "use_kernels", "kernel_config",
        "attn_implementation", "experts_implementation", "model_args", "disable_mmap", "fusion_config",
    }  # fmt: skip
    assert taken - set(ELSEWHERE) - resolved - opens_nothing == set()


def test_bytes_that_change_while_a_model_loads_are_noticed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = facts_of(model)
    load(facts)
    usual = GateLM._create_model

    def create(lm: GateLM, *args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(
            "pytest_prunegate.execution.gate_lm.refuse_misfit", lambda *_: edit(model, lambda held: held[UP].add_(1))
        )
        usual(lm, *args, **kwargs)

    monkeypatch.setattr(GateLM, "_create_model", create)
    with pytest.raises(ModelError, match=rf"what was loaded is not what the files hold: {UP}\."):
        load(facts)


def test_weights_that_are_filled_anew_after_loading_are_noticed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    def tie(self: Any, *_: Any, **__: Any) -> None:
        with torch.no_grad():
            self.model.layers[1].self_attn.q_proj.weight.fill_(3)

    monkeypatch.setattr(LlamaForCausalLM, "tie_weights", tie)
    with pytest.raises(ModelError, match=rf"what was loaded is not what the files hold: {Q}\."):
        load(facts_of(model))


def test_experts_are_compared_before_and_after_they_are_stacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_mixtral(tmp_path / "moe")
    facts = facts_of(folder)
    assert load(facts).unverified == 0
    usual = GateLM._create_model

    def create(lm: GateLM, *args: Any, **kwargs: Any) -> None:
        name = "model.layers.0.block_sparse_moe.experts.2.w1.weight"
        monkeypatch.setattr(
            "pytest_prunegate.execution.gate_lm.refuse_misfit",
            lambda *_: edit(folder, lambda held: held[name].add_(1)),
        )
        usual(lm, *args, **kwargs)

    monkeypatch.setattr(GateLM, "_create_model", create)
    with pytest.raises(
        ModelError,
        match=r"what was loaded is not what the files hold: model\.layers\.0\.block_sparse_moe\.experts\.2\.w1\.weight",
    ):
        load(facts)


def test_experts_that_cannot_be_stacked_are_named_with_their_shapes(tmp_path: Path) -> None:
    folder = write_mixtral(tmp_path / "moe")
    name = "model.layers.0.block_sparse_moe.experts.2.w1.weight"
    edit(folder, lambda held: held.update({name: held[name][:, :-1].clone()}))
    with pytest.raises(
        ModelError, match=r"experts\.gate_up_proj: .* got \[64, 32\] at entry 0 and \[64, 31\] at entry 2"
    ):
        load(facts_of(folder))


def write_mixtral(folder: Path) -> Path:
    """A mixture of experts, half of whose matrices is zero; its routers are dense."""
    from transformers import MixtralConfig, MixtralForCausalLM

    tiny = write_tiny_llama(folder)
    config = MixtralConfig(
        vocab_size=json.loads((tiny / "config.json").read_text())["vocab_size"], hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=512,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MixtralForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "experts" in name or "_proj" in name:
                parameter.view(-1)[::2] = 0
    model.save_pretrained(folder)
    return folder


def test_routers_are_counted_apart(tmp_path: Path) -> None:
    sparsity = facts_of(write_mixtral(tmp_path / "moe")).sparsity
    assert (sparsity.share, sparsity.router_zeros, sparsity.router_elements) == (Fraction(1, 2), 0, 2 * 4 * 32)
    assert [layer.zeros / layer.elements for layer in sparsity.layers] == [0.5, 0.5]


@pytest.mark.parametrize("kind", ["granitemoe", "jetmoe", "bart", "t5", "glm", "dbrx", "gpt_oss"])
def test_counts_are_those_of_the_modules(tmp_path: Path, kind: str) -> None:
    architectures = pytest.importorskip(
        "architectures", reason="the folder evidence/ lies beside the tests in the repository alone"
    )
    found = architectures.compared(kind, tmp_path)
    assert found["gate"] == found["torch"]
    assert found["torch"]["matrices"]["zeros"] > 0


def test_an_adapter_is_counted_as_if_it_were_merged(model: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    edit(model, halve)
    adapter = write_adapter(tmp_path / "adapter", model)
    found = facts_of(adapter)
    assert found.base_sparsity is not None
    assert found.base_sparsity.share == 0.5
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter).merge_and_unload()
    weights = [parameter for name, parameter in merged.named_parameters() if "_proj" in name]
    assert found.sparsity.zeros == sum(int((weight == 0).sum()) for weight in weights)
    assert found.sparsity.zeros < (found.base_sparsity.zeros or 0)
    again = facts_of(adapter)
    assert again.sparsity == found.sparsity


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_plain_bytes_of_a_quantised_checkpoint_are_counted(model: Path, dtype: torch.dtype) -> None:
    edit_json(model / "config.json", quantization_config={"quant_method": "compressed-tensors", "format": "naive-quantized", "config_groups": {"group_0": {}}})  # fmt: skip

    def quantise(tensors: Tensors) -> None:
        halve(tensors)
        for name in [name for name in tensors if "_proj" in name]:
            tensors[f"{name}_scale"] = torch.ones(1)
            tensors[name] = torch.where(tensors[name] == 0, 0, 1).to(dtype)

    edit(model, quantise)
    facts = facts_of(model)
    assert (facts.sparsity.share, facts.quantised) == (Fraction(1, 2), "compressed-tensors, naive-quantized")
    edit(model, lambda held: held.update({f"{UP}_zero_point": torch.ones(1)}))
    assert "packed or quantised" in (facts_of(model).sparsity.problem or "")


def test_a_run_of_sparsity_alone_fails_on_a_model_that_cannot_be_loaded(real_bench: Bench, tiny: Path) -> None:
    for side in ("original", "pruned"):
        shutil.copytree(tiny, real_bench.path / side)
    edit(
        real_bench.path / "pruned",
        lambda held: held.update({"model.layers.7.mlp.up_proj.weight": torch.zeros(640, 320)}),
    )
    real_bench.thresholds("sparsity: {min: 50%}\n")
    result = real_bench.run()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*no place for model.layers.7.mlp.up_proj.weight*It has 2 layers.*"])
    assert not real_bench.results.exists()


def test_another_file_of_weights_is_judged_and_watched(real_bench: Bench, tiny: Path) -> None:
    """The zeros of model.safetensors, which is not loaded, make nothing green; and answers go stale with the file that is."""
    for side in ("original", "pruned"):
        shutil.copytree(tiny, real_bench.path / side)
    pruned = real_bench.path / "pruned"
    edit(pruned, lambda _: None, "dense.safetensors")
    edit(pruned, halve)
    edit_json(pruned / "config.json", transformers_weights="dense.safetensors")
    real_bench.thresholds("sparsity: {min: 50%}\n")
    result = real_bench.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED *sparsity*min* - sparsity 0.00%, threshold 50%*"])
    edit(pruned, halve, "dense.safetensors")
    assert real_bench.run().ret == 0


def test_a_share_near_its_threshold_is_told_from_it(real_bench: Bench, tiny: Path) -> None:
    for side in ("original", "pruned"):
        shutil.copytree(tiny, real_bench.path / side)
    edit(real_bench.path / "pruned", halve)
    edit(real_bench.path / "pruned", lambda held: held[UP].view(-1)[:1].fill_(1))
    real_bench.thresholds("sparsity: {min: 50%}\n")
    result = real_bench.run()
    assert result.ret == 1
    assert not [line for line in result.outlines if re.search(r"\b50\.0+%.*(FAIL|threshold)", line)]
    assert (real_bench.results / "comparison_report.md").read_text().count("49.99") >= 1
