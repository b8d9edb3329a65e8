"""Schedules: workers start executions at given times, each tick once.

All in virtual time, so that a year takes a second.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from tests.postgres import needs_postgres, postgres_store, shared_cluster
from tests.support import now
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Schedule, Worker
from triggerflow.durable.schedules import schedule_state
from triggerflow.durable.schedules import schedules as schedules_module
from triggerflow.durable.schedules.schedule_state import ScheduleState, look
from triggerflow.durable.schedules.ticks import Cron, in_utc
from triggerflow.errors import (
    ContractError,
    DefinitionError,
    OptionError,
    PayloadError,
    StoreDamaged,
    StoreUnavailable,
    UnknownSchedule,
    UsageError,
)
from triggerflow.run.environment import machine_time
from triggerflow.stores import MemoryData, MemoryStore
from triggerflow.stores.protocol import ExecutionRow, ScheduleRow, Store

Data = TriggerFlowRuntimeData[Any]
Open = Callable[..., Any]
BERLIN = ZoneInfo("Europe/Berlin")
HOUR, DAY = 3600.0, 86400.0

#: A worker that looks at the store when something is due or has changed: a year has many seconds.
RARELY: dict[str, Any] = {"poll": 40 * DAY}


def report(seconds: float = 0) -> TriggerFlow[Any, Any]:
    """Takes so many seconds and returns its start value."""
    flow: TriggerFlow[Any, Any] = TriggerFlow("report")

    @flow.chunk
    async def work(data: Data) -> Any:
        await asyncio.sleep(seconds)
        return data.value

    flow.to(work).end()
    return flow


@asynccontextmanager
async def working(store: Any, *flows: TriggerFlow[Any, Any], **options: Any) -> AsyncIterator[Store]:
    """A process: an opened store and a worker."""
    async with store as opened, Worker(opened, *flows, **options):
        yield opened


async def wait_until(moment: datetime) -> None:
    await asyncio.sleep(moment.timestamp() - machine_time())


async def started(store: Store) -> list[ExecutionRow]:
    """The executions that schedules have started, the oldest tick first."""
    rows: list[ExecutionRow] = []
    after: str | None = None
    while page := await store.executions(after=after):
        rows += [row for row in page if "schedule" in row.labels]
        after = page[-1].id
    return sorted(rows, key=lambda row: row.labels["tick"])


def ticks_of(rows: list[ExecutionRow], zone: ZoneInfo = BERLIN) -> list[str]:
    return [datetime.fromisoformat(row.labels["tick"]).astimezone(zone).isoformat() for row in rows]


def change_of_clocks(month: int) -> datetime:
    """Noon of the day before the clocks of Berlin are changed, next year."""
    year = datetime.now(UTC).year + 1
    day = datetime(year, month, 31, 12, tzinfo=BERLIN)
    while day.weekday() != 6:
        day -= timedelta(days=1)
    return day - timedelta(days=1)


# -- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.every_store
async def test_a_nightly_schedule_over_both_changes_of_the_clock(open_store: Open) -> None:
    """`cron="30 2 * * *", zone="Europe/Berlin"`: once in each night, also when 2:30 does not exist or exists twice."""
    flow = report()
    async with working(open_store(), flow, **RARELY) as store:
        for month in (3, 10):
            await wait_until(change_of_clocks(month) - timedelta(days=1))
            await flow.async_schedule(f"in-{month}", cron="30 2 * * *", zone="Europe/Berlin", value=month, store=store)
            await wait_until(change_of_clocks(month) + timedelta(days=2))
            await flow.schedules(store).delete(f"in-{month}")
        rows = await started(store)
    shown = [text[5:16] + text[19:] for text in ticks_of(rows)]
    spring, autumn = change_of_clocks(3) + timedelta(days=1), change_of_clocks(10) + timedelta(days=1)
    before, after = timedelta(days=1), timedelta(days=1)
    assert shown == [
        f"{spring - before:%m-%d}T02:30+01:00",
        f"{spring:%m-%d}T03:00+02:00",
        f"{spring + after:%m-%d}T02:30+02:00",
        f"{autumn - before:%m-%d}T02:30+02:00",
        f"{autumn:%m-%d}T02:30+02:00",
        f"{autumn + after:%m-%d}T02:30+01:00",
    ]
    assert {row.status for row in rows} == {"completed"}


async def test_a_year_has_one_start_for_each_day() -> None:
    flow = report()
    async with working(MemoryStore(), flow, **RARELY) as store:
        await wait_until(datetime(change_of_clocks(3).year, 1, 1, tzinfo=BERLIN))
        await flow.async_schedule("nightly", cron="30 2 * * *", zone="Europe/Berlin", store=store)
        await asyncio.sleep(365 * DAY)
        days = [tick[:10] for tick in ticks_of(await started(store))]
        assert len(days) == len(set(days)) == 365


async def test_an_interval_counts_real_seconds_whatever_clocks_show(open_store: Open) -> None:
    flow = report()
    async with working(open_store(), flow, **RARELY) as store:
        noon = change_of_clocks(3)
        await wait_until(noon)
        await flow.async_schedule("daily", every=timedelta(days=1), anchor=noon, zone="Europe/Berlin", store=store)
        await asyncio.sleep(2 * DAY + 60)
        assert [tick[11:] for tick in ticks_of(await started(store))] == ["13:00:00+02:00"] * 2


async def test_a_pace_goes_on_through_a_change_of_the_clock(open_store: Open) -> None:
    flow = report()
    async with working(open_store(), flow, **RARELY) as store:
        await wait_until(change_of_clocks(10))
        await flow.async_schedule("pace", cron="0 * * * *", zone="Europe/Berlin", store=store)
        await asyncio.sleep(DAY + 60)
        moments = [datetime.fromisoformat(row.labels["tick"]).timestamp() for row in await started(store)]
        assert len(moments) == 24
        assert {later - before for before, later in pairwise(moments)} == {HOUR}


async def test_what_a_tick_starts(open_store: Open) -> None:
    """Its id, its labels and its start value."""
    flow = report()
    midnight = datetime(2040, 5, 1, tzinfo=UTC)
    await wait_until(midnight - timedelta(hours=2))
    async with working(open_store(), flow, **RARELY) as store:
        await flow.async_schedule(
            "nightly", cron="0 0 * * *", value={"city": "Bern"}, labels={"team": "blue"}, store=store
        )
        await asyncio.sleep(2 * HOUR + 60)
        [row] = await started(store)
        assert row.id == "nightly@2040-05-01T00:00:00Z"
        assert row.labels == {"team": "blue", "schedule": "nightly", "tick": "2040-05-01T00:00:00+00:00"}
        assert (row.created - midnight.timestamp()) < 1
        assert (await flow.history(store).state_at(row.id)).result == {"city": "Bern"}
        assert [it.id for it in await store.executions(labels={"schedule": "nightly"})] == [row.id]


async def test_since_until_and_limit(open_store: Open) -> None:
    flow = report()
    hour = datetime(2040, 5, 1, 0, 30, tzinfo=UTC)
    await wait_until(hour)
    async with working(open_store(), flow, **RARELY) as store:
        later = {"since": hour + timedelta(hours=2), "until": hour + timedelta(hours=5, minutes=30), "store": store}
        await flow.async_schedule("bounded", cron="0 * * * *", **later)
        await flow.async_schedule("thrice", every=HOUR, limit=3, store=store)
        await asyncio.sleep(12 * HOUR)
        rows = await started(store)
        bounded = [row.labels["tick"][11:16] for row in rows if row.labels["schedule"] == "bounded"]
        assert bounded == ["03:00", "04:00", "05:00", "06:00"]
        assert len([row for row in rows if row.labels["schedule"] == "thrice"]) == 3
        ended = await flow.schedules(store).list()
        assert [(it.id, it.due, it.next) for it in ended] == [("bounded", None, ()), ("thrice", None, ())]


async def test_jitter_delays_a_tick_and_keeps_its_name(open_store: Open) -> None:
    flow = report()
    async with working(open_store(), flow, **RARELY) as store:
        await flow.async_schedule("spread", every=HOUR, jitter=600, store=store)
        await asyncio.sleep(24.5 * HOUR)
        rows = await started(store)
        late = [row.created - datetime.fromisoformat(row.labels["tick"]).timestamp() for row in rows]
        assert len(late) == 24
        assert all(0 <= seconds < 601 for seconds in late)
        assert len({round(seconds) for seconds in late}) > 12


# -- each tick once ---------------------------------------------------------------------------------------------------


async def test_three_workers_start_each_tick_once(open_store: Open) -> None:
    flows = [report(5) for _ in range(3)]
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(working(open_store(), flow, poll=30)) for flow in flows]
        for flow, store in zip(flows, stores, strict=True):  # a service puts its schedules at each start
            await flow.async_schedule("often", every=60, overlap="allow", value=1, store=store)
            await flow.async_schedule("hourly", cron="0 * * * *", overlap="queue", store=store)
        await asyncio.sleep(2 * HOUR + 30)
        rows = await started(stores[0])
    ids = [row.id for row in rows]
    assert len(ids) == len(set(ids))
    assert sum(row.labels["schedule"] == "often" for row in rows) == 120
    assert sum(row.labels["schedule"] == "hourly" for row in rows) == 2
    assert {row.status for row in rows} == {"completed"}


class Dies:
    """A store whose process dies at the n-th write of a schedule, before it is written or after it."""

    def __init__(self, store: Any, number: int, *, written: bool) -> None:
        self.store, self.number, self.written = store, number, written
        self.dead = asyncio.Event()

    @property
    def owner(self) -> str:
        return self.store.owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def put_schedule(self, schedule: ScheduleRow, **options: Any) -> None:
        self.number -= 1
        if self.number == 0:
            if self.written:
                await self.store.put_schedule(schedule, **options)
            self.dead.set()
            await asyncio.Event().wait()
        await self.store.put_schedule(schedule, **options)


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("number", [1, 2, 5])
async def test_a_worker_that_dies_at_a_tick_loses_and_doubles_nothing(
    open_store: Open, number: int, written: bool
) -> None:
    flow = report(5)
    async with open_store() as inner:
        await flow.async_schedule("often", every=60, overlap="allow", store=inner)
        first = now()
        store: Any = Dies(inner, number, written=written)
        worker = Worker(store, flow, poll=30)
        await worker.__aenter__()
        async with asyncio.timeout(HOUR):
            await store.dead.wait()
        await worker.__aexit__(None, None, None)
    async with working(open_store(), flow, poll=30) as store:
        await asyncio.sleep(first + 600 + 30 - now())
        rows = await started(store)
        assert [row.status for row in rows] == ["completed"] * 10
        moments = [datetime.fromisoformat(row.labels["tick"]).timestamp() for row in rows]
        assert {later - before for before, later in pairwise(moments)} == {60}


@needs_postgres
@pytest.mark.real_time
@pytest.mark.parametrize("written", [False, True])
async def test_on_postgres_a_worker_dies_and_two_others_start_each_tick_once(written: bool) -> None:
    flows = [report() for _ in range(3)]
    schema = shared_cluster().schema()
    every_second: dict[str, Any] = {"every": 1, "limit": 5, "overlap": "allow", "missed": "all"}
    async with AsyncExitStack() as stack:
        inner = await stack.enter_async_context(postgres_store(schema))
        dies: Any = Dies(inner, 2, written=written)
        worker = Worker(dies, flows[0])
        await worker.__aenter__()
        await flows[0].async_schedule("often", store=inner, **every_second)
        async with asyncio.timeout(30):
            await dies.dead.wait()
        await worker.__aexit__(None, None, None)
        stores = [await stack.enter_async_context(working(postgres_store(schema), flow)) for flow in flows[1:]]
        async with asyncio.timeout(30):
            while [row.status for row in await started(stores[0])].count("completed") < 5:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        moments = [datetime.fromisoformat(row.labels["tick"]).timestamp() for row in await started(stores[0])]
        assert [later - before for before, later in pairwise(moments)] == [1, 1, 1, 1]


async def test_a_store_that_fails_for_a_while_loses_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, store = report(), MemoryStore()
    put = store.put_schedule

    async def fails(*arguments: Any, **options: Any) -> None:
        raise StoreUnavailable("the disk is full")

    async with working(store, flow, poll=10):
        await flow.async_schedule("often", every=60, overlap="allow", missed="all", store=store)
        monkeypatch.setattr(store, "put_schedule", fails)
        await asyncio.sleep(300)
        assert not await started(store)
        monkeypatch.setattr(store, "put_schedule", put)
        await asyncio.sleep(330)
        assert len(await started(store)) == 10


# -- ticks that were missed -------------------------------------------------------------------------------------------


@pytest.mark.every_store
@pytest.mark.parametrize(("missed", "count"), [("skip", 0), ("latest", 1), ("all", 8)])
async def test_two_hours_without_a_worker(open_store: Open, missed: Any, count: int) -> None:
    flow = report()
    begin = datetime(2040, 5, 1, 10, 5, tzinfo=UTC)
    await wait_until(begin)
    async with open_store() as store:
        await flow.async_schedule("quarterly", cron="*/15 * * * *", missed=missed, overlap="allow", store=store)
    await wait_until(begin + timedelta(hours=2))
    async with working(open_store(), flow, poll=30) as store:
        await asyncio.sleep(60)
        assert [row.labels["tick"][11:16] for row in await started(store)] == [
            "10:15", "10:30", "10:45", "11:00", "11:15", "11:30", "11:45", "12:00"
        ][8 - count :]  # fmt: skip
        await wait_until(begin + timedelta(hours=3))  # what comes later does not depend on what was missed
        assert len(await started(store)) == count + 4


async def test_a_tick_that_is_later_than_its_window_is_not_made_up_for(open_store: Open) -> None:
    flow = report()
    begin = datetime(2040, 5, 1, 10, 5, tzinfo=UTC)
    await wait_until(begin)
    async with open_store() as store:
        options: dict[str, Any] = {"missed": "all", "overlap": "allow", "store": store}
        await flow.async_schedule("hourly", cron="0 * * * *", window=timedelta(hours=2, minutes=30), **options)
    await wait_until(begin + timedelta(days=30))
    async with working(open_store(), flow, poll=30) as store:
        await asyncio.sleep(60)
        assert [row.labels["tick"][11:16] for row in await started(store)] == ["08:00", "09:00", "10:00"]


def test_ten_years_of_missed_minutes_are_no_walk_through_all_of_them() -> None:
    """The newest tick is found at once: a worker that comes back would be busy for minutes otherwise."""
    end = datetime(2040, 5, 1, 12, 0, 30, tzinfo=UTC).timestamp()
    state = ScheduleState(cron="* * * * *", seen=end - 3660 * DAY)
    walked = 0

    class Counting(Cron):
        def after(self, moment: float) -> Iterator[float]:
            nonlocal walked
            for tick in super().after(moment):
                walked += 1
                yield tick

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule_state, "Cron", Counting)
        found = look("minutely", state, end)
    assert [in_utc(tick) for tick in found.starts] == ["2040-05-01T12:00:00Z"]
    assert walked < 200


# -- ticks while an execution is running ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlap", "completed", "cancelled", "skipped", "waiting"),
    [("skip", 5, 0, 5, 0), ("queue", 5, 0, 0, 4), ("allow", 9, 0, 0, 0), ("cancel_running", 0, 9, 0, 0)],
)
async def test_ticks_while_an_execution_is_running(
    open_store: Open, overlap: Any, completed: int, cancelled: int, skipped: int, waiting: int
) -> None:
    """A tick a minute for ten minutes, and each execution takes 100 seconds."""
    flow = report(100)
    async with working(open_store(), flow, poll=10) as store:
        await flow.async_schedule("often", every=60, overlap=overlap, store=store)
        await asyncio.sleep(659)
        statuses = [row.status for row in await started(store)]
        schedule = await flow.schedules(store).get("often")
        assert (statuses.count("completed"), statuses.count("cancelled")) == (completed, cancelled)
        assert (schedule.skipped, schedule.waiting) == (skipped, waiting)
        assert schedule.started == len(statuses)


async def test_ticks_that_wait_start_in_their_order_one_after_the_other(open_store: Open) -> None:
    flow = report(100)
    async with working(open_store(), flow, poll=10) as store:
        await flow.async_schedule("often", every=60, overlap="queue", limit=4, store=store)
        await asyncio.sleep(600)
        rows = await started(store)
        assert [row.status for row in rows] == ["completed"] * 4
        assert all(before.updated <= later.created for before, later in pairwise(rows))


async def test_an_execution_that_waits_for_a_person_is_cancelled_for_the_next_tick(open_store: Open) -> None:
    flow: TriggerFlow[Any, Any] = TriggerFlow("asking")

    @flow.chunk
    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="which", payload="?")

    flow.to(ask).end()
    async with working(open_store(), flow, **RARELY) as store:
        await flow.async_schedule("daily", every=DAY, overlap="cancel_running", store=store)
        await asyncio.sleep(3 * DAY + 60)
        assert [row.status for row in await started(store)] == ["cancelled", "cancelled", "waiting"]


async def test_what_another_process_runs_is_cancelled_for_the_next_tick(open_store: Open) -> None:
    flows = [report(100) for _ in range(3)]
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(working(open_store(), flow, poll=10)) for flow in flows]
        await flows[0].async_schedule("often", every=60, overlap="cancel_running", store=stores[0])
        await asyncio.sleep(629)
        assert [row.status for row in await started(stores[0])] == ["cancelled"] * 9 + ["running"]


# -- changes ----------------------------------------------------------------------------------------------------------


async def test_a_schedule_that_is_put_again_goes_on(open_store: Open) -> None:
    """A service puts its schedules at each start: nothing begins anew, and an equal one is not even written."""
    flow = report()
    async with open_store() as store:
        for _ in range(10):  # started again each 20 minutes, and the interval is an hour
            async with Worker(store, flow, poll=30):
                await flow.async_schedule("hourly", every=HOUR, value=1, store=store)
                await asyncio.sleep(1200)
        assert len(await started(store)) == 3
        before = await store.schedule("hourly")
        await flow.async_schedule("hourly", every=HOUR, value=1, store=store)
        assert await store.schedule("hourly") == before


async def test_pause_and_resume(open_store: Open) -> None:
    flow = report()
    async with working(open_store(), flow, poll=30) as store:
        schedules = flow.schedules(store)
        await flow.async_schedule("often", every=60, missed="all", overlap="allow", store=store)
        await asyncio.sleep(150)
        assert (await schedules.pause("often")).paused
        await flow.async_schedule("often", every=60, missed="all", overlap="allow", store=store)  # a service starts
        await asyncio.sleep(600)
        assert len(await started(store)) == 2
        assert (await schedules.get("often")).due is None
        resumed = await schedules.resume("often")
        assert not resumed.paused
        await asyncio.sleep(150)
        assert len(await started(store)) in (4, 5)


async def test_trigger_starts_an_execution_now(open_store: Open) -> None:
    flow = report(50)
    async with working(open_store(), flow, poll=30) as store:
        schedules = flow.schedules(store)
        await flow.async_schedule("yearly", cron="0 0 1 1 *", value="planned", paused=True, store=store)
        one, other = await schedules.trigger("yearly"), await schedules.trigger("yearly", value="by hand")
        await asyncio.sleep(100)
        history = flow.history(store)
        assert [(await history.state_at(id)).result for id in (one, other)] == ["planned", "by hand"]
        schedule = await schedules.get("yearly")
        assert (schedule.started, schedule.latest, schedule.paused) == (0, other, True)


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel_running", "allow"])
async def test_a_schedule_that_is_only_triggered_does_not_grow(overlap: Any) -> None:
    """No tick ever looks at which of its executions have ended."""
    flow = report()
    async with working(MemoryStore(), flow, **RARELY) as store:
        schedules = flow.schedules(store)
        await flow.async_schedule("by hand", every=DAY, paused=True, overlap=overlap, store=store)
        for _ in range(250):
            await schedules.trigger("by hand")
            await asyncio.sleep(1)
        schedule = await schedules.get("by hand")
        assert len(schedule.running) <= schedules_module.MANY_RUNNING
        assert schedule.latest == schedule.running[-1]
        assert len(await started(store)) == 250


async def test_what_was_triggered_counts_as_running(open_store: Open) -> None:
    flow = report(90)
    async with working(open_store(), flow, poll=30) as store:
        await flow.async_schedule("often", every=60, store=store)
        await asyncio.sleep(50)
        await flow.schedules(store).trigger("often")
        await asyncio.sleep(60)
        assert len(await started(store)) == 1
        assert (await flow.schedules(store).get("often")).skipped == 1


async def test_change_keeps_the_other_options(open_store: Open) -> None:
    flow = report()
    async with working(open_store(), flow, **RARELY) as store:
        schedules = flow.schedules(store)
        before = await flow.async_schedule(
            "nightly", cron="0 2 * * *", zone="Europe/Berlin", value=[1], labels={"team": "blue"}, store=store
        )
        after = await schedules.change("nightly", cron="0 3 * * *", overlap="queue")
        changed = {"cron": "0 3 * * *", "overlap": "queue", "due": after.due, "next": after.next}
        assert after == msgspec.structs.replace(before, **changed)
        assert [it.hour for it in after.next] == [3] * 10
        assert (await schedules.change("nightly", every=60)).cron is None


async def test_a_schedule_that_was_deleted_starts_nothing(open_store: Open) -> None:
    flow = report(100)
    async with working(open_store(), flow, poll=30) as store:
        await flow.async_schedule("often", every=60, overlap="allow", store=store)
        await asyncio.sleep(90)
        await flow.schedules(store).delete("often")
        await asyncio.sleep(600)
        assert [row.status for row in await started(store)] == ["completed"]  # what it has started goes on
        with pytest.raises(UnknownSchedule):
            await flow.schedules(store).get("often")


async def test_a_schedule_put_by_another_process_is_started_in_time(open_store: Open) -> None:
    flow, other = report(), report()
    async with working(open_store(), flow, poll=60) as store, open_store() as elsewhere:
        await asyncio.sleep(0.5)
        await other.async_schedule("soon", every=90, store=elsewhere)
        await asyncio.sleep(100)
        [row] = await started(store)
        assert row.created - datetime.fromisoformat(row.labels["tick"]).timestamp() < 2


async def test_many_schedules_of_several_flows(open_store: Open) -> None:
    """More than one page of them, and a worker starts only those of its flows."""
    flow, other = report(), TriggerFlow[Any, Any]("other")
    other.to(other.chunk("nothing")(lambda data: None)).end()
    async with working(open_store(), flow, **RARELY) as store:
        for number in range(120):
            await flow.async_schedule(f"n{number:03}", every=HOUR, anchor=machine_time() + 60, store=store)
        await other.async_schedule("others", every=1, store=store)
        await asyncio.sleep(120)
        assert len(await started(store)) == 120
        assert [it.id for it in await flow.schedules(store).list()] == [f"n{number:03}" for number in range(120)]


def test_in_a_script_without_asyncio() -> None:
    flow, store = report(), MemoryStore()
    with store:
        schedule = flow.schedule("nightly", cron="0 2 * * *", zone="Europe/Berlin", store=store)
        assert isinstance(schedule, Schedule)
        schedules = flow.schedules(store).sync
        assert schedules.pause("nightly").paused
        assert [it.id for it in schedules.list()] == ["nightly"]
        schedules.delete("nightly")
        assert schedules.list() == []


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, OptionError, "either cron= or every="),
        ({"cron": "* * * * *", "every": 60}, OptionError, "either cron= or every=, not both"),
        ({"cron": "61 * * * *"}, DefinitionError, "Bad minute"),
        ({"cron": 5}, OptionError, "must be a string"),
        ({"every": 60, "zone": "Europe/Nowhere"}, DefinitionError, "no time zone"),
        ({"every": 0}, DefinitionError, "more than 0"),
        ({"every": 0.01}, DefinitionError, "a second or more"),
        ({"every": "60"}, OptionError, "number of seconds"),
        ({"every": 60, "overlap": "quue"}, OptionError, "did you mean 'queue'"),
        ({"every": 60, "missed": None}, OptionError, "'skip', 'latest', 'all'"),
        ({"every": 60, "limit": 0}, DefinitionError, "at least 1"),
        ({"every": 60, "until": datetime(2040, 1, 1)}, OptionError, "needs a time zone"),
        ({"every": 60, "since": float("nan")}, DefinitionError, "is no time"),
        ({"every": 60, "jitter": -1}, DefinitionError, "0 or more"),
        ({"every": 60, "labels": {"schedule": "x"}}, OptionError, "is set by the schedule"),
        ({"every": 60, "labels": {"n": 1}}, OptionError, "strings to strings"),
        ({"every": 60, "value": object()}, PayloadError, "start value"),
        ({"every": 60, "value": "x" * 2_000_000}, PayloadError, "bytes"),
        ({"every": 60, "paused": "yes"}, OptionError, "True or False"),
        ({"every": 60, "zones": "UTC"}, OptionError, "did you mean 'zone'"),
    ],
)
async def test_options_that_are_not_valid_are_refused(options: Any, error: Any, words: str) -> None:
    flow = report()
    async with MemoryStore() as store:
        with pytest.raises(error, match=words):
            await flow.async_schedule("x", store=store, **options)
        assert await flow.schedules(store).list() == []


async def test_an_id_belongs_to_one_flow() -> None:
    flow, other = report(), TriggerFlow[Any, Any]("other")
    async with MemoryStore() as store:
        await flow.async_schedule("nightly", every=60, store=store)
        with pytest.raises(UsageError, match="belongs to flow 'report'"):
            await other.async_schedule("nightly", every=60, store=store)
        with pytest.raises(UnknownSchedule):
            await other.schedules(store).get("daily")
        with pytest.raises(OptionError):
            await flow.async_schedule("", every=60, store=store)
    with pytest.raises(UsageError, match="needs a store"):
        await flow.async_schedule("nightly", every=60)


@dataclass
class Order:
    number: int


async def test_a_start_value_has_the_declared_type(open_store: Open) -> None:
    flow = report().set_contract(initial_input=Order)
    async with working(open_store(), flow, poll=30) as store:
        with pytest.raises(ContractError):
            await flow.async_schedule("orders", every=60, value="seven", store=store)
        await flow.async_schedule("orders", every=60, value=Order(7), store=store)
        await asyncio.sleep(90)
        [row] = await started(store)
        assert (await flow.history(store).state_at(row.id)).result == Order(7)


async def test_a_tick_whose_value_does_not_fit_any_more_is_told_and_does_not_stop_the_others(
    open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    old, flow = report(), report().set_contract(initial_input=Order)
    async with working(open_store(), flow, poll=30) as store:
        await old.async_schedule("a", every=60, value="seven", store=store)
        await flow.async_schedule("b", every=60, value=Order(1), store=store)
        await asyncio.sleep(200)
        assert [row.labels["schedule"] for row in await started(store)] == ["b"] * 3
        assert "ContractError" in ((await old.schedules(store).get("a")).error or "")
    assert "schedule 'a' of flow 'report' cannot start" in caplog.text


async def test_a_schedule_that_cannot_be_read_does_not_stop_the_others(
    open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    flow = report()
    async with working(open_store(), flow, poll=30) as store:
        row = ScheduleRow(id="a", flow="report", data=b'{"seen": "never"}', due=1.0, version="1")
        await store.put_schedule(row)
        await flow.async_schedule("b", every=60, store=store)
        await asyncio.sleep(200)
        assert [row.labels["schedule"] for row in await started(store)] == ["b"] * 3
        assert caplog.text.count("schedule 'a' of flow 'report' cannot be used here") == 1
        with pytest.raises(StoreDamaged, match="'a'"):
            await flow.schedules(store).get("a")
        await flow.async_schedule("a", every=60, store=store)
        await asyncio.sleep(90)
        assert "a" in [row.labels["schedule"] for row in await started(store)]


async def test_ticks_that_were_started_before_a_schedule_was_deleted_are_not_started_again(open_store: Open) -> None:
    flow = report()
    begin = datetime(2040, 5, 1, tzinfo=UTC)
    await wait_until(begin)
    async with working(open_store(), flow, poll=30) as store:
        hourly: dict[str, Any] = {"every": HOUR, "anchor": begin, "missed": "all", "overlap": "allow", "store": store}
        await flow.async_schedule("hourly", **hourly)
        row = await store.schedule("hourly")
        assert row is not None
        await asyncio.sleep(3 * HOUR + 60)
        await flow.schedules(store).delete("hourly")
        await store.put_schedule(row)  # an older copy of it, which knows of no tick
        await asyncio.sleep(HOUR)
        assert [it.labels["tick"][11:16] for it in await started(store)] == ["01:00", "02:00", "03:00", "04:00"]


def test_data_over_memory_is_shared() -> None:
    """Two processes over the same data see the same schedules."""
    flow, data = report(), MemoryData()
    with MemoryStore(data) as one:
        flow.schedule("nightly", every=60, store=one)
    with MemoryStore(data) as other:
        assert [it.id for it in flow.schedules(other).sync.list()] == ["nightly"]
