"""Spans of one execution, folded from its frames. Independent of telemetry libraries and clocks.

There is a span for the execution, for each attempt of a run, for each question from asking to its end, and for each
signal that comes from outside or is delayed. All are children of the execution's span. Causes are links, not parents: a
run often outlives its cause, or begins long after it, and a cause can have thousands of runs.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from ..backend import ExecutionInfo, Frame, RunChange
from ..backend.frames import MOMENT
from ..stores.protocol import FINAL_STATUSES
from . import names
from .ids import Ids, Parent, read_traceparent

#: The most events and links of a span, and the most characters of a captured value.
MOST, LONGEST = 128, 16_384

Attributes = dict[str, str | int | float | bool | Sequence[str]]


#: The attributes for the fields of a recorded call of a model.
_CALL = {
    "model": names.RESPONSE_MODEL,
    "id": names.RESPONSE_ID,
    "input_tokens": names.INPUT_TOKENS,
    "output_tokens": names.OUTPUT_TOKENS,
}


class Mark(msgspec.Struct):
    """An event of a span, at a time in nanoseconds."""

    name: str
    at: int
    attributes: Attributes = {}


class Span(msgspec.Struct, kw_only=True):
    """A finished span. Times are nanoseconds since the epoch."""

    name: str
    id: int
    parent: Parent | None
    start: int
    end: int = 0
    attributes: Attributes
    events: list[Mark] = []
    links: list[tuple[Parent, str]] = []
    #: the name of the error's class; None without an error
    error: str | None = None
    #: whether it came from outside of the execution, or calls something outside
    incoming: bool = False
    calls_out: bool = False
    #: the number of the frame with which it has ended
    frame: int = 0


class Observation(msgspec.Struct):
    """A value for a metric, with the time in seconds and the attributes."""

    metric: str
    value: float
    at: float
    attributes: Attributes


class _Run(msgspec.Struct):
    """An open run. `span` is that of its present attempt."""

    number: int
    chunk: str
    operator: str
    is_step: bool
    attempt: int
    losses: int
    links: list[tuple[Parent, str]]
    #: since when it waits for a permit or a process
    ready: int | None = None
    span: Span | None = None
    due: float | None = None


class Projector:
    """Folds the frames of one execution into spans, and into observations for metrics (`counted`)."""

    def __init__(
        self,
        info: ExecutionInfo,
        ids: Ids,
        parent: Parent | None,
        *,
        original: Parent | None = None,
        capture: bool = False,
    ) -> None:
        self.info = info
        self.ids = ids
        self._parent = parent
        self._original = original
        self._capture = capture
        #: the number of the last frame
        self.number = 0
        self.counted: list[Observation] = []
        #: the runs of its sub-flow steps, by the prefix of the ids of their executions
        self._steps: dict[str, int] = {}
        self._retries = 0
        self._root: Span | None = None
        self._previous_root: Span | None = None
        self._runs: dict[int, _Run] = {}
        #: the last attempts of runs that have failed or were cancelled: a retry of the execution continues these runs
        self._cut: dict[int, int] = {}
        self._questions: dict[str, Span] = {}
        self._signals: dict[int, Span] = {}
        self._labels: dict[int, str] = {}
        #: the frames that have sent the delayed signals, by timer
        self._timers: dict[int, int] = {}
        self._fired = 0
        self._at = 0
        self._copied = False
        self._suspended: int | None = None
        self._out: list[Span] = []

    def take(self, frame: Frame) -> list[Span]:
        """Take the next frame, and return the spans that have ended with it."""
        at = _ns(frame.at)
        self._out = []
        # A fork begins with copied frames: spans that end in them belong to the original only.
        copied = self.info.forked_from is not None and frame.number <= self.info.forked_from[1]
        if self._copied and not copied:
            self._begin_fork(at)
        if frame.kind == MOMENT:
            self._begin_at_moment(frame, at)
        if frame.kind == "retried" and self._root is None:
            self._retries += 1
            self._begin(frame, at)
        elif self._root is None and frame.status not in FINAL_STATUSES:
            self._begin(frame, at)
            self._count(names.STARTED, 1, frame)
        self._note(frame, at)
        for change in sorted(frame.runs, key=lambda it: it.run in self._runs):  # causes are looked up before they end
            self._run(change, frame, at)
        for question in frame.questions:
            if not question.inside:
                self._question(question.id, question.open, frame, at)
        if self._root is not None and frame.status in FINAL_STATUSES:
            self._end(frame, at)
        self.number, self._at, self._copied = frame.number, at, copied
        if copied:
            self.counted.clear()
            return []
        return self._out

    def step_of(self, child: str) -> Parent | None:
        """The span of the step that has started this execution of a sub-flow; None if it is unknown."""
        run = self._steps.get(child)
        if run is None:
            prefix, _, number = child.rpartition(".")
            run = self._steps.get(prefix) if number.isdecimal() else None
        return None if run is None else self.ids.parent(self.ids.run(self.info.id, run, 0))

    # -- the execution -----------------------------------------------------------------------------------------------

    def _begin(self, frame: Frame, at: int) -> None:
        attributes: Attributes = {
            names.OPERATION_NAME: names.INVOKE_WORKFLOW,
            names.WORKFLOW_NAME: self.info.flow,
            names.EXECUTION: self.info.id,
            names.FRAME: frame.number,
        }
        if self._retries:
            attributes[names.RETRIES] = self._retries
        links: list[tuple[Parent, str]] = []
        if self._previous_root is not None:
            links.append((self.ids.parent(self._previous_root.id), "retried"))
        if self._original is not None:
            links.append((self._original, "original"))
        caller = read_traceparent(frame.record.get("traceparent")) if frame.kind == "retried" else None
        if caller is not None:
            links.append((caller, "caller"))
        self._root = Span(
            name=f"{names.INVOKE_WORKFLOW} {self.info.flow}",
            id=self.ids.execution(self.info.id, self._retries),
            parent=self._parent,
            start=at,
            attributes=attributes,
            events=[],
            links=links,
        )

    def _begin_at_moment(self, frame: Frame, at: int) -> None:
        """Take the whole state, since earlier frames were deleted. Open spans began at an unknown earlier time."""
        state = frame.state
        assert state is not None
        self._runs.clear()
        self._questions.clear()
        self._signals.clear()
        if self._root is None:
            self._begin(frame, at)
        assert self._root is not None
        self._root.attributes[names.TRIMMED] = True
        if state.status in FINAL_STATUSES:
            self._end(msgspec.structs.replace(frame, error=state.error, result=state.result), _ns(self.info.updated))
            return
        for it in state.runs:
            change = RunChange(
                run=it.run, phase=it.phase, operator=it.operator, chunk=it.chunk, attempt=it.attempt,
                losses=it.losses, sub_flow=it.sub_flow,
            )  # fmt: skip
            self._run(change, frame, at)
            span = self._runs[it.run].span
            if span is not None:
                span.attributes[names.TRIMMED] = True
        for asked in state.questions:
            if not asked.inside:
                since = at if asked.since is None else _ns(asked.since)
                self._questions[asked.id] = self._question_span(asked.id, asked.type, frame, since)

    def _begin_fork(self, at: int) -> None:
        """After the copied frames: let all open spans begin now. Open attempts have run in the original only."""
        for run in self._runs.values():
            if not run.is_step:
                run.span, run.ready = None, at
        open_now = [self._root, *(it.span for it in self._runs.values()), *self._questions.values()]
        for span in (*open_now, *self._signals.values()):
            if span is not None:
                span.start, span.events = at, []

    def _end(self, frame: Frame, at: int) -> None:
        for number in list(self._signals):
            self._close_signal(number, frame, at, "dropped")
        root = self._root
        assert root is not None
        self._root, self._previous_root = None, root
        root.attributes[names.STATUS] = frame.status
        if frame.error is not None:
            root.attributes[names.ERROR_TYPE] = root.error = frame.error.type
            if self._capture:
                root.attributes[names.MESSAGE] = frame.error.message
        if frame.has_result:
            self._captured(root, names.OUTPUT, frame.result)
        self._finish(root, frame, at)
        self._count(names.ENDED, 1, frame, status=frame.status)

    def _note(self, frame: Frame, at: int) -> None:
        """Take from a record all but its changes of runs and questions."""
        record, kind, root = frame.record, frame.kind, self._root
        if kind == "suspended":
            self._suspended = at
        if root is None:
            return
        if frame.definition:
            root.attributes[names.DEFINITION] = frame.definition
        match kind:
            case "started":
                self._captured(root, names.INPUT, record.get("value"))
                if "delay" in record:
                    self._open_signal("start", frame, at)
            case "emitted":
                run = self._runs.get(record.get("run") or 0)
                if record.get("run") is None or "delay" in record:
                    self._open_signal(record["name"], frame, at)
                elif run is not None and run.span is not None:
                    _mark(run.span, "emitted", at, {names.SIGNAL: record["name"]})
            case "timer_fired":
                self._close_signal(self._timers.pop(record["timer"], 0), frame, at, "fired")
            case "signals_cancelled":
                for number, span in list(self._signals.items()):
                    if record["name"] in (span.attributes[names.SIGNAL], self._labels.get(number)):
                        self._close_signal(number, frame, at, "cancelled")
            case "cancel_requested":
                _mark(root, kind, at)
                self._link(root, read_traceparent(record.get("traceparent")), "caller")
            case "recovered" | "suspended":
                _mark(root, kind, at)
            case _:
                pass

    # -- runs --------------------------------------------------------------------------------------------------------

    def _run(self, change: RunChange, frame: Frame, at: int) -> None:
        run = self._runs.get(change.run)
        if run is None:
            if change.phase == "ended":
                return
            run = _Run(
                number=change.run,
                chunk=change.chunk,
                operator=change.operator,
                is_step=change.sub_flow is not None,
                attempt=change.attempt,
                losses=change.losses,
                links=self._causes(change, frame),
            )
            self._runs[change.run] = run
            if change.sub_flow is not None:
                self._steps[change.sub_flow] = change.run
            if (cut := self._cut.pop(change.run, None)) is not None:
                run.links.append((self.ids.parent(self.ids.run(self.info.id, change.run, cut)), "attempt"))
        elif change.phase == "ended":
            self._close_run(run, change, frame, at)
            del self._runs[change.run]
            return
        elif change.attempt != run.attempt:
            if run.span is not None and run.is_step:
                _mark(run.span, "interrupted", at)
            elif run.span is not None:
                self._close_run(run, change, frame, at)
            run.attempt, run.losses = change.attempt, change.losses
        # After a submit or a retry, a run begins when a process takes the execution over.
        if change.phase == "running" and change.attempt > 0 and frame.kind != "retried":
            if run.span is None:
                self._begin_run(run, frame, at)
            else:
                _mark(run.span, "continued", at)
        elif change.phase == "backoff":
            run.due = frame.at + frame.record.get("retry_in", 0.0)
        elif run.span is not None:
            _mark(run.span, change.phase, at)
        elif run.ready is None:
            run.ready = at

    def _begin_run(self, run: _Run, frame: Frame, at: int) -> None:
        attributes: Attributes = {
            names.EXECUTION: self.info.id,
            names.CHUNK: run.chunk,
            names.OPERATOR: run.operator,
            names.RUN: run.number,
            names.FRAME: frame.number,
        }
        if not run.is_step:
            attributes[names.ATTEMPT] = run.attempt
        queued = 0.0 if run.ready is None else max(0, at - run.ready) / 1e9
        if run.ready is not None:
            attributes[names.QUEUED] = queued
        if run.due is not None:
            self._count(names.LATENESS, max(0.0, frame.at - run.due), frame, timer="retry")
        self._count(names.QUEUE_SECONDS, queued, frame, chunk=run.chunk)
        run.span = Span(
            name=f"{'sub_flow' if run.is_step else 'chunk'} {run.chunk}",
            id=self.ids.run(self.info.id, run.number, 0 if run.is_step else run.attempt),
            parent=self._inside(),
            start=at,
            attributes=attributes,
            events=[],
            links=run.links,
        )
        run.ready, run.due, run.links = None, None, []

    def _close_run(self, run: _Run, change: RunChange, frame: Frame, at: int) -> None:
        """End the span of an attempt with this frame."""
        span = run.span
        if span is None:
            return
        outcome, error = self._outcome(run, change, frame)
        end = at
        if outcome == "lost":
            # The process has died at an unknown time between the frame before and this one.
            _mark(span, "process lost", self._at)
            span.attributes[names.LOSSES] = change.losses
        elif outcome == "interrupted" and self._suspended is not None:
            end = max(span.start, self._suspended)
        if outcome in ("failed", "cancelled") and change.phase == "ended":
            self._cut[run.number] = 0 if run.is_step else run.attempt
            if len(self._cut) > MOST:
                del self._cut[next(iter(self._cut))]
        span.attributes[names.OUTCOME] = outcome
        if error is not None:
            self._fail(span, error, at)
        if outcome == "failed" and "retry_in" in frame.record:
            span.attributes[names.RETRY_DELAY] = frame.record["retry_in"]
        if outcome == "completed":
            self._captured(span, names.OUTPUT, frame.record.get("value"))
        run.span = None
        run.links = [(self.ids.parent(span.id), "attempt")]
        self._calls(run, span, frame)
        self._finish(span, frame, end)
        seconds = max(0, span.end - span.start) / 1e9
        if not run.is_step:
            self._count(names.CHUNK_SECONDS, seconds, frame, chunk=run.chunk, outcome=outcome)

    def _outcome(self, run: _Run, change: RunChange, frame: Frame) -> tuple[str, dict[str, Any] | None]:
        """How an attempt has ended, and the recorded error if there is one."""
        record = frame.record
        if frame.kind in ("recovered", "retried"):
            lost = change.losses > run.losses
            return ("lost", {"type": "ProcessLost"}) if lost else ("interrupted", None)
        if record.get("run") == run.number:
            match frame.kind:
                case "completed":
                    failure = record.get("failure")
                    return "completed" if failure is None else "fallback", failure
                case "failed":
                    return ("no value", None) if record.get("missing") else ("failed", record["error"])
                case "paused":
                    return "asked", None
                case _:
                    pass
        return "cancelled", None

    def _calls(self, run: _Run, span: Span, frame: Frame) -> None:
        """Make the spans of the calls of models in the record that ends an attempt."""
        if frame.record.get("run") != run.number:
            return
        for number, call in enumerate(frame.record.get("calls") or (), 1):
            attributes: Attributes = {names.OPERATION_NAME: names.CHAT, names.EXECUTION: self.info.id}
            for field, name in _CALL.items():
                if field in call:
                    attributes[name] = call[field]
            if "finish" in call:
                attributes[names.FINISH_REASONS] = [call["finish"]]
            begun = _ns(call["at"])
            made = Span(
                name=f"{names.CHAT} {call.get('model', '')}".rstrip(),
                id=self.ids.call(self.info.id, run.number, run.attempt, number),
                parent=self.ids.parent(span.id),
                start=begun,
                attributes=attributes,
                events=[],
                links=[],
                calls_out=True,
            )
            end = begun + _ns(call["seconds"])
            if "error" in call:
                self._fail(made, {"type": call["error"]}, end)
            self._finish(made, frame, end)

    def _causes(self, change: RunChange, frame: Frame) -> list[tuple[Parent, str]]:
        """The links of a new run to its causes."""
        id, found = self.info.id, list[tuple[Parent, str]]()
        if change.cause != frame.number:
            return found  # an earlier frame has caused it: it is a retry
        by = self._runs.get(change.by or 0)
        if by is not None and by.span is not None:
            found.append((self.ids.parent(by.span.id), "cause"))
        elif frame.kind == "resumed":
            asked = self._questions.get(frame.record["interrupt"])
            if asked is not None:
                found.append((self.ids.parent(asked.id), "question"))
        elif frame.kind == "timer_fired" and self._fired:
            found.append((self.ids.parent(self.ids.signal(id, self._fired)), "cause"))
        elif frame.kind == "emitted":
            found.append((self.ids.parent(self.ids.signal(id, frame.number)), "cause"))
        return found

    # -- waits -------------------------------------------------------------------------------------------------------

    def _open_signal(self, name: str, frame: Frame, at: int) -> None:
        """Begin the span of a signal from outside, or of a delayed one. Without a delay it ends at once."""
        record = frame.record
        attributes: Attributes = {names.EXECUTION: self.info.id, names.SIGNAL: name, names.FRAME: frame.number}
        delay = record.get("delay")
        if delay is not None:
            attributes[names.DELAY] = delay
        span = Span(
            name=f"signal {name}" if frame.kind == "emitted" else "delayed start",
            id=self.ids.signal(self.info.id, frame.number),
            parent=self._inside(),
            start=at,
            attributes=attributes,
            events=[],
            links=[],
            incoming=record.get("run") is None,
        )
        if frame.kind == "emitted":
            self._captured(span, names.INPUT, record.get("value"))
        self._link(span, read_traceparent(record.get("traceparent")), "caller")
        by = self._runs.get(record.get("run") or 0)
        if by is not None and by.span is not None:
            self._link(span, self.ids.parent(by.span.id), "cause")
        self._signals[frame.number] = span
        if "label" in record:
            self._labels[frame.number] = record["label"]
        self._timers.update(dict.fromkeys(frame.timers, frame.number))
        if delay is None:
            self._close_signal(frame.number, frame, at, "sent")

    def _close_signal(self, number: int, frame: Frame, at: int, outcome: str) -> None:
        span = self._signals.pop(number, None)
        self._labels.pop(number, None)
        self._fired = 0 if span is None else number
        if span is None:
            return
        span.attributes[names.OUTCOME] = outcome
        self._finish(span, frame, at)
        if outcome == "fired":
            late = max(0.0, at / 1e9 - span.start / 1e9 - float(str(span.attributes[names.DELAY])))
            self._count(names.LATENESS, late, frame, timer="signal")

    def _question(self, id: str, is_open: bool, frame: Frame, at: int) -> None:
        record = frame.record
        if is_open:
            kind = record.get("type", "pause") if frame.kind == "paused" else "question"
            span = self._questions[id] = self._question_span(id, kind, frame, at)
            asker = record.get("run")
            attempt = next((it.attempt for it in frame.runs if it.run == asker), None)
            if frame.kind == "paused" and asker is not None and attempt is not None:
                self._link(span, self.ids.parent(self.ids.run(self.info.id, asker, attempt)), "cause")
            self._captured(span, names.INPUT, record.get("payload"))
            return
        span = self._questions.pop(id, None)
        if span is None:
            return
        outcome = "withdrawn"
        if frame.kind == "resumed":
            outcome = "answered"
            self._link(span, read_traceparent(record.get("traceparent")), "caller")
            self._captured(span, names.OUTPUT, record.get("value"))
        elif record.get("expired"):
            outcome = "expired"
            self._fail(span, {"type": "InterruptExpired"}, at)
        span.attributes[names.OUTCOME] = outcome
        self._finish(span, frame, at)

    def _question_span(self, id: str, kind: str, frame: Frame, at: int) -> Span:
        return Span(
            name=f"question {kind}",
            id=self.ids.question(self.info.id, frame.number, id),
            parent=self._inside(),
            start=at,
            attributes={
                names.EXECUTION: self.info.id,
                names.QUESTION: id,
                names.QUESTION_TYPE: kind,
                names.FRAME: frame.number,
            },
            events=[],
            links=[],
        )

    # -- all spans ---------------------------------------------------------------------------------------------------

    def _inside(self) -> Parent:
        """The span of the execution."""
        return self.ids.parent(self.ids.execution(self.info.id, self._retries))

    def _finish(self, span: Span, frame: Frame, at: int) -> None:
        span.end = max(span.start, at)
        span.frame = frame.number
        self._out.append(span)

    def _fail(self, span: Span, error: dict[str, Any], at: int) -> None:
        span.error = span.attributes[names.ERROR_TYPE] = error["type"]
        attributes: Attributes = {names.EXCEPTION_TYPE: error["type"]}
        if self._capture and "message" in error:
            attributes[names.MESSAGE] = error["message"]
        _mark(span, "exception", at, attributes)

    def _captured(self, span: Span, name: str, value: Any) -> None:
        if self._capture:
            span.attributes[name] = msgspec.json.encode(value).decode()[:LONGEST]

    def _link(self, span: Span, to: Parent | None, why: str) -> None:
        if to is not None and len(span.links) < MOST:
            span.links.append((to, why))

    def _count(self, metric: str, value: float, frame: Frame, **attributes: str) -> None:
        of: Attributes = {names.WORKFLOW_NAME: self.info.flow}
        of |= {f"triggerflow.{key}": text for key, text in attributes.items()}
        self.counted.append(Observation(metric, value, frame.at, of))


def _mark(span: Span, name: str, at: int, attributes: Attributes | None = None) -> None:
    if len(span.events) < MOST:
        span.events.append(Mark(name, max(at, span.start), attributes or {}))
    else:
        dropped = span.attributes.get(names.DROPPED, 0)
        span.attributes[names.DROPPED] = int(str(dropped)) + 1


def _ns(at: float) -> int:
    """Seconds since the epoch as nanoseconds, rounded to the microseconds that a float of today's time has."""
    return round(at * 1_000_000) * 1000
