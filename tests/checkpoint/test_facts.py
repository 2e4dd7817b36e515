"""What a checkpoint's files say: fingerprint, facts, location."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.scripted import write_checkpoint, write_safetensors

from pytest_prunegate.checkpoint.facts import read_facts
from pytest_prunegate.checkpoint.files import weight_files
from pytest_prunegate.checkpoint.fingerprint import checkpoint_fingerprint
from pytest_prunegate.checkpoint.location import Location, locate
from pytest_prunegate.checkpoint.scan import scan_files
from pytest_prunegate.errors import InputError, ModelError
from pytest_prunegate.input.model_argument import parse_model


def fingerprint(folder: Path) -> str:
    return checkpoint_fingerprint(folder, scan_files(weight_files(folder, {})))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model")


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_path_does_not_count(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "elsewhere")
    assert fingerprint(copy) == fingerprint(checkpoint)


def test_who_wrote_it_does_not_count(checkpoint: Path) -> None:
    before = fingerprint(checkpoint)
    edit_json(checkpoint / "config.json", transformers_version="9.9", _name_or_path="/tmp/somewhere")
    (checkpoint / "README.md").write_text("words")
    assert fingerprint(checkpoint) == before


@pytest.mark.parametrize(
    "change", ["weight", "tensor name", "config", "generation", "tokenizer", "tokenizer config", "template"]
)
def test_whatever_can_change_an_answer_counts(checkpoint: Path, change: str) -> None:
    write_safetensors(checkpoint / "model.safetensors", {"a": [1.0, 2.0], "b": [3.0]})
    before = fingerprint(checkpoint)
    match change:
        case "weight":
            write_safetensors(checkpoint / "model.safetensors", {"a": [1.0, 2.0], "b": [3.0000002]})
        case "tensor name":
            write_safetensors(checkpoint / "model.safetensors", {"a": [1.0, 2.0], "c": [3.0]})
        case "config":
            edit_json(checkpoint / "config.json", rope_theta=1.0)
        case "generation":
            (checkpoint / "generation_config.json").write_text('{"repetition_penalty": 1.1}')
        case "tokenizer":
            text = (checkpoint / "tokenizer.json").read_text()
            (checkpoint / "tokenizer.json").write_text(text.replace("[UNK]", "[unk]"))
        case "tokenizer config":
            edit_json(checkpoint / "tokenizer_config.json", add_bos_token=True)
        case "template":
            (checkpoint / "chat_template.jinja").write_text("{{ messages }}")
    assert fingerprint(checkpoint) != before


def test_shards_do_not_count(checkpoint: Path) -> None:
    write_safetensors(checkpoint / "model.safetensors", {"a": [1.0, 2.0], "b": [3.0]})
    whole = fingerprint(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    write_safetensors(checkpoint / "model-1.safetensors", {"b": [3.0]})
    write_safetensors(checkpoint / "model-2.safetensors", {"a": [1.0, 2.0]})
    index = {"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert fingerprint(checkpoint) == whole
    (checkpoint / "model-2.safetensors").unlink()
    with pytest.raises(ModelError, match=r"shards are missing: model-2\.safetensors"):
        fingerprint(checkpoint)


def test_pickled_weights_are_hashed_and_not_opened(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(b"not really a pickle")
    first = fingerprint(checkpoint)
    (checkpoint / "pytorch_model.bin").write_bytes(b"not really a pickle!")
    assert fingerprint(checkpoint) != first


def test_facts(checkpoint: Path) -> None:
    write_safetensors(checkpoint / "model.safetensors", {"a": [1.0] * 10, "b": [3.0]})
    facts = read_facts(
        Location(argument=parse_model("pruned", f"w50={checkpoint}", Path()), folder=checkpoint, revision=None)
    )
    assert (facts.side, facts.name, facts.parameters, facts.dtype, facts.max_length) == (
        "pruned",
        "w50",
        11,
        "float32",
        2048,
    )
    assert facts.architecture == "LlamaForCausalLM"


@pytest.mark.parametrize(("config", "dtype"), [({"dtype": "bfloat16"}, "bfloat16"), ({"torch_dtype": "torch.float16", "dtype": None}, "float16"), ({"dtype": None}, "float32")])  # fmt: skip
def test_dtype_comes_from_the_configuration_else_from_the_weights(
    checkpoint: Path, config: dict[str, object], dtype: str
) -> None:
    edit_json(checkpoint / "config.json", **config)
    assert (
        read_facts(
            Location(argument=parse_model("pruned", str(checkpoint), Path()), folder=checkpoint, revision=None)
        ).dtype
        == dtype
    )


def test_without_a_tokenizer(checkpoint: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()
    with pytest.raises(ModelError, match="there is no tokenizer in this directory"):
        read_facts(Location(argument=parse_model("pruned", str(checkpoint), Path()), folder=checkpoint, revision=None))


def test_a_damaged_header(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(ModelError, match="the header of this safetensors file is damaged"):
        fingerprint(checkpoint)


def test_a_hub_id_is_found_in_the_local_cache(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub library's own layout, without a network: a hub id and a local copy have the same fingerprint."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "hub" / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(checkpoint, repository / "snapshots" / commit)
    found = locate(parse_model("original", "someone/tiny", tmp_path), cache_dir=tmp_path / "cache")
    assert found.revision == commit
    assert fingerprint(found.folder) == fingerprint(checkpoint)
    with pytest.raises(InputError, match=r"--original=someone/tiny@v2: there is no such directory, and as a hub id"):
        locate(parse_model("original", "someone/tiny@v2", tmp_path), cache_dir=tmp_path / "cache")
