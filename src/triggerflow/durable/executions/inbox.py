"""The owner's side of requests: performs the requests of other processes to the executions that run in this one.

The reply to a request is in the same commit as the records that the request has caused. So it is performed once: if
this process dies before the commit, the next owner finds the request as it was, and after it the next owner finds the
reply.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..._core.errors import ExecutionSuspended, SnapshotError, StoreConflict, StoreError, UsageError
from ...drivers.tasks import start_task
from ...run.actions import Action
from ...run.tracing import carrying
from ...stores.protocol import FINAL_STATUSES, Changes, Reply, Request
from .commit_buffer import CommitBuffer
from .requests import read_request, write_answer, write_error

if TYPE_CHECKING:
    from .commit import StoreSession
    from .stored import Stored

#: How many requests are fetched at a time.
PAGE = 100

#: How many seconds after a change of an execution that this process runs the inbox finds out whether another process
#: has taken it over, unless a commit has shown that it has not.
BEAT = 1.0


class Inbox:
    """The open requests of the executions that one session runs."""

    def __init__(self, session: "StoreSession") -> None:
        self._session = session
        #: ids of the executions that were opened in this session, and neither ended nor released here since
        self._opened: set[str] = set()
        self._listening: asyncio.Task[None] | None = None
        #: the requests that were begun here, with the buffer that gets the reply; and those of them whose reply was
        #: stored since the last look
        self._begun: dict[str, CommitBuffer] = {}
        self._replied: set[str] = set()
        self._looking = asyncio.Lock()
        self._next_look: asyncio.Task[None] | None = None
        #: changed executions that another owner may have taken, with the number of commits that had succeeded here
        #: before the change; and the timer after which `_verify_all` checks them
        self._to_verify: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def opened(self, id: str) -> None:
        """From now on this session runs the execution. Once it has run one, it listens until the store is closed."""
        self._opened.add(id)
        if self._listening is None:
            self._listening = self._session.run_in_background(self._listen())

    def left(self, id: str) -> None:
        """The execution has ended, or this session does not run it any more."""
        self._opened.discard(id)
        self._to_verify.pop(id, None)
        if not self._to_verify:
            self._stop_timer()

    def close(self) -> None:
        """The session has ended."""
        self._opened.clear()
        self._to_verify.clear()
        self._stop_timer()
        for task in (self._listening, self._next_look):
            if task is not None:
                task.cancel()

    def replied(self, replies: Sequence[Reply]) -> None:
        """These replies are in the store."""
        self._replied.update(reply.request for reply in replies)

    def forget(self, buffer: CommitBuffer) -> None:
        """Drop the requests of a suspended execution: its next owner performs them."""
        for id in [id for id, its in self._begun.items() if its is buffer]:
            del self._begun[id]

    # -- looking -----------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Perform the requests that are open now. Returns when all of them were begun, and those that need not wait
        were performed. Raises `StoreError`."""
        if self._next_look is None:
            self._next_look = start_task(asyncio.get_running_loop(), self._look(), quiet=True)
        await asyncio.shield(self._next_look)

    async def look_if_possible(self) -> None:
        """`look`. A failure of the store is ignored: it is reported by the commits, and the next change looks again."""
        with suppress(StoreError, UsageError):
            await self.look()

    async def _look(self) -> None:
        async with self._looking:
            self._next_look = None  # from here on, a caller needs another look
            seen = set[str]()
            while True:
                # Replies that were stored before the query: it does not return these requests.
                done = set(self._replied)
                found = await self._session.store.requests(limit=PAGE, without=[*self._begun, *seen])
                seen.update(request.id for request in found)
                self._replied -= done
                for request in found:
                    if request.id not in self._begun:
                        await self._begin(request)
                for id in done:
                    self._begun.pop(id, None)
                if len(found) < PAGE:
                    return

    async def _begin(self, request: Request) -> None:
        execution: Stored | None = self._session.live.get(request.execution)
        if execution is None or execution.mirror is not None:
            await self._abandon(request)
            return
        buffer = execution.runtime.log
        if not execution.runs_here or not isinstance(buffer, CommitBuffer):
            return  # it is being opened or ends
        self._begun[request.id] = buffer
        try:
            action, arguments, caller = read_request(request, execution.runtime.program.types)
        except (UsageError, SnapshotError) as error:
            self._refuse(request, execution, buffer, error)
            return
        if action.before is None:
            self._perform(request, execution, buffer, action, arguments, caller)
        else:
            self._session.run_in_background(self._perform_later(request, execution, buffer, action, arguments, caller))

    async def _perform_later(
        self,
        request: Request,
        execution: "Stored",
        buffer: CommitBuffer,
        action: Action,
        arguments: list[Any],
        caller: str | None,
    ) -> None:
        assert action.before is not None
        try:
            await action.before(execution.runtime, *arguments)
        except ExecutionSuspended:
            return
        except Exception as error:
            self._refuse(request, execution, buffer, error)
            return
        self._perform(request, execution, buffer, action, arguments, caller)

    def _perform(
        self,
        request: Request,
        execution: "Stored",
        buffer: CommitBuffer,
        action: Action,
        arguments: list[Any],
        caller: str | None,
    ) -> None:
        """Perform an action in the trace context of its caller. It has no `await`, so that its records and the reply
        are in one commit."""
        if buffer.suspended is not None:
            return
        runtime = execution.runtime
        try:
            with carrying(caller):
                answer = action.change(runtime, *arguments)
            reply = write_answer(request.id, answer, runtime.program.types, execution.now())
        except ExecutionSuspended:
            return
        except Exception as error:  # what the checks of the flow raise may be anything
            self._refuse(request, execution, buffer, error)
        else:
            buffer.reply(reply)

    def _refuse(self, request: Request, execution: "Stored", buffer: CommitBuffer, error: Exception) -> None:
        buffer.reply(write_error(request.id, error, execution.runtime, execution.now()))

    async def _abandon(self, request: Request) -> None:
        """Release the execution of a request, if this store owns it and it is not in memory any more (its handles were
        dropped while it waited): then the caller of the request, or a worker, can run it."""
        store = self._session.store
        row = await store.find(request.execution)
        while row is not None and row.parent is not None:
            row = await store.find(row.parent)
        if row is None or row.status in FINAL_STATUSES or row.owner != store.owner:
            return
        known: Stored | None = self._session.live.get(row.id)
        if known is None or not (known.runs_here or known.lock.locked()):  # else its sub-flow is opened soon
            self.left(row.id)
            await store.release([row.id])

    # -- changes -----------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        with suppress(StoreError, UsageError), self._session.hub.watch_others() as watch:  # they end with the store
            while True:
                changes = await watch.changed()
                self._note_changed(changes)
                if changes.resync or changes.requests:
                    await self.look_if_possible()

    def _note_changed(self, changes: Changes) -> None:
        """Note the executions that run here and have changed, to check whether another owner has changed them."""
        live = self._session.live
        for id in self._opened if changes.resync else changes.executions:
            execution = live.get(id) if id in self._opened else None
            if execution is not None and isinstance(buffer := execution.runtime.log, CommitBuffer):
                self._to_verify[id] = buffer.commits
        if self._to_verify and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BEAT, self._begin_to_verify)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_to_verify(self) -> None:
        changed, self._to_verify, self._timer = self._to_verify, {}, None
        self._session.run_in_background(self._verify_all(changed))

    async def _verify_all(self, changed: dict[str, int]) -> None:
        """Suspend the changed executions that another process has taken over.

        A process that was frozen meanwhile notices it in no other way, if its executions only wait.
        """
        with suppress(StoreError, UsageError):
            for id, commits in changed.items():
                await self._verify(id, commits)

    async def _verify(self, id: str, commits: int) -> None:
        """Suspend an execution if another process has taken it over. `commits`: how many commits of it had succeeded
        here when it was changed. Raises `StoreError`."""
        execution: Stored | None = self._session.live.get(id)
        buffer = None if execution is None else execution.runtime.log
        if execution is None or not isinstance(buffer, CommitBuffer) or not execution.runs_here:
            return
        if buffer.commits != commits:  # a commit has succeeded after the change, so this store is still the owner
            return
        row = await self._session.store.find(id)
        if row is None or buffer.commits != commits or buffer.is_writing or buffer.suspended is not None:
            return
        if row.owner not in (None, self._session.store.owner) or row.records > buffer.committed:
            taken = f"owner {row.owner} has it now" if row.owner else "another process has continued it"
            execution.root.suspend(
                StoreConflict(f"{execution.runtime!r} does not run in this process any more: {taken}")
            )
