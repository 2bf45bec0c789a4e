"""Hypothesis profiles: `dev` explores, `ci` repeats itself; no deadlines, as the JIT warms up.

NumPy's BLAS gets one thread, here and in the processes that tests start: the networks of the tests
are so small that several would mostly wait for each other, by spinning.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # is read when NumPy is imported

import pytest
from hypothesis import HealthCheck, settings
from peers import FOUND

settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_sessionfinish(session):
    """A process of several tells the first one what its tests found."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["found"] = dict(FOUND)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    FOUND.update(getattr(node, "workeroutput", {}).get("found", {}))


def pytest_terminal_summary(terminalreporter):
    """Which of their known ways the peers went, as far as the tests of this run asked."""
    for what, found in sorted(FOUND.items()):
        terminalreporter.write_line(f"{what}: {found}")
