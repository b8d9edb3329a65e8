"""The answer to one request: read once from its source, recorded, and followed by any number of readers.

Nothing is sent before the first reader asks. Then one task reads the source, at the provider's pace, into a log;
every reader follows that log from its beginning, at a pace of its own. When the last one leaves early, the task
is cancelled, and with it the provider's HTTP stream is closed.

When an attempt fails in a way that may pass (see `errors`), or its answer is not what was asked for, the source is
asked again, and every reader is told that what it has is abandoned. A connection that breaks after the first
text is not such a case: the answer is cut off then, and whoever acted on it has to know.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from msgspec.structs import replace

from ..portal import iterate_sync, run_sync
from .answer import Answer, slices
from .deltas import Adapter, Source, read_deltas
from .errors import (
    InvalidResponseError,
    ModelError,
    RequestFailedError,
    ResponseCancelled,
    ResponseUsageError,
    StallError,
    TransportError,
    translate,
)
from .instant import EventLog, InstantParser, ResetEvent
from .output import Output
from .places import PathStyle
from .views import Item, Restart, StreamType, view

_BREATH = 8_192
"""So many characters are parsed before other tasks get a turn: a few milliseconds."""
_CHUNK_COST = 64
"""What a delta costs beside its text, in characters."""
_LONGEST_WAIT = 60.0
"""Seconds; who is asked to wait longer before a retry is told instead."""


@dataclass(frozen=True, slots=True)
class _Need:
    keys: tuple[str, ...]
    style: PathStyle
    max_retries: int
    fatal: bool


class Response:
    """An answer that is being written, or was.

    `source`: a function without arguments that opens a source (see `read_deltas`), one for each attempt; or a source
    itself, which cannot be asked again. `adapter` turns its chunks into text or `Delta`s when their shape is unknown.
    `output`: what the answer has to be, see `Output`; without it the answer is free text, which may contain JSON.
    `constrained`: the server guarantees that the text is JSON of that schema.
    `path_style`: "dot" for `items[0].title`, "slash" for `/items/[0]/title`.
    `max_retries`: so many attempts follow the first one, at most. `stall_timeout`: seconds without a chunk, until the
    first one and between two; None waits for ever. `max_length`: characters of text, more of them are an error.
    `originals`: keep the provider's own chunks, for the view "original" and as "original_delta" in "all". The chunk of
    an SDK is many times as large as its text: where hundreds of responses are read at once, switch it off.

    A response belongs to the event loop that reads it first. The methods without `async_` block, for programs without
    a loop.
    """

    def __init__(
        self,
        source: Source | Callable[[], Source],
        *,
        output: Any = None,
        adapter: Adapter | None = None,
        constrained: bool = False,
        path_style: PathStyle = "dot",
        max_retries: int = 3,
        stall_timeout: float | None = 60.0,
        max_length: int = 8_000_000,
        originals: bool = True,
    ) -> None:
        self._source = source
        self._repeatable = callable(source) and not hasattr(source, "__aiter__") and not hasattr(source, "__iter__")
        self.output = output if output is None or isinstance(output, Output) else Output(output)
        """What the answer has to be; None for free text."""
        self._adapter = adapter
        self._constrained = constrained
        self.path_style: PathStyle = path_style
        self._max_retries = max_retries
        self._stall_timeout = stall_timeout
        self._max_length = max_length
        self._originals = originals

        self._needs: list[_Need] = []
        self._logs: list[EventLog[Item]] = [EventLog()]
        """More than one when an answer that had ended was asked for again, see `_require`."""
        self._failures = 0
        self._answer = self._new_answer(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._readers = 0

    @property
    def attempt(self) -> int:
        """The number of the answer that is being written, from 1."""
        return self._answer.parser.attempt

    # -- reading -----------------------------------------------------------------------------------------------------

    async def get_async_generator(
        self,
        type: StreamType = "delta",
        *,
        specific: Sequence[str] = ("reasoning_delta", "delta", "reasoning_done", "done", "tool_calls"),
    ) -> AsyncGenerator[Any, None]:
        """Yield the answer while it is written, from its beginning, whenever this reader comes.

        - "delta": the text in pieces, as str. After a retry an empty `TextReset` comes first.
        - "instant": the events of its JSON; see `triggerflow.models.instant`. After a retry a reset event comes first.
        - "specific": pairs of a name and its data, of these names: "delta", "reasoning_delta", "tool_calls" as they
          come; "reset" with the number of the attempt that follows; "done", "reasoning_done", "meta" at the end.
        - "all": every such pair, with the provider's own chunks as "original_delta".
        - "original": the provider's own chunks, and the reset event.

        Ends with the error of the response, after everything that came before it. To leave early, close it (`aclose`,
        or `contextlib.aclosing`): when no reader is left, the provider's stream is closed.
        """
        if type == "original" and not self._originals:
            raise ResponseUsageError('this response does not keep what type="original" shows: it has originals=False')
        expand = view(type, specific)
        async with aclosing(self._follow(0, 0)) as items:
            async for item in items:
                for shown in expand(item):
                    yield shown

    async def async_get_text(self) -> str:
        """Wait for the end; return the whole text. Raises the error of the response."""
        return (await self._end()).text

    async def async_get_data(
        self,
        *,
        type: Literal["parsed", "original", "all"] = "parsed",
        ensure_keys: Sequence[str] | None = None,
        key_style: PathStyle = "dot",
        max_retries: int = 3,
        raise_ensure_failure: bool = True,
    ) -> Any:
        """Wait for the end; return the JSON of the answer, which is shared with other readers: do not change it.

        `type`: "parsed" for that; "original" for the text; "all" for a dict of `data`, `text`, `reasoning`,
        `tool_calls` and `meta`, where `data` is None if there is none. `ensure_keys` are paths like `items[*].title`
        (`items/[*]/title` with `key_style="slash"`). While one is missing the source is asked again, up to
        `max_retries` times; after that the response fails, or with `raise_ensure_failure=False` the last answer counts.

        Raises `InvalidResponseError` for an answer without JSON, of another schema, or with missing keys, and
        `TruncatedResponseError` for one that was cut off; both carry what there is of it.
        """
        if ensure_keys:
            self._require(_Need(tuple(ensure_keys), key_style, max_retries, raise_ensure_failure))
        answer = await self._end()
        if type == "original":
            return answer.text
        problem = answer.json_problem()
        if type == "all":
            calls = [answer.tool_calls[index] for index in sorted(answer.tool_calls)]
            parts = {"text": answer.text, "reasoning": answer.reasoning, "tool_calls": calls, "meta": answer.meta}
            return {"data": answer.parser.value if problem is None else None, **parts}
        if problem is not None:
            raise problem
        return answer.parser.value

    async def async_get_data_object(self, **options: Any) -> Any:
        """Wait for the end; return the answer as the type that `output` names, or the data it describes.

        Options are those of `async_get_data`. Raises TypeError for a response without `output`.
        """
        if self.output is None:
            raise TypeError("this response has no output description; give it output=YourModel")
        await self.async_get_data(**options)
        return self._answer.object

    async def async_get_meta(self) -> dict[str, Any]:
        """Wait for the end; return `id`, `model`, `role`, `finish_reason`, `usage` (in tokens) and `attempt`."""
        return (await self._end()).meta

    # -- leaving -----------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop reading and close the provider's stream; readers end with `ResponseCancelled`. Not thread-safe."""
        self._stop("the response was cancelled while the model was still writing")

    async def aclose(self) -> None:
        """Cancel, and wait until the provider's stream is closed."""
        self.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    # -- without an event loop ---------------------------------------------------------------------------------------

    def get_generator(self, type: StreamType = "delta", **options: Any) -> Iterator[Any]:
        """What `get_async_generator` yields, blocking."""
        return iterate_sync(
            lambda: self.get_async_generator(type, **options), "response.get_async_generator", self._loop
        )

    def get_text(self) -> str:
        """`async_get_text`, blocking."""
        return run_sync(self.async_get_text, "response.async_get_text", self._loop)

    def get_data(self, **options: Any) -> Any:
        """`async_get_data`, blocking."""
        return run_sync(lambda: self.async_get_data(**options), "response.async_get_data", self._loop)

    def get_data_object(self, **options: Any) -> Any:
        """`async_get_data_object`, blocking."""
        return run_sync(lambda: self.async_get_data_object(**options), "response.async_get_data_object", self._loop)

    def get_meta(self) -> dict[str, Any]:
        """`async_get_meta`, blocking."""
        return run_sync(self.async_get_meta, "response.async_get_meta", self._loop)

    # -- readers -----------------------------------------------------------------------------------------------------

    @property
    def _log(self) -> EventLog[Item]:
        return self._logs[-1]

    async def _follow(self, log: int, after: int) -> AsyncGenerator[Item, None]:
        """Yield the items from this place on, of all logs from this one on."""
        self._start()
        self._readers += 1
        try:
            while log < len(self._logs):
                async with aclosing(self._logs[log].follow(after)) as items:
                    async for item in items:
                        yield item
                log, after = log + 1, 0
        finally:
            self._readers -= 1
            if not self._readers and not self._log.closed:
                self._stop(
                    "the last reader left while the model was still writing, so its stream was closed; where the rest"
                    " is wanted, let another reader begin before: asyncio.create_task(response.async_get_data())"
                )

    def _stop(self, reason: str) -> None:
        self._log.close(ResponseCancelled(reason))
        if self._task is not None:
            self._task.cancel()

    async def _end(self) -> Answer:
        async with aclosing(self._follow(len(self._logs) - 1, len(self._log))) as items:
            async for _ in items:
                pass
        return self._answer

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ResponseUsageError(
                "a response belongs to the event loop that reads it first, and this is another one"
            )
        if self._task is None and not self._log.closed:
            self._task = loop.create_task(self._run(), name="triggerflow-response")

    def _require(self, need: _Need) -> None:
        """Check these keys at the end of the answer, or, when it has ended without them, ask for another one."""
        self._needs.append(need)
        again = self._answer.finished and self._repeatable and need.max_retries > self._failures
        if again and self._answer.missing(need.keys, need.style):
            # Readers of the old log may have ended; those who come from now on get all attempts.
            self._logs.append(EventLog())
            self._task = None
            self._failures += 1
            self._again()

    # -- the reading task --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        log = self._log
        try:
            await self._attempts()
        except asyncio.CancelledError:
            log.close(ResponseCancelled("the task that reads the response was cancelled"))
            raise
        except Exception as error:
            log.close(error)
        else:
            log.close()

    async def _attempts(self) -> None:
        while (problem := await self._attempt()) is not None:
            self._failures += 1
            wait = self._patience(problem)
            if wait is None:
                raise problem
            await asyncio.sleep(wait)
            self._again()

    async def _attempt(self) -> Exception | None:
        """Read one answer to its end; return what is wrong with it."""
        answer, log = self._answer, self._log
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
        log = self._log
        breath = _BREATH
        async with aclosing(read_deltas(self._source, self._adapter)) as deltas:
            while (delta := await self._next(deltas)) is not None:
                for piece in slices(delta, _BREATH):
                    kept = piece if self._originals else replace(piece, raw=None)
                    log.extend((kept, *answer.take(piece)))
                    breath -= len(piece.text) + _CHUNK_COST
                    if breath < 0:
                        breath = _BREATH
                        await asyncio.sleep(0)
                if answer.length > self._max_length:
                    raise answer.cut("length", f"the answer is longer than max_length={self._max_length} characters")

    async def _next(self, deltas: AsyncGenerator[Any, None]) -> Any:
        limit = asyncio.timeout(self._stall_timeout)
        try:
            async with limit:
                return await anext(deltas, None)
        except TimeoutError:
            if not limit.expired():
                raise
        raise StallError(f"nothing came from the provider for {self._stall_timeout} seconds (stall_timeout)")

    def _missing(self, answer: Answer) -> ModelError | None:
        for need in self._needs:
            missing = answer.missing(need.keys, need.style)
            if missing and (need.fatal or (self._repeatable and self._failures < need.max_retries)):
                return answer.invalid(f"the answer lacks {missing}, which ensure_keys asks for", missing)
        return None

    def _patience(self, problem: Exception) -> float | None:
        """The seconds to wait before the next attempt; None when there is none."""
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
        """Begin the next attempt: from here on readers get another answer, and are told so."""
        attempt = self.attempt + 1
        self._answer = self._new_answer(attempt)
        self._log.append(Restart(ResetEvent.announcing(attempt)))

    def _new_answer(self, attempt: int) -> Answer:
        output = self.output
        parser = InstantParser(
            root=None if output is None else output.root,
            expect_keys=None if output is None else output.keys,
            path_style=self.path_style,
            trust_quotes=self._constrained,
            first_attempt=attempt,
        )
        return Answer(parser, output)


def _explain(answer: Answer, error: Exception) -> Exception:
    """What an exception of the source means: before the first text the request failed, after it the answer is cut."""
    problem = translate(error)
    if isinstance(problem, RequestFailedError) and answer.length:
        stalled, broken = isinstance(problem, StallError), isinstance(problem, TransportError)
        reason = "stall" if stalled else "connection" if broken else "error"
        problem = answer.cut(reason, f"the answer broke off: {problem}")
    if problem is not error:
        problem.__cause__ = error
    return problem
