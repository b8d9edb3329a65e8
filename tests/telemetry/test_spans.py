"""Spans: "a projection of the journal", with ids hashed from it, so that two exports are equal."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes  # pyright: ignore[reportMissingTypeStubs]
from opentelemetry.trace import StatusCode

from tests.telemetry import trip
from tests.telemetry.trip import ID, SECRET, asked_by, finish, flows_of, spans_of
from triggerflow import TriggerFlow
from triggerflow.backend import Cancel, Emit, Retry, StoreBackend
from triggerflow.durable import Worker
from triggerflow.stores import MemoryStore
from triggerflow.telemetry import as_tree, names, propagate


@pytest.fixture
def connected() -> Any:
    """This process is connected with OpenTelemetry for the time of the test."""
    stop = propagate()
    yield stop
    stop()


async def spans_of_trip(**options: Any) -> list[Any]:
    async with MemoryStore() as store:
        flows = flows_of()
        backend = StoreBackend(store, *flows)
        async with Worker(store, *flows):
            await backend.start("trip", SECRET, id=ID)
            await finish(backend)
        return await spans_of(backend, **options)


async def spans_of_run(flow: TriggerFlow, act: Callable[[StoreBackend], Any]) -> list[Any]:
    """The spans of one execution of a flow, for which `act` does something from outside."""
    async with MemoryStore() as store:
        backend = StoreBackend(store, flow)
        async with Worker(store, flow):
            await backend.start(flow.name, id=ID)
            await act(backend)
        return await spans_of(backend)


def named(spans: list[Any], name: str) -> list[Any]:
    return [it for it in spans if it.name == name]


def outcomes(spans: list[Any]) -> list[tuple[str, Any]]:
    return [(it.name, it.attributes.get(names.OUTCOME, it.attributes.get(names.STATUS))) for it in spans]


def links(span: Any) -> list[tuple[str, int]]:
    return [(it.attributes[names.LINK], it.context.span_id) for it in span.links]


@pytest.mark.usefixtures("connected")
async def test_one_trace_shows_the_whole_tree() -> None:
    spans = await spans_of_trip()
    assert len({it.context.trace_id for it in spans}) == 1
    assert len({it.context.span_id for it in spans}) == len(spans)
    lines = [line.replace("  ", "\t", (len(line) - len(line.lstrip())) // 2) for line in as_tree(spans).splitlines()]
    shown = [(line.count("\t"), line.strip().split("  ")[0], line.strip().split("  ")[-1]) for line in lines]
    assert shown == [
        (0, "invoke_workflow trip", "completed"),
        (1, "chunk plan", "failed, ConnectionError"),
        (1, "chunk plan", "attempt 2, completed"),
        (2, "chat", "0.00 s"),
        (1, "chunk look", "completed"),
        (1, "chunk look", "completed"),
        (1, "sub_flow book", "completed"),
        (2, "invoke_workflow book", "completed"),
        (3, "chunk confirm", "asked"),
        (3, "question approval", "answered"),
        (3, "chunk pay", "completed"),
    ]


@pytest.mark.usefixtures("connected")
async def test_links_lead_to_causes() -> None:
    spans = await spans_of_trip()
    first, second = named(spans, "chunk plan")
    assert links(second) == [("attempt", first.context.span_id)]
    looks = named(spans, "chunk look")
    assert links(looks[0]) == [("cause", second.context.span_id)]
    (question,) = named(spans, "question approval")
    assert links(question) == [("cause", named(spans, "chunk confirm")[0].context.span_id)]
    assert links(named(spans, "chunk pay")[0]) == [("question", question.context.span_id)]


@pytest.mark.usefixtures("connected")
async def test_a_call_of_a_model_has_the_names_of_the_conventions() -> None:
    (chat,) = named(await spans_of_trip(), "chat")
    assert chat.attributes[gen_ai_attributes.GEN_AI_OPERATION_NAME] == "chat"
    assert chat.attributes[gen_ai_attributes.GEN_AI_USAGE_INPUT_TOKENS] == 12
    assert chat.attributes[gen_ai_attributes.GEN_AI_USAGE_OUTPUT_TOKENS] == 5
    assert chat.attributes[gen_ai_attributes.GEN_AI_RESPONSE_FINISH_REASONS] == ["stop"]


def test_names_are_those_of_the_conventions() -> None:
    known = {it for it in vars(gen_ai_attributes).values() if isinstance(it, str)}
    ours = {it for it in vars(names).values() if isinstance(it, str) and it.startswith("gen_ai.")}
    assert ours
    assert ours <= known
    operations = {it.value for it in gen_ai_attributes.GenAiOperationNameValues}  # pyright: ignore[reportDeprecated]
    assert {names.INVOKE_WORKFLOW, names.CHAT} <= operations


@pytest.mark.usefixtures("connected")
async def test_no_value_is_exported_unless_asked_for() -> None:
    assert SECRET not in "".join(span.to_json() for span in await spans_of_trip())
    spans = await spans_of_trip(capture_values=True)
    (root,) = named(spans, "invoke_workflow trip")
    assert json.loads(root.attributes[names.INPUT]) == SECRET
    assert json.loads(root.attributes[names.OUTPUT]) == f"{SECRET} True"
    assert named(spans, "chunk plan")[0].events[0].attributes[names.MESSAGE] == f"no answer for {SECRET}"


def process(path: Path, mode: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, trip.__file__, str(path), mode]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.timeout(180)
def test_two_processes_export_the_same_after_a_crash_and_a_resume_in_another_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    assert process(path, "start").returncode == -signal.SIGKILL
    done = process(path, "finish")
    assert done.returncode == 0, done.stderr
    first, second = process(path, "export"), process(path, "export")
    assert first.stdout == second.stdout != ""
    spans = [json.loads(line) for line in first.stdout.splitlines()]
    assert SECRET not in first.stdout
    lost = [it for it in spans if it["attributes"].get(names.OUTCOME) == "lost"]
    assert [it["name"] for it in lost] == ["chunk look"]
    assert lost[0]["status"] == {"status_code": "ERROR", "description": "ProcessLost"}
    assert "process lost" in [it["name"] for it in lost[0]["events"]]
    again = [it for it in spans if it["attributes"].get(names.ATTEMPT) == 2 and it["name"] == "chunk look"]
    assert [it["attributes"][names.OUTCOME] for it in again] == ["completed"]
    assert [it["context"]["span_id"] for it in again[0]["links"]] == [lost[0]["context"]["span_id"]]


async def test_a_failure_ends_the_execution_with_an_error() -> None:
    flow = TriggerFlow("failing")

    @flow.chunk("break")
    async def broken(data: Any) -> None:
        raise KeyError(SECRET)

    flow.to(broken).end()
    spans = await spans_of_run(flow, lambda backend: backend.result(ID, wait=10))
    assert outcomes(spans) == [("chunk break", "failed"), ("invoke_workflow failing", "failed")]
    for span in spans:
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "KeyError"
        assert span.attributes[names.ERROR_TYPE] == "KeyError"


async def test_a_retry_of_the_execution_is_a_span_of_its_own_that_is_linked_to_the_first() -> None:
    flow, runs = TriggerFlow("mended"), list[int]()

    @flow.chunk("mend")
    async def mend(data: Any) -> str:
        runs.append(data.attempt)
        if len(runs) == 1:
            raise KeyError(SECRET)
        return "done"

    flow.to(mend).end()

    async def retry(backend: StoreBackend) -> None:
        await backend.result(ID, wait=10)
        await backend.act(ID, Retry())
        assert (await backend.result(ID, wait=10)).result == "done"

    spans = await spans_of_run(flow, retry)
    first, second = named(spans, "invoke_workflow mended")
    assert links(second) == [("retried", first.context.span_id)]
    failed, again = named(spans, "chunk mend")
    assert links(again) == [("attempt", failed.context.span_id)]
    assert again.parent.span_id == second.context.span_id


async def test_signals_from_outside_and_delayed_ones_are_spans() -> None:
    flow = TriggerFlow("waiting")

    @flow.chunk("begin")
    async def begin(data: Any) -> None:
        await data.async_emit("later", delay=60)

    @flow.chunk("hear")
    async def hear(data: Any) -> Any:
        return data.value

    flow.signal("now", int)
    flow.to(begin)
    flow.when("later").to(hear)
    flow.when("now").to(hear).end()

    async def signals(backend: StoreBackend) -> None:
        async for frame in backend.frames(ID, follow=True):
            if frame.kind == "completed":
                break
        await backend.act(ID, Emit(name="now", value=1))
        await backend.result(ID, wait=100)

    spans = await spans_of_run(flow, signals)
    (now,), (later,) = named(spans, "signal now"), named(spans, "signal later")
    assert now.attributes[names.OUTCOME] == "sent"
    assert later.attributes[names.OUTCOME] == "fired"
    assert (later.end_time - later.start_time) / 1e9 == pytest.approx(60, abs=1)
    assert links(later) == [("cause", named(spans, "chunk begin")[0].context.span_id)]
    assert {links(it)[0] for it in named(spans, "chunk hear")} == {
        ("cause", now.context.span_id),
        ("cause", later.context.span_id),
    }


async def test_a_cancellation_ends_what_runs() -> None:
    flow = TriggerFlow("stopped")

    @flow.chunk("sleep")
    async def sleep(data: Any) -> None:
        data.pause_for(type="form", interrupt_id="one")

    flow.to(sleep).end()

    async def cancel(backend: StoreBackend) -> None:
        await asked_by(backend)
        await backend.act(ID, Cancel(reason=SECRET))

    spans = await spans_of_run(flow, cancel)
    assert outcomes(spans) == [
        ("chunk sleep", "asked"),
        ("question form", "withdrawn"),
        ("invoke_workflow stopped", "cancelled"),
    ]
    assert SECRET not in "".join(span.to_json() for span in spans)


async def test_a_fork_does_not_export_the_work_of_its_original() -> None:
    async with MemoryStore() as store:
        flows = flows_of()
        backend = StoreBackend(store, *flows)
        async with Worker(store, *flows):
            await backend.start("trip", SECRET, id=ID)
            await finish(backend)
            at = next(it.number for it in [f async for f in backend.frames(ID)] if it.kind == "timer_fired")
            fork = await backend.fork(ID, at=at, new_id="fork")
            asked = await asked_by(backend)
            await backend.act(fork.id, Cancel())
        original, spans = await spans_of(backend), await spans_of(backend, "fork")
    assert asked[0].execution == "fork"
    assert not {it.context.span_id for it in original} & {it.context.span_id for it in spans}
    assert [it.attributes[names.ATTEMPT] for it in named(spans, "chunk plan")] == [3]
    (root,) = named(spans, "invoke_workflow trip")
    assert links(root) == [("original", named(original, "invoke_workflow trip")[0].context.span_id)]
    assert root.start_time >= max(it.end_time for it in original)


def test_the_engine_does_not_import_opentelemetry() -> None:
    code = "import sys, triggerflow, triggerflow.backend, triggerflow.durable, triggerflow.models\n"
    code += "assert not [it for it in sys.modules if it.startswith('opentelemetry')]"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_extra_is_named() -> None:
    code = "import sys\nsys.modules['opentelemetry.sdk'] = None\nimport triggerflow.telemetry"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'triggerflow-engine[otel]'" in done.stderr


async def test_an_orderly_hand_over_is_no_loss() -> None:
    flow = TriggerFlow("slow")

    @flow.chunk("work")
    async def work(data: Any) -> str:
        await asyncio.sleep(10)
        return "done"

    flow.to(work).end()
    async with MemoryStore() as store:
        backend = StoreBackend(store, flow)
        async with Worker(store, flow):
            await backend.start("slow", id=ID)
            await asyncio.sleep(5)
        await asyncio.sleep(100)
        async with Worker(store, flow):
            await backend.result(ID, wait=100)
        spans = await spans_of(backend)
    first, second = named(spans, "chunk work")
    assert outcomes([first, second]) == [("chunk work", "interrupted"), ("chunk work", "completed")]
    assert first.status.status_code is StatusCode.UNSET
    assert (first.end_time - first.start_time) / 1e9 == pytest.approx(5, abs=1)
    assert links(second) == [("attempt", first.context.span_id)]


async def test_where_records_are_gone_the_spans_of_what_is_left_say_so() -> None:
    async with MemoryStore() as store:
        flows = flows_of()
        backend = StoreBackend(store, *flows)
        async with Worker(store, *flows):
            await backend.start("trip", SECRET, id=ID)
            await finish(backend)
        whole = await spans_of(backend)
        await flows[0].history(store).compact(ID)
        left = await spans_of(backend)
    assert [it.name for it in left] == ["invoke_workflow trip", "invoke_workflow book"]
    for span in left:
        assert span.attributes[names.TRIMMED]
        (before,) = named(whole, span.name)
        assert span.context == before.context
        assert span.attributes[names.STATUS] == "completed"
        assert abs(span.end_time - before.end_time) < 1e9


async def test_a_chunk_that_waits_for_a_permit_says_for_how_long() -> None:
    flow = TriggerFlow("queue")

    @flow.chunk("work")
    async def work(data: Any) -> Any:
        await asyncio.sleep(10)
        return data.value

    async def two(data: Any) -> list[int]:
        return [1, 2]

    flow.to(two).for_each().to(work).end_for_each().end()
    async with MemoryStore() as store:
        backend = StoreBackend(store, flow)
        execution = flow.create_execution(id=ID, store=store, concurrency=1)
        await execution.async_start()
        spans = await spans_of(backend)
    queued = [it.attributes.get(names.QUEUED, 0.0) for it in named(spans, "chunk work")]
    assert queued == [0.0, pytest.approx(10, abs=0.5)]
