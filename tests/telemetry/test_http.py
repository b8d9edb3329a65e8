"""Over HTTP: the context of a client's span reaches the journal, and a server's address is a backend to export from."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.client.places import serving
from tests.telemetry.trip import ID, finish, flows_of, spans_of
from triggerflow.backend import StoreBackend
from triggerflow.client import HTTPBackend
from triggerflow.durable import Worker
from triggerflow.server import create_app
from triggerflow.stores import MemoryStore
from triggerflow.telemetry import Telemetry, names


@pytest.mark.real_time
async def test_a_client_is_the_caller_and_can_export() -> None:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    tracer = provider.get_tracer("user")
    flows = flows_of()
    async with MemoryStore() as store, Worker(store, *flows), serving(create_app(flows, store)) as server:
        remote = HTTPBackend(server.url)
        async with Telemetry(remote, exporter, every=0.1):
            with tracer.start_as_current_span("starting") as starting:
                await remote.start("trip", "Rome", id=ID)
            with tracer.start_as_current_span("answering") as answering:
                await finish(remote)
        await remote.aclose()
        spans = await spans_of(StoreBackend(store))
    assert {it.to_json() for it in exporter.get_finished_spans()} == {it.to_json() for it in spans}
    (root,) = [it for it in spans if it.name == "invoke_workflow trip"]
    assert root.parent.span_id == starting.get_span_context().span_id
    (question,) = [it for it in spans if it.name == "question approval"]
    callers = [it.context.span_id for it in question.links if it.attributes[names.LINK] == "caller"]
    assert callers == [answering.get_span_context().span_id]
    provider.shutdown()
