"""Trace context in both directions: from callers into the journal, and from chunks to the spans inside them."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import NonRecordingSpan, get_current_span, set_span_in_context

from .._core.definition import OperatorKind
from .._core.state import RunChunk
from ..run import tracing
from ..run.runtime import ExecutionRuntime
from .ids import Ids, Parent, read_traceparent
from .sdk import context_of


class ContextTracer:
    """The `Tracer` for OpenTelemetry's current span."""

    def current(self) -> str | None:
        """The current span as a `traceparent`; None if there is none."""
        context = get_current_span().get_span_context()
        return str(Parent(context.trace_id, context.span_id, context.trace_flags & 1)) if context.is_valid else None

    @contextmanager
    def carrying(self, traceparent: str | None) -> Generator[None]:
        """Inside the block the span of a `traceparent` is the current one; with None there is no current span."""
        found = read_traceparent(traceparent)
        context = Context() if found is None else _in_context(found, remote=True)
        token = attach(context)
        try:
            yield
        finally:
            detach(token)

    @contextmanager
    def attempt(self, runtime: ExecutionRuntime, run: RunChunk) -> Generator[None]:
        """Inside the block the span of an attempt is the current one. Nothing changes for an execution in memory, since
        it is not exported."""
        found = span_of_attempt(runtime, run)
        if found is None:
            yield
            return
        token = attach(_in_context(found, remote=False))
        try:
            yield
        except GeneratorExit:  # the generator is closed, perhaps in another context, where `detach` would fail
            raise
        except BaseException:
            detach(token)
            raise
        else:
            detach(token)


def span_of_attempt(runtime: ExecutionRuntime, run: RunChunk) -> Parent | None:
    """The span that an attempt of a durable execution will have; None in memory."""
    root = runtime
    while root.link is not None:
        root = root.link.parent
    origin = root.durability.origin
    if origin is None:
        return None
    ids = _ids(root.id, *origin)
    attempt = 0 if run.node.kind is OperatorKind.SUB_FLOW else run.attempt
    return ids.parent(ids.run(runtime.id, run.id, attempt))


@lru_cache(1000)
def _ids(root: str, created: float, traceparent: str | None) -> Ids:
    return Ids(root, created, traceparent)


def _in_context(parent: Parent, *, remote: bool) -> Context:
    return set_span_in_context(NonRecordingSpan(context_of(parent, remote=remote)), get_current())


def propagate() -> Callable[[], None]:
    """Connect the executions of this process with OpenTelemetry's current span. Returns a function that ends this.

    With the start of a durable execution, and with signals, answers, cancellations and retries from outside, the
    current span is recorded as the caller. Inside of a chunk of a durable execution the span of the chunk is current,
    so that spans made there, also by libraries, are its children.
    """
    return tracing.install(ContextTracer())
