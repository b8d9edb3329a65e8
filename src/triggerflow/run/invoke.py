"""How user code is called: async handlers as they are, sync handlers in a thread or, where declared cheap, inline."""

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from ..build.chunk import Chunk, Handler, claims_to_be_async, is_coroutine_function
from ..build.policies import Invoker, with_timeout
from .data import run_of

#: A thread is made only when all others are busy. The number is a guard, not a limit to plan with: a sync chunk may
#: wait for another sync chunk, so that a small pool could lock itself up.
MAX_THREADS = 1024
_pool: ThreadPoolExecutor | None = None


def invoker(chunk: Chunk, owner: Any) -> Invoker:
    """An async callable for a chunk's handler, with its cache and timeout. Results in a cache belong to the owner, the
    flow that the chunk is in."""
    handler = chunk.handler
    call: Invoker
    if is_coroutine_function(handler):
        call = handler
    elif chunk.inline or claims_to_be_async(handler):
        call = _inline(handler)
    else:
        call = _threaded(handler)
    if chunk.cache is not None:
        call = chunk.cache.wrap(call, chunk, owner, _Places())
    return call if chunk.timeout is None else with_timeout(call, chunk.timeout, chunk.name)


class _Places:
    """How a run of a cached chunk waits for another one of the same key; see `policies.Waiting`."""

    async def without_place(self, data: Any, until: "asyncio.Future[Any]") -> None:
        """Give up the permits of the run while it waits."""
        runtime, run = run_of(data)

        async def wait() -> None:
            await until

        await runtime.require_running().without_permits(run, wait)

    def has_caused_any(self, run: Any) -> bool:
        """A run has a group once it has emitted something."""
        return run_of(run)[1].spawned is not None

    def has_caused(self, run: Any, other: Any) -> bool:
        """Runs of one execution only can wait for each other's signals."""
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
    """An async callable for a condition: it runs inline, and its answer is reduced to true or false here."""
    inline = _inline(handler)

    async def ask(data: Any) -> bool:
        return bool(await inline(data))

    return ask


def _threaded(handler: Handler) -> Invoker:
    async def call(data: Any) -> Any:
        loop = asyncio.get_running_loop()
        context = copy_context()
        future = loop.run_in_executor(_threads(), lambda: context.run(_caught, handler, data))
        try:
            value = await asyncio.shield(future)
            if isinstance(value, _Raised):
                raise value.error
        except asyncio.CancelledError:
            # A thread cannot be interrupted: its end is waited for, and the driver's deadline bounds that.
            future.add_done_callback(_retrieve)
            await asyncio.wait((future,))
            raise
        return await value if inspect.isawaitable(value) else value

    return call


class _Raised:
    """What a handler raised in its thread: a future cannot carry every exception (`StopIteration`)."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _caught(handler: Handler, data: Any) -> Any:
    try:
        return handler(data)
    except BaseException as error:
        return _Raised(error)


def _retrieve(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="triggerflow-chunk")
    return _pool
