"""Streams of events: each number once, whenever a reader comes, leaves, is slow, or the server stops."""

import asyncio
import gc
import json
from typing import Any

import pytest

from tests.server.asgi import Client
from tests.server.flows import counter, echo, report
from triggerflow import TriggerFlow
from triggerflow.backend import Answer, Cancel, StoreBackend
from triggerflow.durable import Worker
from triggerflow.server import Grant, Limits, create_app
from triggerflow.server.feeds import Feed
from triggerflow.stores import MemoryStore, Store


async def test_a_reader_gets_each_number_once_and_then_the_end(store: Store) -> None:
    flow = counter(0.1)
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        await client.post("/api/flows/counter/executions", {"id": "c", "value": 20})
        async with client.events("/api/executions/c/stream") as whole:
            await whole.until(lambda it: len(it.data("item")) >= 5)
            async with client.events("/api/executions/c/stream?after=3") as late:
                await whole.rest()
                await late.rest()
        async with client.events("/api/executions/c/frames") as frames:
            await frames.rest()
    assert whole.headers["content-type"] == "text/event-stream"
    assert whole.ids("item") == [str(number) for number in range(1, 21)]
    assert [it["item"] for it in whole.data("item")] == list(range(1, 21))
    assert late.ids("item") == whole.ids("item")[3:]
    for stream in (whole, late, frames):
        assert stream.events[-1].event == "end"
        assert stream.data("end") == [{"status": "completed"}]
    numbers = [it["number"] for it in frames.data("frame")]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("kind", ["frames", "stream", "stream?compact=true"])
async def test_a_reader_that_is_cut_anywhere_goes_on_with_its_last_id(store: Store, kind: str) -> None:
    flow = counter(0.1)
    app = create_app([flow], store)
    client = Client(app)
    path = f"/api/executions/c/{kind}"
    seen: list[str] = []
    async with Worker(store, flow):
        await client.post("/api/flows/counter/executions", {"id": "c", "value": 30})
        last, ended, turns = "0", False, 0
        while not ended:
            turns += 1
            async with client.events(path, last_event_id=last) as stream:
                await stream.until(lambda it: len(it.events) >= 2 or it.data("end"))
            new = [event for event in stream.events if event.event in ("frame", "item")]
            seen += [event.id for event in new]
            last = new[-1].id if new else last
            ended = bool(stream.data("end"))
        async with client.events(path) as whole:
            await whole.rest()
    assert turns > 5
    assert seen == [event.id for event in whole.events[:-1]]


async def test_readers_of_one_execution_share_what_is_read_and_encoded(store: Store) -> None:
    flow = counter(0.01)
    backend = StoreBackend(store, flow)
    reads: list[int] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(backend, name)

        def stream(self, id: str, **options: Any) -> Any:
            reads.append(options["after"])
            return backend.stream(id, **options)

    client = Client(create_app(backend=Counting()))  # pyright: ignore[reportArgumentType]
    async with Worker(store, flow):
        await client.post("/api/flows/counter/executions", {"id": "c", "value": 50})
        async with asyncio.TaskGroup() as tasks:

            async def read() -> list[str]:
                async with client.events("/api/executions/c/stream") as stream:
                    await stream.rest()
                    return stream.ids("item")

            readers = [tasks.create_task(read()) for _ in range(100)]
    assert all(reader.result() == [str(number) for number in range(1, 51)] for reader in readers)
    assert reads == [0]


async def test_a_slow_reader_holds_up_nobody_and_gets_everything(store: Store) -> None:
    flow = counter()
    client = Client(create_app([flow], store, limits=Limits(kept=2000, piece=500)))
    async with Worker(store, flow):
        await client.post("/api/flows/counter/executions", {"id": "c", "value": 300})
        async with client.events("/api/executions/c/stream") as slow, client.events("/api/executions/c/stream") as fast:
            slow.reads.clear()
            await fast.rest()
            assert len(slow.events) < 50
            slow.reads.set()
            await slow.rest()
    assert slow.ids("item") == fast.ids("item") == [str(number) for number in range(1, 301)]
    assert slow.pieces > 10  # no more at a time than a piece


async def test_a_reader_that_takes_nothing_is_cut_off(store: Store) -> None:
    flow = report()
    app = create_app([flow], store, limits=Limits(send_time=5))
    cut: list[Any] = []
    app.streams.abort = cut.append
    client = Client(app)
    async with Worker(store, flow):
        await client.post("/api/flows/report/executions", {"id": "r", "value": "a b c"})
        begin = asyncio.get_running_loop().time()
        async with client.events("/api/executions/r/frames") as stream:
            stream.reads.clear()
            await asyncio.wait_for(stream.done, 60)
        assert 5 <= asyncio.get_running_loop().time() - begin < 10
    assert len(cut) == 1
    assert not app.streams.open


