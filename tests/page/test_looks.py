"""Every view for everybody: axe finds nothing, nothing is wider than a phone or moves by itself, keys do all."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.page import filling
from tests.page.filling import DAY, fill
from tests.page.visitor import DESKTOP, PHONE, Place, Visitor, visiting

pytestmark = [
    pytest.mark.needs("chromium"), pytest.mark.needs("axe"), pytest.mark.real_time, pytest.mark.timeout(180),
]  # fmt: skip

#: By name: the query of the address, and a text that is there when the view is whole.
VIEWS: dict[str, tuple[dict[str, str], str]] = {
    "runs": ({}, "sails-1"),
    "runs, none found": ({"view": "runs", "text": "no such words"}, "No runs match"),
    "waiting": ({"view": "waiting"}, "Pay a harbour?"),
    "flows": ({"view": "flows"}, "approval"),
    "a flow": ({"view": "flow", "flow": "brief"}, "topic"),
    "one that runs": ({"view": "execution", "id": "looking-1"}, "look"),
    "one that waits": ({"view": "execution", "id": "sails-1"}, "Publish this brief?"),
    "one that has failed": ({"view": "execution", "id": "printer-7"}, "the printer is out of paper"),
    "one that is done": ({"view": "execution", "id": "letter-1"}, "answered"),
    "one in the past": ({"view": "execution", "id": "sails-1", "moment": "40"}, "in the past"),
    "a step": ({"view": "execution", "id": "sails-1", "run": "1", "tab": "run"}, "plan"),
    "a stream": ({"view": "execution", "id": "sails-1", "tab": "stream"}, "w40"),
    "a state": ({"view": "execution", "id": "sails-1", "tab": "state"}, "topic"),
    "one that is not there": ({"view": "execution", "id": "nobody"}, "nobody"),
    "two beside each other": ({"view": "compare", "one": "brief-0", "other": "brief-1"}, "rudders"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with something of everything."""
    file = tmp_path_factory.mktemp("looks") / "runs.db"
    fill(file, filling.first_attempt, DAY, filling.second_attempt, ago=3 * DAY)
    fill(file, filling.old(0, "oars", "publish"), filling.old(1, "rudders", "rework"), ago=2 * DAY)
    fill(file, filling.all_sorts, ago=900)
    fill(file, filling.at_work, ago=30)
    return str(file)


@pytest.fixture(scope="module")
def place(serve: Callable[..., Place], store: str) -> Place:
    """A server of it."""
    return serve(store)


@pytest.fixture(scope="module", params=["desktop", "phone"])
def person(request: pytest.FixtureRequest, browser: Browser, place: Place) -> Iterator[Visitor]:
    """Somebody at a desk, and somebody with a phone."""
    size = DESKTOP if request.param == "desktop" else PHONE
    with visiting(browser, place.url, check=False, viewport=size, reduced_motion="reduce") as made:
        yield made


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_for_everybody(person: Visitor, name: str) -> None:
    query, text = VIEWS[name]
    for scheme in ("light", "dark"):
        person.page.emulate_media(color_scheme=scheme)
        person.shifts.clear()
        person.open(**query)
        expect(person.page.get_by_role("main")).to_contain_text(text)
        expect(person.page.get_by_text(re.compile("^Loading"))).to_have_count(0)
        assert person.findings() == [], scheme
    assert person.is_wide() == ""
    person.wrong[:] = [it for it in person.wrong if not (it.startswith("404") and "nobody" in it)]
    person.fits()


def focused(visitor: Visitor) -> str:
    """What has the focus, for people and programs."""
    return visitor.page.evaluate("document.activeElement?.outerHTML.slice(0, 300) ?? ''")


