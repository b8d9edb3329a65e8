"""A flow as plain data, and what its chunks do: what the engine and the model both get.

Nothing here comes from the engine. All chunks are functions of their input, and take a time that follows from their
name and their input, so that hardly ever two things happen at one moment.
"""

import zlib
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, cast

#: All times are whole numbers: so many of them are a second.
SECOND = 64
#: Times are multiples of this; a restart comes in the middle between two.
TICK = 10


def digest(value: Any) -> int:
    """A number that follows from a value of plain data."""
    return zlib.crc32(repr(value).encode())


def duration(name: str, value: Any) -> int:
    """The time that a chunk takes for an input."""
    return TICK * (1 + digest((name, value)) % 999_983)


@dataclass(frozen=True)
class Act:
    """Something that a chunk does before it returns: emit, settle, delay, again, set, put."""

    kind: str
    name: str = ""


@dataclass(frozen=True)
class Chunk:
    """What a chunk does: its acts in this order, and then it returns or raises."""

    name: str
    gives: str = "name"
    acts: tuple[Act, ...] = ()
    #: never, always, some (inputs), once (the first attempt of each run)
    fails: str = "never"
    #: how many attempts it gets
    attempts: int = 1
    #: no, value, call, raise
    fallback: str = "no"
    #: for an input of for_each that is lazy: whether its source raises behind the last item
    broken: bool = False

    def raises(self, value: Any, failures: int) -> bool:
        """Whether it raises, when it has raised so often in this run."""
        match self.fails:
            case "always":
                return True
            case "some":
                return digest((self.name, value)) % 2 == 0
            case "once":
                return failures == 0
            case _:
                return False

    def message(self, value: Any) -> str:
        """The text of its exception."""
        return f"{self.name} {digest(value) % 1000}"

    def result(self, value: Any) -> Any:
        """What it returns for an input. Those of lazy sources are in `items`."""
        match self.gives:
            case "same":
                return value
            case "none":
                return None
            case "false":
                return False
            case "number":
                return digest(value) % 3
            case "name":
                return f"{self.name}:{digest(value) % 100_000}"
            case _:
                return self.items(value)

    def items(self, value: Any) -> list[Any]:
        """The items of a chunk that gives several: "list2" or "lazy2"."""
        return [f"{self.name}.{number}:{digest(value) % 100_000}" for number in range(int(self.gives[-1]))]

    def told(self, act: Act, value: Any) -> Any:
        """The value of what an act emits, sets or puts."""
        return f"{self.name}>{act.name}:{digest(value) % 100_000}"

    def instead(self, value: Any, failure: Any) -> Any:
        """What a fallback that is called returns."""
        return [self.name, digest(value) % 1000, failure]


def again(value: Any) -> bool:
    """Whether an act "again" emits for this input."""
    return digest(("again", value)) % 3 == 0


@dataclass(frozen=True)
class Test:
    """The condition of a case: a literal, or what a function says."""

    name: str
    #: always, never, some, raises; or "" for a literal
    says: str = ""
    literal: Any = None

    def holds(self, value: Any) -> bool:
        """What the function says."""
        return self.says == "always" or (self.says == "some" and digest((self.name, value)) % 2 == 0)

    def raises(self, value: Any) -> bool:
        """Whether it raises."""
        return self.says == "raises" and digest((self.name, value)) % 3 > 0

    def message(self, value: Any) -> str:
        """The text of its exception."""
        return f"{self.name} {digest(value) % 1000}"


# -- steps -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class To:
    """`to`, or `side_branch`."""

    chunk: Chunk
    side: bool = False


@dataclass(frozen=True)
class Batch:
    """`batch`."""

    chunks: tuple[Chunk, ...]
    on_error: str = "raise"
    side: bool = False


@dataclass(frozen=True)
class Each:
    """`for_each` to `end_for_each`."""

    steps: "Steps"
    on_error: str = "raise"


@dataclass(frozen=True)
class Match:
    """`match` to `end_match`; with `is_if` written as `if_condition` to `end_condition`."""

    cases: "tuple[tuple[Test, Steps], ...]"
    otherwise: "Steps | None" = None
    mode: str = "hit_first"
    on_error: str = "raise"
    is_if: bool = False


@dataclass(frozen=True)
class Fork:
    """Several chains from one place that meet in a collection; what follows stands behind the last `collect`."""

    name: str
    branches: "tuple[Steps, ...]"
    mode: str = "filled_and_update"


@dataclass(frozen=True)
class Loose:
    """A chain from this place that meets no other."""

    steps: "Steps"


@dataclass(frozen=True)
class Sub:
    """`to_sub_flow`."""

    flow: "Flow"
    fallback: str = "no"
    side: bool = False


@dataclass(frozen=True)
class Back:
    """`back_to`: the one place of a chunk, outside of blocks."""

    chunk: Chunk


@dataclass(frozen=True)
class End:
    """`end`."""


Step = To | Batch | Each | Match | Fork | Loose | Sub | Back | End
Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Chain:
    """A chain at the start (no triggers), or behind a `when` of triggers (kind, name)."""

    steps: Steps
    triggers: tuple[tuple[str, Any], ...] = ()
    mode: str = "and"


@dataclass(frozen=True)
class Flow:
    """A flow: chains in the order in which they are written."""

    name: str
    chains: tuple[Chain, ...]
    skips: bool = False


@dataclass
class Outcome:
    """What can be seen of an execution."""

    #: ("completed", the result) or ("failed", the type of the exception, its text)
    end: tuple[Any, ...] = ()
    #: (time, name, input) of each attempt of a chunk or condition
    runs: list[tuple[int, str, Any]] = field(default_factory=list[tuple[int, str, Any]])
    stream: list[Any] = field(default_factory=list[Any])
    #: attempts that may have begun or not: they were due at the moment at which their execution failed
    perhaps: list[tuple[int, str, Any]] = field(default_factory=list[tuple[int, str, Any]])


def show(value: Any, indent: int = 0) -> str:
    """A program as it can be read, without what is as usual."""
    pad = "    " * indent
    if is_dataclass(value) and not isinstance(value, type):
        parts = [
            f"{it.name}={show(getattr(value, it.name), indent + 1)}"
            for it in fields(value)
            if getattr(value, it.name) != it.default
        ]
        return f"{type(value).__name__}({', '.join(parts)})"
    if type(value) is tuple and value:
        inner = ",\n".join(f"{pad}    {show(it, indent + 1)}" for it in cast("tuple[Any, ...]", value))
        return f"(\n{inner},\n{pad})"
    return repr(cast("object", value))
