"""The event log: one producer, any number of consumers, nothing lost and nothing twice."""

import asyncio

import pytest

from triggerflow.models.response.log import EventLog


async def collect(log: EventLog[int], after: int = 0) -> list[int]:
    return [item async for item in log.follow(after)]


async def test_early_late_and_resuming_consumers_see_the_same_items() -> None:
    log: EventLog[int] = EventLog()
    early = asyncio.create_task(collect(log))
    await asyncio.sleep(0)
    log.append(1)
    log.extend([2, 3])
    middle = asyncio.create_task(collect(log))
    await asyncio.sleep(0)
    resuming = asyncio.create_task(collect(log, after=2))
    log.append(4)
    log.close()
    assert await early == await middle == await collect(log) == [1, 2, 3, 4]
    assert await resuming == [3, 4]
    assert [item async for item in log] == [1, 2, 3, 4]
    assert len(log) == 4
    assert log.closed


async def test_a_slow_consumer_holds_nobody_up() -> None:
    log: EventLog[int] = EventLog()
    slow = log.follow()
    log.extend([1, 2])
    assert await anext(slow) == 1
    log.append(3)
    log.close()
    assert await collect(log) == [1, 2, 3]
    assert [item async for item in slow] == [2, 3]


async def test_an_item_arrives_as_soon_as_it_is_recorded() -> None:
    log: EventLog[int] = EventLog()
    reader = log.follow()
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    assert not waiting.done()
    log.append(7)
    assert await waiting == 7
    await reader.aclose()


async def test_an_error_reaches_every_consumer_after_the_last_item() -> None:
    log: EventLog[int] = EventLog()
    log.append(1)
    log.close(ConnectionError("cut"))
    for _ in range(2):
        reader = log.follow()
        assert await anext(reader) == 1
        with pytest.raises(ConnectionError, match="cut"):
            await anext(reader)


async def test_a_closed_log_takes_no_more_and_keeps_its_end() -> None:
    log: EventLog[int] = EventLog()
    log.close()
    log.close(ConnectionError("too late"))
    with pytest.raises(RuntimeError, match="closed"):
        log.append(1)
    assert await collect(log) == []


async def test_a_cancelled_consumer_disturbs_no_other() -> None:
    log: EventLog[int] = EventLog()
    leaving, staying = asyncio.create_task(collect(log)), asyncio.create_task(collect(log))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    log.append(1)
    log.close()
    assert await staying == [1]
    assert leaving.cancelled()


async def test_a_long_replay_lets_others_run() -> None:
    log: EventLog[int] = EventLog()
    log.extend(range(10_000))
    log.close()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    assert await collect(log) == list(range(10_000))
    other.cancel()
    assert turns >= 30


async def test_long_logs_keep_order_and_positions() -> None:
    log: EventLog[int] = EventLog()
    follower = asyncio.create_task(collect(log))
    for start in range(0, 2_000, 100):
        log.extend(range(start, start + 100))
        await asyncio.sleep(0)
    log.extend(range(2_000, 4_000))
    log.close()
    assert len(log) == 4_000
    assert await follower == list(range(4_000))
    for after in (255, 256, 257, 3_999, 4_000):
        assert await collect(log, after) == list(range(after, 4_000))
