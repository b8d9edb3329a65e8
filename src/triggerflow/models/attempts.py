"""`Attempts`: the task of a response. It requests answers from a source until one fits the description.

If an attempt fails with an error that a retry may cure (see `errors`), or its answer does not fit, the task opens the
source again. A `Restart` in the log tells readers that the items before it are void. A
connection that breaks after the first text is not retried: the
response fails as truncated, because readers may have acted on that text.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from msgspec.structs import replace

from .answer import Answer, slices
from .deltas import Adapter, Source, read_deltas
from .errors import (
    InvalidResponseError,
    ModelError,
    RequestFailedError,
    ResponseCancelled,
    StallError,
    TransportError,
)
from .fields import Check, check_of, make_check
from .instant import Event, EventLog, InstantParser, ResetEvent
from .limits import TimeLimits
from .output import Output
from .places import PathStyle
from .translate import translate
from .views import Item, Restart

_BREATH = 8_192
"""The task parses this many characters (for a few milliseconds), then lets other tasks run."""
_CHUNK_COST = 64
"""What a delta costs in addition to its text, counted in characters."""
_LONGEST_WAIT = 60.0
"""In seconds. If the provider asks for a longer pause before a retry, the response fails instead of waiting."""


@dataclass(frozen=True, slots=True)
class Need:
    """Keys that the answer must have. While one is missing, further attempts follow, up to `max_retries`."""

    keys: tuple[str, ...]
    style: PathStyle
    max_retries: int
    fatal: bool
    """Whether the response fails if the last attempt lacks a key, too; if not, readers get its answer."""


class Attempts:
    """Requests the answers of a response, one per attempt. The last answer is the result. Options: see `Response`."""

    def __init__(
        self,
        source: Source | Callable[[], Source],
        *,
        output: Output | None,
        adapter: Adapter | None,
        constrained: bool,
        path_style: PathStyle,
        max_retries: int,
        stall_timeout: float | None,
        first_token_timeout: float | None,
        max_length: int,
        originals: bool,
    ) -> None:
        self._source = source
        self._repeatable = callable(source) and not hasattr(source, "__aiter__") and not hasattr(source, "__iter__")
        self._output = output
        self._adapter = adapter
        self._constrained = constrained
        self._path_style: PathStyle = path_style
        self._max_retries = max_retries
        self._limits = stall_timeout, first_token_timeout
        self._max_length = max_length
        self._originals = originals

        self._needs: list[Need] = []
        self._checks: dict[str, Check] = {}
        """By path, the checks of the fields that readers want one by one."""
        self._misfit: InvalidResponseError | None = None
        """The error of the current answer that was found when a reader came: a field that it had before is wrong."""
        self._failures = 0
        self.log: EventLog[Item] = EventLog()
        """What `run` writes: deltas, events, and at the end the answer."""
        self.answer = self._new_answer(1)
        """The answer of the current attempt, or of the last one."""

    async def run(self) -> None:
        """Make attempts until an answer fits, or none is left; then close the log, with the error if there is one."""
        log = self.log
        try:
            while (problem := await self._attempt()) is not None:
                self._failures += 1
                wait = self._patience(problem)
                if wait is None:
                    raise problem
                await asyncio.sleep(wait)
                self._again(problem)
        except asyncio.CancelledError:
            log.close(ResponseCancelled("the task that reads the response was cancelled"))
            raise
        except Exception as error:
            log.close(error)
        else:
            log.close()

    def require(self, need: Need) -> bool:
        """Add keys that the answer must have.

        Returns True if the answer has ended already, lacks one of them, and another attempt is allowed. Then there is a
        new log, which the caller has to fill by calling `run` again.
        """
        self._needs.append(need)
        may_ask = self.answer.finished and self._repeatable and self._failures < need.max_retries
        if not may_ask or not self.answer.missing(need.keys, need.style):
            return False
        self._failures += 1
        self.log = EventLog()
        self._again(self.answer.invalid("the answer lacks keys that ensure_keys requires"))
        return True

    def watch(self, paths: Iterable[str]) -> dict[str, Check]:
        """Check the fields at these paths as soon as they are complete; return the checks.

        A field of another type makes the answer invalid at once: the rest of it is not read, and the next attempt
        follows.
        """
        fresh = [path for path in paths if path not in self._checks]
        self._checks.update((path, make_check(self._output, path, self._path_style)) for path in fresh)
        if fresh and not self.log.closed:
            attempt = self.answer.parser.attempt
            events = [it for it in self.log.recorded() if isinstance(it, Event) and it.attempt == attempt]
            self._misfit = self._misfit or self._first_misfit(self.answer, events)
        return {path: self._checks[path] for path in paths}

    def _first_misfit(self, answer: Answer, events: Iterable[Event]) -> InvalidResponseError | None:
        for event in events:
            if event.is_complete and (check := check_of(self._checks, event)) is not None:
                try:
                    check(event)
                except ValueError as error:
                    return answer.misfit(error)
        return None

    async def _attempt(self) -> Exception | None:
        """Read one answer to its end; return its error, or None."""
        answer, log = self.answer, self.log
        try:
            await self._read(answer)
        except Exception as error:
            problem = _explain(answer, error)
            reason = getattr(problem, "finish_reason", "error")
        else:
            problem = None
            reason = answer.finish_reason
        log.extend(answer.parser.finish(reason))
        problem = problem or answer.problem() or self._missing(answer)
        if problem is None:
            answer.finished = True
            log.append(answer)
        return problem

    async def _read(self, answer: Answer) -> None:
        log = self.log
        breath = _BREATH
        limits = TimeLimits(*self._limits)
        async with aclosing(read_deltas(self._source, self._adapter, limits.alive)) as deltas, limits:
            while (delta := await limits.next(deltas)) is not None:
                for piece in slices(delta, _BREATH):
                    kept = piece if self._originals else replace(piece, raw=None)
                    events = answer.take(piece)
                    log.extend((kept, *events))
                    if self._checks and (misfit := self._misfit or self._first_misfit(answer, events)) is not None:
                        raise misfit
                    breath -= len(piece.text) + _CHUNK_COST
                    if breath < 0:
                        breath = _BREATH
                        await asyncio.sleep(0)
                if answer.length > self._max_length:
                    raise answer.cut("length", f"the answer is longer than max_length={self._max_length} characters")

    def _missing(self, answer: Answer) -> ModelError | None:
        for need in self._needs:
            missing = answer.missing(need.keys, need.style)
            if missing and (need.fatal or (self._repeatable and self._failures < need.max_retries)):
                return answer.invalid(f"the answer lacks {missing}, which ensure_keys requires", missing)
        return None

    def _patience(self, problem: Exception) -> float | None:
        """The pause before the next attempt in seconds; None if no attempt is left."""
        allowed = self._max_retries
        if isinstance(problem, InvalidResponseError):
            wait = 0.0
            if problem.missing:
                allowed = max(need.max_retries for need in self._needs)
        elif isinstance(problem, RequestFailedError) and problem.retry:
            wait = 0.5 * 2 ** (self._failures - 1) if problem.retry_after is None else problem.retry_after
        else:
            return None
        return wait if self._repeatable and self._failures <= allowed and wait <= _LONGEST_WAIT else None

    def _again(self, problem: Exception) -> None:
        """Prepare the next attempt: begin a new answer, and add a `Restart` to the log."""
        self._misfit = None
        attempt = self.answer.parser.attempt + 1
        self.answer = self._new_answer(attempt)
        self.log.append(Restart(ResetEvent.announcing(attempt), str(problem)))

    def _new_answer(self, attempt: int) -> Answer:
        output = self._output
        parser = InstantParser(
            root=None if output is None else output.root,
            expect_keys=None if output is None else output.keys,
            path_style=self._path_style,
            trust_quotes=self._constrained,
            first_attempt=attempt,
        )
        return Answer(parser, output)


def _explain(answer: Answer, error: Exception) -> Exception:
    """The error for an exception of the source: a failed request before the first text, a truncated answer after it."""
    problem = translate(error)
    if isinstance(problem, RequestFailedError) and answer.length:
        stalled, broken = isinstance(problem, StallError), isinstance(problem, TransportError)
        reason = "stall" if stalled else "connection" if broken else "error"
        problem = answer.cut(reason, f"the answer broke off: {problem}")
    if problem is not error:
        problem.__cause__ = error
    return problem
