"""The engine says what the model itself says, in every family of decoders that it is made for."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AttentionInterface

from pytest_prunegate.execution.fast.engine import Engine, Room
from pytest_prunegate.execution.fast.jobs import Choices, Generation, Job, Scored
from pytest_prunegate.execution.fast.key_values import NAME, KeyValues, Pass, UnknownAttentionError
from pytest_prunegate.execution.fast.suitable import why_not_model
from pytest_prunegate.execution.fast.trial import trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VOCABULARY, WINDOW = 120, 16
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 128, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
GROUPED = SMALL | {"num_key_value_heads": 2}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", GROUPED),
    "llama with scaled positions": (
        "Llama",
        GROUPED | {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 32}},
    ),
    "qwen2": ("Qwen2", GROUPED),
    "qwen2 with windows": (
        "Qwen2", GROUPED | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", GROUPED | {"head_dim": 16}),
    "mistral": ("Mistral", GROUPED | {"sliding_window": WINDOW}),
    "mixtral": ("Mixtral", GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}),
    "gemma": ("Gemma", GROUPED | {"head_dim": 8}),
    "gemma2": ("Gemma2", GROUPED | {"head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3", GROUPED | {"head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 8}),
    "phi": ("Phi", SMALL),
    "phi3": ("Phi3", GROUPED | {"sliding_window": WINDOW}),
    "gpt2": ("GPT2", {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128, "eos_token_id": None, "bos_token_id": None}),
    "opt": ("OPT", SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32, "pad_token_id": 1}),
    "gpt-neox": ("GPTNeoX", SMALL),
}  # fmt: skip


@cache
def model_of(family: str, dtype: torch.dtype = torch.float32) -> Any:
    """A random model whose weights are large enough that its tokens are decided."""
    name, settings = FAMILIES[family]
    config = getattr(transformers, f"{name}{'Text' if name == 'Gemma3' else ''}Config")(**settings)
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.25)
    return model.eval()


def tokens(count: int, seed: int) -> list[int]:
    drawn = torch.randint(0, VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed))
    return list(map(int, drawn))


def never(_: Sequence[int]) -> bool:
    return False


def generation(prompt: Sequence[int], most: int, is_over: Callable[[Sequence[int]], bool] = never) -> Generation:
    return Generation(key="text", prompt=np.asarray(prompt), most=most, is_over=is_over)


def choices(context: Sequence[int], *continuations: Sequence[int]) -> Choices:
    scored = [Scored(key=None, input=(*context, *one[:-1]), continuation=tuple(one)) for one in continuations]
    return Choices(scored=scored)


def work() -> list[Job]:
    """Texts and continuations on prompts of which some begin alike, some of them longer than a window."""
    shared = tokens(30, 0)
    found: list[Job] = []
    for number in range(5):
        context = [*shared[: 20 + number], *tokens(3 + 5 * number, number + 1)]
        one, other = tokens(1 + number, number + 20), tokens(4, number + 40)
        found += [
            generation(context, 6 + number),
            choices(context, one, other, [*one, *other]),
            choices(context, other),
        ]
    return [*found, generation(tokens(2, 90), 3), choices(tokens(1, 91), tokens(2, 92))]


def expected(model: Any, job: Job) -> Any:
    """What the model says of a job on its own."""
    with torch.inference_mode():
        if isinstance(job, Generation):
            prompt = torch.from_numpy(job.prompt)[None]
            text = model.generate(
                prompt, max_new_tokens=job.most, do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(prompt)
            )
            return tuple(text[0, len(job.prompt) :].tolist())
        return tuple(_score(model, one) for one in job.scored)


def _score(model: Any, scored: Scored) -> tuple[Any, bool]:
    logits = model(torch.tensor([scored.input])).logits[0, -len(scored.continuation) :].float()
    wanted = torch.tensor(scored.continuation)
    said = logits.log_softmax(-1).gather(1, wanted[:, None])
    return pytest.approx(float(said.sum()), abs=2e-3), bool((logits.argmax(-1) == wanted).all())


def engine_of(model: Any, *, slots: int = 4, count: int = 64, together: bool = False) -> Engine:
    return Engine(model, Room(slots=slots, tokens=count, together=together), lambda: 10**9)


def done_by(engine: Engine, jobs: Sequence[Job]) -> dict[int, Any]:
    return {id(done.job): done.generated or done.scores for done in engine.run(jobs)}


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_and_decisions_are_the_models(family: str) -> None:
    model = model_of(family)
    assert why_not_model(lm_of(model), facts()) is None
    engine = engine_of(model)
    assert trial(engine, model) is None
    engine.free()
    jobs = work()
    assert done_by(engine, jobs) == {id(job): expected(model, job) for job in jobs}


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral"])
@pytest.mark.parametrize(("slots", "count", "together"), [(1, 7, False), (3, 512, True), (2, 9, True)])
def test_however_prompts_are_cut_and_put_together(family: str, slots: int, count: int, *, together: bool) -> None:
    model = model_of(family)
    engine = engine_of(model, slots=slots, count=count, together=together)
    list(engine.run([generation(tokens(3, 1), 1)]))  # shows what a token takes
    engine.free()
    jobs = work()
    assert done_by(engine, jobs) == {id(job): expected(model, job) for job in jobs}


@pytest.mark.parametrize("family", FAMILIES)
def test_in_half_precision_it_says_nearly_the_same(family: str) -> None:
    model = model_of(family, torch.bfloat16)
    assert trial(engine_of(model), model) is None


def test_a_prompt_is_read_behind_what_another_one_begins_with() -> None:
    model, shared = model_of("llama"), tokens(40, 0)
    engine, read = engine_of(model, count=512), []
    list(engine.run([generation(tokens(3, 1), 1)]))
    engine.free()
    forward = engine._forward

    def watched(planned: Any, packed: Any) -> torch.Tensor:
        read.append(packed.spanned)
        return forward(planned, packed)

    engine._forward = watched  # type: ignore[method-assign]
    list(engine.run([choices([*shared, *tokens(2, n)], tokens(2, n + 9), tokens(3, n + 20)) for n in range(4)]))
    assert read == [42 + 1 + 2, 3 * (2 + 1 + 2)]  # of each continuation, all but its last token


def test_a_text_ends_where_it_is_said_to_and_makes_room() -> None:
    model = model_of("llama")
    jobs = [generation(tokens(5, n), 9, lambda text: len(text) == 2) for n in range(6)]
    done = list(engine_of(model, slots=2).run(jobs))
    assert [len(one.generated) for one in done] == [2] * 6


def test_memory_decides_how_many_sequences_there_are_at_once() -> None:
    engine = Engine(model_of("llama"), Room(slots=8, tokens=64), lambda: 3 * 64 * engine.bytes_per_token)
    list(engine.run([generation(tokens(5, 1), 2)]))
    assert engine.bytes_per_token == 3 * 2 * 2 * 8 * 4  # layers, keys and values, heads, size, bytes
    engine.free()
    list(engine.run([generation(tokens(5, n), 2) for n in range(9)]))
    assert len(engine._slots) == 3
    assert engine.shrink()
    assert [len(done.generated) for done in engine.run([generation(tokens(5, 1), 2)])] == [2]


def facts() -> Any:
    return SimpleNamespace(quantised=None, gguf=None)


def lm_of(model: Any) -> Any:
    return SimpleNamespace(model=model, backend="causal", mixed_precision_dtype=None)


class TestOnLmEvalsPath:
    def test_a_model_without_the_attention_interface(self) -> None:
        config = transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=1, n_head=2)
        reason = why_not_model(lm_of(transformers.BloomForCausalLM(config)), facts())
        assert reason == "BloomForCausalLM does not take transformers' attention interface"

    def test_positions_that_depend_on_the_longest_sequence(self) -> None:
        rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
        config = transformers.LlamaConfig(**GROUPED | {"rope_parameters": rope})
        reason = why_not_model(lm_of(transformers.LlamaForCausalLM(config)), facts())
        assert reason == "its positions depend on the longest sequence"

    def test_the_trial_finds_what_an_engine_gets_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = model_of("llama")
        monkeypatch.setattr(KeyValues, "copy", lambda *_: None)  # what a prompt begins with is not there
        assert "less likely than the likeliest" in str(trial(engine_of(model), model))

    def test_layers_that_ask_for_more(self) -> None:
        model = model_of("llama")
        attend, layer = AttentionInterface()[NAME], model.model.layers[0].self_attn
        one = torch.zeros(1, 2, 3, 4)
        with (
            KeyValues(1, 8, together=False).taking(Pass(spans=())),
            pytest.raises(UnknownAttentionError, match="attention with s_aux"),
        ):
            attend(layer, one, one, one, None, s_aux=torch.zeros(2))
