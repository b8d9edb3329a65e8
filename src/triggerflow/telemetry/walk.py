"""Walks over the executions of a trace: an execution, its sub-flows, and the spans of the steps that started these."""

from collections.abc import AsyncIterator
from contextlib import suppress

from ..backend import Backend, ExecutionInfo
from ..backend.roots import root_of
from ..errors import UnknownExecution
from ..run.tracing import TRACEPARENT
from .ids import Ids, Parent
from .projection import Projector, Span

#: How many executions are listed at a time.
PAGE = 200


def ids_of(root: ExecutionInfo) -> Ids:
    """The ids of the tree of an outermost execution. A fork has no caller: the label is a copy of its original's."""
    return Ids(root.id, root.created, None if root.forked_from is not None else root.labels.get(TRACEPARENT))


async def children_of(backend: Backend, id: str) -> list[ExecutionInfo]:
    """The sub-flows of an execution, the oldest first."""
    found: list[ExecutionInfo] = []
    after: str | None = None
    while True:
        page = await backend.executions(parent=id, after=after, limit=PAGE)
        found += page.executions
        after = page.next
        if after is None:
            return sorted(found, key=lambda it: (it.created, it.id))


async def roots(backend: Backend) -> AsyncIterator[ExecutionInfo]:
    """All executions that are no sub-flows, the newest first."""
    after: str | None = None
    while True:
        page = await backend.executions(after=after, limit=PAGE)
        for info in page.executions:
            yield info
        after = page.next
        if after is None:
            return


class Tree:
    """Makes the projectors for the executions of a trace."""

    def __init__(self, backend: Backend, capture: bool) -> None:
        self._backend = backend
        self._capture = capture

    async def projector(self, info: ExecutionInfo, parent: Projector | None = None) -> Projector:
        """The projector for an execution. `parent`: that of the execution around it, if it is at hand.

        Raises `UnknownExecution` if the execution, or one around it, was deleted."""
        root = await root_of(self._backend, info)
        ids = ids_of(root) if parent is None else parent.ids
        if info.parent is None:
            return Projector(info, ids, ids.caller, original=await self._original(info), capture=self._capture)
        step = None if parent is None else parent.step_of(info.id)
        if step is None:
            step = await self._step(info, ids)
        return Projector(info, ids, step, capture=self._capture)

    async def _step(self, info: ExecutionInfo, ids: Ids) -> Parent:
        """The span of the step that has started a sub-flow; that of the parent if the frame of the step was deleted."""
        assert info.parent is not None
        parent = Projector(await self._backend.get(info.parent), ids, None)
        async for frame in self._backend.frames(info.parent):
            parent.take(frame)
            step = parent.step_of(info.id)
            if step is not None:
                return step
        return ids.parent(ids.execution(info.parent, 0))

    async def _original(self, info: ExecutionInfo) -> Parent | None:
        """The span of the execution from which this one was forked; None if there is none."""
        if info.forked_from is None:
            return None
        with suppress(UnknownExecution):
            original = await self._backend.get(info.forked_from[0])
            ids = ids_of(await root_of(self._backend, original))
            return ids.parent(ids.execution(original.id, 0))
        return None

    async def spans(
        self, info: ExecutionInfo, parent: Projector | None = None
    ) -> AsyncIterator[tuple[Ids, list[Span]]]:
        """The finished spans of an execution and its sub-flows, execution by execution."""
        projector = await self.projector(info, parent)
        batch: list[Span] = []
        async for frame in self._backend.frames(info.id):
            batch += projector.take(frame)
            if len(batch) >= PAGE:
                yield projector.ids, batch
                batch = []
        yield projector.ids, batch
        for child in await children_of(self._backend, info.id):
            async for more in self.spans(child, projector):
                yield more
