"""`Response`: the answer to one request. It is read once from its source, and by any number of readers.

The request is sent when the first reader reads. Then one task (`Attempts`) reads the source into a log, at the pace of
the provider; every reader reads that log from its beginning, at its own pace. When the last reader leaves early, the
task is cancelled, which closes the provider's HTTP stream.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Literal, TypeVar, cast

from ...drivers.tasks import start_task
from ...run.dispatch import Field, Withdrawn
from ...run.portal import iterate_sync, on_a_loop, run_sync
from ..errors import ResponseCancelled, ResponseUsageError
from ..instant import Problem
from ..outputs import Output, check_paths
from ..paths import PathStyle
from ..sources import Adapter, Source
from . import options
from .answer import Answer
from .attempts import Attempts, Need
from .fields import Fields
from .log import EventLog
from .retries import Attempt, Budget
from .tool_calls import is_tool_path, read_tool_path
from .views import Item, StreamType, view

T = TypeVar("T")


class Response:
    """An answer of a model, complete or in progress.

    `source`: a function that opens a source, one for each attempt; or a source itself, which allows one attempt only:
    an iterator, async or not, of text, UTF-8 bytes, `Delta`s or chunks of a known shape, a context manager that gives
    one, or a coroutine that returns one. A function that needs an argument gets the `Attempt`.
    `adapter` is a function that turns chunks of an unknown shape into text or `Delta`s.
    `output`: the description of the answer, see `Output`; without it the answer is free text, which may contain JSON.
    `constrained`: the server guarantees that the text is JSON of that schema, so that a string is reported at its
    quote. What follows is checked: if it contradicts that, the answer is invalid.
    `tools`: the descriptions of the arguments of tools, by the tool's name; fields of tool calls are checked by them. A
    call of another tool makes the answer invalid. They are not sent: give the provider its own `tools`.
    `strict`: the text must be JSON of the value that was asked for, and nothing else. `repair=False`: text around the
    JSON, comments, trailing commas and the like are allowed, but nothing that takes a guess, such as a quote that was
    not escaped.
    `path_style`: "dot" for `items[0].title`, "slash" for `/items/[0]/title`.
    `max_retries`: the most attempts after the first one. `retry_within`: no attempt begins later than so many seconds
    after the first one. `retry_tokens`: none begins once so many tokens were used, as told by the provider. None is no
    limit. `tell_why`: the next request says why the last answer cannot be used; False repeats the request as it was.
    `stall_timeout`: the longest silence of the server, in seconds. A chunk of any kind ends it and, with the SDKs'
    streams, every byte, so that keep-alives do. `first_token_timeout`: the longest wait from the request to the first
    text, reasoning or tool call, in seconds, even while keep-alives come. None waits forever.
    `max_length`: the most characters of text and of arguments of tools; a longer answer is an error. `originals`: keep
    the provider's own chunks, for the view "original" and as "original_delta" in "all". The chunk of an SDK is many
    times as large as its text: switch it off to read hundreds of responses at once.

    A response belongs to the event loop that reads it first. The methods without `async_` block the caller, for
    programs without an event loop; once the answer has ended they need not wait, and work in that loop, too.

    Raises `ResponseUsageError` for an option of a wrong type or value, and for a source function that needs other
    arguments than an attempt.
    """

    def __init__(
        self,
        source: Source | Callable[[], Source] | Callable[[Attempt], Source],
        *,
        output: Any = None,
        tools: Mapping[str, Any] | None = None,
        adapter: Adapter | None = None,
        constrained: bool = False,
        path_style: PathStyle = "dot",
        max_retries: int = 3,
        retry_within: float | None = None,
        retry_tokens: int | None = None,
        tell_why: bool = True,
        stall_timeout: float | None = 60.0,
        first_token_timeout: float | None = 600.0,
        max_length: int = 8_000_000,
        originals: bool = True,
        strict: bool = False,
        repair: bool = True,
    ) -> None:
        self.output = output if output is None or isinstance(output, Output) else Output(output)
        """The description of the answer; None for free text."""
        self.tools: Mapping[str, Output] = {
            name: it if isinstance(it, Output) else Output(it) for name, it in (tools or {}).items()
        }
        """The descriptions of the arguments of tools, by the tool's name."""
        self.path_style: PathStyle = path_style
        self._originals = originals
        self._attempts = Attempts(
            source,
            output=self.output,
            tools=self.tools,
            adapter=options.function("adapter", adapter),
            constrained=options.switch("constrained", constrained),
            path_style=options.one_of("path_style", path_style, ("dot", "slash")),
            budget=Budget(
                options.whole_number("max_retries", max_retries),
                options.seconds("retry_within", retry_within),
                None if retry_tokens is None else options.whole_number("retry_tokens", retry_tokens),
            ),
            tell_why=options.switch("tell_why", tell_why),
            stall_timeout=options.seconds("stall_timeout", stall_timeout),
            first_token_timeout=options.seconds("first_token_timeout", first_token_timeout),
            max_length=options.whole_number("max_length", max_length, least=1),
            originals=options.switch("originals", originals),
            strict=options.switch("strict", strict),
            repair=options.switch("repair", repair),
        )
        self._logs: list[EventLog[Item]] = [self._attempts.log]
        """One log per call of `Attempts.run`. `_require` adds a log when it repeats a request whose answer had
        ended."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._readers = 0

    def check_paths(self, paths: Iterable[str]) -> None:
        """Raise `ResponseUsageError` for a path, like `items[*].title`, that no event of this answer can have."""
        of_answer: list[str] = []
        for path in paths:
            if not isinstance(cast("Any", path), str):
                raise ResponseUsageError(f"a path is a str, like 'items[*].title', not {path!r}")
            if is_tool_path(path, self.path_style):
                read_tool_path(path, self.tools, self.path_style)
            else:
                of_answer.append(path)
        check_paths(of_answer, self.output, self.path_style)

    @property
    def attempt(self) -> int:
        """The number of the answer that is being written, from 1."""
        return self._attempts.answer.parser.attempt

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Where the text of the present attempt, or of the last one, is not JSON, and what was made of it.

        The first hundred places. One that is not `repaired` makes the answer invalid."""
        return self._attempts.answer.problems

    # -- reading -----------------------------------------------------------------------------------------------------

    async def get_async_generator(
        self,
        type: StreamType = "delta",
        *,
        specific: str | Sequence[str] = ("reasoning_delta", "delta", "reasoning_done", "done", "tool_calls"),
    ) -> AsyncGenerator[Any, None]:
        """Yield the answer while the model writes it, always from its beginning.

        - "delta": the text in pieces, as str. After a retry an empty `TextReset` comes first.
        - "instant": the events of its JSON, with `event_type`, `path`, `value`, `delta` and so on. After a retry a
          reset event comes first.
        - "specific": pairs of a name and its data, of these names: "delta", "reasoning_delta", "tool_calls" as they
          come; "reset" with the number of the attempt that follows; "done", "reasoning_done", "meta" at the end.
        - "all": every such pair, with the provider's own chunks as "original_delta".
        - "original": the provider's own chunks, and the reset event.

        After the last item it raises the error of the response, if there is one. To leave early, close the generator
        (`aclose`, or `contextlib.aclosing`): when no reader is left, the provider's stream is closed.
        """
        if type == "original" and not self._originals:
            raise ResponseUsageError(
                'type="original" shows the chunks of the provider, which this response does not keep '
                "(originals=False); make it with originals=True"
            )
        expand = view(type, specific)
        async with aclosing(self._follow(0, 0)) as items:
            async for item in items:
                for shown in expand(item):
                    yield shown

    def fields(self, *paths: str, places: bool = False) -> Fields:
        """Return the fields at these paths, each as soon as it is complete: an iterator, async or not.

        `response.fields("steps[*]")` yields every step, `response.fields("title", "steps[*].tags[*]")` the title and
        every tag, in the order in which the model completes them. A value has the type that the description has at its
        path. A field of another type is never yielded: the answer is invalid at once, and the model is asked again.
        `"$tool_calls[*]"` yields every tool call when it is complete, and `"$tool_calls.search.queries[*]"` a place in
        the arguments of the tool `search`.
        With `places` the items are pairs of a `FieldPlace` (`path`, `wildcard_path`, `indexes`, `keys`) and the value.

        A chunk may return it: the for_each behind the chunk gets the fields while the model is writing.

        Raises `ResponseUsageError` without paths, and for a path that the described answer can never have.
        """
        if not paths:
            raise ResponseUsageError('fields() needs at least one path, like response.fields("steps[*]")')
        self.check_paths(paths)
        return Fields(self, paths, places)

    def follow_fields(
        self, paths: Iterable[str], now: Callable[[Field], bool] | None = None
    ) -> AsyncGenerator[Field | Withdrawn, None]:
        """Yield the completed fields at these paths, and `Withdrawn` where an answer is dropped.

        `now` is called with a field, by the task that reads the answer, while the reader waits for the next one. If it
        returns True, it has taken the field, which is not yielded then.

        Raises `ResponseUsageError` at once for a path that the described answer can never have; at the end the error of
        the response."""
        paths = list(paths)
        self.check_paths(paths)
        return self._follow_fields(paths, now)

    async def _follow_fields(
        self, paths: list[str], now: Callable[[Field], bool] | None
    ) -> AsyncGenerator[Field | Withdrawn, None]:
        with self._reader():
            follower = self._attempts.follow_fields(paths, now)
            try:
                async with aclosing(follower.items()) as items:
                    async for item in items:
                        yield item
            finally:
                self._attempts.checks.leave(follower)

    async def answer_of_fields(self, paths: Iterable[str]) -> Any:
        """Wait for the end; return the JSON of the answer, or its tool calls if all of these paths are paths of calls.

        Raises the error of the response."""
        if any(not is_tool_path(path, self.path_style) for path in paths):
            return await self.async_get_data()
        return (await self._end()).tool_calls

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop on which the response is read; None before the first reader."""
        return self._loop

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
        """Wait for the end; return the JSON of the answer. All readers share it: do not change it.

        `type`: "parsed" for the JSON; "original" for the text; "all" for a dict of `data`, `text`, `reasoning`,
        `tool_calls` and `meta`, where `data` is None if there is none. `ensure_keys` are paths like `items[*].title`
        (`items/[*]/title` with `key_style="slash"`). While one is missing, further attempts follow, up to
        `max_retries`; then the response fails, or with `raise_ensure_failure=False` the last answer is returned.

        Raises `InvalidResponseError` for an answer without JSON, of another schema, or with missing keys, and
        `TruncatedResponseError` for an answer that was cut off; both carry the text and data that arrived. Raises
        `ResponseUsageError` for an option of a wrong type or value.
        """
        keys = () if ensure_keys is None else options.paths("ensure_keys", ensure_keys)
        options.one_of("key_style", key_style, ("dot", "slash"))
        options.one_of("type", type, ("parsed", "original", "all"))
        options.whole_number("max_retries", max_retries)
        options.switch("raise_ensure_failure", raise_ensure_failure)
        need = Need(keys, key_style, max_retries, raise_ensure_failure) if keys else None
        if need is not None:
            self._require(need)
        answer = await self._end()
        if need is not None and (lack := self._attempts.lack_at_end(need)) is not None:
            raise lack
        if type == "original":
            return answer.text
        problem = answer.json_problem()
        if type == "all":
            data = answer.parser.value if problem is None else None
            said = {"text": answer.text, "reasoning": answer.reasoning, "tool_calls": answer.tool_calls}
            return {"data": data, **said, "meta": answer.meta}
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
        return self._attempts.answer.object

    async def async_get_meta(self) -> dict[str, Any]:
        """Wait for the end; return what the provider says of the answer, and what all attempts have cost.

        `id` and `model` (None if the provider does not say them), `role`, `finish_reason`; `usage`: tokens of all
        attempts together, by name (`prompt_tokens`, `completion_tokens`, `total_tokens`, and others that the provider
        counts); `attempts`: for each attempt a dict of its own `usage`, `finish_reason` and `failure` (in short why it
        failed, None for the last one); `attempt`: the number of the answer, as in events.
        """
        return (await self._end()).meta

    # -- stopping ----------------------------------------------------------------------------------------------------

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
        """Yield what `get_async_generator` yields. Blocks the caller while it waits for the model."""
        if not self._log.closed:
            yield from iterate_sync(
                lambda: self.get_async_generator(type, **options), "response.get_async_generator", self._loop
            )
            return
        items = self.get_async_generator(type, **options)
        try:
            while (found := _at_once(_next(items))) is not None:
                yield found[0]
        finally:
            _at_once(items.aclose())

    def get_text(self) -> str:
        """Do what `async_get_text` does, and block the caller until it is done."""
        return self._wait(self.async_get_text, "response.async_get_text")

    def get_data(self, **options: Any) -> Any:
        """Do what `async_get_data` does, and block the caller until it is done."""
        return self._wait(lambda: self.async_get_data(**options), "response.async_get_data", **options)

    def get_data_object(self, **options: Any) -> Any:
        """Do what `async_get_data_object` does, and block the caller until it is done."""
        return self._wait(lambda: self.async_get_data_object(**options), "response.async_get_data_object", **options)

    def get_meta(self) -> dict[str, Any]:
        """Do what `async_get_meta` does, and block the caller until it is done."""
        return self._wait(self.async_get_meta, "response.async_get_meta")

    def _wait(
        self,
        read: Callable[[], Coroutine[Any, Any, T]],
        name: str,
        *,
        ensure_keys: Sequence[str] = (),
        key_style: PathStyle = "dot",
        **_: Any,
    ) -> T:
        """Read. Also in a running loop, if the answer has ended and lacks no key that another attempt would bring."""
        if self._log.closed and not (ensure_keys and self._attempts.answer.missing(ensure_keys, key_style)):
            return _at_once(read())
        return run_sync(read, name, self._loop)

    # -- readers -----------------------------------------------------------------------------------------------------

    @property
    def _log(self) -> EventLog[Item]:
        return self._attempts.log

    async def _follow(self, log: int, after: int) -> AsyncGenerator[Item, None]:
        """Yield the items of log number `log` from position `after` on, then all items of the later logs."""
        with self._reader():
            while log < len(self._logs):
                async with aclosing(self._logs[log].follow(after)) as items:
                    async for item in items:
                        yield item
                log, after = log + 1, 0

    @contextmanager
    def _reader(self) -> Generator[None]:
        """Count a reader: the first one starts the reading of the source, and the last one that leaves stops it."""
        self._start()
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers and not self._log.closed:
                self._stop(
                    "the last reader left while the model was still writing, so its stream was closed; to get the rest,"
                    " start another reader before that: asyncio.create_task(response.async_get_data())"
                )

    def _stop(self, reason: str) -> None:
        self._attempts.close(ResponseCancelled(reason))
        if self._task is not None:
            self._task.cancel()

    async def _end(self) -> Answer:
        async with aclosing(self._follow(len(self._logs) - 1, len(self._log))) as items:
            async for _ in items:
                pass
        return self._attempts.answer

    def _start(self) -> None:
        if self._log.closed and not on_a_loop():  # a sync reader of what has ended, which waits for nothing
            return
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ResponseUsageError(
                "this response was first read on another event loop, to which it belongs; read it there"
            )
        if self._task is None and not self._log.closed:
            self._task = start_task(loop, self._attempts.run(), name="triggerflow-response")

    def _require(self, need: Need) -> None:
        if self._attempts.require(need):
            # Readers of the old log may have ended, so the new attempts get a log of their own. New readers read all
            # logs.
            self._logs.append(self._attempts.log)
            self._task = None


def _at_once(reading: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, which waits for nothing: it only lets other tasks run, and none need to here."""
    while True:
        try:
            reading.send(None)
        except StopIteration as end:
            return cast("T", end.value)


async def _next(items: AsyncGenerator[Any, None]) -> tuple[Any] | None:
    """The next item in a tuple, or None after the last one."""
    try:
        return (await anext(items),)
    except StopAsyncIteration:
        return None
