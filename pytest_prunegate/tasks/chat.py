"""Renders prompts as a conversation with the model's own chat template, as lm-eval's transformers backend does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.thresholds import TaskSpec

_DATED = "strftime_now"  # the function that templates take today's date from
_CANARY = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
]


class ChatTemplate:
    """A tokenizer's chat template with the arguments of a task.

    Raises:
        TaskError: the tokenizer has no template, or none of that name.
    """

    def __init__(self, facts: ModelFacts, spec: TaskSpec) -> None:
        self._tokenizer = load_tokenizer(facts)
        self._arguments = dict(spec.chat_template_kwargs)
        self._name = spec.apply_chat_template if isinstance(spec.apply_chat_template, str) else None
        self.text = self._select(facts, spec.name)
        self.dropped: set[str] = set()
        """System messages that the template did not take."""

    @property
    def is_dated(self) -> bool:
        """Whether prompts change from day to day: the template writes today's date."""
        return _DATED in self.text and "date_string" not in self._arguments

    def render(self, chat_history: list[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
        """The text of a conversation. A template that takes no system message gets the conversation without it."""
        import jinja2

        try:
            return self._apply(chat_history, add_generation_prompt=add_generation_prompt)
        except jinja2.TemplateError:
            said = next((message["content"] for message in chat_history if message["role"] == "system"), None)
            if said is None:
                raise
            self.dropped.add(said)
            without = [message for message in chat_history if message["role"] != "system"]
            return self._apply(without, add_generation_prompt=add_generation_prompt)

    def canary(self) -> str:
        """A conversation that tells two templates apart."""
        found = self.render(list(_CANARY)) + self.render([{"role": "system", "content": "Be."}, *_CANARY])
        self.dropped.clear()
        return found

    def _apply(self, chat_history: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        arguments = self._arguments | ({"chat_template": self._name} if self._name else {})
        return str(
            self._tokenizer.apply_chat_template(
                chat_history, tokenize=False, add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt, **arguments,
            )
        )  # fmt: skip

    def _select(self, facts: ModelFacts, task: str) -> str:
        found: str | Mapping[str, str] | None = getattr(self._tokenizer, "chat_template", None)
        if not found:
            raise TaskError(f"{task}: {facts.title} has no chat template to apply. Write `apply_chat_template: false`.")
        if isinstance(found, str):
            if self._name:
                raise TaskError(
                    f"{task}: {facts.title} has one chat template, without names, and none is called {self._name}. Write `apply_chat_template: true`."
                )
            return found
        name = self._name or "default"
        if name not in found:
            raise TaskError(f"{task}: {facts.title} has no chat template {name}. It has: {', '.join(sorted(found))}.")
        return found[name]


class ChatTemplates:
    """Makes the template of a task: the original's, which has to render the same for the pruned model where that has one.

    Args:
        facts: the models by side, the original first.
    """

    def __init__(self, facts: Mapping[Side, ModelFacts]) -> None:
        self._facts = facts
        self._made: dict[str, ChatTemplate] = {}

    def of(self, spec: TaskSpec) -> ChatTemplate:
        """The template that a task's settings ask for.

        Raises:
            TaskError: there is none, or the two models would see different conversations.
        """
        key = json.dumps([spec.apply_chat_template, spec.chat_template_kwargs], sort_keys=True)
        if key not in self._made:
            self._made[key] = self._make(spec)
        return self._made[key]

    @property
    def are_dated(self) -> bool:
        """Whether a template that was used writes today's date into the prompts."""
        return any(made.is_dated for made in self._made.values())

    @property
    def dropped(self) -> frozenset[str]:
        """System messages that a template did not take."""
        return frozenset(message for made in self._made.values() for message in made.dropped)

    def _make(self, spec: TaskSpec) -> ChatTemplate:
        template = ChatTemplate(self._facts["original"], spec)
        pruned = self._facts.get("pruned")
        if pruned is None or pruned.tokenizer.template in {None, self._facts["original"].tokenizer.template}:
            return template
        other = ChatTemplate(pruned, spec)
        if _canary_of(other, spec) != _canary_of(template, spec):
            raise TaskError(
                f"{spec.name}: the two models' chat templates render the same conversation differently, so that they would not be asked the same. "
                "Give both the same tokenizer: --prunegate-pruned-args=tokenizer=DIRECTORY_OF_THE_ORIGINAL."
            )
        return template


def _canary_of(template: ChatTemplate, spec: TaskSpec) -> str:
    try:
        return template.canary()
    except Exception as error:  # a template is foreign code
        raise TaskError(f"{spec.name}: the chat template cannot be rendered: {reason_of(error)}") from error
