"""Concurrency limits: who has a place, who waits for one, and who gave one up.

A run takes a place in *every* limiter above it (execution, enclosing batches and for_eachs, its chunk) or in none, and
while it lacks one it stands in the queue of one full limiter. A freed place is offered to that queue in order; who
still lacks another place moves on to that limiter's queue, so that no free place is left beside somebody who could use
it.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any

from .state import WAITING, Branch, Limiter, RunChunk, RunState, SubFlowPermit


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
                limiter.queue.appendleft(run)
            else:
                limiter.queue.append(run)
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
        serve(limiter, resume)


def serve(limiter: Limiter, resume: Callable[[Any], None]) -> None:
    """Offer free places to the queue; `resume` is called for everyone who got all its places thereby."""
    queue = limiter.queue
    while queue and limiter.used < limiter.limit:
        waiting = queue.popleft()
        if acquire(waiting, first=waiting.phase is WAITING):
            resume(waiting)


def unqueue(run: RunChunk | SubFlowPermit) -> None:
    """The run does not wait for a place any more."""
    for limiter in run.limiters:
        if run in limiter.queue:
            limiter.queue.remove(run)


def forget_queues(state: RunState) -> None:
    """Empty all queues, also those of blocks that have closed: the execution is closing, nobody starts any more."""
    for waiting in chain(state.runs.values(), (state.guests or {}).values()):
        for limiter in waiting.limiters:
            limiter.queue.clear()
