"""Concurrency limits: who has a place, who waits for one, and who gave one up.

A run takes a place in *every* limiter above it (execution, enclosing batches and for_eachs, its chunk) or in none, and
while it lacks one it stands in the queue of one full limiter. A freed place is offered to that queue in order; who
still lacks another place moves on to that limiter's queue, so that no free place is left beside somebody who could use
it.
"""

from collections.abc import Callable
from itertools import chain

from .state import READY, RUNNING, WAITING, Limiter, RunChunk, RunState


def limiter_of_chunk(state: RunState, name: str, limit: int) -> Limiter:
    """The limiter shared by all runs of one chunk."""
    if state.chunk_limiters is None:
        state.chunk_limiters = {}
    limiter = state.chunk_limiters.get(name)
    if limiter is None:
        limiter = state.chunk_limiters[name] = Limiter(limit)
    return limiter


def acquire(run: RunChunk, *, first: bool = False) -> bool:
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


def release(run: RunChunk, resume: Callable[[RunChunk], None]) -> None:
    """Give the places of a run back; `resume` is called for every run that got all its places thereby."""
    for limiter in run.limiters:
        limiter.used -= 1
    for limiter in run.limiters:
        queue = limiter.queue
        while queue and limiter.used < limiter.limit:
            waiting = queue.popleft()
            if acquire(waiting, first=waiting.phase is WAITING):
                resume(waiting)


def unqueue(run: RunChunk) -> None:
    """The run does not wait for a place any more."""
    for limiter in run.limiters:
        if run in limiter.queue:
            limiter.queue.remove(run)


def forget_queues(state: RunState) -> None:
    """Empty all queues: the execution is closing, nobody starts any more."""
    limiters = chain(
        state.limiters,
        (state.chunk_limiters or {}).values(),
        (limiter for opening in (state.openings or {}).values() for limiter in opening.limiters),
    )
    for limiter in limiters:
        limiter.queue.clear()


__all__ = ["READY", "RUNNING", "acquire", "forget_queues", "limiter_of_chunk", "release", "unqueue"]
