"""Reads options one by one: the command line's value, else the ini file's, else the default."""

from __future__ import annotations

import os
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate import flags
from pytest_prunegate.errors import InputError
from pytest_prunegate.input.model_argument import ModelArgument, name_problems, parse_model, split_name
from pytest_prunegate.input.thresholds import (
    LARGEST_ERROR_RATE,
    LARGEST_INDIFFERENCE,
    LEAST_ERROR_RATE,
    Decide,
    DecisionSpec,
    Inconclusive,
    TaskOptions,
)
from pytest_prunegate.input.trust import UNSAFE_TASKS, code_problems, read_trust, secret_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_prunegate.flags import Flag

_MAX_EXPONENT = 300  # of a number, either way: about what a float holds
_MAX_DIGITS = 9  # more documents than any data set has
_DURATION = re.compile(r"(?:(?P<h>\d{1,4})h)?(?:(?P<m>\d{1,6})m)?(?:(?P<s>\d{1,8})s)?")


class OptionReader:
    """Reads options one by one, and collects what is wrong with them."""

    def __init__(self, config: pytest.Config, parse_arguments: Callable[[str], Mapping[str, Any]]) -> None:
        self._config = config
        self._parse_arguments = parse_arguments
        self.invocation_dir = config.invocation_params.dir
        self.mistakes: list[str] = []
        self._ini_values: dict[str, str | list[str] | None] = {}
        self.trust = read_trust(config, self.names(flags.TRUST), self.mistakes)

    def text(self, option: Flag) -> str | None:
        """What was written: on the command line, else in the ini file, else the default."""
        given: str | None = self._config.getoption(option.dest)
        if given is None:
            from_ini = self._from_ini(option)
            given = from_ini if isinstance(from_ini, str) else None
        return option.default if given is None else given

    def _from_ini(self, option: Flag) -> str | list[str] | None:
        """What the ini file says, looked up once, so that a wrong type is one mistake."""
        if option.dest not in self._ini_values:
            try:
                self._ini_values[option.dest] = flags.ini_value(self._config, option)
            except pytest.UsageError as error:
                self._ini_values[option.dest] = None
                self.mistakes.append(str(error))
        return self._ini_values[option.dest]

    def names(self, option: Flag) -> tuple[str, ...]:
        """Names with commas or blanks between them."""
        return tuple((self.text(option) or "").replace(",", " ").split())

    def resolve(self, option: Flag, written: str) -> Path:
        """Absolute path: a command line's from where pytest was called, an ini file's from its own folder."""
        from_ini = self._config.getoption(option.dest) is None and self._from_ini(option)
        base = self._config.inipath.parent if from_ini and self._config.inipath else self.invocation_dir
        return Path(os.path.abspath(base / os.path.expanduser(written)))  # noqa: PTH100, PTH111 - symlinks stay, `..` goes: as pytest does

    def folder(self, option: Flag) -> Path | None:
        """A folder, which need not be there."""
        written = self.text(option)
        if written is None:
            return None
        path = self.resolve(option, written)
        if path.exists() and not path.is_dir():
            self.mistakes.append(f"{option.flag}={written}: this is a file; a folder is needed.")
        return path

    def files(self, option: Flag) -> tuple[Path, ...]:
        """Files, each behind an option of its own; in the ini file each on a line of its own."""
        given: list[str] = self._config.getoption(option.dest) or list(self._from_ini(option) or ())
        return tuple(dict.fromkeys(self.resolve(option, one.strip()) for one in given if one.strip()))

    def integer(self, option: Flag, *, least: int) -> int | None:
        """A whole number."""
        written = self.text(option)
        if written is None:
            return None
        if not written.strip().isdecimal() or len(written) > _MAX_DIGITS or int(written) < least:
            self.mistakes.append(f"{option.flag}={written}: expected a whole number of at least {least}.")
            return None
        return int(written)

    def duration(self, option: Flag) -> int | None:
        """Seconds of a duration such as ``3h50m``."""
        written = self.text(option)
        if written is None:
            return None
        found = _DURATION.fullmatch(written.strip())
        seconds = sum(int(found[unit] or 0) * size for unit, size in (("h", 3600), ("m", 60), ("s", 1))) if found else 0
        if not seconds:
            self.mistakes.append(f"{option.flag}={written}: expected a time such as 3h50m, 90m or 45s.")
        return seconds or None

    def choice(self, option: Flag, choices: tuple[str, ...]) -> str:
        """One of some words, the first of them by default."""
        return self._word(option, choices) or choices[0]

    def switch(self, option: Flag) -> bool | None:
        """True or false; None where nothing was written."""
        written = self.text(option)
        return None if written is None else self.choice(option, ("true", "false")) == "true"

    def batch_size(self) -> str:
        """The batch size as lm-eval takes it."""
        written = self.text(flags.BATCH) or "1"
        if not re.fullmatch(r"[1-9][0-9]*|auto(:[1-9][0-9]*)?", written):
            self.mistakes.append(f"{flags.BATCH.flag}={written}: expected a whole number of at least 1, auto or auto:N.")  # fmt: skip
        return written

    def arguments(self, option: Flag) -> Mapping[str, Any]:
        """Arguments in lm-eval's syntax."""
        written = self.text(option)
        if not written:
            return {}
        try:
            given = self._parse_arguments(written)
        except ValueError as error:
            self.mistakes.append(f"{option.flag}: {error}")  # what was written may hold a secret
            return {}
        self.mistakes += code_problems(option.flag, given, self.trust)
        self.mistakes += secret_problems(option.flag, given)
        return given

    def for_tasks(self) -> TaskOptions:
        """What holds for every task in place of the file's."""
        template = self.text(flags.CHAT)
        return TaskOptions(
            limit=self._limit(),
            num_fewshot=self.integer(flags.FEWSHOT, least=0),
            fewshot_seed=self.integer(flags.FEWSHOT_SEED, least=0),
            gen_kwargs=self.arguments(flags.GEN_KWARGS),
            unsafe_code=UNSAFE_TASKS in self.trust,
            max_gen_toks=self.integer(flags.MAX_GEN_TOKS, least=1),
            apply_chat_template={"true": True, "false": False}.get(template, template) if template else None,
            system_instruction=self.text(flags.SYSTEM),
            fewshot_as_multiturn=self.switch(flags.MULTITURN),
            decision=self._decision(),
        )

    def _decision(self) -> DecisionSpec:
        decide = self._word(flags.DECIDE, tuple(Decide))
        error_rate = self._share(flags.ERROR_RATE)
        if error_rate is not None and not LEAST_ERROR_RATE <= error_rate <= LARGEST_ERROR_RATE:
            expected = f"a share from {LEAST_ERROR_RATE:.4%} to {LARGEST_ERROR_RATE:.0%}"
            self.mistakes.append(f"{flags.ERROR_RATE.flag}={error_rate}: expected {expected}.")
        indifference = self._share(flags.INDIFFERENCE)
        if indifference is not None and indifference > LARGEST_INDIFFERENCE:
            self.mistakes.append(
                f"{flags.INDIFFERENCE.flag}={indifference}: expected at most {LARGEST_INDIFFERENCE:.0%}."
            )
        inconclusive = self._word(flags.INCONCLUSIVE, tuple(Inconclusive))
        if self._config.getoption(flags.RECORD.dest):  # figures of all documents are wanted, not the first that decide
            return DecisionSpec(decide=Decide.FULL, inconclusive=Inconclusive.REPORT, error_rate=error_rate)
        return DecisionSpec(
            decide=Decide(decide) if decide else None,
            error_rate=error_rate,
            indifference=indifference,
            inconclusive=Inconclusive(inconclusive) if inconclusive else None,
        )

    def _word(self, option: Flag, choices: tuple[str, ...]) -> str | None:
        written = self.text(option)
        if written is None or written in choices:
            return written
        self.mistakes.append(f"{option.flag}={written}: expected one of {', '.join(choices)}.")
        return None

    def _share(self, option: Flag) -> Decimal | None:
        written = self.text(option)
        if written is None:
            return None
        value = _decimal(written.removesuffix("%"))
        if value.is_finite():
            value = value / 100 if written.endswith("%") else value
            if 0 <= value <= 1:
                return value
        self.mistakes.append(f"{option.flag}={written}: expected a share between 0 and 1, such as 1% or 0.01.")
        return None

    def _limit(self) -> int | Decimal | None:
        """A number of documents, or below 1 a share of them, as lm-eval takes it."""
        written = self.text(flags.LIMIT)
        if written is None:
            return None
        share = _decimal(written)
        if share.is_finite() and 0 < share < 1:
            return share
        if written.strip().isdecimal() and len(written) <= _MAX_DIGITS and int(written) >= 1:
            return int(written)
        self.mistakes.append(f"{flags.LIMIT.flag}={written}: expected a whole number of at least 1, or a share between 0 and 1.")  # fmt: skip
        return None

    def original(self, *, alone: bool) -> ModelArgument | None:
        """The original model; None where there is none, or something is wrong with it."""
        several = self._models(flags.ORIGINAL)
        if not several:
            self.mistakes.append(_missing(flags.ORIGINAL, alone=alone))
            return None
        if len(several) > 1:
            all_given = ", ".join(several)
            self.mistakes.append(
                f"{flags.ORIGINAL.flag} is given {len(several)} times: {all_given}. Give one; run again for another."
            )
        model = self._model(flags.ORIGINAL, several[0], self.arguments(flags.ORIGINAL_ARGS))
        if model and model.file:
            asking = (flag for flag in (flags.BASELINE_ONLY, flags.NOISE_FLOOR) if self._config.getoption(flag.dest))
            self.mistakes += [
                f"{flag.flag} asks the model itself, and {model.where} is a baseline file." for flag in asking
            ]
        return model

    def candidates(self) -> tuple[ModelArgument, ...]:
        """The pruned models, without those with which something is wrong. Of several each has a name of its own."""
        several = self._models(flags.PRUNED)
        if not several:
            self.mistakes.append(_missing(flags.PRUNED, alone=False))
        if len(several) > 1:
            self.mistakes += name_problems(several, self.invocation_dir)
        given = self.arguments(flags.PRUNED_ARGS)
        nameless = [
            written for written in several if "=" in written and not split_name(written, self.invocation_dir)[0]
        ]
        found = [
            self._model(flags.PRUNED, written, given) for written in several
            if len(several) == 1 or written not in nameless  # a name that is none says nothing about the model
        ]  # fmt: skip
        return tuple(model for model in found if model)

    def masks(self, candidates: Sequence[ModelArgument]) -> tuple[ModelArgument, ...]:
        """The models right after pruning: one for one candidate, one for each name of several."""
        several: list[str] = self._config.getoption(flags.MASK_FROM.dest) or []
        given = self.arguments(flags.PRUNED_ARGS) if several else {}
        found = [model for written in several if (model := self._model(flags.MASK_FROM, written, given))]
        names = [one.name for one in found]
        if len(candidates) <= 1 and len(several) > 1:
            self.mistakes.append(
                f"{flags.MASK_FROM.flag} is given {len(several)} times, and there is one candidate. Give it once."
            )
        elif len(candidates) > 1:
            known = [candidate.name for candidate in candidates]
            owners = f"{flags.MASK_FROM.flag}=NAME=MODEL, with NAME one of {', '.join(map(str, known))}, each once"
            self.mistakes += [
                f"{one.where}: of several candidates, say whose it is: {owners}."
                for one in found
                if one.name not in known or names.count(one.name) > 1
            ]
        for one in found:
            if one.url or one.file:
                self.mistakes.append(f"{one.where}: a checkpoint is needed, in whose files zeros can be looked at.")
        return tuple(found)

    def refuse_beside_baseline(self) -> None:
        """Nothing is asked for that needs a second model, or the original twice, where the original alone is measured."""
        said = (
            flags.PRUNED,
            flags.PRUNED_ARGS,
            flags.PEFT_BASE,
            flags.MASK_FROM,
            flags.RECORD,
            flags.NOISE_FLOOR,
            flags.REQUIRE,
            flags.TEMPLATE,
            flags.ANSWERS,
        )
        taken = ", ".join(flag.flag for flag in said if self._config.getoption(flag.dest))
        if taken:
            self.mistakes.append(f"{flags.BASELINE_ONLY.flag} measures the original alone: take {taken} out.")

    def thresholds_among_paths(self) -> Path | None:
        """The thresholds file, or a part of it, that stands among the paths; None where there is none. A run has one."""
        named = dict.fromkeys(
            Path(os.path.abspath(self.invocation_dir / path.split("::")[0]))  # noqa: PTH100 - as in resolve
            for path in flags.arguments_for(self._config, "thresholds.yaml")
        )
        found = [path for path in named if path.is_file()]
        if len(found) > 1:
            files = ", ".join(map(str, found))
            self.mistakes.append(
                f"a run has one thresholds file, and {len(found)} are named: {files}. Run pytest for each of them."
            )
        return found[0] if len(found) == 1 else None

    def check_junit_place(self) -> None:
        """See that the place of the figures in the JUnit file is one of those that there are."""
        place = self._config.getini(flags.JUNIT_PROPERTIES)
        if place not in flags.JUNIT_PLACES:
            self.mistakes.append(
                f"{self._config.inipath}: {flags.JUNIT_PROPERTIES} = {place}: expected one of {', '.join(flags.JUNIT_PLACES)}."
            )

    def _models(self, option: Flag) -> list[str]:
        """What was written for a side, each time that it was."""
        return [written for written in self._config.getoption(option.dest) or [] if written]

    def _model(self, option: Flag, written: str, arguments: Mapping[str, Any]) -> ModelArgument | None:
        try:
            return parse_model(
                "original" if option is flags.ORIGINAL else "pruned", written, self.invocation_dir, arguments=arguments,
                peft_base=self.text(flags.PEFT_BASE) if option is flags.PRUNED else None, flag=option.flag,
            )  # fmt: skip
        except InputError as error:
            self.mistakes.append(str(error))
            return None


def _decimal(written: str) -> Decimal:
    """The number that is written; NaN where it is none."""
    try:
        value = Decimal(written)
    except InvalidOperation:
        return Decimal("NaN")
    return value if not value.is_finite() or abs(value.adjusted()) <= _MAX_EXPONENT else Decimal("NaN")


def _missing(option: Flag, *, alone: bool) -> str:
    if alone:
        return f"{option.flag} is missing: {flags.BASELINE_ONLY.flag} needs a model to measure."
    other = flags.PRUNED if option is flags.ORIGINAL else flags.ORIGINAL
    way_on = f", or add {flags.BASELINE_ONLY.flag} to fill the store" if other is flags.ORIGINAL else ""
    return f"{option.flag} is missing: {other.flag} alone has nothing to be compared with. Give both models{way_on}."
