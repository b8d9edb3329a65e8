"""Async tests run in virtual time; mark one `real_time` if it waits for sockets or processes.

After each test nothing may be left behind: no destroyed task, no exception that nobody retrieved.

`soak.py` says which tests run when, `services.py` what some of them need. With TRIGGERFLOW_EAGER=1 the loops start
tasks eagerly (from Python 3.12 on).
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import postgres, services, soak
from tests.durable.every_flow import KIND, every_flow_durable, expect_failures
from tests.virtual_time import real_loop, virtual_loop, wall_clock


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    for plugin in (soak, services, postgres):
        if not pluginmanager.is_registered(plugin):
            pluginmanager.register(plugin)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_time: run this async test on an ordinary event loop")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"real": real_loop} if item.get_closest_marker("real_time") else {"virtual": virtual_loop}


def pytest_collection_finish() -> None:
    # What exists now is not a test's: the collection after each test need not walk it.
    gc.collect()
    gc.freeze()


class Complaints(logging.Handler):
    """Keeps what asyncio complains of: destroyed tasks, exceptions never retrieved, callbacks that raised."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@contextmanager
def nothing_left_behind(where: str) -> Iterator[Complaints]:
    """Fails if asyncio complains until the end of this, or of what is garbage then."""
    complaints = Complaints()
    logger = logging.getLogger("asyncio")
    logger.addHandler(complaints)
    try:
        yield complaints
        gc.collect()
    finally:
        logger.removeHandler(complaints)
    if complaints.texts:
        pytest.fail(f"asyncio complained{where}:\n" + "\n".join(complaints.texts), pytrace=False)


@pytest.fixture(autouse=True)
def no_complaints() -> Iterator[Complaints]:
    with nothing_left_behind("") as complaints:
        yield complaints


@pytest.fixture(autouse=True, scope="session")
def no_complaints_at_the_end() -> Iterator[None]:
    """What was exempt from collection, see below, and has become garbage since, is collected at the end of all."""
    yield
    with nothing_left_behind(" of something that tests before this one have left"):
        gc.unfreeze()


@pytest.fixture(autouse=True, scope="module")
def later_collections_are_cheap(no_complaints_at_the_end: None) -> Iterator[None]:
    """What outlives a module's tests, such as imported modules, caches and reports, need not be walked after each test
    of the modules that come after it."""
    yield
    gc.freeze()


@pytest.fixture(autouse=True)
def machine_time() -> Iterator[None]:
    """What a test's loops have jumped is not the next one's past."""
    wall_clock.reset()
    yield
    wall_clock.reset()


@pytest.fixture(autouse=True)
def store_behind(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With TRIGGERFLOW_TEST_STORE set, all flows are durable; see `durable.every_flow`."""
    if not KIND:
        yield
        return
    with every_flow_durable(tmp_path_factory.mktemp("stores"), monkeypatch):
        yield


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """What `asyncio.run` does, in virtual time: for sync tests that need a loop which ends."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=virtual_loop) as runner:
            return runner.run(main)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of promises that are not kept yet have to fail; `known_gaps.txt` is the list to work off."""
    lines = (Path(__file__).parent / "known_gaps.txt").read_text(encoding="utf-8").splitlines()
    gaps = {line for line in lines if line and not line.startswith("#")}
    for item in items:
        if item.nodeid in gaps:
            item.add_marker(pytest.mark.xfail(strict=True, reason="a known gap, see tests/known_gaps.txt"))
    if KIND:
        expect_failures(items)
