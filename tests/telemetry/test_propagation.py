"""Trace context: "carried from the caller through emits and resumes", over processes, and into chunks."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.telemetry.trip import ID, asked_by, finish, flows_of, spans_of
from triggerflow import TriggerFlow
from triggerflow.backend import Answer, Cancel, Emit, Retry, StoreBackend
from triggerflow.durable import Worker
from triggerflow.stores import MemoryData, MemoryStore
from triggerflow.telemetry import carrying, current_traceparent, names, propagate

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


@pytest.fixture
def user() -> Iterator[InMemorySpanExporter]:
    """What a program exports by itself; it is connected with the engine."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    stop = propagate()
    exporter.tracer = provider.get_tracer("user")  # type: ignore[attr-defined]
    yield exporter
    stop()
    provider.shutdown()


def tracer_of(user: Any) -> trace.Tracer:
    return user.tracer


def asking() -> TriggerFlow:
    """Waits for a signal, then asks; a second signal fails it."""
    flow = TriggerFlow("asking")

    @flow.chunk("ask")
    async def ask(data: Any) -> None:
        data.pause_for(type="form", interrupt_id="form")

    @flow.chunk("break")
    async def broken(data: Any) -> None:
        if data.attempt == 1:
            raise KeyError("broken")

    flow.signal("go", int, external=True)
    flow.signal("break", int, external=True)
    flow.when("go").to(ask).end()
    flow.when("break").to(broken)
    return flow


async def echo(data: Any) -> Any:
    return data.value


async def two(data: Any) -> list[int]:
    return [1, 2]


async def tell(data: Any) -> str | None:
    return current_traceparent()


def caller_links(spans: list[Any], name: str) -> list[tuple[int, int]]:
    return [
        (link.context.trace_id, link.context.span_id)
        for span in spans
        if span.name == name
        for link in span.links
        if link.attributes[names.LINK] == "caller"
    ]


async def test_the_header_of_a_caller_is_the_parent_without_any_tracer() -> None:
    async with MemoryStore() as store:
        flows = flows_of()
        backend = StoreBackend(store, *flows)
        async with Worker(store, *flows):
            with carrying(CALLER):
                await backend.start("trip", id=ID)
            await finish(backend)
        spans = await spans_of(backend)
    assert {span.context.trace_id for span in spans} == {TRACE}
    root = next(span for span in spans if span.name == "invoke_workflow trip")
    assert root.parent.span_id == SPAN
    assert root.parent.is_remote


@pytest.mark.parametrize("how", ["submit", "backend", "create"])
async def test_the_current_span_is_the_parent_however_an_execution_is_started(
    user: InMemorySpanExporter, how: str
) -> None:
    async with MemoryStore() as store:
        flow = TriggerFlow("short")
        flow.to(echo).end()
        flow.set_store(store)
        with tracer_of(user).start_as_current_span("caller") as caller:
            if how == "submit":
                await flow.async_submit(1, id=ID)
            elif how == "backend":
                await StoreBackend(store, flow).start("short", 1, id=ID)
            else:
                await flow.create_execution(id=ID).async_start(1)
        async with Worker(store, flow):
            backend = StoreBackend(store, flow)
            await backend.result(ID, wait=10)
        spans = await spans_of(backend)
    (root,) = [span for span in spans if span.name == "invoke_workflow short"]
    context = caller.get_span_context()
    assert (root.context.trace_id, root.parent.span_id) == (context.trace_id, context.span_id)


async def test_signals_answers_and_cancellations_are_linked_to_their_callers_over_processes(
    user: InMemorySpanExporter,
) -> None:
    data, flow = MemoryData(), asking()
    async with MemoryStore(data) as here, MemoryStore(data) as there, Worker(there, flow):
        backend = StoreBackend(here)
        await StoreBackend(there, flow).start("asking", id=ID)
        contexts: list[tuple[int, int]] = []
        for action in (Emit(name="go", value=1), Answer(question="form", value=1)):
            with tracer_of(user).start_as_current_span("caller") as caller:
                context = caller.get_span_context()
                contexts.append((context.trace_id, context.span_id))
                await backend.act(ID, action)
            if isinstance(action, Emit):
                await asked_by(backend)
        await backend.result(ID, wait=10)
        spans = await spans_of(backend)
    assert caller_links(spans, "signal go") == contexts[:1]
    assert caller_links(spans, "question form") == contexts[1:]
    (root,) = [span for span in spans if span.name == "invoke_workflow asking"]
    assert root.parent is None  # the worker's process has started it outside of any span


