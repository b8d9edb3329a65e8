"""Concurrency limits: permits of running chunks, and the queues for permits.

A run takes one permit of *every* limiter around it (execution, enclosing batches and for_eachs, its chunk), or none.
Without permits, the run waits in the queue of one full limiter. A free permit is offered to that queue in order. A run
that still lacks a permit of another limiter moves to the queue of that one. So no permit stays free while a run could
use it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any

from .state import READY, WAITING, Branch, Limiter, RunChunk, RunState, SubFlowPermit


def limiter_of_chunk(state: RunState, name: str, limit: int) -> Limiter:
    """Return the limiter that all runs of one chunk share; make it on first use."""
    if state.chunk_limiters is None:
        state.chunk_limiters = {}
    limiter = state.chunk_limiters.get(name)
    if limiter is None:
        limiter = state.chunk_limiters[name] = Limiter(limit)
    return limiter


def around(state: RunState, scope: Branch | None) -> tuple[Limiter, ...]:
    """Return the limiters around a scope, from the inside out."""
    return state.limiters if scope is None else scope.instance.limiters


def acquire(run: RunChunk | SubFlowPermit, *, first: bool = False) -> bool:
    """Take all permits or none, and return whether the run has them.

    Without success the run queues for the first full limiter, at the head of the queue if `first`."""
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
    """Return the permits of a run. `resume` is called for each queued run that has all its permits now."""
    for limiter in run.limiters:
        limiter.used -= 1
        limiter.limit -= limiter.leaves
    for limiter in run.limiters:
        if limiter.waiting or limiter.returning:
            serve(limiter, resume)


def serve(limiter: Limiter, resume: Callable[[Any], None]) -> None:
    """Offer free permits to the queue. `resume` is called for each queued run that has all its permits now."""
    returning, waiting = limiter.returning, limiter.waiting
    while returning and limiter.used < limiter.limit:
        _, run = returning.popitem()
        if acquire(run, first=run.phase is WAITING):
            resume(run)
    while waiting and limiter.used < limiter.limit:
        run = waiting.popleft()
        if len(run.limiters) == 1:  # hot path: `acquire`, inlined
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
    """Remove a run from the queue it is in, if any. A run that has not begun cannot queue again."""
    for limiter in run.limiters:  # a run is in at most one queue
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
    """Return how many runs are queued for a permit."""
    return len(limiter.waiting or ()) - limiter.gone + len(limiter.returning or ())


def fill_queue(limiter: Limiter, queue: list[RunChunk | SubFlowPermit]) -> None:
    """Fill an empty queue with runs in this order, after a load.

    All runs up to the last suspended one go to the head part of the queue, so that their order is the same."""
    head = max((number for number, run in enumerate(queue, 1) if run.phase is WAITING), default=0)
    if head:
        limiter.returning = {run.id: run for run in reversed(queue[:head])}
    if queue[head:]:
        limiter.waiting = deque(queue[head:])
        limiter.among = {run.id: None for run in limiter.waiting if len(run.limiters) > 1}


def forget_queues(state: RunState) -> None:
    """Empty all queues, also those of blocks that have ended: the execution is closing, and no run starts any more."""
    for waiting in chain(state.runs.values(), state.sub_flow_permits.values()):
        for limiter in waiting.limiters:
            limiter.returning = limiter.waiting = limiter.among = None
            limiter.gone = 0
