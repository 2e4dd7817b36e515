"""A model as the user names it: a directory, a GGUF file, an adapter on its base, a hub id, a server, a function or a baseline; names of several."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pytest_prunegate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


_SCHEMES = ("http", "https")
_SIDES = ("--original", "--pruned")
_ENDPOINTS = ("/completions", "/models")
_COUNTS = ("max_length", "num_concurrent", "max_retries", "timeout")
_TAKEN = ("model", "tokenizer", *_COUNTS, "tokenized_requests", "add_bos_token", "trust_remote_code")
_MOST_RETRIES = 10


def is_url(value: str) -> bool:
    """Whether a model is named by an address."""
    return value.partition("://")[0].lower() in _SCHEMES and "://" in value


def served_url(flag: str, name: str | None, value: str, arguments: Mapping[str, Any]) -> str:
    """The address that requests are put behind, without a slash at its end.

    Raises:
        InputError: it has no name, carries secrets, or its arguments are not those of a server; all of that at once.
    """
    if flag not in _SIDES:
        raise InputError(f"{flag}: {shown(value)}: a server cannot take this place. Give a directory or a hub id.")
    problems = [
        *_address_problems(flag, value),
        *_argument_problems(f"{flag.replace('--', '--prunegate-')}-args", arguments),
    ]
    if name is None:
        problems.append(
            f"{flag}: a served model needs a name: an address says nothing about the weights behind it, and answers are kept by name. "
            f"Write {flag}=NAME={shown(value)}, and take another name whenever the weights change."
        )
    if problems:
        raise InputError("\n".join(problems))
    url = value.rstrip("/")
    for endpoint in _ENDPOINTS:  # people copy lm-eval's base_url
        url = url.removesuffix(endpoint)
    return url


def shown(value: str) -> str:
    """An address without the secrets that it may carry."""
    scheme, _, rest = value.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}".partition("?")[0].partition("#")[0]


def _address_problems(flag: str, value: str) -> list[str]:
    try:
        parts = urlsplit(value)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    if not host or any(letter.isspace() for letter in value):
        return [f"{flag}: {shown(value)}: this is no address. Expected http://HOST:PORT/v1."]
    if "@" in value or "?" in value or "#" in value:
        return [
            f"{flag}: {shown(value)}: it holds a user, a password or a query. Give the bare one, and a key in the environment as OPENAI_API_KEY."
        ]
    return []


def _argument_problems(flag: str, arguments: Mapping[str, Any]) -> list[str]:
    """What is wrong with a side's arguments; values are not repeated, because a key may be among them."""
    foreign = [key for key in arguments if key not in _TAKEN]
    problems = [
        f"{flag}: {', '.join(foreign)}: a served model takes {', '.join(_TAKEN)}. An API key is read from OPENAI_API_KEY in the environment only."
    ] if foreign else []  # fmt: skip
    for key in _COUNTS:
        number, most = arguments.get(key, 1), _MOST_RETRIES if key == "max_retries" else None
        if not isinstance(number, int) or isinstance(number, bool) or number < 1 or (most and number > most):
            problems.append(f"{flag}: {key}: expected a whole number of at least 1{f' and at most {most}' if most else ''}.")  # fmt: skip
    return problems


_NAME = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.+-]*)=(?P<path>.+)", re.DOTALL)
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_MAKER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_OF_MAKERS = ("dtype", "max_length")  # arguments that a model in memory can take
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
RECORDED = "recorded"
_BASELINE = ".json.gz"
DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
_PEFT_BASE = "--prunegate-peft-base"
# lm-eval's model_args that have a place of their own here, and that place.
ELSEWHERE = {
    "pretrained": "the model is the value of --original or --pruned",
    "gguf_file": "give the .gguf file itself as --original or --pruned",
    "subfolder": "give the folder's own path as --original or --pruned",
    "peft": f"give the adapter's directory as --pruned, and its base with {_PEFT_BASE}",
    "delta": "merge the delta into its base, and give the merged model",
    "batch_size": "use --prunegate-batch-size, for both models",
    "max_batch_size": "use --prunegate-batch-size=auto, for both models",
    "device": "use --prunegate-device, for both models",
    **dict.fromkeys(
        (
            "config",
            "_configuration_file",
            "generation_config",
            "state_dict",
            "key_mapping",
            "adapter_kwargs",
            "adapter_name",
            "extra_files",
        ),
        "would load something else than what is in the model's directory; put it there",
    ),
    "cache_dir": "use --prunegate-cache-dir, for both models",
    "code_revision": "give a local directory that holds the code",
    **dict.fromkeys(
        ("output_loading_info", "ignore_mismatched_sizes"),
        "the gate sees to it that the files hold the model's tensors and nothing else",
    ),
    "weights_only": "pickled weights are read as plain tensors only; save the model as safetensors",
    "chat_template_args": "write chat_template_kwargs in the thresholds file, the same for both models",
    "enable_thinking": "write chat_template_kwargs: {enable_thinking: true} in the thresholds file, the same for both models",
}

_LONGEST = 100  # letters: a name is a part of file names


