"""Times that are given to the history: right, or refused; never silently nothing."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow.errors import DefinitionError, OptionError, UsageError

Open = Callable[..., Any]


async def ended(store: Any) -> Any:
    flow = TriggerFlow("f")
    flow.to(nothing).end()
    await flow.create_execution(store=store, id="x").async_start(1)
    return flow.history(store)


async def nothing(data: Any) -> None:
    """A chunk that does nothing."""


@pytest.mark.parametrize("hours", [-11, 0, 9])
async def test_a_time_of_any_zone(open_store: Open, hours: int) -> None:
    async with open_store() as store:
        history = await ended(store)
        created = (await store.find("x")).created
        moment = datetime.fromtimestamp(created, UTC).astimezone(timezone(timedelta(hours=hours)))
        minute = timedelta(minutes=1)
        assert await history.executions(since=moment - minute, until=moment + minute)
        assert not await history.executions(since=moment + minute)
        assert not await history.executions(until=moment - minute)
        assert await history.executions(since=created - 1, until=created + 1)


@pytest.mark.parametrize(
    "moment",
    [datetime(2020, 1, 1), date(2020, 1, 1), "2020-01-01T00:00:00Z", True, timedelta(1), Decimal(1), [1.0]],
    ids=lambda it: type(it).__name__,
)
@pytest.mark.parametrize("name", ["since", "until"])
async def test_what_is_no_time_is_refused(open_store: Open, name: str, moment: Any) -> None:
    async with open_store() as store:
        history = await ended(store)
        with pytest.raises(OptionError, match=name):
            await history.executions(**{name: moment})


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), 10.0**15])
async def test_a_number_that_is_no_time_is_refused(open_store: Open, moment: float) -> None:
    async with open_store() as store:
        history = await ended(store)
        with pytest.raises(DefinitionError, match="since"):
            await history.executions(since=moment)


async def test_a_status_that_does_not_exist_is_refused(open_store: Open) -> None:
    async with open_store() as store:
        history = await ended(store)
        with pytest.raises(OptionError, match="did you mean 'completed'"):
            await history.executions(status="complete")
        with pytest.raises(OptionError, match="no status 'done'"):
            await history.executions(status=["failed", "done"])
        assert await history.executions(status="completed")
        assert await history.executions(status=["completed", "failed"])


@pytest.mark.parametrize(
    "age",
    [
        datetime(2020, 1, 1),
        datetime(2020, 1, 1, tzinfo=UTC),
        date(2020, 1, 1),
        "7 days",
        True,
        -1,
        float("nan"),
        float("inf"),
        timedelta(-1),
    ],
    ids=repr,
)
async def test_an_age_that_is_none_deletes_nothing(open_store: Open, age: Any) -> None:
    async with open_store() as store:
        history = await ended(store)
        with pytest.raises(UsageError, match="older_than"):
            await history.prune(older_than=age)
        assert await store.find("x")


@pytest.mark.parametrize("keep", [-1, 1.5, "1", True])
async def test_a_number_of_executions_to_keep_that_is_none(open_store: Open, keep: Any) -> None:
    async with open_store() as store:
        history = await ended(store)
        with pytest.raises(UsageError, match="keep"):
            await history.prune(keep=keep)
        assert await store.find("x")
