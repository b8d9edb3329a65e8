"""Step policies of a chunk: retry, timeout, cache. What they decide is recorded; the deciding is done here.

The terms of `Retry` are those of Temporal's RetryPolicy (initial interval, backoff coefficient, maximum interval,
maximum attempts, non-retryable errors), https://docs.temporal.io/encyclopedia/retry-policies, with jitter added.
"""

import asyncio
import copy
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from inspect import iscoroutinefunction
from time import monotonic
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

from .._core.errors import DefinitionError, OptionError
from .arguments import seconds, whole
from .keys import NoKey, given_key, value_key

logger = logging.getLogger("triggerflow")
Invoker = Callable[[Any], Awaitable[Any]]

#: How many different reasons for not caching one cache logs.
MOST_LOGGED = 100
_IMMUTABLE: frozenset[type[Any]] = frozenset({int, float, bool, str, bytes, type(None)})


class Retry:
    """Try a failed chunk again, up to `attempts` runs in all.

    The first pause is `initial_interval` seconds, each next one `backoff_coefficient` times longer, none longer than
    `maximum_interval` (default: 100 times the first). `jitter` (0 to 1) varies a pause at random by up to that share.
    Only errors of the classes `retry_on` are tried again, and none of `non_retryable`. An exception with a
    `retry_after` attribute (seconds), as HTTP clients raise for 429 and 503, lengthens its pause to that.
    A subclass may override `delay`. Where that raises, or an error cannot be compared, the chunk is not tried again: it
    fails with its own error, and a log line tells what the policy raised.
    Raises `DefinitionError` for numbers that make no sense, and for what is no class of exceptions.
    """

    def __init__(
        self,
        attempts: int = 3,
        *,
        initial_interval: float = 1.0,
        backoff_coefficient: float = 2.0,
        maximum_interval: float | None = None,
        jitter: float = 0.1,
        retry_on: tuple[type[BaseException], ...] | type[BaseException] = Exception,
        non_retryable: tuple[type[BaseException], ...] | type[BaseException] = (),
    ) -> None:
        where = "Retry"
        whole(attempts, where, "attempts", 1)
        seconds(initial_interval, where, "initial_interval")
        if maximum_interval is not None:
            seconds(maximum_interval, where, "maximum_interval")
        numbers: dict[str, Any] = {"backoff_coefficient": backoff_coefficient, "jitter": jitter}
        longest = 100 * initial_interval if maximum_interval is None else maximum_interval
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise OptionError(f"{where}: {name} must be a number, got {number!r}")
        finite = all(map(math.isfinite, (initial_interval, longest, *numbers.values())))
        if not finite or backoff_coefficient < 1 or not 0 <= jitter <= 1:
            raise DefinitionError(
                "Retry needs finite numbers, backoff_coefficient >= 1 and jitter from 0 to 1; "
                f"got {initial_interval=}, {backoff_coefficient=}, {maximum_interval=}, {jitter=}"
            )
        for name, classes in (("retry_on", retry_on), ("non_retryable", non_retryable)):
            _check_classes(classes, where, name)
        self.attempts = attempts
        self.initial_interval = initial_interval
        self.backoff_coefficient = backoff_coefficient
        self.maximum_interval = longest
        self.jitter = jitter
        self.retry_on = retry_on
        self.non_retryable = non_retryable

    def delay(self, attempt: int, error: BaseException, *, random: Callable[[], float] | None = None) -> float | None:
        """The pause in seconds after this attempt (counted from 1) failed; None if it was the last.

        `random` gives the chance for the jitter, from 0 to 1: an execution gives that of its environment.
        """
        if attempt >= self.attempts or not isinstance(error, self.retry_on) or isinstance(error, self.non_retryable):
            return None
        try:
            pause = self.initial_interval * self.backoff_coefficient ** (attempt - 1)
        except OverflowError:
            pause = self.maximum_interval
        pause = min(pause, self.maximum_interval)
        pause = min(pause * (1 + self.jitter * (2 * (random or _chance)() - 1)), self.maximum_interval)
        return max(pause, _retry_after(error))

    def settings(self) -> dict[str, Any]:
        """What the policy was made with."""
        return dict(vars(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings().items())})"

    def describe(self) -> dict[str, Any]:
        """The policy as plain data, for exports and fingerprints."""
        return {
            "attempts": self.attempts,
            "initial_interval": self.initial_interval,
            "backoff_coefficient": self.backoff_coefficient,
            "maximum_interval": self.maximum_interval,
            "jitter": self.jitter,
            "retry_on": _names(self.retry_on),
            "non_retryable": _names(self.non_retryable),
        }


