"""`Attempts`: the task of a response. It requests answers from a source until one fits the description.

If an attempt fails with an error that a retry may cure (see `errors`), or its answer does not fit, the task opens the
source again, as far as the budget allows. After an answer that does not fit it tells the source why. A `Restart` in the
log tells readers that the items before it are void. A connection that breaks after the first text is not retried: the
response fails as truncated, because readers may have acted on that text.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from msgspec.structs import replace as replace_field

from ...run import tracing
from ...run.dispatch import Field, Withdrawn
from ..errors import (
    InvalidResponseError,
    ModelError,
    RequestFailedError,
    ResponseCancelled,
    StallError,
    TransportError,
    shortened,
)
from ..instant import Event, InstantParser, ResetEvent
from ..outputs import Output
from ..paths import PathStyle
from ..shapes import Delta
from ..sources import Adapter, Source, read_deltas, translate
from .answer import Answer, slices
from .field_checks import FieldChecks, Follower
from .limits import TimeLimits
from .log import EventLog
from .retries import Attempt, Budget, opener
from .usage import summed, tokens
from .views import Item, Restart

_BREATH = 8_192
"""The task parses this many characters (for a few milliseconds), then lets other tasks run."""
_CHUNK_COST = 64
"""What a delta costs in addition to its text, counted in characters."""
_LONGEST_WAIT = 60.0
"""In seconds. If the provider asks for a longer pause before a retry, the response fails instead of waiting."""
_LONGEST_REASON = 200
"""In characters: why an attempt failed, as later errors and the meta data tell it."""


@dataclass(frozen=True, slots=True)
class Need:
    """Keys that the answer must have. While one is missing, further attempts follow, up to `max_retries`."""

    keys: tuple[str, ...]
    style: PathStyle
    max_retries: int
    fatal: bool
    """Whether the response fails if the last attempt lacks a key, too; if not, readers get its answer."""


class Failure(NamedTuple):
    """Why an attempt failed, and how many retries there may be because of it."""

    error: Exception
    max_retries: int


class Attempts:
    """Requests the answers of a response, one per attempt. The last answer is the result. Options: see `Response`."""

    def __init__(
        self,
        source: Source | Callable[[], Source],
        *,
        output: Output | None,
        tools: Mapping[str, Output],
        adapter: Adapter | None,
        constrained: bool,
        path_style: PathStyle,
        budget: Budget,
        tell_why: bool,
        stall_timeout: float | None,
        first_token_timeout: float | None,
        max_length: int,
        originals: bool,
        strict: bool,
        repair: bool,
    ) -> None:
        self._source = source
        self._opener = opener(source)
        self._output = output
        self._tools = (*tools,)
        self._adapter = adapter
        self._constrained = constrained
        self._reading = {"strict": strict, "repair": repair}
        self._path_style: PathStyle = path_style
        self._budget = budget
        self._tell_why = tell_why
        self._limits = stall_timeout, first_token_timeout
        self._max_length = max_length
        self._originals = originals

        self._needs: list[Need] = []
        self.checks = FieldChecks(output, tools, path_style, **self._reading)
        """The checks of the fields that readers follow."""
        self._attempt = Attempt()
        self._accounts: list[dict[str, Any]] = []
        """`Answer.account` of each earlier attempt."""
        self._seconds = 0.0
        """How long earlier calls of `run` took."""
        self._started: float | None = None
        """When the present call of `run` began, on the clock of the loop."""
        self.log: EventLog[Item] = EventLog()
        """What `run` writes: deltas, events, and at the end the answer."""
        self.answer = self._new_answer(1)
        """The answer of the current attempt, or of the last one."""

    async def run(self) -> None:
        """Make attempts until an answer fits, or none is left; then close the log, with the error if there is one."""
        self._started = asyncio.get_running_loop().time()
        try:
            while (failure := await self._make_attempt()) is not None:
                await asyncio.sleep(self._wait(failure))
                self._begin_next(failure.error)
        except asyncio.CancelledError:
            self.close(ResponseCancelled("the task that reads the response was cancelled"))
            raise
        except Exception as error:
            self.close(error)
        except GeneratorExit as error:  # a source raised it; it would end the readers without a word
            problem = RuntimeError(f"the source of the response raised {error!r}")
            problem.__cause__ = error
            self.close(problem)
        except BaseException:  # KeyboardInterrupt, SystemExit: the loop ends, and its readers may still clean up
            self.close(ResponseCancelled("the program is ending"))
            raise
        else:
            self.close()
        finally:
            self._seconds, self._started = self._passed(), None

    def require(self, need: Need) -> bool:
        """Add keys that the answer must have.

        Returns True if the answer has ended already, lacks one of them, and another attempt is allowed. Then there is a
        new log, which the caller has to fill by calling `run` again.
        """
        self._needs.append(need)
        failure = self._missing(self.answer) if self.answer.finished else None
        if failure is None or self._limit(failure.max_retries) is not None:
            return False
        self.log = EventLog()
        self._begin_next(failure.error)
        return True

    def lack_at_end(self, need: Need) -> Exception | None:
        """The error if the last answer lacks one of these keys and has to have it."""
        missing = self.answer.missing(need.keys, need.style) if need.fatal else ()
        return self._final(self.answer.lacks(missing), self._limit(need.max_retries)) if missing else None

    def follow_fields(self, paths: Sequence[str], now: Callable[[Field], bool] | None) -> Follower:
        """A new reader of the fields at these paths. They are checked as soon as they are complete. `now`: see
        `FieldChecks.follow`.

        A field of another type makes the answer invalid at once: the rest of it is not read, and the next attempt
        follows.
        """
        attempt, log = self.answer.parser.attempt, self.log
        items: list[Event | Delta] = []
        for item in log.recorded():
            if isinstance(item, Restart):
                items.clear()
            elif isinstance(item, Delta) or (isinstance(item, Event) and item.attempt == attempt):
                items.append(item)
        follower = self.checks.follow(paths, items, now)
        if log.closed:
            error = log.error
            if error is None and self.checks.misfit is not None:
                error = self.answer.misfit(self.checks.misfit)
            follower.close(error)
        return follower

    def close(self, error: BaseException | None = None) -> None:
        """End the log and all readers of fields. Only the first call counts."""
        if not self.log.closed:
            self.log.close(error)
            self.checks.close(error)

    async def _make_attempt(self) -> Failure | None:
        """Read one answer to its end; return None if it can be used."""
        answer, log, calls = self.answer, self.log, tracing.calls.get()
        began = 0.0 if calls is None else calls.now()
        try:
            await self._read(answer)
        except asyncio.CancelledError as error:
            if calls is not None:
                calls.note(answer.as_call(began, calls.now(), error))
            raise
        except Exception as error:
            problem = _explain(answer, error)
            reason = getattr(problem, "finish_reason", "error")
        else:
            problem = None
            reason = answer.finish_reason
        events = answer.parser.finish(reason)
        log.extend(events)
        self.checks.take(events)
        if problem is None:
            problem = self._problem(answer)
            if isinstance(problem, InvalidResponseError) and (events := answer.read_again(self._new_parser)):
                log.extend(events)
                self.checks.take(events)
                problem = self._problem(answer)
        if calls is not None:
            calls.note(answer.as_call(began, calls.now(), problem))
        if problem is not None:
            return Failure(problem, self._budget.max_retries)
        failure = self._missing(answer)
        if failure is None:
            answer.finished = True
            log.append(answer)
        return failure

    def _problem(self, answer: Answer) -> Exception | None:
        """The error of the complete answer, or None if it can be used."""
        misfit = self.checks.misfit
        return answer.problem() if misfit is None else answer.misfit(misfit)

    async def _read(self, answer: Answer) -> None:
        log, checks = self.log, self.checks
        breath = _BREATH
        limits = TimeLimits(*self._limits)
        async with aclosing(read_deltas(self._open, self._adapter, limits.alive)) as deltas, limits:
            while (delta := await limits.next(deltas)) is not None:
                for piece in slices(delta, _BREATH):
                    kept = piece if self._originals else replace_field(piece, raw=None)
                    events = answer.take(piece)
                    log.extend((kept, *events))
                    if (lost := answer.lost_character) is not None:
                        raise answer.uncertain(lost)
                    if checks.active:
                        checks.take(events)
                        checks.take_calls(piece.tool_calls)
                        if checks.misfit is not None:
                            raise answer.misfit(checks.misfit)
                    breath -= len(piece.text) + _CHUNK_COST
                    if breath < 0:
                        breath = _BREATH
                        await asyncio.sleep(0)
                if answer.written > self._max_length:
                    raise answer.cut("length", f"the answer is longer than max_length={self._max_length} characters")

    def _open(self) -> Source:
        return self._source if self._opener is None else self._opener(self._attempt)

    def _missing(self, answer: Answer) -> Failure | None:
        """The failure of an answer that lacks required keys, unless it is good enough because no attempt is left."""
        lacking = {need: missing for need in self._needs if (missing := answer.missing(need.keys, need.style))}
        missing = [*dict.fromkeys(key for keys in lacking.values() for key in keys)]
        # Of free text only those who require keys want JSON.
        problem = answer.lacks(missing) if missing else answer.json_problem() if self._needs else None
        if problem is None:
            return None
        needs = [*lacking] or self._needs
        allowed = max(need.max_retries for need in needs)
        if not any(need.fatal for need in needs) and self._limit(allowed) is not None:
            return None
        return Failure(problem, allowed)

    def _wait(self, failure: Failure) -> float:
        """The pause before the next attempt in seconds. Raises the error if there is no next attempt."""
        error = failure.error
        if isinstance(error, InvalidResponseError):
            wait = 0.0
        elif isinstance(error, RequestFailedError) and error.retry:
            wait = min(_LONGEST_WAIT, 0.5 * 2 ** min(self._attempt.number - 1, 10))
            wait = wait if error.retry_after is None else error.retry_after
        else:
            raise self._final(error, None)
        limit = self._limit(failure.max_retries, wait)
        if limit is not None:
            raise self._final(error, limit)
        return wait

    def _limit(self, max_retries: int, wait: float = 0.0) -> str | None:
        """What forbids another attempt after a pause of so many seconds; None if there may be one."""
        if self._opener is None:
            return "the source can be read only once"
        if wait > _LONGEST_WAIT:
            return f"the provider asks for a pause of {wait:g} seconds, and the longest is {_LONGEST_WAIT:g}"
        used = sum(tokens(usage) for usage in (*(each["usage"] for each in self._accounts), self.answer.usage))
        seconds = self._passed() + wait
        return self._budget.limit(self._attempt.number - 1, seconds, used, max_retries=max_retries)

    def _passed(self) -> float:
        """How many seconds the attempts took, with the pauses between them."""
        now = 0.0 if self._started is None else asyncio.get_running_loop().time() - self._started
        return self._seconds + now

    def _final(self, error: Exception, limit: str | None) -> Exception:
        """The error that ends the response: it says what was tried."""
        if isinstance(error, ModelError):
            accounts = [*self._accounts, self._account(error)]
            error.attempts = tuple(each["failure"] for each in accounts)
            error.ended_by = None if self._opener is None else limit
            error.usage = summed(each["usage"] for each in accounts)
        return error

    def _account(self, error: Exception) -> dict[str, Any]:
        return self.answer.account(shortened(str(error), _LONGEST_REASON) or type(error).__name__)

    def _begin_next(self, error: Exception) -> None:
        """Prepare the next attempt: begin a new answer, and add a `Restart` to the log."""
        account = self._account(error)
        self._accounts.append(account)
        if isinstance(error, InvalidResponseError) and self._tell_why:
            told = error.reason, self.answer.said, self.answer.problems
            self._attempt = Attempt(self._attempt.number + 1, *told)
        else:  # a request that failed has brought no answer: the one before it is still to be corrected
            self._attempt = replace(self._attempt, number=self._attempt.number + 1)
        attempt = self.answer.parser.attempt + 1
        if self.answer.parser.objection() is not None:
            self._constrained = False  # the server does not keep to JSON
        self.answer = self._new_answer(attempt)
        self.log.append(Restart(ResetEvent.announcing(attempt, account["failure"])))
        self.checks.begin(Withdrawn(attempt, account["failure"]))

    def _new_answer(self, attempt: int) -> Answer:
        return Answer(self._new_parser(attempt), self._output, self._accounts, tools=self._tools, **self._reading)

    def _new_parser(self, attempt: int) -> InstantParser:
        output = self._output
        return InstantParser(
            root=None if output is None else output.root,
            expect_keys=None if output is None else output.keys,
            path_style=self._path_style,
            trust_quotes=self._constrained,
            first_attempt=attempt,
            wrapper=None if output is None else output.wrapper,
        )


def _explain(answer: Answer, error: Exception) -> Exception:
    """The error for an exception of the source: a failed request before the first text, a truncated answer after it."""
    problem = translate(error)
    if isinstance(problem, RequestFailedError) and answer.written:
        stalled, broken = isinstance(problem, StallError), isinstance(problem, TransportError)
        reason = "stall" if stalled else "connection" if broken else "error"
        problem = answer.cut(reason, f"the answer broke off: {problem}")
    if problem is not error:
        problem.__cause__ = error
    return problem
