"""Spans as objects of the OpenTelemetry SDK, and their export."""

import asyncio
from collections.abc import Sequence

from opentelemetry import context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ..errors import TriggerFlowError
from . import names
from .ids import Ids, Parent
from .projection import Span

#: Its version is that of the rules by which frames become spans.
SCOPE = InstrumentationScope("triggerflow", "1")
#: The context keys that suppress spans of instrumented libraries. They have no public name.
_SUPPRESSED = [
    vars(context)[name]
    for name in ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY")
    if name in vars(context)
]


class ExportFailed(TriggerFlowError):
    """The exporter has raised an error, or reported a failure."""


def default_resource() -> Resource:
    """The resource from `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`; without them the service is "triggerflow".

    It lacks the random id of the process that the SDK adds, so that every process exports the same spans."""
    return Resource({"service.name": "triggerflow"}).merge(OTELResourceDetector().detect())


def context_of(parent: Parent, *, remote: bool) -> SpanContext:
    """A span as a `SpanContext` of the SDK."""
    return SpanContext(parent.trace, parent.span, remote, TraceFlags(parent.flags))


def readable(span: Span, ids: Ids, resource: Resource) -> ReadableSpan:
    """A span as exporters take it."""
    parent = span.parent
    remote = parent is not None and parent is ids.caller
    return ReadableSpan(
        name=span.name,
        context=context_of(ids.parent(span.id), remote=False),
        parent=None if parent is None else context_of(parent, remote=remote),
        resource=resource,
        attributes=span.attributes,
        events=[Event(it.name, it.attributes, it.at) for it in span.events],
        links=[Link(context_of(to, remote=why in ("caller", "original")), {names.LINK: why}) for to, why in span.links],
        kind=SpanKind.CONSUMER if span.incoming else SpanKind.CLIENT if span.calls_out else SpanKind.INTERNAL,
        status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=SCOPE,
    )


async def send(exporter: SpanExporter, spans: Sequence[ReadableSpan]) -> None:
    """Export spans in a thread, because exporters block. Raises `ExportFailed`."""
    if not spans:
        return
    where = f"{type(exporter).__name__} did not take {len(spans)} spans"
    # An instrumented HTTP client would make a span of each export.
    token = context.attach(context.Context(dict.fromkeys(_SUPPRESSED, True)))
    try:
        taken = await asyncio.to_thread(exporter.export, spans)
    except Exception as error:
        raise ExportFailed(f"{where}: it has raised {type(error).__name__}") from error
    finally:
        context.detach(token)
    if taken is not SpanExportResult.SUCCESS:
        raise ExportFailed(where)


def as_tree(spans: Sequence[ReadableSpan], *, seconds: bool = True) -> str:
    """Spans as indented lines for a person: name, duration (with `seconds`), outcome."""
    known = {_id(it.context): it for it in spans}
    below: dict[int, list[ReadableSpan]] = {}
    for span in spans:
        parent = _id(span.parent)
        below.setdefault(parent if parent in known else 0, []).append(span)
    lines: list[str] = []

    def add(parent: int, depth: int) -> None:
        for span in sorted(below.get(parent, ()), key=_order):
            given = span.attributes or {}
            said = [str(given[key]) for key in (names.STATUS, names.OUTCOME, names.ERROR_TYPE) if key in given]
            if int(str(given.get(names.ATTEMPT, 1))) > 1:
                said.insert(0, f"attempt {given[names.ATTEMPT]}")
            took = [f"{((span.end_time or 0) - (span.start_time or 0)) / 1e9:.2f} s"] if seconds else []
            lines.append("  " * depth + "  ".join(filter(None, (span.name, *took, ", ".join(said)))))
            add(_id(span.context), depth + 1)

    add(0, 0)
    return "\n".join(lines)


def _order(span: ReadableSpan) -> tuple[int, int]:
    frame = (span.attributes or {}).get(names.FRAME, 0)
    return span.start_time or 0, frame if isinstance(frame, int) else 0


def _id(context: SpanContext | None) -> int:
    return 0 if context is None else context.span_id
