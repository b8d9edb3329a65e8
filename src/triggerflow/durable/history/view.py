"""`StateView`: the state of an execution after some record, read only and printable."""

from typing import Any, NamedTuple

import msgspec

from ..._core.events import ErrorInfo
from ..._core.state import UNSET, StatusName
from ...run.interrupts import describe_interrupt
from ..format.loading import RestoredExecution
from ..format.text import short


class RunningChunk(NamedTuple):
    """A chunk that had started and not ended. `phase` is ready (waits for a permit), running, waiting or backoff."""

    chunk: str
    run: int
    attempt: int
    phase: str
    value: Any


class StateView(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an execution after its first `records` records."""

    id: str
    flow: str
    records: int
    status: StatusName
    #: whether the execution was started, and its start value
    started: bool
    value: Any
    #: the execution's state by key
    state: dict[str, Any]
    #: whether the execution had a result, and the result
    has_result: bool
    result: Any
    error: ErrorInfo | None
    #: the open interrupts by id
    interrupts: dict[str, dict[str, Any]]
    running: list[RunningChunk]
    #: when its timers were due, in seconds since the epoch, the next one first
    timers: list[float]
    #: how many items its runtime stream had
    items: int

    def __str__(self) -> str:
        """The state as a few lines of text."""
        lines = [f"{self.id} of flow {self.flow!r} after {self.records} records: {self.status}"]
        if self.started:
            lines.append(f"  started with  {short(self.value)}")
        lines += [f"  state         {key} = {short(value)}" for key, value in self.state.items()]
        lines += [
            f"  {run.phase:<12}  {run.chunk}.{run.run}, attempt {run.attempt}, with {short(run.value)}"
            for run in self.running
        ]
        lines += [f"  asks          {id}: {short(it['payload'])}" for id, it in self.interrupts.items()]
        if self.items:
            lines.append(f"  stream        {self.items} items")
        if self.has_result:
            lines.append(f"  result        {short(self.result)}")
        if self.error is not None:
            lines.append(f"  error         {self.error.chunk}: {self.error.type}: {self.error.message}")
        return "\n".join(lines)


def view(id: str, flow: str, restored: RestoredExecution) -> StateView:
    """The view of a restored execution. Do not use the execution afterwards: the view shares its values."""
    state = restored.machine.state
    return StateView(
        id=id,
        flow=flow,
        records=state.records,
        status=state.status.value,
        started=state.started,
        value=None if restored.value is UNSET else restored.value,
        state=dict(state.data),
        has_result=state.result is not UNSET,
        result=None if state.result is UNSET else state.result,
        error=state.error,
        interrupts={
            number: describe_interrupt(it) for number, it in (state.interrupts or {}).items() if it.status == "waiting"
        },
        running=[
            RunningChunk(run.node.name, run.id, run.attempt, run.phase.name.lower(), run.value)
            for run in state.runs.values()
        ],
        timers=sorted(timer.due for timer in (state.timers or {}).values()),
        items=state.stream,
    )