async def test_a_silent_stream_has_heart_beats(store: Store) -> None:
    flow = report()
    client = Client(create_app([flow], store, limits=Limits(heartbeat=15)))
    async with Worker(store, flow):
        await client.post("/api/flows/report/executions", {"id": "r", "value": ""})
        async with client.events("/api/executions/r/stream") as stream, client.events("/api/events") as events:
            await asyncio.sleep(100)
            for it in (stream, events):
                assert 4 <= bytes(it.body).count(b":\n\n") <= 7
            await StoreBackend(store, flow).act("r", Cancel())
            await stream.until(lambda it: it.data("end"))


async def test_a_stream_does_not_live_longer_than_its_token(store: Store) -> None:
    flow = report()
    tokens = {"old": Grant(name="me")}
    app = create_app([flow], store, auth=tokens.get, limits=Limits(stream_time=1000))
    await StoreBackend(store, flow).start("report", "x", id="r")
    client = Client(app, authorization="Bearer old")
    async with client.events("/api/executions/r/frames") as stream, client.events("/api/events") as events:
        await asyncio.sleep(100)
        assert not stream.done.done()
        tokens.clear()
        await stream.done
        await events.done
    assert stream.data("error")[0]["code"] == events.data("error")[0]["code"] == "no_token"


async def test_old_streams_are_ended_with_a_word_that_they_go_on_elsewhere(store: Store) -> None:
    flow = report()
    await StoreBackend(store, flow).start("report", "x", id="r")
    client = Client(create_app([flow], store, limits=Limits(stream_time=60)))
    async with client.events("/api/executions/r/frames") as stream:
        await stream.done
    assert stream.data("error")[0]["again"] is True
    assert not stream.data("end")


async def test_a_server_that_stops_ends_its_streams_and_calls(store: Store) -> None:
    flow = report()
    app = create_app([flow], store)
    client = Client(app)
    await StoreBackend(store, flow).start("report", "x", id="r")
    async with (
        client.events("/api/executions/r/frames") as stream,
        client.events("/api/events") as events,
        client.events("/api/executions/r/frames") as stuck,
        client.open("GET", "/api/executions/r/result?wait=300") as call,
    ):
        await stream.until(lambda it: it.events)
        await events.until(lambda it: it.events)
        stuck.reads.clear()
        await asyncio.sleep(0.1)
        await app.stop()
        for it in (stream, events, stuck, call):
            await asyncio.wait_for(it.done, 2)
        assert (await client.get("/api/flows")).code == "stopping"
        assert (await client.get("/ready")).status == 503
    for it in (stream, events):
        problem = it.data("error")[0]
        assert (problem["code"], problem["again"]) == ("stopping", True)
        assert it.decoder.retry is not None
    assert (call.status, json.loads(call.body)["code"]) == (503, "stopping")


async def test_a_server_that_stops_does_not_wait_for_an_execution_whose_stream_has_ended(store: Store) -> None:
    flow = TriggerFlow("silent")

    @flow.chunk("speak")
    async def speak(data: Any) -> None:
        await data.async_put_into_stream("all")
        await data.async_stop_stream()
        data.pause_for(interrupt_id="go")

    flow.to(speak).end()
    app = create_app([flow], store)
    async with Worker(store, flow), Client(app).events("/api/flows/silent/run", "POST", {}) as stream:
        await stream.until(lambda it: it.data("item"))
        await asyncio.sleep(1)
        await app.stop()
        await asyncio.wait_for(stream.done, 2)
    assert stream.data("error")[0]["code"] == "stopping"


async def test_a_number_that_has_not_come_is_told_to_read_anew(store: Store) -> None:
    flow = echo()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        await client.post("/api/flows/echo/executions", {"id": "e"})
        async with client.events("/api/executions/e/frames", last_event_id="99") as stream:
            await stream.rest()
    assert stream.data("resync") == [{"after": 0}]
    assert stream.ids("frame")[0] == "1"
    for last in (" ", "x", "-1", "1.5", "9" * 20):
        answer = await client.get("/api/executions/e/frames", accept="text/event-stream", last_event_id=last)
        assert answer.status == 400


async def test_a_feed_that_all_have_left_serves_who_comes_then(store: Store) -> None:
    """A reader that is told to read anew joins later than it has found its feed."""
    flow = counter(0.1)
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        await client.post("/api/flows/counter/executions", {"id": "c", "value": 20})
        path = "/api/executions/c/stream"
        async with client.events(path, last_event_id="999") as late:
            late.reads.clear()
            async with client.events(path) as other:
                await other.until(lambda it: len(it.events) >= 3)
            late.reads.set()
            await late.rest()
    assert late.data("resync") == [{"after": 0}]
    assert late.ids("item") == [str(number) for number in range(1, 21)]


