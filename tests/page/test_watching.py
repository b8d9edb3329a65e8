"""What a person does with a run: starts, watches and answers it, in several tabs, while servers die and come back."""

import itertools
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.page.flows import WORDS
from tests.page.visitor import Place, Visitor, another_tab, visiting

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.real_time, pytest.mark.timeout(180)]

ALL_WORDS = [f"w{number}" for number in range(1, WORDS + 1)]


@pytest.fixture
def name() -> Iterator[str]:
    """An id that no other test takes."""
    return f"run-{next(_numbers)}"


_numbers = itertools.count(1)


def words(visitor: Visitor) -> list[str]:
    """The words of the brief, as the stream shows them."""
    log = visitor.tab("Stream").get_by_role("log")
    expect(log).to_contain_text("w1 ")
    return re.findall(r"\bw\d+\b", log.inner_text())


def answer_brief(visitor: Visitor) -> None:
    """Say yes in the form of the question."""
    panel = visitor.tab("Question")
    panel.get_by_role("radio", name="publish").check()
    panel.get_by_label("note").fill("well done")
    panel.get_by_role("button", name="Answer", exact=True).click()


def test_a_person_starts_watches_and_answers_a_run_whose_server_is_killed_and_sees_each_event_once(
    browser: Browser, serve: Callable[..., Place]
) -> None:
    place = serve()
    with visiting(browser, place.url) as visitor:
        page = visitor.page
        visitor.open()
        visitor.start("brief")
        page.get_by_label("topic").fill("solar sails")
        visitor.button("Start").click()
        id = visitor.id
        expect(visitor.tab("Stream").get_by_role("log")).to_contain_text("w3 ")
        place.process.stop(signal.SIGKILL)
        notice = page.get_by_text("Not connected")
        expect(notice).to_be_visible()
        place.process.start()
        place.process.wait()
        expect(notice).to_have_count(0)
        visitor.sees_status("waiting")
        assert words(visitor) == ALL_WORDS
        answer_brief(visitor)
        visitor.sees_status("completed")
        frames = place.frames(id)
        assert frames[-1]["result"] == "solar sails: publish"
        assert sum(it["kind"] == "resumed" for it in frames) == 1
        assert visitor.last == visitor.moment == len(frames)
        assert words(visitor) == ALL_WORDS
        page.reload()
        visitor.sees_status("completed")
        assert words(visitor) == ALL_WORDS
        assert visitor.last == visitor.moment == len(frames)


def test_the_address_holds_the_moment_and_what_is_chosen(place: Place, visitor: Visitor, name: str) -> None:
    place.begin("brief", {"topic": "oars"}, name)
    place.until(name, lambda it: it["questions"] == 1)
    page = visitor.page
    visitor.open("execution", id=name)
    visitor.sees_status("waiting")
    last = visitor.last
    visitor.slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    expect(visitor.slider).to_have_value(str(last - 5))
    expect(page.locator(".exec-head")).to_contain_text("in the past")
    page.get_by_role("treegrid").get_by_role("row").filter(has_text="plan").click()
    page.wait_for_url(re.compile(rf"moment={last - 5}.*run=\d+|run=\d+.*moment={last - 5}"))
    page.reload()
    expect(visitor.slider).to_have_value(str(last - 5))
    expect(page.get_by_role("tab", name="Step")).to_have_attribute("aria-selected", "true")
    visitor.button("Newest").or_(visitor.button("Live")).click()
    expect(visitor.slider).to_have_value(str(last))


def test_a_past_moment_asks_the_server_nothing(place: Place, visitor: Visitor, name: str) -> None:
    place.begin("brief", {"topic": "oars"}, name)
    place.until(name, lambda it: it["questions"] == 1)
    visitor.open("execution", id=name)
    visitor.sees_status("waiting")
    expect(visitor.slider).to_have_value(str(len(place.frames(name))))
    visitor.slider.focus()
    visitor.page.keyboard.press("ArrowLeft")
    expect(visitor.page.locator(".exec-head")).to_contain_text("in the past")
    visitor.asked.clear()
    for _ in range(20):
        visitor.page.keyboard.press("ArrowLeft")
    expect(visitor.slider).to_have_value(str(len(place.frames(name)) - 21))
    assert [path for path in visitor.asked if "/frames" in path or "/state" in path] == []


