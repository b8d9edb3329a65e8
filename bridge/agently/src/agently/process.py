"""Chunks as `@flow.chunk` gives them, and the operators of a flow, with what Agently accepts beyond the engine."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from triggerflow import Chunk, DefinitionError, Process, UnknownChunkError
from triggerflow.builder import START, Blueprint
from triggerflow.chunk import handler_name

from .config import OPEN_END, RESTART, digest, heard
from .state import is_a, twin, view

_CLOSED_BY = {"for_each_split": "for_each_collect", "match_route": "match_collect"}


class TriggerFlowChunk:
    """A named handler: its id, the signal that its completion fires (`trigger`), and the events it declares."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk, self.name, self.handler, self.id = chunk, chunk.name, chunk.handler, digest(chunk.trigger.name)
        self.trigger = f"Chunk[{chunk.name}]-{self.id}"

    emit_signals = view(lambda self: list(self.chunk.emits))

    def declare_emits(self, *signals: str) -> "TriggerFlowChunk":
        """Say which events the chunk emits, for diagrams and exports. Raises `TypeError` for what is no name."""
        self.chunk.declare_emits(*signals)
        return self

    async def async_call(self, data: Any) -> Any:
        """Call the handler."""
        if inspect.iscoroutinefunction(self.handler):
            return await self.handler(data)
        return await asyncio.to_thread(self.handler, data)

    call, __call__ = twin("async_call"), async_call

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TriggerFlowChunk) and other.chunk is self.chunk

    def __hash__(self) -> int:
        return hash(self.trigger)


def unwrapped(chunk: Any, name: str | None = None) -> Any:
    """What the engine takes for a chunk."""
    if isinstance(chunk, TriggerFlowChunk):
        return chunk.chunk if name is None or name == chunk.name else (name, chunk.chunk.handler)
    return (chunk[0], unwrapped(chunk[1])) if is_a(chunk, tuple) and len(chunk) == 2 else chunk


def _misuse_as_not_implemented(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any) -> Any:
        try:
            return method(self, *args)
        except DefinitionError as error:
            raise NotImplementedError(str(error)) from error

    return call


class TriggerFlowProcess(Process):
    """A place in the graph; see the engine's `Process`. A block that is not open is a `NotImplementedError`."""

    __slots__ = ()
    case, case_else = _misuse_as_not_implemented(Process.case), _misuse_as_not_implemented(Process.case_else)
    end_match = _misuse_as_not_implemented(Process.end_match)
    end_for_each = _misuse_as_not_implemented(Process.end_for_each)

    def to(self, chunk: Any, side_branch: bool = False, name: str | None = None) -> Any:
        """Run a chunk: a chunk, a function, `(name, function)`, the name of a chunk, or a flow."""
        name, reference = None if isinstance(chunk, TriggerFlowChunk) else name, unwrapped(chunk, name)
        try:
            return super().to(reference, side_branch, name)
        except UnknownChunkError as error:
            raise NotImplementedError(str(error)) from error

    def when(self, trigger_or_triggers: Any, *, mode: Any = "and") -> Any:
        """Start a chain at one or several signals."""
        if not is_a(trigger_or_triggers, dict):
            return super().when(self._triggers(trigger_or_triggers), mode=mode)
        return super().when({kind: self._triggers(it) for kind, it in trigger_or_triggers.items()}, mode=mode)

    def _triggers(self, named: Any) -> Any:
        """Chunks and internal signals (`START`, a chunk's `trigger`, `Collect-name`) as what the engine knows."""
        if is_a(named, list, tuple, set, frozenset):
            return [self._triggers(it) for it in named]
        if isinstance(named, str) and named.startswith(("Chunk[", "Collect-")):
            own = {TriggerFlowChunk(chunk).trigger: chunk.trigger for chunk in self.blueprint.nodes.values()}
            return own.get(named) or self.blueprint.triggers({"collect": named.removeprefix("Collect-")})[0]
        return START if named == "START" else unwrapped(named)

    def batch(self, *chunks: Any, side_branch: bool = False, concurrency: int | None = None) -> Any:
        """Run several chunks with the same value. The same chunk or function twice is one branch."""
        branches: dict[Any, Any] = {}
        for chunk in map(unwrapped, chunks):
            known: Any = chunk if is_a(chunk, Chunk, str, tuple) else (handler_name(chunk), chunk)
            branches.setdefault(getattr(known, "name", known), chunk)
        return super().batch(*branches.values(), side_branch=side_branch, concurrency=concurrency)


def close_blocks(core: Blueprint) -> None:
    """Close the blocks that were left open, which Agently lets be: where their chains end. Later steps do it anew.

    And let what begins at the start do so at the event "START" too, unless it waits for something else besides.
    """
    kept = [it for it in core.operators if it.name != OPEN_END]
    core.operators = [heard(it, START, RESTART) if it.listens == (START,) else it for it in kept]
    for opener in reversed([it for it in core.operators if it.kind in _CLOSED_BY]):  # the innermost ones first
        if all(it.group != opener.id for it in core.operators):
            used = {trigger for it in core.operators for trigger in it.listens}
            fired = [it.emits[0] for it in core.operators if it.inside == opener.id and it.emits[0] not in used]
            kind, ends = type(opener.kind)(_CLOSED_BY[opener.kind]), tuple(fired) or opener.emits[:1]
            core.add(kind, f"{opener.id}/end", ends, name=OPEN_END, group=opener.id, inside=opener.inside)
