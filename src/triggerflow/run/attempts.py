"""What a repeated attempt of a run has to know of the attempts before it (decision 0022).

What an attempt does counts. Only what is the same as an effect of a failed attempt is not recorded again: an effect of
the same kind and name, with an equal value, each recorded one counted once. `RunChunk.digests` has the digests of the
recorded values. An attempt that has not failed, but ended with its process, is taken as repeated: its effects fit those
of the same kind and name in their order, whatever their values are (the chunk may have read what it wrote).

Of the changes of a key of state, and of results, the last one counts. Suppose that an attempt has set a key to A and
then to B, and the next attempt only sets A. A is recorded already, and the state has B. The attempt reads A
nevertheless: it is *held* for it. At its next change of the key that is not the same, or at its end, a held value is
recorded if the state still differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core import events
from .._core.digests import UNLIKE
from .._core.state import UNSET, RunChunk
from ..serialize.digests import digest_of_object, digest_of_operation

if TYPE_CHECKING:
    from .runtime import ExecutionRuntime


class Held(NamedTuple):
    """The value of a key of state as its attempt sees it: UNSET if the attempt has deleted it."""

    value: Any
    emit: bool


class _Earlier:
    """The effects of one key that earlier attempts have recorded and this one has not repeated yet.

    `by_digest` has the places of these effects, counted from 1. `by_count` has the places that fit every value, the
    first one last: those without a digest, and those of an attempt that has not failed but ended with its process.
    """

    __slots__ = ("by_count", "by_digest", "known", "taken")

    def __init__(self, count: int, digests: Sequence[int], failed: int, of_fields: bool) -> None:
        self.by_digest: dict[int, list[int]] = {}
        self.known = frozenset(digests)
        self.by_count: dict[int, None] = {}
        self.taken: set[int] = set()
        for place in range(count, 0, -1):
            digest = digests[place - 1] if place <= len(digests) else 0
            if digest:
                self.by_digest.setdefault(digest, []).append(place)
            # A field that was retracted fits nothing: the next attempt may read another answer. A retracted guess of a
            # chunk that ended with its process does fit: its attempt has decided on it.
            if not digest or (place > failed and not (of_fields and digest == UNLIKE)):
                self.by_count[place] = None

    def equal(self, digest: int | None) -> int:
        """Take the first place with this digest; 0 if there is none."""
        places = None if digest is None or digest == UNLIKE else self.by_digest.get(digest)
        while places:
            place = places.pop()
            if place not in self.taken:
                self.by_count.pop(place, None)
                return place
        return 0

    def next(self) -> int:
        """Take the first place that fits every value; 0 if there is none."""
        if not self.by_count:
            return 0
        place, _ = self.by_count.popitem()
        self.taken.add(place)
        return place


class Attempt:
    """One attempt of a run that may be repeated, or repeats an earlier one."""

    __slots__ = ("_earlier", "_has_set_result", "_run", "_runtime", "held")

    def __init__(self, runtime: ExecutionRuntime, run: RunChunk) -> None:
        self._runtime = runtime
        self._run = run
        digests, failed = run.digests or {}, run.failed or {}
        #: the effects of earlier attempts by key; nothing that this attempt records is added
        self._earlier = (
            {
                key: _Earlier(count, digests.get(key, ()), failed.get(key, 0), key.startswith(events.OF_FIELDS))
                for key, count in run.effects.items()
            }
            if run.attempt > 1 and run.effects
            else {}
        )
        self._has_set_result = False
        #: values of state that this attempt sees and that are not recorded, by key
        self.held: dict[str, Held] = {}

    def place(self, event: events.Event) -> int:
        """Give the record of an effect its digest. Returns which effect of this key an earlier attempt has recorded
        with an equal value, counted from 1; 0 if there is none, so that this one has to be recorded."""
        digest = self._digest(event)
        earlier = self._earlier.get(event.effect)
        if earlier is None:
            return 0
        # Another answer of a model has other fields: only an equal one is the same.
        is_field = type(event) is events.Emitted and event.field is not None
        return earlier.equal(digest) or (0 if is_field else earlier.next())

    def _digest(self, event: events.Event) -> int | None:
        types = self._runtime.program.types
        match event:
            case events.StreamPut(digest=None):
                event.digest = digest_of_object(event.item, types)
            case events.ResultSet(digest=None):
                event.digest = digest_of_object(event.value, types)
            case events.Emitted(digest=None):
                signal = (event.delay, event.provisional, event.label, event.keeps_open)
                event.digest = digest_of_object(event.value, types, *signal)
            case events.StateChanged(digest=None):
                event.digest = digest_of_object(event.value, types, event.op)
            case events.FlowDataChanged(digest=None):
                event.digest = digest_of_object(event.value, types, "set")
            case _:
                pass
        return getattr(event, "digest", None)

    # -- results -----------------------------------------------------------------------------------------------------

    def repeats_result(self, event: events.ResultSet) -> bool:
        """Whether the result need not be recorded. A result of an earlier attempt of this run is replaced."""
        first, self._has_set_result = not self._has_set_result, True
        digest, earlier = self._digest(event), self._earlier.get(event.effect)
        state = self._runtime.machine.state
        own = (it.value for it in state.proposed or () if it.by == self._run.id)
        result = state.result if state.result is not UNSET else next(own, UNSET)
        if not first or earlier is None or result is UNSET:
            return self.place(event) > 0
        now = digest_of_object(result, self._runtime.program.types)
        if now != digest and now in earlier.known:
            event.replace = True
            return False
        return self.place(event) > 0

    # -- state -------------------------------------------------------------------------------------------------------

    def repeats_change(self, event: events.StateChanged) -> bool:
        """Whether a change of state need not be recorded, because an earlier attempt has made the same; holds the value
        that this attempt sees from now on. Otherwise the held value of the key has to be recorded first."""
        digest, earlier = self._digest(event), self._earlier.get(event.effect)
        if earlier is None:
            return False
        if earlier.equal(digest):
            self._see(event)
            return True
        return earlier.next() > 0

    def _see(self, event: events.StateChanged) -> None:
        key, held = event.key, self.held.get(event.key)
        if event.op == "append":
            if held is None:
                return
            self.hold(key, [*(() if held.value is UNSET else held.value), event.value], event.emit)
        else:
            self.hold(key, event.value if event.op == "set" else UNSET, event.emit)

    def hold(self, key: str, value: Any, emit: bool) -> None:
        """Let this attempt see a value at a key, unless the state has it, or another run has changed the key since."""
        now: Any = self._runtime.machine.state.data.get(key, UNSET)
        if key not in self.held and not self._is_own(key, now):
            return
        if now is value or self._equal(now, value):
            self.held.pop(key, None)
        else:
            self.held[key] = Held(value, emit)

    def _is_own(self, key: str, now: Any) -> bool:
        """Whether an earlier attempt of this run may have given the key its present value."""
        earlier = self._earlier.get(f"state:{key}")
        if earlier is None:
            return False
        if now is UNSET or isinstance(now, list):
            return True
        return digest_of_object(now, self._runtime.program.types, "set") in earlier.known

    def _equal(self, one: Any, other: Any) -> bool:
        types = self._runtime.program.types
        digest = digest_of_object(one, types)
        return digest != UNLIKE and digest == digest_of_object(other, types)

    def same_operation(self, key: str, digest: int | None) -> bool:
        """Whether an earlier attempt has changed a key by the same operation; counts it."""
        change = events.StateChanged(0.0, self._run.id, "set", key, digest=digest)
        return self.place(change) > 0

    def unheld(self, key: str) -> events.StateChanged | None:
        """Hold the value of a key no longer: the record that gives it to the key; None if no value is held."""
        held = self.held.pop(key, None)
        if held is None:
            return None
        now, deleted = self._runtime.environment.now(), held.value is UNSET
        value: Any = None if deleted else held.value
        change = events.StateChanged(now, self._run.id, "delete" if deleted else "set", key, value, held.emit)
        self._digest(change)
        return change

    # -- data of the flow --------------------------------------------------------------------------------------------

    def repeats_flow_data(self, change: events.FlowDataChanged, value: Any, now: Any) -> bool:
        """Whether a change of the flow's data need not be made, because an earlier attempt has made the same and has
        not replaced it. `now` is the value at the key, and `value` the one that is set; UNSET if it is not set."""
        earlier = self._earlier.get(change.effect)
        if not self.place(change):
            return False
        if earlier is None or value is UNSET or now is UNSET or self._equal(now, value):
            return True
        return digest_of_object(now, self._runtime.program.types, "set") not in earlier.known


def operation(runtime: ExecutionRuntime, attempt: Attempt | None, function: Callable[..., Any]) -> int | None:
    """The digest of an operation on a value of state; None where no later attempt can ask for it."""
    if attempt is None and runtime.log is None:
        return None
    return digest_of_operation(function, runtime.program.types)


def reduction(runtime: ExecutionRuntime, attempt: Attempt | None, value: Any) -> int | None:
    """The digest of a reduction with a value; None where no later attempt can ask for it."""
    if attempt is None and runtime.log is None:
        return None
    return digest_of_object(value, runtime.program.types, "reduce")


def flow_change(runtime: ExecutionRuntime, attempt: Attempt | None, op: str, value: Any) -> int | None:
    """The digest of a change of the flow's data; None where no later attempt can ask for it."""
    if attempt is None and runtime.log is None:
        return None
    return digest_of_object(value, runtime.program.types, op)


def repeatable(runtime: ExecutionRuntime, run: RunChunk) -> Attempt | None:
    """The attempt of a run, if there was an earlier one or its policy allows a later one; else None.

    Where a run of a durable execution has no policy, the records get their digests when they are encoded.
    """
    program = runtime.program
    if run.attempt > 1 or (program.retried and program.retries[run.node.index] is not None):
        return Attempt(runtime, run)
    return None
