"""How user code is called: async handlers as they are, sync handlers in a thread or, where declared cheap, inline."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from .chunk import Handler, is_async

Invoker = Callable[[Any], Awaitable[Any]]

#: A thread is made only when all others are busy. The number is a guard, not a limit to plan with: a sync chunk may
#: wait for another sync chunk, so that a small pool could lock itself up.
MAX_THREADS = 1024
_pool: ThreadPoolExecutor | None = None


def invoker(handler: Handler, *, inline: bool, condition: bool) -> Invoker:
    """An async callable for any handler. A condition runs inline, and its answer is reduced to true or false here."""
    if condition:
        return _condition(handler)
    if is_async(handler):
        return handler
    return _inline(handler) if inline else _threaded(handler)


def _inline(handler: Handler) -> Invoker:
    async def call(data: Any) -> Any:
        value = handler(data)
        return await value if inspect.isawaitable(value) else value

    return call


def _condition(handler: Handler) -> Invoker:
    inline = _inline(handler)

    async def ask(data: Any) -> bool:
        return bool(await inline(data))

    return ask


def _threaded(handler: Handler) -> Invoker:
    async def call(data: Any) -> Any:
        loop = asyncio.get_running_loop()
        context = copy_context()
        future = loop.run_in_executor(_threads(), lambda: context.run(handler, data))
        try:
            value = await asyncio.shield(future)
        except asyncio.CancelledError:
            # A thread cannot be interrupted: its end is waited for, and the driver's deadline bounds that.
            future.add_done_callback(_retrieve)
            await asyncio.wait((future,))
            raise
        return await value if inspect.isawaitable(value) else value

    return call


def _retrieve(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="triggerflow-chunk")
    return _pool
