"""The contract's lines on signals: order (S1), state (S2), signals that nobody hears (S4)."""

import asyncio
import gc
import logging
import threading
import weakref
from typing import Any

import pytest

from tests.support import now, read, turns
from triggerflow import TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]


# -- S1 --------------------------------------------------------------------------------------------------------------


async def test_s01_signals_are_handled_in_the_order_in_which_they_were_accepted() -> None:
    """S1: "Signals are handled in the order in which they were accepted." Events and state changes alike."""
    flow, seen = TriggerFlow(), list[str]()

    async def source(data: Data) -> None:
        await data.async_emit("b")
        data.state.set("k", 1)
        data.emit("a")
        await data.state.async_set("k", 2)
        await data.async_emit("b")

    async def note(data: Data) -> None:
        seen.append(f"{data.trigger_event}={data.value}")

    flow.to(source)
    for trigger in ("a", "b", {"runtime_data": "k"}):
        flow.when(trigger).to(note)
    await flow.async_start()
    assert seen == ["b=None", "k=1", "a=None", "k=2", "b=None"]


@pytest.mark.parametrize("concurrency", [None, 1, 3])
async def test_s01_order_holds_under_load_and_while_some_chunks_suspend(concurrency: int | None) -> None:
    """S1: "Signals are handled in the order in which they were accepted." 2,000 of them, from two emitters."""
    flow, accepted, started = TriggerFlow(), list[int](), list[int]()

    async def source(data: Data) -> None:
        for number in range(data.value, 2_000, 2):
            accepted.append(number)
            data.emit("item", number)
            if number % 97 == 0:
                await asyncio.sleep(0)

    async def listen(data: Data) -> None:
        started.append(data.value)
        for _ in range(data.value % 7 % 3):
            await asyncio.sleep(0)

    async def even(data: Data) -> int:
        return 0

    async def odd(data: Data) -> int:
        return 1

    flow.to(even).to(source)
    flow.to(odd).to(source)
    flow.when("item").to(listen)
    await flow.async_start(concurrency=concurrency)
    assert len(started) == 2_000
    assert started == accepted


async def test_s01_order_holds_for_signals_from_outside_and_a_chain_at_work_beside_them() -> None:
    """S1: "Signals are handled in the order in which they were accepted.", also when no chunk ever suspends."""
    flow, seen = TriggerFlow(), list[int]()

    async def step(data: Data) -> int:
        return data.value

    async def note(data: Data) -> None:
        seen.append(data.value)

    flow.when(flow.signal("go", external=True)).to(note)
    flow.when("go").to(("one", step)).to(("two", step)).to(("three", step))
    execution = flow.create_execution()
    execution.begin()
    for number in range(500):
        await execution.async_emit("go", number)
        if number % 50 == 0:
            await turns(2)
    await execution.async_close()
    assert seen == list(range(500))


@pytest.mark.parametrize("concurrency", [None, 1, 2])
async def test_s01_the_listeners_of_one_signal_start_in_definition_order(concurrency: int | None) -> None:
    """S1: "The listeners of one signal start in definition order."; for an event, a key of state, a chunk, the
    start."""
    flow, seen = TriggerFlow(), list[str]()

    def named(name: str) -> Any:
        async def listener(data: Data) -> None:
            seen.append(name)
            await asyncio.sleep(1)

        return name, listener

    async def source(data: Data) -> None:
        await data.async_emit("e")
        data.state.set("s", 1)

    first = flow.to(source)
    for number in range(4):
        flow.when("e").to(named(f"e{number}"))
        flow.when({"runtime_data": "s"}).to(named(f"s{number}"))
        first.to(named(f"c{number}"))
        flow.to(named(f"start{number}"))
    await flow.async_start(concurrency=concurrency)
    wanted = [f"{kind}{number}" for kind in ("start", "e", "s", "c") for number in range(4)]
    assert seen == wanted