async def test_a_reader_that_goes_before_it_has_begun_leaves_no_feed(store: Store) -> None:
    flow = echo()
    await StoreBackend(store, flow).start("echo", 1, id="e")
    client = Client(create_app([flow], store, limits=Limits(send_time=1.0)))
    async with client.events("/api/executions/e/frames", last_event_id="99") as stream:
        stream.reads.clear()
        await stream.done  # it was cut off while it was told to read anew
    gc.collect()
    assert [it for it in gc.get_objects() if isinstance(it, Feed)] == []


async def test_what_is_not_there_is_a_problem_and_no_stream(store: Store) -> None:
    client = Client(create_app([echo()], store))
    for path in ("/api/executions/zz/frames", "/api/executions/zz/stream", "/api/events?execution=zz"):
        answer = await client.get(path, accept="text/event-stream")
        assert (answer.status, answer.code) == (404, "unknown_execution")


# -- the events of a page ----------------------------------------------------------------------------------------------


async def test_one_stream_tells_what_has_changed_and_the_frames_of_one_execution(store: Store) -> None:
    flow = report()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        await client.post("/api/flows/report/executions", {"id": "r", "value": "x"})
        async with client.events("/api/events?execution=r&frames=1") as stream:
            await stream.until(lambda it: any("questions" in frame for frame in it.data("frame")))
            await client.post("/api/flows/report/executions", {"id": "other", "value": "x"})
            await stream.until(lambda it: any("other" in change["executions"] for change in it.data("changes")))
            await StoreBackend(store, flow).act("r", Answer(question="approve", value=True))
            await stream.until(lambda it: it.data("frame")[-1]["status"] == "completed")
            await stream.until(lambda it: ":" in it.decoder.id)
            last, first = stream.decoder.id, stream.data("frame")
            assert not stream.done.done()
        await client.post("/api/flows/report/executions", {"id": "meanwhile", "value": "x"})
        async with client.events("/api/events?execution=r&frames=1", last_event_id=last) as again:
            await again.until(lambda it: any("meanwhile" in change["executions"] for change in it.data("changes")))
    assert [frame["number"] for frame in first] == list(range(2, 2 + len(first)))
    assert again.data("frame") == []


async def test_a_cursor_gives_what_has_changed_since_and_an_unknown_one_resync(store: Store) -> None:
    flow = echo()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        async with client.events("/api/events") as stream:
            await stream.until(lambda it: it.events)
            cursor = stream.data("changes")[0]["cursor"]
            assert stream.data("changes")[0]["executions"] == []
        await client.post("/api/flows/echo/executions", {"id": "e"})
        async with client.events(f"/api/events?after={cursor}") as one, client.events("/api/events?after=zz") as other:
            await one.until(lambda it: any("e" in change["executions"] for change in it.data("changes")))
            await other.until(lambda it: it.data("resync"))
            assert other.decoder.id == other.data("resync")[0]["after"]
            await client.post("/api/flows/echo/executions", {"id": "later"})
            await other.until(lambda it: any("later" in change["executions"] for change in it.data("changes")))


async def test_an_execution_that_runs_again_is_followed_again() -> None:
    failing = {"now": True}
    flow = echo("flaky")

    @flow.chunk("fails")
    async def fails(data: Any) -> int:
        if failing["now"]:
            raise ValueError("not yet")
        return 1

    flow.to(fails)
    async with MemoryStore() as store, Worker(store, flow):
        client = Client(create_app([flow], store))
        await client.post("/api/flows/flaky/executions", {"id": "f"})
        async with client.events("/api/events?execution=f") as stream:
            await stream.until(lambda it: it.data("frame") and it.data("frame")[-1]["status"] == "failed")
            failing["now"] = False
            await client.post("/api/executions/f/retry")
            await stream.until(lambda it: it.data("frame")[-1]["status"] == "completed")
        numbers = [frame["number"] for frame in stream.data("frame")]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_a_backend_that_fails_ends_the_streams_with_the_error(store: Store) -> None:
    flow = report()
    backend = StoreBackend(store, flow)
    await backend.start("report", "x", id="r")

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(backend, name)

        async def changes(self, after: str | None = None, **options: Any) -> Any:
            if after is None:
                return await backend.changes()
            await asyncio.sleep(0 if after == "x" else 10)
            raise RuntimeError("a secret")

        async def frames(self, id: str, **options: Any) -> Any:
            async for frame in backend.frames(id, **options):
                yield frame
                raise RuntimeError("a secret")

    client = Client(create_app(backend=Failing()))  # pyright: ignore[reportArgumentType]
    for path in ("/api/events", "/api/events?after=x", "/api/executions/r/frames", "/api/events?execution=r"):
        async with client.events(path) as stream:
            await asyncio.wait_for(stream.rest(), 60)
        assert stream.data("error")[0]["code"] == "internal"
        assert "secret" not in bytes(stream.body).decode()
