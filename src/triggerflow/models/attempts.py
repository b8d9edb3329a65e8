"""`Attempts`: the task of a response. It requests answers from a source until one fits the description.

If an attempt fails with an error that a retry may cure (see `errors`), or its answer does not fit, the task opens the
source again. A `Restart` in the log tells readers that the items before it are void. A
connection that breaks after the first text is not retried: the
response fails as truncated, because readers may have acted on that text.
"""

import asyncio
from collections.abc import Callable
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
from .instant import EventLog, InstantParser, ResetEvent
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
        strict: bool,
        repair: bool,
    ) -> None:
        self._source = source
        self._repeatable = callable(source) and not hasattr(source, "__aiter__") and not hasattr(source, "__iter__")
        self._output = output
        self._adapter = adapter
        self._constrained = constrained
        self._reading = {"strict": strict, "repair": repair}
        self._path_style: PathStyle = path_style
        self._max_retries = max_retries
        self._limits = stall_timeout, first_token_timeout
        self._max_length = max_length
        self._originals = originals

        self._needs: list[Need] = []
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
                self._again()
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
        self._again()
        return True

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
                    log.extend((kept, *answer.take(piece)))
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

    def _again(self) -> None:
        """Prepare the next attempt: begin a new answer, and add a `Restart` to the log."""
        attempt = self.answer.parser.attempt + 1
        if self.answer.parser.objection() is not None:
            self._constrained = False  # the server does not keep to JSON
        self.answer = self._new_answer(attempt)
        self.log.append(Restart(ResetEvent.announcing(attempt)))

    def _new_answer(self, attempt: int) -> Answer:
        output = self._output
        parser = InstantParser(
            root=None if output is None else output.root,
            expect_keys=None if output is None else output.keys,
            path_style=self._path_style,
            trust_quotes=self._constrained,
            first_attempt=attempt,
        )
        return Answer(parser, output, **self._reading)


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