@pytest.mark.parametrize("kind", ["async", "inline", "thread"])
async def test_s01_a_chunks_own_effects_come_in_program_order_and_before_those_of_what_it_triggers(kind: str) -> None:
    """S1: "A chunk's own effects (state, stream, emits) are seen in program order, before the effects of any chunk that
    they trigger." An effect stands before whatever a later effect of the same chunk sets off."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        data.put_into_stream("put 1")
        data.state.set("k", "mine")
        await data.async_put_into_stream("put 2")
        await data.async_emit("e")
        data.put_into_stream("put 3")

    def sync_source(data: Data) -> None:
        data.put_into_stream("put 1")
        data.state.set("x", "mine")
        data.put_into_stream("put 2")
        data.emit("e")

    async def listener(data: Data) -> None:
        assert data.state.get("k", data.state.get("x")) == "mine"
        await data.async_put_into_stream(f"triggered by {data.trigger_event}")

    flow.to(source if kind == "async" else flow.chunk("source", inline=kind == "inline")(sync_source))
    flow.when("e").to(listener)
    flow.when({"runtime_data": "k"}).to(("on_k", listener))
    items = await read(flow.get_async_runtime_stream())
    puts = [item for item in items if item.startswith("put")]
    assert puts == sorted(puts)
    assert items.index("put 1") < items.index("put 2") < items.index("triggered by e")
    if kind == "async":  # no await of it suspends, so that nothing can come in between
        assert items == ["put 1", "put 2", "put 3", "triggered by k", "triggered by e"]


async def test_s01_a_signal_accepted_before_a_chunk_completes_is_handled_before_its_successor() -> None:
    """S1: "Signals are handled in the order in which they were accepted." A completion is a signal as well."""
    flow, seen = TriggerFlow(), list[str]()

    async def source(data: Data) -> None:
        await data.async_emit("e")
        seen.append("source")

    async def heard(data: Data) -> None:
        seen.append("heard")

    async def after(data: Data) -> None:
        seen.append("after")

    flow.to(source).to(after)
    flow.when("e").to(heard)
    await flow.async_start()
    assert seen == ["source", "heard", "after"]


# -- S2 --------------------------------------------------------------------------------------------------------------


async def change(data: Data, way: str, key: str, value: Any) -> None:
    """The four ways to set one key."""
    match way:
        case "set":
            data.state.set(key, value)
        case "async_set":
            await data.state.async_set(key, value)
        case "thread":
            await asyncio.to_thread(data.state.set, key, value)
        case _:
            data.execution.state.set(key, value)


@pytest.mark.parametrize("way", ["set", "async_set", "thread", "outside"])
async def test_s02_set_and_async_set_do_the_same_thing(way: str) -> None:
    """S2: "`data.state.set(...)` and `await data.state.async_set(...)` do the same thing: they record the change and
    fire `when({"runtime_data": key})`." From a thread and on the handle as well."""
    flow, seen = TriggerFlow(), list[Any]()

    async def source(data: Data) -> None:
        for value in (1, 1, None, [2]):
            await change(data, way, "k", value)
        await change(data, way, "other", 5)
        assert data.state.to_dict() == {"k": [2], "other": 5}

    async def listener(data: Data) -> None:
        seen.append((data.trigger_type, data.trigger_event, data.value))

    flow.to(source)
    flow.when({"runtime_data": "k"}).to(listener)
    execution = flow.create_execution()
    await execution.async_start()
    assert seen == [("runtime_data", "k", value) for value in (1, 1, None, [2])]
    changes = [record for record in execution.records if type(record).__name__ == "StateChanged"]
    assert [(record.key, record.value) for record in changes] == [
        ("k", 1),
        ("k", 1),
        ("k", None),
        ("k", [2]),
        ("other", 5),
    ]


@pytest.mark.parametrize("way", ["set", "async_set", "thread", "outside"])
async def test_s02_neither_blocks_the_loop_nor_waits_for_the_chunks_it_triggered(way: str) -> None:
    """S2: "Neither blocks the loop nor waits for the chunks it triggered."""
    flow, times = TriggerFlow(), dict[str, float]()

    async def source(data: Data) -> None:
        await change(data, way, "k", 1)
        times["set returned"] = now()

    async def listener(data: Data) -> None:
        await asyncio.sleep(100)
        times["listener done"] = now()

    flow.to(source)
    flow.when({"runtime_data": "k"}).to(listener)
    await flow.async_start()
    assert times["set returned"] < 50 < times["listener done"]