Side = Literal["original", "pruned"]
SIDES: tuple[Side, Side] = ("original", "pruned")


@dataclass(frozen=True, kw_only=True)
class ModelArgument:
    """A model as the user wrote it: ``path``, ``hub/id``, ``hub/id@revision``, each with ``NAME=`` before it if wanted.

    `folder` is the local directory (None for a hub id), `gguf` the name of a GGUF file in it. `arguments` are the side's
    model_args in lm-eval's words. `url` is a server's. `base` is the model that a local adapter stands on; `peft_base` what the user wrote for it.
    `file` is a baseline that takes the place of the model. `maker` is a function that makes it, as ``module:function``.
    """

    side: Side
    written: str
    name: str | None
    value: str
    revision: str | None
    folder: Path | None
    cwd: Path
    flag: str
    gguf: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    base: ModelArgument | None = None
    url: str | None = None
    peft_base: str | None = None
    file: Path | None = None
    maker: str | None = None

    @property
    def where(self) -> str:
        """The option as the user wrote it, for messages."""
        return f"{self.flag}={self.written}"


def parse_model(
    side: Side,
    written: str,
    cwd: Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    peft_base: str | None = None,
    flag: str | None = None,
) -> ModelArgument:
    """Read one model argument and look whether a local one can be a model.

    Args:
        side: original or pruned.
        written: what the user wrote.
        cwd: the directory that relative paths are taken from.
        arguments: the side's model_args.
        peft_base: what the user wrote for an adapter's base.
        flag: the option, where it is not the side's own.

    Raises:
        InputError: there is no such directory, no model in it, or the arguments do not go with it.
    """
    name, value = split_name(written, cwd)
    if is_url(value):
        url = served_url(flag or f"--{side}", name, value, arguments or {})
        written, value = f"{name}={url}", url
    given = ModelArgument(
        side=side, written=written, name=name, value=value, revision=None, folder=None, cwd=cwd, flag=flag or f"--{side}",
        arguments=arguments or {}, peft_base=peft_base,
    )  # fmt: skip
    if is_url(value):
        return _without_base(replace(given, url=value))
    _refuse_arguments(given)
    path = (cwd / os.path.expanduser(value)).absolute()  # noqa: PTH111 - an unknown ~user stays as it is
    if path.exists():
        return _local(given, path)
    if value.endswith(_BASELINE):
        raise InputError(f"{given.where}: there is no file {path}.")
    if _MAKER.fullmatch(value):
        return _made(replace(given, maker=value))
    hub_id, _, revision = value.partition("@")
    if not _HUB_ID.fullmatch(hub_id):
        raise InputError(f"{given.where}: there is no directory {path}.")
    asked = str(given.arguments.get("revision") or "")
    if revision and asked and revision != asked:
        raise InputError(f"{given.where}: names the revision {revision}, and its arguments name {asked}. Keep one.")
    return replace(given, value=hub_id, revision=revision or asked or None)


def split_name(written: str, cwd: Path) -> tuple[str | None, str]:
    """The name before a model and the model; no name where none is written, or a path is called so."""
    match = _NAME.fullmatch(written)
    if match and not (cwd / written).exists():
        return match["name"], match["path"]
    return None, written


def on_folder(given: ModelArgument, folder: Path) -> ModelArgument:
    """The argument with the local directory that its files are in; an adapter gets its base.

    Raises:
        InputError: there is no model in the directory, or no base for an adapter.
    """
    if (folder / "adapter_config.json").is_file():
        return replace(given, folder=folder, base=_adapter_base(given, folder))
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{given.where}: there is no config.json in this directory, so it is no checkpoint that transformers can load."
        )
    return _without_base(replace(given, folder=folder))


def _local(given: ModelArgument, path: Path) -> ModelArgument:
    if given.arguments.get("revision"):
        raise InputError(f"{given.where}: revision is for hub ids, and this is a local path.")
    if path.is_dir():
        return on_folder(given, path)
    if path.name.endswith(_BASELINE) or _is_packed(path):
        return _baseline(replace(given, file=path))
    if path.suffix != ".gguf":
        raise InputError(
            f"{given.where}: this is a file; the directory of a checkpoint, a .gguf file, or a baseline ({_BASELINE}) is needed."
        )
    return _without_base(replace(given, folder=path.parent, gguf=path.name))


