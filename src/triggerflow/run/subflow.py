"""A flow that runs as a step of another flow: the child execution, and its connection to its parent.

The child is an execution of its own. Of its parent's data it sees only what `capture` gives it. Its stream items
are put into the parent's stream, and its interrupts are opened in the parent, both under the path of the step. If the
child fails, the step fails. Cancelling the step cancels the child. The child ends before the step does.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from .._core import commands, events
from .._core.definition import OperatorKind
from .._core.errors import ExecutionClosed, MissingResource, UsageError
from .._core.limits import around
from .._core.state import UNSET, Interrupt, RunChunk
from ..build.subflow import SubFlow
from . import ingress
from .actions import CANCEL, perform
from .interrupts import StepWithoutValue

if TYPE_CHECKING:
    from .runtime import ExecutionRuntime


class Link:
    """Connects a child execution to its parent: passes on its items, interrupts and requests for permits."""

    __slots__ = ("asked", "parent", "path", "run")

    def __init__(self, parent: "ExecutionRuntime", run: int, path: str) -> None:
        #: the ids that the child's interrupts have in the parent; kept here because the child forgets old answered
        #: interrupts
        self.asked: dict[str, None] = {}
        self.parent = parent
        self.run = run
        self.path = path

    def publish(self, item: Any, path: str) -> None:
        """Put an item of the child into the parent's stream."""
        # Not recorded as an effect of the step: a repeated step may run a child that puts other items.
        self._submit(events.StreamPut(self._now(), None, item, self._under(path)))

    def perform(self, child: "ExecutionRuntime", command: commands.AnyCommand) -> bool:
        """Perform a command of the child's core that concerns its parent; False for any other command."""
        match command:
            case commands.OpenInterrupt(interrupt=asked):
                number = self._under(asked.id)
                self.parent.children[number] = (child, asked.id)
                self.asked[number] = None
                self._submit(
                    events.Paused(
                        self._now(), self.run, number, asked.type, asked.payload, expires=asked.expires, holds=True
                    )
                )
            case commands.CloseInterrupt(interrupt=asked):
                number = self._under(asked.id)
                self.asked.pop(number, None)
                self.parent.children.pop(number, None)  # not there yet, if the child closes it while it is opened
                known = (self.parent.machine.state.interrupts or {}).get(number)
                if known is not None and known.status == "waiting":
                    self._submit(events.InterruptClosed(self._now(), number, asked.status == "expired"))
            case commands.RequestPermits(count=count):
                self._submit(events.PermitsRequested(self._now(), self.run, count))
            case commands.ReturnPermits(count=count):
                self._submit(events.PermitsReturned(self._now(), self.run, count))
            case _:
                return False
        return True

    def _submit(self, event: events.Event) -> None:
        with contextlib.suppress(ExecutionClosed):
            ingress.enter(self.parent, event, "flow.async_start")

    def _now(self) -> float:
        return self.parent.environment.now()

    def _under(self, rest: str) -> str:
        return f"{self.path}/{rest}" if rest else self.path


def _captures(handler: SubFlow, source: str) -> bool:
    return any(path[0] == source for paths in handler.capture.values() for path in paths.values())


def _has_no_result(child: "ExecutionRuntime") -> bool:
    """Whether a child that has an `end()` did not come to it, because of a failure that it has taken itself."""
    state = child.machine.state
    if state.result is not UNSET or not state.lost or state.rules < events.NO_VALUE:
        return False
    return any(node.kind is OperatorKind.RESULT for node in child.machine.plan.nodes)


class StepRunner(Protocol):
    """Makes the execution of a sub-flow. A flow's runtime is one."""

    async def new_child(self, **details: Any) -> "tuple[ExecutionRuntime, bool]":
        """Make the child execution. Returns it, and whether it continues an earlier one."""
        ...


async def run_sub_flow(handler: SubFlow, parent: "ExecutionRuntime", step: RunChunk, data: Any) -> Any:
    """Run the child of a step to its end, and return the value of the step. `data` is the argument a chunk would get.

    Raises the failure of the child, and `KeyError` for a `capture` or `write_back` path that is missing.
    """
    sources: dict[str, Any] = {
        "value": step.value,
        "runtime_data": data.state.to_dict(),
        "flow_data": dict(parent.shared.values) if _captures(handler, "flow_data") else {},
        "resources": dict(parent.resources),
    }
    given = {target: _pick(paths, sources) for target, paths in handler.capture.items()}
    path = path_of(step)
    link = Link(parent, step.id, path)
    runner = cast("StepRunner", handler.runner)
    child, goes_on = await runner.new_child(
        id=f"{parent.id}/{path}",
        concurrency=handler.concurrency,
        leases=bool(around(parent.machine.state, step.scope)),
        link=link,
        saved=parent.saved_children.pop(path, None),
        attempt=step.attempt,
        runtime_data=given.get("runtime_data") or {},
        flow_data=given.get("flow_data") or {},
        resources=given.get("resources") or {},
    )
    parent.children[path] = (child, "")
    try:
        _take_over(link, child)

        async def run() -> Any:
            if not goes_on:
                child.begin(given.get("input"))
            return await child.result()

        result = await ingress.from_outside(child, run)
        if parent.machine.state.rules >= events.NO_VALUE and _has_no_result(child):
            raise StepWithoutValue(step, parent.environment.now(), handler.flow.name)
    except asyncio.CancelledError:
        if child.durability.is_open(child):  # while closing; else both were suspended, and neither must end
            await perform(child, CANCEL, "the step of its parent was cancelled")
        raise
    finally:
        _release(link)
    return bring_back(handler, step, data, result)