def pause_before_retry(retry: Retry, attempt: int, error: BaseException, random: Callable[[], float]) -> float | None:
    """What `Retry.delay` says; None if it raises, or gives what is no number of seconds. Never raises.

    The policy and the attributes of an error are user code: the run has to end with its own error whatever they do.
    """
    try:
        own = type(retry).delay is not Retry.delay
        delay: Any = retry.delay(attempt, error) if own else retry.delay(attempt, error, random=random)
        if delay is None or (isinstance(delay, int | float) and math.isfinite(delay) and delay >= 0):
            return delay
        raise TypeError(f"Retry.delay() gives seconds from 0 on, or None; it gave {delay!r}")
    except KeyboardInterrupt:
        raise
    except BaseException as broken:
        logger.error(
            "a retry policy failed, so the chunk is not tried again: %s", type(broken).__name__, exc_info=broken
        )
        return None


def _chance() -> float:
    """For a caller that is no execution."""
    from secrets import randbelow  # imported when it is wanted, because it takes milliseconds

    return randbelow(1 << 53) / (1 << 53)


def _retry_after(error: BaseException) -> float:
    """The seconds that an error asks to wait; 0 if it asks for none, or for something that is no number."""
    try:
        asked: Any = getattr(error, "retry_after", None)
        if isinstance(asked, int | float) and math.isfinite(asked):
            return float(asked)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # a property, say, that reads a header which is missing
        logger.debug("the retry_after of %s cannot be read: %s", type(error).__name__, type(broken).__name__)
    return 0.0


