"""Answers that are typed out, and a flow that works on each field of them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic

from triggerflow import TriggerFlow
from triggerflow.models import Response

SECOND = 1.0
"""The time between two pieces of an answer, in (virtual) seconds."""


class PydanticStep(pydantic.BaseModel):
    name: str
    minutes: int
    tags: list[str] = []


class PydanticPlan(pydantic.BaseModel):
    title: str
    steps: list[PydanticStep]


class StructStep(msgspec.Struct):
    name: str
    minutes: int
    tags: list[str] = []


class StructPlan(msgspec.Struct):
    title: str
    steps: list[StructStep]


@dataclass
class DataStep:
    name: str
    minutes: int
    tags: list[str]


@dataclass
class DataPlan:
    title: str
    steps: list[DataStep]


NOTATION = {"title": str, "steps": [{"name": (str, "what to do"), "minutes": int, "tags": [str]}]}
TYPED = {
    "pydantic": (PydanticPlan, PydanticStep),
    "msgspec": (StructPlan, StructStep),
    "dataclass": (DataPlan, DataStep),
}

PLAN = (
    '{"title": "T", "steps": [{"name": "a", "minutes": 4, "tags": ["x", "y"]},'
    ' {"name": "b", "minutes": 5, "tags": []}, {"name": "c", "minutes": 6, "tags": ["z"]}]}'
)
"""A plan of three steps, a, b and c."""


async def typed(text: str, *, size: int = 4, then: Exception | None = None) -> AsyncGenerator[str, None]:
    """The text in pieces, each after a second; then the exception."""
    for at in range(0, len(text), size):
        await asyncio.sleep(SECOND)
        yield text[at : at + size]
    if then is not None:
        raise then


def answering(*answers: str | tuple[str, Exception], **options: Any) -> Callable[[], AsyncGenerator[str, None]]:
    """A source that gives these answers, one for each attempt; `asked` counts them."""

    def source() -> AsyncGenerator[str, None]:
        answer = answers[source.asked]  # type: ignore[attr-defined]
        source.asked += 1  # type: ignore[attr-defined]
        text, then = (answer, None) if isinstance(answer, str) else answer
        return typed(text, then=then, **options)

    source.asked = 0  # type: ignore[attr-defined]
    return source


def a_flow() -> TriggerFlow:
    """A flow that may record the steps."""
    flow = TriggerFlow(name="f")
    for _, step in TYPED.values():
        flow.register_type(step)
    return flow


class Works:
    """A flow that plans, works on each step as soon as it is written, and puts the results together.

    `log` has what the work on the steps did: ("begin" | "end" | "cancelled", name).
    """

    def __init__(self, make: Callable[[Any], Any], *, seconds: float = 3.0, **options: Any) -> None:
        self.log: list[tuple[str, str]] = []
        self.fields: list[Any] = []
        self.flow = flow = a_flow()

        async def plan(data: Any) -> Any:
            return make(data)

        @flow.chunk("work")
        async def work(data: Any) -> str:
            name = name_of(data.value)
            self.fields.append(data.field)
            self.log.append(("begin", name))
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.log.append(("cancelled", name))
                raise
            self.log.append(("end", name))
            return name.upper()

        @flow.chunk("compile")
        async def compile(data: Any) -> str:
            return "+".join(data.value)

        plan_chunk = flow.chunk("plan", **options.pop("plan", {}))(plan)
        flow.to(plan_chunk).for_each(**options).to(work).end_for_each().to(compile).end()

    async def run(self, value: Any = None, **options: Any) -> tuple[list[Any], Any]:
        """Run it; returns the items of its stream, and its result or its error."""
        execution = self.flow.create_execution(**options)
        items: list[Any] = []
        try:
            async for item in execution.get_async_runtime_stream(value, timeout=None):
                items.append(item)  # noqa: PERF401 - a comprehension would lose them with the error
            return items, await execution.async_get_result()
        except Exception as error:
            return items, error

    def names(self, what: str) -> Sequence[str]:
        """The names of the steps that began, ended or were cancelled, in this order."""
        return [name for kind, name in self.log if kind == what]


def name_of(step: Any) -> str:
    """The name of a step of any description."""
    return step["name"] if isinstance(step, dict) else step if isinstance(step, str) else step.name


def planning(source: Any, output: Any = PydanticPlan, path: str = "steps[*]", **options: Any) -> Callable[[Any], Any]:
    """What the planning chunk of `Works` returns."""
    return lambda data: Response(source, output=output, **options).fields(path)