def bring_back(handler: SubFlow, step: RunChunk, data: Any, result: Any) -> Any:
    """Write the result of a child back into its parent, and return the value of the step."""
    sources: dict[str, Any] = {"result": result}
    back = {target: _pick(paths, sources) for target, paths in handler.write_back.items()}
    for key, value in back.get("runtime_data", {}).items():
        data.state.set(key, value, emit=False)
    for key, value in back.get("flow_data", {}).items():
        data.flow_state.set(key, value, emit=False)
    value: Any = back.get("value", step.value)
    keyed = "" not in handler.write_back.get("value", {"": ()})
    before: Any = step.value
    if not keyed or not isinstance(before, Mapping):
        return value
    return {**cast("Mapping[str, Any]", before), **value}


def path_of(step: RunChunk) -> str:
    """The path of the child that a step runs, unique within its parent."""
    return f"{step.node.name}.{step.id}"


def _release(link: Link) -> None:
    """The child has ended: remove it from its parent, and close its open interrupts there."""
    parent = link.parent
    parent.children.pop(link.path, None)
    for number in link.asked:
        if parent.children.pop(number, None) is None:
            continue
        with contextlib.suppress(ExecutionClosed):
            ingress.enter(parent, events.InterruptClosed(parent.environment.now(), number), "flow.async_start")


def _take_over(link: Link, child: "ExecutionRuntime") -> None:
    """Connect a restored child: register its open interrupts, and pass on answers that the parent got meanwhile."""
    parent = link.parent
    for number, asked in (child.machine.state.interrupts or {}).items():
        if asked.status != "waiting":
            continue
        known = (parent.machine.state.interrupts or {}).get(f"{link.path}/{number}")
        if known is not None:
            parent.children[known.id] = (child, number)
            link.asked[known.id] = None
            if known.status == "resumed":
                _pass_on(child, number, known)
    outer: Link | None = link
    while link.asked and outer is not None:  # who wants to answer waits until it can be checked
        outer.parent.wake()
        outer = outer.parent.link


def perform_in_child(parent: "ExecutionRuntime", command: commands.GrantPermits | commands.Answer) -> None:
    """Perform a command of the parent's core that concerns a child: give it permits, or the answer to an interrupt."""
    match command:
        case commands.GrantPermits(run=step, count=count):
            child = parent.children[path_of(step)][0]
            with contextlib.suppress(
                ExecutionClosed
            ):  # the child is about to end: its permits are returned when the step ends
                ingress.enter(child, events.PermitsGranted(child.environment.now(), count), "flow.async_start")
        case commands.Answer(interrupt=interrupt):
            # If the child is still being restored, `_take_over` passes the answer on
            if interrupt.id in parent.children:
                _pass_on(*parent.children[interrupt.id], interrupt)


def _pass_on(child: "ExecutionRuntime", number: str, answered: Interrupt) -> None:
    """Give the answer of the parent's interrupt to the child. If the child's interrupt has closed meanwhile, the child
    itself reports that to the parent."""
    with contextlib.suppress(UsageError):
        ingress.answer(child, number, answered.response, answered.request)


def _pick(paths: Mapping[str, list[str]], sources: Mapping[str, Any]) -> Any:
    """Pick the values at the paths from data: one value for the key "", else a nested dict. Raises `KeyError` for a
    missing path."""
    picked: dict[str, Any] = {}
    for key, segments in paths.items():
        value: Any = sources
        for segment in segments:
            kind = MissingResource if segments[0] == "resources" else KeyError
            missing = kind(f"sub-flow: there is no {'.'.join(segments)!r}; {segment!r} is missing")
            if not isinstance(value, Mapping):
                value = getattr(value, segment, missing)
            else:
                value = cast("Mapping[str, Any]", value).get(segment, missing)
            if value is missing:
                raise missing
        if not key:
            return value
        *outer, last = key.split(".")
        nested = picked
        for name in outer:
            nested = nested.setdefault(name, {})
        nested[last] = value
    return picked
