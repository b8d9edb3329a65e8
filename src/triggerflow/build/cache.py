"""`Cache`: results of a chunk by key, and one run for all that would compute the same result at the same time."""

import asyncio
import copy
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from inspect import iscoroutinefunction
from time import monotonic
from typing import Any, Never, Protocol
from weakref import WeakKeyDictionary

from .._core.errors import OptionError
from .arguments import check_names, seconds, whole
from .keys import NoKey, given_key, value_key

logger = logging.getLogger("triggerflow")
Invoker = Callable[[Any], Awaitable[Any]]

#: The most different reasons for not caching a value that one cache logs.
MAX_LOGGED = 100
_IMMUTABLE: frozenset[type[Any]] = frozenset({int, float, bool, str, bytes, type(None)})


class Cache:
    """Cache the results of a chunk by key, in memory, for all executions of its flow in this process.

    `key` is a sync function of the runtime data. It returns a text, a number, a tuple of these, or another hashable
    object. The default key is the value that the chunk is run with: values share a result if they have the same types
    and are equal in every part. A value that cannot be compared so (it contains a client, a lock or a function, for
    example) is not cached, and a log line says why; pass a `key` then. The cache holds at most `size` results, and
    drops the least recently used one first; a result expires after `ttl` seconds (default: never). Several chunks may
    share one cache; their results stay apart.

    Runs with the same key at the same time are one run: the other runs wait for its result, and release their permits
    in concurrency limits meanwhile. If that run fails or is cancelled, the next waiting run takes its turn; failures
    are not cached. Every run gets its own copy (`copy.deepcopy`) of the result; a result that cannot be copied is not
    cached.
    Raises `DefinitionError` for a `size` below 1, a `ttl` that is not more than 0, and a `key` that is not a sync
    function; a chunk fails with `OptionError` if `key` returns an object that cannot be a key.
    """

    def __init__(
        self,
        key: Callable[[Any], Any] | None = None,
        *,
        size: int = 1024,
        ttl: float | None = None,
        **unknown: Never,
    ) -> None:
        check_names(unknown, ("key", "size", "ttl"), "Cache")
        whole(size, "Cache", "size", 1)
        if ttl is not None:
            seconds(ttl, "Cache", "ttl", above=True)
        if key is not None and (not callable(key) or iscoroutinefunction(key)):
            raise OptionError(f"Cache: key must be a sync function of the runtime data, got {key!r}")
        self.key = key
        self.size = size
        self.ttl = ttl
        self._results: OrderedDict[Any, tuple[float, Any]] = OrderedDict()
        #: runs in progress by event loop and key; a future belongs to one loop, so that each loop has its own
        self._shared: dict[tuple[asyncio.AbstractEventLoop, Any], _SharedRun] = {}
        #: per flow (held weakly), its chunks by name: their handler, and the object that represents the chunk in keys
        self._marks: WeakKeyDictionary[Any, dict[str, tuple[Any, object]]] = WeakKeyDictionary()
        self._logged: set[str] = set()

    def settings(self) -> dict[str, Any]:
        """The arguments that the cache was made with."""
        return {"key": self.key, "size": self.size, "ttl": self.ttl}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings().items())})"

    def wrap(self, call: Invoker, chunk: Any, owner: Any, waiting: "RunWaits") -> Invoker:
        """Put this cache in front of the invoker of a chunk. The results belong to the chunk of `owner`, a flow."""
        name, mark = chunk.name, self._mark(chunk, owner)

        async def cached(data: Any) -> Any:
            found = self._key(data, name)
            if found is None:
                return await call(data)
            key = (mark, *found)
            slot = (asyncio.get_running_loop(), key)
            while True:
                kept = self._cached(key)
                if kept is not None:
                    return _copy(kept[1])
                shared = self._shared.get(slot)
                if shared is None:
                    shared = self._shared[slot] = _SharedRun()
                    break
                if self._would_deadlock(shared, data, waiting, {shared}):
                    return await call(data)
                waiter = shared.join(data)
                try:
                    await waiting.without_permit(data, waiter)
                    turn = waiter.result()
                except BaseException:
                    self._leave(slot, shared, waiter)
                    raise
                if turn is _Then.LEAD:
                    break
                if turn is _Then.ALONE:
                    return await call(data)
            return await self._lead(slot, shared, call, data, name)

        return cached

    def _mark(self, chunk: Any, owner: Any) -> object:
        """The object that represents the chunk in keys. It stays the same until the chunk has another function."""
        marks = self._marks.setdefault(owner, {})
        known = marks.get(chunk.trigger.name)
        if known is None or known[0] is not chunk.handler:
            known = marks[chunk.trigger.name] = (chunk.handler, object())
        return known[1]

    def _would_deadlock(self, shared: "_SharedRun", data: Any, waiting: "RunWaits", seen: "set[_SharedRun]") -> bool:
        """Whether this run must not wait for the leader of the shared run, because the leader may wait for this run.

        That is so if the leader has caused this run, or if it has caused a run that waits for another leader, and this
        run must not wait for that one either.
        """
        leader = shared.leader
        if leader is None or not waiting.has_caused_any(leader):
            return False
        if waiting.has_caused(leader, data):
            return True
        for other in list(self._shared.values()):
            if other not in seen and any(waiting.has_caused(leader, it) for it in other.waiters.values()):
                seen.add(other)
                if self._would_deadlock(other, data, waiting, seen):
                    return True
        return False

    async def _lead(self, slot: Any, shared: "_SharedRun", call: Invoker, data: Any, name: str) -> Any:
        """Run the chunk for all waiting runs, and store the result."""
        shared.leader = data
        try:
            value = await call(data)
        except BaseException:
            shared.leader = None
            self._pass_on(slot, shared)
            raise
        shared.leader = None
        self._shared.pop(slot, None)
        try:
            copied = _copy(value)
        except Exception as error:
            self._log(name, f"its result, a {type(value).__qualname__}, cannot be copied", error)
            shared.end(_Then.ALONE)
            return value
        self._results[slot[1]] = (monotonic(), copied)
        while len(self._results) > self.size:
            with suppress(KeyError):  # another thread has removed the last result meanwhile
                self._results.popitem(last=False)
        shared.end(_Then.LOOK)
        return value

    def _cached(self, key: Any) -> tuple[float, Any] | None:
        kept = self._results.get(key)
        if kept is None or (self.ttl is not None and monotonic() - kept[0] >= self.ttl):
            return None
        with suppress(KeyError):
            self._results.move_to_end(key)
        return kept

    def _leave(self, slot: Any, shared: "_SharedRun", waiter: "asyncio.Future[_Then]") -> None:
        """Remove a run that was cancelled while it waited. If it was chosen as the leader, choose the next one."""
        if not shared.left(waiter):
            self._pass_on(slot, shared)

    def _pass_on(self, slot: Any, shared: "_SharedRun") -> None:
        if not shared.pass_on():
            self._shared.pop(slot, None)

    def _key(self, data: Any, name: str) -> tuple[Any] | None:
        """The key, in a tuple; None for a value without a safe key."""
        if self.key is not None:
            given = self.key(data)
            try:
                return (given_key(given),)
            except NoKey as error:
                raise OptionError(
                    f"chunk {name!r}: the key function of its Cache returned a {type(given).__qualname__} that cannot "
                    f"be a key ({error}); let it return a text, a number, or a tuple of them"
                ) from error
        try:
            return (value_key(data.value),)
        except Exception as error:  # a property or an attribute of a user's class may raise
            self._log(name, f"the value, a {type(data.value).__qualname__}, has no safe key", error)
            return None

    def _log(self, name: str, why: str, error: Exception) -> None:
        if why not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(why)
            logger.warning(
                "chunk %r: a result is not cached, because %s: %s; pass a key function to Cache", name, why, error
            )


