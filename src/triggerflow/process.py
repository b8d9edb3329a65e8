"""The fluent side of the builder: each call adds operators to the blueprint and returns where to go on from.

A `Process` never changes: several chains may go on from the same one.
"""

from typing import Any, Literal

from ._core.definition import OperatorKind
from ._core.errors import DefinitionError
from ._core.signals import START, Trigger
from .builder import Blueprint, describe, positive

WhenMode = Literal["and", "or", "simple_or"]


class Process:
    """A place in the graph: what is chained here runs when `at` fires."""

    __slots__ = ("at", "blueprint")

    def __init__(self, blueprint: Blueprint, at: Trigger) -> None:
        self.blueprint = blueprint
        self.at = at

    def _then(self, at: Trigger) -> "Process":
        return type(self)(self.blueprint, at)

    def to(self, chunk: Any, side_branch: bool = False, name: str | None = None) -> "Process":
        """Run a chunk with the value that arrives here; go on with what it returns.

        `chunk` is what `@flow.chunk` returned, a function, the name of a chunk, or `(name, function)`.
        Raises `UnknownChunkError`, `NotAChunkError` or `DefinitionError`.
        """
        reference = (name, chunk) if name is not None else chunk
        attached = self.blueprint.attach(reference, self.at, side_branch=side_branch)
        return self if side_branch else self._then(attached.trigger)

    def side_branch(self, chunk: Any, *, name: str | None = None) -> "Process":
        """Run a chunk beside the chain; the value of the chain stays as it is."""
        return self.to(chunk, side_branch=True, name=name)

    def when(self, trigger_or_triggers: Any, *, mode: WhenMode = "and") -> "Process":
        """Start a chain at one or several signals. It stands outside every block.

        `trigger_or_triggers`: the name of a chunk or event, a chunk, a list of them, or a dict with the keys `event`,
        `runtime_data`, `flow_data`, `collect`. With several, `mode` says what the chain gets: "and" waits for one of
        each and gives `{type: {name: value}}`; "or" gives `(type, name, value)` and "simple_or" the value, for every
        signal. With a single one the chain gets its value.
        """
        blueprint = self.blueprint
        if mode not in ("and", "or", "simple_or"):
            raise DefinitionError(
                f"flow {blueprint.name!r}: when() has the modes 'and', 'or', 'simple_or', not {mode!r}"
            )
        triggers = blueprint.triggers(trigger_or_triggers)
        joiner = "&" if mode == "and" else "|"
        label = f"when:{describe(triggers).replace('&', joiner)}"
        options = {"mode": mode if len(triggers) > 1 else "simple_or"}
        return self._then(blueprint.add(OperatorKind.GATE, label, triggers, options=options))

    def batch(self, *chunks: Any, side_branch: bool = False, concurrency: int | None = None) -> "Process":
        """Run several chunks with the same value; go on with `{chunk name: result}`, in order of declaration.

        `concurrency` bounds how many chunks of one pass run at once. Raises `DefinitionError` without chunks, or if two
        chunks go by the same name.
        """
        blueprint = self.blueprint
        where = f"flow {blueprint.name!r}: batch()"
        if not chunks:
            raise DefinitionError(f"{where} was given no chunk and could never complete")
        positive(concurrency, where)
        label = f"batch<-{describe((self.at,))}"
        start = blueprint.add(OperatorKind.BATCH_FANOUT, label, (self.at,), options={"concurrency": concurrency})
        branches = [blueprint.attach(chunk, start) for chunk in chunks]
        names = [branch.name for branch in branches]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DefinitionError(
                f"{where} has two branches named {twice[0]!r}, and its result is keyed by name; name one of them "
                f"otherwise: ({twice[0] + '_2'!r}, function)"
            )
        done = blueprint.add(
            OperatorKind.BATCH_COLLECT,
            f"{start.name}/end",
            tuple(branch.trigger for branch in branches),
            options={"slots": names},
            group=start.name,
        )
        return self if side_branch else self._then(done)

    def end(self) -> "Process":
        """The value that arrives here is the result of the execution, if none was fixed before."""
        return self._then(self.blueprint.add(OperatorKind.RESULT, f"end<-{describe((self.at,))}", (self.at,)))


def root(blueprint: Blueprint) -> Process:
    """Where a chain begins: at the start of the execution."""
    return Process(blueprint, START)