def test_a_fork_goes_its_own_way_and_is_compared_with_its_original(place: Place, visitor: Visitor, name: str) -> None:
    place.begin("brief", {"topic": "oars"}, name)
    place.until(name, lambda it: it["questions"] == 1)
    page = visitor.page
    visitor.open("execution", id=name)
    visitor.sees_status("waiting")
    answer_brief(visitor)
    visitor.sees_status("completed")
    asked = next(it["number"] for it in place.frames(name) if it["kind"] == "paused")
    visitor.slider.fill(str(asked))
    visitor.button("Fork here").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Id of the new run").fill(f"{name}-fork")
    dialog.get_by_role("button", name="Fork", exact=True).click()
    page.wait_for_url(re.compile(rf"id={name}-fork"))
    visitor.sees_status("waiting")
    panel = visitor.tab("Question")
    panel.get_by_role("radio", name="rework").check()
    panel.get_by_role("button", name="Answer", exact=True).click()
    visitor.sees_status("completed")
    assert place.info(f"{name}-fork")["forked_from"] == [name, asked]
    page.locator(".exec-head").get_by_role("link", name="compare", exact=True).click()
    page.wait_for_url(re.compile("view=compare"))
    main = page.get_by_role("main")
    expect(main).to_contain_text("oars: publish")
    expect(main).to_contain_text("oars: rework")
    assert f"{asked + 1}" in main.inner_text()


