"""A flow as a step of another: what goes in, what comes back, and how the child shows in its parent.

The child is an execution of its own, isolated from its parent but for what `capture` gives it. Its stream items arrive
in the parent's stream, its interrupts among the parent's, both under the path of the step; its failure is the step's
failure, and cancelling the step cancels it. It ends before the step does.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, cast

from ._core import commands, events
from ._core.errors import DefinitionError, ExecutionClosed, UsageError
from ._core.limits import around
from ._core.state import Interrupt, RunChunk

if TYPE_CHECKING:
    from .data import TriggerFlowRuntimeData
    from .durable.history import History
    from .execution import Execution
    from .hosting import HostedExecution
    from .stores.protocol import Store

_SEGMENT = re.compile(r"[A-Za-z_]\w*")
_SOURCES = {"value", "runtime_data", "flow_data", "resources"}
_CAPTURE = {"input", "runtime_data", "flow_data", "resources"}
_WRITE_BACK = {"value", "runtime_data", "flow_data"}

Paths = Mapping[str, str | Mapping[str, str]]


class SubFlowOptions(TypedDict, total=False):
    """The options of `to_sub_flow`.

    `capture` says what the child gets: `{"input": "value.topic", "runtime_data": {"lang": "runtime_data.lang"}}`; its
    targets are `input`, `runtime_data`, `flow_data`, `resources`, its sources `value`, `runtime_data`, `flow_data`,
    `resources` of the parent, each a dotted path. `write_back` says what comes back: targets `value`, `runtime_data`,
    `flow_data`, source `result`. By default the value goes in and the result comes out; once said, nothing else does:
    without `input` the child starts with None, and without `value` the value of the chain stays as it is. A
    `{"value": {"key": "result"}}` sets a key in a copy of that value.
    """

    side_branch: bool
    name: str | None
    capture: Paths | None
    write_back: Paths | None
    concurrency: int | None


class Link:
    """How a child execution shows in its parent."""

    __slots__ = ("asked", "parent", "path", "run")

    def __init__(self, parent: "Execution", run: int, path: str) -> None:
        #: what its interrupts are called in the parent
        self.asked: dict[str, None] = {}
        self.parent = parent
        self.run = run
        self.path = path

    def publish(self, item: Any, path: str) -> None:
        """Put an item of the child into the parent's stream."""
        # Not an effect of the step: how many items the child put says nothing of what the step repeats.
        self._submit(events.StreamPut(time(), None, item, self._under(path)))

    def take(self, child: "HostedExecution", command: commands.AnyCommand) -> bool:
        """Do what the child's core asks of its parent; False if it is no matter between the two."""
        match command:
            case commands.OpenInterrupt(interrupt=asked):
                number = self._under(asked.id)
                self.parent.children[number] = (child, asked.id)
                self.asked[number] = None
                self._submit(
                    events.Paused(
                        time(), self.run, number, asked.type, asked.payload, expires=asked.expires, holds=True
                    )
                )
            case commands.CloseInterrupt(interrupt=asked):
                number = self._under(asked.id)
                self.asked.pop(number, None)
                if self.parent.children.pop(number, None) is not None:
                    self._submit(events.Withdrawn(time(), number, asked.status == "expired"))
            case commands.WantPlaces(count=count):
                self._submit(events.PlacesWanted(time(), self.run, count))
            case commands.ReturnPlaces(count=count):
                self._submit(events.PlacesReturned(time(), self.run, count))
            case _:
                return False
        return True

    def _submit(self, event: events.Event) -> None:
        with contextlib.suppress(ExecutionClosed):
            self.parent.submit(event)

    def _under(self, rest: str) -> str:
        return f"{self.path}/{rest}" if rest else self.path


class Runnable(Protocol):
    """What can be a sub-flow: a flow."""

    @property
    def name(self) -> str:
        """The name of the flow."""
        ...

    async def sub_execution(self, **details: Any) -> Any:
        """An execution inside another one, and whether it goes on from before."""
        ...

    def history(self, store: "Store | None" = None) -> "History":
        """What a store knows of its executions."""
        ...


