"""`Blueprint`: collects the chunks, handlers and operators of a flow, and makes an immutable `Definition` of them.

The calls of a `Chain` add the operators. What an operator does when it runs is decided in `_core.operators`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, cast

import msgspec

from .._core.definition import Definition, Operator, OperatorKind, completed_by
from .._core.errors import DefinitionError, NotAChunkError, UnknownChunkError
from .._core.signals import ANY_CHUNK, Trigger, TriggerKind
from .alike import same
from .arguments import closest, line, text
from .chunk import Chunk, Handler, check_handler, check_options, handler_name
from .emits import emitted_names, sent_names
from .places import Written, settle, without_repeats
from .subflow import SubFlow, is_flow

#: The keys that `when` accepts in a dict, and the kind of trigger that each means.
WHEN_KEYS: Mapping[str, TriggerKind] = {
    "event": "event",
    "chunk": "chunk",
    "runtime_data": "state",
    "state": "state",
    "flow_data": "flow_data",
    "collect": "collect",
    "error": "error",
    "timer": "timer",
}


class Blueprint:
    """The operators of a flow that is being built, with its chunks and handlers by name."""

    #: Whether all places of a chunk are one operator with several causes, and everything that follows any place follows
    #: each run: for front ends whose language means that. Then nothing is taken for a repetition, either.
    one_operator_per_chunk = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.operators: list[Operator] = []
        self.chunks: dict[str, Chunk] = {}
        self.handlers: dict[str, Handler] = {}
        self.nodes: dict[str, Chunk] = {}
        #: flows by name, which a loaded definition can use as sub-flows
        self.flows: dict[str, Any] = {}
        #: names of the events that are declared external
        self.external: set[str] = set()
        #: names of the events that are declared (`flow.signal`)
        self.signals: set[str] = set()
        #: grows with every change; a compiled plan of another version is stale
        self.version = 0
        self._ids: set[str] = set()
        #: registered name by id of the callable; `handlers` keeps the callables alive
        self._named: dict[int, str] = {}
        #: triggers of the chunks that are wired, by the name of the chunk
        self._attached: dict[str, list[Trigger]] = {}
        #: names of chunks by the name of the trigger that is theirs
        self._owners: dict[str, str] = {}
        #: chunks of plain functions, by the function
        self._plain: dict[Any, Chunk] = {}
        self._written = Written()
        #: where `when` was given a plain string, by that string; and a name or function as a chunk, by the trigger
        self._heard: dict[str, str] = {}
        self._awaited: dict[Trigger, str] = {}
        #: where `when` was given the name of a collection, by that name
        self._collections: dict[str, str] = {}
        #: the last number tried for each name that was taken
        self._counted: dict[tuple[str, str], int] = {}

    # -- chunks ------------------------------------------------------------------------------------------------------

    def register(self, name: str | None, handler: Handler, **options: Any) -> Chunk:
        """Register a chunk by name and return it.

        The same name with the same function gives the same chunk, with the options of both calls added up. A chunk
        that is registered under a second name has the options of the first, except those given here. The default name
        is that of the function; if another function has it, `name#2` and so on.
        """
        name = text(name)
        given = check_options(options, f"flow {self.name!r}: chunk {handler_name(handler) if name is None else name!r}")
        if isinstance(handler, Chunk):
            given = {**handler.policies(), **given}
            handler = handler.handler
        if name is None:
            name = handler_name(handler)
            known = self.chunks.get(name)
            if known is not None and not same(known.handler, handler):
                name = self._unique("chunk", name, self.chunks, self._owners)
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise NotAChunkError(f"flow {self.name!r}: a chunk's name must be a non-empty string, got {name!r}")
        known = self.chunks.get(name)
        if known is not None:
            return self._again(known, handler, given)
        free = name if self._owners.get(name, name) == name else self._unique("node", name, self._owners, self.chunks)
        chunk = Chunk(name, handler, trigger=Trigger("chunk", free), **given)
        self.chunks[name], self._owners[free] = chunk, name
        self.version += 1
        return chunk

    def _again(self, known: Chunk, handler: Handler, given: Mapping[str, Any]) -> Chunk:
        """Add options to a chunk that is already registered, and return it.

        The same function defined again replaces the earlier one (a cell of a notebook). Raises `DefinitionError` for
        another callable, and for an option that the chunk has with another value.
        """
        self._written.plain.discard(known.trigger)
        if known.handler != handler and same(known.handler, handler):
            self._replace(known, handler)
        elif known.handler != handler:
            raise DefinitionError(
                f"flow {self.name!r}: chunk name {known.name!r} is already registered to another callable; "
                "choose another name"
            )
        more, has = known.differing(given), known.policies()
        clashing = [name for name in more if name in has]
        if clashing:
            first = ", ".join(f"{name}={has[name]!r}" for name in clashing)
            again = ", ".join(f"{name}={given[name]!r}" for name in clashing)
            raise DefinitionError(
                f"flow {self.name!r}: chunk {known.name!r} has {first} already, and {again} is given here; "
                "give the option in one place only, or register the function under a second name: "
                f"flow.chunk({known.name + '_2'!r}, {again})(function)"
            )
        emits = [name for name in given.get("emits", ()) if name not in known.emits]
        if more or emits:
            known.extend({**{name: given[name] for name in more}, "emits": (*known.emits, *emits)})
            self.operators = [
                msgspec.structs.replace(it, options=_placed(known, it.options))
                if it.kind is OperatorKind.CHUNK and self.nodes.get(it.emits[0].name) is known
                else it
                for it in self.operators
            ]
            self.version += 1
        return known

    def _replace(self, chunk: Chunk, handler: Handler) -> None:
        """Put a function in the place of an earlier one that does the same."""
        for key, it in self.handlers.items():
            if it == chunk.handler:
                self.handlers[key] = handler
        if id(chunk.handler) in self._named:
            self._named[id(handler)] = self._named.pop(id(chunk.handler))
        chunk.handler = handler
        self.version += 1

    def _policies_of(self, handler: Handler) -> Mapping[str, Any]:
        """The options of the chunk that has this function and its name; none if there is no such chunk."""
        known = self.chunks.get(handler_name(handler))
        return known.policies() if known is not None and known.handler == handler else {}

    def resolve(self, reference: Any) -> Chunk:
        """The chunk for a reference: a chunk, a function, the name of a chunk, or `(name, function)`."""
        if isinstance(reference, tuple):
            reference = tuple(text(it) for it in cast("tuple[Any, ...]", reference))
        match text(reference):
            case Chunk():
                known = self.chunks.get(reference.name)
                if known is None:
                    return self._adopted(reference)
                if not same(known.handler, reference.handler):
                    raise DefinitionError(
                        f"flow {self.name!r}: {reference!r} belongs to another flow, and this flow has "
                        f"a chunk of that name; give it another name here: ({reference.name + '_2'!r}, chunk)"
                    )
                return cast("Chunk", reference) if reference.trigger == known.trigger else known
            case str() as name:
                return self.named(name)
            case (str() as name, Chunk()):
                return self.register(name, cast("Handler", reference[1]))
            case (str() as name, handler):
                check_handler(handler, f"flow {self.name!r}: chunk {name!r}")
                return self.register(name, handler, **({} if name in self.chunks else self._policies_of(handler)))
            case _ if callable(reference):
                return self._anonymous(reference)
            case _:
                raise NotAChunkError(
                    f"flow {self.name!r}: {reference!r} is not a chunk; give a chunk, a function, the name of a chunk, "
                    "or (name, function)"
                )

    def named(self, name: str) -> Chunk:
        """The chunk of this name. Raises `UnknownChunkError`, which suggests the nearest names."""
        chunk = self.chunks.get(name)
        if chunk is None:
            near = closest(name, self.chunks)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {sorted(self.chunks)}"
            raise UnknownChunkError(f"flow {self.name!r}: there is no chunk named {name!r}; {hint}")
        return chunk

    def _adopted(self, chunk: Chunk) -> Chunk:
        """A chunk that was registered elsewhere, as a chunk of this flow."""
        if self._owners.get(chunk.trigger.name, chunk.name) != chunk.name:
            free = Trigger("chunk", self._unique("node", chunk.name, self._owners, self.chunks))
            chunk = Chunk(chunk.name, chunk.handler, trigger=free, **chunk.policies())
        self.chunks[chunk.name], self._owners[chunk.trigger.name] = chunk, chunk.name
        return chunk

    def _anonymous(self, handler: Handler) -> Chunk:
        """The chunk of a plain function: the one that was registered with it, else one with the function's name."""
        known = self._of_function(handler)
        if known is not None:
            return known
        name = handler_name(handler)
        trigger = Trigger("chunk", self._unique("node", name, self._owners, self.chunks))
        chunk = Chunk(name, handler, trigger=trigger)
        if self.chunks.setdefault(name, chunk) is chunk:
            self._written.plain.add(trigger)
        self._owners[trigger.name] = name
        try:
            self._plain[handler] = chunk
        except TypeError:  # it has no hash
            self._plain[id(handler)] = chunk
        return chunk

    def _of_function(self, handler: Handler) -> Chunk | None:
        known = self.chunks.get(handler_name(handler))
        if known is not None and known.handler == handler:
            return known
        try:
            return self._plain.get(handler)
        except TypeError:
            return self._plain.get(id(handler))

    def _unique(self, what: str, name: str, *taken: Container[str]) -> str:
        """The name if it is free, else the first free one of `name#2`, `name#3` and so on.

        The search continues from the last number tried, so that many equal names do not cost a search each.
        """
        number, candidate = self._counted.get((what, name), 1), name
        while any(candidate in names for names in taken):
            number += 1
            candidate = f"{name}#{number}"
        self._counted[what, name] = number
        return candidate

    def handler_key(self, handler: Handler, name: str) -> str:
        """The name by which the definition refers to a callable: its registered name, else `name`.

        It does not depend on the order of attaching, unless another callable has that name; then a number is added.
        """
        key, number = self._named.get(id(handler), name), 1
        while not same(self.handlers.setdefault(key, handler), handler):
            number += 1
            key = f"{name}#{number}"
        return key

    def name_handler(self, handler: Handler, name: str | None = None) -> str:
        """Register a callable by a name that a loaded definition can use; return the name.

        Operators that refer to it by a generated name (a lambda's) refer to it by this name from now on.
        Raises `DefinitionError` if the name belongs to another callable, or if no name is given and its own is not
        stable.
        """
        where = f"flow {self.name!r}: register handler {name or handler!r}"
        check_handler(handler, where)
        name = name or handler_name(handler)
        if not is_stable_name(name, handler):
            raise DefinitionError(
                f"{where}: {name!r} is not a stable name, so that another process could not find the handler; pass a "
                "name of its own as name="
            )
        known = self.handlers.get(name) or (self.chunks[name].handler if name in self.chunks else handler)
        if not same(known, handler):
            raise DefinitionError(f"{where}: {name!r} is registered to another callable; choose another name")
        made_up = {key for key, it in self.handlers.items() if it == handler and not is_stable_name(key, it)}
        for key in made_up:
            del self.handlers[key]
        self.operators = [
            msgspec.structs.replace(it, handler=name) if it.handler in made_up else it for it in self.operators
        ]
        self.handlers[name] = handler
        self._named.setdefault(id(handler), name)
        self.version += 1
        return name

    # -- operators ---------------------------------------------------------------------------------------------------

    def add(
        self,
        kind: OperatorKind,
        label: str,
        listens: Iterable[Trigger],
        *,
        name: str | None = None,
        emits: tuple[Trigger, ...] | None = None,
        handler: str | None = None,
        options: Mapping[str, Any] | None = None,
        group: str | None = None,
        inside: str | None = None,
    ) -> Trigger:
        """Add an operator and return the trigger that it fires when it is done.

        Its id is the label, so that adding an operator changes no other id. If the label is taken, the triggers that
        the operator listens to are added to the id.
        """
        heard = tuple(listens)
        identity = label
        if label in self._ids:
            identity = self._unique("operator", f"{label}<-{describe(heard)}", self._ids)
        self._ids.add(identity)
        self._written.labels[identity] = label
        if kind in _TELL_LINE:
            self._written.lines[identity] = line()
        done = emits if emits is not None else (Trigger("operator", identity),)
        kept = {key: value for key, value in (options or {}).items() if value is not None or key == "equals"}
        self.operators.append(
            Operator(
                id=identity,
                kind=kind,
                name=name or label,
                listens=heard,
                emits=done,
                handler=handler,
                options=kept,
                group=group,
                inside=inside,
            )
        )
        self.version += 1
        return done[0]

    def attach(self, reference: Any, at: Trigger, *, side_branch: bool = False, inside: str | None = None) -> Trigger:
        """Add an operator that runs a chunk, given by any reference, when a trigger fires. Returns its own trigger."""
        return self.place(self.resolve(reference), at, side_branch=side_branch, inside=inside)

    def place(self, chunk: Chunk, at: Trigger, *, side_branch: bool = False, inside: str | None = None) -> Trigger:
        """Add an operator that runs a chunk of this flow when a trigger fires.

        Returns the trigger that it fires itself: at the first place that of the chunk, at each further one its own.
        """
        trigger, options = chunk.trigger, _placed(chunk, {"side_branch": side_branch or None})
        if self.one_operator_per_chunk:
            if trigger == at:
                raise DefinitionError(
                    f"flow {self.name!r}: chunk {chunk.name!r} is chained to itself and would trigger itself forever; "
                    f"for a second step with the same function use a second name: ({chunk.name + '_again'!r}, function)"
                )
        elif self.nodes.get(trigger.name) is not None:
            options["completes"] = trigger.name
            trigger = Trigger("chunk", self._unique("node", trigger.name, self._owners, self.chunks))
        self.add(
            OperatorKind.CHUNK,
            trigger.name,
            (at,),
            name=chunk.name,
            emits=(trigger,),
            handler=self.handler_key(chunk.handler, chunk.name),
            options=options,
            inside=inside,
        )
        self.nodes[trigger.name], self._owners[trigger.name] = chunk, chunk.name
        attached = self._attached.setdefault(chunk.name, [])
        if chunk.trigger not in attached:
            attached.append(chunk.trigger)
        return trigger

    def branch_is_default(self) -> None:
        """The branch of the collect that was added last is named after the step before it."""
        self._written.default_branches.add(self.operators[-1].id)

    def name_of(self, chunk: Any) -> str:
        """The name of a chunk, given by itself, its function or its name, for a step that goes back to it."""
        wanted: Any = text(chunk)
        if isinstance(wanted, str) and wanted:
            return wanted
        if isinstance(wanted, Chunk):
            return self.resolve(wanted).name
        if is_flow(wanted):
            return str(cast("Any", wanted).name)
        if callable(wanted):
            named = [name for name, it in self.chunks.items() if it.handler == wanted]
            return named[0] if named else self._anonymous(wanted).name
        raise NotAChunkError(f"flow {self.name!r}: back_to() takes a chunk, its function or its name, got {chunk!r}")

    def triggers(self, wanted: Any) -> tuple[Trigger, ...]:
        """The argument of `when` as triggers, without repetition."""
        found: list[Trigger] = []
        if isinstance(wanted, Mapping):
            for key, names in cast("Mapping[Any, Any]", wanted).items():
                kind = WHEN_KEYS.get(str(key))
                if kind is None:
                    raise DefinitionError(
                        f"flow {self.name!r}: a dict for when() has the keys {list(WHEN_KEYS)}, not {key!r}"
                    )
                found.extend(self._trigger(name, kind) for name in _many(names))
        else:
            for name in map(text, _many(wanted)):
                if isinstance(name, str):
                    self._heard.setdefault(name, line())
                found.append(self._trigger(name, "event"))
        if not found:
            raise DefinitionError(f"flow {self.name!r}: when() has no trigger; give the name of an event, or a chunk")
        return tuple(dict.fromkeys(found))

    def _trigger(self, name: Any, kind: TriggerKind) -> Trigger:
        name = text(name)
        if isinstance(name, Trigger):
            return name
        if kind == "timer":
            return Trigger("timer", _seconds(name, self.name))
        if kind == "error":
            return Trigger("error", ANY_CHUNK if name == ANY_CHUNK else self._chunk(name).name)
        if kind == "collect" and isinstance(name, str):
            self._collections.setdefault(name, line())
        if kind == "chunk" or (kind == "event" and not isinstance(name, str)):
            return self._chunk(name)
        if isinstance(name, str) and name:
            return Trigger(kind, name)
        raise self._no_trigger(name)

    def _chunk(self, name: Any) -> Trigger:
        """The trigger of a chunk, given by itself, its name, its function, or the flow that a step runs."""
        if is_flow(name):
            name = str(name.name)
        if isinstance(name, Chunk):
            return self.resolve(name).trigger
        if isinstance(name, str) and name:
            return self._completion(name)
        if callable(name) and not self.one_operator_per_chunk:
            trigger = self._anonymous(name).trigger
            self._awaited.setdefault(trigger, line())
            return trigger
        for chunk in self.nodes.values():
            if self.one_operator_per_chunk and chunk.handler == name:
                return self._completion(chunk.name)
        raise self._no_trigger(name)

    def _no_trigger(self, name: Any) -> NotAChunkError:
        return NotAChunkError(
            f"flow {self.name!r}: when() cannot listen to {name!r}; give the name of an event, a chunk, or a dict with "
            f"the keys {list(WHEN_KEYS)}"
        )

    def _completion(self, name: str) -> Trigger:
        """The trigger of the chunk of this name, which may be registered later; see `_completions`."""
        if not self.one_operator_per_chunk:
            trigger = Trigger("chunk", name)
            self._awaited.setdefault(trigger, line())
            return trigger
        attached = self._attached.get(self.named(name).name, [])
        if len(attached) > 1:
            raise DefinitionError(_several(self.name, name, len(attached), f"when({name!r})"))
        return attached[0] if attached else self.chunks[name].trigger

    def _completions(self) -> dict[str, str]:
        """For the chunks that were given to `when` by name or as a function: from that name to the name of the trigger.

        Names that are equal are left out. Raises `UnknownChunkError` if no chunk has the name, and `DefinitionError` if
        several chunks have it or if a function is not wired in this flow.
        """
        found: dict[str, str] = {}
        for trigger, place in self._awaited.items():
            name = trigger.name
            if name in self._owners and self._owners[name] != name:  # a function, which was given itself
                if trigger not in self._attached.get(self._owners[name], ()):
                    found[name] = self._wired_as(trigger, place)
                continue
            try:
                chunk = self.named(name)
            except UnknownChunkError as error:
                raise UnknownChunkError(f"{error} (when() at {place})") from None
            if isinstance(chunk.handler, SubFlow):  # see `_heard_of`
                continue
            attached = self._attached.get(name, [])
            if len(attached) > 1:
                attached = [it for it in attached if it in self._once()]
            if len(attached) > 1:
                raise DefinitionError(_several(self.name, name, len(attached), f"when() at {place}"))
            own = (attached or [chunk.trigger])[0].name
            if not attached and chunk.trigger in self._written.plain:
                own = self._wired_as(chunk.trigger, place)
            if own != name:
                found[name] = own
        return found

    def _once(self) -> set[Trigger]:
        """The triggers of the steps that are left when those that are written again are dropped."""
        return {it.emits[0] for it in without_repeats(self.name, self.operators, self._written, self._alike)}

    def _alike(self, one: Operator, other: Operator) -> bool:
        """Whether two operators have the same handler."""
        if one.handler == other.handler:
            return True
        if one.handler is None or other.handler is None:
            return False
        return same(self.handlers.get(one.handler), self.handlers.get(other.handler))

    def _heard_of(self, operators: list[Operator]) -> list[Operator]:
        """The operators, with the chunk named on each sub-flow and condition that a `when` hears of as a chunk.

        Raises `DefinitionError` for a `when` of a chunk that is not wired, and of a collection that nothing fills.
        """
        steps = {trigger.name for it in operators if it.kind in _RUN and (trigger := completed_by(it)).kind == "chunk"}
        named: dict[str, str] = {}
        for gate in operators:
            if gate.kind is not OperatorKind.GATE or gate.id in self._written.fixed:
                continue
            for trigger in gate.listens:
                if trigger.kind in ("chunk", "error") and trigger.name not in steps and trigger.name != ANY_CHUNK:
                    found = self._runs_as(trigger, operators)
                    if not found:
                        raise DefinitionError(
                            f"flow {self.name!r}: when(){self._written.at(gate)} waits for the "
                            f"{'failure' if trigger.kind == 'error' else 'completion'} of chunk {trigger.name!r}, "
                            "which is not wired in this flow; wire it, for example with flow.to(...)"
                        )
                    named.update(dict.fromkeys(found, trigger.name))
        collections = {it.name for it in operators if it.kind is OperatorKind.COLLECT}
        for name, place in self._collections.items():
            if name not in collections:
                near = closest(name, collections, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"add a branch with .collect({name!r})"
                raise DefinitionError(
                    f"flow {self.name!r}: when() at {place} waits for the collection {name!r}, which nothing fills; "
                    f"{hint}"
                )
        if not named:
            return operators
        return [
            msgspec.structs.replace(it, options={**it.options, "completes": named[it.id]}) if it.id in named else it
            for it in operators
        ]

    def _runs_as(self, trigger: Trigger, operators: Iterable[Operator]) -> list[str]:
        """The ids of the sub-flows of this name; for a failure also of the conditions with the function of this
        chunk."""
        found = [it.id for it in operators if it.kind is OperatorKind.SUB_FLOW and it.name == trigger.name]
        chunk = self.chunks.get(self._owners.get(trigger.name, trigger.name))
        if found or chunk is None or trigger.kind != "error":
            return found
        cases = [it for it in operators if it.kind is OperatorKind.MATCH_CASE and it.handler is not None]
        return [it.id for it in cases if same(self.handlers.get(it.handler or ""), chunk.handler)]

    def _wired_as(self, trigger: Trigger, place: str) -> str:
        """The name of the trigger of the chunk that has the function of this plain chunk, which is not wired itself."""
        plain = next(it for it in self._plain.values() if it.trigger == trigger)
        wired = {it.trigger.name for it in self.nodes.values() if same(it.handler, plain.handler)}
        if len(wired) > 1:
            wired &= {it.name for it in self._once()}
        if len(wired) > 1:
            raise DefinitionError(
                _several(self.name, plain.name, len(wired), f"when() at {place}", "chunks", "function")
            )
        if not wired and any(same(self.handlers.get(it.handler or ""), plain.handler) for it in self.operators):
            return trigger.name  # the function of a condition: its failures can be heard, see `_heard_of`
        if not wired:
            raise DefinitionError(
                f"flow {self.name!r}: when() at {place} listens to the function {plain.name!r}, which is not wired "
                f"in this flow; wire it, for example flow.to({plain.name}), or give the name of an event"
            )
        return wired.pop()

    def _check_events(self, operators: Iterable[Operator]) -> None:
        """Raise `DefinitionError` for `when("x")` if a chunk has that name, and nothing is known to send the event.

        `when("x").to(x)` is clear: if it meant the completion, the chunk would start itself for ever.
        """
        doubtful = {name: place for name, place in self._heard.items() if name in self.chunks}
        if not doubtful:
            return
        sent = self.external | self.signals
        gates: dict[Trigger, set[str]] = {}
        for it in operators:
            sent |= {trigger.name for trigger in it.emits[1:]}
            if it.kind is OperatorKind.GATE:
                gates[it.emits[0]] = {trigger.name for trigger in it.listens if trigger.kind == "event"}
            sent |= {it.name for trigger in it.listens if it.name in gates.get(trigger, ())}
        doubtful = {name: place for name, place in doubtful.items() if name not in sent}
        for handler in (*self.handlers.values(), *(chunk.handler for chunk in self.nodes.values())) if doubtful else ():
            for name in doubtful.keys() & sent_names(handler):
                del doubtful[name]
        for name, place in doubtful.items():
            raise DefinitionError(
                f"flow {self.name!r}: when({name!r}) at {place} waits for an event {name!r}, but nothing in this flow "
                f"is known to send it, and there is a chunk of that name. To wait for the chunk, write when(chunk) or "
                f"when({{'chunk': {name!r}}}); to wait for the event, write when({{'event': {name!r}}})"
            )

    def condition(self, condition: Any, where: str) -> str:
        """Register the function of a case and return the name by which the definition refers to it."""
        check_handler(condition, where)
        return self.handler_key(condition, handler_name(condition))

    def load(
        self, definition: Definition, chunks: Mapping[str, Chunk], handlers: Mapping[str, Handler], *, replace: bool
    ) -> None:
        """Add the operators of a checked definition; with `replace` they replace those of this blueprint.

        `chunks` holds the chunks of its operators by the name of their trigger, `handlers` the callables by the names
        that the definition uses. Raises `DefinitionError` if an id or a chunk exists here already; the blueprint is
        unchanged then.
        """
        if not replace:
            twice = [it.id for it in definition.operators if it.id in self._ids]
            twice += [name for name, it in chunks.items() if self.nodes.get(name, it).handler is not it.handler]
            if twice:
                raise DefinitionError(
                    f"flow {self.name!r} has the step {twice[0]!r} already, and so has the loaded definition; load it "
                    "with replace=True, or into another flow"
                )
        else:
            self.name = definition.name
            self.operators, self._ids, self.nodes, self._attached, self._counted = [], set(), {}, {}, {}
            self.external, self._written, self._plain, self._heard, self._awaited = set(), Written(), {}, {}, {}
            self._owners = {chunk.trigger.name: name for name, chunk in self.chunks.items()}
        self.external.update(definition.external)
        self.operators.extend(definition.operators)
        self._ids.update(operator.id for operator in definition.operators)
        self._written.fixed.update(operator.id for operator in definition.operators)
        self.nodes.update(chunks)
        self._owners.update((name, chunk.name) for name, chunk in chunks.items())
        self.handlers.update(handlers)
        for operator in definition.operators:
            if operator.kind is OperatorKind.CHUNK:
                chunk = chunks[operator.emits[0].name]
                if self.chunks.setdefault(chunk.name, chunk).handler is chunk.handler:
                    self.chunks[chunk.name] = chunk
                attached = self._attached.setdefault(chunk.name, [])
                if chunk.trigger not in attached:
                    attached.append(chunk.trigger)
        self.version += 1

    # -- the result --------------------------------------------------------------------------------------------------

    def freeze(self) -> Definition:
        """The definition of the flow as it is now. Later changes to the flow do not change it.

        Raises `DefinitionError` for an external event that nothing listens to, a `when` whose meaning is not clear, and
        a step that cannot go back to where it should.
        """
        written = self.operators if self.one_operator_per_chunk else self._settled()
        events = {t.name for operator in written for t in operator.listens if t.kind == "event"}
        branches: dict[str, list[str]] = {}
        for operator in written:
            if operator.kind is OperatorKind.COLLECT:
                branches.setdefault(operator.name, []).append(operator.options["branch"])
        for name in sorted(self.external - events):
            raise DefinitionError(self._not_listened_to(name, events))
        operators = tuple(self._completed(operator, events, branches) for operator in written)
        self._check_events(operators)
        return Definition(self.name, operators, tuple(sorted(self.external)))

    def _settled(self) -> list[Operator]:
        """The operators with everything decided that depends on the whole flow; see `places`."""
        renamed = self._completions()
        operators = self.operators
        if renamed:
            operators = [_renamed(it, renamed) if it.id not in self._written.fixed else it for it in operators]
        return self._heard_of(settle(self.name, operators, self._written, self._alike))

    def _not_listened_to(self, name: str, heard: set[str]) -> str:
        near = closest(name, heard, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"listen to it with flow.when({name!r})"
        return f"flow {self.name!r}: event {name!r} is declared external, but nothing listens to it; {hint}"

    def _completed(self, operator: Operator, heard: set[str], branches: Mapping[str, list[str]]) -> Operator:
        """The operator with what depends on the whole flow: the events of a chunk, the branches of a collection."""
        if operator.kind is OperatorKind.COLLECT:
            met = list(dict.fromkeys(branches[operator.name]))
            return msgspec.structs.replace(operator, options={**operator.options, "branches": met})
        chunk = self.nodes.get(operator.emits[0].name) if operator.kind is OperatorKind.CHUNK else None
        if chunk is None:
            return operator
        names = sorted((emitted_names(chunk.handler) & heard) | set(chunk.emits))
        if not names:
            return operator
        emits = (operator.emits[0], *(Trigger("event", name) for name in names))
        return msgspec.structs.replace(operator, emits=emits)


#: The kinds of operators whose line in the user's program is kept, to name it in errors that `freeze` raises.
_TELL_LINE = frozenset(
    {
        OperatorKind.CHUNK,
        OperatorKind.GATE,
        OperatorKind.GO_BACK,
        OperatorKind.FOR_EACH_COLLECT,
        OperatorKind.MATCH_COLLECT,
    }
)
_RUN = frozenset({OperatorKind.CHUNK, OperatorKind.SUB_FLOW})


def _renamed(operator: Operator, renamed: Mapping[str, str]) -> Operator:
    """The operator with the present names of the chunks that it listens to."""
    gate = operator.kind is OperatorKind.GATE
    heard = tuple(
        Trigger(it.kind, renamed[it.name]) if gate and it.kind in ("chunk", "error") and it.name in renamed else it
        for it in operator.listens
    )
    return operator if heard == operator.listens else msgspec.structs.replace(operator, listens=heard)


def _placed(chunk: Chunk, place: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an operator that runs a chunk: those of the chunk, and those of the place."""
    options = {**chunk.options(), **{name: place.get(name) for name in ("side_branch", "completes")}}
    return {name: value for name, value in options.items() if value is not None}


def _several(flow: str, name: str, count: int, where: str, what: str = "functions", shared: str = "name") -> str:
    return (
        f"flow {flow!r}: {count} {what} have the {shared} {name!r}, so that {where} is ambiguous; give the one that "
        f"you mean a name of its own: ({name + '_2'!r}, {name})"
    )


def is_stable_name(key: str, handler: Handler) -> bool:
    """Whether another process can find a callable by this name: no lambda's name, and none with a number added."""
    base, _, number = key.rpartition("#")
    if base and number.isdigit():
        return False
    return key.strip("<>") != "lambda" or getattr(handler, "__name__", "") != "<lambda>"


def _many(names: Any) -> Iterable[Any]:
    """One name or a collection of names, as an iterable."""
    return cast("Iterable[Any]", names) if isinstance(names, list | tuple | set | frozenset) else (names,)


def _seconds(delay: Any, flow: str) -> str:
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < math.inf:
        raise DefinitionError(
            f"flow {flow!r}: a timer is a number of seconds after the start (0 or more), not {delay!r}"
        )
    return str(float(delay))


def describe(triggers: Iterable[Trigger]) -> str:
    """The names of triggers as a short label for ids and messages."""
    return "&".join(trigger.name or trigger.kind for trigger in triggers)


def literal(value: Any) -> str:
    """The value of a case as a text that is the same in every process: sets sorted, without memory addresses."""
    if isinstance(value, set | frozenset):
        parts = sorted(literal(part) for part in cast("set[Any]", value))
        return f"{type(value).__name__}({', '.join(parts)})"  # pyright: ignore[reportUnknownArgumentType]
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


__all__ = ["WHEN_KEYS", "Blueprint", "describe", "is_stable_name", "literal"]
