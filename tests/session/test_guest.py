"""A check beside other people's tests, hooks and readers: an item like others."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING

import pytest
from support.scripted import THREE_TASKS, project_of_every_kind, write_checkpoint

if TYPE_CHECKING:
    from conftest import Bench


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models(pruned={"wrong": [3, 7]})
    bench.thresholds(THREE_TASKS)
    return bench


@pytest.mark.parametrize(
    ("asked", "found", "hint"),
    [
        ("thresholds.yaml::gsm8kk", "*thresholds.yaml::gsm8kk", "thresholds.yaml has no task gsm8kk. Did you mean gsm8k?"),
        ("thresholds.yaml::boolq::accuracy", "*thresholds.yaml::boolq::accuracy", "thresholds.yaml: boolq has no check accuracy. *acc*"),
        ("thresholds.yaml::zzz", "*thresholds.yaml::zzz", "thresholds.yaml has no task zzz. It has: boolq, gsm8k, squadv2."),
        ("no_such_test.py", "file or directory not found: no_such_test.py", None),
    ],
)  # fmt: skip
def test_a_wrong_name_is_pytests_own_error_with_the_nearest_names(
    project: Bench, asked: str, found: str, hint: str | None
) -> None:
    result = project.run(asked, "thresholds.yaml::boolq::acc")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: {'not found: ' if hint else ''}{found}", *([f"ERROR: {hint}"] if hint else [])]
    )
    result.stderr.no_fnmatch_line("*neither a check nor a test*")
    assert not project.executor.requests


SCREENSHOT_HOOK = """
    import pytest

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        if report.failed:
            assert "page" not in item.funcargs and "page" not in item.fixturenames
            assert item.obj is None and callable(item.function)
            item._initrequest()
            kind = type(call.excinfo.value)
            is_failure, is_fail = (issubclass(kind, one) for one in (AssertionError, pytest.fail.Exception))
            print(f"\\nSEEN {item.name} {is_failure} {is_fail} {call.excinfo.value}")
        return report
"""


def test_hooks_find_what_test_functions_have_and_tell_failures_from_errors(project: Bench) -> None:
    """As Allure does, a hook tells by the exception what failed: an AssertionError with its figures; anything else broke."""
    project.pytester.makeconftest(SCREENSHOT_HOOK)
    result = project.run("-s")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["SEEN gsm8k exact_match,strict-match True False gsm8k exact_match,strict-match *drop at most 1%*"]
    )
    shutil.rmtree(project.path / "original")
    write_checkpoint(project.path / "original", wrong=list(range(20)))
    result = project.run("-s", "-k", "gsm8k")
    assert result.ret == 10
    result.stdout.fnmatch_lines(["SEEN gsm8k exact_match,strict-match False False *scores 0 on 20 documents*"])
    result.stdout.no_fnmatch_line("*Traceback*")


# As vscode-python's plugin does: a label, a file and an id for each item, and an ending by the first report or exception.
IDE_HOOK = """
    import json, pathlib
    import pytest

    SENT, LABELS = {}, {}

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_report_teststatus(report, config):
        if report.when == "call" or (report.when == "setup" and report.skipped):
            SENT.setdefault(report.nodeid, "failure" if report.failed else "success")
        return (yield)

    def pytest_exception_interact(node, call, report):
        SENT.setdefault(node.nodeid, "failure" if call.excinfo.typename == "AssertionError" else "error")

    def pytest_sessionfinish(session, exitstatus):
        for item in session.items:
            file = item.path if not hasattr(item, "callspec") else None
            LABELS[item.nodeid] = [item.name, str(file.name), item.location[1], item.parent.path == file]
        pathlib.Path("ide.json").write_text(json.dumps([SENT, LABELS]))
"""


def test_an_ide_shows_the_task_in_the_label_and_runs_one_check_by_its_id(project: Bench) -> None:
    project.pytester.makeconftest(IDE_HOOK)
    project.run("--collect-only")
    _, labels = json.loads((project.path / "ide.json").read_text())
    assert labels == {
        "thresholds.yaml::boolq::acc": ["boolq acc", "thresholds.yaml", 4, True],
        "thresholds.yaml::gsm8k::exact_match,strict-match": ["gsm8k exact_match,strict-match", "thresholds.yaml", 8, True],
        "thresholds.yaml::squadv2::f1": ["squadv2 f1", "thresholds.yaml", 11, True],
    }  # fmt: skip
    for selection in ("acc", "boolq", "boolq and acc"):
        project.run("-k", selection, "--collect-only", "-q").stdout.fnmatch_lines(["thresholds.yaml::boolq::acc"])
    by_hand = f"{project.path}/thresholds.yaml::gsm8k::exact_match,strict-match"
    project.run(by_hand)
    assert json.loads((project.path / "ide.json").read_text())[0] == {
        "thresholds.yaml::gsm8k::exact_match,strict-match": "failure"
    }


def test_readers_of_exceptions_tell_a_loss_from_an_error(bench: Bench) -> None:
    """As vscode-python's plugin and Allure do; Allure shows the figures."""
    pytest.importorskip("allure_pytest", reason="allure-pytest is not installed")
    project_of_every_kind(bench)
    with (bench.path / "conftest.py").open("a") as conftest:
        conftest.write(textwrap.dedent(IDE_HOOK))
    bench.run("--alluredir=allure")
    sent, _ = json.loads((bench.path / "ide.json").read_text())
    assert {name.partition("::")[2]: ending for name, ending in sent.items()} == {
        "boolq::acc": "success",
        "gsm8k::exact_match,strict-match": "failure",
        "squadv2::f1": "failure",
        "squadv2::NoAns_f1": "error",
        "gsm8k_cot::exact_match,strict-match": "error",
    }
    results = [json.loads(file.read_text()) for file in (bench.path / "allure").glob("*-result.json")]
    found = {one["name"]: (one["status"], one.get("statusDetails", {}).get("message", "")) for one in results}
    assert {name: status for name, (status, _) in found.items()} == {
        "boolq acc": "passed",
        "gsm8k exact_match,strict-match": "failed",
        "squadv2 f1": "failed",
        "squadv2 NoAns_f1": "broken",
        "gsm8k_cot exact_match,strict-match": "broken",
    }
    for name, figures in (
        ("gsm8k exact_match,strict-match", "0.7500 -> 0.6500"),
        ("squadv2 f1", "INCONCLUSIVE on all 20 documents"),
    ):
        assert figures in found[name][1]
    assert "scores 0 on 5 documents" in found["squadv2 NoAns_f1"][1]


