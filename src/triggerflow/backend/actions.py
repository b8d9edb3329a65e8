"""Actions: requests to the process that runs an execution.

An action is posted into the inbox of the execution under the caller's request id; then the caller waits for the reply.
So any process may run the execution, also one that starts later, and a repeated request is performed once.
"""

import asyncio
from contextlib import suppress
from typing import Any, get_args

import msgspec

from .._core.errors import ExecutionClosed
from ..durable.executions.commit import StoreSession
from ..durable.executions.requests import read_reply, same_request, write_request
from ..run import actions
from ..run.actions import Action
from ..serialize.marked import plain
from ..serialize.payload import Types
from ..stores.protocol import FINAL_STATUSES, ExecutionRow, Reply, Request, Store
from .errors import BadRequest
from .shapes import (
    Answer,
    AnyAction,
    Cancel,
    CancelSignal,
    Close,
    DeleteState,
    Emit,
    Put,
    Retry,
    SetResult,
    SetState,
)

#: The kind of a request to run a failed execution again. The process that posts it performs it.
RETRY = "retry"


def request_of(id: str, row: ExecutionRow, action: AnyAction, types: Types, at: float) -> Request:
    """The request for an action. Raises `PayloadError`, and `BadRequest` for an action that this execution lacks."""
    kind, arguments = _arguments(row, action, id)
    return write_request(id, row.id, kind, arguments, types, at)


def _arguments(row: ExecutionRow, action: AnyAction, id: str) -> tuple[Action, tuple[Any, ...]]:
    match action:
        case Answer(question=question, value=value):
            if row.parent is not None:
                raise BadRequest(
                    f"execution {row.id!r} is a sub-flow; answer its question at the outermost execution, as "
                    "`questions` lists it"
                )
            return actions.ANSWER, (question, value, id)
        case Emit(name=name, value=value, delay=delay):
            return actions.EMIT, (name, value, False, delay, None, True)
        case CancelSignal(name=name):
            return actions.CANCEL_SIGNAL, (name,)
        case Put(item=item):
            return actions.PUT, (item,)
        case SetState(key=key, value=value):
            return actions.SET, (key, value, True)
        case DeleteState(key=key):
            return actions.DELETE, (key, True)
        case SetResult(value=value, replace=replace):
            return actions.SET_RESULT, (value, replace)
        case Close():
            return actions.CLOSE, ()
        case Cancel(reason=reason):
            return actions.CANCEL, (reason,)
        case Retry():
            raise BadRequest("a retry is not asked of the owner: an execution that has failed has none")
    known = ", ".join(it.__name__ for it in get_args(AnyAction))
    raise BadRequest(f"a {type(action).__name__} is no action; there are: {known}")


def retry_request(id: str, execution: str, force: bool, at: float) -> Request:
    """The request for running a failed execution again."""
    return Request(id=id, execution=execution, kind=RETRY, data=msgspec.json.encode({"force": force}), at=at)


async def post(store: Store, request: Request) -> Request:
    """Post a request, and return it as stored. Raises `BadRequest` if its id was used for another action."""
    posted = await store.post(request)
    if not same_request(posted, request):
        raise BadRequest("this request id was used for another action; give each intent an id of its own")
    return posted


def _answer(reply: Reply) -> Any:
    """The value of a reply as JSON, which needs no class of it. Raises the error of a reply that is one."""
    return plain(msgspec.json.decode(reply.data)) if reply.ok else read_reply(reply, Types())


async def ask(session: StoreSession, request: Request, wait: float) -> Any:
    """Post a request, and wait up to `wait` seconds for the reply. Returns its value, as JSON.

    Raises the error in the reply, `ExecutionClosed` if the execution has ended, and `TimeoutError`, whose message says
    whether the action may still be performed. If the caller is cancelled, the request is withdrawn.
    """
    store, id = session.store, request.id
    deadline = asyncio.get_running_loop().time() + wait
    with session.hub.watch(executions=[request.execution], requests=[id]) as watch:
        found = [await post(store, request)]
        row = None
        try:
            while True:
                if not found:
                    raise TimeoutError("the request was withdrawn by somebody else")
                if found[0].reply is not None:
                    return _answer(found[0].reply)
                row = await store.find(request.execution)
                if (row is None or row.status in FINAL_STATUSES) and await store.withdraw(id) is None:
                    status = "deleted" if row is None else row.status
                    raise ExecutionClosed(f"execution {request.execution!r} has ended ({status}), so this was not done")
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await watch.changed()
                        found = await store.requests([id])
                        continue
                break
        except asyncio.CancelledError:
            await asyncio.shield(store.withdraw(id))
            raise
        if await store.withdraw(id) is None:
            flow = "" if row is None else row.flow
            raise TimeoutError(
                f"nobody who runs flow {flow!r} has replied for {wait:g} s, and this was not done; is there a "
                "Worker(store, flow) of that flow?"
            )
    raise TimeoutError(
        f"the owner of execution {request.execution!r} has not replied for {wait:g} s, and may still do this; ask "
        "again with the same request id"
    )
