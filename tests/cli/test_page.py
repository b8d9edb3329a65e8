"""`triggerflow open FILE` as a page: read-only, for this machine and who has its address, without the code."""

import json
import signal
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.cli.test_output import on_a_terminal
from tests.command_line import Terminal, end_of

FILE = ("--store", "runs.db")


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A folder with a store, whose code is not there any more."""
    made = Terminal(tmp_path)
    made("run", "report.py:flow", "sails", "--id", "one", *FILE, code=5)
    (tmp_path / "report.py").unlink()
    return made


def asked(url: str, token: str, body: object = None) -> object:
    """What a server answers: JSON, or the status of a refusal."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        with urlopen(Request(url, data, headers)) as answer:
            return json.loads(answer.read())
    except HTTPError as error:
        return error.code


@pytest.mark.timeout(120)
def test_a_file_is_shown_as_a_page_and_stays_as_it_is(terminal: Terminal) -> None:
    before = (terminal.folder / "runs.db").read_bytes()
    with terminal.running("open", "runs.db", "--page", until="opened to be read") as process:
        assert process.stdout is not None
        address, _, token = process.stdout.readline().strip().partition("/#token=")
        assert address.startswith("http://127.0.0.1:")
        assert len(token) >= 32
        with urlopen(address) as page:
            assert page.headers["content-type"].startswith("text/html")
        assert asked(f"{address}/api/flows", "wrong") == 401
        assert asked(f"{address}/api/access", token) == {"name": "open", "act": False, "flows": None}
        assert asked(f"{address}/api/executions/one/state", token)["state"] == {"topic": "sails"}  # type: ignore[index]
        assert asked(f"{address}/api/flows/report/drawing", token)["boxes"]  # type: ignore[index]
        assert asked(f"{address}/api/executions/one/interrupts/approve", token, {"value": True}) == 403
        ended = end_of(process, signal.SIGINT)
        assert (ended.code, ended.out) == (0, "")
        assert token not in ended.err
    assert (terminal.folder / "runs.db").read_bytes() == before


def test_in_a_pipe_it_is_printed(terminal: Terminal) -> None:
    assert "1 execution of 1 flow" in terminal("open", "runs.db").out
    assert "take one of the two" in terminal("open", "runs.db", "--page", "--json", code=2).err


@pytest.mark.timeout(120)
def test_on_a_terminal_it_can_be_printed_too(terminal: Terminal) -> None:
    assert "1 execution of 1 flow" in on_a_terminal(terminal.folder, "open", "runs.db", "--no-page")


def test_a_port_that_is_taken_is_named(terminal: Terminal) -> None:
    with terminal.running("open", "runs.db", "--page", until="opened to be read") as process:
        assert process.stdout is not None
        port = process.stdout.readline().partition("/#")[0].rpartition(":")[2]
        assert f"port {port} is not free" in terminal("open", "runs.db", "--page", "--port", port, code=4).err