@pytest.mark.parametrize("option", ["--setup-plan", "--setup-only", "--collect-only"])
def test_options_that_promise_not_to_run_do_not(project: Bench, option: str) -> None:
    project.pytester.makepyfile(
        test_own="""
        import pytest
        @pytest.mark.prunegate(tasks=["boolq"])
        def test_mine(prunegate): raise RuntimeError
        """
    )
    result = project.run(option, "thresholds.yaml", "test_own.py")
    assert result.ret == 0
    assert not project.executor.requests
    assert not (project.path / ".prunegate").exists()
    assert not project.results.exists()
    result.stdout.fnmatch_lines(["*gsm8k*"])


def test_what_is_inconclusive_stands_in_the_short_summary(project: Bench) -> None:
    result = project.run("--prunegate-limit=10", "--prunegate-decide=confident", "-k", "squadv2")
    assert result.ret == 11
    result.stdout.fnmatch_lines([
        "*short test summary info*", "INCONCLUSIVE thresholds.yaml::squadv2::f1 - *", "*= 2 deselected, 1 inconclusive *",
    ])  # fmt: skip
    assert result.parseoutcomes() == {"inconclusive": 1, "deselected": 2}


@pytest.mark.parametrize("named", ["thresholds.yaml", "./thresholds.yaml::gsm8k"])
def test_the_thresholds_without_models_say_what_is_missing(project: Bench, named: str) -> None:
    result = project.run(named, models=())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {named} was named, and no models to compare on it: add --original=MODEL *"])


NATIVE = pytest.mark.skipif(
    pytest.version_tuple < (9, 2), reason="older versions know no native TOML, or no union of types"
)


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("pytest.ini", "[pytest]\nprunegate_seed = 7\nprunegate_batch_size = 2\nprunegate_template =\n  a.j2\n  b.j2\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\nprunegate_seed = 7\nprunegate_batch_size = "2"\nprunegate_template = ["a.j2", "b.j2"]\n'),
        pytest.param("pyproject.toml", '[tool.pytest]\nprunegate_seed = 7\nprunegate_batch_size = 2\nprunegate_template = ["a.j2", "b.j2"]\n', marks=NATIVE),
        pytest.param("pyproject.toml", '[tool.pytest]\nprunegate_seed = 7\nprunegate_batch_size = "2"\nprunegate_template = ["a.j2", "b.j2"]\n', marks=NATIVE),
    ],
)  # fmt: skip
def test_every_configuration_file_sets_numbers_and_lists(project: Bench, file: str, written: str) -> None:
    (project.path / file).write_text(written)
    for name in ("a", "b"):
        (project.path / f"{name}.j2").write_text("{{ summary.seed }}")
    project.run("-k", "boolq")
    results = json.loads((project.results / "comparison_results.json").read_text())
    assert (results["seed"], results["batch_size"]) == (7, "2")
    assert {(project.results / name).read_text() for name in ("a", "b")} == {"7"}


@pytest.mark.parametrize(
    ("written", "mistakes"),
    [
        ("[tool.pytest.ini_options]\nprunegate_output = ['a', 'b']\nprunegate_seed = ['seven']\n", ("prunegate_output: expected a string.", "prunegate_seed: expected a whole number.")),
        pytest.param("[tool.pytest]\nprunegate_output = ['a']\nprunegate_seed = '7'\nprunegate_template = 'a.j2'\n", ("prunegate_output: expected a string.", "prunegate_seed: expected a whole number.", "prunegate_template: expected a list of strings, in an ini file one a line."), marks=NATIVE),
        ("[tool.pytest.ini_options]\nprunegate_thresholds = ['a']\n", ("prunegate_thresholds: expected a string.",)),
    ],
)  # fmt: skip
def test_values_of_another_type_are_named_once_each_all_of_them(
    project: Bench, written: str, mistakes: tuple[str, ...]
) -> None:
    (project.path / "pyproject.toml").write_text(written)
    result = project.run("-W", "ignore")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    for mistake in mistakes:
        assert result.stderr.str().count(f"pyproject.toml: {mistake}") == 1
    result = project.run("thresholds.yaml", "-W", "ignore", models=())
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_options_of_other_tools_are_answered_with_ours(project: Bench) -> None:
    result = project.run("--tasks=boolq", "--nsamples", "128", "--seed=7")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([
        "ERROR: --tasks: it is --prunegate-tasks here.", "--nsamples: it is --prunegate-limit here.", "--seed: it is --prunegate-seed here.",
    ])  # fmt: skip
    project.pytester.makeconftest('def pytest_addoption(parser): parser.addoption("--seed")')
    assert project.run("--seed=7", "-k", "boolq").ret == 0, "it is the project's own"
