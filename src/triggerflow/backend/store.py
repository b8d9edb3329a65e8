"""`StoreBackend`: the backend over a store. It reads executions, and posts requests to the processes that run them."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from typing import Any, Literal, Protocol, cast

import msgspec

from .._core.definition import Definition
from .._core.errors import DefinitionError, OptionError, StoreConflict, TriggerFlowError, UnknownExecution, UsageError
from .._core.events import ErrorInfo as CoreErrorInfo
from .._core.state import UNSET, StatusName
from ..drivers.asyncio import REAL
from ..durable.executions.commit import session_of
from ..durable.executions.retrying import reopen
from ..durable.executions.submission import submit
from ..durable.format.metadata import lists_questions
from ..durable.format.questions import QuestionData, read_question
from ..durable.format.reader import ExecutionReader
from ..durable.history.archive import export
from ..durable.history.copying import renamed
from ..durable.history.diff import Difference, difference
from ..durable.history.following import StoreReader
from ..durable.history.fork import fork_of
from ..durable.history.listing import put_copies, questions_of
from ..durable.schedules.ticks import in_seconds
from ..run.flow_runtime import FlowRuntime
from ..run.ingress import check_delay
from ..run.options import Options, check_labels, check_reuse, same_value
from ..serialize.payload import Types
from ..stores.protocol import FINAL_STATUSES, ExecutionRow, Question, Store
from ..stores.searching import checked_statuses
from . import frames as framing
from .actions import ask, post, request_of, retry_request
from .arguments import MAX_ID, check_request, check_wait
from .drawings import contract_of, drawing_of
from .errors import BadRequest, UnknownFlow
from .programs import Programs
from .protocol import ACTION_WAIT, MAX_PAGE, MAX_WAIT
from .shapes import (
    Answer,
    AnyAction,
    CancelSignal,
    ChangesInfo,
    Contract,
    DifferenceInfo,
    Done,
    Drawing,
    ExecutionInfo,
    ExecutionPage,
    FlowInfo,
    Frame,
    Item,
    Pair,
    Parted,
    QuestionInfo,
    QuestionPage,
    ResultInfo,
    Retry,
    Reuse,
    StateInfo,
)
from .values import failed, shown, shown_record, state_info

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: The size of the pieces of an exported file, in bytes.
PIECE = 256 * 1024


class Flow(Protocol):
    """What the backend needs of a flow. `TriggerFlow` has it."""

    @property
    def name(self) -> str:
        """The name by which a store finds its executions."""
        ...

    def __flow_runtime__(self) -> FlowRuntime:
        """The engine's side of it."""
        ...