@pytest.mark.parametrize(
    ("old", "new"),
    [([1, 2], [2, 3]), ({"a": 1}, {"b": 2}), ([1], 2), (1, [2]), ("x", ""), (1, None), ({"a": {"b": 1}}, {"a": {}})],
)
async def test_s02_set_replaces(old: Any, new: Any) -> None:
    """S2: "`set` replaces." Nothing is merged, and what was set is what is held."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> Any:
        data.state.set("k", old)
        await data.state.async_set("k", new)
        return data.state.get("k", "nothing")

    flow.to(chunk).end()
    assert await flow.async_start() == new


@pytest.mark.parametrize("value", [0, "", None, [], 5])
async def test_s02_delete_removes_any_value_and_fires(value: Any) -> None:
    """S2, for `delete`: a falsy value is a value, and taking it away is a change that fires."""
    flow, seen = TriggerFlow(), list[Any]()

    async def chunk(data: Data) -> None:
        data.state.set("k", value, emit=False)
        assert "k" in data.state
        data.state.delete("k")
        assert "k" not in data.state
        data.state.delete("never there", emit=False)

    async def listener(data: Data) -> None:
        seen.append(data.value)

    flow.to(chunk)
    flow.when({"runtime_data": "k"}).to(listener)
    await flow.async_start()
    assert seen == [None]


async def test_s02_append_leaves_the_list_that_was_set_and_a_value_that_is_no_list_alone() -> None:
    """S2, for `append`: a list that somebody else holds does not grow by it; what is no list is refused."""
    flow, mine = TriggerFlow(), [1]

    async def chunk(data: Data) -> Any:
        data.state.set("k", mine)
        data.state.append("k", 2)
        await data.state.async_append("k", 3)
        await data.state.async_append("new", 4)
        data.state.set("text", "abc")
        with pytest.raises(TypeError, match=r"'text'.*str"):
            data.state.append("text", "d")
        return data.state.to_dict()

    flow.to(chunk).end()
    assert await flow.async_start() == {"k": [1, 2, 3], "new": [4], "text": "abc"}
    assert mine == [1]


async def test_s02_keys_match_as_a_whole_and_emit_false_is_silent() -> None:
    """S2: `when({"runtime_data": key})` is fired by that key, not by its neighbours."""
    flow, seen = TriggerFlow(), list[Any]()

    async def chunk(data: Data) -> None:
        data.state.set("user.name", 1)
        data.state.set("use", 2)
        data.state.set("user", 3, emit=False)
        data.state.set("user", 4)

    async def listener(data: Data) -> None:
        seen.append(data.value)

    flow.to(chunk)
    flow.when({"runtime_data": "user"}).to(listener)
    await flow.async_start()
    assert seen == [4]


# -- S4 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["chunk", "thread", "outside"])
async def test_s04_an_unheard_signal_is_recorded_and_its_name_logged_once(
    source: str, caplog: pytest.LogCaptureFixture
) -> None:
    """S4: "A signal nobody listens to is recorded, and the first of its name is logged as a warning with the nearest
    known name."""
    caplog.set_level(logging.WARNING, "triggerflow")
    flow = TriggerFlow(name="brief")

    async def chunk(data: Data) -> None:
        for name in ("qurey_ready", "qurey_ready", "zzz", "query_ready", "qurey_ready"):
            if source == "chunk":
                await data.async_emit(name)
            elif source == "thread":
                await asyncio.to_thread(data.emit, name)
            else:
                await data.execution.async_emit(name)

    async def listener(data: Data) -> None: ...

    flow.to(chunk)
    flow.when("query_ready").to(listener)
    execution = flow.create_execution()
    execution.begin()
    await execution.async_close()
    texts = [record.getMessage() for record in caplog.records if record.name == "triggerflow"]
    assert len(texts) == 2
    assert "'qurey_ready'" in texts[0]
    assert "'query_ready'" in texts[0]
    assert "brief" in texts[0]
    assert "'zzz'" in texts[1]
    assert "did you mean" not in texts[1]
    names = [record.name for record in execution.records if type(record).__name__ == "Emitted"]
    assert names == ["qurey_ready", "qurey_ready", "zzz", "query_ready", "qurey_ready"]


async def test_s04_a_flood_of_unheard_signals_holds_nobody_up() -> None:
    """S4: unheard signals start nothing, so they neither wait nor make threads or tasks."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> tuple[int, int]:
        before = len(asyncio.all_tasks())
        for _ in range(5_000):
            await data.async_emit("nobody", settle=True)
        return len(asyncio.all_tasks()) - before, threading.active_count()

    flow.to(chunk).end()
    threads = threading.active_count()
    tasks, later = await flow.async_start()
    assert (tasks <= 1, later) == (True, threads), "a commit may be on its way, and nothing else"


async def test_a_waiting_execution_that_nobody_holds_is_gone() -> None:
    """The data that a flow shares keeps nobody alive: an execution whose handle is dropped does not stay for ever."""
    flow = TriggerFlow()
    flow.when({"flow_data": "key"}).to(lambda data: None)
    flow.when(flow.signal("from outside", external=True)).end()
    execution = flow.create_execution()
    execution.begin()
    await asyncio.sleep(1)
    assert execution.get_status() == "waiting"
    left = weakref.ref(execution)
    del execution
    gc.collect()
    assert left() is None
    await flow.async_set_flow_data("key", 1)
