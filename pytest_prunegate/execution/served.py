"""Has requests answered by a server, through lm-eval's class for completions, which here encodes as a local model does and takes no half answer."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.models.utils import normalize_gen_kwargs

from pytest_prunegate.errors import ModelError, PrunegateError, ResponseError, TaskError
from pytest_prunegate.execution.executor import Executor
from pytest_prunegate.execution.hook import AnswerHook
from pytest_prunegate.execution.server import client_of
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import quiet
from pytest_prunegate.tasks.requests import GENERATION, ROLLING, WINDOW
from pytest_prunegate.tasks.tokenizers import encodings, load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import HandOn, Settings
    from pytest_prunegate.tasks.requests import Conditions, Request


_NEEDED = ("aiohttp", "requests", "tenacity")  # of lm-eval's class
_FINISHED = {"length": True, "stop": False}  # whether a text was cut, by what the server says
# How a text ends that is all of it; some servers do not say.
_WHOLE = (None, *_FINISHED, "eos", "eos_token", "stop_sequence")
_SHOWN = 60  # characters of what a server said


class ServedText(str):
    """A text of a server with what it says of its end: True for one that was cut, None where it does not say."""

    __slots__ = ("cut",)
    cut: bool | None


def was_cut(text: str) -> bool | None:
    """Whether a text of a server was cut at the token limit; None where nobody knows."""
    return text.cut if isinstance(text, ServedText) else None


class ServedLM(LocalCompletionsAPI):  # type: ignore[misc]  # lm-eval publishes no types
    """A model behind a server. Prompts are encoded here, as for a local model, and sent as token ids.

    Raises:
        ModelError: what lm-eval's class needs is not installed.
    """

    _seed: int

    def __init__(self, facts: ModelFacts, conditions: Conditions, batch_size: str) -> None:
        if lacking := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
            raise ModelError(
                f"{facts.title}: served models need {', '.join(lacking)}: pip install 'pytest-prunegate[served]'."
            )
        assert facts.served is not None
        super().__init__(
            base_url=f"{facts.served.url}/completions",
            model=facts.served.model,
            max_length=conditions.max_length + 1,
            max_gen_toks=conditions.max_gen_toks,
            batch_size=1 if batch_size.startswith("auto") else int(batch_size),
            num_concurrent=int(facts.arguments.get("num_concurrent") or 1),
            max_retries=1,
            tokenizer_backend=None,
        )  # fmt: skip - the client asks again by itself, where that may help
        self._facts = facts
        self._client = client_of(facts)
        self._threads = ThreadPoolExecutor(self._concurrent)
        self._failure: PrunegateError | None = None
        self.tokenizer = load_tokenizer(facts)
        self.tokenizer_backend = "huggingface"
        self.tokenized_requests = facts.arguments.get("tokenized_requests") is not False
        self._first_seed = self._seed

    @property
    def concurrent(self) -> int:
        """How many calls are under way at once."""
        return int(self._concurrent)

    def repeat(self, number: int) -> None:
        """Sample the answers that follow as those of a repeat: with the same seed they would be the same."""
        self._seed = self._first_seed + number

    def tok_encode(
        self, string: Any, left_truncate_len: int | None = None, add_special_tokens: Any = None, **_: Any
    ) -> Any:
        """Token ids of a text, or of each of several, with the special tokens that a local model would be given."""
        if not isinstance(string, str):
            return list(encodings(self._facts, list(string)))
        if add_special_tokens is False:
            found: list[int] = self.tokenizer(string, add_special_tokens=False)["input_ids"]
        else:
            found = next(encodings(self._facts, [string]))
        return found[-left_truncate_len:] if left_truncate_len else found

    def model_call(self, messages: Any, *, generate: bool = True, gen_kwargs: Any = None, **_: Any) -> Any:
        """One call: a batch of prompts.

        Raises:
            ModelError: the server does not answer, or with something else.
        """
        if not generate and not self.tokenized_requests:
            raise _no_log_probabilities(self._facts, "prompts are sent as text (tokenized_requests=false)")
        prompt = self.create_message(messages)
        payload = self._create_payload(prompt, generate=generate, gen_kwargs=gen_kwargs, seed=self._seed)
        answer = self._client.post("completions", payload)
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or sorted(map(_index, choices)) != list(range(len(messages))):
            raise ModelError(
                f"{self._facts.title}: {self._client.url}/completions: {len(messages)} prompts were sent, and the answer does not hold one choice "
                "for each."
            )
        return answer

    async def get_batched_requests(self, *args: Any, **kwargs: Any) -> Any:
        """Calls side by side. Where one fails, no further one starts, and those under way come to their end and are kept.

        Raises:
            PrunegateError: what made one fail.
        """
        self._failure = None
        answers = await super().get_batched_requests(*args, **kwargs)
        if self._failure:
            raise self._failure
        return answers

    async def amodel_call(
        self, session: Any, sem: asyncio.Semaphore, messages: Any, *, generate: bool = True, cache_keys: Any = None,
        ctxlens: list[int] | None = None, gen_kwargs: Any = None, **_: Any,
    ) -> list[Any]:  # fmt: skip
        """The same beside other calls; every answer is handed on as soon as it is there."""
        del session  # the client's own way is the one that says what went wrong
        async with sem:
            if self._failure:
                return []
            try:
                outputs = await asyncio.get_running_loop().run_in_executor(
                    self._threads, lambda: self.model_call(messages, generate=generate, gen_kwargs=gen_kwargs)
                )
                if generate:
                    answers: list[Any] = self.parse_generations(outputs)
                else:
                    answers = self.parse_logprobs(outputs, tokens=messages, ctxlens=ctxlens)
            except PrunegateError as error:
                self._failure = error
                return []
        for key, answer in zip(cache_keys or (), answers, strict=True):
            if key is not None:
                self.cache_hook.add_partial("generate_until" if generate else "loglikelihood", key, answer)
        return answers

    def parse_generations(self, outputs: Any, **_: Any) -> list[str]:
        """The texts of an answer, in the order of their prompts, each with what is said of its end."""
        return [self._text(choice) for choice in _in_order(outputs)]

    def _text(self, choice: dict[str, Any]) -> ServedText:
        """The text of a choice that is whole: silence is a text without letters, and no missing text.

        Raises:
            ResponseError: it has none, or the server broke it off.
        """
        text, finish = choice.get("text"), choice.get("finish_reason")
        if not isinstance(text, str) or finish not in _WHOLE:
            raise self._no_answer(f"half an answer (text: {_shown(text)}, finish_reason: {_shown(finish)})")
        found = ServedText(text)
        found.cut = _FINISHED.get(str(finish))
        return found

    def parse_logprobs(
        self, outputs: Any, tokens: Sequence[Sequence[int]] | None = None, ctxlens: Sequence[int] | None = None, **_: Any
    ) -> list[tuple[float, bool]]:  # fmt: skip
        """Log-likelihood of what follows each context, in natural logarithms, and whether it is the most likely.

        Raises:
            TaskError: the server does not give the log-probabilities of a prompt's tokens.
        """
        triples = zip(_in_order(outputs), tokens or (), ctxlens or (), strict=True)
        return [self._scored(choice, ids, ctxlen) for choice, ids, ctxlen in triples]

    def _scored(self, choice: dict[str, Any], ids: Sequence[int], ctxlen: int) -> tuple[float, bool]:
        told = choice.get("logprobs") or {}
        own, best = told.get("token_logprobs") or [], told.get("top_logprobs") or []
        if not isinstance(own, list) or not isinstance(best, list):
            raise _no_log_probabilities(self._facts, "they are no lists")
        if len(own) not in {len(ids), len(ids) + 1} or len(best) != len(own):  # the generated token may be left out
            raise _no_log_probabilities(self._facts, f"{len(ids)} tokens were sent, and {len(own)} are told of")
        pairs = list(zip(own[ctxlen : len(ids)], best[ctxlen : len(ids)], strict=True))
        if any(number is None or not top for number, top in pairs):
            raise _no_log_probabilities(self._facts, "it leaves out tokens of a prompt")
        odd = [one for number, top in pairs for one in (number, *_values(top)) if not _is_log_probability(one)]
        if odd:
            raise self._no_answer(f"{_shown(odd[0])} stands where a log-probability should")
        return sum(number for number, _ in pairs), all(number == max(top.values()) for number, top in pairs)

    def _no_answer(self, why: str) -> ResponseError:
        return ResponseError(f"{self._facts.title}: {self._client.url}/completions: {why}: the answer is not kept.")

    def _create_payload(
        self, messages: Any, *, generate: bool = False, gen_kwargs: Any = None, seed: int = 1234, **_: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """The call's body; generation arguments mean what they mean to a local model."""
        normal = dict(normalize_gen_kwargs(gen_kwargs, self._max_gen_toks)) if generate else None
        payload = super()._create_payload(messages, generate=generate, gen_kwargs=normal, seed=seed, eos=self.eos_string)  # fmt: skip
        return dict(payload)


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:_SHOWN]


