"""Random programs: a flow over all kinds of operator, what its chunks do, and how it is started.

Every program ends: its chains are numbered, and a chunk of one chain can wake only chains with a higher number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import reject
from hypothesis import strategies as st

from tests.core.simulation import VALUES, Act, Behaviour, Child, Effect, Pick, Runaway, Simulation, Start
from triggerflow import Chain, TriggerFlow
from triggerflow._core import events
from triggerflow._core.machine import compile_plan
from triggerflow._core.plan import Plan

DEPTH = 4
CHUNKS = 16
#: how deep sub-flows are nested, and how many chunks all of them have
LEVELS = 2
INSIDE = 6

CONDITIONS = ("always", "never", "truthy", "text")
LITERALS: Sequence[Any] = (None, 0, False, "text", 1, 2)

#: "any" program at all; "ordered": its result and its runs do not depend on the order in which chunks complete;
#: "plain": ordered, and chunks only do what `handler` can do on a real driver.
Kind = Literal["any", "ordered", "plain"]


@dataclass
class Program:
    """A flow, what its chunks do, and how it is run."""

    flow: TriggerFlow
    behaviours: dict[str, Behaviour]
    start: Start = field(default_factory=Start)
    outside: tuple[Effect, ...] = ()
    sub_flows: tuple[TriggerFlow, ...] = ()

    @property
    def plan(self) -> Plan:
        """The flow, ready to run."""
        return compile_plan(self.flow.definition)

    def simulate(self, pick: Pick = lambda count: 0, **options: Any) -> Simulation:
        """Run it in an order of your choice, to its end. Rejects a random program that is too long to be checked."""
        simulation = self.simulation(pick, **options)
        try:
            return simulation.go(self.start)
        except Runaway:
            self.simulation(pick, limit=10 * simulation.limit).go(self.start)  # raises if it is endless
            reject()

    def simulation(self, pick: Pick = lambda count: 0, **options: Any) -> Simulation:
        """The same, not started yet."""
        children = {flow.name: Child(compile_plan(flow.definition), flow.skip_exceptions) for flow in self.sub_flows}
        simulation = Simulation(self.plan, self.behaviours, pick, children=children, **options)
        simulation.outside = [simulation.effect(effect, None, "outside") for effect in self.outside]
        return simulation

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        lines = [
            f"{flow.name}: {it.kind:16} {it.id!r} <- {[t.key for t in it.listens]} {dict(it.options)}"
            for flow in (self.flow, *self.sub_flows)
            for it in flow.definition.operators
        ]
        lines += [f"{name}: {behaviour}" for name, behaviour in self.behaviours.items()]
        printer.text("\n".join(["Program(", *lines, repr(self.start), repr(self.outside), ")"]))


def program(
    build: Callable[[TriggerFlow, "Chunks"], Any],
    value: Any = None,
    outside: tuple[Effect, ...] = (),
    *,
    external: bool = True,
    **options: Any,
) -> Program:
    """A program by hand: `build(flow, chunk)` wires it; `chunk(name, ...)` makes a chunk and says what it does, and
    `chunk.sub_flow(name, build)` a flow to be run inside. The events that no chunk emits are declared external, unless
    `external` is off."""
    flow, chunks = TriggerFlow(name="test"), Chunks()
    chunks.flow = flow
    build(flow, chunks)
    for name in flow.definition.outside_events if external else ():
        flow.signal(name, external=True)
    return Program(flow, chunks.behaviours, Start(value, **options), outside, tuple(chunks.sub_flows))


@dataclass
class Chunks:
    """Makes chunks and conditions whose behaviour stands in a table; they are not meant to be called."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict[str, Behaviour])
    flow: TriggerFlow = field(default_factory=TriggerFlow)
    sub_flows: list[TriggerFlow] = field(default_factory=list[TriggerFlow])

    def sub_flow(self, name: str, build: Callable[[TriggerFlow, "Chunks"], Any], **options: Any) -> TriggerFlow:
        """A flow to be run inside; its chunks have names of their own."""
        flow = TriggerFlow(name=name, **options)
        build(flow, Chunks(self.behaviours, flow, self.sub_flows))
        self.sub_flows.append(flow)
        return flow

    def __call__(
        self, name: str, value: str = "same", *effects: Effect, concurrency: int | None = None, **options: Any
    ) -> Any:
        """A chunk of the flow."""
        self.behaviours[name] = behaviour = Behaviour(value, effects, **options)
        emits = tuple(it.name for it in effects if it.act in ("emit", "settle", "spawn", "delay", "loose", "guess"))
        return self.flow.chunk(name, concurrency=concurrency, emits=emits)(handler(name, behaviour))

    def condition(self, name: str, value: str, *effects: Effect, **options: Any) -> Any:
        """A condition for `case`."""
        self.behaviours[name] = behaviour = Behaviour(value, effects, **options)
        return handler(name, behaviour)


class Broken(Exception):
    """What a chunk that fails raises; `Simulation` says the same of it."""


