"""Step policies of a chunk: retry, timeout, cache. What they decide is recorded; the deciding is done here.

The terms of `Retry` are those of Temporal's RetryPolicy (initial interval, backoff coefficient, maximum interval,
maximum attempts, non-retryable errors), https://docs.temporal.io/encyclopedia/retry-policies, with jitter added.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, cast

from .._core.errors import DefinitionError

Invoker = Callable[[Any], Awaitable[Any]]


class Retry:
    """Try a failed chunk again, up to `attempts` runs in all.

    The first pause is `initial_interval` seconds, each next one `backoff_coefficient` times longer, none longer than
    `maximum_interval` (default: 100 times the first). `jitter` (0 to 1) varies a pause at random by up to that share.
    Only errors of the classes `retry_on` are tried again, and none of `non_retryable`. An exception with a
    `retry_after` attribute (seconds), as HTTP clients raise for 429 and 503, lengthens its pause to that.
    Raises `DefinitionError` for numbers that make no sense.
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
        numbers = (initial_interval, backoff_coefficient, 0 if maximum_interval is None else maximum_interval)
        sound = all(math.isfinite(number) and number >= 0 for number in numbers)
        whole: Any = attempts
        if not isinstance(whole, int) or attempts < 1 or not sound or backoff_coefficient < 1 or not 0 <= jitter <= 1:
            raise DefinitionError(
                "Retry needs attempts >= 1, initial_interval >= 0, backoff_coefficient >= 1 and jitter from 0 to 1; "
                f"got {attempts=}, {initial_interval=}, {backoff_coefficient=}, {maximum_interval=}, {jitter=}"
            )
        self.attempts = attempts
        self.initial_interval = initial_interval
        self.backoff_coefficient = backoff_coefficient
        self.maximum_interval = 100 * initial_interval if maximum_interval is None else maximum_interval
        self.jitter = jitter
        self.retry_on = retry_on
        self.non_retryable = non_retryable

    def delay(self, attempt: int, error: BaseException) -> float | None:
        """The pause in seconds after this attempt (counted from 1) failed; None if it was the last."""
        if attempt >= self.attempts or not isinstance(error, self.retry_on) or isinstance(error, self.non_retryable):
            return None
        try:
            pause = self.initial_interval * self.backoff_coefficient ** (attempt - 1)
        except OverflowError:
            pause = self.maximum_interval
        pause = min(pause, self.maximum_interval)
        from random import random  # on the first retry: importing it takes milliseconds

        pause = min(pause * (1 + self.jitter * (2 * random() - 1)), self.maximum_interval)
        asked: Any = getattr(error, "retry_after", None)
        return max(pause, float(asked)) if isinstance(asked, int | float) and math.isfinite(asked) else pause

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


class Cache:
    """Keep the results of a chunk by key, for all executions of the flow in this process.

    `key` takes the runtime data and returns something hashable; by default it is the value, in a canonical form. At
    most `size` results are kept, the least recently used goes first, and none longer than `ttl` seconds. Runs with the
    same key at the same time are one run. A failure is not kept.
    """

    def __init__(self, key: Callable[[Any], Any] | None = None, *, size: int = 1024, ttl: float | None = None) -> None:
        if size < 1 or (ttl is not None and ttl <= 0):
            raise DefinitionError(f"Cache needs size >= 1 and ttl > 0, got {size=}, {ttl=}")
        self.key = key or _value_key
        self.size = size
        self.ttl = ttl
        self._kept: OrderedDict[Any, tuple[float, Any]] = OrderedDict()
        self._running: dict[Any, asyncio.Future[None]] = {}

    def wrap(self, call: Invoker) -> Invoker:
        """The invoker with this cache in front of it."""

        async def cached(data: Any) -> Any:
            key = self.key(data)
            while True:
                hit = self._kept.get(key)
                if hit is not None and (self.ttl is None or monotonic() - hit[0] < self.ttl):
                    self._kept.move_to_end(key)
                    return hit[1]
                other = self._running.get(key)
                if other is None or other.get_loop() is not asyncio.get_running_loop():
                    break
                await other
            done = self._running[key] = asyncio.get_running_loop().create_future()
            try:
                value = await call(data)
                self._kept[key] = (monotonic(), value)
                while len(self._kept) > self.size:
                    self._kept.popitem(last=False)
                return value
            finally:
                if self._running.get(key) is done:
                    del self._running[key]
                done.set_result(None)

        return cached


def with_timeout(call: Invoker, seconds: float, name: str) -> Invoker:
    """The invoker, ended with `TimeoutError` after so many seconds."""

    async def timed(data: Any) -> Any:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await call(data)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"chunk {name!r} did not finish within its timeout of {seconds} s") from error

    return timed


def _value_key(data: Any) -> Any:
    """The value with its type where it can be a key, else its text: equal texts of one type are equal values."""
    value = data.value
    try:
        hash(value)
    except TypeError:
        return _frozen(value)
    return type(value), value


def _frozen(value: Any) -> Any:
    """A key for something that has no hash; dicts with equal items are equal, in any order."""
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return dict, tuple(sorted((repr(key), repr(_frozen(item))) for key, item in items))
    if isinstance(value, list | tuple):
        kind = list if isinstance(value, list) else tuple
        return kind, tuple(_frozen(item) for item in cast("list[Any]", value))
    return type(value), repr(value)


def _names(classes: tuple[type[BaseException], ...] | type[BaseException]) -> list[str]:
    return [cls.__qualname__ for cls in (classes if isinstance(classes, tuple) else (classes,))]
