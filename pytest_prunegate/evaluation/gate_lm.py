"""lm-eval's transformers backend, stricter about what it loads, and telling which outputs were cut."""

from __future__ import annotations

from collections import deque
from typing import Any

from lm_eval.models.huggingface import HFLM

from pytest_prunegate.errors import ModelError

_NAMED_TENSORS = 3


class GateLM(HFLM):  # type: ignore[misc]  # lm-eval publishes no types
    """lm-eval's transformers backend for a gate.

    A model that lacks weights, or an adapter that does not fit its base, is an error: transformers would fill in random
    numbers, and peft would leave the base as it is. Of each generated text it is known whether it was cut.
    """

    _model: Any
    AUTO_MODEL_CLASS: Any

    def __init__(self, *args: Any, quantization: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self._quantization = quantization
        self.cut_rows: deque[bool] = deque()
        super().__init__(*args, **kwargs)

    def _get_config(self, *args: Any, **kwargs: Any) -> None:
        super()._get_config(*args, **kwargs)
        if self._quantization:  # lm-eval hands the configuration's own to transformers, and takes no other way
            self._config.quantization_config = self._quantization

    def _create_model(self, *args: Any, peft: str | None = None, **kwargs: Any) -> None:
        usual = self.AUTO_MODEL_CLASS
        self.AUTO_MODEL_CLASS = _Complete(usual)
        try:
            super()._create_model(*args, **kwargs)
        finally:
            self.AUTO_MODEL_CLASS = usual
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
                f"{peft}: the adapter does not fit this base: {_named(odd)} have no counterpart. Name the base that it was made for."
            )

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **kwargs: Any) -> Any:
        output = super()._model_generate(context=context, max_length=max_length, stop=stop, **kwargs)
        room = max_length - context.shape[1]
        rows = output[:, context.shape[1] :].tolist()  # (batch, generated tokens)
        self.cut_rows.extend(self._is_cut(row, room, stop) for row in rows)
        return output

    def _is_cut(self, row: list[int], room: int, stop: list[str]) -> bool:
        ends = {self.eot_token_id, *_as_list(self.model.generation_config.eos_token_id)}
        if len(row) < room or ends.intersection(row):
            return False
        text = self.tok_decode(row)
        return not any(marker and marker in text for marker in stop)


class _Complete:
    """transformers' model class, which refuses a checkpoint that lacks weights."""

    def __init__(self, usual: Any) -> None:
        self._usual = usual

    def from_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        model, told = self._usual.from_pretrained(*args, output_loading_info=True, **kwargs)
        missing = sorted(told["missing_keys"])
        if missing:
            raise ModelError(
                f"{args[0]}: the checkpoint lacks {_named(missing)}, and they would be filled with random numbers. Save the whole model."
            )
        return model


def _named(tensors: list[str]) -> str:
    more = f" and {len(tensors) - _NAMED_TENSORS} more tensors" if len(tensors) > _NAMED_TENSORS else ""
    return f"{', '.join(tensors[:_NAMED_TENSORS])}{more}"


def _as_list(ids: Any) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]
