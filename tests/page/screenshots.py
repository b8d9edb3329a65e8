"""Pictures of every view of the page, on a desktop and a phone, light and dark.

python -m tests.page.screenshots FOLDER                 # all of them
python -m tests.page.screenshots FOLDER waiting state   # those whose names have one of these words
"""

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.page import filling
from tests.page.conftest import PageProcess
from tests.page.filling import DAY, fill
from tests.page.visitor import CHROMIUM, DESKTOP, FLAGS, PHONE, Place, Visitor, visiting
from tests.server.processes import free_port

#: By name: the address, and what is done there before the picture is taken.
Views = dict[str, tuple[dict[str, Any], Callable[[Visitor], object]]]


def nothing(visitor: Visitor) -> None:
    """Only look."""


def tab(name: str) -> Callable[[Visitor], object]:
    def open_tab(visitor: Visitor) -> None:
        if visitor.page.get_by_role("tab").count():
            visitor.tab(name)

    return open_tab


def back(visitor: Visitor) -> None:
    visitor.slider.focus()
    for _ in range(8):
        visitor.page.keyboard.press("ArrowLeft")


def press(name: str) -> Callable[[Visitor], object]:
    return lambda visitor: visitor.button(name).first.click()


def row(name: str) -> Callable[[Visitor], object]:
    return lambda visitor: visitor.page.get_by_role("row").filter(has_text=name).first.click()


FULL: Views = {
    "runs": ({}, nothing),
    "runs-failed": ({"view": "runs", "status": "failed"}, nothing),
    "execution-start": ({"view": "execution", "id": "sails-1", "moment": 0}, nothing),
    "runs-none": ({"view": "runs", "text": "no such words"}, nothing),
    "waiting": ({"view": "waiting"}, nothing),
    "flows": ({"view": "flows"}, nothing),
    "flow": ({"view": "flow", "flow": "brief"}, nothing),
    "execution-running": ({"view": "execution", "id": "looking-1"}, nothing),
    "execution-waiting": ({"view": "execution", "id": "sails-1"}, nothing),
    "execution-waiting-yes-no": ({"view": "execution", "id": "harbour-1"}, nothing),
    "execution-past": ({"view": "execution", "id": "sails-1"}, back),
    "execution-step": ({"view": "execution", "id": "sails-1"}, row("facts")),
    "execution-stream": ({"view": "execution", "id": "sails-1"}, tab("Stream")),
    "execution-state": ({"view": "execution", "id": "sails-1", "moment": 105}, tab("State")),
    "execution-failed": ({"view": "execution", "id": "printer-7"}, nothing),
    "execution-done": ({"view": "execution", "id": "brief-0"}, nothing),
    "execution-cancelled": ({"view": "execution", "id": "whale-1"}, nothing),
    "execution-sub-flow": ({"view": "execution", "id": "flag-1"}, nothing),
    "execution-day-between": ({"view": "execution", "id": "letter-1"}, nothing),
    "execution-large": ({"view": "execution", "id": "many-2000"}, nothing),
    "execution-large-stream": ({"view": "execution", "id": "talker-3000"}, tab("Stream")),
    "execution-hostile": ({"view": "execution", "id": "hostile-1"}, nothing),
    "execution-unknown": ({"view": "execution", "id": "nobody"}, nothing),
    "dialog-fork": ({"view": "execution", "id": "sails-1"}, press("Fork")),
    "compare-pick": ({"view": "compare", "one": "brief-0"}, nothing),
    "compare": ({"view": "compare", "one": "brief-0", "other": "brief-1"}, nothing),
}
EMPTY: Views = {
    "empty-runs": ({}, nothing),
    "empty-waiting": ({"view": "waiting"}, nothing),
    "empty-flow": ({"view": "flow", "flow": "approval"}, nothing),
}


def settle(visitor: Visitor) -> None:
    """Wait until nothing is asked for any more, and two pictures are drawn."""
    visitor.page.wait_for_timeout(900)


def main(folder: str, *words: str) -> None:
    """Take them."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        file = Path(scratch) / "runs.db"
        fill_it(file)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)

        def take(place: Place, views: Views, token: str = "") -> None:
            for size, viewport in [("desktop", DESKTOP), ("phone", PHONE)]:
                for scheme in ("light", "dark"):
                    options = {"viewport": viewport, "color_scheme": scheme, "has_touch": size == "phone"}
                    with visiting(browser, place.url, check=False, **options) as visitor:
                        for name, (query, act) in views.items():
                            if words and not any(word in f"{name}-{size}-{scheme}" for word in words):
                                continue
                            try:
                                visitor.open(**query, token=token)
                                settle(visitor)
                                act(visitor)
                                settle(visitor)
                            except Exception as error:
                                print(f"{name} {size} {scheme}: {str(error)[:300]}")
                            visitor.page.screenshot(path=out / f"{name}-{size}-{scheme}.png", full_page=size == "phone")
                            if wide := visitor.is_wide():
                                print(f"{name} {size}: reaches out of the page: {wide}")
                            if sum(it[0] for it in visitor.shifts) > 0.01:
                                print(f"{name} {size} {scheme}: moved by itself: {visitor.shifts}")
                            for wrong in visitor.wrong:
                                print(f"{name} {size}: {wrong}")
                            visitor.shifts.clear()
                            visitor.wrong.clear()

        with PageProcess(str(file), free_port()) as process:
            place = Place(process)
            take(place, FULL)
            if not words or "disconnected" in words:
                with visiting(browser, place.url, check=False) as visitor:
                    visitor.open("execution", id="sails-1")
                    settle(visitor)
                    process.stop(signal.SIGKILL)
                    visitor.page.get_by_text("Not connected").wait_for()
                    visitor.page.screenshot(path=out / "disconnected-desktop-light.png")
        with PageProcess(str(Path(scratch) / "empty.db"), free_port(), tokens={"t": ["act"]}) as process:
            take(Place(process), EMPTY, "t")
            take(Place(process), {"sign-in": ({"view": "waiting"}, lambda it: sign_out(it))}, "t")
        browser.close()


def sign_out(visitor: Visitor) -> None:
    """Forget the token."""
    visitor.page.get_by_role("button", name="Sign out").click()


def fill_it(file: Path) -> None:
    """A store with something of everything."""
    fill(file, filling.first_attempt, DAY, filling.second_attempt, ago=3 * DAY)
    fill(file, filling.old(0, "oars", "publish"), ago=2 * DAY)
    fill(file, filling.old(1, "rudders", "rework"), ago=0.4 * DAY)
    fill(file, filling.large(2000, 3000), ago=5000)
    fill(file, filling.all_sorts, filling.hostile, ago=900)
    fill(file, filling.at_work, ago=30)


if __name__ == "__main__":
    main(*sys.argv[1:])