def _values(top: Any) -> list[Any]:
    return list(top.values()) if isinstance(top, dict) else [top]


def _is_log_probability(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)


def _index(choice: Any) -> int:
    index = choice.get("index", 0) if isinstance(choice, dict) else -1
    return index if isinstance(index, int) else -1


def _in_order(outputs: Any) -> list[dict[str, Any]]:
    answers = outputs if isinstance(outputs, list) else [outputs]
    return [choice for answer in answers for choice in sorted(answer["choices"], key=_index)]


def _no_log_probabilities(facts: ModelFacts, why: str) -> TaskError:
    return TaskError(
        f"{facts.title}: this server does not give the log-probabilities of a prompt's tokens ({why}): it needs `echo` with `logprobs`, and prompts "
        "as token ids. Tasks that let a model choose, and perplexity, cannot be measured on it; tasks that generate can."
    )


_CHUNK = 8  # requests that lm-eval's class gets, for each that it asks at once: the run may end between two chunks
_PROBE_TOKENS = 8


class ServedModel(Executor):
    """A model behind a server; it never costs a swap.

    Raises:
        ModelError: what is needed to ask it is not installed.
    """

    holds_weights = False
    where = "the server"

    def __init__(self, facts: ModelFacts, conditions: Conditions, settings: Settings) -> None:
        self._lm = ServedLM(facts, conditions, settings.batch_size)
        self._probed: set[bool] = set()

    def at_once(self, kind: str) -> int:
        """What hands over nothing before its end is asked for in as many as go side by side."""
        return {WINDOW: self._lm.concurrent, ROLLING: 1}.get(kind, _CHUNK * self._lm.concurrent)

    def probe(self, first: Request) -> None:
        """One call with the beginning of a prompt, for each of the two sorts of answers."""
        sort = first.kind == GENERATION
        if sort not in self._probed:
            _probe(self._lm, first)
            self._probed.add(sort)

    def ask(self, batch: Sequence[Request], hand_on: HandOn) -> None:
        """Answers to repeats are sampled with seeds of their own.

        Raises:
            ModelError: the server fails, or cannot be reached any more.
        """
        repeats: dict[int, list[Request]] = defaultdict(list)
        for request in batch:
            repeats[request.repeat].append(request)
        try:
            with quiet():  # lm-eval's class draws a progress bar for each call
                for repeat, requests in repeats.items():
                    self._lm.repeat(repeat)
                    self._ask(requests, hand_on)
        except ModelError as error:
            raise type(error)(f"{error} What was answered is kept: the same command goes on from there.") from error

    def _ask(self, requests: Sequence[Request], hand_on: HandOn) -> None:
        if requests[0].kind != WINDOW:
            AnswerHook(requests, hand_on, was_cut).ask(self._lm)
            return
        windows = [list(request.tokens or ()) for request in requests]
        scored = self._lm._loglikelihood_tokens([(None, window[:1], window[1:]) for window in windows])  # noqa: SLF001 - lm-eval's own seam
        for request, (loglikelihood, _) in zip(requests, scored, strict=True):
            hand_on(request, Response(loglikelihood=float(loglikelihood)))


def _probe(lm: Any, first: Request) -> None:
    """One call with the beginning of a prompt, of the kind that is to come."""
    tokens = list(first.tokens or lm.tok_encode(first.context or first.continuation or ""))[:_PROBE_TOKENS]
    tokens = [lm.prefix_token_id, *tokens]
    if first.kind != GENERATION:
        answer = lm.model_call([tokens], generate=False)
        lm.parse_logprobs(answer, tokens=[tokens], ctxlens=[1])
    else:
        prompt = tokens if lm.tokenized_requests else lm.tokenizer.decode(tokens)
        lm.model_call([prompt], generate=True, gen_kwargs={"max_gen_toks": 1})
