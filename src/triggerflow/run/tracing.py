"""The trace context of callers: which span of the caller's trace has caused something.

The engine knows no telemetry library. It records the W3C `traceparent` of the caller that starts an execution as the
label `TRACEPARENT`, and that of a caller that sends a signal, an answer, a cancellation or a retry in its record. A
`Tracer` (`triggerflow.telemetry`) supplies the present context, and the context inside of a chunk. Without one, the
context is that of `carrying`, such as the header of an HTTP request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from .._core.events import ModelCall

if TYPE_CHECKING:
    from .._core.state import RunChunk
    from .runtime import ExecutionRuntime

#: The label of an execution with the trace context of its creator; also the name of the header and the fields.
TRACEPARENT = "traceparent"
#: The syntax of a trace context: version, trace, span, flags, and in later versions more.
TRACE_CONTEXT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
#: The longest trace context that is recorded. Version 00 has 55 characters; later ones may have more.
LONGEST = 128


class Tracer(Protocol):
    """Connects executions with a telemetry library."""

    def current(self) -> str | None:
        """The trace context of the caller; None if no span is current."""
        ...

    def carrying(self, traceparent: str | None) -> AbstractContextManager[None]:
        """Make this the current trace context inside of the block; None: make no span current."""
        ...

    def attempt(self, runtime: ExecutionRuntime, run: RunChunk) -> AbstractContextManager[None]:
        """Make the span of an attempt of a run current while its chunk runs inside of the block. Must not raise."""
        ...


#: The tracer of this process. The drivers read it before each chunk.
tracer: Tracer | None = None

#: How many calls of models are noted for an attempt; further ones are not.
MOST_CALLS = 128


class Calls:
    """The calls of models during one attempt of a chunk."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.noted: list[ModelCall] = []

    def note(self, call: ModelCall) -> None:
        """Add a call that has ended."""
        if len(self.noted) < MOST_CALLS:
            self.noted.append(call)


#: The calls of the attempt that runs; None outside of chunks, and where no tracer is installed.
calls: ContextVar[Calls | None] = ContextVar("triggerflow.calls", default=None)

_carried: ContextVar[str | None] = ContextVar("triggerflow.traceparent", default=None)


def install(new: Tracer) -> Callable[[], None]:
    """Use a tracer in this process. Returns a function that restores the one before, unless another was installed."""
    global tracer
    before, tracer = tracer, new

    def remove() -> None:
        global tracer
        if tracer is new:
            tracer = before

    return remove


def current() -> str | None:
    """The trace context of the caller, None if there is none."""
    found = _carried.get() if tracer is None else tracer.current()
    return found if found is not None and 0 < len(found) <= LONGEST and found.isascii() else None


@contextmanager
def carrying(traceparent: str | None) -> Generator[None]:
    """Inside of the block, this is the trace context of the caller; None: there is none."""
    if tracer is not None:
        with tracer.carrying(traceparent):
            yield
        return
    token = _carried.set(traceparent)
    try:
        yield
    finally:
        _carried.reset(token)


def labelled(labels: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The labels of a new execution, with the trace context of the caller unless they have one."""
    found = None if labels is not None and TRACEPARENT in labels else current()
    return labels if found is None else {**(labels or {}), TRACEPARENT: found}
