"""How quickly the page shows a large run, and a long list, in Debian's chromium.

    python -m bench.page                 # 50,000 frames, a for_each of 10,000 items, 20,000 executions; some minutes
    python -m bench.page --scale 0.1     # a tenth of them

It fails where one of the figures is over its budget; so run it on an idle machine. A move is the time from a change of
the slider to the end of the picture that shows it.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

from tests.page import filling
from tests.page.conftest import PageProcess
from tests.page.filling import fill
from tests.page.visitor import CHROMIUM, FLAGS, Place, Visitor, visiting
from tests.server.processes import free_port

#: Seconds until a large run is shown, and milliseconds that a move, or anything else that a person does, may take.
SHOWN, MOVE = 2.0, 50.0

#: Keeps the longest times in which the page could not answer.
TASKS = """
window.tasks = [];
new PerformanceObserver((list) => { for (const it of list.getEntries()) window.tasks.push(it.duration); })
  .observe({ type: "longtask", buffered: true });
"""
MOVES = """async (count) => {
  const slider = document.querySelector("input[type=range]");
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
  const last = Number(slider.max), times = [];
  const painted = () => new Promise((done) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = done;
    port2.postMessage(0);
  }));
  for (let at = 0; at < count; at++) {
    await painted();
    const begin = performance.now();
    set.call(slider, String(at % 2 ? Math.floor(last * ((at * 0.381966) % 1)) : Math.floor(last / 2) + at));
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await painted();
    times.push(performance.now() - begin);
  }
  return times;
}"""
SCROLL = """async (pixels) => {
  const times = [];
  let before = performance.now();
  for (let at = 0; at < 200; at++) {
    scrollBy(0, pixels);
    await new Promise((done) => requestAnimationFrame(done));
    const now = performance.now();
    times.push(now - before);
    before = now;
  }
  return times;
}"""


class Figures:
    """What was measured."""

    def __init__(self) -> None:
        self.missed = 0

    def add(self, what: str, value: float, unit: str, budget: float | None = None) -> None:
        ok = budget is None or value <= budget
        self.missed += not ok
        limit = "" if budget is None else f"budget {budget:g}  {'ok' if ok else 'MISS'}"
        print(f"{what:<64}{value:10.1f} {unit:<3} {limit}", flush=True)


def longest(page: Page) -> float:
    """The longest time in which the page could not answer, since it was asked last."""
    return page.evaluate("window.tasks.splice(0).reduce((most, it) => Math.max(most, it), 0)")


def opened(visitor: Visitor, id: str, frames: int) -> float:
    """Open a run; seconds until its graph is drawn and its slider goes to the end."""
    visitor.page.goto("about:blank")
    begin = time.perf_counter()
    visitor.open("execution", id=id)
    visitor.page.locator(f"input[type=range][max='{frames}']").wait_for()
    visitor.page.locator(".exec-graph svg g").first.wait_for()
    return time.perf_counter() - begin


def measure_run(figures: Figures, visitor: Visitor, place: Place, id: str) -> None:
    frames = place.info(id)["frames"]
    opened(visitor, id, frames)  # the server reads it for the first time
    figures.add(f"{id}, {frames:,} frames: until it is shown", opened(visitor, id, frames), "s", SHOWN)
    figures.add("    the longest time without an answer meanwhile", longest(visitor.page), "ms")
    for tab in ("Overview", "Stream", "State"):
        visitor.tab(tab)
        times = sorted(visitor.page.evaluate(MOVES, 40))
        figures.add(f"    a move, beside {tab}: median", statistics.median(times), "ms", MOVE)
        figures.add(f"    a move, beside {tab}: slowest", times[-1], "ms")


def main(arguments: list[str]) -> int:
    """Measure, and tell whether all is within its budget."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="a part of all that")
    scale = parser.parse_args(arguments).scale
    items, words, crowd = int(10_000 * scale), int(25_000 * scale), int(20_000 * scale)
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "runs.db", Path(folder) / "crowd.db"
        fill(one, filling.large(items, words), ago=1000)
        fill(other, filling.crowd(crowd), ago=1000)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            options: dict[str, Any] = {"check": False}
            with PageProcess(str(one), free_port()) as process, visiting(browser, Place(process).url, **options) as it:
                it.page.add_init_script(TASKS)
                measure_run(figures, it, Place(process), f"talker-{words}")
                measure_run(figures, it, Place(process), f"many-{items}")
                longest(it.page)
                it.page.get_by_role("treegrid").get_by_role("row").filter(has_text="work").click()
                it.page.get_by_role("treegrid").press("End")
                figures.add(f"    {items:,} rows unfolded, and the last one: longest task", longest(it.page), "ms", 200)
            with (
                PageProcess(str(other), free_port(), worker=False) as process,
                visiting(browser, Place(process).url, **options) as it,
            ):
                it.page.add_init_script(TASKS)
                begin = time.perf_counter()
                it.open()
                expect(it.page.get_by_role("grid")).to_contain_text(f"crowd-{crowd - 1:05}")
                figures.add(f"{crowd:,} executions: until the list is shown", time.perf_counter() - begin, "s", SHOWN)
                longest(it.page)
                times = sorted(it.page.evaluate(SCROLL, 400))
                figures.add(
                    "    scrolled by half a screen: 95 of 100 pictures within", times[-len(times) // 20], "ms", MOVE
                )
                figures.add("    scrolled by half a screen: longest task", longest(it.page), "ms")
            browser.close()
    return 1 if figures.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
