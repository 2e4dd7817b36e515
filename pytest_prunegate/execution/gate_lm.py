"""lm-eval's transformers backend, stricter about what it loads, and telling which outputs were cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval.models.huggingface import HFLM

from pytest_prunegate.checkpoint.layout import Layout, named, refuse_misfit
from pytest_prunegate.errors import ModelError
from pytest_prunegate.execution.loaded_sample import LoadedSample, heard, mismatches, opening_only

if TYPE_CHECKING:
    from collections.abc import Sequence


class GateLM(HFLM):  # type: ignore[misc]  # lm-eval publishes no types
    """lm-eval's transformers backend for a gate.

    A model that lacks weights, or an adapter that does not fit its base, is an error: transformers would fill in random
    numbers, and peft would leave the base as it is. `unverified` counts the tensors that could not be compared with the files.
    `last_cut` says whether the text that was decoded last was cut at the token limit; None where that is not known.
    """

    _model: Any
    AUTO_MODEL_CLASS: Any

    def __init__(
        self, *args: Any, weights: Sequence[Path], quantization: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self._weights, self._quantization = weights, quantization
        self._cuts: dict[tuple[int, ...], bool] = {}
        self.last_cut: bool | None = None
        self.unverified = 0
        super().__init__(*args, **kwargs)

    def _get_config(self, *args: Any, **kwargs: Any) -> None:
        super()._get_config(*args, **kwargs)
        if self._quantization:  # lm-eval hands the configuration's own to transformers, and takes no other way
            self._config.quantization_config = self._quantization

    def _create_model(self, pretrained: str, *args: Any, peft: str | None = None, **kwargs: Any) -> None:
        usual, sample = self.AUTO_MODEL_CLASS, LoadedSample()
        self.AUTO_MODEL_CLASS = _Complete(usual, self._weights)
        try:
            with heard(sample):
                super()._create_model(pretrained, *args, **kwargs)
        finally:
            self.AUTO_MODEL_CLASS = usual
        self._model.tie_weights()  # as lm-eval does later, whatever the files hold
        if not kwargs.get("gguf_file"):
            self.unverified = sample.compare(Path(pretrained), self._weights, self._model)
        if peft:
            self._put_adapter(peft)

    def _put_adapter(self, peft: str) -> None:
        """lm-eval would cut padded embeddings down to the tokenizer's size here, and score another model."""
        from peft import PeftModel

        if len(self.tokenizer) > self._model.get_input_embeddings().num_embeddings:
            self._model.resize_token_embeddings(len(self.tokenizer))
        self._model = PeftModel.from_pretrained(self._model, peft)
        loaded = self._model.load_adapter(
            peft, adapter_name="default"
        )  # once more, for what it says of the tensors' names
        odd = [*loaded.missing_keys, *loaded.unexpected_keys]
        if odd:
            raise ModelError(
                f"{peft}: the adapter does not fit this base: {named(odd)} have no counterpart. Name the base that it was made for."
            )

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **kwargs: Any) -> Any:
        output = super()._model_generate(context=context, max_length=max_length, stop=stop, **kwargs)
        room = max_length - context.shape[1]
        rows = output[:, context.shape[1] :].tolist()  # (batch, generated tokens)
        self._cuts = {tuple(row): self.is_cut(row, room, stop) for row in rows}
        return output

    def tok_decode(self, tokens: Any, *args: Any, **kwargs: Any) -> str:
        """The text of generated tokens, which lm-eval hands on next; of those of a thinking model, the end."""
        if isinstance(tokens, list):
            end = tuple(tokens)
            self.last_cut = self._cuts.get(end)
            if self.last_cut is None:
                self.last_cut = next(
                    (cut for row, cut in self._cuts.items() if row[len(row) - len(end) :] == end), None
                )
        return str(super().tok_decode(tokens, *args, **kwargs))

    def is_cut(self, row: list[int], room: int, stop: list[str]) -> bool:
        """Whether a text of so many tokens at most ended for no other reason."""
        ends = {self.eot_token_id, *_as_list(self.model.generation_config.eos_token_id)}
        if len(row) < room or ends.intersection(row):
            return False
        text = str(super().tok_decode(row))
        return not any(marker and marker in text for marker in stop)


class _Complete:
    """transformers' model class, which refuses a checkpoint whose tensors are not the model's, and opens no files but these."""

    def __init__(self, usual: Any, weights: Sequence[Path]) -> None:
        self._usual, self._weights = usual, weights

    def from_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        asked = kwargs | {"output_loading_info": True, "ignore_mismatched_sizes": True}
        with opening_only(self._weights):
            model, told = self._usual.from_pretrained(*args, **asked)
        layout = Layout(
            architecture=type(model).__name__, places={}, missing=tuple(sorted(told["missing_keys"])),
            unused=tuple(sorted(told["unexpected_keys"])), mismatched=mismatches(told),
        )  # fmt: skip
        refuse_misfit(args[0], layout, ())
        return model


def _as_list(ids: Any) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]
