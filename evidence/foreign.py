"""What the gate says of checkpoints that other tools write, each in an environment of its own.

    python evidence/foreign.py FOLDER OUTPUT.json [TOOL ...]

FOLDER takes the environments and the checkpoints. A tiny Llama is made dense and pruned by llm-compressor, torch-pruning, modelopt, NNCF
and peft (`evidence/foreign_tools`, a script each); the gate then compares a perplexity and asks for half of the weights to be zero. Each
checkpoint has an outcome that a user would expect: an exit code, and words that it says. Exits with 1 where one is not met.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
THRESHOLDS = """
sparsity: {min: 45%}
perplexity:
  wikitext2: {max_relative_increase: 900%, seqlen: 64, nsamples: 4, dataset: {path: text, data_files: {test: text.txt}}}
"""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The outcome of a checkpoint: the exit code, and a pattern that the output matches."""

    code: int
    says: str


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool: what pip installs for it, and the outcome of each checkpoint that its script writes."""

    needs: tuple[str, ...]
    outcomes: dict[str, Expected]


HALF = Expected(code=0, says=r"Sparsity: original 0\.0%, pruned (49\.\d+|50\.\d+)%")
FAILS = r"FAILED thresholds.yaml::sparsity::min - sparsity "
TOOLS = {
    "peft": Tool(
        needs=("peft", "transformers"),
        outcomes={
            "sparse-base": HALF,
            "adapter": Expected(code=1, says=rf"{FAILS}30\.56%"),
            "merged": Expected(code=1, says=rf"{FAILS}30\.56%"),
            "wrapped": Expected(code=4, says=r"a name that PEFT gives \(`base_model\.model`\): merge the adapter"),
        },
    ),
    "torch-pruning": Tool(
        needs=("torch-pruning", "transformers"),
        outcomes={
            "corrected": Expected(
                code=1, says=rf"(?s)Smaller than the original: MLP channels 64 -> 48\..*{FAILS}0\.00%"
            ),
            "old-config": Expected(
                code=4,
                says=r"shapes differ: model\.layers\.1\.mlp\.down_proj\.weight is .* in the files, .* in the model",
            ),
        },
    ),
    "modelopt": Tool(
        needs=("nvidia-modelopt", "requests", "transformers"),
        outcomes={
            "masks": Expected(code=4, says=r"masks of a pruner: .*_weight_mask.*modelopt's export"),
            "exported": Expected(code=0, says=r"Sparsity: original 0\.0%, pruned 50\.0% \(2:4 in all 14 matrices\)"),
        },
    ),
    "nncf": Tool(
        needs=("nncf", "torchao", "transformers"),
        outcomes={"masks": Expected(code=4, says=r"masks of a pruner: .*mask.*nncf\.strip"), "stripped": HALF},
    ),
    "llm-compressor": Tool(
        needs=("llmcompressor",),
        outcomes={
            "sparse": HALF,
            "two-four": Expected(code=0, says=r"Sparsity: original 0\.0%, pruned 50\.\d+% \(2:4 in all 14 matrices\)"),
            "packed": Expected(code=0, says=r"Sparsity: original 0\.0%, pruned 5\d\.\d+% \(2:4 in all 14 matrices\)"),
            "int8": HALF,
            "fp8": HALF,
        },
    ),
}


def environment(folder: Path, tool: str) -> Path:
    """The Python of an environment with the tool; it is made where it is not there. torch comes first and alone."""
    place = folder / "environments" / tool
    python = place / "bin" / "python"
    if not (place / ".installed").exists():
        venv.create(place, with_pip=True, clear=True)
        for needs in ((TORCH,), (TORCH, *TOOLS[tool].needs)):
            subprocess.run([python, "-m", "pip", "install", "-q", *needs], check=True)
        (place / ".installed").touch()
    return python


def versions(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Versions of packages in an environment."""
    code = (
        f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {(*names, 'torch')!r}}}))"
    )
    found: dict[str, str] = json.loads(
        subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    )
    return found


def judged(base: Path, candidate: Path, expected: Expected) -> dict[str, Any]:
    """What the gate says of a checkpoint, and whether that was expected."""
    command = [
        sys.executable, "-m", "pytest", "-p", "no:randomly", f"--original={base}", f"--pruned={candidate}", "--prunegate-device=cpu",
        f"--prunegate-output={candidate}-results", f"--prunegate-store={candidate}-store", "--thresholds=thresholds.yaml",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=base.parent,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "500", "HF_HUB_OFFLINE": "1"},
    )
    output = done.stdout + done.stderr
    found = re.search(expected.says, output)
    lines = [
        line.strip() for line in output.splitlines() if re.match(r"ERROR|FAIL|PASS|INCOMPLETE|Sparsity", line.strip())
    ]
    return {
        "checkpoint": candidate.name, "exit_code": done.returncode, "expected_code": expected.code, "expected": expected.says,
        "met": done.returncode == expected.code and found is not None, "said": [line[:400] for line in lines[-4:]],
    }  # fmt: skip


def evidence_of(tool: str, folder: Path, base: Path) -> dict[str, Any]:
    """All checkpoints of a tool."""
    script = HERE / "foreign_tools" / f"{tool.replace('-', '_')}_tool.py"
    written = folder / "checkpoints" / tool
    try:
        python = environment(folder, tool)
        made = subprocess.run([python, script, base, written], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        return {"not_made": f"{error}: {(error.stderr or '')[-1500:]}", "met": False}
    results = [judged(base, written / name, expected) for name, expected in TOOLS[tool].outcomes.items()]
    return {
        "versions": versions(python, TOOLS[tool].needs), "tool_said": made.stdout.strip()[-600:], "checkpoints": results,
        "met": all(result["met"] for result in results),
    }  # fmt: skip


def main(folder: Path, output: Path, chosen: tuple[str, ...]) -> int:
    """Make the checkpoints, judge them, and write the evidence."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from support.tiny import write_tiny_llama

    folder.mkdir(parents=True, exist_ok=True)
    base = write_tiny_llama(folder.resolve() / "base")
    (base.parent / "thresholds.yaml").write_text(THRESHOLDS)
    (base.parent / "text.txt").write_text("What is the number 1 2 3 4 5 6 7 8 9 0? It is so. True or False. " * 60)
    tools = {tool: evidence_of(tool, base.parent, base) for tool in chosen or TOOLS}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    evidence = {"commit": commit, "met": all(tool["met"] for tool in tools.values()), "tools": tools}
    output.write_text(json.dumps(evidence, indent=1) + "\n")
    print(json.dumps(evidence, indent=1))
    return 0 if evidence["met"] else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), tuple(sys.argv[3:])))
