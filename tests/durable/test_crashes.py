"""Law 6: "the whole behaviour suite passes on memory, SQLite, and SQLite with a crash and recovery injected after
*every* record of each scenario"."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.durable.crashing import Client, DyingStore
from triggerflow.stores.memory import MemoryData, MemoryStore
from triggerflow.stores.sqlite.store import SQLiteStore
from triggerflow.testing import ManualClock
from triggerflow.testing.scenarios import SCENARIOS, Scenario

LEASE = 30.0


class World:
    """One set of data, and a clock by which each owner is dead when the next one comes."""

    def __init__(self, path: Path | None, stack: AsyncExitStack) -> None:
        self.clock = ManualClock()
        self.data = MemoryData()
        self.path = path
        self.stack = stack

    async def process(self, records: int | None = None, **options: Any) -> DyingStore:
        """The store of the next process."""
        self.clock.turn(LEASE + 1)
        store: Any
        if self.path is None:
            store = MemoryStore(self.data, lease=LEASE, clock=self.clock)
        else:
            store = SQLiteStore(self.path, synchronous="NORMAL", lease=LEASE, clock=self.clock)
        await self.stack.enter_async_context(store)
        return DyingStore(store, records, **options)


async def lives(world: World, scenario: Scenario, cuts: Sequence[tuple[int, bool]]) -> tuple[Client, int]:
    """Run a scenario through so many crashes to its end; and how many of them there were."""
    client = Client(scenario)
    for crashes, (records, unheard) in enumerate(cuts):
        if await client.live(await world.process(records, unheard=unheard)):
            return client, crashes
    last = await world.process()
    assert await client.live(last)
    return client, len(cuts)


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], World]]:
    """Makes worlds."""
    stack, count = AsyncExitStack(), 0

    def make() -> World:
        nonlocal count
        count += 1
        return World(tmp_path / f"{count}.db" if request.param == "sqlite" else None, stack)

    async with stack:
        yield make


each_scenario = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
in_memory = pytest.mark.parametrize("world", ["memory"], indirect=True)
on_both = pytest.mark.parametrize("world", ["memory", "sqlite"], indirect=True)


@on_both
@each_scenario
async def test_a_scenario_without_a_crash(world: Callable[[], World], scenario: Scenario) -> None:
    """"One conformance suite, any driver, any store"."""
    client, crashes = await lives(world(), scenario, [])
    client.check()


@in_memory
@each_scenario
@pytest.mark.parametrize("unheard", [False, True], ids=["died", "unheard"])
async def test_a_crash_after_every_record(world: Callable[[], World], scenario: Scenario, unheard: bool) -> None:
    """S18: "Chunks are at-least-once ..., everything recorded is exactly-once"."""
    records, crashes = 0, 1
    while crashes:
        try:
            client, crashes = await lives(world(), scenario, [(records, unheard)])
            client.check()
        except BaseException as error:
            error.add_note(f"{scenario.name}: the crash was after {records} records, unheard={unheard}")
            raise
        records += 1
    assert records > 3