async def test_a_retry_is_linked_to_its_caller(user: InMemorySpanExporter) -> None:
    async with MemoryStore() as store:
        flow = asking()
        backend = StoreBackend(store, flow)
        async with Worker(store, flow):
            await backend.start("asking", id=ID)
            await backend.act(ID, Emit(name="break", value=1))
            await backend.result(ID, wait=10)
            with tracer_of(user).start_as_current_span("retrying") as caller:
                await backend.act(ID, Retry())
            with tracer_of(user).start_as_current_span("cancelling") as cancelling:
                await backend.act(ID, Cancel())
        spans = await spans_of(backend)
    contexts = [caller.get_span_context(), cancelling.get_span_context()]
    assert caller_links(spans, "invoke_workflow asking") == [(it.trace_id, it.span_id) for it in contexts]


async def test_a_request_that_is_repeated_in_another_span_is_the_same_one(user: InMemorySpanExporter) -> None:
    async with MemoryStore() as store:
        flow = asking()
        backend = StoreBackend(store, flow)
        async with Worker(store, flow):
            await backend.start("asking", id=ID)
            for _ in range(2):
                with tracer_of(user).start_as_current_span("caller"):
                    await backend.act(ID, Emit(name="go", value=1), request="once")
            await asked_by(backend)
        assert len((await backend.questions()).questions) == 1


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_spans_of_users_are_inside_of_the_span_of_their_chunk(user: InMemorySpanExporter, kind: str) -> None:
    flow = TriggerFlow("nesting")
    tracer = tracer_of(user)

    async def in_loop(data: Any) -> Any:
        with tracer.start_as_current_span(f"inside {data.value}"):
            await asyncio.sleep(0.1)
        return data.value

    def in_thread(data: Any) -> Any:
        with tracer.start_as_current_span(f"inside {data.value}"):
            return data.value

    flow.to(two).for_each().to(in_loop if kind == "async" else in_thread, name="work").end_for_each().end()
    async with MemoryStore() as store:
        backend = StoreBackend(store, flow)
        async with Worker(store, flow):
            with tracer.start_as_current_span("caller"):
                await backend.start("nesting", id=ID)
            await backend.result(ID, wait=10)
        spans = await spans_of(backend)
    inside = [span for span in user.get_finished_spans() if span.name.startswith("inside")]
    works = [span for span in spans if span.name == "chunk work"]
    assert len(works) == 2
    assert {span.parent.span_id for span in inside if span.parent} == {span.context.span_id for span in works}
    assert {span.context.trace_id for span in inside if span.context} == {spans[0].context.trace_id}
    assert current_traceparent() is None


async def test_an_execution_that_a_chunk_starts_is_a_child_of_that_chunk(user: InMemorySpanExporter) -> None:
    async with MemoryStore() as store:
        inner = TriggerFlow("inner")
        inner.to(echo).end()
        outer = TriggerFlow("outer")

        @outer.chunk("start")
        async def start(data: Any) -> Any:
            await StoreBackend(store, inner).start("inner", 1, id="inner-1")

        outer.to(start).end()
        backend = StoreBackend(store, inner, outer)
        async with Worker(store, inner, outer):
            await backend.start("outer", id=ID)
            await backend.result(ID, wait=10)
            await backend.result("inner-1", wait=10)
        (chunk,) = [span for span in await spans_of(backend) if span.name == "chunk start"]
        (root,) = [span for span in await spans_of(backend, "inner-1") if span.name == "invoke_workflow inner"]
    assert root.parent.span_id == chunk.context.span_id
    assert root.context.trace_id == chunk.context.trace_id


async def test_in_memory_chunks_stay_in_the_span_of_the_caller(user: InMemorySpanExporter) -> None:
    flow = TriggerFlow("plain")
    flow.to(tell).end()
    with tracer_of(user).start_as_current_span("caller") as caller:
        told = await flow.async_start()
    assert told is not None
    assert f"{caller.get_span_context().span_id:016x}" in told


@pytest.mark.parametrize("header", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "é" * 20, "x" * 5000])
async def test_a_header_that_names_no_span_does_no_harm(header: str) -> None:
    async with MemoryStore() as store:
        flow = TriggerFlow("short")
        flow.to(echo).end()
        backend = StoreBackend(store, flow)
        async with Worker(store, flow):
            with carrying(header):
                await backend.start("short", id=ID)
            await backend.result(ID, wait=10)
        spans = await spans_of(backend)
    assert [span.parent for span in spans if span.name.startswith("invoke")] == [None]
