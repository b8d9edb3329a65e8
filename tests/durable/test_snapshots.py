"""Snapshots of a long execution: few of them, none that is needed is gone, and the past can be read."""

from collections.abc import Callable
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow.errors import SnapshotError

Open = Callable[..., Any]


def counting(version: str = "one") -> TriggerFlow:
    """A flow that keeps every number it is sent."""
    flow = TriggerFlow("counting")

    @flow.chunk("note")
    async def note(data: Any) -> None:
        data.state.append("numbers", data.value)

    if version != "one":  # its runs have other numbers, so that records of another version cannot be replayed
        flow.when("number").to(nothing, name=version)
    flow.when(flow.signal("number", external=True)).to(note)
    return flow


async def nothing(data: Any) -> None:
    """A chunk that does nothing."""


async def send(execution: Any, count: int) -> None:
    for number in range(count):
        await execution.async_emit("number", number, settle=number % 100 == 99)
    await execution.async_committed(execution.get_status)


async def snapshots(store: Any, id: str) -> list[tuple[int, int]]:
    """After how many records there are snapshots, the newest first, and how large they are."""
    found: list[tuple[int, int]] = []
    last = (await store.find(id)).records
    while (snapshot := await store.snapshot(id, records=last)) is not None:
        found.append((snapshot[0], len(snapshot[2])))
        last = snapshot[0] - 1
    return found


async def test_the_file_grows_with_what_has_happened(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggerflow.durable.executions.stored.SNAPSHOT_EVERY", 50)
    flow = counting()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="c")
        await execution.async_begin()
        for _ in range(4):
            await send(execution, 400)
        rows = await store.records("c", limit=10**6)
        written = sum(len(data) for _, data in rows)
        kept = await snapshots(store, "c")
        assert len(rows) > 4_800
        assert 3 < len(kept) < 20
        assert sum(size for _, size in kept) < written
        history = flow.history(store)
        numbers = [number for _ in range(4) for number in range(400)]
        for records in (101, 2_011, 4_703):
            state = (await history.state_at("c", records)).state
            assert state["numbers"] == numbers[: len(state["numbers"])]
            assert len(state["numbers"]) >= records // 3 - 1


async def test_an_execution_that_was_moved_twice_without_a_record_keeps_its_past(open_store: Open) -> None:
    async with open_store() as store:
        execution = counting().create_execution(store=store, id="c")
        await execution.async_begin()
        await send(execution, 100)
        past = {records: str(await counting().history(store).state_at("c", records)) for records in (40, 150)}
        await execution.async_suspend()
        for version in ("two", "three"):
            moved = await counting(version).async_resume("c", store=store)
            await moved.async_suspend()
        moved = await counting("three").async_resume("c", store=store)
        await send(moved, 100)
        history = counting("three").history(store)
        assert {records: str(await history.state_at("c", records)) for records in past} == past
        assert len([number async for number, _ in history.journal("c")]) == (await store.find("c")).records
        assert [line async for line in history.lines("c")]


@pytest.mark.parametrize("state", [b'{"a":"\xff"}', b"[" * 5000 + b"]" * 5000], ids=["no UTF-8", "too deep"])
async def test_a_damaged_snapshot_is_told(open_store: Open, state: bytes) -> None:
    flow = counting()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="c")
        await execution.async_begin()
        await send(execution, 3)
        row = await store.find("c")
        await store.put_snapshot("c", row.records, row.definition, b'{"state":%s,"value":1}' % state)
        with pytest.raises(SnapshotError, match="cannot be read"):
            await flow.history(store).state_at("c")
