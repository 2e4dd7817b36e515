"""Hooks and fixtures. Imports the standard library and pytest only, so that an idle plugin costs nothing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.flags import OF_OTHER_TOOLS, add_options, is_requested, thresholds_among_paths

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_prunegate.session.fixtures import Prunegate
    from pytest_prunegate.verdict.compare import Comparison

_INACTIVE = "needs --original and --pruned"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """Answer options of lm-eval and of pruning scripts with ours, where nobody else has declared them."""
    result = yield
    if any(argument.startswith(("--original", "--pruned")) for argument in args):
        _, unknown = parser.parse_known_and_unknown_args(args, namespace=copy.copy(early_config.option))
        names = dict.fromkeys(argument.partition("=")[0] for argument in unknown)
        if foreign := [f"{name}: it is {OF_OTHER_TOOLS[name].flag} here." for name in names if name in OF_OTHER_TOOLS]:
            raise pytest.UsageError("\n".join(foreign))
    return result


def pytest_configure(config: pytest.Config) -> None:
    """Switch the gate on where it was asked for."""
    config.addinivalue_line(
        "markers",
        "prunegate(tasks): a check of pytest-prunegate, or a test that uses its fixture on these tasks",
    )
    if is_requested(config):
        from pytest_prunegate.session.run import start_run

        start_run(config)
    elif named := thresholds_among_paths(config):
        raise pytest.UsageError(
            f"{named} was named, and no models to compare on it: add --original=MODEL --pruned=MODEL, or --original=MODEL "
            "--prunegate-baseline-only."
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``prunegate_check`` once for each check of the thresholds file."""
    if "prunegate_check" not in metafunc.fixturenames:
        return
    if not is_requested(metafunc.config):
        metafunc.parametrize(
            "prunegate_check", [pytest.param(None, id="inactive", marks=pytest.mark.skip(reason=_INACTIVE))]
        )
        return
    from pytest_prunegate.session.fixtures import check_parameters

    metafunc.parametrize("prunegate_check", check_parameters(metafunc.config), indirect=True)


@pytest.fixture
def prunegate(request: pytest.FixtureRequest) -> Prunegate:
    """Both models, measured on the tasks of the test's mark ``prunegate(tasks=[...])``.

    ``prunegate.compare("gsm8k", "accuracy").relative_drop`` is the loss as an exact fraction.
    """
    if not is_requested(request.config):
        pytest.skip(_INACTIVE)
    from pytest_prunegate.session.fixtures import measured_tasks

    return measured_tasks(request)


@pytest.fixture(scope="session")
def prunegate_session(request: pytest.FixtureRequest) -> Prunegate:
    """The same for fixtures of a wider scope: the models on the tasks that the selected tests which use it declare.

    A task is measured when it is first compared.
    """
    if not is_requested(request.config):
        pytest.skip(_INACTIVE)
    from pytest_prunegate.session.fixtures import session_tasks

    return session_tasks(request)


@pytest.fixture
def prunegate_check(request: pytest.FixtureRequest) -> Comparison:
    """The comparison of one check; the test is run for each check of the thresholds file."""
    from pytest_prunegate.session.fixtures import measured_check

    return measured_check(request)
