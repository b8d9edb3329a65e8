"""Concurrency limits: who has a place, who waits for one, and who gave one up.

A run takes a place in *every* limiter above it (execution, enclosing batches and for_eachs, its chunk) or in none, and
while it lacks one it stands in the queue of one full limiter. A freed place is offered to that queue in order; who
still lacks another place moves on to that limiter's queue, so that no free place is left beside somebody who could use
it.
"""

from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any

from .state import READY, WAITING, Branch, Limiter, RunChunk, RunState, SubFlowPermit


def limiter_of_chunk(state: RunState, name: str, limit: int) -> Limiter:
    """The limiter shared by all runs of one chunk."""
    if state.chunk_limiters is None:
        state.chunk_limiters = {}
    limiter = state.chunk_limiters.get(name)
    if limiter is None:
        limiter = state.chunk_limiters[name] = Limiter(limit)
    return limiter


def around(state: RunState, scope: Branch | None) -> tuple[Limiter, ...]:
    """The limits around a place in the flow, from the inside out."""
    return state.limiters if scope is None else scope.opening.limiters


def acquire(run: RunChunk | SubFlowPermit, *, first: bool = False) -> bool:
    """Take all places or none. Without success the run queues for the first full limiter (at its head if `first`)."""
    for limiter in run.limiters:
        if limiter.used >= limiter.limit:
            if first:
                if limiter.returning is None:
                    limiter.returning = {}
                limiter.returning[run.id] = run
                return False
            if limiter.waiting is None:
                limiter.waiting = deque()
            limiter.waiting.append(run)
            if len(run.limiters) > 1:
                if limiter.among is None:
                    limiter.among = {}
                limiter.among[run.id] = None
            return False
    for limiter in run.limiters:
        limiter.used += 1
    return True


def release(run: RunChunk | SubFlowPermit, resume: Callable[[Any], None]) -> None:
    """Give the places of a run back; `resume` is called for everyone who got all its places thereby."""
    for limiter in run.limiters:
        limiter.used -= 1
        limiter.limit -= limiter.leaves
    for limiter in run.limiters:
        if limiter.waiting or limiter.returning:
            serve(limiter, resume)


def serve(limiter: Limiter, resume: Callable[[Any], None]) -> None:
    """Offer free places to the queue; `resume` is called for everyone who got all its places thereby."""
    returning, waiting = limiter.returning, limiter.waiting
    while returning and limiter.used < limiter.limit:
        _, run = returning.popitem()
        if acquire(run, first=run.phase is WAITING):
            resume(run)
    while waiting and limiter.used < limiter.limit:
        run = waiting.popleft()
        if len(run.limiters) == 1:  # as `acquire` does, without the call
            limiter.used += 1
            resume(run)
        elif not run.limiters:
            limiter.gone -= 1
        else:
            if limiter.among is not None:
                del limiter.among[run.id]
            if acquire(run):
                resume(run)


def unqueue(run: RunChunk | SubFlowPermit) -> None:
    """The run does not wait for a place any more. One that has not begun is dropped for good."""
    for limiter in run.limiters:  # it is in one queue at most
        if limiter.returning is not None and limiter.returning.pop(run.id, None) is not None:
            return
        waiting = limiter.waiting
        if waiting and run.phase is READY and (len(run.limiters) == 1 or run.id in (limiter.among or ())):
            run.limiters = ()
            limiter.gone += 1
            if limiter.among is not None:
                limiter.among.pop(run.id, None)
            if 2 * limiter.gone > len(waiting):
                limiter.waiting = deque(it for it in waiting if it.limiters)
                limiter.gone = 0
            return


def queued(limiter: Limiter) -> int:
    """How many wait for a place."""
    return len(limiter.waiting or ()) - limiter.gone + len(limiter.returning or ())


def fill_queue(limiter: Limiter, queue: list[RunChunk | SubFlowPermit]) -> None:
    """Put them into an empty queue, in this order. Up to the last one that gets its place back, all stand at the head:
    behind those nobody is put who queues at the head."""
    head = max((place for place, run in enumerate(queue, 1) if run.phase is WAITING), default=0)
    if head:
        limiter.returning = {run.id: run for run in reversed(queue[:head])}
    if queue[head:]:
        limiter.waiting = deque(queue[head:])
        limiter.among = {run.id: None for run in limiter.waiting if len(run.limiters) > 1}


def forget_queues(state: RunState) -> None:
    """Empty all queues, also those of blocks that have closed: the execution is closing, nobody starts any more."""
    for waiting in chain(state.runs.values(), state.guests.values()):
        for limiter in waiting.limiters:
            limiter.returning = limiter.waiting = limiter.among = None
            limiter.gone = 0