def handler(name: str, behaviour: Behaviour) -> Callable[[Any], Any]:
    """The behaviour as an async handler, for a real driver. It covers what an order-free program may do."""

    async def call(data: Any) -> Any:
        for effect in behaviour.effects:
            value = data.value if effect.value is None else effect.value
            if effect.act in ("emit", "settle"):
                await data.async_emit(effect.name, value, settle=effect.act == "settle")
            elif effect.act == "set":
                data.state.set(effect.name, value)
            elif effect.act == "flow":
                await data.flow_state.async_set(effect.name, value)
            else:
                await data.async_put_into_stream(value)
        if behaviour.fails:
            raise Broken("no")
        return VALUES[behaviour.value](data.value, name)

    call.__name__ = name
    return call


# -- random programs -------------------------------------------------------------------------------------------------


class _Author:
    """Writes one random flow."""

    def __init__(self, draw: Callable[[Any], Any], kind: Kind, outer: "_Author | None" = None) -> None:
        self.draw = draw
        self.kind: Kind = kind
        self.ordered = kind != "any"
        self.plain = kind == "plain"
        self.flow = TriggerFlow(name="random")
        self.chunks = Chunks(flow=self.flow)
        self.level = 0
        self.prefix = ""
        self.most = CHUNKS
        if outer is not None:
            self.level = outer.level + 1
            self.prefix = f"{outer.prefix}s{outer.count}"
            self.most = outer.number(1, INSIDE)
            skips = self.ordered or outer.number(0, 1) == 1
            self.flow = TriggerFlow(name=self.prefix, skip_exceptions=skips)
            self.chunks = Chunks(outer.chunks.behaviours, self.flow, outer.chunks.sub_flows)
        self.chains = draw(st.sampled_from((3, 4, 2, 1) if outer is None else (1, 2)))
        self.names: list[list[str]] = [[] for _ in range(self.chains)]
        self.collections: list[list[str]] = [[] for _ in range(self.chains)]
        self.count = 0

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def rarely(self, one_in: int = 8) -> bool:
        # Not the lowest or highest number: Hypothesis is fond of those.
        return self.number(0, one_in) == one_in // 2

    def limit(self) -> int | None:
        return self.one_of(None, None, 1, 2)

    # -- chunks ------------------------------------------------------------------------------------------------------

    def chunk(self, chain: int, *, value: str | None = None) -> Any:
        name = f"{self.prefix}c{chain}_{self.count}"
        self.count += 1
        self.names[chain].append(name)
        if value is None:
            usual = ("same", "name", "pair", "none", "false", "zero", "empty", "one", "two", "three")
            value = self.one_of(*usual)
        options: dict[str, Any] = {"concurrency": self.limit() if self.rarely() else None}
        if self.rarely() and not self.ordered:
            options["on_cancel"] = self.one_of("stop", "write", "finish", "fail", "hang")
        options["fails"] = self.rarely(8)
        if self.rarely() and not self.plain:
            options["retries"] = self.number(1, 2)
        if self.rarely() and not self.plain:
            options["pauses"] = self.one_of("next", "self", "next", "self", "expires", f"e{self.later(chain)}")
        effects = [self.effect(chain) for _ in range(self.one_of(1, 0, 1, 2))]
        if any(it.act == "guess" for it in effects):
            effects += [Effect(self.one_of("retract", "confirm"))] * self.number(0, 2)
        if not self.ordered and not self.plain and self.rarely(3):
            effects += [Effect(self.one_of("give", "give", "give", "take")) for _ in range(self.number(1, 4))]
        return self.chunks(name, value or "same", *effects, **options)

    def later(self, chain: int) -> int:
        """A chain that this one may wake; rarely, and from the last one, a name that nobody listens to."""
        last = self.chains - 1
        return self.chains if chain == last or self.rarely() else self.number(chain + 1, last)

    def effect(self, chain: int) -> Effect:
        acts: tuple[Act, ...] = ("emit", "settle", "emit", "settle", "set", "flow", "put")
        if not self.plain:
            acts += ("delay", "park")
        if not self.ordered:
            acts += ("loose", "drop", "spawn", "append", "append", "delete", "stop", "result", "guess", "guess")
        act: Act = self.one_of(*acts)
        letter = {"set": "s", "append": "l", "delete": "l", "flow": "f"}.get(act, "e")
        return Effect(act, f"{letter}{self.later(chain)}", self.one_of(None, 0, "text", False))

    # -- steps -------------------------------------------------------------------------------------------------------

    def steps(self, at: Any, chain: int, depth: int, *, least: int = 0) -> Any:
        for _ in range(self.number(least, 3)):
            if self.count >= self.most:
                break
            at = self.step(at, chain, depth)
        return at

    def step(self, at: Any, chain: int, depth: int) -> Any:
        kinds = ["to", "to", "side", "batch"]
        if depth < DEPTH and hasattr(Chain, "for_each"):
            kinds += ["for_each", "for_each", "match", "match"]
        if depth < DEPTH and hasattr(Chain, "collect") and (not self.ordered or depth or not chain):
            kinds.append("fork")
        if not depth and not self.ordered:
            kinds.append("end")
        if self.level < LEVELS:
            kinds.append("sub_flow")
        return getattr(self, self.one_of(*kinds))(at, chain, depth)

    def to(self, at: Any, chain: int, depth: int) -> Any:
        return at.to(self.chunk(chain))

    def side(self, at: Any, chain: int, depth: int) -> Any:
        return at.side_branch(self.chunk(chain))

    def sub_flow(self, at: Any, chain: int, depth: int) -> Any:
        self.count += 1
        inner = _Author(self.draw, self.kind, self)
        inner.write()
        self.chunks.sub_flows.append(inner.flow)
        return at.to_sub_flow(inner.flow, concurrency=self.limit(), side_branch=self.rarely())

    def end(self, at: Any, chain: int, depth: int) -> Any:
        return at.end()

    def on_error(self) -> Any:
        """How a block takes failures."""
        return "collect" if self.rarely(4) else "raise"

    def batch(self, at: Any, chain: int, depth: int) -> Any:
        chunks = [self.chunk(chain) for _ in range(self.number(1, 3))]
        side = self.rarely()
        return at.batch(*chunks, concurrency=self.limit(), side_branch=side, on_error=self.on_error())

    def for_each(self, at: Any, chain: int, depth: int) -> Any:
        if self.number(0, 3):
            at = at.to(self.chunk(chain, value=self.one_of("two", "three", "one", "empty", "lazy")))
        at = at.for_each(concurrency=self.limit(), on_error=self.on_error())
        return self.steps(at, chain, depth + 1).end_for_each()

    def match(self, at: Any, chain: int, depth: int) -> Any:
        at = at.match(mode=self.one_of("hit_first", "hit_all"), on_error=self.on_error())
        for _ in range(self.number(1, 3)):
            at = self.steps(at.case(self.test(chain)), chain, depth + 1)
        if self.number(0, 1):
            at = self.steps(at.case_else(), chain, depth + 1)
        return at.end_match()

    def test(self, chain: int) -> Any:
        if self.number(0, 1):
            return self.one_of(*LITERALS)
        self.count += 1
        fails = self.rarely(8)
        effects = [self.effect(chain)] if self.rarely() else []
        return self.chunks.condition(
            f"{self.prefix}is{chain}_{self.count}", self.one_of(*CONDITIONS), *effects, fails=fails
        )

    def fork(self, at: Any, chain: int, depth: int) -> Any:
        name = f"together{chain}_{self.count}"
        self.count += 1
        self.collections[chain].append(name)
        mode = self.one_of("filled_and_update", "filled_then_empty")
        ends = [
            self.steps(at, chain, depth + 1, least=1).collect(name, f"branch{number}", mode=mode)
            for number in range(self.number(1, 3))
        ]
        return ends[-1]

    # -- chains ------------------------------------------------------------------------------------------------------

    def heard(self, chain: int) -> dict[str, list[str]]:
        """Something that a chain can listen to, and no later chain can cause."""
        found: dict[str, list[str]] = {"event": [f"e{chain}"]}
        earlier = [name for names in self.names[:chain] for name in names]
        collected = [name for names in self.collections[:chain] for name in names]
        if self.number(0, 1):
            found["runtime_data"] = [f"s{chain}", f"l{chain}"][: self.number(1, 2)]
        if self.rarely():
            found["flow_data"] = [f"f{chain}"]
        if earlier and self.number(0, 1):
            found["chunk"] = [self.one_of(*earlier)]
        if collected and self.number(0, 1):
            found["collect"] = [self.one_of(*collected)]
        if earlier and self.rarely():
            found["error"] = [self.one_of(*earlier)]
        if self.rarely() and not self.plain:
            found["timer"] = [5]
        return found

    def write(self) -> None:
        at: Any = self.flow
        at = self.steps(at.to(self.chunk(0)), 0, 0, least=1).end()
        for chain in range(1, self.chains):
            modes = ("or", "simple_or") if self.ordered else ("and", "or", "simple_or")
            at = self.flow.when(self.heard(chain), mode=self.one_of(*modes))
            if self.number(0, 1):
                self.flow.signal(f"e{chain}", external=True)
            self.steps(at.to(self.chunk(chain)), chain, 0, least=self.number(0, 1))


@st.composite
def programs(draw: Callable[[Any], Any], kind: Kind = "any") -> Program:
    """Random programs."""
    author = _Author(draw, kind)
    author.write()
    ordered = author.ordered
    start = Start(
        value=author.one_of(None, "text", 1, [1, 2], []),
        attended=not ordered and author.number(0, 1) == 1,
        concurrency=author.limit(),
        skip_exceptions=ordered or author.number(0, 1) == 1,
        max_pending=author.one_of(1024, 1024, 1, 3),
        execution_timeout=None if ordered else author.one_of(None, None, None, 4.0),
        delay=None if ordered else author.one_of(None, None, None, 2.0),
        rules=1 if author.rarely() and author.kind != "plain" else events.RULES,
    )
    outside: list[Effect] = []
    if not ordered:
        outside = [author.effect(0) for _ in range(author.one_of(0, 0, 1, 3))]
        outside = [effect for effect in outside if effect.act != "park"]
    return Program(author.flow, author.chunks.behaviours, start, tuple(outside), tuple(author.chunks.sub_flows))
