"""A pytest plugin that lists the tests that take the most processor time, in the processes that they start too.

    python -m pytest -p tools.test_times -n 2 --dist loadfile --no-loadscope-reorder

Unlike the durations that pytest itself can list, these leave out what a test waits for. A busy machine makes both
longer.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

SHOWN = 20
KEY = "processor seconds"
_BEFORE = pytest.StashKey[float]()


def _seconds() -> float:
    """Processor seconds of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Takes the time before the fixtures of the test are made."""
    item.stash[_BEFORE] = _seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Generator[None, pytest.TestReport]:
    """Adds the time to the last report of a test, which pytest-xdist carries to the first process."""
    report = yield
    if call.when == "teardown":
        report.user_properties.append((KEY, _seconds() - item.stash[_BEFORE]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the list."""
    times = {
        report.nodeid: dict(report.user_properties)[KEY]
        for reports in terminalreporter.stats.values()
        for report in reports
        if KEY in dict(getattr(report, "user_properties", ()))
    }
    terminalreporter.section(f"processor time: {sum(times.values()):.0f} s in {len(times)} tests")
    for name in sorted(times, key=times.__getitem__, reverse=True)[:SHOWN]:
        terminalreporter.line(f"{times[name]:7.1f} s  {name}")
