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
    with VirtualTime() as made:
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Run an `async def` test that asks for `virtual_time` in virtual time."""
    given = pyfuncitem.funcargs
    test = pyfuncitem.obj
    if "virtual_time" not in given:
        return None
    if not inspect.iscoroutinefunction(test) and hasattr(test, "__wrapped__"):
        # pytest-asyncio puts a plain function around the test, which would run it on a loop in real time. Only this one
        # is taken off: the decorators of the test itself stay.
        test = test.__wrapped__
        if pyfuncitem.instance is not None and not inspect.ismethod(test):
            test = test.__get__(pyfuncitem.instance)
    if not inspect.iscoroutinefunction(test):
        return None
    names: tuple[str, ...] = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - pytest gives them nowhere else
    given["virtual_time"].run(test(**{name: given[name] for name in names}))
    return True
