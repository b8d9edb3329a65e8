"""Hypothesis runs few examples by default, always the same, and does not make a failing one smaller.

`TRIGGERFLOW_EXAMPLES=2000 pytest tests/core` runs that many, at random, and shrinks what fails.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

EXAMPLES = os.environ.get("TRIGGERFLOW_EXAMPLES")
FIND = [Phase.explicit, Phase.reuse, Phase.generate]
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "ci", max_examples=30, deadline=None, derandomize=True, phases=FIND, suppress_health_check=SLOW
)
settings.register_profile(
    "more",
    max_examples=int(EXAMPLES or 0) or 1,
    deadline=None,
    phases=[*FIND, Phase.target, Phase.shrink],
    print_blob=True,
    suppress_health_check=SLOW,
)
settings.load_profile("more" if EXAMPLES else "ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A failing example is made smaller first, and that takes time.
    for item in items:
        if "/core/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(600))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not EXAMPLES:
        terminalreporter.write_line(
            "laws of the core: TRIGGERFLOW_EXAMPLES=2000 pytest tests/core runs more, and shrinks"
        )
