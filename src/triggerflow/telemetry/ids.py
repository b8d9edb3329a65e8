"""Ids of traces and spans: hashes of recorded data, so that every export gives the same ids.

The hashes include the id of the outermost execution and its time of creation, since an id can be used again after its
execution was deleted, or in another store.
"""

from hashlib import sha256
from typing import NamedTuple

from ..run.tracing import TRACE_CONTEXT


class Parent(NamedTuple):
    """A span by its ids, as a W3C `traceparent` names it."""

    trace: int
    span: int
    flags: int

    def __str__(self) -> str:
        """The value of a header `traceparent`."""
        return f"00-{self.trace:032x}-{self.span:016x}-{self.flags:02x}"


def read_traceparent(text: object) -> Parent | None:
    """The span that a `traceparent` names; None for one that is not valid."""
    found = TRACE_CONTEXT.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    made = Parent(int(found[2], 16), int(found[3], 16), int(found[4], 16) & 1)
    return made if made.trace and made.span else None


class Ids:
    """The ids of one tree: an execution and all of its sub-flows are one trace."""

    def __init__(self, root: str, created: float, traceparent: object) -> None:
        self._of = f"{created!r} {root}"
        #: the span of the caller that has created the execution; the tree belongs to its trace
        self.caller = read_traceparent(traceparent)
        self.trace = self._hash(16, "trace") if self.caller is None else self.caller.trace
        self.flags = 1 if self.caller is None else self.caller.flags

    def execution(self, id: str, retries: int) -> int:
        """The span of an execution. `retries`: how often the whole execution was retried before."""
        return self._hash(8, "execution", id, retries)

    def run(self, id: str, run: int, attempt: int) -> int:
        """The span of an attempt of a run. The step of a sub-flow has one span for all attempts: number 0."""
        return self._hash(8, "run", id, run, attempt)

    def call(self, id: str, run: int, attempt: int, number: int) -> int:
        """The span of a call of a model."""
        return self._hash(8, "call", id, run, attempt, number)

    def question(self, id: str, frame: int, name: str) -> int:
        """The span of a question that a frame has opened."""
        return self._hash(8, "question", id, frame, name)

    def signal(self, id: str, frame: int) -> int:
        """The span of a signal that a frame has sent from outside, or with a delay."""
        return self._hash(8, "signal", id, frame)

    def parent(self, span: int) -> Parent:
        """A span of this tree, as the parent of another one."""
        return Parent(self.trace, span, self.flags)

    def _hash(self, size: int, kind: str, *parts: object) -> int:
        text = "\0".join(("triggerflow", self._of, kind, *map(str, parts)))
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:size]) or 1  # an id of zeros is no id
