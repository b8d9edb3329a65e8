"""`Telemetry`: spans while they end, "resumable from a cursor, at-least-once with equal ids", and metrics."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.telemetry.trip import ID, asked_by, finish, flows_of, spans_of
from triggerflow import TriggerFlow
from triggerflow.backend import BadRequest, ChangesInfo, StoreBackend
from triggerflow.durable import Worker
from triggerflow.stores import MemoryStore
from triggerflow.telemetry import Telemetry, carrying, export_all, names


class Failing(InMemorySpanExporter):
    """Takes nothing the first times."""

    def __init__(self, times: int, *, raises: bool = False) -> None:
        super().__init__()
        self.left, self.raises = times, raises

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.left -= 1
        if self.left < 0:
            return super().export(spans)
        if self.raises:
            raise ConnectionError("no collector")
        return SpanExportResult.FAILURE


def texts(spans: Sequence[ReadableSpan]) -> list[str]:
    return sorted(span.to_json() for span in spans)


async def run_trip(backend: StoreBackend) -> None:
    await backend.start("trip", "Rome", id=ID)
    await finish(backend)


async def test_what_is_exported_live_is_what_is_exported_later() -> None:
    async with MemoryStore() as store:
        flows, exporter = flows_of(), InMemorySpanExporter()
        backend = StoreBackend(store, *flows)
        async with Telemetry(backend, exporter, every=0.1), Worker(store, *flows):
            await run_trip(backend)
        assert texts(exporter.get_finished_spans()) == texts(await spans_of(backend))


async def test_spans_come_while_the_execution_runs() -> None:
    async with MemoryStore() as store:
        flows, exporter = flows_of(), InMemorySpanExporter()
        backend = StoreBackend(store, *flows)
        async with Telemetry(backend, exporter) as telemetry, Worker(store, *flows):
            await backend.start("trip", "Rome", id=ID)
            await asked_by(backend)
            await telemetry.flush()
            assert "chunk confirm" in [span.name for span in exporter.get_finished_spans()]
            assert (await backend.get(ID)).status != "completed"


async def test_another_one_goes_on_from_the_cursor() -> None:
    async with MemoryStore() as store:
        flows, exporter, saved = flows_of(), InMemorySpanExporter(), list[str]()
        backend = StoreBackend(store, *flows)
        async with Worker(store, *flows):
            async with Telemetry(backend, exporter, every=0.1, saved=saved.append):
                await backend.start("trip", "Rome", id=ID)
                await asked_by(backend)
            await finish(backend)  # nobody looks
            async with Telemetry(backend, exporter, after=saved[-1]) as again:
                assert again.cursor == saved[-1]
        found = exporter.get_finished_spans()
        assert set(texts(found)) == set(texts(await spans_of(backend)))
        assert len({span.context.span_id for span in found if span.context}) == len(await spans_of(backend))


@pytest.mark.parametrize("raises", [False, True])
async def test_an_exporter_that_fails_gets_everything_later(raises: bool, caplog: pytest.LogCaptureFixture) -> None:
    async with MemoryStore() as store:
        flows, exporter = flows_of(), Failing(3, raises=raises)
        backend = StoreBackend(store, *flows)
        async with Telemetry(backend, exporter, every=0.1), Worker(store, *flows):
            await run_trip(backend)
            await asyncio.sleep(60)
        assert set(texts(exporter.get_finished_spans())) == set(texts(await spans_of(backend)))
    assert caplog.text.count("no spans are exported now") == 1


async def test_an_execution_that_cannot_be_read_does_not_keep_others_back(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(StoreBackend):
        async def frames(self, id: str, *, after: int = 0, follow: bool = False) -> Any:
            if id == "broken":
                raise BadRequest("its records are damaged")
            async for frame in super().frames(id, after=after, follow=follow):
                yield frame

    async with MemoryStore() as store:
        flows, exporter = flows_of(), InMemorySpanExporter()
        backend = Broken(store, *flows)
        async with Telemetry(backend, exporter, every=0.1), Worker(store, *flows):
            await backend.start("trip", "Oslo", id="broken", delay=1000)
            await run_trip(backend)
        assert texts(exporter.get_finished_spans()) == texts(await spans_of(backend))
    assert "'broken' cannot be read" in caplog.text


async def test_the_execution_of_a_caller_that_is_not_sampled_is_left_out() -> None:
    async with MemoryStore() as store:
        flows, exporter = flows_of(), InMemorySpanExporter()
        backend = StoreBackend(store, *flows)
        async with Telemetry(backend, exporter), Worker(store, *flows):
            with carrying("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"):
                await backend.start("trip", "Rome", id=ID)
            await finish(backend)
        await export_all(backend, exporter)
        assert not exporter.get_finished_spans()
        assert await spans_of(backend)  # whoever asks for this one gets it


async def test_everything_can_be_exported_and_then_what_has_changed() -> None:
    async with MemoryStore() as store:
        flow, exporter = TriggerFlow("short"), InMemorySpanExporter()
        flow.to(lambda data: data.value, name="echo").end()
        backend = StoreBackend(store, flow)
        async with Worker(store, flow):
            for number in range(3):
                await backend.start("short", number, id=f"short-{number}")
                await backend.result(f"short-{number}", wait=10)
            cursor = await export_all(backend, exporter)
            assert len(exporter.get_finished_spans()) == 6
            exporter.clear()
            await backend.start("short", 3, id="short-3")
            await backend.result("short-3", wait=10)
        await export_all(backend, exporter, after=cursor)
        assert {(span.attributes or {})[names.EXECUTION] for span in exporter.get_finished_spans()} == {"short-3"}
        with pytest.raises(BadRequest, match="no cursor"):
            await export_all(backend, exporter, after="nonsense")


def measured(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}


async def test_metrics_count_what_happens_once() -> None:
    async with MemoryStore() as store:
        flows, reader = flows_of(), InMemoryMetricReader()
        provider = MeterProvider([reader])
        backend = StoreBackend(store, *flows)
        async with Telemetry(backend, meter_provider=provider, every=0.1) as telemetry, Worker(store, *flows):
            await backend.start("trip", "Rome", id=ID)
            await asked_by(backend)
            await asyncio.sleep(100)
            found = measured(reader)
            (asked,) = found[names.QUESTIONS]
            assert (asked.attributes, asked.value) == ({names.WORKFLOW_NAME: "trip"}, 1)
            assert 80 < found[names.OLDEST_QUESTION][0].value <= 101
            await finish(backend)
            cursor = telemetry.cursor
        found = measured(reader)
        started = {it.attributes[names.WORKFLOW_NAME]: it.value for it in found[names.STARTED]}
        ended = {
            (it.attributes[names.WORKFLOW_NAME], it.attributes[names.STATUS]): it.value for it in found[names.ENDED]
        }
        assert started == {"trip": 1, "book": 1}
        assert ended == {("trip", "completed"): 1, ("book", "completed"): 1}
        seconds = {(it.attributes[names.CHUNK], it.attributes[names.OUTCOME]): it for it in found[names.CHUNK_SECONDS]}
        assert {key: it.count for key, it in seconds.items()} == {
            ("plan", "failed"): 1,
            ("plan", "completed"): 1,
            ("look", "completed"): 2,
            ("confirm", "asked"): 1,
            ("pay", "completed"): 1,
        }
        assert {it.attributes["triggerflow.timer"]: it.count for it in found[names.LATENESS]} == {"retry": 1}
        statuses = {it.attributes[names.STATUS]: it.value for it in found[names.EXECUTIONS]}
        assert statuses["completed"] == 1
        async with Telemetry(backend, meter_provider=provider, after=cursor):  # what was counted is not counted again
            pass
        assert {it.value for it in measured(reader)[names.STARTED]} == {1}
        provider.shutdown()


async def test_overdue_work_is_seen_where_no_worker_runs() -> None:
    async with MemoryStore() as store:
        flow, reader = TriggerFlow("short"), InMemoryMetricReader()
        flow.to(lambda data: data.value, name="echo").end()
        provider = MeterProvider([reader])
        backend = StoreBackend(store, flow)
        await backend.start("short", 1, delay=10)
        async with Telemetry(backend, meter_provider=provider):
            await asyncio.sleep(110)
        (overdue,) = measured(reader)[names.OVERDUE]
        assert overdue.value == pytest.approx(100, abs=1)
        provider.shutdown()


async def test_where_the_cursor_has_expired_everything_is_looked_at_again() -> None:
    class Expired(StoreBackend):
        async def changes(self, after: str | None = None, *, wait: float = 300) -> ChangesInfo:
            found = await super().changes(wait=0)
            if after == found.cursor:
                return await super().changes(after, wait=wait)
            return ChangesInfo(cursor=found.cursor, executions=[], resync=True)

    async with MemoryStore() as store:
        flows, exporter = flows_of(), InMemorySpanExporter()
        backend = StoreBackend(store, *flows)
        async with Worker(store, *flows):
            cursor = await export_all(backend, InMemorySpanExporter())
            await run_trip(backend)
        async with Telemetry(Expired(store, *flows), exporter, after=cursor):
            pass
        assert texts(exporter.get_finished_spans()) == texts(await spans_of(backend))


async def test_an_exporter_is_called_outside_of_spans_and_without_instrumentation() -> None:
    class Looking(InMemorySpanExporter):
        seen: ClassVar[set[tuple[bool, bool]]] = set()

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            suppressed = bool(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))  # noqa: SLF001 - it has no other name
            self.seen.add((trace.get_current_span().get_span_context().is_valid, suppressed))
            return super().export(spans)

    async with MemoryStore() as store:
        flows, exporter = flows_of(), Looking()
        backend = StoreBackend(store, *flows)
        with TracerProvider().get_tracer("user").start_as_current_span("around"):
            async with Telemetry(backend, exporter, every=0.1), Worker(store, *flows):
                await run_trip(backend)
            await export_all(backend, exporter)
    assert exporter.seen == {(False, True)}


async def test_a_cursor_that_cannot_be_saved_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """ "It waits and tries again ... raises nothing": also if it is the caller's own function that fails."""

    def full(cursor: str) -> None:
        raise OSError("no space left on the device")

    async with MemoryStore() as store:
        flows, exporter = flows_of(), InMemorySpanExporter()
        backend = StoreBackend(store, *flows)
        async with Telemetry(backend, exporter, every=0.1, saved=full), Worker(store, *flows):
            await run_trip(backend)
            await asyncio.sleep(60)
            assert len(exporter.get_finished_spans()) == len(await spans_of(backend))
    assert "the cursor was not saved" in caplog.text


async def test_what_is_no_error_of_the_engine_is_tried_again_too(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(StoreBackend):
        """Fails once in a way that nobody has thought of."""

        odd = True

        async def changes(self, after: str | None = None, **options: Any) -> ChangesInfo:
            if after is not None and self.odd:
                self.odd = False
                raise LookupError("a gap in a table")
            return await super().changes(after, **options)

    async with MemoryStore() as store:
        flows, exporter = flows_of(), InMemorySpanExporter()
        backend = Odd(store, *flows)
        async with Telemetry(backend, exporter, every=0.1), Worker(store, *flows):
            await run_trip(backend)
            await asyncio.sleep(60)
            assert len(exporter.get_finished_spans()) == len(await spans_of(backend))
    assert "a gap in a table" in caplog.text
