"""Chunks as Agently's `@flow.chunk` returns them, and the blueprint with Agently's rules for names and references."""

import asyncio
import inspect
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from triggerflow import Chunk, Definition
from triggerflow.errors import DefinitionError
from triggerflow.extension import START, Blueprint, OperatorKind, Trigger

from .adapt import twin
from .config import OUTSIDE, RESTART, Names, digest, reference

_CLOSED_BY = {"for_each_split": "for_each_collect", "match_route": "match_collect"}
#: Names that Agently gives to internal signals, in contrast to events that users name.
_INTERNAL = re.compile(r"START$|Chunk\[|(Collect|Batch|ForEach|Match|When|SubFlow)-")


class TriggerFlowChunk:
    """A named handler: its id, the signal that its completion fires (`trigger`), and the events it declares."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk, self.name, self.handler, self.trigger = chunk, chunk.name, chunk.handler, chunk.trigger.name
        self.id = self.trigger.rpartition("]-")[2]

    emit_signals = property(lambda self: list(self.chunk.emits))
    callable_ref = property(lambda self: reference(self.handler, self.name, "registered"))

    def declare_emits(self, *signals: str) -> "TriggerFlowChunk":
        """Declare events that the chunk emits, for diagrams and exports. Raises `TypeError` if one is not a string."""
        self.chunk.declare_emits(*signals)
        return self

    async def async_call(self, data: Any) -> Any:
        is_async = inspect.iscoroutinefunction(self.handler)
        answer = self.handler(data) if is_async else await asyncio.to_thread(self.handler, data)
        return await answer if inspect.isawaitable(answer) else answer

    call, __call__ = twin("async_call"), async_call


class Graph(Blueprint):
    """The engine's blueprint with Agently's rules: each wiring of a function makes a new chunk.

    If several chunks have one name, the name refers to the last one.
    """

    one_operator_per_chunk = True

    def __init__(self, name: str, of: Blueprint | None = None) -> None:
        super().__init__(name)
        self.named_chunks: dict[str, TriggerFlowChunk] = {}
        #: how many chunks were registered under each name
        self.made: dict[str, int] = {}
        #: the operators of the configs that were loaded, as text
        self.loaded: list[str] = []
        if of is not None:
            self.take_over(of)

    def take_over(self, other: Blueprint) -> None:
        """Replace the content of this graph by that of another one."""
        held = Definition(self.name, tuple(other.operators), tuple(sorted(other.external)))
        self.load(held, other.nodes, other.handlers, replace=True)
        self.named_chunks = dict(other.named_chunks) if isinstance(other, Graph) else {}
        self.flows.update(other.flows)
        self.made, self.loaded = dict(getattr(other, "made", {})), list(getattr(other, "loaded", []))

    def load(self, definition: Definition, chunks: Mapping[str, Chunk], handlers: Any, *, replace: bool) -> None:
        super().load(definition, chunks, handlers, replace=replace)
        loaded = {it.name: TriggerFlowChunk(it) for it in chunks.values() if it.trigger.kind == "chunk"}
        self.named_chunks = loaded if replace else {**loaded, **self.named_chunks}

    def register(self, name: str | None, handler: Any, **options: Any) -> Chunk:
        function: str = getattr(getattr(handler, "func", handler), "__name__", type(handler).__name__)
        known = self.named_chunks.get(name or "")
        if known is not None and known.handler is not handler:
            raise DefinitionError(
                f"flow {self.name!r}: the chunk name {name!r} is already registered to another callable"
            )
        name = name or function
        trigger = Trigger("chunk", f"Chunk[{function}]-{self.unused(name)}")
        chunk = Chunk(name, handler, trigger=trigger, **options)
        self.named_chunks[name], self.chunks[name] = TriggerFlowChunk(chunk), chunk
        self.version += 1
        return chunk

    def unused(self, name: str, more: str = "") -> str:
        """The digits of the id of a new chunk of this name, which stand in no id of this graph and not in `more`."""
        used = {it.rpartition("]-")[2] for it in self.nodes} | {it.id for it in self.named_chunks.values()}
        while True:
            number = self.made[name] = self.made.get(name, 0) + 1
            if (digits := digest(f"{name} {number}")) not in used and digits not in more:
                return digits

    def resolve(self, reference: Any) -> Chunk:
        if isinstance(reference, Chunk | TriggerFlowChunk):
            chunk = reference if isinstance(reference, Chunk) else reference.chunk
            self.named_chunks.setdefault(chunk.name, TriggerFlowChunk(chunk))
            return chunk
        if isinstance(reference, str) and reference in self.named_chunks:
            return self.named_chunks[reference].chunk
        if isinstance(reference, tuple) and len(reference) == 2:
            name, handler = reference
            return self.register(name, handler.handler if isinstance(handler, TriggerFlowChunk) else handler)
        return self.register(None, reference) if callable(reference) else super().resolve(reference)

    def triggers(self, wanted: Any) -> tuple[Trigger, ...]:
        if isinstance(wanted, dict):
            return super().triggers({kind: self._meant(it, kind == "event") for kind, it in wanted.items()})
        several = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        return super().triggers(self._meant([self._chunk(it) for it in several], True))

    def _chunk(self, wanted: Any) -> Any:
        return self.named_chunks.get(wanted, wanted) if isinstance(wanted, str) else wanted

    def _meant(self, wanted: Any, is_event: bool) -> Any:
        """The argument of `when` with its chunks, events and internal signals (`START`, `When-...`) as triggers."""
        if isinstance(wanted, list | tuple | set | frozenset):
            return [self._meant(it, is_event) for it in wanted]
        if isinstance(wanted, TriggerFlowChunk):
            return wanted.chunk.trigger
        if not isinstance(wanted, str) or not (is_event or _INTERNAL.match(wanted)):
            return wanted
        names, fired = Names(self.freeze()), [*(it.emits[0] for it in self.operators), START]
        internal = {names.signal(it)["trigger_event"]: it for it in fired} if _INTERNAL.match(wanted) else {}
        kind = "collect" if wanted.startswith("Collect-") else "event"
        return internal.get(wanted) or Trigger(kind, wanted.removeprefix("Collect-"))

    def complete(self) -> "Graph":
        """A copy of this graph for exports. Chunks that are not wired are added as operators that listen to nothing."""
        made = Graph(self.name, self)
        for chunk in [it.chunk for it in self.named_chunks.values() if it.trigger not in self.nodes]:
            key, kind = made.handler_key(chunk.handler, chunk.name), OperatorKind.CHUNK
            made.add(kind, chunk.trigger.name, (), name=chunk.name, emits=(chunk.trigger,), handler=key)
            made.operators.insert(0, made.operators.pop())
            made.nodes[chunk.trigger.name] = chunk
        return made

    def executable(self, outside: Any) -> "Graph":
        """A copy of this graph for executions.

        It has one more chunk, which runs calls from outside. Blocks that the program left open are closed at the ends
        of their chains. Chunks that run at the start also run at the event "START".
        """
        made = Graph(self.name, self)
        for opener in reversed([it for it in made.operators if it.kind in _CLOSED_BY]):  # the innermost ones first
            if all(it.group != opener.id for it in made.operators):
                used = {trigger for it in made.operators for trigger in it.listens}
                fired = [it.emits[0] for it in made.operators if it.inside == opener.id and it.emits[0] not in used]
                kind, ends = type(opener.kind)(_CLOSED_BY[opener.kind]), tuple(fired) or opener.emits[:1]
                made.add(kind, f"{opener.id}/end", ends, group=opener.id, inside=opener.inside)
        for index, it in enumerate(made.operators):
            if it.listens == (START,):
                made.operators[index] = msgspec.structs.replace(it, listens=(START, RESTART))
        made.place(Chunk(OUTSIDE, outside), Trigger("event", OUTSIDE))
        return made
