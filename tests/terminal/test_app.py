"""The screen on a terminal: keys do what the last line says, and answers arrive."""

import asyncio
import enum
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from tests.terminal.scenes import running
from triggerflow import TriggerFlow
from triggerflow.backend import StoreBackend
from triggerflow.drivers.asyncio import REAL
from triggerflow.terminal.app import Watching

pytestmark = pytest.mark.real_time
HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold]日本👨‍👩‍👧\u202egnp" + "x" * 5000


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(msgspec.Struct):
    street: str
    number: int


def asking(schema: Any, payload: Any = "a question") -> TriggerFlow:
    """Asks once, and ends with the answer."""
    flow = TriggerFlow("asking")
    if schema in (Colour, Address):
        flow.register_type(schema)

    @flow.chunk("ask")
    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id="which?", payload=payload, schema=schema)

    @flow.chunk("say")
    async def say(data: Any) -> Any:
        return data.value

    flow.to(ask).to(say).end()
    return flow


@asynccontextmanager
async def watching(
    flow: TriggerFlow, value: Any = None, *, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[StoreBackend, Watching, Pilot[None]]]:
    async with running(flow, value=value, id="one") as backend:
        app = Watching(backend, "one", REAL)
        async with app.run_test(size=size) as pilot:
            yield backend, app, pilot
            if app.failure is not None:
                raise app.failure


async def until(pilot: Pilot[None], fact: Callable[[], Any]) -> None:
    """Wait for something to become true; the test's time-out is the limit."""
    while not fact():
        await pilot.pause(0.01)


def shown(app: Watching) -> str:
    """What is on the screen."""
    lines = [app.paper.render_line(y) for y in range(app.size.height)]
    return "\n".join("".join(segment.text for segment in line) for line in lines)


def problem(app: Watching) -> str:
    return str(app.screen.query_one("#problem", Static).content)


@pytest.mark.parametrize(
    ("schema", "keys", "result"),
    [
        (bool, ["y"], True),
        (bool, ["n"], False),
        (bool, ["down", "enter"], False),
        (Colour, ["1"], {"$type": "Colour", "value": "blue"}),
        (str, [*"two", "enter"], "two"),
        (int, [*"12", "enter"], 12),
        (None, [*'["x"]', "enter"], ["x"]),
    ],
)
async def test_a_question_is_answered_as_its_schema_says(schema: Any, keys: list[str], result: Any) -> None:
    async with watching(asking(schema)) as (backend, app, pilot):
        await until(pilot, lambda: app.model.questions)
        await until(pilot, lambda: "Waiting for you" in shown(app))
        await pilot.press("a")
        await pilot.press(*keys)
        found = await backend.result("one", wait=30)
        assert found.result == result
        await until(pilot, lambda: "Result" in shown(app))
        assert app.screen_stack[-1] is app.screen_stack[0]  # the dialog is gone


async def test_what_is_no_answer_is_said_and_can_be_mended() -> None:
    async with watching(asking(Address)) as (backend, app, pilot):
        await until(pilot, lambda: app.model.questions)
        await pilot.press("a")
        field = app.screen.query_one(Input)
        assert field.value == '{"street": "", "number": 0}'
        for typed, said in [
            ("{", "this is no JSON"),
            ("[]", "object is wanted"),
            ('{"street": "x"}', "number is missing"),
            ('{"street": "x", "number": "y"}', "number: integer is wanted"),
        ]:
            field.value = typed
            await pilot.press("enter")
            assert said in problem(app)
        field.value = '{"street": "x", "number": 1}'
        await pilot.press("enter")
        assert (await backend.result("one", wait=30)).status == "completed"


async def test_an_answer_that_the_flow_refuses_leaves_the_question_open() -> None:
    async with watching(asking(dict[str, int])) as (backend, app, pilot):
        await until(pilot, lambda: app.model.questions)
        await pilot.press("a")
        field = app.screen.query_one(Input)
        field.value = '{"x": "y"}'
        await pilot.press("enter")
        await until(pilot, lambda: problem(app))
        assert (await backend.get("one")).questions == 1
        field.value = '{"x": 1}'
        await pilot.press("enter")
        assert (await backend.result("one", wait=30)).result == {"x": 1}