class Cache:
    """Keep the results of a chunk by key, for all executions of its flow in this process.

    `key` takes the runtime data and returns a text, a number, a tuple of such, or another object that can be hashed. By
    default the key is the value of the data: two values share a result only if all their parts are equal and of the
    same types. A value that holds something else than data (a client, a lock, a function ...) is not cached, and a log
    line names it; give a `key` then. At most `size` results are kept, the least recently used is dropped first, and
    none is kept longer than `ttl` seconds. One cache may serve several chunks; each has results of its own.

    Runs with the same key at the same time are one run: the other runs wait for its result, and give up their permits
    meanwhile. If that run fails or is cancelled, one of the waiting runs takes over; a failure is not kept. Each run
    gets a copy (`copy.deepcopy`) of the kept result, so that no chunk changes the value of another one; a result that
    cannot be copied is not kept.
    """

    def __init__(self, key: Callable[[Any], Any] | None = None, *, size: int = 1024, ttl: float | None = None) -> None:
        whole(size, "Cache", "size", 1)
        if ttl is not None:
            seconds(ttl, "Cache", "ttl", above=True)
        if key is not None and (not callable(key) or iscoroutinefunction(key)):
            raise OptionError(f"Cache: key must be a sync function of the runtime data, got {key!r}")
        self.key = key
        self.size = size
        self.ttl = ttl
        self._kept: OrderedDict[Any, tuple[float, Any]] = OrderedDict()
        #: runs whose result other runs wait for, for each event loop: a future belongs to one loop
        self._flights: dict[tuple[asyncio.AbstractEventLoop, Any], _Flight] = {}
        #: the marks that stand for the chunks of a flow in keys; the flow is not kept alive for them
        self._owners: WeakKeyDictionary[Any, dict[str, tuple[Any, object]]] = WeakKeyDictionary()
        self._logged: set[str] = set()

    def settings(self) -> dict[str, Any]:
        """What the cache was made with."""
        return {"key": self.key, "size": self.size, "ttl": self.ttl}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings().items())})"

    def wrap(self, call: Invoker, chunk: Any, owner: Any, waiting: "Waiting") -> Invoker:
        """The invoker of a chunk with this cache in front of it. Results belong to the chunk of this owner, a flow."""
        name, mark = chunk.name, self._mark(chunk, owner)

        async def cached(data: Any) -> Any:
            found = self._key(data, name)
            if found is None:
                return await call(data)
            key = (mark, *found)
            place = (asyncio.get_running_loop(), key)
            while True:
                kept = self._find(key)
                if kept is not None:
                    return _copy(kept[1])
                flight = self._flights.get(place)
                if flight is None:
                    flight = self._flights[place] = _Flight()
                    break
                if self._waits_for(flight, data, waiting, {flight}):
                    return await call(data)
                waiter = flight.join(data)
                try:
                    await waiting.without_permits(data, waiter)
                    turn = waiter.result()
                except BaseException:
                    self._leave(place, flight, waiter)
                    raise
                if turn is _Turn.LEAD:
                    break
                if turn is _Turn.ALONE:
                    return await call(data)
            return await self._lead(place, flight, call, data, name)

        return cached

    def _mark(self, chunk: Any, owner: Any) -> object:
        """The mark of the chunk in keys: the same for all versions of its flow, another for another function."""
        marks = self._owners.setdefault(owner, {})
        known = marks.get(chunk.trigger.name)
        if known is None or known[0] is not chunk.handler:
            known = marks[chunk.trigger.name] = (chunk.handler, object())
        return known[1]

    def _waits_for(self, flight: "_Flight", data: Any, waiting: "Waiting", seen: "set[_Flight]") -> bool:
        """Whether the leader of a flight may be waiting for this run, so that this run must not wait for the leader.

        That is so if the leader has caused this run, or a run that waits in another flight whose leader may be waiting.
        """
        leader = flight.leader
        if leader is None or not waiting.has_caused_any(leader):
            return False
        if waiting.has_caused(leader, data):
            return True
        for other in list(self._flights.values()):
            if other not in seen and any(waiting.has_caused(leader, it) for it in other.waiters.values()):
                seen.add(other)
                if self._waits_for(other, data, waiting, seen):
                    return True
        return False

    async def _lead(self, place: Any, flight: "_Flight", call: Invoker, data: Any, name: str) -> Any:
        """Run the chunk for all waiting runs, and keep the result."""
        flight.leader = data
        try:
            value = await call(data)
        except BaseException:
            flight.leader = None
            self._pass_on(place, flight)
            raise
        flight.leader = None
        self._flights.pop(place, None)
        try:
            copied = _copy(value)
        except Exception as error:
            self._log_once(name, f"its result, a {type(value).__qualname__}, cannot be copied", error)
            flight.end(_Turn.ALONE)
            return value
        self._kept[place[1]] = (monotonic(), copied)
        while len(self._kept) > self.size:
            with suppress(KeyError):  # another thread was faster
                self._kept.popitem(last=False)
        flight.end(_Turn.LOOK)
        return value

    def _find(self, key: Any) -> tuple[float, Any] | None:
        kept = self._kept.get(key)
        if kept is None or (self.ttl is not None and monotonic() - kept[0] >= self.ttl):
            return None
        with suppress(KeyError):
            self._kept.move_to_end(key)
        return kept

    def _leave(self, place: Any, flight: "_Flight", waiter: "asyncio.Future[_Turn]") -> None:
        """A waiting run was cancelled. If it was about to take over, the next one takes over."""
        if not flight.left(waiter):
            self._pass_on(place, flight)

    def _pass_on(self, place: Any, flight: "_Flight") -> None:
        if not flight.pass_on():
            self._flights.pop(place, None)

    def _key(self, data: Any, name: str) -> tuple[Any] | None:
        """The key in a tuple; None for data that has none."""
        if self.key is not None:
            given = self.key(data)
            try:
                return (given_key(given),)
            except NoKey as error:
                raise TypeError(
                    f"chunk {name!r}: Cache(key=...) gave a {type(given).__qualname__} that cannot be a key ({error}); "
                    "let it return a text, a number, or a tuple of them"
                ) from error
        try:
            return (value_key(data.value),)
        except Exception as error:  # a property or an attribute of a user's class may raise
            self._log_once(name, f"the value, a {type(data.value).__qualname__}, has no safe key", error)
            return None

    def _log_once(self, name: str, why: str, error: Exception) -> None:
        if why not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add(why)
            logger.warning("chunk %r does not cache this: %s: %s; see Cache(key=...)", name, why, error)


