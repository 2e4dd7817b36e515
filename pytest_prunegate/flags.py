"""The options and their ini twins. Imported by every pytest run, so that it holds nothing but their declaration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    IniType = Literal["string", "int", "linelist"]

DEFAULT_SEED = 1234  # lm-eval's own default


_INI_NOUNS = {"string": "a string", "int": "a whole number", "linelist": "a list of strings, in an ini file one a line"}


class Flag:
    """An option: its flag, metavar and help, and its ini twin and default where it has them. No metavar: a switch."""

    def __init__(
        self,
        flag: str,
        metavar: str | None,
        text: str,
        *,
        ini: str | None = None,
        ini_types: tuple[IniType, ...] = ("string",),
        default: str | None = None,
    ) -> None:
        self.flag = flag
        self.metavar = metavar
        self.help = text
        self.ini = ini
        self.ini_types = ini_types
        self.default = default
        self.dest = flag.removeprefix("--").replace("-", "_")


ORIGINAL = Flag(
    "--original",
    "MODEL",
    "the original model: a directory, a .gguf file, a hub id or id@revision, a baseline.json.gz in its place, "
    "my_module:load_model, or NAME=http://HOST:PORT/v1; NAME=MODEL names it",
)
PRUNED = Flag(
    "--pruned",
    "MODEL",
    "the pruned model, likewise, or an adapter; both together switch the gate on. Several candidates: --pruned NAME=MODEL for each",
)
REQUIRE = Flag(
    "--prunegate-require", "WHICH", "of several candidates: all have to pass for exit code 0 (default), or any one of them"
)  # fmt: skip
THRESHOLDS = Flag(
    "--thresholds",
    "FILE",
    "thresholds file (default: thresholds.yaml), or a built-in one: 'default', or 'quick' for some minutes",
    ini="prunegate_thresholds",
)
TASKS = Flag(
    "--prunegate-tasks",
    "NAMES",
    "only these tasks (comma separated); one that the file lacks is added under its defaults",
)
INCLUDE = Flag(
    "--prunegate-include-path",
    "DIR",
    "a folder with YAML files of your own tasks, in lm-eval's format",
    ini="prunegate_include_path",
)
LIMIT = Flag(
    "--prunegate-limit",
    "N",
    "documents per task, or a share of them below 1: a seeded random sample, the same for both models",
)
SEED = Flag(
    "--prunegate-seed",
    "N",
    "seed of the sample of documents",
    ini="prunegate_seed",
    ini_types=("int",),
    default=str(DEFAULT_SEED),
)
FEWSHOT = Flag("--prunegate-num-fewshot", "N", "examples in a prompt, for every task that does not fix them at 0")
FEWSHOT_SEED = Flag("--prunegate-fewshot-seed", "N", "seed of the draw of examples (default: lm-eval's 1234)")
GEN_KWARGS = Flag(
    "--prunegate-gen-kwargs", "ARGS", "generation arguments for every task that generates: temperature=0.7,do_sample=true"
)  # fmt: skip
MAX_GEN_TOKS = Flag("--prunegate-max-gen-toks", "N", "most tokens of an output, for every task that generates")
CHAT = Flag("--prunegate-apply-chat-template", "true|NAME", "apply the original's chat template, or the named one of several")  # fmt: skip
SYSTEM = Flag("--prunegate-system-instruction", "TEXT", "system message of every prompt")
MULTITURN = Flag(
    "--prunegate-fewshot-as-multiturn", "true|false", "whether examples are turns of their own (default: with a template)"
)  # fmt: skip
BATCH = Flag(
    "--prunegate-batch-size",
    "N",
    "requests per batch, or lm-eval's auto",
    ini="prunegate_batch_size",
    ini_types=("string", "int"),
    default="1",
)
DEVICE = Flag(
    "--prunegate-device",
    "DEVICE",
    "cpu, cuda, cuda:1, mps (default: a GPU if there is one)",
    ini="prunegate_device",
    default="auto",
)
DTYPE = Flag(
    "--prunegate-dtype",
    "DTYPE",
    "dtype of both models (default: the original's)",
    ini="prunegate_dtype",
    default="auto",
)
BACKEND = Flag(
    "--prunegate-backend",
    "NAME",
    "fast (lm-eval's transformers backend with an engine of its own), lm-eval's model class (hf, vllm, ...), or an installed package's executor",
    ini="prunegate_backend",
    default="fast",
)
DECIDE = Flag("--prunegate-decide", "RULE", "what decides every check: full (default), confident or early")
ERROR_RATE = Flag("--prunegate-error-rate", "P", "largest probability of a verdict that the full run would not give (default: 1%%)")  # fmt: skip
INDIFFERENCE = Flag("--prunegate-indifference", "P", "how far from its threshold a loss may be judged either way, to stop sooner")  # fmt: skip
INCONCLUSIVE = Flag(
    "--prunegate-inconclusive", "WHAT", "where a sample does not decide: report it (default), or continue with more documents"
)  # fmt: skip
RECORD = Flag("--prunegate-record", None, "measure and report; no check fails")
TIME_BUDGET = Flag(
    "--prunegate-time-budget", "TIME", "end after the batch in hand when so much time has passed, ready to be resumed: 3h50m, 90m, 45s"
)  # fmt: skip
NOISE_FLOOR = Flag(
    "--prunegate-noise-floor", None, "ask the original twice, with another batch size and order, and report what moves by numerics alone"
)  # fmt: skip
ORIGINAL_ARGS = Flag("--prunegate-original-args", "ARGS", "the original's model_args, in lm-eval's syntax: dtype=bfloat16")  # fmt: skip
PRUNED_ARGS = Flag("--prunegate-pruned-args", "ARGS", "the pruned model's model_args, likewise")
PEFT_BASE = Flag("--prunegate-peft-base", "MODEL", "the base of an adapter, or 'recorded' for the one that it names itself")  # fmt: skip
MASK_FROM = Flag(
    "--prunegate-mask-from", "MODEL", "the model right after pruning, whose zeros `mask:` compares; NAME=MODEL for each of several candidates"
)  # fmt: skip
TRUST = Flag(
    "--prunegate-trust", "WHAT", "run what is refused otherwise (comma separated): remote-code, unsafe-tasks; see SECURITY.md"
)  # fmt: skip
BASELINE_ONLY = Flag(
    "--prunegate-baseline-only",
    None,
    "with --original alone: measure it, write its answers to baseline.json.gz, and compare nothing",
)
CACHE = Flag(
    "--prunegate-cache-dir",
    "DIR",
    "for downloads and the index of lm-eval's tasks",
    ini="prunegate_cache_dir",
)
OUTPUT = Flag(
    "--prunegate-output",
    "DIR",
    "for results, reports and the log",
    ini="prunegate_output",
    default="prunegate-results",
)
STORE = Flag(
    "--prunegate-store",
    "DIR",
    "keeps every response, so that nothing is computed twice",
    ini="prunegate_store",
    default=".prunegate",
)
PREFLIGHT = Flag(
    "--prunegate-preflight", None, "load no model: see that a run could go through, and say what it would take of memory, disk and time"
)  # fmt: skip
ANSWERS = Flag("--prunegate-answers", None, "write all answers of both models to answers.jsonl, the unchanged ones too")
TEMPLATE = Flag(
    "--prunegate-template",
    "FILE",
    "a Jinja2 template of your own, rendered into the output folder under its name without .j2; may be given several times",
    ini="prunegate_template",
    ini_types=("linelist",),
)
# Only in the configuration file: it belongs to whoever reads the JUnit file.
JUNIT_PROPERTIES = "prunegate_junit_properties"
JUNIT_PLACES = ("case", "suite", "none")
OF_OTHER_TOOLS = {
    "--tasks": TASKS, "--nsamples": LIMIT, "--limit": LIMIT, "--seed": SEED, "--num_fewshot": FEWSHOT, "--batch_size": BATCH,
    "--device": DEVICE, "--output_path": OUTPUT, "--include_path": INCLUDE, "--gen_kwargs": GEN_KWARGS, "--apply_chat_template": CHAT,
    "--system_instruction": SYSTEM, "--model_args": PRUNED_ARGS,
}  # fmt: skip
"""Options of lm-eval and of pruning scripts, with what they are called here."""
MODELS = (ORIGINAL, PRUNED)
SEVERAL = (*MODELS, MASK_FROM, TEMPLATE)  # a second original is noticed
ALL = (
    ORIGINAL, PRUNED, REQUIRE, THRESHOLDS, TASKS, INCLUDE, LIMIT, SEED, FEWSHOT, FEWSHOT_SEED, GEN_KWARGS, MAX_GEN_TOKS, CHAT, SYSTEM, MULTITURN,
    BATCH, DEVICE, DTYPE, BACKEND, ORIGINAL_ARGS, PRUNED_ARGS, PEFT_BASE, MASK_FROM, BASELINE_ONLY, CACHE, OUTPUT, STORE, DECIDE,
    ERROR_RATE, INDIFFERENCE, INCONCLUSIVE, RECORD, NOISE_FLOOR, TIME_BUDGET, TRUST, PREFLIGHT, ANSWERS, TEMPLATE,
)  # fmt: skip


def add_options(parser: pytest.Parser) -> None:
    """Declare all options and their ini twins."""
    group = parser.getgroup("prunegate", "pruned language models (pytest-prunegate)")
    for option in ALL:
        if option.metavar is None:
            group.addoption(option.flag, dest=option.dest, action="store_true", default=False, help=option.help)
            continue
        action = "append" if option in SEVERAL else "store"
        group.addoption(
            option.flag, dest=option.dest, action=action, metavar=option.metavar, default=None, help=option.help
        )
        if option.ini:
            parser.addini(option.ini, f"like {option.flag}", type=_declared_type(option), default=None)
    parser.addini(
        JUNIT_PROPERTIES,
        "where the JUnit file has the figures of a check: in its test case (case, the default), in the test suite, as Jenkins' xUnit "
        "schema wants it (suite), or nowhere (none)",
        default=JUNIT_PLACES[0],
    )


def _declared_type(option: Flag) -> Any:
    """The ini twin's type, as far as this pytest knows types: whole numbers since 8.4, one of several types since 9.2."""
    if len(option.ini_types) > 1:
        return str | int if pytest.version_tuple >= (9, 2) else "string"
    (only,) = option.ini_types
    return "string" if only == "int" and pytest.version_tuple < (8, 4) else only


