"""`FieldChecks`: checks the fields of an answer as they are completed, and gives them to their readers."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any

from ..._core.signals import FieldPlace
from ...run.dispatch import Field, Withdrawn
from ..instant import Event, ResetEvent
from ..outputs import Misfit, Output, Part, exact_steps, misfits
from ..paths import SEPARATOR, PathStyle, Step, parse
from ..shapes import Delta, ToolCallDelta
from .tool_calls import CallEvent, CallReader, call_name, is_tool_path, read_tool_path

Check = Callable[[Event, str], Any]
"""Returns the value of an event as the type that the description has at its path; raises `ValueError` if it does not
fit. The text is the path that the error shows."""
_TURN = 256
"""After so many fields a reader lets other tasks run."""


class Follower:
    """One reader of fields: what is ready for it, and its wait for more."""

    def __init__(self, wanted: frozenset[str], now: Callable[[Field], bool] | None) -> None:
        self._wanted = wanted
        self._now = now
        self._ready: deque[Field | Withdrawn] = deque()
        self._news: asyncio.Future[None] | None = None
        self._closed = False
        self._error: BaseException | None = None

    def put(self, place: FieldPlace, value: Any, names: tuple[str, ...]) -> None:
        """A field is complete. `names` are the paths by which it may be followed, the path of the one field first."""
        for name in names:
            if name in self._wanted:
                field = Field(place, value, name)
                if self._now is None or self._news is None or self._news.done() or not self._taken(self._now, field):
                    self._ready.append(field)
                    self._wake()
                return

    def _taken(self, now: Callable[[Field], bool], field: Field) -> bool:
        """Whether the reader, which waits for the next field, has taken this one without being woken."""
        try:
            return now(field)
        except Exception as error:
            self.close(error)
            return True

    def drop(self, withdrawn: Withdrawn | None = None) -> None:
        """The fields of the current answer are void: those that the reader has not taken yet are not handed out."""
        self._ready = deque(it for it in self._ready if isinstance(it, Withdrawn))
        if withdrawn is not None:
            self._ready.append(withdrawn)
            self._closed = False  # another answer follows, also if this one had ended
            self._wake()

    def close(self, error: BaseException | None) -> None:
        """There is no more. The reader ends, or raises the error, when it has taken what is ready."""
        if not self._closed:
            self._closed, self._error = True, error
            self._wake()

    async def items(self) -> AsyncGenerator[Field | Withdrawn, None]:
        """Yield what is ready, and wait for more, until closed."""
        taken = 0
        while True:
            while self._ready:
                yield self._ready.popleft()
                taken += 1
                if taken % _TURN == 0:
                    await asyncio.sleep(0)
            if self._closed:
                if self._error is not None:
                    raise self._error
                return
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)


class FieldChecks:
    """Checks the fields at the paths that readers follow, as soon as they are complete, and gives them to the readers.

    `misfit` says what is wrong with the first field of another type in the current answer.
    """

    def __init__(self, output: Output | None, tools: Mapping[str, Output], style: PathStyle, **reading: bool) -> None:
        self._reading = reading
        """`strict` and `repair`, see `Response`."""
        self._output = output
        self._tools = tools
        self._style: PathStyle = style
        self._checks: dict[str, Check] = {}
        self._ends: frozenset[Any] = frozenset()
        """The last step of each path, by which most other events are skipped: a key, `int` for an index, None for the
        root."""
        self._calls: CallReader | None = None
        """Reads the tool calls of the current answer, if a reader follows them."""
        self._followers: tuple[Follower, ...] = ()
        self.misfit: ValueError | None = None
        self.active = False
        """Whether there was a reader."""

    def follow(
        self, paths: Sequence[str], items: Iterable[Event | Delta], now: Callable[[Field], bool] | None
    ) -> Follower:
        """A new reader of the fields at these paths. `items` are those that the current answer has given so far. `now`
        is called with a field while the reader waits; if it returns False, the reader gets the field."""
        self.active = True
        for path in paths:
            if path not in self._checks:
                self._checks[path] = self._make(path)
                self._ends |= self._last_steps(path)
        follower = Follower(frozenset(paths), now)
        others, self._followers = self._followers, (follower,)
        of_calls = any(is_tool_path(path, self._style) for path in paths)
        if of_calls:
            self._calls = CallReader(self._style, **self._reading)  # it reads the pieces so far again, for this reader
        for item in items:
            if not isinstance(item, Delta):
                self.take((item,))
            elif of_calls:
                self.take_calls(item.tool_calls)
        self._followers = (*others, follower)
        if self.misfit is not None:
            self._drop(None)
        return follower

    def leave(self, follower: Follower) -> None:
        """The reader ends."""
        self._followers = tuple(it for it in self._followers if it is not follower)

    def take(self, events: Iterable[Event]) -> None:
        """Check the fields that these events complete, and give them to the readers that follow their paths."""
        for event in events:
            if not event.is_complete:
                if isinstance(event, ResetEvent):
                    self.misfit = None
                    self._drop(Withdrawn(event.attempt, "another JSON follows in the same answer"))
                continue
            end = event.node.key
            if (end if type(end) is not int else int) not in self._ends:
                continue
            path, wildcard_path = event.node.paths
            check = self._checks.get(path) or self._checks.get(wildcard_path)
            if check is None:
                continue
            try:
                value = check(event, path)
            except ValueError as error:
                self._refuse(error)
                return
            place = FieldPlace(path, wildcard_path, event.node.keys)
            for follower in self._followers:
                follower.put(place, value, (path, wildcard_path))

    def take_calls(self, pieces: Iterable[ToolCallDelta]) -> None:
        """Check what these pieces of tool calls complete, and give it to the readers."""
        if self._calls is None:
            return
        try:
            for piece in pieces:
                for found in self._calls.take(piece):
                    value = self._checked_call(found)
                    if value is None:
                        continue
                    for follower in self._followers:
                        follower.put(found.place, value, found.names)
        except ValueError as error:
            self._refuse(error)

    def _checked_call(self, found: CallEvent) -> Any:
        """The value of a place of a call, or the call itself. None if no reader follows it, and for a call of a tool
        that is not described: such a call makes the answer invalid at the end of the answer.

        Raises `Misfit`, which says which call is wrong."""
        check = next((self._checks[name] for name in found.names if name in self._checks), None)
        try:
            if found.event is not None:
                return None if check is None else check(found.event, found.place.path)
            if found.tool in self._tools:
                _checked(self._tools[found.tool].part(""), found.arguments, found.place.path)
        except Misfit as error:
            raise error.inside(call_name(found.number, found.tool)) from error
        unknown = self._tools and found.tool not in self._tools
        return None if check is None or unknown else found.call

    def _refuse(self, error: ValueError) -> None:
        self.misfit = self.misfit or error
        self._drop(None)

    def begin(self, withdrawn: Withdrawn) -> None:
        """The answer is dropped, and another one begins."""
        self.misfit = None
        if self._calls is not None:
            self._calls = CallReader(self._style, **self._reading)
        self._drop(withdrawn)

    def close(self, error: BaseException | None) -> None:
        """The response has ended."""
        for follower in self._followers:
            follower.close(error)

    def _drop(self, withdrawn: Withdrawn | None) -> None:
        for follower in self._followers:
            follower.drop(withdrawn)

    def _last_steps(self, path: str) -> set[Any]:
        """What the last step of the fields at this path may be: several if a key may contain the separator."""
        steps = self._steps_of(path)
        if steps is None:
            steps = parse(path, self._style)
            if steps and isinstance(steps[-1], str):
                separator = SEPARATOR[self._style]
                parts = path.split(separator)
                return {steps[-1], *(separator.join(parts[at:]) for at in range(len(parts)))}
        if not steps:
            return {None}
        return {steps[-1] if isinstance(steps[-1], str) else int}

    def _steps_of(self, path: str) -> tuple[Step, ...] | None:
        """The steps to the place that a path stands for, if the description tells it."""
        if self._output is None or is_tool_path(path, self._style):
            return None
        return exact_steps(path, self._output.full_schema, self._style)

    def _make(self, path: str) -> Check:
        output = self._output
        if is_tool_path(path, self._style):
            of_tool = read_tool_path(path, self._tools, self._style)
            output, path = self._tools.get(of_tool.tool or ""), of_tool.inner or ""
        if output is None:
            return lambda event, place: event.value
        part = output.part(path, self._style)

        return lambda event, place: _checked(part, event.node.value, place)


def _checked(part: Part, value: Any, place: str) -> Any:
    """The value as the type of this part. Raises `Misfit`."""
    try:
        return part.convert(value, place)
    except ValueError as error:
        raise Misfit(str(error), misfits(value, part.schema, place)) from error
