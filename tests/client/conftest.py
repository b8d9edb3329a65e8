"""The tests of clients run against servers on loopback, in real time."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/client/" in item.nodeid.replace("\\", "/"):
            item.add_marker(pytest.mark.real_time)