def ini_value(config: pytest.Config, option: Flag) -> str | list[str] | None:
    """What the configuration file says; None where it says nothing.

    Raises:
        pytest.UsageError: it is of another type.
    """
    if not option.ini:
        return None
    try:
        value = config.getini(option.ini)
    except (TypeError, ValueError, pytest.UsageError):  # which of them depends on pytest's version
        value = object()
    if isinstance(value, int):
        return str(value)
    if value is None or isinstance(value, list if option.ini_types == ("linelist",) else str):
        return value or None
    nouns = " or ".join(_INI_NOUNS[one] for one in option.ini_types)
    raise pytest.UsageError(f"{config.inipath}: {option.ini}: expected {nouns}.")


def is_requested(config: pytest.Config) -> bool:
    """Whether a gate was asked for at all."""
    asked = any(config.getoption(flag.dest) is not None for flag in MODELS)
    return asked or bool(config.getoption(BASELINE_ONLY.dest))


def thresholds_among_paths(config: pytest.Config) -> str | None:
    """The thresholds file, or a part of it, where it was named on the command line; None where it was not."""
    file = config.getoption(THRESHOLDS.dest) or ini_value(config, THRESHOLDS) or "thresholds.yaml"
    return next(iter(arguments_for(config, Path(str(file)).name)), None)


def arguments_for(config: pytest.Config, name: str) -> list[str]:
    """The paths of the command line whose file has a name, with what stands behind ``::``."""
    paths = config.args if config.args_source is config.ArgsSource.ARGS else []
    return [path for path in paths if Path(path.split("::")[0]).name == name]
