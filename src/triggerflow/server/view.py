"""The part of a backend that one token may see: the executions of its flows.

An execution belongs to the flow of its outermost execution. A flow or an execution that is not visible is answered like
one that does not exist. A list over several flows is merged from one list for each flow.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from heapq import merge
from typing import Any, TypeVar

import msgspec

from ..backend import (
    Backend,
    BadRequest,
    ChangesInfo,
    ExecutionInfo,
    ExecutionPage,
    FlowInfo,
    QuestionInfo,
    QuestionPage,
    StoreBackend,
    UnknownFlow,
)
from ..backend.roots import root_of
from ..errors import ExecutionExists, TriggerFlowError, UnknownExecution
from ..wire import NotAllowed

T = TypeVar("T")


class View:
    """A backend restricted to `flows` (None: all)."""

    def __init__(self, backend: Backend, flows: frozenset[str] | None) -> None:
        self.backend = backend
        self.only = flows

    # -- flows -------------------------------------------------------------------------------------------------------

    async def flows(self) -> list[FlowInfo]:
        """See `Backend.flows`."""
        found = await self.backend.flows()
        return found if self.only is None else [it for it in found if it.name in self.only]

    async def check_flow(self, flow: str, *, drawn: bool = False) -> None:
        """Raise `UnknownFlow` for a flow that is not visible. With `drawn`, the sub-flows of visible flows are visible,
        too."""
        if self.only is None or flow in self.only:
            return
        if drawn and flow in await self._sub_flows():
            return
        raise UnknownFlow(f"there is no flow {flow!r} here")

    async def check_definition(self, flow: str, definition: str | None) -> None:
        """Raise `UnknownFlow` unless a flow is visible and `definition` is None or one of its definitions."""
        await self.check_flow(flow, drawn=True)
        backend = self.backend
        if self.only is None or definition is None or not isinstance(backend, StoreBackend):
            return
        if not await backend.is_definition_of(flow, definition):
            raise UnknownFlow(f"there is no definition {definition!r} of flow {flow!r} here")

    async def _sub_flows(self) -> set[str]:
        found: set[str] = set()
        left = list(self.only or ())
        while left:
            try:
                drawing = await self.backend.drawing(left.pop())
            except TriggerFlowError:  # the token names a flow that does not exist
                continue
            steps = {box.flow for box in drawing.boxes if box.flow is not None} - found
            found |= steps
            left += steps
        return found

    # -- executions --------------------------------------------------------------------------------------------------

    async def check(self, id: str) -> None:
        """Raise `UnknownExecution` for an execution that is not visible."""
        if self.only is not None and await self.flow_of(id) not in self.only:
            raise UnknownExecution(f"there is no execution {id!r}")

    async def flow_of(self, id: str) -> str | None:
        """The flow of the outermost execution around an execution; None if the execution does not exist."""
        try:
            return (await root_of(self.backend, await self.backend.get(id))).flow
        except UnknownExecution:
            return None

    async def hides(self, id: str) -> bool:
        """Whether there is no visible execution of this id."""
        return self.only is not None and await self.flow_of(id) not in self.only

    async def start(self, flow: str, value: Any, id: str | None, **options: Any) -> ExecutionInfo:
        """See `Backend.start`."""
        await self.check_flow(flow)
        try:
            info = await self.backend.start(flow, value, id=id, **options)
        except TriggerFlowError:
            if id is not None and await self.hides(id) and await self.flow_of(id) is not None:
                raise _taken(id) from None
            raise
        if await self.hides(info.id):
            raise _taken(info.id)
        return info

    async def check_fork(self, id: str) -> None:
        """Raise `UnknownExecution`, or `NotAllowed` if a fork would not be visible: the fork of a sub-flow is an
        outermost execution of that flow."""
        await self.check(id)
        info = await self.backend.get(id)
        if self.only is not None and info.flow not in self.only:
            raise NotAllowed(f"execution {id!r} is a sub-flow; your token does not let you start flow {info.flow!r}")

    # -- lists -------------------------------------------------------------------------------------------------------

    async def counts(self, since: float | None = None, until: float | None = None) -> dict[str, dict[Any, int]]:
        """See `Backend.counts`."""
        found = await self.backend.counts(since=since, until=until)
        return found if self.only is None else {flow: it for flow, it in found.items() if flow in self.only}

    async def executions(self, *, after: str | None = None, limit: int = 100, **query: Any) -> ExecutionPage:
        """See `Backend.executions`."""
        flow, parent = query.get("flow"), query.get("parent")
        if self.only is None:
            return await self.backend.executions(after=after, limit=limit, **query)
        if parent is not None:
            if await self.hides(parent):
                return ExecutionPage(executions=[])
        elif flow is not None:
            if flow not in self.only:
                return ExecutionPage(executions=[])
        else:
            return await self._all_executions(after, limit, query)
        if after is not None:
            await self.check(after)
        return await self.backend.executions(after=after, limit=limit, **query)

    async def _all_executions(self, after: str | None, limit: int, query: Mapping[str, Any]) -> ExecutionPage:
        others = {name: value for name, value in query.items() if name != "flow"}

        async def fetch(flow: str, cursor: str | None, limit: int) -> tuple[list[ExecutionInfo], str | None]:
            if cursor is not None:
                await self.check(cursor)
            page = await self.backend.executions(flow=flow, **others, after=cursor, limit=limit)
            return page.executions, page.next

        async def cursor_of(flow: str, cursor: str | None, taken: list[ExecutionInfo]) -> str | None:
            return taken[-1].id

        found, following = await self._merged(fetch, cursor_of, lambda it: -it.created, after, limit)
        return ExecutionPage(executions=found, next=following)

    async def questions(
        self, *, flow: str | None = None, execution: str | None = None, after: str | None = None, limit: int = 100
    ) -> QuestionPage:
        """See `Backend.questions`."""
        backend = self.backend
        if self.only is not None:
            if execution is not None:
                if await self.hides(execution):
                    return QuestionPage(questions=[])
            elif flow is not None:
                if flow not in self.only:
                    return QuestionPage(questions=[])
            else:
                return await self._all_questions(after, limit)
        return await backend.questions(flow=flow, execution=execution, after=after, limit=limit)

    async def _all_questions(self, after: str | None, limit: int) -> QuestionPage:
        async def fetch(flow: str, cursor: str | None, limit: int) -> tuple[list[QuestionInfo], str | None]:
            page = await self.backend.questions(flow=flow, after=cursor, limit=limit)
            return page.questions, page.next

        async def cursor_of(flow: str, cursor: str | None, taken: list[QuestionInfo]) -> str | None:
            """The cursor behind these questions, from a page of just so many: a question has no cursor of its own."""
            found, following = await fetch(flow, cursor, len(taken))
            same = [(it.asked_by, it.own_id) for it in found] == [(it.asked_by, it.own_id) for it in taken]
            return following if same else None

        found, following = await self._merged(fetch, cursor_of, lambda it: it.since, after, limit)
        return QuestionPage(questions=found, next=following)

    async def _merged(
        self,
        fetch: Callable[[str, str | None, int], Awaitable[tuple[list[T], str | None]]],
        cursor_of: Callable[[str, str | None, list[T]], Awaitable[str | None]],
        key: Callable[[T], float],
        after: str | None,
        limit: int,
    ) -> tuple[list[T], str | None]:
        """A page out of the pages of each flow. Its cursor is a JSON object with the cursor of each flow that has more
        entries, null for the beginning.

        If an entry has vanished between two reads of the same page (`cursor_of` returns None), the cursor of that flow
        does not move: entries may be repeated then, but none is left out.
        """
        cursors = dict.fromkeys(sorted(self.only or ())) if after is None else self._cursors(after)
        pages: dict[str, tuple[list[T], str | None]] = {}
        for flow, cursor in cursors.items():
            pages[flow] = await fetch(flow, cursor, limit)
        tagged = merge(*(_tagged(flow, entries) for flow, (entries, _) in pages.items()), key=lambda it: key(it[1]))
        chosen = [entry for entry, _ in zip(tagged, range(limit), strict=False)]
        left: dict[str, str | None] = {}
        for flow, (entries, following) in pages.items():
            taken = [entry for name, entry in chosen if name == flow]
            if len(taken) == len(entries):
                if following is not None:
                    left[flow] = following
            elif taken:
                left[flow] = await cursor_of(flow, cursors[flow], taken) or cursors[flow]
            else:
                left[flow] = cursors[flow]
        return [entry for _, entry in chosen], msgspec.json.encode(left).decode() if left else None

    def _cursors(self, after: str) -> dict[str, str | None]:
        try:
            found = msgspec.json.decode(after, type=dict[str, str | None])
        except (msgspec.DecodeError, UnicodeEncodeError):
            raise BadRequest(f"{after[:100]!r} is no `next` of a page") from None
        return {flow: cursor for flow, cursor in found.items() if flow in (self.only or ())}


class Batch:
    """A batch of changes for all readers. The flows of its executions are looked up once, for all restricted views."""

    def __init__(self, info: ChangesInfo) -> None:
        self.info = info
        self._flows: dict[str, str | None] | None = None
        self._finding = asyncio.Lock()

    async def seen_by(self, view: View) -> ChangesInfo:
        """The changes of the executions that a view shows. A deleted execution is only in a view of all flows."""
        if view.only is None:
            return self.info
        async with self._finding:
            if self._flows is None:
                self._flows = {id: await view.flow_of(id) for id in self.info.executions}
        seen = [id for id in self.info.executions if self._flows[id] in view.only]
        return ChangesInfo(cursor=self.info.cursor, executions=seen, resync=self.info.resync)


def _tagged(flow: str, entries: Iterable[T]) -> Iterable[tuple[str, T]]:
    return ((flow, entry) for entry in entries)


def _taken(id: str) -> ExecutionExists:
    return ExecutionExists(f"there is an execution {id!r} in the store already; choose another id")