def test_what_has_failed_is_run_again(place: Place, visitor: Visitor, name: str, tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    place.begin("flaky", str(paper), name)
    page = visitor.page
    visitor.open("execution", id=name)
    visitor.sees_status("failed")
    expect(page.get_by_role("main")).to_contain_text("the printer is out of paper")
    paper.touch()
    visitor.button("Retry").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry", exact=True).click()
    visitor.sees_status("completed")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert sum(it["kind"] == "retried" for it in place.frames(name)) == 1


def test_a_running_run_is_cancelled_with_a_reason(place: Place, visitor: Visitor, name: str, tmp_path: Path) -> None:
    place.begin("until", str(tmp_path / "never"), name)
    visitor.open("execution", id=name)
    visitor.sees_status("running")
    visitor.button("Cancel").click()
    dialog = visitor.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("not needed any more")
    dialog.get_by_role("button", name="Cancel run").click()
    visitor.sees_status("cancelled")
    expect(visitor.page.get_by_role("main")).to_contain_text("not needed any more")
    assert place.frames(name)[-1]["kind"].startswith("cancel")


def test_a_second_tab_sees_what_is_done_in_the_first_one(place: Place, visitor: Visitor, name: str) -> None:
    place.begin("approval", "a boat", name)
    other = another_tab(visitor)
    for it in (visitor, other):
        it.open("execution", id=name)
        it.sees_status("waiting")
    visitor.tab("Question").get_by_role("button", name="Yes").click()
    for it in (visitor, other):
        it.sees_status("completed")
        expect(it.page.get_by_role("main")).to_contain_text("a boat: paid")
    other.fits()
    assert sum(it["kind"] == "resumed" for it in place.frames(name)) == 1


def test_a_cancelled_run_says_so_in_the_place_of_its_question_and_is_forked_where_something_is_left(
    place: Place, visitor: Visitor, name: str
) -> None:
    place.begin("approval", "boots", name)
    place.until(name, lambda it: it["status"] == "waiting")
    page = visitor.page
    visitor.open("execution", id=name)
    visitor.button("Cancel").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("no money")
    dialog.get_by_role("button", name="Cancel run").click()
    expect(visitor.tab("Overview").get_by_role("region", name="Questions")).to_contain_text(
        "The run was cancelled: no money"
    )
    expect(page.get_by_role("row").filter(has_text="ask")).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Fork")).to_have_accessible_name(re.compile("has ended at this moment"))
    visitor.slider.fill("0")
    expect(page.get_by_role("button", name="Fork here")).to_have_accessible_name(re.compile("start a new run instead"))


def test_a_question_is_answered_where_all_of_them_wait(place: Place, visitor: Visitor, name: str) -> None:
    order = f"a boat of {name}"
    place.begin("outer", order, name)
    place.until(name, lambda it: it["status"] == "waiting")
    page = visitor.page
    visitor.open()
    visitor.go("Waiting for you")
    card = page.get_by_role("listitem").filter(has_text=name)
    expect(card).to_be_visible()
    fold = card.get_by_role("button", expanded=False)
    if fold.count():
        fold.first.click()
    expect(card).to_contain_text(f"Pay {order}?")
    card.get_by_role("button", name="No").click()
    expect(card).to_contain_text("Answered")
    assert place.call("GET", f"/api/executions/{name}/result?wait=30")["result"] == f"{order}: refused"


HIDING = """
window.inFront = INFRONT;
Object.defineProperty(document, "hidden", { get: () => !window.inFront });
Object.defineProperty(document, "visibilityState", { get: () => (window.inFront ? "visible" : "hidden") });
"""


def bring_to_front(tabs: list[Visitor], number: int) -> None:
    """Show one of several tabs. To a browser without a screen all of them are in front."""
    for at, tab in sorted(enumerate(tabs), key=lambda it: it[0] == number):
        tab.page.evaluate(
            "(it) => { window.inFront = it; document.dispatchEvent(new Event('visibilitychange')); }", at == number
        )


def test_eight_tabs_at_once_are_all_answered(place: Place, visitor: Visitor, name: str) -> None:
    """A browser opens six connections to a server: a stream in each tab would leave none for anything else."""
    place.begin("approval", "a boat", name)
    tabs = [visitor, *(another_tab(visitor) for _ in range(7))]
    for at, tab in enumerate(tabs):
        tab.page.add_init_script(HIDING.replace("INFRONT", "true"))
        tab.open("execution", id=name)
        bring_to_front(tabs[: at + 1], at)
        tab.sees_status("waiting")
    tabs[0].open("execution", id=name)
    bring_to_front(tabs, 0)
    tabs[0].tab("Question").get_by_role("button", name="Yes").click()
    for at, tab in enumerate(tabs):
        bring_to_front(tabs, at)
        tab.sees_status("completed")
        expect(tab.slider).to_have_value(str(len(place.frames(name))))
    for tab in tabs:
        assert not tab.wrong


def test_three_servers_on_one_store_show_the_same(
    browser: Browser, serve: Callable[..., Place], tmp_path: Path
) -> None:
    store = str(tmp_path / "runs.db")
    places = [serve(store, worker=number == 2) for number in range(3)]
    with (
        visiting(browser, places[0].url) as one,
        visiting(browser, places[1].url) as two,
        visiting(browser, places[2].url) as three,
    ):
        one.open()
        one.start("brief")
        one.page.get_by_label("topic").fill("kites")
        one.button("Start").click()
        id = one.id
        for it in (two, three):
            it.open("execution", id=id)
        for it in (one, two, three):
            it.sees_status("waiting")
            assert words(it) == ALL_WORDS
        answer_brief(two)
        for it in (one, two, three):
            it.sees_status("completed")
            assert it.last == len(places[0].frames(id))
        places[0].process.stop(signal.SIGKILL)
        expect(one.page.get_by_text("Not connected")).to_be_visible()
        three.page.reload()
        three.sees_status("completed")


def test_who_may_only_read_sees_everything_and_changes_nothing(browser: Browser, serve: Callable[..., Place]) -> None:
    place = serve(tokens={"reader": ["read"], "boss": ["act"]})
    headers: dict[str, Any] = {"Authorization": "Bearer boss"}
    place.call("POST", "/api/flows/approval/executions", {"value": "a boat", "id": "r"}, **headers)
    with visiting(browser, place.url, check=False) as visitor:
        page = visitor.page
        visitor.open("execution", id="r")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("does not know")
        visitor.open("execution", token="reader", id="r")
        visitor.sees_status("waiting")
        assert "reader" not in page.url
        expect(page.get_by_role("button", name=re.compile("^Cancel"))).to_have_attribute("aria-disabled", "true")
        expect(visitor.tab("Question").get_by_role("button", name="Yes")).to_have_attribute("aria-disabled", "true")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        visitor.open("execution", token="boss", id="r")
        visitor.sees_status("waiting")
        visitor.tab("Question").get_by_role("button", name="Yes").click()
        visitor.sees_status("completed")
        assert not [it for it in visitor.wrong if not it.startswith("401")]


def test_sign_out_signs_out_all_tabs_and_stays_so(browser: Browser, serve: Callable[..., Place]) -> None:
    place = serve(tokens={"boss": ["act"]})
    with visiting(browser, place.url, check=False) as visitor:
        visitor.open("runs", token="boss")
        expect(visitor.page.get_by_role("button", name="Sign out")).to_be_visible()
        other = another_tab(visitor).open("runs")
        expect(other.page.get_by_role("button", name="Sign out")).to_be_visible()
        other.page.get_by_role("button", name="Sign out").click()
        for tab in (other, visitor):
            expect(tab.page.get_by_role("heading", name="Sign in")).to_be_visible()
            assert tab.page.evaluate("sessionStorage.length") == 0
        for tab in (visitor, other):
            with tab.page.expect_response(lambda it: it.status == 401):
                tab.page.reload()
            expect(tab.page.get_by_role("heading", name="Sign in")).to_be_visible()
            tab.page.wait_for_timeout(300)  # another tab would have given its token by now
            expect(tab.page.get_by_role("heading", name="Sign in")).to_be_visible()
