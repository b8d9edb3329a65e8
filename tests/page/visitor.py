"""A tab of a browser, as a person has it, and everything in it that a person should never meet."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, Response, expect

from tests.server.processes import Process, request

#: Debian's; it asks nobody for anything by itself, and runs as root in a container.
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
]  # fmt: skip
#: Milliseconds that something may take to be seen; the machine may be busy.
PATIENCE = 30_000
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
AXE = Path(__file__).resolve().parents[2] / "page" / "node_modules" / "axe-core" / "axe.min.js"

expect.set_options(timeout=PATIENCE)

#: Tells of everything that moves although nobody has touched it, and of what the content security policy refuses.
WATCH = """
new PerformanceObserver((list) => {
  for (const it of list.getEntries()) {
    if (it.hadRecentInput) continue;
    const moved = it.sources.map(({ node, previousRect: a, currentRect: b }) => {
      const place = (r) => `${Math.round(r.x)},${Math.round(r.y)} ${Math.round(r.width)}x${Math.round(r.height)}`;
      return `${node?.className?.baseVal ?? node?.className ?? node?.nodeName ?? "?"}: ${place(a)} -> ${place(b)}`;
    });
    console.debug("SHIFT " + JSON.stringify([it.value, moved]));
  }
}).observe({ type: "layout-shift", buffered: true });
document.addEventListener("securitypolicyviolation", (it) =>
  console.error(`refused by the policy: ${it.violatedDirective} ${it.blockedURI} ${it.sourceFile}`));
"""


class Visitor:
    """One tab, and what went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        #: what a person should never meet
        self.wrong: list[str] = []
        #: how much has moved by itself, and what
        self.shifts: list[tuple[float, list[str]]] = []
        #: the paths that the page has asked for
        self.asked: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", self._asks)
        page.on("response", self._gets)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "debug" and message.text.startswith("SHIFT "):
            value, moved = json.loads(message.text.removeprefix("SHIFT "))
            self.shifts.append((value, moved))
        elif message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.wrong.append(f"{message.type}: {message.text}")

    def _asks(self, request: Request) -> None:
        found = urlsplit(request.url)
        self.asked.append(found.path)
        if found.scheme not in ("data", "blob") and f"{found.scheme}://{found.netloc}" != self.url:
            self.wrong.append(f"asks another host: {request.url}")

    def _gets(self, response: Response) -> None:
        if response.status >= 400 and response.status != 503:
            self.wrong.append(f"{response.status}: {response.request.method} {response.url}")

    # -- where to go --------------------------------------------------------------------------------------------------

    def open(self, view: str = "", token: str = "", **query: Any) -> "Visitor":
        """Go to an address, as from a bookmark."""
        given = {"view": view, **query} if view else query
        fragment = f"#token={quote(token)}" if token else ""
        self.page.goto(f"{self.url}/{'?' if given else ''}{urlencode(given)}{fragment}")
        return self

    def go(self, name: str) -> None:
        """Follow a link of the main navigation."""
        self.page.get_by_role("navigation", name="Main").get_by_role("link", name=name).click()

    def start(self, flow: str) -> None:
        """Open the page of a flow, as from the list of flows."""
        self.go("Flows")
        self.page.get_by_role("main").get_by_role("link", name=flow).first.click()

    @property
    def id(self) -> str:
        """The execution of the address."""
        self.page.wait_for_url(re.compile("view=execution"))
        match = re.search(r"[?&]id=([^&#]+)", self.page.url)
        assert match is not None, self.page.url
        return match[1]

    # -- what is seen -------------------------------------------------------------------------------------------------

    def tab(self, name: str) -> Locator:
        """Open a tab of the details; its panel."""
        self.page.get_by_role("tab", name=re.compile(f"^{name}")).click()
        return self.page.get_by_role("tabpanel")

    @property
    def slider(self) -> Locator:
        return self.page.get_by_role("slider", name="Moment")

    @property
    def moment(self) -> int:
        return int(self.slider.input_value())

    @property
    def last(self) -> int:
        return int(self.slider.get_attribute("max") or 0)

    def sees_status(self, word: str) -> None:
        """Wait until the header says it."""
        expect(self.page.locator(".exec-head .badge")).to_contain_text(word)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("main").get_by_role("button", name=name, exact=True)

    def findings(self) -> list[str]:
        """What axe has to say of the page as it is."""
        self.page.evaluate(AXE.read_text(encoding="utf-8") + ";undefined")
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
        return [
            f"{it['id']} ({it['impact']}): {it['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
            for it in found["violations"]
            for node in it["nodes"]
        ]

    def is_wide(self) -> str:
        """What reaches out of the page to the right; "" if nothing does."""
        return self.page.evaluate("""() => {
          const most = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= most) return "";
          const all = [...document.querySelectorAll("body *")];
          const wide = all.filter((it) => it.getBoundingClientRect().right > most + 1);
          return wide.slice(0, 5).map((it) => it.outerHTML.slice(0, 200)).join("\\n") || "the page";
        }""")

    def fits(self) -> None:
        """Fails where something went wrong, or has moved."""
        moved = sum(value for value, _ in self.shifts)
        assert not self.wrong, "\n".join(self.wrong)
        assert moved <= 0.01, f"moved by {moved:.4f}: {self.shifts}"


class Place:
    """A server that the tests visit."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.port = process.port or 0
        self.url = f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Ask the server; fails unless it does it."""
        status, answer = request(self.port, method, path, body, **headers)
        assert status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def begin(self, flow: str, value: Any, id: str) -> str:
        """Start an execution, as a program does."""
        self.call("POST", f"/api/flows/{quote(flow, safe='')}/executions", {"value": value, "id": id})
        return id

    def info(self, id: str) -> Any:
        return self.call("GET", f"/api/executions/{quote(id, safe='')}")

    def until(self, id: str, found: Callable[[Any], bool]) -> Any:
        """Wait until an execution is so."""
        expect_that(lambda: found(self.info(id)), lambda: str(self.info(id)))
        return self.info(id)

    def frames(self, id: str) -> list[Any]:
        """All of its frames."""
        return self.call("GET", f"/api/executions/{quote(id, safe='')}/frames?limit=1000")["frames"]


def expect_that(holds: Callable[[], bool], told: Callable[[], str] = str) -> None:
    """Wait until something holds that no browser shows."""
    import time

    deadline = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


@contextmanager
def visiting(browser: Browser, url: str, check: bool = True, **options: Any) -> Iterator[Visitor]:
    """A new person at a new browser; at the end nothing may have gone wrong."""
    context: BrowserContext = browser.new_context(**{"viewport": DESKTOP, "locale": "en-GB", **options})
    try:
        context.set_default_timeout(PATIENCE)
        context.add_init_script(WATCH)
        visitor = Visitor(context.new_page(), url)
        yield visitor
        if check:
            visitor.fits()
    finally:
        context.close()


def another_tab(visitor: Visitor) -> Visitor:
    """A second tab of the same browser."""
    return Visitor(visitor.page.context.new_page(), visitor.url)
