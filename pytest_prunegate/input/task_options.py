"""What the command line says for every task, in place of what the thresholds file says for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.thresholds import DecisionSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """lm-eval's settings from the command line. None: as the thresholds file, or else lm-eval, has it."""

    limit: int | Decimal | None = None
    num_fewshot: int | None = None
    fewshot_seed: int | None = None
    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    max_gen_toks: int | None = None
    apply_chat_template: bool | str | None = None
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None
    unsafe_code: bool = False
    decision: DecisionSpec = field(default_factory=DecisionSpec)
