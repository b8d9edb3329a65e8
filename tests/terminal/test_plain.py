"""Plain lines: "one line for each thing that happens", which a person and grep can read."""

import io
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.terminal.scenes import answering, crashed, crawl, payment, report, running, trip
from triggerflow import TriggerFlow
from triggerflow.backend import Backend
from triggerflow.errors import UnknownExecution
from triggerflow.terminal import watch


async def plain(backend: Backend, id: str, width: int = 100) -> tuple[str, list[str]]:
    """What `watch` returns and writes."""
    out = io.StringIO()
    status = await watch(backend, id, plain=True, out=out, width=width)
    return status, out.getvalue().splitlines()


async def test_each_change_is_a_line() -> None:
    async with running(payment(), value="order 7", id="pay-7") as backend:
        status, lines = await plain(backend, "pay-7")
    assert status == "failed"
    assert lines == [
        "     0.00  started    payment pay-7 order 7",
        "     0.00  running    reserve",
        "     0.50  stream     reserved 3 seats in row 12",
        "     0.50  done       reserve        0.5s",
        "     0.50  running    charge",
        "     1.20  stream     the bank is busy, attempt 1 of 3",
        "     1.20  retry      charge         attempt 1, again in 1.0s: TimeoutError: the bank did not answe…",
        "     2.20  running    charge         attempt 2",
        "     2.90  stream     the bank is busy, attempt 2 of 3",
        "     2.90  retry      charge         attempt 2, again in 2.0s: TimeoutError: the bank did not answe…",
        "     4.90  running    charge         attempt 3",
        "     5.60  failed     charge         attempt 3: PermissionError: card declined: insufficient funds",
        "     5.60  ended      failed  charge: PermissionError: card declined: insufficient funds",
    ]


async def test_pieces_of_a_model_become_lines_and_a_question_is_told() -> None:
    async with running(report(), id="report-1") as backend, answering(backend, "report-1", True, after=30):
        status, lines = await plain(backend, "report-1", width=80)
    assert status == "completed"
    assert lines[3:] == [
        "     1.20  running    draft",
        "     3.36  stream     draft          Solar sails are thrust by light alone. A",
        "     3.36  stream     draft          sheet of foil, thinner than a hair, catches",
        "     3.36  stream     draft          the push of photons; it is faint, but",
        "     3.60  stream     draft          it never ends.",
        "     4.80  stream     draft          After a year the craft is faster than any",
        "     4.80  stream     draft          rocket that burns its fuel.",
        "     4.80  done       draft          3.6s",
        "     4.80  running    approve",
        '     4.80  asked      approve        publish?: {"title": "Solar sails", "words"…',
        "    34.80  answered   approve        publish?: true",
        "    34.80  running    publish",
        "    35.20  done       publish        0.4s",
        '    35.20  ended      completed  {"published": true, "url": "https://example.or…',
    ]


async def test_an_item_of_a_for_each_is_a_line_when_it_ends() -> None:
    async with running(crawl(20), id="crawl-1") as backend:
        _, lines = await plain(backend, "crawl-1", width=80)
    assert len(lines) == 27
    assert lines[2:4] == [
        "     0.80  done       list pages     0.8s",
        "     1.20  done       parse          1/20  #3  0.4s  https://example.org/page/3",
    ]
    assert "     1.70  failed     parse          5/20  #7  ValueError: page 7 has no title …" in lines
    assert "     2.40  retry      fetch          #17  attempt 1, again in 0.5s: ConnectionE…" in lines
    assert "     3.50  done       parse          20/20  #19  1.3s  https://example.org/page…" in lines
    assert not [line for line in lines if " running    fetch" in line]


async def test_a_sub_flow_is_one_step() -> None:
    async with running(*trip(), id="trip-1") as backend:
        _, lines = await plain(backend, "trip-1")
    assert lines[3:6] == [
        "     0.50  running    hotel",
        "     2.60  stream     hotel.2        3 rooms found",
        "     2.60  done       hotel          2.1s",
    ]


async def test_a_lost_process_is_told() -> None:
    async with crashed(report(), id="report-1", after=1) as backend, answering(backend, "report-1", True, after=1):
        _, lines = await plain(backend, "report-1")
    assert lines[1:5] == [
        "     0.00  running    search",
        "     7.00  lost       search         attempt 1: its process has ended",
        "     7.00  running    search         attempt 2",
        "     8.20  done       search         8.2s",
    ]


async def test_an_execution_that_does_not_exist_is_an_error() -> None:
    async with running(report(), id="report-1") as backend:
        with pytest.raises(UnknownExecution):
            await plain(backend, "report-2")


async def test_without_textual_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "triggerflow.terminal.app", raising=False)
    monkeypatch.setitem(sys.modules, "textual.app", None)
    async with running(report(), id="report-1") as backend:
        with pytest.raises(ImportError, match=r"pip install 'triggerflow-engine\[cli\]'"):
            await watch(backend, "report-1", plain=False)


def test_plain_lines_import_neither_textual_nor_rich() -> None:
    code = "import sys, triggerflow.terminal; print([it for it in ('textual', 'rich') if it in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class Tty(io.StringIO):
    """A screen as wide as COLUMNS says."""

    def isatty(self) -> bool:
        return True


async def test_lines_on_a_screen_are_as_wide_and_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Tty()
    async with running(payment(), id="pay-7") as backend:
        await watch(backend, "pay-7", plain=True, out=out)
    lines = out.getvalue().splitlines()
    assert "     0.50  \x1b[32mdone\x1b[0m       reserve        0.5s" in lines
    assert max(len(re.sub("\x1b\\[[0-9]*m", "", line)) for line in lines) == 60
    monkeypatch.setenv("NO_COLOR", "1")
    out = Tty()
    async with running(payment(), id="pay-7") as backend:
        await watch(backend, "pay-7", plain=True, out=out)
    assert "\x1b" not in out.getvalue()


async def test_hostile_text_becomes_harmless_lines_in_any_encoding() -> None:
    nasty = "\x1b[2J\x07\u202e日本\r" + "x" * 9000
    flow = TriggerFlow("nasty")

    @flow.chunk(nasty[:30])
    async def work(data: Any) -> Any:
        await data.async_put_into_stream(nasty)
        raise ValueError(nasty)

    flow.to(work).end()
    for encoding in ("utf-8", "ascii"):
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
        async with running(flow, value=nasty, id="one") as backend:
            assert await watch(backend, "one", plain=True, out=out, width=80) == "failed"
        text = raw.getvalue().decode(encoding)
        assert all(char.isprintable() or char == "\n" for char in text)
        assert len(text.splitlines()) > 100
