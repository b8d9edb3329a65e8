"""The flow: where chunks are registered and wired; how it is run stands in `runnable`."""

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar, Unpack, overload

from ._core.operators import compile_plan
from ._core.signals import ANY_CHUNK
from ._core.state import UNSET
from .build.chain import MatchMode, Process, WhenMode, root
from .build.chunk import Chunk, ChunkOptions, Handler, check_options
from .build.contract import Check, Contract, checker
from .build.sources import Source, source_of
from .build.typed import Reducer, Signal, StateModel
from .run.program import Program
from .run.subflow import SubFlowOptions
from .runnable import RunnableFlow
from .serialize.payload import Types

T = TypeVar("T")


class TriggerFlow(RunnableFlow):
    """A workflow of chunks wired by signals.

    Write it once, run it any number of times at once; every execution sees the flow as it was when it was created.
    `skip_exceptions` lets a failing chunk end only its branch.
    """

    def __init__(self, *, name: str | None = None, skip_exceptions: bool = False) -> None:
        super().__init__(name or "flow", skip_exceptions=skip_exceptions)
        #: the classes and sources that may be recorded
        self.types = Types()
        self._contract = Contract()
        self._signals: dict[str, Check] = {}
        self._state: StateModel | None = None
        self._compiled: tuple[int, Program] | None = None

    @overload
    def chunk(self, name: str | None = None, /, **options: Unpack[ChunkOptions]) -> Callable[[Handler], Chunk]: ...

    @overload
    def chunk(self, handler: Handler, /, **options: Unpack[ChunkOptions]) -> Chunk: ...

    def chunk(
        self, name_or_handler: str | Handler | None = None, /, **options: Unpack[ChunkOptions]
    ) -> Chunk | Callable[[Handler], Chunk]:
        """Register a chunk: `@flow.chunk("name")`, `@flow.chunk`, or `flow.chunk(function)`.

        The options: `concurrency` bounds how many runs of this chunk go on at once in an execution. A sync function
        runs in a thread; `inline=True` says that it is cheap and may run on the loop. `emits` names events that its
        code does not show. `retry`, `timeout` (seconds) and `cache` are its policies.
        Raises `DefinitionError` if the name belongs to another function, or an option makes no sense.
        """
        check_options(options, f"flow {self.name!r}: chunk {name_or_handler!r}")
        if name_or_handler is None or isinstance(name_or_handler, str):
            return lambda handler: self.blueprint.register(name_or_handler, handler, **options)
        return self.blueprint.register(None, name_or_handler, **options)

    def to(self, chunk: Any, side_branch: bool = False, name: str | None = None) -> Process:
        """Begin a chain at the start of the execution; see `Process.to`."""
        return self.root.to(chunk, side_branch, name)

    def side_branch(self, chunk: Any, *, name: str | None = None) -> Process:
        """Run a chunk at the start, beside the chain that goes on here."""
        return self.root.side_branch(chunk, name=name)

    def when(self, trigger_or_triggers: Any, *, mode: WhenMode = "and") -> Process:
        """Begin a chain at one or several signals; see `Process.when`."""
        return self.root.when(trigger_or_triggers, mode=mode)

    def batch(self, *chunks: Any, side_branch: bool = False, concurrency: int | None = None) -> Process:
        """Begin with several chunks at once; see `Process.batch`."""
        return self.root.batch(*chunks, side_branch=side_branch, concurrency=concurrency)

    def for_each(self, *, concurrency: int | None = None) -> Process:
        """Begin by going through the items of the start value; see `Process.for_each`."""
        return self.root.for_each(concurrency=concurrency)

    def match(self, *, mode: MatchMode = "hit_first") -> Process:
        """Begin by choosing on the start value; see `Process.match`."""
        return self.root.match(mode=mode)

    def if_condition(self, condition: Any) -> Process:
        """Begin with a condition on the start value; see `Process.if_condition`."""
        return self.root.if_condition(condition)

    def to_sub_flow(self, trigger_flow: "TriggerFlow", **options: Unpack[SubFlowOptions]) -> Process:
        """Begin by running another flow; see `Process.to_sub_flow`."""
        return self.root.to_sub_flow(trigger_flow, **options)

    def on_error(self, chunk: Any) -> Process:
        """Run a chunk for every failure that has no error route of its own: `when({"error": "*"}).to(chunk)`.

        Failures of chunks count when their policy has given up, those of for_each sources at once; not those of the
        route itself and what follows it. The chunk gets `{"chunk", "type", "message", "value"}`: the name of what
        failed, of which class and text the error was, and the value that the failed chunk had. The branch in which it
        failed has ended then; the execution goes on.
        """
        return self.when({"error": ANY_CHUNK}).to(chunk)

    def signal(self, name: str, expected: "type[T]") -> "Signal[T]":
        """Declare the type of an event's value: it is checked wherever the event is emitted.

        The returned signal can be used wherever the name can: in `when`, and in `async_emit`, where a type checker
        checks the value too.
        """
        self._signals[name] = checker(expected, f"signal {name}")
        self.blueprint.version += 1
        return Signal(name)

    def set_state(self, model: type, *, reducers: "Mapping[str, Reducer] | None" = None) -> Self:
        """Declare the state: a dataclass, msgspec struct or Pydantic model whose fields are the keys.

        Every change is checked, fields start with their defaults, and `state.reduce(key, value)` combines with the
        field's reducer (`append`, `extend`, `merge`, `maximum`, `minimum`, `add`, or any function of two values).
        """
        self._state = StateModel(model, reducers or {})
        self.blueprint.version += 1
        return self

    def set_contract(
        self, *, initial_input: Any = UNSET, stream: Any = UNSET, result: Any = UNSET, meta: Any = UNSET
    ) -> Self:
        """Promise types for the start value, the stream's items and the result; what is left out stays as it is."""
        for place, expected in (("initial_input", initial_input), ("stream", stream), ("result", result)):
            if expected is not UNSET:
                self._contract.set(place, expected)
        if meta is not UNSET:
            self._contract.meta = meta
        self.blueprint.version += 1
        return self

    def get_contract(self) -> Contract:
        """What the flow promises."""
        return self._contract

    def register_type(self, cls: "type[T]", name: str | None = None) -> "type[T]":
        """Allow instances of a class to be recorded; see `payload.Types.register`. Usable as a decorator."""
        return self.types.register(cls, name)

    def source(self, function: Callable[..., Any], /, *, name: str | None = None) -> Callable[..., Source]:
        """Register a function that gives the items of a lazy `for_each`; usable as a decorator.

        It is a generator function, sync or async. Calling the result makes a `Source`, which a chunk can return, and
        which can be recorded: after a crash the function is called again with the same arguments, and the items that
        were taken before are passed over.
        """
        name = name or function.__qualname__
        self.types.register_source(function, name)
        return lambda *arguments, **options: source_of(name, function, arguments, options)

    @property
    def root(self) -> Process:
        """Where chains begin: the start of the execution."""
        return root(self.blueprint)

    @property
    def chunks(self) -> dict[str, Chunk]:
        """The chunks of this flow by name."""
        return self.blueprint.chunks

    def program(self) -> Program:
        """The flow as it stands now, made ready to run; made anew only after a change."""
        compiled = self._compiled
        if compiled is None or compiled[0] != self.blueprint.version:
            blueprint = self.executable()
            program = Program(
                compile_plan(blueprint.freeze()), blueprint, self.types, self._contract, self._signals, self._state
            )
            compiled = self._compiled = (self.blueprint.version, program)
        return compiled[1]

    def __repr__(self) -> str:
        return f"<TriggerFlow {self.name!r}, {len(self.blueprint.operators)} operators>"


__all__ = ["UNSET", "TriggerFlow"]