def tab_to(visitor: Visitor, target: Locator, most: int = 80) -> None:
    """Press Tab until something has the focus, which then can be seen."""
    target.wait_for()
    for _ in range(most):
        visitor.page.keyboard.press("Tab")
        if target.evaluate("(it) => it === document.activeElement"):
            outline = target.evaluate(
                "(it) => { const s = getComputedStyle(it); return s.outlineStyle + s.boxShadow; }"
            )
            assert outline != "nonenone", f"nobody sees that it has the focus: {focused(visitor)}"
            return
    raise AssertionError(f"{most} times Tab do not lead there; the last one was {focused(visitor)}")


def test_a_question_is_reached_and_answered_without_a_pointer(place: Place, browser: Browser) -> None:
    place.begin("brief", {"topic": "keys"}, "keys")
    place.until("keys", lambda it: it["questions"] == 1)
    with visiting(browser, place.url) as visitor:
        page, keyboard = visitor.page, visitor.page.keyboard
        visitor.open()
        grid = page.get_by_role("grid")
        expect(grid).to_contain_text("keys")
        tab_to(visitor, grid)
        keyboard.press("Home")
        for _ in range(30):
            active = grid.get_attribute("aria-activedescendant")
            if active and "keys" in page.locator(f"#{active}").inner_text():
                break
            keyboard.press("ArrowDown")
        keyboard.press("Enter")
        visitor.sees_status("waiting")
        tab_to(visitor, page.get_by_role("radio", name="publish"))
        keyboard.press("Space")
        tab_to(visitor, page.get_by_label("note"))
        keyboard.type("by hand")
        keyboard.press("Control+Enter")
        visitor.sees_status("completed")
        assert place.frames("keys")[-1]["result"] == "keys: publish"


def test_the_slider_and_the_tabs_go_by_keyboard(browser: Browser, place: Place) -> None:
    with visiting(browser, place.url) as visitor:
        page, keyboard = visitor.page, visitor.page.keyboard
        visitor.open("execution", id="brief-0")
        visitor.sees_status("completed")
        last = visitor.last
        tab_to(visitor, visitor.slider)
        keyboard.press("Home")
        expect(visitor.slider).to_have_value("0")
        keyboard.press("End")
        expect(visitor.slider).to_have_value(str(last))
        tab_to(visitor, page.get_by_role("tab", selected=True))
        for name in ("Step", "Stream", "State"):
            keyboard.press("ArrowRight")
            expect(page.get_by_role("tab", selected=True)).to_contain_text(name)
        tab_to(visitor, page.get_by_role("link", name="Compare", exact=True))
        keyboard.press("Enter")
        page.wait_for_url(re.compile("view=compare"))


def test_the_axis_shows_a_day_between_two_attempts_and_still_what_took_a_second(browser: Browser, place: Place) -> None:
    """24 hours between two attempts do not squash what happened before and after them."""
    with visiting(browser, place.url) as visitor:
        visitor.open("execution", id="letter-1")
        visitor.sees_status("completed")
        rows = visitor.page.get_by_role("treegrid").get_by_role("row")
        expect(rows).to_have_count(3)
        widths = (
            visitor.page.get_by_role("treegrid")
            .locator(".time-work rect")
            .evaluate_all("(all) => all.map((it) => it.getBoundingClientRect().width)")
        )
        assert len(widths) == 4
        assert min(widths) >= 10, widths


def test_a_run_is_watched_on_a_phone_without_a_jump(browser: Browser, place: Place) -> None:
    with visiting(browser, place.url, viewport=PHONE, has_touch=True, is_mobile=True) as visitor:
        visitor.open("flow", flow="brief")
        visitor.page.get_by_label("topic").fill("phones")
        visitor.button("Start").click()
        visitor.sees_status("waiting")
        assert visitor.is_wide() == ""
        visitor.page.get_by_role("radio", name="publish").check()
        visitor.button("Answer").click()
        visitor.sees_status("completed")
        assert visitor.is_wide() == ""


def test_the_pictures_fill_a_store(tmp_path: Path) -> None:
    """The program that takes pictures of the page is not run by the tests; what it fills its store with is."""
    from tests.page.screenshots import fill_it

    fill_it(tmp_path / "runs.db")
