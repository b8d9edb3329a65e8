"""What comes from the server is shown as text, nothing is loaded from elsewhere, and users need no Node."""

import gzip
import json
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Response, expect

from tests.page.flows import HOSTILE, IMAGE, LINK, SCRIPT, hostile
from tests.page.visitor import Place, Visitor
from tests.server.processes import ROOT

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(180)]

STATIC = files("triggerflow.server").joinpath("static")
#: What the first view takes, and all of the page: bytes as they are sent. All of it is to come to 60 kB, too: this
#: number only shrinks.
BUDGET, WHOLE = 60_000, 124_000


def hits(visitor: Visitor) -> str:
    """What a hostile value has brought about; "" if nothing."""
    return visitor.page.evaluate("""() => {
      const found = [];
      if (window.hit !== undefined) found.push("a script of a value has run");
      if (({}).polluted !== undefined) found.push("Object.prototype is polluted");
      const strange = document.querySelector("img, iframe, object, embed, body script, style, base");
      if (strange !== null) found.push(`a value became HTML: ${strange.outerHTML.slice(0, 100)}`);
      const own = new URL("./", document.baseURI).href;
      for (const it of document.querySelectorAll("[href], [src], [action], [formaction]"))
        for (const name of ["href", "src", "action", "formAction"])
          if (it.hasAttribute(name) && typeof it[name] === "string" && !it[name].startsWith(own))
            found.push(`${name}: ${it[name].slice(0, 100)}`);
      for (const it of document.querySelectorAll("*"))
        for (const name of it.getAttributeNames())
          if (name.startsWith("on")) found.push(`${name} of ${it.outerHTML.slice(0, 100)}`);
      return found.join("\\n");
    }""")


@pytest.mark.needs("chromium")
def test_hostile_names_items_questions_and_errors_are_shown_as_text(place: Place, visitor: Visitor) -> None:
    name = f"id {HOSTILE}/../?&#%"
    flow = hostile().name
    place.begin(flow, HOSTILE, name)
    place.until(name, lambda it: it["questions"] == 1)
    page = visitor.page
    for view, query in [("flows", {}), ("flow", {"flow": flow}), ("runs", {}), ("waiting", {})]:
        visitor.open(view, **query)
        expect(page.get_by_role("main")).to_contain_text(SCRIPT[:20])
        assert hits(visitor) == "", view
    visitor.open("execution", id=name)
    visitor.sees_status("waiting")
    for tab in ("State", "Stream", "Question"):
        panel = visitor.tab(tab)
        expect(panel).to_contain_text(IMAGE[:9])
        assert len(panel.inner_text()) < 50_000, f"{tab} shows all of a text of a megabyte"
        closed = panel.get_by_role("button", expanded=False)
        for _ in range(min(closed.count(), 5)):
            closed.first.click()
        assert hits(visitor) == "", tab
    panel.get_by_role("button", name="No").click()
    visitor.sees_status("failed")
    expect(page.get_by_role("main")).to_contain_text(SCRIPT)
    assert hits(visitor) == ""
    visitor.open("compare", one=name, other=name)
    expect(page.get_by_role("main")).to_contain_text(SCRIPT[:20])
    assert hits(visitor) == ""


@pytest.mark.needs("chromium")
@pytest.mark.parametrize(
    "query",
    [
        {"view": "execution", "id": LINK},
        {"view": "execution", "id": HOSTILE, "moment": "-1", "run": "x", "tab": HOSTILE},
        {"view": "flow", "flow": HOSTILE},
        {"view": HOSTILE, "text": HOSTILE, "status": HOSTILE, "label": f"{HOSTILE}:{HOSTILE}"},
        {"view": "compare", "one": HOSTILE, "other": LINK},
    ],
)
def test_an_address_that_somebody_else_has_made_does_nothing(visitor: Visitor, query: dict[str, str]) -> None:
    visitor.open(**query)
    expect(visitor.page.get_by_role("main")).not_to_be_empty()
    expect(visitor.page.get_by_text("Loading", exact=True)).to_have_count(0)
    assert hits(visitor) == ""
    visitor.wrong[:] = [it for it in visitor.wrong if not it.startswith(("404", "400"))]


