"""Law 6: "the whole behaviour suite passes on memory, SQLite, and SQLite with a crash and recovery injected after
*every* record of each scenario"."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.durable.crashing import Client, DyingStore
from tests.postgres import postgres_store, shared_cluster
from tests.support import drain
from triggerflow.stores.memory import MemoryData, MemoryStore
from triggerflow.stores.sqlite.store import SQLiteStore
from triggerflow.testing import ManualClock
from triggerflow.testing.scenarios import SCENARIOS, Outside, Scenario

LEASE = 30.0


class World:
    """One set of data, and a clock by which each owner is dead when the next one comes."""

    def __init__(self, kind: str, path: Path, stack: AsyncExitStack) -> None:
        self.clock = ManualClock()
        self.data = MemoryData()
        self.kind, self.path = kind, path
        self.schema = shared_cluster().schema() if kind == "postgres" else ""
        self.stack = stack

    async def process(self, records: int | None = None, **options: Any) -> DyingStore:
        """The store of the next process."""
        self.clock.turn(LEASE + 1)
        store: Any
        if self.kind == "memory":
            store = MemoryStore(self.data, lease=LEASE, clock=self.clock)
        elif self.kind == "postgres":
            store = postgres_store(self.schema, lease=LEASE, clock=self.clock)
        else:
            store = SQLiteStore(self.path, synchronous="NORMAL", lease=LEASE, clock=self.clock)
        await self.stack.enter_async_context(store)
        return DyingStore(store, records, **options)


async def lives(world: World, scenario: Scenario, cuts: Sequence[int], **options: Any) -> tuple[Client, int]:
    """Run a scenario through crashes after so many records each, to its end; and how many of them there were."""
    client = Client(scenario)
    try:
        for crashes, records in enumerate(cuts):
            store = await world.process(records, **options)
            if await client.live(store):
                client.check()
                return client, crashes + (store.survives and store.left is None)
        assert await client.live(await world.process(**options))
        client.check()
    except BaseException as error:
        error.add_note(f"{scenario.name}: crashes after {cuts} records, {options}")
        raise
    return client, len(cuts)


async def crash_everywhere(make: Callable[[], World], scenario: Scenario, **options: Any) -> int:
    """A crash after every record there is; how many there are."""
    records, crashes = 0, 1
    while crashes:
        _, crashes = await lives(make(), scenario, [records], **options)
        records += 1
    return records - 1


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], World]]:
    """Makes worlds."""
    stack, count = AsyncExitStack(), 0

    def make() -> World:
        nonlocal count
        count += 1
        return World(request.param, tmp_path / f"{count}.db", stack)

    async with stack:
        yield make


each_scenario = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
in_memory = pytest.mark.parametrize("world", ["memory"], indirect=True)
on_all = pytest.mark.parametrize("world", ["memory", "sqlite", "postgres"], indirect=True)


def each_scenario_with(name: str, values: Collection[str], every: int = 1) -> pytest.MarkDecorator:
    """In `make soak` every scenario with every value; in `make test` every n-th scenario with one of them, by turns."""
    turns = itertools.cycle(values)
    kept = {(scenario, next(turns)) for scenario in list(SCENARIOS)[::every]}
    return pytest.mark.parametrize(
        ("scenario", name),
        [
            pytest.param(
                SCENARIOS[scenario],
                value,
                id=f"{scenario}-{value}",
                marks=[] if (scenario, value) in kept else [pytest.mark.soak],
            )
            for scenario in SCENARIOS
            for value in values
        ],
        indirect=["world"] if name == "world" else [],
    )


WAYS: dict[str, dict[str, Any]] = {
    "unheard": {"unheard": True},
    "slow": {"pace": 0.7},
    "slow, unheard": {"unheard": True, "pace": 0.3},
    "not available": {"survives": True},
    "not available, and on disk": {"survives": True, "unheard": True},
}


@each_scenario
async def test_a_scenario_in_memory(scenario: Scenario) -> None:
    """ "One conformance suite, any driver, any store": what the scenarios expect, first without a store."""
    execution = scenario.make().create_execution(**scenario.options)
    outside = asyncio.create_task(scenario.outside(Outside(execution)))
    reading = asyncio.create_task(drain(execution.get_async_runtime_stream(scenario.value)))
    result, error = None, None
    try:
        result = await execution.async_start(scenario.value)
    except Exception as raised:
        error = raised
    outside.cancel()
    items, _ = await reading
    scenario.check(result=result, error=error, stream=items, state=execution.state.to_dict())


@on_all
@each_scenario
async def test_a_scenario_without_a_crash(world: Callable[[], World], scenario: Scenario) -> None:
    """The same with a store; "everything else of the API stays as it is"."""
    await lives(world(), scenario, [])


@each_scenario_with("world", ["memory", "sqlite"])
async def test_a_crash_after_every_record(world: Callable[[], World], scenario: Scenario) -> None:
    """S18: "Chunks are at-least-once ..., everything recorded is exactly-once"."""
    assert await crash_everywhere(world, scenario) > 2


@each_scenario_with("world", ["postgres"], every=12)
async def test_a_crash_after_every_record_on_postgres(world: Callable[[], World], scenario: Scenario) -> None:
    """The same; each life opens connections, which takes its time."""
    assert await crash_everywhere(world, scenario) > 2


@in_memory
@each_scenario_with("way", WAYS)
async def test_other_ways_to_crash(world: Callable[[], World], scenario: Scenario, way: str) -> None:
    """The commit was on disk, and nobody was told; a disk so slow that much is done between two commits; and a store
    that fails once: "what is on disk stands then, and the next use tries again"."""
    assert await crash_everywhere(world, scenario, **WAYS[way]) > 2


@each_scenario_with("world", ["memory"], every=4)
async def test_two_crashes(world: Callable[[], World], scenario: Scenario) -> None:
    """The second one while the first is being recovered from, or some records later."""
    for first in itertools.count():
        for second in (0, 1, 2, 4):
            _, crashes = await lives(world(), scenario, [first, second])
            if not crashes:
                return
