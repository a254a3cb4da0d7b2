"""What every test may lean on: raw data and frozen instances, Hypothesis's profiles, skips that CI refuses."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

CHECKOUT = Path(__file__).resolve().parents[1]

# In CI a run repeats; elsewhere each run looks at new examples.
for _name, _examples in {"fast": 10, "default": 50, "deep": 2_000}.items():
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,  # the first example compiles
        derandomize="CI" in os.environ,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
settings.load_profile("default")


def _from_environment(variable: str, what: str) -> Path:
    """Return the folder a variable names, or skip the test with the reason."""
    place = os.environ.get(variable)
    if not place:
        pytest.skip(f"{what} needed: set {variable} to their folder")
    if not Path(place).is_dir():
        pytest.fail(f"{variable} names {place}, which is not a folder")
    return Path(place)


@pytest.fixture(scope="session")
def data_dir() -> Callable[[str], Path]:
    """Return the folder of one raw data set: ``data_dir("heloc")``."""

    def find(name: str) -> Path:
        place = _from_environment("FAIRPATH_DATA", "the raw public data sets are") / name
        if not place.is_dir():
            pytest.skip(f"the raw files of {name!r} are not in $FAIRPATH_DATA")
        return place

    return find


@pytest.fixture(scope="session")
def instances() -> Path:
    """Return the folder of the frozen search instances."""
    return _from_environment("FAIRPATH_INSTANCES", "the frozen search instances are")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """Return the root of the checkout."""
    return CHECKOUT


def _refuse_skips(report: Any) -> None:
    """Turn a skip into a failure where everything must be there (FAIRPATH_REQUIRE=1, as CI sets it)."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("FAIRPATH_REQUIRE") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped under FAIRPATH_REQUIRE=1, yet: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    _refuse_skips(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    _refuse_skips(report)
    return report