class SubFlow:
    """The handler of a sub-flow step."""

    def __init__(self, flow: Runnable, options: SubFlowOptions, where: str) -> None:
        self.flow = flow
        self.concurrency = options.get("concurrency")
        given, back = options.get("capture"), options.get("write_back")
        self.capture = _paths({"input": "value"} if given is None else given, _CAPTURE, _SOURCES, f"{where}: capture")
        back = {"value": "result"} if back is None else back
        self.write_back = _paths(back, _WRITE_BACK, {"result"}, f"{where}: write_back")

    async def __call__(self, data: "TriggerFlowRuntimeData[Any, Any, Any]") -> Any:
        """Run the child to its end and return what the step passes on."""
        parent = data.execution
        sources: dict[str, Any] = {
            "value": data.value,
            "runtime_data": parent.state.to_dict(),
            "flow_data": dict(parent.shared.values),
            "resources": dict(parent.resources),
        }
        given = {target: _pick(paths, sources) for target, paths in self.capture.items()}
        step = parent.machine.state.runs[data.run_number]
        path = path_of(step)
        saved = parent.saved_children.pop(path, None)
        link = Link(parent, data.run_number, path)
        child, goes_on = await self.flow.sub_execution(
            id=f"{parent.id}/{path}",
            concurrency=self.concurrency,
            leases=bool(around(parent.machine.state, step.scope)),
            link=link,
            saved=saved,
            attempt=data.attempt,
            runtime_data=given.get("runtime_data") or {},
            flow_data=given.get("flow_data") or {},
            resources=given.get("resources") or {},
        )
        parent.children[path] = (child, "")
        try:
            _take_over(link, child)
            result = await (child.async_get_result() if goes_on else child.async_start(given.get("input")))
        except asyncio.CancelledError:
            await child.async_cancel("the step of its parent was cancelled")
            raise
        finally:
            _let_go(link)
        return self._bring_back(data, result)

    def _bring_back(self, data: "TriggerFlowRuntimeData[Any, Any, Any]", result: Any) -> Any:
        sources: dict[str, Any] = {"result": result}
        back = {target: _pick(paths, sources) for target, paths in self.write_back.items()}
        for key, value in back.get("runtime_data", {}).items():
            data.state.set(key, value, emit=False)
        for key, value in back.get("flow_data", {}).items():
            data.flow_state.set(key, value, emit=False)
        value: Any = back.get("value", data.value)
        keyed = "" not in self.write_back.get("value", {"": ()})
        before: Any = data.value
        if not keyed or not isinstance(before, Mapping):
            return value
        return {**cast("Mapping[str, Any]", before), **value}


def path_of(step: RunChunk) -> str:
    """What the child that a step runs goes by in its parent."""
    return f"{step.node.name}.{step.id}"


def _let_go(link: Link) -> None:
    """The child has ended: nobody is asked any more what it had asked."""
    parent = link.parent
    parent.children.pop(link.path, None)
    for number in link.asked:
        if parent.children.pop(number, None) is not None:
            with contextlib.suppress(ExecutionClosed):
                parent.submit(events.Withdrawn(time(), number))


def _take_over(link: Link, child: Any) -> None:
    """A restored child: its open interrupts are known to the parent, and some may have been answered meanwhile."""
    parent = link.parent
    for number, asked in child.get_pending_interrupts().items():
        known = (parent.machine.state.interrupts or {}).get(f"{link.path}/{asked['id']}")
        if known is not None:
            parent.children[known.id] = (child, number)
            link.asked[known.id] = None
            if known.status == "resumed":
                _pass_on(child, number, known)


def hand_down(parent: "HostedExecution", command: commands.GrantPlaces | commands.Answer) -> None:
    """Do what the parent's core asks of a child: give it places, or the answer that it waits for."""
    match command:
        case commands.GrantPlaces(run=step, count=count):
            with contextlib.suppress(ExecutionClosed):  # it is about to end: its places come back with the step's
                parent.children[path_of(step)][0].submit(events.PlacesGranted(time(), count))
        case commands.Answer(interrupt=interrupt):
            if interrupt.id in parent.children:  # else the child is being restored, and takes it then
                _pass_on(*parent.children[interrupt.id], interrupt)


def _pass_on(child: "HostedExecution", number: str, answered: Interrupt) -> None:
    """Give the answer of the parent's interrupt to the child; how its own has ended meanwhile, it tells by itself."""
    with contextlib.suppress(UsageError):
        child.answer(number, answered.response, answered.request)


def _paths(wanted: Paths, targets: set[str], sources: set[str], where: str) -> dict[str, dict[str, list[str]]]:
    """The paths, split: per target scope, target key ("" for the whole) to source path."""
    found: dict[str, dict[str, list[str]]] = {}
    for target, paths in _mapping(wanted, where).items():
        scope, _, rest = target.partition(".")
        if scope not in targets:
            raise DefinitionError(f"{where}: {target!r} is no target; use {sorted(targets)}")
        pairs: Mapping[str, str] = {rest: paths} if isinstance(paths, str) else _mapping(paths, where)
        for key, source in pairs.items():
            if not key and scope not in ("input", "value"):
                error = TypeError if isinstance(paths, str) else DefinitionError
                raise error(f"{where}: {scope!r} takes keys only: {{{scope!r}: {{'key': {source!r}}}}}")
            if not isinstance(source, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"{where}: a path is a string of names joined by dots; got {source!r}")
            segments = source.split(".")
            if segments[0] not in sources:
                raise DefinitionError(f"{where}: {source!r} does not begin with one of {sorted(sources)}")
            for segment in (*segments, *(key.split(".") if key else ())):
                if not _SEGMENT.fullmatch(segment):
                    raise DefinitionError(f"{where}: {segment!r} is no name; paths are names joined by dots")
            known = found.setdefault(scope, {})
            for other in known:
                if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.") or not (key and other):
                    raise DefinitionError(f"{where}: {scope}.{key} and {scope}.{other} overlap")
            known[key] = segments
    return found


def _mapping(wanted: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(wanted, Mapping):
        raise TypeError(f"{where} maps targets to paths, or to a mapping of keys to paths; got {wanted!r}")
    return cast("Mapping[str, Any]", wanted)


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