def _is_packed(path: Path) -> bool:
    """Whether a file is gzip-compressed, whatever it is called."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


def _baseline(given: ModelArgument) -> ModelArgument:
    if given.flag not in {"--original", "--pruned"}:
        raise InputError(f"{given.where}: this is a baseline file, which holds answers; a model is needed here.")
    flag = f"--prunegate-{given.side}-args"
    if given.arguments:
        raise InputError(
            f"{given.where}: this is a baseline file: how its model was loaded stands in it. Take {flag} out, or make a baseline with them."
        )
    if given.peft_base is not None:
        raise InputError(f"{given.where}: this is a baseline file, which needs no base. Take {_PEFT_BASE} out.")
    return given


def _made(given: ModelArgument) -> ModelArgument:
    if given.flag not in _SIDES:
        raise InputError(f"{given.where}: this is a function that makes a model; a checkpoint is needed here.")
    if foreign := [key for key in given.arguments if key not in _OF_MAKERS]:
        raise InputError(
            f"--prunegate-{given.side}-args: {', '.join(foreign)}: {given.where} loads its model by itself, and is told {' and '.join(_OF_MAKERS)} "
            "alone. Do it in that function."
        )
    return _without_base(given)


def _without_base(given: ModelArgument) -> ModelArgument:
    if given.peft_base is not None:
        raise InputError(f"{_PEFT_BASE}={given.peft_base}: is for adapters, and {given.where} is a whole model.")
    return given


def _adapter_base(given: ModelArgument, folder: Path) -> ModelArgument:
    if given.flag != "--pruned":
        raise InputError(f"{given.where}: this is an adapter; a whole model is needed here.")
    if (
        folder / "config.json"
    ).is_file():  # transformers would load the adapter on its recorded base, whatever lies beside it
        raise InputError(f"{given.where}: this directory holds a whole model and an adapter; move one of them away.")
    recorded, revision = _recorded_base(given, folder)
    is_local = bool(recorded) and (given.cwd / recorded).is_dir()
    if given.peft_base in {None, RECORDED} and not recorded:
        raise InputError(f"{given.where}: the adapter records no base model. Name it with {_PEFT_BASE}=MODEL.")
    if given.peft_base is None and not is_local:
        raise InputError(
            f"{given.where}: the adapter's recorded base is {recorded}, which is no local directory. If that is a dense model on the hub, the gate "
            f"would judge a model that nobody ships. Name the pruned base with {_PEFT_BASE}=MODEL, or write {_PEFT_BASE}={RECORDED}."
        )
    written = recorded if given.peft_base in {None, RECORDED} else str(given.peft_base)
    base = parse_model(given.side, written, given.cwd, flag=_PEFT_BASE)
    if base.gguf:
        raise InputError(f"{base.where}: a GGUF file cannot be the base of an adapter.")
    if written == recorded and base.folder is None and base.revision is None:
        return replace(base, revision=revision)
    return base


def _recorded_base(given: ModelArgument, folder: Path) -> tuple[str, str | None]:
    """The base that an adapter records, and its revision."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        return str(config.get("base_model_name_or_path") or ""), config.get("revision") or None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{given.where}: adapter_config.json cannot be read: {error}") from error


def _refuse_arguments(given: ModelArgument) -> None:
    flag = f"--prunegate-{given.side}-args"
    problems = [f"{flag}: {key}: {ELSEWHERE[key]}." for key in given.arguments if key in ELSEWHERE]
    length, dtype = given.arguments.get("max_length"), given.arguments.get("dtype")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        problems.append(f"{flag}: max_length={length}: expected a whole number of at least 1.")
    if dtype is not None and str(dtype).removeprefix("torch.") not in DTYPES:
        problems.append(f"{flag}: dtype={dtype}: expected one of {', '.join(DTYPES)}.")
    problems += [
        f"{flag}: {key}={given.arguments[key]}: names a file that is not the checkpoint's; expected true or false."
        for key in ("autogptq", "gptqmodel") if isinstance(given.arguments.get(key), str)
    ]  # fmt: skip
    variant, wanted = given.arguments.get("variant"), given.arguments.get("use_safetensors")
    if variant is not None and not (isinstance(variant, str) and _VARIANT.fullmatch(variant)):
        problems.append(f"{flag}: variant={variant}: expected a part of a file's name, such as fp16.")
    if wanted is not None and not isinstance(wanted, bool):
        problems.append(f"{flag}: use_safetensors={wanted}: expected true or false.")
    if problems:
        raise InputError("\n".join(problems))


def name_problems(written: Sequence[str], cwd: Path) -> Iterator[str]:
    """What is wrong with the names of several candidates, all of it.

    Args:
        written: the candidates as the user wrote them.
        cwd: the directory that relative paths are taken from.
    """
    names = []
    for one in written:
        name, _ = split_name(one, cwd)
        if name is None:
            yield _nameless(one)
        elif len(name) > _LONGEST:
            yield f"--pruned={name[:_LONGEST]}...: a name has at most {_LONGEST} letters, because files are called by it."
        else:
            names.append(name)
    yield from _repeated(names)


def _nameless(written: str) -> str:
    before, equals, path = written.rpartition("=")
    allowed = "; it has letters, digits and . _ + - and begins with a letter or a digit" if before else ""
    return (
        f"--pruned={written}: of several candidates each needs a name of its own, for node ids, files and reports: "
        f"--pruned=NAME={path if equals else written}{allowed}."
    )


def _repeated(names: Iterable[str]) -> Iterator[str]:
    spelt: dict[str, list[str]] = {}
    for name in names:
        spelt.setdefault(name.casefold(), []).append(name)
    for found in spelt.values():
        if len(found) > 1:
            shown = " and ".join(dict.fromkeys(found))
            yield f"--pruned: {len(found)} candidates are named {shown}. Files are called by their names, so that capitals do not tell them apart."
