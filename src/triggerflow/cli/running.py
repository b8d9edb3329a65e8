"""The verbs that run code: run, watch, worker. And `carry_on`, by which other verbs run an execution here."""

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from ..stores.protocol import FINAL_STATUSES
from . import finding
from .looking import how_to_answer, item_text, short
from .places import Place, opened, quoted
from .printing import as_json, harmless, note, one_line, say, shown
from .targets import where_raised
from .troubles import DONE, FAILED, NOT_NOW, USAGE, WAITING, Trouble, shows_traces
from .values import described, pairs_of, value_of

if TYPE_CHECKING:
    from ..backend import AnyAction, Backend, ChangesInfo, ExecutionInfo, QuestionInfo, ResultInfo
    from ..flow import TriggerFlow
    from ..run.execution import Execution

# -- run ---------------------------------------------------------------------------------------------------------------


async def run(
    flow: "TriggerFlow[Any, Any]",
    target: str,
    value: str | None,
    *,
    where: str | None,
    id: str | None,
    labels: Sequence[str],
    watch: bool,
    detach: bool,
    json: bool,
) -> int:
    """Run a flow whose code is here, to its end or until it waits for somebody."""
    from ..backend.drawings import contract_of

    if watch and json:
        raise Trouble(USAGE, "--watch shows the execution, and --json prints its end: take one of them")
    schema = contract_of(flow.definition, flow.__flow_runtime__()).start
    given = None if value is None else value_of(value, schema, "VALUE")
    wanted = pairs_of(labels, "--label")
    if where is None and not watch:
        if detach or wanted:
            option = "--detach" if detach else "--label"
            raise Trouble(USAGE, f"{option} needs a store, which keeps the execution: add --store FILE")
        try:
            return await _run_in_memory(flow, given, id, json)
        except asyncio.CancelledError:
            note("\ninterrupted: nothing keeps it: with --store FILE it could go on later")
            raise
    if where is None:
        async with _memory(flow) as place:
            return await _run_at(place, flow.name, target, given, value is not None, id, wanted, watch, detach, json)
    async with opened(where, "create", flows=[flow]) as place:
        return await _run_at(place, flow.name, target, given, value is not None, id, wanted, watch, detach, json)


@asynccontextmanager
async def _memory(flow: "TriggerFlow[Any, Any]") -> AsyncGenerator[Place]:
    from ..backend import StoreBackend
    from ..stores import MemoryStore

    async with MemoryStore() as store:
        yield Place(StoreBackend(store, flow), "file", "", store, [flow])


async def _run_at(
    place: Place,
    flow: str,
    target: str,
    value: Any,
    has_value: bool,
    id: str | None,
    labels: Mapping[str, str],
    watch: bool,
    detach: bool,
    json: bool,
) -> int:
    from ..errors import ExecutionExists

    after: int | None = 0
    try:
        info = await place.backend.start(flow, value, id=id, labels=labels or None)
    except ExecutionExists:
        assert id is not None
        info = await place.backend.get(id)
        if has_value or labels:
            raise Trouble(
                NOT_NOW,
                f"execution {id!r} exists already ({info.status}); to go on with it leave VALUE and --label out, or "
                "take another --id",
            ) from None
        after = None
        if info.status not in FINAL_STATUSES:
            note(f"{id} goes on")
    if detach:
        say(as_json(info) if json else info.id)
        return DONE
    if place.kind == "server":
        go_on = f"it goes on at {place.name}; see it with: triggerflow watch {quoted(short(info.id))}{place.option()}"
    else:
        words = f"triggerflow run {quoted(target)} --id {quoted(info.id)}{place.option()}"
        go_on = f"it stays in {place.name}; go on with: {words}"
    try:
        code = await carry_on(place, info.id, after=after, watch=watch, json=json)
    except asyncio.CancelledError:
        note(f"\ninterrupted: {go_on if place.name else 'nothing keeps it: with --store FILE it could go on later'}")
        raise
    if watch and place.name and (await place.backend.get(info.id)).status not in FINAL_STATUSES:
        note(go_on)
    return code


