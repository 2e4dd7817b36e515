"""Evidence that `agreement:` finds what llama.cpp's ``llama-perplexity --kl-divergence`` finds, on a real model and two pruned copies.

    python evidence/kl_divergence.py DATA_DIR MODELS_DIR FOLDER OUTPUT.json

DATA_DIR holds wikitext2/, MODELS_DIR is made by demo/models.py, FOLDER takes llama.cpp, built from the source that llama-cpp-python ships on
PyPI. Both read the same 8 windows of 512 tokens; llama.cpp looks at the second half of each, and so are this gate's kept positions here. It
keeps the original's log-probabilities in 16 bits, which is what a difference of some per mille is due to. Exits with 1 where they differ by more.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path
from typing import Any

from pytest_prunegate.store import Store
from pytest_prunegate.tasks.agreement import Agreement, WindowAgreement

SOURCE = "llama-cpp-python==0.3.36"
CANDIDATES = ("wanda-mild", "wanda-harsh")
SEQLEN, WINDOWS = 512, 8
THRESHOLDS = (
    f"agreement: {{seqlen: {SEQLEN}, nsamples: {WINDOWS}, dataset: {{path: text, data_files: {{test: text.txt}}}}}}\n"
)
# What llama.cpp prints, and by how much it may differ: relatively, and of a share absolutely.
FIGURES = {
    "kl": (r"Mean +KLD: +([\d.]+)", 0.01), "kl_p99": (r"99\.0% +KLD: +([\d.]+)", 0.02), "top1": (r"Same top p: +([\d.]+)", 0.005),
    "pruned_perplexity": (r"Mean PPL\(Q\) +: +([\d.]+)", 0.001), "perplexity_ratio": (r"Mean PPL\(Q\)/PPL\(base\) +: +([\d.]+)", 0.01),
}  # fmt: skip


def run(*command: str | Path, **more: Any) -> str:
    """Run a command, and return what it prints.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **more)
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"{command}: {done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done.stdout + done.stderr


def llama_cpp(folder: Path) -> tuple[Path, Path]:
    """Its source and its built program, made where they are not there."""
    program = folder / "build" / "bin" / "llama-perplexity"
    if not program.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        venv.create(folder / "tools", with_pip=True)
        tools = folder / "tools" / "bin"
        run(tools / "pip", "install", "-q", "cmake", "ninja")
        run(tools / "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", SOURCE, "-d", folder)
        with tarfile.open(next(folder.glob("llama_cpp_python-*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        source = next(folder.glob("llama_cpp_python-*/vendor/llama.cpp"))
        path = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
        off = [
            f"-D{name}=OFF"
            for name in ("LLAMA_CURL", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_SERVER")
        ]
        how = ("-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_BUILD_TOOLS=ON", *off)
        run("cmake", "-B", folder / "build", "-S", source, *how, env=path)
        run("cmake", "--build", folder / "build", "--target", "llama-perplexity", env=path)
    return next(folder.glob("llama_cpp_python-*/vendor/llama.cpp")), program


def converted(source: Path, model: Path, folder: Path) -> Path:
    """A checkpoint as a GGUF file of float32."""
    target = folder / f"{model.name}.gguf"
    if not target.is_file():
        run(sys.executable, "-m", "pip", "install", "-q", "--target", folder / "sentencepiece", "sentencepiece")
        path = os.environ | {"PYTHONPATH": str(folder / "sentencepiece")}
        run(sys.executable, source / "convert_hf_to_gguf.py", model, "--outtype", "f32", "--outfile", target, env=path)
    return target


def theirs(source: Path, program: Path, models: Path, folder: Path, text: Path) -> dict[str, dict[str, float]]:
    """llama.cpp's figures of each candidate."""
    base = folder / "base.kld"
    fixed = ("-c", str(SEQLEN), "-b", str(SEQLEN), "--chunks", str(WINDOWS), "--kl-divergence-base", base)
    run(program, "-m", converted(source, models / "smollm2", folder), "-f", text, *fixed)
    found = {}
    for name in CANDIDATES:
        said = run(program, "-m", converted(source, models / name, folder), *fixed, "--kl-divergence")
        found[name] = {key: float(re.search(pattern, said)[1]) for key, (pattern, _) in FIGURES.items()}  # type: ignore[index]
        found[name]["top1"] /= 100
    return found


def ours(models: Path, work: Path) -> dict[str, dict[str, float]]:
    """This gate's figures of each candidate, on the second half of each window."""
    (work / "thresholds.yaml").write_text(THRESHOLDS, encoding="utf-8")
    pruned = [f"--pruned={name}={models / name}" for name in CANDIDATES]
    gate = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--prunegate-store=store")
    run(*gate, f"--original={models / 'smollm2'}", *pruned, cwd=work)
    store, found = Store(work / "store"), {}
    for name in CANDIDATES:
        results = json.loads(
            (work / "prunegate-results" / f"comparison_results_{name}.json").read_text(encoding="utf-8")
        )
        rows = store.rows(results["models"]["pruned"]["fingerprint"])
        agreement = Agreement(tuple(_second_half(WindowAgreement.from_text(row.response.text or "")) for row in rows))
        found[name] = {
            "kl": agreement.kl, "kl_p99": agreement.kl_p99, "top1": float(agreement.top1), "pruned_perplexity": agreement.perplexities[1],
            "perplexity_ratio": agreement.ratio,
        }  # fmt: skip
    store.close()
    return found


def _second_half(window: WindowAgreement) -> WindowAgreement:
    half = SEQLEN // 2
    return WindowAgreement(**{key: values[half:] for key, values in vars(window).items()})


def differs(key: str, one: float, other: float) -> bool:
    """Whether two figures are farther apart than llama.cpp's 16 bits explain."""
    allowed = FIGURES[key][1]
    return not math.isclose(
        one, other, rel_tol=0 if key == "top1" else allowed, abs_tol=allowed if key == "top1" else 0
    )


def main() -> None:
    """Measure, and write the outcome as JSON; the last line of the output says it too."""
    data, models, folder, output = (Path(argument).resolve() for argument in sys.argv[1:5])
    source, program = llama_cpp(folder)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        text = work / "text.txt"
        text.write_text((data / "wikitext2" / "test.txt").read_text(encoding="utf-8"), encoding="utf-8")
        mine, other = ours(models, work), theirs(source, program, models, folder, text)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    figures = {
        name: {
            key: {"gate": mine[name][key], "llama.cpp": other[name][key], "met": not differs(key, mine[name][key], other[name][key])}
            for key in FIGURES
        }
        for name in CANDIDATES
    }  # fmt: skip
    met = all(figure["met"] for found in figures.values() for figure in found.values())
    result = {"commit": commit, "source": SOURCE, "windows": WINDOWS, "seqlen": SEQLEN, "met": met, "figures": figures}
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(
        json.dumps(
            {
                "met": met,
                "largest_kl_difference": max(abs(mine[name]["kl"] / other[name]["kl"] - 1) for name in CANDIDATES),
            }
        )
    )
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
