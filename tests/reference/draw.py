"""Random flows over all operators, with all ways to fail and to take failures.

A chunk of one chain wakes only later chains, except by an act "again", which wakes its own chain, or the one that
goes back, for a third of the inputs: so nearly every flow ends soon.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.reference.program import (
    TICK,
    Act,
    Back,
    Batch,
    Chain,
    Chunk,
    Each,
    End,
    Flow,
    Fork,
    Loose,
    Match,
    Step,
    Steps,
    Sub,
    Test,
    To,
)  # fmt: skip

#: How many chunks a flow has about, and how deep its blocks are.
SIZE = 9
DEPTH = 3
VALUES: tuple[Any, ...] = ("v", ["x", "y"], 1, None, [])
LITERALS: tuple[Any, ...] = (0, 1, None, False, "v")


class _Author:
    def __init__(self, draw: Callable[[Any], Any], outer: "_Author | None" = None) -> None:
        self._draw = draw
        self.level = outer.level + 1 if outer else 0
        self.prefix = f"{outer.prefix}f{outer.count}" if outer else ""
        self.count = 0
        self.size = SIZE if outer is None else self.number(1, 4)
        self.length = self.number(1, 4) if outer is None else self.number(1, 2)
        self.names: list[list[str]] = [[] for _ in range(self.length)]
        self.several: set[str] = set()
        self.made: dict[str, Chunk] = {}
        self.collections: list[list[str]] = [[] for _ in range(self.length)]
        self.chain = 0
        self.loops = False

    def one_of(self, *choices: Any) -> Any:
        return self._draw(st.sampled_from(choices))

    def number(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))

    def rarely(self, one_in: int = 8) -> bool:
        # Not the lowest or highest number: Hypothesis is fond of those.
        return self.number(0, one_in) == one_in // 2

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{self.prefix}{kind}{self.count}"

    def on_error(self) -> str:
        return self.one_of("raise", "raise", "collect")

    # -- chunks

    def chunk(self, gives: str | None = None) -> Chunk:
        name = self.name("c")
        self.names[self.chain].append(name)
        attempts = self.number(2, 3) if self.rarely(6) else 1
        chunk = Chunk(
            name,
            gives or self.one_of("name", "name", "same", "number", "list2", "none", "false", "list0", "list1"),
            tuple(self.act() for _ in range(self.one_of(0, 0, 1, 1, 2))),
            self.one_of("never", "never", "never", "some", "always")
            if attempts == 1
            else self.one_of("once", "always"),
            attempts,
            self.one_of("value", "call", "raise") if self.rarely(6) else "no",
            broken=gives is not None and gives.startswith("lazy") and self.rarely(4),
        )
        self.made[name] = chunk
        return chunk

    def act(self) -> Act:
        kind = self.one_of("put", "emit", "settle", "set", "emit", "settle", "delay", "put", "again")
        if kind == "put":
            return Act("put")
        if kind == "again" and self.number(0, 1):
            self.loops = True
            return Act("again", "loop")
        if kind == "again" and self.chain:
            return Act("again", f"e{self.chain}")
        if self.chain == self.length - 1:
            return Act("put")
        later = self.number(self.chain + 1, self.length - 1)
        return Act("set", f"s{later}") if kind == "set" else Act("emit" if kind == "again" else kind, f"e{later}")

    # -- steps

    def steps(self, depth: int, least: int = 0) -> Steps:
        found: list[Step] = []
        for _ in range(self.number(least, 3)):
            if self.count >= self.size and len(found) >= least:
                break
            found += self.step(depth)
        return tuple(found)

    def step(self, depth: int) -> list[Step]:
        kinds = ["to", "to", "to", "batch", "side", "loose"]
        if depth < DEPTH and self.count < self.size:
            kinds += ["each", "each", "match", "match", "fork", "again"]
        if not depth:
            kinds.append("end")
        if self.level < 2 and self.count < self.size:
            kinds.append("sub")
        return getattr(self, f"_{self.one_of(*kinds)}")(depth)

    def _to(self, depth: int) -> list[Step]:
        return [To(self.chunk())]

    def _again(self, depth: int) -> list[Step]:
        """A chunk that stands elsewhere too, between two that do not: so it does not go back, and is another place."""
        name = self.one_of(*self.made) if self.made else None
        if name is None or self.made[name].gives.startswith("lazy"):
            return self._to(depth)
        self.several.add(name)
        return [To(self.chunk()), To(self.made[name]), To(self.chunk())]

    def _side(self, depth: int) -> list[Step]:
        if self.level < 2 and self.rarely():
            return [Sub(self.child(), self.fallback(), side=True)]
        return [To(self.chunk(), side=True)]

    def _batch(self, depth: int) -> list[Step]:
        chunks = tuple(self.chunk() for _ in range(self.number(1, 3)))
        return [Batch(chunks, self.on_error(), side=self.rarely())]

    def _loose(self, depth: int) -> list[Step]:
        return [Loose(self.steps(depth + 1, 1))] if depth < DEPTH else self._to(depth)

    def _each(self, depth: int) -> list[Step]:
        feeder: list[Step] = []
        if self.number(0, 3):
            feeder = [To(self.chunk(self.one_of("list2", "lazy2", "list3", "lazy1", "lazy3", "list0", "lazy0")))]
        return [*feeder, Each(self.steps(depth + 1), self.on_error())]

    def _match(self, depth: int) -> list[Step]:
        cases = tuple((self.test(), self.steps(depth + 1)) for _ in range(self.number(1, 3)))
        otherwise = self.steps(depth + 1) if self.number(0, 1) else None
        if self.number(0, 1):
            return [Match(cases, otherwise, on_error=self.on_error(), is_if=True)]
        return [Match(cases, otherwise, self.one_of("hit_first", "hit_all"), self.on_error())]

    def test(self) -> Test:
        if self.number(0, 2):
            return Test(self.name("is"), self.one_of("always", "some", "never", "some", "raises"))
        return Test(self.name("is"), literal=self.one_of(*LITERALS))

    def _fork(self, depth: int) -> list[Step]:
        name = self.name("all")
        branches = tuple((To(self.chunk()), *self.steps(depth + 1)) for _ in range(self.number(1, 3)))
        self.collections[self.chain].append(name)
        return [Fork(name, branches, self.one_of("filled_and_update", "filled_then_empty"))]

    def _sub(self, depth: int) -> list[Step]:
        return [Sub(self.child(), self.fallback())]

    def fallback(self) -> str:
        return self.one_of("value", "call") if self.rarely(4) else "no"

    def child(self) -> Flow:
        self.count += 1
        flow = _Author(self._draw, self).flow()
        self.names[self.chain].append(f"-{flow.name}")
        return flow

    def _end(self, depth: int) -> list[Step]:
        return [End()]

    # -- chains

    def heard(self) -> tuple[tuple[tuple[str, Any], ...], str]:
        """What a chain listens to: nothing that a later chain causes."""
        here = self.chain
        earlier = [name for names in self.names[:here] for name in names if name in self.made]
        earlier = [name for name in earlier if not self.made[name].gives.startswith("lazy")]
        collected = [name for names in self.collections[:here] for name in names]
        choices: list[tuple[str, Any]] = [("event", f"e{here}"), ("event", f"e{here}"), ("runtime_data", f"s{here}")]
        choices += [("chunk", self.one_of(*earlier))] if earlier else []
        choices += [("collect", self.one_of(*collected))] if collected else []
        if self.rarely():
            return (("timer", TICK * self.number(1, 1_000_000)),), "and"
        several = [self.one_of(*choices) for _ in range(self.one_of(1, 1, 2, 2, 3))]
        mode = self.one_of("and", "or", "simple_or")
        if mode == "and" and self.number(0, 1) and len(earlier) > 1:
            several = [("chunk", self.one_of(*earlier)) for _ in range(2)]
        found = sorted(dict.fromkeys(several), key=lambda it: [kind for kind, _ in several].index(it[0]))
        if mode == "and" and len(found) > 1:
            found = [it for it in found if it[1] not in self.several] or found[:1]
        return tuple(found), mode

    def routes(self) -> list[Chain]:
        """The error routes."""
        names = [name.removeprefix("-") for names in self.names for name in names]
        found: list[Chain] = []
        for _ in range(self.one_of(0, 1, 1, 2, 3)):
            self.chain = self.length - 1
            taken = self.one_of("*", *names) if names else "*"
            # The second `when` of the same failures is the first one, and not a route of its own.
            if (("error", taken),) not in [it.triggers for it in found]:
                found.append(Chain((To(self.chunk()), *self.steps(1)), (("error", taken),)))
        return found

    def flow(self) -> Flow:
        """The flow."""
        chains: list[Chain] = []
        for number in range(self.length):
            self.chain = number
            triggers, mode = self.heard() if self.chain else ((), "and")
            end: Steps = (End(),) if not self.chain or self.rarely(4) else ()
            first = To(self.chunk()), *self.steps(0)
            chains.append(Chain((*first, *end), triggers, mode))
        chains += self.routes()
        for number, chain in enumerate(chains):
            last = chain.steps[-1]
            if chain.triggers and isinstance(last, To) and last.chunk.name in self.several:
                # `to` at the end of such a chain would go back to the other place. `Back` says so, below.
                self.chain = min(number, self.length - 1)
                chains[number] = replace(chain, steps=(*chain.steps, To(self.chunk())))
        places = [step.chunk for chain in chains for step in chain.steps if isinstance(step, To) and not step.side]
        places = [chunk for chunk in places if chunk.name not in self.several]
        if self.loops and places:
            chains.append(Chain((Back(self.one_of(*places)),), (("event", "loop"),)))
        return Flow(f"{self.prefix}flow" if self.level else "random", tuple(chains), self.one_of(False, True))


@st.composite
def flows(draw: Callable[[Any], Any]) -> Flow:
    """Random flows."""
    return _Author(draw).flow()