async def test_one_of_several_questions_is_chosen() -> None:
    flow = TriggerFlow("several")

    @flow.chunk("ask")
    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id=data.value, payload=f"about {data.value}", schema=str)

    @flow.chunk("say")
    async def say(data: Any) -> Any:
        return data.value

    flow.for_each().to(ask).to(say).end_for_each().end()
    async with watching(flow, ["one", "two"]) as (backend, app, pilot):
        await until(pilot, lambda: len(app.model.questions) == 2)
        await until(pilot, lambda: "Waiting for you (1 of 2)" in shown(app))
        await pilot.press("n")
        await until(pilot, lambda: "Waiting for you (2 of 2)" in shown(app))
        second = app.model.questions[1].id
        await pilot.press("a", "x", "enter")
        await until(pilot, lambda: len(app.model.questions) == 1)
        assert app.model.questions[0].id != second
        await pilot.press("a", "y", "enter")
        result = (await backend.result("one", wait=30)).result
        assert result == (["y", "x"] if second == "two" else ["x", "y"])


async def test_cancelling_asks_first() -> None:
    async with watching(asking(bool)) as (backend, app, pilot):
        await until(pilot, lambda: app.model.questions)
        await pilot.press("c", "n")
        assert len(app.screen_stack) == 1
        assert (await backend.get("one")).status == "waiting"
        await pilot.press("c", "y")
        assert (await backend.result("one", wait=30)).status == "cancelled"
        await until(pilot, lambda: "Cancelled" in shown(app))
        await pilot.press("c", "a")  # nothing is left to cancel or to answer
        assert len(app.screen_stack) == 1


async def test_keys_move_and_leave() -> None:
    async with watching(asking(bool)) as (backend, app, pilot):
        await until(pilot, lambda: app.model.questions)
        await pilot.press("down", "down")
        await until(pilot, lambda: "nothing has run" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: "Waiting for you" in shown(app))
        await pilot.press("tab")
        await until(pilot, lambda: "▸Stream" in shown(app))
        await pilot.press("q")
        assert (await backend.get("one")).status == "waiting"


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (160, 50)])
async def test_text_from_users_does_nothing_to_the_screen(size: tuple[int, int]) -> None:
    flow = TriggerFlow(HOSTILE[:100])

    @flow.chunk(HOSTILE[:60])
    async def work(data: Any) -> Any:
        await data.async_put_into_stream(HOSTILE)
        await data.async_put_into_stream({"delta": HOSTILE, HOSTILE: HOSTILE})
        if data.value == HOSTILE:
            raise ValueError(HOSTILE)
        return data.value

    @flow.chunk("ask")
    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id=HOSTILE[:200], payload={HOSTILE: HOSTILE}, type=HOSTILE[:50])

    flow.for_each(on_error="collect").to(work).end_for_each().to(ask).end()
    async with watching(flow, [HOSTILE, 1, [HOSTILE]], size=size) as (_, app, pilot):
        await until(pilot, lambda: app.model.questions)
        for keys in (["down", "down", "down"], ["tab"], ["a"]):
            await pilot.press(*keys)
            await pilot.pause(0.1)
            text = shown(app)
            assert all(char.isprintable() or char == "\n" for char in text)
            assert all(line.cell_length == size[0] for line in map(app.paper.render_line, range(size[1])))


async def test_many_frames_are_painted_a_few_times() -> None:
    flow = TriggerFlow("talking")

    @flow.chunk("talk")
    async def talk(data: Any) -> None:
        for _ in range(3000):
            await data.async_put_into_stream("word ")

    flow.to(talk).end()
    async with watching(flow) as (backend, app, pilot):
        paints = 0
        paint = app.paint

        def counted() -> None:
            nonlocal paints
            paints += 1
            paint()

        app.paint = counted  # type: ignore[method-assign]
        begun = asyncio.get_running_loop().time()
        await backend.result("one", wait=50)
        await until(pilot, lambda: app.model.ended and "completed" in shown(app))
        took = asyncio.get_running_loop().time() - begun
        assert app.model.stream.count == 3000
        assert paints <= 13 * took + 3
