"""How user code is called: async handlers as they are, sync handlers in a thread or, where declared cheap, inline.

A thread cannot be stopped. A sync chunk that times out fails at once, and its thread continues: its return value is
dropped, its next call into the engine raises, and the process does not wait for it at its end. Its permits in
concurrency limits are free at once, so the next attempt may start while the thread still runs.
"""

from __future__ import annotations

import asyncio
import inspect
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ..build.chunk import Chunk, Handler, claims_to_be_async, is_coroutine_function
from .data import run_of
from .dispatch import FieldItems, give_items
from .threads import ThreadCall, pool

if TYPE_CHECKING:
    from .._core.state import RunChunk
    from ..build.cache import Invoker


def invoker(chunk: Chunk, owner: Any) -> Invoker:
    """Return an async callable for a chunk's handler, with its cache and time-out. `owner` is the flow of the chunk,
    which holds the cached results."""
    handler = chunk.handler
    call: Invoker
    if is_coroutine_function(handler):
        call = handler
    elif chunk.inline or claims_to_be_async(handler):
        call = _inline(handler)
    else:
        call = _threaded(handler, chunk.name)
    if chunk.cache is not None or chunk.timeout is not None:
        call = _giving(call)
    if chunk.cache is not None:
        call = chunk.cache.wrap(call, chunk, owner, _Places())
    return call if chunk.timeout is None else _timed(call, chunk.timeout, chunk.name)


def _giving(call: Invoker) -> Invoker:
    """The invoker for a chunk with a cache or a time-out: giving the items that it returns is part of the call. (The
    driver does it for other chunks.)"""

    async def give(data: Any) -> Any:
        value = await call(data)
        return await give_items(*run_of(data), value) if isinstance(value, FieldItems) else value

    return give


class _Places:
    """Lets a run of a cached chunk wait for another run with the same cache key; see `cache.RunWaits`."""

    async def without_permit(self, data: Any, until: asyncio.Future[Any]) -> None:
        """Wait until the future is done; the run gives up its permits meanwhile."""
        runtime, run = run_of(data)

        async def wait() -> None:
            await until

        if run.limiters:
            await runtime.require_running().without_permits(run, wait)
        else:
            await until

    def has_caused_any(self, run: Any) -> bool:
        """Whether a run has emitted a signal. Its first signal made its completion group."""
        return run_of(run)[1].spawned is not None

    def has_caused(self, run: Any, other: Any) -> bool:
        """Whether a signal of `run` has caused `other`, directly or not; False for runs of different executions."""
        (runtime, cause), (other_runtime, effect) = run_of(run), run_of(other)
        if runtime is not other_runtime:
            return False
        group = effect.group
        while group is not None and group is not cause.spawned:
            group = group.parent
        return group is not None


def _inline(handler: Handler) -> Invoker:
    async def call(data: Any) -> Any:
        value = handler(data)
        return await value if inspect.isawaitable(value) else value

    return call


def condition_invoker(handler: Handler) -> Invoker:
    """An async callable for a condition: it runs inline, and its result is converted to a bool."""
    inline = _inline(handler)

    async def ask(data: Any) -> bool:
        return bool(await inline(data))

    return ask


def _threaded(handler: Handler, name: str) -> Invoker:
    async def call(data: Any) -> Any:
        loop = asyncio.get_running_loop()
        here = ThreadCall(f"chunk {name!r}", loop, run_of(data)[1])
        future = loop.run_in_executor(pool(), here.run, copy_context(), _caught(handler), data)
        try:
            value = await asyncio.shield(future)
        except asyncio.CancelledError:
            await _stop(future, here, data)
            raise
        if isinstance(value, _Raised):
            raise value.error
        return await value if inspect.isawaitable(value) else value

    return call


async def _stop(future: asyncio.Future[Any], call: ThreadCall, data: Any) -> None:
    """The task of a chunk that runs in a thread was cancelled.

    After a time-out the thread is abandoned at once. Otherwise this waits for the thread, at most `cleanup_timeout`
    seconds. In a durable execution it waits until the thread has ended: only then may another process run the chunk.
    """
    if not call.started:
        future.cancel()  # the call is still queued for a thread, and needs none any more
        call.left = True
        return
    runtime, run = run_of(data)
    try:
        if timed_out(run):
            await call.leave()
        else:
            await asyncio.wait(
                (future,), timeout=None if runtime.durability.outlives_loop else runtime.options.cleanup_timeout
            )
    finally:
        if not future.done():
            pool().leave(call)
            future.cancel()
        elif not future.cancelled():
            future.exception()


class _Raised:
    """What a handler call returns from its thread if it raised: the exception, as a value.

    It is not raised in the thread, because an asyncio future accepts no `StopIteration`.
    """

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _caught(handler: Handler) -> Handler:
    def call(data: Any) -> Any:
        try:
            return handler(data)
        except BaseException as error:
            return _Raised(error)

    return call


#: The time-outs of the chunks that run now, by the id of their `RunChunk`.
_limits: dict[int, asyncio.Timeout] = {}


def timed_out(run: RunChunk) -> bool:
    """Whether the task of a run was cancelled by the time-out of its chunk, not by another cancellation."""
    limit = _limits.get(id(run))
    return limit is not None and limit.expired()


def _timed(call: Invoker, seconds: float, name: str) -> Invoker:
    """The invoker with a time-out: raises `TimeoutError` after `seconds`."""

    async def timed(data: Any) -> Any:
        key = id(run_of(data)[1])
        limit = _limits[key] = asyncio.timeout(seconds)
        try:
            async with limit:
                return await call(data)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"chunk {name!r} did not finish within its timeout of {seconds} s") from error
        finally:
            del _limits[key]

    return timed
