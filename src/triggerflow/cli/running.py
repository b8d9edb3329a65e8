"""The verbs that run code: run, watch, worker; and `carry_on`, by which other verbs run an execution as well."""

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from ..stores.protocol import FINAL_STATUSES
from ..terminal import safe
from . import finding
from .looking import how_to_answer, item_text, short
from .places import Place, opened, quoted
from .printing import as_json, note, say, shown
from .targets import where_raised
from .troubles import DONE, FAILED, NOT_NOW, USAGE, WAITING, Trouble, shows_traces
from .values import described, pairs_of, value_of

if TYPE_CHECKING:
    from ..backend import AnyAction, Backend, ChangesInfo, ExecutionInfo, QuestionInfo, ResultInfo
    from ..flow import TriggerFlow
    from ..run.execution import Execution

#: What becomes of an interrupted execution without a store.
LOST = "the execution is lost; with --store FILE it could be continued"

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
    """Run a flow in this process, until it has ended or waits for an answer or a signal."""
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
            note(f"\ninterrupted: {LOST}")
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
                f"execution {id!r} exists already ({info.status}); to continue it leave VALUE and --label out, or "
                "take another --id",
            ) from None
        after = None
        if info.status not in FINAL_STATUSES:
            note(f"{id} continues")
    if detach:
        say(as_json(info) if json else info.id)
        return DONE
    if not place.name:
        hint = LOST
    elif place.kind == "server":
        words = f"triggerflow watch {quoted(short(info.id))}{place.option()}"
        hint = f"it continues at {place.name}; watch it with: {words}"
    else:
        words = f"triggerflow run {quoted(target)} --id {quoted(info.id)}{place.option()}"
        hint = f"it stays in {place.name}; continue it with: {words}"
    try:
        code = await carry_on(place, info.id, after=after, watch=watch, json=json)
    except asyncio.CancelledError:
        note(f"\ninterrupted: {hint}")
        raise
    if watch and place.name and (await place.backend.get(info.id)).status not in FINAL_STATUSES:
        note(hint)
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
    """Follow an execution until it has ended or waits for an answer or a signal. `first`: an action to perform before.
    If this process has the code of its flow, it runs the execution.

    Prints the items of the stream after number `after` (default: only new ones), the questions and the result. Returns
    the exit code."""
    backend = place.backend
    info = await backend.get(id)
    flow = next((it for it in place.flows if it.name == info.flow), None)
    runs_here = flow is not None and (first is not None or info.status not in FINAL_STATUSES)
    # An execution that waits is kept in memory only as long as a handle of it exists.
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
    """Wait until an execution has ended, or can only continue after an answer or a signal."""
    cursor = (await backend.changes()).cursor
    # The status of a parent whose sub-flow waits is "running" in the store, until it is parked.
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
    """Prints the items of the stream of an execution as they come."""

    def __init__(self, backend: "Backend", id: str, after: int) -> None:
        self._backend, self._id, self._printed = backend, id, after
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def start(self) -> None:
        """Start the task that prints."""
        self._task = asyncio.create_task(self._print())

    async def _print(self) -> None:
        async for it in self._backend.stream(self._id, after=self._printed, follow=True):
            if not is_question(it.item):
                note(item_text(it.item))
            self._printed = it.number
            self._news.set()

    async def catch_up(self, total: int) -> None:
        """Wait until the item of number `total` was printed, or the stream has ended."""
        while self._task is not None and not self._task.done() and self._printed < total:
            self._news.clear()
            waiting = asyncio.ensure_future(self._news.wait())
            await asyncio.wait((waiting, self._task), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    async def stop(self) -> None:
        """Stop printing. Raises the error of the task, if it has failed."""
        if self._task is None:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def _waiting(place: Place, id: str, asked: "Sequence[QuestionInfo]", json: bool) -> int:
    """Print what the execution waits for. Returns the exit code."""
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
    """Print the result or the failure of an execution that has ended. Returns the exit code."""
    code = DONE if result.status == "completed" else FAILED
    if json:
        say(as_json({"id": id, **_fields(result)}))
    elif result.status == "completed":
        if result.has_result:
            say(item_text(result.result))
    elif result.error is not None:
        chunk = f" in chunk {result.error.chunk}" if result.error.chunk else ""
        note(f"error: {id} failed{chunk}: {result.error.type}: {safe.line(result.error.message)}")
    else:
        note(f"error: {id} was {result.status}: {safe.line(result.reason)}")
    return code


# -- without a store ---------------------------------------------------------------------------------------------------


async def _run_in_memory(flow: "TriggerFlow[Any, Any]", value: Any, id: str | None, json: bool) -> int:
    """Run a flow without a store. The values of its chunks need not be recordable."""
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
                    f"it waits for {what}, and ends with this command: add --store FILE to answer later, or run it in "
                    "a terminal to answer there"
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
    with suppress(Exception):  # `_outcome` prints the failure of the execution
        async for item in execution.get_async_runtime_stream():
            if not is_question(item):
                note(safe.harmless(item) if isinstance(item, str) else shown_or_text(item))


def is_question(item: Any) -> bool:
    """Whether an item of a stream is one of the engine about a question: questions are printed in another way."""
    found = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    return found.get("type") == "interrupt" and {"action", "interrupt", "execution_id"} <= found.keys()


def shown_or_text(value: Any) -> str:
    """A value as JSON; its `repr` if it cannot be written as JSON."""
    try:
        return shown(value)
    except Exception:
        return safe.line(repr(value))


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
        say(safe.harmless(value) if isinstance(value, str) else shown_or_text(value))
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
    """Whether questions can be asked at the terminal: standard input and standard error are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def _ask(backend: "Backend", asked: "Sequence[QuestionInfo]") -> bool:
    """Ask the oldest question at the terminal. Returns False if there is no terminal, or no answer was typed."""
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
    """A line that the person types; "" at the end of the input. A daemon thread reads it, so that the loop continues
    and the process can end."""
    loop = asyncio.get_running_loop()
    got: asyncio.Future[str] = loop.create_future()
    sys.stderr.write(prompt)
    sys.stderr.flush()

    def read() -> None:
        try:
            text = os.read(sys.stdin.fileno(), 65536).decode(errors="replace")
        except OSError:
            text = ""
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: got.done() or got.set_result(text.strip()))

    threading.Thread(target=read, daemon=True).start()
    return await got


# -- watch -------------------------------------------------------------------------------------------------------------


async def watch(place: Place, id: str, *, plain: bool = False) -> int:
    """Show an execution until it has ended or the person leaves. Returns the exit code."""
    info = await finding.execution(place.backend, id)
    return await look_on(place.backend, info.id, plain=plain)


async def look_on(backend: "Backend", id: str, *, plain: bool = False) -> int:
    """Show an execution until it has ended or the person leaves. Returns the exit code. With `plain`: as lines, also on
    a terminal."""
    from ..terminal import watch as show

    status = await show(backend, id, plain=plain or None)
    if status not in FINAL_STATUSES:
        return WAITING if status == "waiting" else DONE
    if sys.stdout.isatty():  # the screen is closed; plain lines have shown the end already
        return report(id, await backend.result(id), json=False)
    return DONE if status == "completed" else FAILED


# -- worker ------------------------------------------------------------------------------------------------------------


async def worker(
    flows: "Sequence[TriggerFlow[Any, Any]]", where: str | None, *, at_once: int, poll: float, grace: float
) -> int:
    """Run the executions of some flows until SIGTERM or SIGINT."""
    from ..durable import Worker

    async with opened(where, "create", flows=flows) as place:
        store = place.own_store("worker")
        working = Worker(store, *flows, at_once=at_once, poll=poll)
        names = ", ".join(it.name for it in flows)
        note(f"working on {names} in {place.name} (process {os.getpid()}); Ctrl-C or SIGTERM stops it")
        await working.async_run(grace=grace)
        note("stopped; the next worker continues what was running")
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
    """Start a flow at a server, and follow the execution."""
    async with opened(where, "write", token_file=token_file) as place:
        await finding.flow(place.backend, flow)
        contract = await place.backend.contract(flow)
        given = None if value is None else value_of(value, dict(contract.start), "VALUE")
        wanted = pairs_of(labels, "--label")
        return await _run_at(place, flow, flow, given, value is not None, id, wanted, watch, detach, json)
