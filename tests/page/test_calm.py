"""Nothing moves while a run goes on, ends, fails or is cancelled, nor while its server dies and comes back.

Nobody touches the page here: a browser takes what moves within half a second of a touch for wanted.
"""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.page.visitor import CHROMIUM, DESKTOP, FLAGS, PHONE, Place, Visitor, visiting

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.real_time, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium with scroll bars, as people have it: one that appears takes room."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, ignore_default_args=["--hide-scrollbars"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(params=["desktop", "phone"])
def size(request: pytest.FixtureRequest) -> dict[str, Any]:
    return DESKTOP if request.param == "desktop" else PHONE


@contextmanager
def watching(browser: Browser, place: Place, size: dict[str, Any], id: str) -> Iterator[Visitor]:
    """Somebody who looks at an execution, and in the end at how it has ended, for a second."""
    with visiting(browser, place.url, viewport=size) as visitor:
        visitor.open("execution", id=id)
        yield visitor
        visitor.page.wait_for_timeout(1000)
        assert visitor.is_wide() == ""


def answered(place: Place, execution: str, question: str, value: Any) -> None:
    place.call("POST", f"/api/executions/{execution}/interrupts/{question}", {"value": value})


def test_a_run_from_its_start_over_a_question_to_its_end(browser: Browser, place: Place, size: dict[str, Any]) -> None:
    """With a stream, a for_each with a retry, two branches and a question."""
    id = place.begin("brief", {"topic": "calm", "sources": 8}, f"calm-{size['width']}")
    with watching(browser, place, size, id) as visitor:
        visitor.sees_status("waiting")
        expect(visitor.page.get_by_text("Publish this brief?").first).to_be_visible()
        visitor.page.wait_for_timeout(1000)
        answered(place, id, "approve", {"verdict": "publish"})
        visitor.sees_status("completed")


def test_a_run_with_a_sub_flow_that_asks(browser: Browser, place: Place, size: dict[str, Any]) -> None:
    id = place.begin("outer", "sails", f"calm-outer-{size['width']}")
    with watching(browser, place, size, id) as visitor:
        expect(visitor.page.get_by_text("Pay sails?").first).to_be_visible()
        question = place.call("GET", f"/api/questions?execution={id}")["questions"][0]["id"]
        answered(place, id, question.replace("/", "%2F"), True)
        visitor.sees_status("completed")


def test_a_run_that_fails(browser: Browser, place: Place, size: dict[str, Any]) -> None:
    id = place.begin("flaky", "/nonexistent", f"calm-flaky-{size['width']}")
    with watching(browser, place, size, id) as visitor:
        visitor.sees_status("failed")


def test_a_run_that_is_opened_late_and_cancelled(browser: Browser, place: Place, size: dict[str, Any]) -> None:
    id = place.begin("until", "/nonexistent", f"calm-until-{size['width']}")
    place.until(id, lambda it: it["frames"] >= 3)
    with watching(browser, place, size, id) as visitor:
        visitor.sees_status("running")
        place.call("POST", f"/api/executions/{id}/cancel", {"reason": "enough"})
        visitor.sees_status("cancelled")


@pytest.mark.parametrize("view", ["runs", "waiting", "flows", "flow"])
def test_lists_while_runs_start_and_end(browser: Browser, place: Place, size: dict[str, Any], view: str) -> None:
    with visiting(browser, place.url, viewport=size) as visitor:
        visitor.open(view, **({"flow": "approval"} if view == "flow" else {}))
        visitor.page.wait_for_timeout(1000)
        ids = [f"calm-{view}-{number}-{size['width']}" for number in range(3)]
        for id in ids:
            place.begin("approval", id, id)
            visitor.page.wait_for_timeout(500)
        for id in ids:
            place.until(id, lambda it: it["questions"] == 1)
            answered(place, id, "pay", True)
            visitor.page.wait_for_timeout(500)
        for id in ids:
            place.until(id, lambda it: it["status"] == "completed")
        visitor.page.wait_for_timeout(1500)


def test_a_run_whose_server_is_killed_and_comes_back(
    browser: Browser, serve: Callable[..., Place], size: dict[str, Any], tmp_path: Path
) -> None:
    place = serve()
    file = tmp_path / "there"
    id = place.begin("until", str(file), "calm")
    with watching(browser, place, size, id) as visitor:
        visitor.sees_status("running")
        expect(visitor.page.locator(".exec-where")).to_contain_text(re.compile("[1-9] of"))
        place.process.stop(signal.SIGKILL)
        notice = visitor.page.get_by_text("Not connected")
        expect(notice).to_be_visible()
        place.process.start()
        place.process.wait()
        expect(notice).to_have_count(0)
        file.touch()
        visitor.sees_status("completed")