@pytest.mark.needs("chromium")
def test_the_token_leaves_the_address_at_once_and_goes_nowhere_else(place: Place, visitor: Visitor) -> None:
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url + json.dumps(request.headers)))
    visitor.open("waiting", token="a-secret-token")
    expect(visitor.page.get_by_role("heading", name="Waiting for you")).to_be_visible()
    assert "secret" not in visitor.page.url
    assert visitor.page.evaluate("localStorage.length") == 0
    assert not [it for it in asked if "secret" in it.split("{")[0]]
    assert [it for it in asked if "Bearer a-secret-token" in it]
    visitor.page.go_back()
    assert "secret" not in visitor.page.url


def test_all_of_the_page_does_not_grow() -> None:
    sizes = {it.name: len(gzip.compress(it.read_bytes(), 9)) for it in STATIC.iterdir()}
    assert sum(sizes.values()) <= WHOLE, sizes
    assert set(sizes) >= {"index.html", "app.js", "app.css", "layout.js"}


@pytest.mark.needs("chromium")
def test_the_first_view_is_quickly_there(visitor: Visitor) -> None:
    """What a browser asks for to show the list of runs; all of it is packed."""
    sent: dict[str, int] = {}

    def note(response: Response) -> None:
        if "/api/" not in response.url:
            sent[response.url] = int(response.headers["content-length"])

    visitor.page.on("response", note)
    visitor.open()
    expect(visitor.page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    assert len(sent) >= 3
    assert sum(sent.values()) <= BUDGET, sent


def test_the_page_names_no_other_place() -> None:
    """No address of another host is in it, but for names that nobody asks for."""
    for it in STATIC.iterdir():
        text = it.read_text(encoding="utf-8")
        for piece in text.split("://")[1:]:
            assert piece.startswith(("www.w3.org/", "json-schema.org/", "localhost/", "example.com")), (
                f"{it.name}: ://{piece[:60]}"
            )


SERVE = """
import asyncio, json, sys, urllib.request
from pathlib import Path
import triggerflow
from triggerflow import TriggerFlow
from triggerflow.server import Server, create_app
from triggerflow.stores import SQLiteStore

flow = TriggerFlow("hello")

@flow.chunk("greet")
async def greet(data):
    return f"hello {data.value}"

flow.to(greet).end()

def look(url):
    found = {}
    for path in ("/", "/app.js", "/app.css", "/api/flows"):
        with urllib.request.urlopen(url + path) as answer:
            found[path] = [answer.status, len(answer.read()), answer.headers["content-security-policy"]]
    return found

async def main():
    app = create_app([flow], SQLiteStore(sys.argv[1]), worker=True)
    listening = asyncio.Queue()
    server = Server(app, port=0, on_start=listening.put_nowait)
    serving = asyncio.create_task(server.serve())
    found = await asyncio.to_thread(look, await listening.get())
    server.should_exit = True
    await serving
    print(json.dumps({"from": triggerflow.__file__, "found": found}))

asyncio.run(main())
"""


#: What the extra `[server]` brings, with the engine's own.
BROUGHT = ["msgspec", "starlette", "uvicorn", "anyio", "idna", "sniffio", "h11", "click", "typing_extensions"]
BUILD = """
import sys
from hatchling.builders.wheel import WheelBuilder
print(*WheelBuilder(".").build(directory=sys.argv[1]))
"""


def test_the_built_wheel_serves_the_page_in_an_empty_environment_without_node(tmp_path: Path) -> None:
    build = [sys.executable, "-c", BUILD, str(tmp_path)]
    made = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=True)
    place = tmp_path / "environment"
    with zipfile.ZipFile(made.stdout.split()[-1]) as wheel:
        names = wheel.namelist()
        wheel.extractall(place)
    assert "triggerflow/server/static/index.html" in names
    assert not [it for it in names if "node_modules" in it or it.endswith((".ts", ".tsx"))]
    for distribution in BROUGHT:
        copy(distribution, place)
    program = f"import sys\nsys.path.append({str(place)!r})\n{SERVE}"
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(tmp_path / "runs.db")],
        env={"PATH": "", "HOME": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert answer["from"].startswith(str(place))
    for path, (status, size, policy) in answer["found"].items():
        assert status == 200
        assert size > 50
        if not path.startswith("/api"):
            assert policy.split(";")[0] == "default-src 'self'"


def copy(distribution: str, place: Path) -> None:
    """Put the files of an installed distribution into another environment."""
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:  # not for this version of Python
        return
    for file in found.files or ():
        source = Path(str(file.locate()))
        if file.parts[0] == ".." or source.suffix == ".pyc":
            continue
        target = place / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
