"""Gives executions back to their store when their chunks have stopped in this process.

An execution without an owner may be claimed at once, and its chunks start again in another process. So this process
keeps the ownership while a chunk that it has cancelled still runs. The thread of a sync chunk cannot be stopped: an
execution whose chunk has not stopped after `cleanup_timeout` seconds is given back when it does, or at the end of the
lease after the store was closed.

Where chunks were stopped in order, the record `suspended` says so: their attempts are no losses, see
`state.Interruptions`.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable
from contextlib import AsyncExitStack

from ..._core import events
from ..._core.definition import OperatorKind
from ..._core.errors import ExecutionSuspended, StoreConflict, StoreError
from ..._core.state import RUNNING
from ...stores.protocol import Append, NewRecord
from ..format.codec import encode
from .commit import StoreSession, is_open
from .commit_buffer import CommitBuffer
from .stored import Stored

logger = logging.getLogger("triggerflow")

#: A store that is closed waits for so many seconds until the commit that runs then has ended.
CLOSING_SECONDS = 5.0


class Departure:
    """One outermost execution that was stopped in this process, and is to be given back to its store."""

    def __init__(self, execution: Stored, why: ExecutionSuspended) -> None:
        """Stop the execution and its sub-flows, unless it was suspended before; see `Stored.release_here`."""
        tree = execution.tree()
        self.execution = execution
        #: its own id and those of its sub-flows
        self.ids = [it.runtime.id for it in tree]
        #: those of them in which chunks ran
        self._interrupted = [(it, it.runtime.log) for it in tree if _runs_a_chunk(it)]
        #: how many seconds to wait for its chunks; if they take longer, it is given back when they have stopped
        self.patience = execution.runtime.options.cleanup_timeout
        execution.release_here(why)
        self._tasks = dict(execution.stopping)

    def running(self) -> dict[asyncio.Task[None], str]:
        """The tasks that have not stopped yet, each with what it runs."""
        here = asyncio.current_task()
        return {task: what for task, what in self._tasks.items() if not task.done() and task is not here}

    def marks(self) -> list[Append]:
        """The appends which say that its chunks were stopped in order."""
        return [mark for it, log in self._interrupted if isinstance(log, CommitBuffer) and (mark := _mark(it, log))]


def _runs_a_chunk(execution: Stored) -> bool:
    """Whether a chunk of it runs, or a lazy source reads its next items."""
    state = execution.runtime.machine.state
    if state.pulls:
        return True
    return any(run.phase is RUNNING and run.node.kind is not OperatorKind.SUB_FLOW for run in state.runs.values())


def _mark(execution: Stored, log: CommitBuffer) -> Append | None:
    if log.status is None:  # it is not in the store
        return None
    now, runtime = execution.now(), execution.runtime
    data = encode(events.Suspended(now), runtime.program.types, runtime.machine.state, {})
    return Append(
        execution=runtime.id, first=log.committed, records=[NewRecord(data)], status=log.status, due=log.due, at=now
    )


async def give_back(session: StoreSession, departures: Collection[Departure]) -> None:
    """Give executions back to their store. Returns when their chunks have stopped, or their patience is over: then the
    rest is given back later, in the background. Errors of the store are logged.

    A cancellation of the caller ends its wait only.
    """
    await asyncio.shield(session.run_in_background(_give_back(session, departures)))


async def _give_back(session: StoreSession, departures: Collection[Departure]) -> None:
    session.departures.update(departures)
    late = await _wait_for_chunks(departures)
    await _hand_over(session, [it for it in departures if it not in late])
    for departure in late:
        session.run_in_background(_when_stopped(session, departure))


async def _wait_for_chunks(departures: Collection[Departure]) -> set[Departure]:
    """Wait until the chunks have stopped. Returns the executions of which some still run after their patience."""
    tasks = [task for it in departures for task in it.running()]
    if tasks:
        await asyncio.wait(tasks, timeout=max(it.patience for it in departures))
    late = {it for it in departures if it.running()}
    for departure in late:
        what = ", ".join(sorted(set(departure.running().values())))
        logger.warning(
            "%r was suspended, and %s has not stopped within %g s (cleanup_timeout): this process keeps the execution "
            "until it does, so that no other process runs it at the same time",
            departure.execution.runtime, what, departure.patience,
        )  # fmt: skip
    return late


async def _when_stopped(session: StoreSession, departure: Departure) -> None:
    while running := departure.running():
        await asyncio.wait(running)
    if session.closed is None and is_open(session.store):
        await _hand_over(session, [departure])


async def _hand_over(session: StoreSession, departures: Iterable[Departure]) -> None:
    """Release executions whose chunks have stopped, unless they were opened here again."""
    async with AsyncExitStack() as locks:
        going: list[Departure] = []
        for departure in sorted(departures, key=lambda it: it.execution.runtime.id):
            session.departures.discard(departure)
            await locks.enter_async_context(departure.execution.lock)
            if not departure.execution.runs_here:
                going.append(departure)
        if not going:
            return
        # A commit that has begun adds records before the marks.
        in_order = await session.round_ended(max(it.patience for it in going))
        try:
            if in_order:
                await _append_marks(session, [it.marks() for it in going])
            await session.store.release([id for it in going for id in it.ids])
        except StoreError as error:
            ids = ", ".join(repr(it.execution.runtime.id) for it in going)
            logger.warning(
                "%r: executions that were suspended (%s) could not be released: %s", session.store, ids, error
            )


async def _append_marks(session: StoreSession, trees: list[list[Append]]) -> None:
    try:
        if marks := [mark for tree in trees for mark in tree]:
            await session.store.append(marks)
    except StoreConflict:  # another owner has claimed one of them
        if len(trees) > 1:
            for tree in trees:
                await _append_marks(session, [tree])


async def before_closing(session: StoreSession) -> Collection[str]:
    """The store is about to be closed: stop the executions that run here, and give them back.

    Returns the ids of those whose chunks have not stopped: these keep their owner until the lease ends.
    """
    await session.round_ended(CLOSING_SECONDS)
    roots = {
        root.runtime.id: root
        for it in list(session.live.values())
        if (root := it.root).runs_a_driver or (root.stops and not root.released)
    }
    departures = [
        Departure(it, ExecutionSuspended(f"{it.runtime!r} was suspended: its store was closed"))
        for it in roots.values()
    ]
    await give_back(session, departures)
    return {id for it in session.departures if it.running() for id in it.ids}