class Waiting(Protocol):
    """How a run waits for another run with the same key."""

    async def without_permits(self, data: Any, until: "asyncio.Future[Any]") -> None:
        """Wait until the future is done; the run gives up its permits meanwhile."""
        ...

    def has_caused_any(self, run: Any) -> bool:
        """Whether signals of this run have started others."""
        ...

    def has_caused(self, run: Any, other: Any) -> bool:
        """Whether a signal of the first run, or of a run that it has caused, has started the other run. The first may
        be waiting for the other then."""
        ...


class _Turn(Enum):
    """What a waiting run does next: look for the kept result, run in place of the leader, or run for itself."""

    LOOK = 1
    LEAD = 2
    ALONE = 3


class _Flight:
    """One run (the leader), and the runs that wait for its result."""

    __slots__ = ("leader", "waiters")

    def __init__(self) -> None:
        self.leader: Any = None
        #: the waiting runs, oldest first: a future and the data of each
        self.waiters: dict[asyncio.Future[_Turn], Any] = {}

    def join(self, data: Any) -> "asyncio.Future[_Turn]":
        waiter: asyncio.Future[_Turn] = asyncio.get_running_loop().create_future()
        self.waiters[waiter] = data
        return waiter

    def left(self, waiter: "asyncio.Future[_Turn]") -> bool:
        """Forget a run that does not wait any more; False if it was about to take over."""
        self.waiters.pop(waiter, None)
        return not (waiter.done() and not waiter.cancelled() and waiter.result() is _Turn.LEAD)

    def pass_on(self) -> bool:
        """Let the run that has waited longest take over; False if none waits."""
        while self.waiters:
            waiter = next(iter(self.waiters))
            del self.waiters[waiter]
            if _wake(waiter, _Turn.LEAD):
                return True
        return False

    def end(self, turn: _Turn) -> None:
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            _wake(waiter, turn)


def _wake(waiter: "asyncio.Future[_Turn]", turn: _Turn) -> bool:
    if waiter.done():
        return False
    try:
        waiter.set_result(turn)
    except RuntimeError:  # its loop was closed
        return False
    return True


def _copy(value: Any) -> Any:
    """A copy that shares nothing that can change."""
    return value if type(value) in _IMMUTABLE else copy.deepcopy(value)


def _check_classes(classes: Any, where: str, name: str) -> None:
    """Raise `OptionError` unless this is a class of exceptions, or a tuple of such classes."""
    for cls in cast("tuple[Any, ...]", classes if isinstance(classes, tuple) else (classes,)):
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise OptionError(f"{where}: {name} must be a class of exceptions, or a tuple of them; got {classes!r}")


def _names(classes: tuple[type[BaseException], ...] | type[BaseException]) -> list[str]:
    return [cls.__qualname__ for cls in (classes if isinstance(classes, tuple) else (classes,))]
