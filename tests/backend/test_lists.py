"""Lists of executions: pages without a gap or a double while others are created, filters, counts, ids used again."""

import asyncio
from typing import Any

import pytest

from tests.backend.test_questions import asks, review
from triggerflow import TriggerFlow
from triggerflow.backend import BadRequest, Cancel, StoreBackend, UnknownFlow, error_info
from triggerflow.durable import Worker
from triggerflow.errors import ContractError, ExecutionExists, UnknownExecution
from triggerflow.stores import Store


def doubling(name: str = "doubling") -> TriggerFlow:
    """Doubles a number."""
    flow = TriggerFlow(name)
    flow.set_contract(initial_input=int)

    @flow.chunk("double")
    async def double(data: Any) -> Any:
        if data.value < 0:
            raise ValueError("a negative number")
        return data.value * 2

    flow.to(double).end()
    return flow


async def ids(backend: StoreBackend, limit: int = 100, **of: Any) -> list[str]:
    """The ids of all pages."""
    found, after = list[str](), None
    while True:
        page = await backend.executions(after=after, limit=limit, **of)
        found, after = [*found, *(it.id for it in page.executions)], page.next
        if after is None:
            return found


async def test_pages_have_every_execution_once_while_others_are_created(store: Store) -> None:
    flow = doubling()
    backend = StoreBackend(store, flow)
    before = [(await backend.start("doubling", number, id=f"run-{number}")).id for number in range(25)]

    async def create() -> None:
        for number in range(30):
            await backend.start("doubling", number, id=f"late-{number}")
            await asyncio.sleep(0)

    creating = asyncio.create_task(create())
    found, after = list[str](), None
    while True:
        page = await backend.executions(after=after, limit=4)
        found, after = [*found, *(it.id for it in page.executions)], page.next
        await asyncio.sleep(0)
        if after is None:
            break
    await creating
    assert len(found) == len(set(found))
    assert [id for id in found if id in before] == before[::-1]


async def test_lists_by_what_is_known_of_an_execution(store: Store) -> None:
    flow, other = doubling(), review()
    backend = StoreBackend(store, flow, other)
    await backend.start("doubling", -1, id="bad", labels={"team": "north"})
    await asyncio.sleep(1)
    async with Worker(store, flow, other):
        await backend.start("doubling", 2, id="good", labels={"team": "north", "kind": "test"})
        await backend.start("review", "x", id="asking", labels={"team": "south"})
        await asyncio.sleep(5)
    assert await ids(backend) == ["asking", "good", "bad"]
    assert await ids(backend, 1, flow="doubling") == ["good", "bad"]
    assert await ids(backend, status="failed") == ["bad"]
    assert await ids(backend, status=["completed", "waiting"]) == ["asking", "good"]
    assert await ids(backend, labels={"team": "north", "kind": "test"}) == ["good"]
    assert await ids(backend, text="neg") == ["bad"]
    assert await ids(backend, text="south") == ["asking"]
    created = (await backend.get("good")).created
    assert await ids(backend, since=created) == ["asking", "good"]
    assert await ids(backend, until=created) == ["bad"]
    assert await backend.counts() == {"doubling": {"completed": 1, "failed": 1}, "review": {"waiting": 1}}
    assert [(it.name, it.has_code, it.counts) for it in await StoreBackend(store, flow).flows()] == [
        ("doubling", True, {"completed": 1, "failed": 1}), ("review", False, {"waiting": 1}),
    ]  # fmt: skip
    bad = await backend.result("bad")
    assert bad.error is not None
    assert (bad.error.type, bad.error.chunk) == ("ValueError", "double")
    assert (await backend.result("good")).result == 4
    assert not (await backend.result("asking", wait=1)).ended
    for wrong in (0, 1001):
        with pytest.raises(BadRequest):
            await backend.executions(limit=wrong)


async def test_an_id_that_exists_is_refused_returned_or_followed(store: Store) -> None:
    flow = doubling()
    backend = StoreBackend(store, flow)
    first = await backend.start("doubling", 1, id="one")
    with pytest.raises(ExecutionExists, match="'one'"):
        await backend.start("doubling", 1, id="one")
    assert await backend.start("doubling", 5, id="one", reuse="existing") == first
    assert await backend.start("doubling", 5, id="one", reuse="new_after_end") == first
    async with Worker(store, flow):
        assert (await backend.result("one", wait=10)).result == 2
        second = await backend.start("doubling", 5, id="one", reuse="new_after_end")
        assert second.id == "one.2"
        assert (await backend.result("one.2", wait=10)).result == 10
        started = [backend.start("doubling", 7, id="one", reuse="new_after_end") for _ in range(5)]
        assert {it.id for it in await asyncio.gather(*started)} == {"one.3"}
    assert (await backend.start("doubling", 5, id="one", reuse="existing")).id == "one"


async def test_errors_have_codes(store: Store) -> None:
    backend = StoreBackend(store, doubling(), review())
    await asks(review(), store, "one")
    wrong = {
        "unknown_flow": backend.start("tripling", 1),
        "value_does_not_fit": backend.start("doubling", "two"),
        "unknown_execution": backend.get("two"),
        "execution_exists": backend.start("doubling", 1, id="one"),
        "bad_request": backend.state_at("one", 100),
    }
    for code, call in wrong.items():
        with pytest.raises((UnknownFlow, ContractError, UnknownExecution, ExecutionExists, BadRequest)) as raised:
            await call
        assert error_info(raised.value).code == code
    assert error_info(KeyError("a secret")).message == "the server failed: KeyError"


async def test_arguments_of_a_wrong_type_are_bad_requests(store: Store) -> None:
    flow = doubling()
    backend: Any = StoreBackend(store, flow)
    await backend.start("doubling", 1, id="run")
    calls: list[tuple[Any, str]] = [
        (lambda: backend.executions(status="complete"), "no status 'complete'; did you mean 'completed'"),
        (lambda: backend.executions(since="yesterday"), "since must be a datetime, or seconds since the epoch"),
        (lambda: backend.counts(until="today"), "until must be a datetime, or seconds since the epoch"),
        (lambda: backend.executions(labels="blue"), "labels must be a mapping"),
        (lambda: backend.executions(limit="all"), "not 'all'"),
        (lambda: backend.state_at("run", "yesterday"), "whole numbers, not 'yesterday'"),
        (lambda: backend.state_at("run", 2), "the moments 0 to 1; there is no moment 2"),
        (lambda: anext(backend.frames("run", after="x")), "whole numbers, not 'x'"),
        (lambda: anext(backend.stream("run", after="x")), "whole numbers, not 'x'"),
        (lambda: backend.result("run", wait="long"), "seconds, not 'long'"),
        (lambda: backend.act("run", "cancel"), "a str is no action; there are: Answer, Emit"),
    ]
    for call, words in calls:
        with pytest.raises(BadRequest, match=words):
            await call()
    with pytest.raises(TimeoutError, match=r"is there a Worker\(store, flow\) of that flow"):
        await backend.act("run", Cancel(), wait=0.1)
