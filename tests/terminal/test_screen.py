"""The screen as text: "readable at 80 columns, uses 160". Two of the captures stand in docs/guide/watching.md."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.terminal.looking import look, watched
from tests.terminal.scenes import answering, crashed, crawl, payment, report, running, trip
from triggerflow import TriggerFlow
from triggerflow.backend import StoreBackend
from triggerflow.drivers.asyncio import REAL
from triggerflow.durable import Worker
from triggerflow.stores import MemoryStore
from triggerflow.terminal import safe
from triggerflow.terminal.screen import View, reach, screen, text

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "watching.md"
CAPTURES = Path(__file__).parent / "captures"


@asynccontextmanager
async def answered() -> AsyncIterator[StoreBackend]:
    async with running(report(), id="report-1") as backend, answering(backend, "report-1", True, after=3 * 3600):
        yield backend


SCENES: dict[str, tuple[Callable[[], AbstractAsyncContextManager[StoreBackend]], str, float]] = {
    "waiting": (lambda: running(report(), id="report-1"), "report-1", 40),
    "done": (answered, "report-1", 4 * 3600),
    "for-each": (lambda: running(crawl(200), id="crawl-1"), "crawl-1", 15.03),
    "failed": (lambda: running(payment(), id="pay-7"), "pay-7", 60),
    "sub-flow": (lambda: running(*trip(), id="trip-1"), "trip-1", 1.83),
    "recovered": (lambda: crashed(report(), id="report-1", after=3), "report-1", 2.03),
}


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("scene", list(SCENES))
async def test_a_screen_looks_as_it_was_looked_at(scene: str, width: int) -> None:
    make, id, after = SCENES[scene]
    async with make() as backend:
        lines = await look(backend, id, after=after, width=width, height=24 if width == 80 else 32)
    assert len(lines) == (24 if width == 80 else 32)
    assert all(safe.width(line) <= width for line in lines)
    known = CAPTURES / f"{scene}-{width}.txt"
    assert lines == known.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("scene", ["waiting-80", "for-each-80"])
def test_the_page_shows_what_the_screen_shows(scene: str) -> None:
    capture = (CAPTURES / f"{scene}.txt").read_text(encoding="utf-8")
    assert f"```text\n{capture}```" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("scene", list(SCENES))
async def test_any_size_is_filled_exactly(scene: str) -> None:
    make, id, after = SCENES[scene]
    async with make() as backend, watched(backend, id) as model:
        await asyncio.sleep(after)
        for width, height in [(1, 1), (10, 3), (33, 7), (79, 24), (119, 40), (120, 10), (200, 60)]:
            for view in (View(), View(chosen=1, panel="stream", back=2), View(top=50, notice="x" * 500)):
                lines = screen(model, view, width, height, REAL.now())
                assert len(lines) == height
                assert {sum(safe.width(part) for part, _ in line) for line in lines} == {width}


async def test_steps_that_have_no_room_are_counted_by_what_they_do() -> None:
    flow = TriggerFlow("long")
    chain = flow.to(flow.chunk("step 0")(_second))
    for number in range(1, 40):
        chain = chain.to(flow.chunk(f"step {number}")(_second))
    chain.end()
    async with running(flow, id="one") as backend, watched(backend, "one") as model:
        await asyncio.sleep(20.5)
        shown = text(screen(model, View(), 80, 24, REAL.now()))
        assert shown[3].startswith(" ✓ step 0 ")
        assert "   ↓ 32 more: 1 running, 12 done" in shown
        low = text(screen(model, View(top=15), 80, 24, REAL.now()))
        assert low[3].startswith(" ✓ step 15 ")
        assert any(line.startswith(" ► step 20 ") for line in low)
        view = View()
        for size in ((80, 24), (160, 30)):
            for chosen in (*range(40), 0, 39):
                view.chosen = chosen
                view.top = reach(view, 40, *size)
                names = [line[3:11].rstrip() for line in text(screen(model, view, *size, REAL.now()))[3:]]
                assert f"step {chosen}" in names


async def _second(data: object) -> None:
    await asyncio.sleep(1)


async def test_a_run_that_nobody_works_on_says_so() -> None:
    flow = report()
    async with MemoryStore() as store:
        backend = StoreBackend(store, flow)
        await backend.start("report", id="one")
        async with watched(backend, "one") as model:
            await asyncio.sleep(30)
            assert text(screen(model, View(), 80, 24, REAL.now()))[1] == (
                " no process works on it: start a worker with its code"
            )
            async with Worker(store, flow):
                await asyncio.sleep(4)
                assert text(screen(model, View(), 80, 24, REAL.now()))[1].endswith(" frames")
