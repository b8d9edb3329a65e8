"""A flow with all that a trace has to show: a call of a model, a retry, a question, a for_each, a sub-flow.

As a program it is one of several processes: `python trip.py STORE MODE`. "start" asks its question and is killed in a
chunk, "finish" answers and runs to the end, "export" prints the spans.
"""

import asyncio
import os
import signal
import sys
from typing import Any

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from triggerflow import Retry, TriggerFlow
from triggerflow.backend import Answer, Backend, QuestionInfo, StoreBackend
from triggerflow.durable import Worker
from triggerflow.models import Delta, Request
from triggerflow.stores import SQLiteStore
from triggerflow.telemetry import export, propagate
from triggerflow.testing import Reply, ScriptedModel

ID = "trip-7"
#: Stands for personal data: no part of it may be in a span.
SECRET = "Ada-Lovelace"
USAGE = Delta("", finish_reason="stop", usage={"prompt_tokens": 12, "completion_tokens": 5})


def flows_of(mode: str = "") -> tuple[TriggerFlow, TriggerFlow]:
    """The flow and its sub-flow. In mode "start" the process is killed while the sub-flow's chunk runs."""
    book = TriggerFlow("book")

    @book.chunk("confirm")
    async def confirm(data: Any) -> None:
        data.pause_for(type="approval", payload=SECRET, schema=bool, interrupt_id="ok")

    @book.chunk("pay")
    async def pay(data: Any) -> str:
        return f"{SECRET} {data.value}"

    book.to(confirm).to(pay).end()

    trip = TriggerFlow("trip")

    @trip.chunk("plan", retry=Retry(3, initial_interval=1))
    async def plan(data: Any) -> list[str]:
        if data.attempt == 1:
            raise ConnectionError(f"no answer for {SECRET}")
        model = ScriptedModel(Reply.deltas('["sea", "', f'{SECRET}"]', USAGE))
        response = Request().input(data.value).output([str]).get_response(model)
        return await response.async_get_data()

    @trip.chunk("look")
    async def look(data: Any) -> str:
        if mode == "start" and data.value != "sea":
            os.kill(os.getpid(), signal.SIGKILL)
        return data.value

    trip.to(plan).for_each(concurrency=1).to(look).end_for_each().to_sub_flow(book).end()
    return trip, book


async def asked_by(backend: Backend) -> list[QuestionInfo]:
    """The open questions, as soon as there is one."""
    cursor = (await backend.changes()).cursor
    while not (asked := (await backend.questions()).questions):
        cursor = (await backend.changes(cursor)).cursor
    return asked


async def finish(backend: Backend) -> None:
    """Answer the question when it comes, and wait for the end."""
    asked = await asked_by(backend)
    await backend.act(asked[0].execution, Answer(question=asked[0].id, value=True))
    assert (await backend.result(ID, wait=30)).result == f"{SECRET} True"


async def spans_of(backend: Backend, id: str = ID, **options: Any) -> list[Any]:
    """The spans of an execution, exported now."""
    exporter = InMemorySpanExporter()
    count = await export(backend, exporter, id, **options)
    found = list(exporter.get_finished_spans())
    assert len(found) == count
    return found


async def main(path: str, mode: str) -> None:
    propagate()
    flows = flows_of(mode)
    async with SQLiteStore(path, lease=1) as store:
        backend = StoreBackend(store, *flows)
        if mode == "export":
            for span in await spans_of(backend):
                print(span.to_json(indent=None))
            return
        async with Worker(store, *flows):
            if mode == "start":
                await backend.start("trip", SECRET, id=ID)
                await backend.result(ID, wait=30)
            else:
                await finish(backend)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