class StoreBackend:
    """A `Backend` over an open store. It runs no execution: run a `Worker` on the store, in this or another process.

    It can start executions of `flows` and of their sub-flows. It can read every execution in the store: without the
    code of a flow it takes the definition from the store, and shows values of classes that are not registered here with
    the name of their type. The store must stay open.

    Raises `UsageError` for a flow without a name of its own, and for two flows of one name.
    """

    def __init__(self, store: Store, *flows: Flow) -> None:
        self._store = store
        self._session = session_of(store)
        self._names = [flow.name for flow in flows]
        self._flows: dict[str, FlowRuntime] = {}
        for flow in flows:
            code = flow.__flow_runtime__()
            code.require_name()
            if self._flows.setdefault(flow.name, code) is not code:
                raise UsageError(f"a backend was given two flows of the name {flow.name!r}; each needs one of its own")
        for code in list(self._flows.values()):
            self._add_sub_flows(code)
        self._programs = Programs(store, self._flows)
        self._followers: dict[str, framing.Followers] = {}
        #: held by a retry: two at once would take the execution from each other, and from the worker of this process
        self._retrying = asyncio.Lock()
        #: the ids of open executions of earlier versions, whose questions the store does not list; None: not read yet
        self._unlisted: dict[str, None] | None = None

    def _add_sub_flows(self, code: FlowRuntime) -> None:
        for inner in code.program().sub_flows.values():
            known = inner.__flow_runtime__()
            if known.is_named and known.name not in self._flows:
                self._flows[known.name] = known
                self._add_sub_flows(known)

    # -- flows -------------------------------------------------------------------------------------------------------

    async def flows(self) -> list[FlowInfo]:
        """See `Backend.flows`."""
        counts = await self._store.counts()
        found: list[FlowInfo] = []
        for name in sorted({*self._names, *counts}):
            code = self._flows.get(name)
            definition = "" if code is None else code.program().plan.definition.fingerprint
            if code is None:
                newest = await self._store.executions(flow=name, limit=1)
                definition = newest[0].definition if newest else ""
            found.append(
                FlowInfo(name=name, has_code=code is not None, definition=definition, counts=counts.get(name, {}))
            )
        return found

    async def contract(self, flow: str, *, definition: str | None = None) -> Contract:
        """See `Backend.contract`."""
        return contract_of(await self._definition(flow, definition), self._flows.get(flow))

    async def drawing(
        self, flow: str, *, definition: str | None = None, mode: Literal["simplified", "detailed"] = "simplified"
    ) -> Drawing:
        """See `Backend.drawing`."""
        if mode not in ("simplified", "detailed"):
            raise BadRequest(f"a drawing has the modes 'simplified' and 'detailed', not {mode!r}")
        return drawing_of(await self._definition(flow, definition), mode)

    async def _definition(self, flow: str, fingerprint: str | None) -> Definition:
        """The definition of a fingerprint; without one, that of the code, or else of the newest execution. Raises
        `UnknownFlow`."""
        code = self._flows.get(flow)
        if code is not None:
            definition = code.program().plan.definition
            if fingerprint in (None, definition.fingerprint):
                return definition
        if fingerprint is None:
            newest = await self._store.executions(flow=flow, limit=1)
            if not newest:
                raise UnknownFlow(f"there is no flow {flow!r} here, and no execution of it in {self._store!r}")
            fingerprint = newest[0].definition
        elif await self._store.definition(fingerprint) is None:
            raise UnknownFlow(f"{self._store!r} has no definition {fingerprint!r} of flow {flow!r}")
        definition = (await self._programs.plan(fingerprint)).definition
        return msgspec.structs.replace(definition, name=flow)

    async def is_definition_of(self, flow: str, fingerprint: str) -> bool:
        """Whether a stored definition is one of this flow.

        Flows that are wired alike share a stored definition, which has the name of the first of them: then the
        executions of the flow are searched for it.
        """
        code = self._flows.get(flow)
        if code is not None and code.program().plan.definition.fingerprint == fingerprint:
            return True
        if await self._store.definition(fingerprint) is None:
            return False
        if (await self._programs.plan(fingerprint)).definition.name == flow:
            return True
        after: str | None = None
        while page := await self._store.executions(flow=flow, after=after, limit=1000):
            if any(row.definition == fingerprint for row in page):
                return True
            after = page[-1].id
        return False

    # -- lists -------------------------------------------------------------------------------------------------------

    async def executions(
        self,
        *,
        flow: str | None = None,
        status: StatusName | Collection[StatusName] | None = None,
        since: float | None = None,
        until: float | None = None,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
        text: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> ExecutionPage:
        """See `Backend.executions`."""
        rows = await self._store.executions(
            flow=flow,
            status=_statuses(status),
            since=_time(since, "since"),
            until=_time(until, "until"),
            parent=parent,
            labels=_labels(labels),
            text=text,
            after=after,
            limit=_page(limit),
        )
        following = rows[-1].id if len(rows) == limit else None
        return ExecutionPage(executions=[_info(row) for row in rows], next=following)

    async def counts(
        self, *, since: float | None = None, until: float | None = None
    ) -> dict[str, dict[StatusName, int]]:
        """See `Backend.counts`."""
        return await self._store.counts(since=_time(since, "since"), until=_time(until, "until"))

    async def questions(
        self, *, flow: str | None = None, execution: str | None = None, after: str | None = None, limit: int = 100
    ) -> QuestionPage:
        """See `Backend.questions`. Questions of executions that only an earlier version has opened come last."""
        _page(limit)
        found = await self._store.questions(
            flow=flow, execution=execution, after=None if after is None else _question_at(after), limit=limit
        )
        asked = [_question(it.root, it.flow, it.execution, it.id, it.since, read_question(it.data)) for it in found]
        if len(found) == limit:
            last = found[-1]
            return QuestionPage(questions=asked, next=_cursor(last.since, last.execution, last.id))
        return QuestionPage(questions=[*asked, *await self._former_questions(flow, execution)])

    async def _former_questions(self, flow: str | None, execution: str | None) -> list[QuestionInfo]:
        """The open questions of executions that only an earlier version has opened, read from their states."""
        if self._unlisted is None:
            unlisted: dict[str, None] = {}
            after: str | None = None
            open_ones: tuple[StatusName, ...] = ("running", "waiting")
            while rows := await self._store.executions(status=open_ones, after=after, limit=MAX_PAGE):
                after = rows[-1].id
                unlisted.update((row.id, None) for row in rows if not lists_questions(row))
            self._unlisted = unlisted  # assigned once complete, since a second call may run while this one reads
        found: list[QuestionInfo] = []
        for id in list(self._unlisted):
            row = await self._store.find(id)
            if row is None or row.status in FINAL_STATUSES or lists_questions(row):
                self._unlisted.pop(id, None)
            elif flow in (None, row.flow) and (execution is None or f"{execution}/".startswith(f"{id}/")):
                with suppress(TriggerFlowError):  # one that cannot be read must not hide the others
                    for asks, asked in await questions_of(self._programs.reader(row.flow), row):
                        wanted = execution is None or f"{asks.id}/".startswith(f"{execution}/")
                        if wanted and not lists_questions(asks):
                            found += [
                                _question(id, row.flow, asks.id, own, asks.updated, it) for own, it in asked.items()
                            ]
        return found

    async def changes(self, after: str | None = None, *, wait: float = MAX_WAIT) -> ChangesInfo:
        """See `Backend.changes`."""
        found = await self._store.wait_changes(after, timeout=check_wait(wait))
        return ChangesInfo(cursor=found.cursor, executions=list(found.executions), resync=found.resync)

    # -- one execution -----------------------------------------------------------------------------------------------

    async def get(self, id: str) -> ExecutionInfo:
        """See `Backend.get`."""
        return _info(await self._row(id))

    async def frames(self, id: str, *, after: int = 0, follow: bool = False) -> AsyncIterator[Frame]:
        """See `Backend.frames`."""
        row = await self._row(id)
        if not 0 <= _number(after) <= row.records:
            raise BadRequest(f"execution {id!r} has {row.records} frames; there is none after number {after}")
        if not follow:
            async for frame in framing.frames(self._programs.reader(row.flow), row, after):
                yield frame
            return
        followers = self._followers.get(id)
        if followers is None or followers.over:
            followers = self._followers[id] = framing.Followers(self._programs.reader(row.flow), id)
        followers.count += 1
        try:
            async for frame in followers.after(after):
                yield frame
        finally:
            followers.count -= 1
            if not followers.count:
                followers.close()
                if self._followers.get(id) is followers:
                    del self._followers[id]

    async def stream(
        self, id: str, *, after: int = 0, follow: bool = False, compact: bool = False
    ) -> AsyncIterator[Item]:
        """See `Backend.stream`."""
        row = await self._row(id)
        if _number(after) < 0:
            raise BadRequest(f"items are numbered from 1; there is none after number {after}")
        reader = self._programs.reader(row.flow)
        items = StoreReader(reader, id, after=after, follow=follow, compact=compact, raises=False)
        async for item in items:
            yield Item(number=items.position, item=shown(item, reader.program.types), path=items.path)

    async def state_at(self, id: str, moment: int | None = None) -> StateInfo:
        """See `Backend.state_at`."""
        row = await self._row(id)
        moment = row.records if moment is None else moment
        if not 0 <= _number(moment) <= row.records:
            raise BadRequest(f"execution {id!r} has the moments 0 to {row.records}; there is no moment {moment}")
        reader = self._programs.reader(row.flow)
        place, value = await reader.place(row, moment)
        return state_info(id, row.flow, place.machine, value, reader.program.types)

    async def result(self, id: str, *, wait: float = 0.0) -> ResultInfo:
        """See `Backend.result`."""
        row = await self._row(id)
        if check_wait(wait) and row.status not in FINAL_STATUSES:
            row = await self._ended(id, wait)
        if row.status not in FINAL_STATUSES:
            return ResultInfo(status=row.status, ended=False)
        reader = self._programs.reader(row.flow)
        state = (await reader.restore(row, row.records)).machine.state
        has_result = state.result is not UNSET and row.status == "completed"
        return ResultInfo(
            status=row.status,
            ended=True,
            has_result=has_result,
            result=shown(state.result, reader.program.types) if has_result else None,
            error=failed(state.error) if row.status == "failed" else None,
            reason=state.reason,
        )

    async def _ended(self, id: str, wait: float) -> ExecutionRow:
        """Wait up to `wait` seconds for the end of an execution, and return its row."""
        with self._session.hub.watch(executions=[id]) as watch:
            row = await self._row(id)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    while row.status not in FINAL_STATUSES:
                        await watch.changed()
                        row = await self._row(id)
        return row

    async def diff(self, one: str, other: str) -> DifferenceInfo:
        """See `Backend.diff`."""
        rows = await self._row(one), await self._row(other)
        if rows[0].flow != rows[1].flow:
            raise BadRequest(
                f"{one!r} is of flow {rows[0].flow!r}, {other!r} of {rows[1].flow!r}: they cannot be compared"
            )
        reader = self._programs.reader(rows[0].flow)
        return _difference(await difference(reader, *rows), reader)

    async def export(self, id: str) -> AsyncIterator[bytes]:
        """See `Backend.export`."""
        row = await self._row(id)
        with tempfile.TemporaryFile() as file:
            await export(self._programs.reader(row.flow), row, cast("Any", file))
            file.seek(0)
            while piece := file.read(PIECE):
                yield piece

    async def _row(self, id: str) -> ExecutionRow:
        row = await self._store.find(id)
        if row is None:
            raise UnknownExecution(f"there is no execution {id!r} in {self._store!r}")
        return row

    # -- changes -----------------------------------------------------------------------------------------------------

    async def start(
        self,
        flow: str,
        value: Any = None,
        *,
        id: str | None = None,
        reuse: Reuse = "reject",
        labels: Mapping[str, str] | None = None,
        delay: float | None = None,
    ) -> ExecutionInfo:
        """See `Backend.start`."""
        code = self._code(flow)
        _check_id(id)
        if delay is not None:
            check_delay(delay)
        where = f"flow {flow!r}: start"
        options = Options(skip_exceptions=code.skip_exceptions, execution_timeout=code.execution_timeout)
        reuse, labels = check_reuse(reuse, where), check_labels(labels, where)
        return await self.get(
            await submit(code, self._store, options, value, id=id, reuse=reuse, labels=labels, delay=delay)
        )

    async def act(self, id: str, action: AnyAction, *, request: str | None = None, wait: float = ACTION_WAIT) -> Done:
        """See `Backend.act`."""
        row = await self._row(id)
        code = self._flows.get(row.flow)
        environment = REAL if code is None else code.environment
        name = environment.new_id() if request is None else check_request(request)
        if isinstance(action, Retry):
            async with self._retrying:
                await self._retry(row, name, action.force)
            return Done(status=(await self._row(id)).status)
        types = Types() if code is None else code.types
        posted = request_of(name, row, action, types, environment.now())
        value = await ask(self._session, posted, check_wait(wait))
        has_value = isinstance(action, CancelSignal | Answer)
        return Done(status=(await self._row(id)).status, value=value if has_value else None)

    async def _retry(self, row: ExecutionRow, request: str, force: bool) -> None:
        """Run a failed execution again. The same commit has the records and the reply to the request, so it happens
        once."""
        code = self._code(row.flow)
        now = code.environment.now()
        if (await post(self._store, retry_request(request, row.id, force, now))).reply is not None:
            return
        try:
            await reopen(code.program(), self._store, row.id, now, force=force, request=request)
        except BaseException:
            found = await self._store.withdraw(request)
            if found is None or found.reply is None:
                raise
            return  # another process has performed the same request
        await self._store.release([row.id])

    async def fork(
        self,
        id: str,
        *,
        at: int,
        new_id: str | None = None,
        state: Mapping[str, Any] | None = None,
        value: Any = UNSET,
    ) -> ExecutionInfo:
        """See `Backend.fork`."""
        row = await self._row(id)
        code = self._code(row.flow)
        _check_id(new_id)
        reader = ExecutionReader(code.program(), self._store, code.environment.now)
        copies = await fork_of(reader, row, at, state or {}, value)
        name = code.environment.new_id() if new_id is None else new_id
        try:
            await put_copies(reader, renamed(copies, name))
        except StoreConflict:
            raise  # the id belongs to another execution, which must not be released: it may run in this process
        except BaseException:
            await self._store.release([name])
            raise
        await self._store.release([name])
        return await self.get(name)

    def _code(self, flow: str) -> FlowRuntime:
        code = self._flows.get(flow)
        if code is None:
            raise UnknownFlow(f"the code of flow {flow!r} is not here; known are {sorted(self._flows)}")
        return code


# -- shapes ------------------------------------------------------------------------------------------------------------


def _info(row: ExecutionRow) -> ExecutionInfo:
    return ExecutionInfo(
        id=row.id,
        flow=row.flow,
        status=row.status,
        created=row.created,
        updated=row.updated,
        due=row.due,
        frames=row.records,
        items=row.items,
        owned=row.owner is not None,
        labels=row.labels,
        error=row.error,
        questions=row.questions,
        parent=row.parent,
        forked_from=row.forked_from,
        definition=row.definition,
    )


def _question(root: str, flow: str, asked_by: str, own_id: str, since: float, asked: QuestionData) -> QuestionInfo:
    return QuestionInfo(
        execution=root,
        flow=flow,
        id=asked.answer,
        asked_by=asked_by,
        own_id=own_id,
        chunk=asked.chunk,
        type=asked.type,
        payload=asked.payload,
        cut=asked.cut,
        schema=asked.schema,
        since=since if asked.since is None else asked.since,
        expires=asked.expires,
    )


def _difference(found: Difference, reader: ExecutionReader) -> DifferenceInfo:
    types = reader.program.types

    def pair(one: Any, other: Any) -> Pair:
        missing = "one" if one is UNSET else "other" if other is UNSET else ""
        return Pair(
            one=None if one is UNSET else shown(one, types),
            other=None if other is UNSET else shown(other, types),
            missing=missing,
        )

    def outcome(value: Any) -> Any:
        return failed(value) if isinstance(value, CoreErrorInfo) else shown(value, types)

    parting = found.parting
    parted: Parted | None = None
    if parting is not None:
        records = [None if it is None else shown_record(it, types) for it in parting.records]
        parted = Parted(
            number=parting.number + 1,
            kinds=cast("Any", tuple(None if it is None else it[0] for it in records)),
            records=cast("Any", tuple(None if it is None else it[1] for it in records)),
        )
    return DifferenceInfo(
        ids=found.ids,
        same=not found,
        frames=found.records,
        parted=parted,
        status=cast("Any", found.status),
        result=None if same_value(*found.result) else pair(*found.result),
        chunks={
            name: ([outcome(it) for it in one], [outcome(it) for it in other])
            for name, (one, other) in found.chunks.items()
        },
        state={str(key): pair(*values) for key, values in found.state.items()},
        stream=None if found.stream is None else (found.stream[0], pair(found.stream[1], found.stream[2])),
        items=found.items,
    )


# -- arguments ---------------------------------------------------------------------------------------------------------


def _number(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise BadRequest(f"frames, items, moments and limits are whole numbers, not {number!r:.100}")
    return number


def _time(moment: Any, name: str) -> float | None:
    try:
        return None if moment is None else in_seconds(moment, "a list of executions", name)
    except DefinitionError as error:
        raise BadRequest(str(error)) from None


def _statuses(status: Any) -> list[StatusName] | None:
    try:
        return checked_statuses(status)
    except (OptionError, TypeError) as error:
        raise BadRequest(str(error)) from None


def _labels(labels: Any) -> dict[str, str]:
    try:
        return check_labels(labels, "a list of executions")
    except OptionError as error:
        raise BadRequest(str(error)) from None


def _page(limit: int) -> int:
    if not 1 <= _number(limit) <= MAX_PAGE:
        raise BadRequest(f"a page has 1 to {MAX_PAGE} entries, not {limit!r:.100}")
    return limit


def _check_id(id: str | None) -> None:
    if id is not None and not 0 < len(id) <= MAX_ID:
        raise BadRequest(f"an id has 1 to {MAX_ID} characters, not {len(id)}")
    if id is not None and _CONTROL.search(id):  # nobody could type it, and routers may reject it in a path
        raise BadRequest(f"an id has no control characters: {id[:100]!r}")


def _cursor(since: float, execution: str, id: str) -> str:
    return msgspec.json.encode((since, execution, id)).decode()


def _question_at(cursor: str) -> Question:
    try:
        since, execution, id = msgspec.json.decode(cursor, type=tuple[float, str, str])
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadRequest(f"{cursor[:100]!r} is no cursor of a page of questions") from error
    return Question(execution=execution, root="", flow="", id=id, since=since, data=b"")
