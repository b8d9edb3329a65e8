"""`Scenario`: a flow, its input, and its expected result."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ..._core.errors import RemoteChunkError
from ...flow import TriggerFlow
from ...run.execution import Execution

#: All scenarios by name.
SCENARIOS: "dict[str, Scenario]" = {}


class Outside:
    """Sends answers and signals to an execution, as people and other programs do.

    A test may repeat a call after a crash: it has an effect only once."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait until a condition holds."""
        while not holds():  # noqa: ASYNC110 - an execution has no event for a change of its state
            await asyncio.sleep(0.01)

    async def answer(self, interrupt: str, value: Any) -> None:
        """Answer an interrupt as soon as it is open."""
        await self.until(lambda: interrupt in self.execution.get_interrupts())
        if self.execution.get_interrupt(interrupt)["status"] == "waiting":
            await self.execution.async_continue_with(interrupt, value, request_id=f"answer to {interrupt}")

    async def signal(self, name: str, value: Any, *, mark: str) -> None:
        """Send a signal as soon as the execution waits, unless key `mark` of its state shows that it was received."""
        state = self.execution.state
        await self.until(lambda: state.get(mark) is not None or self.execution.get_status() == "waiting")
        if state.get(mark) is None:
            await self.execution.async_emit(name, value)


async def _nothing(outside: Outside) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Scenario:
    """A flow, its start value, and its expected end.

    `outside` is run beside the execution. `error` is the class name of the exception that waiters get instead of a
    `result`. `stream` has the expected items as `shown` returns them, in any order if not `ordered`. `state` has the
    keys that are compared, with their values.
    """

    name: str
    build: Callable[[TriggerFlow], None]
    value: Any = None
    outside: Callable[[Outside], Awaitable[None]] = _nothing
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    result: Any = None
    error: str | None = None
    stream: tuple[Any, ...] = ()
    ordered: bool = True
    state: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def make(self) -> TriggerFlow:
        """Build the flow anew, as another process would do."""
        flow = TriggerFlow(name=self.name)
        self.build(flow)
        return flow

    def check(self, *, result: Any, error: BaseException | None, stream: list[Any], state: Mapping[str, Any]) -> None:
        """Compare how a run has ended with the expected end. Raises `AssertionError`, which names the difference."""
        ended: Any = result if error is None else type(error).__name__
        if isinstance(error, RemoteChunkError):  # the original exception was lost with its process
            ended = str(error).split(": ")[-2]
        expected = self.error if self.error is not None else self.result
        assert ended == expected, f"{self.name} ended with {ended!r} ({error!r}), expected was {expected!r}"
        items, wanted = [shown(item) for item in stream], list(self.stream)
        if not self.ordered:
            items, wanted = sorted(items, key=repr), sorted(wanted, key=repr)
        assert items == wanted, f"the stream of {self.name} was {items!r}, expected was {wanted!r}"
        found = {key: state.get(key) for key in self.state}
        assert found == self.state, f"the state of {self.name} was {found!r}, expected was {self.state!r}"


def scenario(**details: Any) -> Callable[[Callable[[TriggerFlow], None]], Callable[[TriggerFlow], None]]:
    """Decorator: register a function that wires a flow as a scenario."""

    def add(build: Callable[[TriggerFlow], None]) -> Callable[[TriggerFlow], None]:
        SCENARIOS[build.__name__] = Scenario(build.__name__, build, **details)
        return build

    return add


def shown(item: Any) -> Any:
    """A stream item without the parts that differ from run to run, such as ids and numbers of records."""
    if isinstance(item, dict):
        content = cast("dict[str, Any]", item)
        if content.get("type") == "interrupt":
            return [content["action"], content["interrupt"]["id"]]
        if content.get("type") == "retraction":
            return ["retraction", content["reason"]]
    return cast("Any", item)


def call(name: str, function: Callable[[Any], Any]) -> tuple[str, Callable[[Any], Any]]:
    """A chunk that applies a function to its value."""

    async def apply(data: Any) -> Any:
        return function(data.value)

    return name, apply


def give(value: str) -> tuple[str, Callable[[Any], Any]]:
    """A chunk with this name that returns its name."""
    return call(value, lambda _: value)


def one_more(count: int) -> int:
    """Increment, for `state.update`."""
    return count + 1


async def echo(data: Any) -> Any:
    """A chunk that passes its value on."""
    return data.value
