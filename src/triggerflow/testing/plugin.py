"""The pytest fixture `virtual_time`. Name this module in the `conftest.py` at the root of your tests:

    pytest_plugins = ["triggerflow.testing.plugin"]

A test that asks for the fixture runs in virtual time: an `async def` test as a whole, with and without pytest-asyncio;
a plain one with `virtual_time.run(coroutine)`.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from .virtual_time import VirtualTime, virtual_clock


@pytest.fixture(name="virtual_time")
def virtual_time_fixture() -> Iterator[VirtualTime]:
    """Virtual time for one test; see `VirtualTime`."""
    virtual_clock.reset()
    yield VirtualTime()
    virtual_clock.reset()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Run an `async def` test that asks for `virtual_time` in virtual time."""
    # pytest-asyncio puts a plain function in the place of the test, which would run it on a loop in real time.
    test = inspect.unwrap(pyfuncitem.obj)
    given = pyfuncitem.funcargs
    if "virtual_time" not in given or not inspect.iscoroutinefunction(test):
        return None
    names: tuple[str, ...] = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - pytest gives them nowhere else
    given["virtual_time"].run(test(**{name: given[name] for name in names}))
    return True