class RunWaits(Protocol):
    """What the cache needs of the engine, to let one run wait for another run with the same key."""

    async def without_permit(self, data: Any, until: "asyncio.Future[Any]") -> None:
        """Wait until the future is done; the run releases its permits in concurrency limits meanwhile."""
        ...

    def has_caused_any(self, run: Any) -> bool:
        """Whether signals of this run have started other runs."""
        ...

    def has_caused(self, run: Any, other: Any) -> bool:
        """Whether a signal of `run` caused the run `other`, directly or through other runs."""
        ...


class _Then(Enum):
    """What a waiting run does when it is woken: look for the result again, lead, or run for itself only."""

    LOOK = 1
    LEAD = 2
    ALONE = 3


class _SharedRun:
    """One run, the leader, and the runs that wait for its result."""

    __slots__ = ("leader", "waiters")

    def __init__(self) -> None:
        self.leader: Any = None
        #: the futures of the waiting runs with the data of each, oldest first
        self.waiters: dict[asyncio.Future[_Then], Any] = {}

    def join(self, data: Any) -> "asyncio.Future[_Then]":
        waiter: asyncio.Future[_Then] = asyncio.get_running_loop().create_future()
        self.waiters[waiter] = data
        return waiter

    def left(self, waiter: "asyncio.Future[_Then]") -> bool:
        """Remove a run that stopped waiting; False if it had already been chosen as the next leader."""
        self.waiters.pop(waiter, None)
        return not (waiter.done() and not waiter.cancelled() and waiter.result() is _Then.LEAD)

    def pass_on(self) -> bool:
        """Make the oldest waiting run the leader; False if no run waits."""
        while self.waiters:
            waiter = next(iter(self.waiters))
            del self.waiters[waiter]
            if _wake(waiter, _Then.LEAD):
                return True
        return False

    def end(self, turn: _Then) -> None:
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            _wake(waiter, turn)


def _wake(waiter: "asyncio.Future[_Then]", turn: _Then) -> bool:
    if waiter.done():
        return False
    try:
        waiter.set_result(turn)
    except RuntimeError:  # the loop of the waiting run was closed
        return False
    return True


def _copy(value: Any) -> Any:
    """A deep copy; immutable builtin values are returned as they are."""
    return value if type(value) in _IMMUTABLE else copy.deepcopy(value)
