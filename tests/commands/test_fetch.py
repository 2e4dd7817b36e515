"""What a machine without a network needs is downloaded beforehand, from a hub on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.hub import SHA, serving
from support.tiny import write_tiny_llama

from pytest_prunegate.tasks.index import index_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hub import Hub

README = """---
configs:
- config_name: boolq
  data_files:
  - {split: train, path: boolq/train.jsonl}
  - {split: validation, path: boolq/validation.jsonl}
---
"""
THRESHOLDS = "tasks:\n  boolq:\n    limit: 2\n    metrics: {acc: {max_absolute_drop: 1}}\n"
NOWHERE = "http://127.0.0.1:9"  # the port that discards: nobody listens


@dataclass(frozen=True, kw_only=True)
class Site:
    """A hub with a model and a data set, and a folder where a user stands."""

    hub: Hub
    home: Path
    model: Path

    def call(self, *words: str, endpoint: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the words, on this hub; none of this machine's own caches counts."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        own = {
            "HF_ENDPOINT": endpoint or self.hub.url,
            "HF_HOME": str(self.home / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return subprocess.run(
            [sys.executable, "-m", *words], env=inherited | own | variables, cwd=self.home, capture_output=True, text=True, check=False
        )  # fmt: skip

    def fetch(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return self.call("pytest_prunegate", "fetch", *words, **variables)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, index_dir: Path) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("hub")
    model = write_tiny_llama(root / "models" / "org" / "tiny")
    data = root / "datasets" / "aps" / "super_glue"
    (data / "boolq").mkdir(parents=True)
    (data / "README.md").write_text(README)
    for split, count in (("train", 3), ("validation", 6)):
        rows = (f'{{"question": "is {n} even", "passage": "Numbers.", "idx": {n}, "label": {n % 2}}}\n' for n in range(count))  # fmt: skip
        (data / "boolq" / f"{split}.jsonl").write_text("".join(rows))
    home = tmp_path_factory.mktemp("home")
    (home / "thresholds.yaml").write_text(THRESHOLDS)
    kept = index_file(index_dir)
    for cache in ("cache", "empty"):
        (home / cache).mkdir()
        (home / cache / kept.name).write_bytes(kept.read_bytes())
    with serving(root) as hub:
        yield Site(hub=hub, home=home, model=model)


@pytest.fixture(scope="module")
def fetched(site: Site) -> subprocess.CompletedProcess[str]:
    return site.fetch("--original=org/tiny", f"--pruned={site.model}", "--cache-dir=cache", HF_TOKEN="hf_secret")


@pytest.mark.slow
def test_it_says_what_is_there_and_how_to_use_it(site: Site, fetched: subprocess.CompletedProcess[str]) -> None:
    assert fetched.returncode == 0, fetched.stderr
    first, second, data, command = fetched.stdout.splitlines()
    assert re.fullmatch(
        rf"--original=org/tiny: \d+ KiB, commit {SHA}, fingerprint [0-9a-f]{{12}}, in .*cache/hub/.*", first
    )
    assert f"--pruned={site.model}: " in second
    assert re.fullmatch(r"boolq: \d+ bytes of data", data)
    assert command == (
        f"Without a network: HF_HUB_OFFLINE=1 pytest --original=org/tiny --pruned={site.model} --prunegate-cache-dir={site.home / 'cache'}"
    )
    fingerprints = re.findall(r"fingerprint ([0-9a-f]{12})", fetched.stdout)
    assert fingerprints[0] == fingerprints[1], "a hub model is its local copy"


@pytest.mark.usefixtures("fetched")
@pytest.mark.slow
def test_everything_was_asked_of_the_endpoint_with_the_token(site: Site) -> None:
    assert {"org/tiny/resolve", "datasets/aps"} <= {
        "/".join(path.split("/")[: 3 - path.startswith("d")]) for _, path, _ in site.hub.asked
    }
    assert {token for _, _, token in site.hub.asked} == {"Bearer hf_secret"}


@pytest.mark.slow
def test_the_gate_then_runs_without_a_network(site: Site, fetched: subprocess.CompletedProcess[str]) -> None:
    words = fetched.stdout.splitlines()[-1].removeprefix("Without a network: HF_HUB_OFFLINE=1 ").split()
    asked = len(site.hub.asked)
    result = site.call(
        *words, "--prunegate-device=cpu", "-p", "no:hypothesispytest", endpoint=NOWHERE, HF_HUB_OFFLINE="1", HF_HOME=str(site.home / "elsewhere"),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Both are the same model" in result.stdout
    assert len(site.hub.asked) == asked


@pytest.mark.slow
def test_nothing_is_there_before_it_is_fetched(site: Site) -> None:
    result = site.fetch("--original=org/tiny", "--cache-dir=empty", "--check", endpoint=NOWHERE)
    assert result.returncode == 2
    assert (
        "--original=org/tiny: there is no such directory, and as a hub id it could not be fetched either"
        in result.stderr
    )
    assert "boolq: the task or its data cannot be loaded" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_all_that_fails_is_told_at_once(site: Site) -> None:
    result = site.fetch("--original=org/nobody", "--pruned=org/nothing", "--tasks=boolq,arc_easy", "--cache-dir=cache")
    assert result.returncode == 2
    for expected in (
        "--original=org/nobody: ",
        "--pruned=org/nothing: ",
        "arc_easy: the task or its data cannot be loaded",
    ):
        assert expected in result.stderr
    assert "boolq: " in result.stdout, "the rest is fetched"
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_what_is_not_there_without_a_network_was_not_fetched(site: Site) -> None:
    """The second look is a process of its own: here it is sent to another cache, where nothing is."""
    (site.home / "elsewhere.py").write_text(
        "import sys\nfrom pytest_prunegate.commands import downloading\nfrom pytest_prunegate.__main__ import main\n"
        "downloading.arguments = lambda wanted: ['fetch', '--original=org/tiny', '--cache-dir=nothing']\n"
        "sys.exit(main(['fetch', '--original=org/tiny', '--cache-dir=cache']))"
    )
    (site.home / "thresholds.yaml").rename(site.home / "aside.yaml")
    result = site.call("elsewhere")
    (site.home / "aside.yaml").rename(site.home / "thresholds.yaml")
    assert result.returncode == 2
    assert "it was fetched, but is not there without a network:\n--original=org/tiny: there is no such" in result.stderr
    assert "Without a network: " not in result.stdout


@pytest.mark.slow
def test_a_model_that_does_not_fit_the_disk_is_not_begun(site: Site) -> None:
    (site.home / "small_disk.py").write_text(
        "import sys\nfrom pytest_prunegate.gate import estimates as places\nplaces.free_disk = lambda folder: 1000\n"
        "from pytest_prunegate.__main__ import main\nsys.exit(main(['fetch', '--original=org/tiny', '--cache-dir=small']))"
    )
    result = site.call("small_disk")
    assert result.returncode == 2
    assert re.search(
        r"--cache-dir: about \d+ KiB are needed there \(downloads, as the hub tells their sizes: --original=org/tiny: .*\), and 1000 bytes are free",
        result.stderr,
    )
    assert not (site.home / "small").exists()


@pytest.mark.slow
def test_a_preflight_tells_of_a_disk_that_downloads_do_not_fit(site: Site) -> None:
    models = ["--original=org/tiny", "--pruned=org/tiny"]
    (site.home / "small_run.py").write_text(
        "import sys, pytest\nfrom pytest_prunegate.gate import estimates as places\nplaces.free_disk = lambda folder: 1000\n"
        f"sys.exit(pytest.main([*{models}, '--prunegate-preflight', '--prunegate-cache-dir=empty', '-p', 'no:hypothesispytest']))"
    )
    result = site.call("small_run")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR, result.stdout + result.stderr
    assert "--prunegate-cache-dir: about " in result.stderr
    assert "downloads, as the hub tells their sizes: --original=org/tiny: " in result.stderr
    assert "--pruned=" not in result.stderr, "a model of both sides is downloaded once"
    assert not (site.home / "empty" / "hub").exists()


def test_there_has_to_be_something_to_fetch(site: Site, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pytest_prunegate", "fetch"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "nothing to fetch: name a model" in result.stderr