async def carry_on(
    place: Place,
    id: str,
    *,
    after: int | None = None,
    first: "AnyAction | None" = None,
    request: str | None = None,
    did: str = "",
    watch: bool = False,
    json: bool = False,
) -> int:
    """Follow an execution, after an action if one is given, until it has ended or waits for somebody. It runs in this
    process if its code is here.

    Prints the items of the stream after number `after` (default: only new ones) on the way, the questions, and the
    result; returns the exit code."""
    backend = place.backend
    info = await backend.get(id)
    flow = next((it for it in place.flows if it.name == info.flow), None)
    runs_here = flow is not None and (first is not None or info.status not in FINAL_STATUSES)
    # What waits runs only as long as there is a handle of it.
    handle = await flow.async_resume(id, store=place.store) if flow is not None and runs_here else None
    if first is not None:
        await backend.act(id, first, request=request)
        if not json:
            note(f"{did}: {id}")
    if watch:
        return await look_on(backend, id)
    items = _Items(backend, id, info.items if after is None else after)
    try:
        if not json:
            items.start()
        while (info := await _idle(backend, id, handle)).status not in FINAL_STATUSES:
            await items.catch_up(info.items)
            asked = (await backend.questions(execution=id)).questions
            if not asked or not await _ask(backend, asked):
                return await _waiting(place, id, asked, json)
        await items.catch_up(info.items)
    finally:
        await items.stop()
        del handle
    code = report(id, await backend.result(id), json)
    if code == FAILED and runs_here and not json and not shows_traces():
        note("--debug shows where it was raised")
    return code


