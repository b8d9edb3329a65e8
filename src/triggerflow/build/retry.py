"""`Retry`: when a failed chunk is run again, and after which pause.

The decision is made here, outside of the core; the record of the failure holds the pause. The terms are those of
Temporal's RetryPolicy (initial interval, backoff coefficient, maximum interval, maximum attempts, non-retryable
errors), https://docs.temporal.io/encyclopedia/retry-policies, with jitter added.
"""

import logging
import math
from collections.abc import Callable
from typing import Any, Never, cast

from .._core.errors import DefinitionError, OptionError
from .arguments import check_names, seconds, whole

logger = logging.getLogger("triggerflow")


#: The options of `Retry`.
FIELDS = ("attempts", "initial_interval", "backoff_coefficient", "maximum_interval", "jitter", "retry_on",
          "non_retryable")  # fmt: skip


class Retry:
    """Run a failed chunk again, up to `attempts` runs in all (default: 3).

    The first pause is `initial_interval` seconds (default: 1). Each further pause is `backoff_coefficient` times longer
    (default: 2), up to `maximum_interval` seconds (default: 100 times the first). `jitter` (0 to 1, default: 0.1)
    varies each pause at random by up to that share. Only exceptions of the classes `retry_on` are retried (default:
    `Exception`), and never those of `non_retryable`. If the exception has an attribute `retry_after` (seconds), as
    those of HTTP clients for status 429 and 503, the pause is at least that long.
    A subclass may override `delay`. If `delay` raises, the chunk is not retried: it fails with its own exception, and a
    log line shows what `delay` raised.
    Raises `DefinitionError` for impossible numbers, and `OptionError` for values of the wrong type.
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
        **unknown: Never,
    ) -> None:
        where = "Retry"
        check_names(unknown, FIELDS, where)
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
        """The pause in seconds before the next attempt, after attempt number `attempt` (from 1) raised `error`.

        None means that there is no further attempt. `random` returns numbers from 0 to 1 for the jitter; an execution
        passes the one of its environment.
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
        """The arguments that the policy was made with."""
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
    """The result of `Retry.delay`; None if it raises, or returns anything but a number of seconds or None.

    The policy and the attributes of an exception are user code. Whatever they do, the run must end with its own
    exception; so this function raises nothing but `KeyboardInterrupt`.
    """
    try:
        own = type(retry).delay is not Retry.delay
        delay: Any = retry.delay(attempt, error) if own else retry.delay(attempt, error, random=random)
        if delay is None or (isinstance(delay, int | float) and math.isfinite(delay) and delay >= 0):
            return delay
        raise TypeError(f"Retry.delay() must return seconds, 0 or more, or None; it returned {delay!r}")
    except KeyboardInterrupt:
        raise
    except BaseException as broken:
        logger.error(
            "a retry policy failed, so the chunk is not tried again: %s", type(broken).__name__, exc_info=broken
        )
        return None


def _chance() -> float:
    """A random number from 0 to 1, for callers without an environment."""
    from secrets import randbelow  # imported on first use, because the import takes milliseconds

    return randbelow(1 << 53) / (1 << 53)


def _retry_after(error: BaseException) -> float:
    """The `retry_after` of an exception in seconds; 0 if it has none, or one that is not a number."""
    try:
        asked: Any = getattr(error, "retry_after", None)
        if isinstance(asked, int | float) and math.isfinite(asked):
            return float(asked)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # for example a property that reads a missing header
        logger.debug("the retry_after of %s cannot be read: %s", type(error).__name__, type(broken).__name__)
    return 0.0


def _check_classes(classes: Any, where: str, name: str) -> None:
    """Raise `OptionError` unless `classes` is an exception class, or a tuple of such classes."""
    for cls in cast("tuple[Any, ...]", classes if isinstance(classes, tuple) else (classes,)):
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise OptionError(f"{where}: {name} must be a class of exceptions, or a tuple of them; got {classes!r}")


def _names(classes: tuple[type[BaseException], ...] | type[BaseException]) -> list[str]:
    return [cls.__qualname__ for cls in (classes if isinstance(classes, tuple) else (classes,))]
