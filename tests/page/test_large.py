"""Large runs and long lists stay in hand. How fast they are `python -m bench.page` measures, on an idle machine."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.page import filling
from tests.page.filling import fill
from tests.page.visitor import Place, Visitor, visiting

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.real_time, pytest.mark.timeout(600)]

#: How many elements a view may have, however much there is to show.
ELEMENTS = 3000


def elements(visitor: Visitor) -> int:
    """How many elements the page has."""
    return visitor.page.evaluate("document.querySelectorAll('*').length")


def large(few: int, many: int) -> pytest.MarkDecorator:
    """A size for `make test`, and one for `make soak`."""
    return pytest.mark.parametrize(
        "size", [pytest.param(few, id="few"), pytest.param(many, id="many", marks=pytest.mark.soak)]
    )


@large(1_000, 25_000)
def test_a_run_of_many_frames_is_shown_at_any_moment(
    browser: Browser, serve: Callable[..., Place], tmp_path: Path, size: int
) -> None:
    """Each item of the stream is two frames."""
    file = tmp_path / "runs.db"
    fill(file, filling.large(10, size), ago=100)
    place = serve(str(file))
    with visiting(browser, place.url) as visitor:
        visitor.open("execution", id=f"talker-{size}")
        frames = place.info(f"talker-{size}")["frames"]
        assert frames > 2 * size
        expect(visitor.slider).to_have_attribute("max", str(frames))
        log = visitor.tab("Stream").get_by_role("log")
        expect(log).to_contain_text(f"{size - 1}")
        assert elements(visitor) < ELEMENTS
        for moment in (size, 3, frames // 2):
            visitor.slider.fill(str(moment))
            expect(visitor.page.locator(".exec-where")).to_contain_text(f"{moment:,} of {frames:,}")
        state = visitor.tab("State")
        visitor.slider.fill(str(frames // 2))
        expect(state).to_contain_text("count")
        at = next(
            it
            for it in reversed(
                place.call("GET", f"/api/executions/talker-{size}/frames?after={frames // 2 - 10}&limit=10")["frames"]
            )
            if it["kind"] == "state"
        )
        assert str(at["record"]["value"]) in state.inner_text()
        visitor.page.wait_for_url(re.compile(f"moment={frames // 2}"))
        visitor.page.reload()
        expect(visitor.slider).to_have_value(str(frames // 2))
        assert elements(visitor) < ELEMENTS


@large(500, 10_000)
def test_a_for_each_over_many_items_is_one_row_that_unfolds(
    browser: Browser, serve: Callable[..., Place], tmp_path: Path, size: int
) -> None:
    file = tmp_path / "runs.db"
    fill(file, filling.large(size, 1), ago=100)
    place = serve(str(file))
    with visiting(browser, place.url) as visitor:
        page = visitor.page
        visitor.open("execution", id=f"many-{size}")
        visitor.sees_status("completed")
        rows = page.get_by_role("treegrid").get_by_role("row")
        row = rows.filter(has_text="work")
        expect(row).to_contain_text(f"{size:,}/{size:,}")
        expect(rows).to_have_count(3)
        row.click()
        expect(row.first).to_have_attribute("aria-expanded", "true")
        assert elements(visitor) < ELEMENTS
        page.get_by_role("treegrid").press("End")
        expect(rows.filter(has_text="sum")).to_be_visible()
        page.get_by_role("treegrid").press("ArrowUp")
        panel = page.get_by_role("tabpanel")
        expect(panel).to_contain_text("work")
        expect(panel).to_contain_text(str(size - 1))
        assert elements(visitor) < ELEMENTS


@large(300, 20_000)
def test_a_list_of_many_runs_is_scrolled_to_its_end(
    browser: Browser, serve: Callable[..., Place], tmp_path: Path, size: int
) -> None:
    file = tmp_path / "runs.db"
    fill(file, filling.crowd(size), ago=100)
    place = serve(str(file), worker=False)
    with visiting(browser, place.url) as visitor:
        page = visitor.page
        visitor.open()
        expect(page.get_by_role("main")).to_contain_text(f"{size:,} runs")
        expect(page.get_by_role("grid")).to_contain_text(f"crowd-{size - 1:05}")
        height = page.evaluate("document.documentElement.scrollHeight")
        for _ in range(400):
            page.mouse.wheel(0, 20_000)
            if page.get_by_text("crowd-00000", exact=True).count():
                break
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        expect(page.get_by_text("crowd-00000", exact=True)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollHeight") == height
        assert elements(visitor) < ELEMENTS
        page.get_by_role("searchbox").or_(page.get_by_placeholder(re.compile("^Id, label"))).first.fill("crowd-00017")
        expect(page.get_by_role("main")).to_contain_text("1 run")
        page.get_by_text("crowd-00017", exact=True).click()
        assert visitor.id == "crowd-00017"
