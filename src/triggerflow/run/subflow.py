"""A flow that runs as a step of another: the child execution, and how it shows in its parent.

The child is an execution of its own, isolated from its parent but for what `capture` gives it. Its stream items arrive
in the parent's stream, its interrupts among the parent's, both under the path of the step. Its failure is the step's
failure, and cancelling the step cancels it. It ends before the step does.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from .._core import commands, events
from .._core.errors import ExecutionClosed, UsageError
from .._core.limits import around
from .._core.state import Interrupt, RunChunk
from ..build.subflow import SubFlow
from . import ingress

if TYPE_CHECKING:
    from .runtime import ExecutionRuntime


class Link:
    """How a child execution shows in its parent."""

    __slots__ = ("asked", "parent", "path", "run")

    def __init__(self, parent: "ExecutionRuntime", run: int, path: str) -> None:
        #: the ids of its interrupts in the parent; the child itself forgets answered ones, if there are many
        self.asked: dict[str, None] = {}
        self.parent = parent
        self.run = run
        self.path = path

    def publish(self, item: Any, path: str) -> None:
        """Put an item of the child into the parent's stream."""
        # Not an effect of the step: how many items the child put says nothing of what the step repeats.
        self._submit(events.StreamPut(self._now(), None, item, self._under(path)))

    def perform(self, child: "ExecutionRuntime", command: commands.AnyCommand) -> bool:
        """Do what the child's core asks of its parent; False if the command is not between the two."""
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
                if self.parent.children.pop(number, None) is not None:
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


class StepRunner(Protocol):
    """How the execution of a sub-flow is made: a flow's runtime."""

    async def new_child(self, **details: Any) -> "tuple[ExecutionRuntime, bool]":
        """An execution inside another one, and whether it goes on from before."""
        ...


async def run_sub_flow(handler: SubFlow, parent: "ExecutionRuntime", step: RunChunk, data: Any) -> Any:
    """Run the child of a step to its end, and return what the step passes on. `data` is what a chunk would get."""
    sources: dict[str, Any] = {
        "value": step.value,
        "runtime_data": data.state.to_dict(),
        "flow_data": dict(parent.shared.values),
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
    except asyncio.CancelledError:
        if child.durability.is_open(child):  # else it was suspended with its parent: neither has ended
            await ingress.from_outside(child, lambda: child.cancel("the step of its parent was cancelled"))
        raise
    finally:
        _release(link)
    return _bring_back(handler, step, data, result)


def _bring_back(handler: SubFlow, step: RunChunk, data: Any, result: Any) -> Any:
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
    """The name of the child that a step runs, within its parent."""
    return f"{step.node.name}.{step.id}"


def _release(link: Link) -> None:
    """The child has ended: its open questions are closed in the parent."""
    parent = link.parent
    parent.children.pop(link.path, None)
    for number in link.asked:
        if parent.children.pop(number, None) is None:
            continue
        with contextlib.suppress(ExecutionClosed):
            ingress.enter(parent, events.InterruptClosed(parent.environment.now(), number), "flow.async_start")


def _take_over(link: Link, child: "ExecutionRuntime") -> None:
    """A restored child: its parent knows its open interrupts, and some may have been answered meanwhile."""
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


def perform_in_child(parent: "ExecutionRuntime", command: commands.GrantPermits | commands.Answer) -> None:
    """Do what the parent's core asks of a child: give it permits, or the answer that it waits for."""
    match command:
        case commands.GrantPermits(run=step, count=count):
            child = parent.children[path_of(step)][0]
            with contextlib.suppress(ExecutionClosed):  # it is about to end: its permits come back with the step's
                ingress.enter(child, events.PermitsGranted(child.environment.now(), count), "flow.async_start")
        case commands.Answer(interrupt=interrupt):
            if interrupt.id in parent.children:  # else the child is being restored, and takes it then
                _pass_on(*parent.children[interrupt.id], interrupt)


def _pass_on(child: "ExecutionRuntime", number: str, answered: Interrupt) -> None:
    """Give the answer of the parent's interrupt to the child. If the child's own has ended meanwhile, the child reports
    that itself."""
    with contextlib.suppress(UsageError):
        ingress.answer(child, number, answered.response, answered.request)


def _pick(paths: Mapping[str, list[str]], sources: Mapping[str, Any]) -> Any:
    """What the paths lead to: one value for the key "", else a nested dict. Raises `KeyError` for a missing path."""
    picked: dict[str, Any] = {}
    for key, segments in paths.items():
        value: Any = sources
        for segment in segments:
            missing = KeyError(f"sub-flow: there is no {'.'.join(segments)!r}; {segment!r} is missing")
            if not isinstance(value, Mapping):
                value = getattr(value, segment, missing)
            else:
                value = cast("Mapping[str, Any]", value).get(segment, missing)
            if value is missing:
                raise missing
        if not key:
            return value
        *outer, last = key.split(".")
        place = picked
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = value
    return picked