async def _idle(backend: "Backend", id: str, handle: "Execution[Any] | None") -> "ExecutionInfo":
    """Wait until an execution has ended, or nothing happens before somebody answers a question or sends a signal."""
    cursor = (await backend.changes()).cursor
    # A parent whose sub-flow waits is "running" in the store, until it is parked.
    settled = None if handle is None else asyncio.ensure_future(handle.async_settled())
    changing: asyncio.Future[ChangesInfo] | None = None
    try:
        while True:
            idle = settled is not None and settled.done()
            if handle is not None and idle:
                await handle.async_committed(lambda: None)
            info = await backend.get(id)
            if idle or info.status in FINAL_STATUSES:
                return info
            if info.status == "waiting" and (info.due is None or (await backend.questions(execution=id)).questions):
                return info
            if changing is None or changing.done():
                cursor = cursor if changing is None else changing.result().cursor
                changing = asyncio.ensure_future(backend.changes(cursor, wait=30))
            waits = [changing] if settled is None else [changing, settled]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left: list[asyncio.Future[Any]] = [it for it in (settled, changing) if it is not None]
        for it in left:
            it.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _Items:
    """Prints the items of the stream of an execution while it goes on."""

    def __init__(self, backend: "Backend", id: str, after: int) -> None:
        self._backend, self._id, self._printed = backend, id, after
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._print())

    async def _print(self) -> None:
        async for it in self._backend.stream(self._id, after=self._printed, follow=True):
            if not is_question(it.item):
                note(item_text(it.item))
            self._printed = it.number
            self._news.set()

    async def catch_up(self, total: int) -> None:
        """Wait until so many items were printed."""
        while self._task is not None and not self._task.done() and self._printed < total:
            self._news.clear()
            waiting = asyncio.ensure_future(self._news.wait())
            await asyncio.wait((waiting, self._task), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    async def stop(self) -> None:
        """Stop. An error of the printing is raised, unless there is another one."""
        if self._task is None:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def _waiting(place: Place, id: str, asked: "Sequence[QuestionInfo]", json: bool) -> int:
    """Tell what the execution waits for."""
    info = await place.backend.get(id)
    if json:
        result = await place.backend.result(id)
        say(as_json({"id": id, **_fields(result), "questions": asked}))
        return WAITING
    for it in asked:
        payload = "" if it.payload is None else f": {shown(it.payload)}"
        note(f"{id} waits for an answer to {it.id} (chunk {it.chunk}){payload}")
        note(f"  {how_to_answer(it, place)}")
    if not asked:
        contract = await place.backend.contract(info.flow, definition=info.definition)
        names = [it.name for it in contract.signals if it.external]
        which = f" ({', '.join(names)})" if names else ""
        note(f"{id} waits for a signal{which}")
        note(f"  triggerflow signal {quoted(short(id))} {quoted(names[0]) if names else 'NAME'} VALUE{place.option()}")
    return WAITING


def _fields(result: "ResultInfo") -> dict[str, Any]:
    return {name: getattr(result, name) for name in result.__struct_fields__}


def report(id: str, result: "ResultInfo", json: bool) -> int:
    """Print how an execution has ended; return the exit code."""
    code = DONE if result.status == "completed" else FAILED
    if json:
        say(as_json({"id": id, **_fields(result)}))
    elif result.status == "completed":
        if result.has_result:
            say(item_text(result.result))
    elif result.error is not None:
        chunk = f" in chunk {result.error.chunk}" if result.error.chunk else ""
        note(f"error: {id} failed{chunk}: {result.error.type}: {one_line(result.error.message)}")
    else:
        note(f"error: {id} was {result.status}: {one_line(result.reason)}")
    return code


# -- without a store ---------------------------------------------------------------------------------------------------


async def _run_in_memory(flow: "TriggerFlow[Any, Any]", value: Any, id: str | None, json: bool) -> int:
    """Run a flow that nothing keeps. What its steps hand on need not be recordable."""
    from ..run.execution import runtime_of

    execution = flow.create_execution(id=id)
    await execution.async_begin(value)
    reading = asyncio.ensure_future(_print_stream(execution, json))
    try:
        while not runtime_of(execution).has_ended:
            await execution.async_settled()
            if runtime_of(execution).has_ended:
                break
            pending = execution.get_pending_interrupts()
            if not pending or not await _ask_in_memory(execution, pending):
                what = f"an answer to {', '.join(map(str, pending))}" if pending else "a signal"
                for it in pending.values():
                    note(f"it asks {it['id']}: {shown_or_text(it['payload'])}")
                note(
                    f"it waits for {what}, and nothing keeps it: add --store FILE to answer later, or run it in a "
                    "terminal to answer there"
                )
                return WAITING
        await asyncio.wait((reading,), timeout=10)
        return await _outcome(execution, json)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await execution.async_cancel("the command ends")


async def _print_stream(execution: "Execution[Any]", json: bool) -> None:
    if json:
        return
    with suppress(Exception):  # the failure of the execution is told with its result
        async for item in execution.get_async_runtime_stream():
            if not is_question(item):
                note(harmless(item) if isinstance(item, str) else shown_or_text(item))


def is_question(item: Any) -> bool:
    """Whether an item of a stream is the engine's own, about a question: those are told in another way."""
    found = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    return found.get("type") == "interrupt" and {"action", "interrupt", "execution_id"} <= found.keys()


def shown_or_text(value: Any) -> str:
    """A value as JSON; as Python shows it where it has no JSON."""
    try:
        return shown(value)
    except Exception:
        return one_line(repr(value))


async def _outcome(execution: "Execution[Any]", json: bool) -> int:
    from ..backend import Failed, ResultInfo
    from ..errors import ExecutionCancelled

    status = execution.get_status()
    try:
        value = await execution.async_get_result()
    except ExecutionCancelled as error:
        return report(execution.id, ResultInfo(status=status, ended=True, reason=error.reason), json)
    except Exception as error:
        if shows_traces():
            traceback.print_exception(error)
        failed = Failed(type=type(error).__name__, message=f"{error}{where_raised(error)}", chunk=_chunk_of(error))
        return report(execution.id, ResultInfo(status=status, ended=True, error=failed), json)
    if json:
        return report(execution.id, ResultInfo(status=status, ended=True, has_result=True, result=_plain(value)), json)
    if value is not None:
        say(harmless(value) if isinstance(value, str) else shown_or_text(value))
    return DONE


def _plain(value: Any) -> Any:
    try:
        as_json(value)
    except Exception:
        return repr(value)
    return value


def _chunk_of(error: BaseException) -> str:
    return str(getattr(error, "chunk", ""))


# -- questions at the terminal -----------------------------------------------------------------------------------------


def can_ask() -> bool:
    """Whether a person sits at a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def _ask(backend: "Backend", asked: "Sequence[QuestionInfo]") -> bool:
    """Ask the oldest question at the terminal. Returns False if there is nobody, or the person leaves it open."""
    from ..backend import Answer
    from ..errors import ContractError

    if not can_ask():
        return False
    it = asked[0]
    payload = it.payload
    if it.cut:
        state = await backend.state_at(it.asked_by)
        payload = next((one.payload for one in state.questions if one.id == it.own_id), None)
    note(f"\n{it.chunk} asks {it.id}" + ("" if payload is None else f": {shown(payload)}"))
    while True:
        line = await _line(f"answer ({described(it.schema)}; empty: later) > ")
        if not line:
            return False
        try:
            await backend.act(it.execution, Answer(question=it.id, value=value_of(line, dict(it.schema), "the answer")))
            return True
        except (Trouble, ContractError) as error:
            note(str(error))


async def _ask_in_memory(execution: "Execution[Any]", pending: Mapping[str, dict[str, Any]]) -> bool:
    from ..errors import ContractError

    if not can_ask():
        return False
    it = next(iter(pending.values()))
    note(f"\nit asks {it['id']}" + ("" if it["payload"] is None else f": {shown_or_text(it['payload'])}"))
    while True:
        line = await _line("answer (empty: give up) > ")
        if not line:
            return False
        try:
            value = value_of(line, {}, "the answer")
            try:
                await execution.async_continue_with(it["id"], value)
            except ContractError:
                if isinstance(value, str):
                    raise
                await execution.async_continue_with(it["id"], line)
            return True
        except (Trouble, ContractError) as error:
            note(str(error))


async def _line(prompt: str) -> str:
    """A line that the person types; "" at the end of the input. It is read beside the loop, on a thread that does not
    keep the process from ending."""
    loop = asyncio.get_running_loop()
    got: asyncio.Future[str] = loop.create_future()
    sys.stderr.write(prompt)
    sys.stderr.flush()

    def read() -> None:
        try:
            text = os.read(sys.stdin.fileno(), 65536).decode(errors="replace")
        except OSError:
            text = ""
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: got.done() or got.set_result(text.strip()))

    threading.Thread(target=read, daemon=True).start()
    return await got


# -- watch -------------------------------------------------------------------------------------------------------------


async def watch(place: Place, id: str, *, plain: bool = False) -> int:
    """Show an execution while it runs, wherever that is."""
    info = await finding.execution(place.backend, id)
    return await look_on(place.backend, info.id, plain=plain)


async def look_on(backend: "Backend", id: str, *, plain: bool = False) -> int:
    """Show an execution until it has ended; return the exit code of its end. With `plain`: as lines, also on a
    terminal."""
    from ..terminal import watch as show

    status = await show(backend, id, plain=plain or None)
    if status not in FINAL_STATUSES:
        return WAITING if status == "waiting" else DONE
    if sys.stdout.isatty():  # the screen is gone now; lines of text have told the end
        return report(id, await backend.result(id), json=False)
    return DONE if status == "completed" else FAILED


# -- worker ------------------------------------------------------------------------------------------------------------


async def worker(
    flows: "Sequence[TriggerFlow[Any, Any]]", where: str | None, *, at_once: int, poll: float, grace: float
) -> int:
    """Run the executions of some flows until the process is told to stop."""
    from ..durable import Worker

    async with opened(where, "create", flows=flows) as place:
        store = place.own_store("worker")
        working = Worker(store, *flows, at_once=at_once, poll=poll)
        names = ", ".join(it.name for it in flows)
        note(f"working on {names} in {place.name} (process {os.getpid()}); Ctrl-C or SIGTERM stops it")
        await working.async_run(grace=grace)
        note("stopped: what was running goes on with the next worker")
    return DONE


async def run_there(
    flow: str,
    value: str | None,
    *,
    where: str,
    token_file: str | None,
    id: str | None,
    labels: Sequence[str],
    watch: bool,
    detach: bool,
    json: bool,
) -> int:
    """Run a flow at a server, and follow it from here."""
    async with opened(where, "write", token_file=token_file) as place:
        await finding.flow(place.backend, flow)
        contract = await place.backend.contract(flow)
        given = None if value is None else value_of(value, dict(contract.start), "VALUE")
        wanted = pairs_of(labels, "--label")
        return await _run_at(place, flow, flow, given, value is not None, id, wanted, watch, detach, json)
