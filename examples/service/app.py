"""A web service around a flow: start a brief, watch it, approve it. Nothing is lost when a process is killed.

    python examples/service/app.py runs.db 8080            # needs `pip install fastapi uvicorn`

    curl -X POST localhost:8080/briefs -H 'Content-Type: application/json' -d '{"topic": "solar sails"}'
    curl -N localhost:8080/briefs/ID/events                # the runtime stream, as server-sent events
    curl localhost:8080/briefs/ID                          # status, open questions, result
    curl -X POST localhost:8080/briefs/ID/answer -H 'Content-Type: application/json' -d '{"approved": true}'

The number of each stream item is the `id` of its event. A browser that reconnects sends the last one that it got as
`Last-Event-ID`, and misses nothing, also after a restart of this process.

The process above serves and works. Any number of processes share the file; every route works in each of them:

    python examples/service/app.py runs.db 8080 serve      # serves, and runs no execution itself
    python examples/service/app.py runs.db work            # runs executions, and serves nothing
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

from fastapi import FastAPI, Header, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from triggerflow import Execution, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.errors import (
    AlreadyAnswered,
    ContractError,
    ExecutionClosed,
    InterruptExpired,
    UnknownExecution,
    UnknownInterrupt,
)
from triggerflow.stores import SQLiteStore

Data = TriggerFlowRuntimeData[Any]

flow = TriggerFlow[str, dict[str, str]](name="brief")


@flow.chunk("draft")
async def draft(data: Data) -> str:
    """Write the draft word by word, as a model would."""
    words = f"A brief about {data.value} .".split()
    for word in words:
        await asyncio.sleep(0.02)
        await data.async_put_into_stream({"delta": word})
    return " ".join(words)


@flow.chunk("ask")
async def ask(data: Data) -> None:
    """Ask a person; the answer goes to the next chunk, minutes or weeks later, in this process or another one."""
    data.state.set("draft", data.value)
    data.pause_for(interrupt_id="approve", payload=data.value, schema=bool)


@flow.chunk("publish")
async def publish(data: Data) -> dict[str, str]:
    """Publish, or drop the draft. The count is shared by all executions, in all processes."""
    outcome = "published" if data.value else "dropped"
    await data.flow_state.async_append(outcome, data.execution.id)
    await data.async_put_into_stream({"outcome": outcome})
    return {"outcome": outcome, "text": data.state.get("draft")}


flow.to(draft).to(ask).to(publish).end()


class Request(BaseModel):
    """What to write about."""

    topic: str
    id: str | None = None


class Answer(BaseModel):
    """A decision. A client that does not know whether its answer arrived sends it again with the same request_id."""

    approved: bool
    request_id: str | None = None


def service(file: Path, *, works: bool = True) -> FastAPI:
    """The application, with its executions in an SQLite file. If it `works`, it also runs them."""
    store = SQLiteStore(file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with store, AsyncExitStack() as stack:
            if works:
                await stack.enter_async_context(Worker(store, flow))  # continues what an earlier process has left
            yield

    app = FastAPI(lifespan=lifespan)

    async def opened(id: str) -> Execution[dict[str, str]]:
        try:
            return await flow.async_attach(id, store=store)  # a worker runs it, in this process or another one
        except UnknownExecution as unknown:
            raise HTTPException(404, str(unknown)) from unknown

    @app.post("/briefs", status_code=202)
    async def start(request: Request) -> dict[str, str]:
        # A client that does not know whether its request arrived sends it again with the same id.
        id = request.id or uuid4().hex
        execution = await flow.async_submit(request.topic, store=store, id=id, reuse="existing")
        return {"id": execution.id}

    @app.get("/published")
    async def published() -> list[str]:
        return list(await flow.async_get_flow_data("published", [], store=store))

    @app.get("/briefs/{id}")
    async def look(id: str) -> dict[str, Any]:
        execution = await opened(id)
        status = await execution.async_committed(execution.get_status)
        result = await execution.async_get_result() if status == "completed" else None
        return {"status": status, "questions": execution.get_pending_interrupts(), "result": result}

    @app.get("/briefs/{id}/events")
    async def events(id: str, last_event_id: Annotated[int, Header(ge=0)] = 0) -> StreamingResponse:
        execution = await opened(id)

        async def lines() -> AsyncIterator[str]:
            reader = execution.get_async_runtime_stream(after=last_event_id)
            try:
                async for item in reader:
                    yield f"id: {reader.position}\ndata: {json.dumps(item)}\n\n"
                yield "event: end\ndata: {}\n\n"
            finally:
                await reader.aclose()

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.post("/briefs/{id}/answer")
    async def answer(id: str, given: Answer) -> dict[str, Any]:
        execution = await opened(id)
        try:
            return await execution.async_continue_with("approve", given.approved, request_id=given.request_id)
        except UnknownInterrupt as unknown:
            raise HTTPException(404, str(unknown)) from unknown
        except (AlreadyAnswered, InterruptExpired, ExecutionClosed) as late:
            raise HTTPException(409, str(late)) from late
        except ContractError as wrong:
            raise HTTPException(422, str(wrong)) from wrong

    return app


def main(file: str, *words: str) -> None:
    """Serve, work, or both, until the process is told to end."""
    if words == ("work",):
        with SQLiteStore(file) as store:
            Worker(store, flow).run()
        return
    import uvicorn

    port, *only = words
    uvicorn.run(service(Path(file), works=not only), host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: app.py FILE PORT [serve], or app.py FILE work")
    main(*sys.argv[1:])
