"""The graph of a run: its states, the keyboard, sub-flows in place, and that nothing moves it but people."""

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.page.visitor import Place, Visitor

pytestmark = pytest.mark.needs("chromium")


def camera(visitor: Visitor) -> str:
    """Where the picture is."""
    return str(visitor.page.locator(".graph-world").evaluate("(it) => it.style.transform"))


def step(visitor: Visitor, name: str) -> Locator:
    """The box of a step."""
    return visitor.page.get_by_role("group", name=re.compile("^Graph of")).get_by_role("button", name=re.compile(name))


def test_each_step_is_a_button_with_its_name_and_state(place: Place, visitor: Visitor) -> None:
    place.begin("brief", {"topic": "boxes"}, "boxes")
    place.until("boxes", lambda it: it["questions"] == 1)
    visitor.open("execution", id="boxes")
    expect(step(visitor, "^plan, done")).to_be_visible()
    expect(step(visitor, "^search, done, 4 of 4")).to_be_visible()
    expect(step(visitor, "for each item.*, done, 4 of 4")).to_be_visible()
    expect(step(visitor, "^ask, asks")).to_be_visible()
    expect(step(visitor, "^publish, not reached")).to_have_count(1)
    step(visitor, "^search").click()
    visitor.page.wait_for_url(re.compile("run="))
    expect(step(visitor, "^search")).to_have_attribute("aria-pressed", "true")


def test_the_keyboard_goes_from_step_to_step_in_reading_order_and_chooses(place: Place, visitor: Visitor) -> None:
    place.begin("brief", {"topic": "steps"}, "steps")
    place.until("steps", lambda it: it["questions"] == 1)
    page = visitor.open("execution", id="steps").page
    step(visitor, "^plan").focus()
    for name in ("for each item", "search"):
        page.keyboard.press("Tab")
        expect(step(visitor, name)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(step(visitor, "^search")).to_be_focused()
    page.keyboard.press("Enter")
    expect(step(visitor, "^search")).to_have_attribute("aria-pressed", "true")
    step(visitor, "^publish").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(step(visitor, "^publish")).to_be_in_viewport()


def test_the_camera_stays_while_a_run_goes_on_and_a_drag_is_no_click(place: Place, visitor: Visitor) -> None:
    place.begin("brief", {"topic": "still"}, "still")
    page = visitor.open("execution", id="still").page
    expect(step(visitor, "^plan")).to_be_visible()
    before = camera(visitor)
    expect(step(visitor, "^ask, asks")).to_have_count(1)
    assert camera(visitor) == before
    box = step(visitor, "^plan").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=5)
    page.mouse.up()
    assert camera(visitor) != before
    assert "run=" not in page.url
    page.get_by_role("button", name="Fit").click()
    page.mouse.move(x, y)
    moved = camera(visitor)
    page.wait_for_timeout(400)
    page.mouse.wheel(0, -200)
    expect(page.locator(".graph-world")).not_to_have_css("transform", moved)


def test_a_sub_flow_opens_in_place_and_shows_how_it_stands(place: Place, visitor: Visitor) -> None:
    place.begin("outer", "a boat", "inside")
    place.until("inside", lambda it: it["status"] == "waiting")
    page = visitor.open("execution", id="inside").page
    head = page.locator(".graph-flow .graph-shape")
    before = head.bounding_box()
    control = page.get_by_role("button", name=re.compile("^Inside of"))
    control.click()
    expect(control).to_have_attribute("aria-expanded", "true")
    expect(page.locator("[data-key*='/'].is-asking")).to_have_count(1)
    after = head.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 1, "the head of it stays where it is"
    assert abs(before["x"] + before["width"] / 2 - after["x"] - after["width"] / 2) < 1
    control.focus()
    page.keyboard.press("Enter")
    expect(control).to_have_attribute("aria-expanded", "false")


def test_a_flow_is_started_with_an_id_and_labels(place: Place, visitor: Visitor) -> None:
    page = visitor.open("flow", flow="approval").page
    page.get_by_role("button", name=re.compile("Id, labels, delay")).click()
    page.get_by_label("Id", exact=True).fill("by-form")
    page.get_by_label("Labels").fill("no label")
    page.locator(".flow-start form").get_by_role("textbox").fill("a tent")
    visitor.button("Start").click()
    expect(page.get_by_text("Write one on each line")).to_be_visible()
    page.get_by_label("Labels").fill("team: tents")
    visitor.button("Start").click()
    assert visitor.id == "by-form"
    assert place.info("by-form")["labels"]["team"] == "tents"
