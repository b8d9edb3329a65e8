"""The files of the page: to whom they are given, and with which headers."""

import gzip
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.server.asgi import Client
from tests.server.flows import echo
from triggerflow.server import Grant, create_app
from triggerflow.server.inputs import Headers, Refused
from triggerflow.server.page import KINDS, Page, PageFile, load
from triggerflow.stores import Store

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src/triggerflow/server/static"
NEEDED = {"/", "/app.js", "/app.css", "/layout.js", "/icon.svg"}
PATHS = sorted(load())


def test_the_page_was_built() -> None:
    assert set(PATHS) >= NEEDED


@pytest.fixture
def client(store: Store) -> Client:
    """A client without a token of a server that wants one."""
    return Client(create_app([echo()], store, auth={"t": Grant(name="t")}.get))


@pytest.mark.parametrize("path", PATHS)
async def test_the_files_need_no_token_and_have_safe_headers(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert answer.status == 200
    assert answer.body
    assert answer.headers["content-type"] == KINDS[Path(path).suffix or ".html"].decode()
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'self'"
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    kept = {"/icon.svg": "max-age=86400", "/part-": "max-age=31536000, immutable"}.get(re.sub("(?<=part-).*", "", path))
    assert answer.headers["cache-control"] == (kept or "no-cache")
    assert int(answer.headers["content-length"]) == len(answer.body)


async def test_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    page = (await client.get("/")).body.decode()
    named = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {f"/{it}" for it in named} <= set(PATHS)
    assert "style=" not in page
    assert not re.search(r"<script(?![^>]*src=)|<style| on[a-z]+=", page)


async def test_what_a_browser_has_is_not_sent_again(client: Client) -> None:
    first = await client.get("/app.js")
    tag = first.headers["etag"]
    again = await client.get("/app.js", if_none_match=tag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    assert (await client.get("/app.js", if_none_match=f'"other", W/{tag}')).status == 304
    assert (await client.get("/app.js", if_none_match='"other"')).status == 200
    assert (await client.get("/app.css", if_none_match=tag)).status == 200


async def test_files_are_packed_for_those_who_take_it(client: Client) -> None:
    plain = await client.get("/app.js")
    packed = await client.get("/app.js", accept_encoding="br, gzip;q=0.8")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["etag"] != plain.headers["etag"]
    assert "accept-encoding" in plain.headers["vary"]
    assert "content-encoding" not in (await client.get("/app.js", accept_encoding="br, gzip;q=0")).headers


def test_a_list_may_be_split_over_several_headers() -> None:
    given = [(b"Accept-Encoding", b"br"), (b"accept-encoding", b"gzip"), (b"host", b"a"), (b"host", b"b")]
    headers = Headers({"headers": given})
    assert headers.get("accept-encoding") == "br, gzip"
    with pytest.raises(Refused):
        headers.get("host")


async def test_head_has_no_body_and_other_methods_are_refused(client: Client) -> None:
    head = await client.call("HEAD", "/app.js")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) == len((await client.get("/app.js")).body)
    refused = await client.post("/", {})
    assert (refused.status, refused.code, refused.headers["allow"]) == (405, "method_not_allowed", "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/index.html", "/static/app.js", "//", "//app.js", "/./app.js", "/../page.py", "/..%2fpage.py",
        "/%2e%2e/page.py",
        "/app.js/", "/app.js%00", "/APP.JS", "/__init__.py", "/static", "/static/", "/app%2ejs/../../page.py",
    ],
)  # fmt: skip
async def test_a_path_reaches_no_other_file(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_who_calls_the_server_by_a_strange_name_gets_no_page(client: Client) -> None:
    assert (await client.get("/", host="evil.example")).code == "wrong_host"
    assert (await client.get("/app.js", host="evil.example")).code == "wrong_host"


async def test_a_link_on_another_site_leads_to_the_page_and_to_nothing_else(client: Client) -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert (await client.get("/", **link)).status == 200
    assert (await client.get("/app.js", **link)).code == "not_allowed"
    assert (await client.get("/api/flows", **link, authorization="Bearer t")).code == "not_allowed"
    assert (await client.get("/", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")).code == "not_allowed"


async def test_below_a_prefix(store: Store) -> None:
    app = Starlette(routes=[Mount("/runs/all", create_app([echo()], store))])
    client = Client(app)
    assert (await client.get("/runs/all/")).headers["content-type"].startswith("text/html")
    assert (await client.get("/runs/all/app.js")).status == 200
    assert (await client.get("/runs/all/api/flows")).status == 200
    moved = await client.get("/runs/all")
    assert (moved.status, moved.headers["location"]) == (307, "http://localhost/runs/all/")
    assert (await client.get("/app.js")).status == 404


async def test_without_the_page(store: Store) -> None:
    client = Client(create_app([echo()], store, page=False))
    assert (await client.get("/")).code == "unknown_route"
    assert (await client.get("/api/flows")).status == 200


async def test_a_page_that_was_not_built_says_how(store: Store) -> None:
    app = create_app([echo()], store)
    app._files = Page({})  # noqa: SLF001
    answer = await Client(app).get("/")
    assert answer.status == 404
    assert "make page" in answer.json()["detail"]


def test_the_tag_of_a_file_is_that_of_its_bytes() -> None:
    one = PageFile(b"text/css", b"a", b"b", "x")
    assert one.etag(True) != one.etag(False)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("all", {"name": "all", "act": True, "flows": None}),
        ("some", {"name": "some", "act": False, "flows": ["a", "echo"]}),
    ],
)
async def test_the_page_can_ask_what_its_token_grants(store: Store, token: str, expected: object) -> None:
    grants = {
        "all": Grant(name="all", scopes=frozenset({"act"})),
        "some": Grant(name="some", flows=frozenset({"echo", "a"})),
    }
    client = Client(create_app([echo()], store, auth=grants.get))
    assert (await client.get("/api/access")).code == "no_token"
    assert (await client.get("/api/access", authorization=f"Bearer {token}")).json() == expected


async def test_without_tokens_everybody_may_act(store: Store) -> None:
    assert (await Client(create_app([echo()], store)).get("/api/access")).json() == {
        "name": "", "act": True, "flows": None,
    }  # fmt: skip


def test_the_wheel_and_the_source_distribution_have_the_page(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "src").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, clone / name)
    shutil.copytree(ROOT / "src/triggerflow", clone / "src/triggerflow", ignore=shutil.ignore_patterns("__pycache__"))
    (clone / "tests").mkdir()
    build = (
        "from hatchling.builders import sdist, wheel\n"
        "for one in (wheel.WheelBuilder, sdist.SdistBuilder): print(*one('.').build(directory='out'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=clone, check=True, capture_output=True, text=True, timeout=60
    )
    wheel, sdist = done.stdout.split()
    with zipfile.ZipFile(clone / wheel) as file:
        for built in STATIC.iterdir():
            assert file.read(f"triggerflow/server/static/{built.name}") == built.read_bytes()
    shutil.unpack_archive(clone / sdist, tmp_path / "source")
    [source] = (tmp_path / "source").iterdir()
    for built in STATIC.iterdir():
        assert (source / "src/triggerflow/server/static" / built.name).is_file()
