"""What `triggerflow.testing` gives to users: virtual time, the pytest plugin, models that answer from a script."""

import asyncio
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import stores_over
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.errors import UsageError
from triggerflow.models import Delta, ProviderError, RateLimitError, Request, TruncatedResponseError
from triggerflow.run.environment import machine_time
from triggerflow.testing import Reply, ScriptedModel, Stalled, VirtualTime, run_in_virtual_time

Data = TriggerFlowRuntimeData[Any]
PAGE = Path(__file__).parent.parent / "docs" / "guide" / "testing.md"
DAY = 86_400.0


def loop_time() -> float:
    return asyncio.get_running_loop().time()


# -- virtual time ------------------------------------------------------------------------------------------------------


def test_three_days_pass_for_timers_and_for_records() -> None:
    """The clock of the loop, of the records and of the store agree."""
    flow, seen = TriggerFlow("days"), list[Any]()

    async def begin(data: Data) -> None:
        await data.async_emit("later", delay=3 * DAY)

    async def note(data: Data) -> None:
        seen.append(loop_time())

    flow.to(begin)
    flow.when("later").to(note)

    async def main() -> float:
        execution = flow.create_execution()
        await execution.async_start()
        records: list[Any] = execution.records
        return records[-1].at - records[0].at

    before = machine_time()
    assert run_in_virtual_time(main()) == pytest.approx(3 * DAY, abs=1)
    assert seen == [pytest.approx(3 * DAY, abs=1)]
    assert machine_time() - before < DAY  # executions outside of it have the machine's clock


@pytest.mark.every_store
@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_stores_and_workers_follow(kind: str, tmp_path: Path) -> None:
    flow, seen = TriggerFlow("parked"), list[Any]()

    async def note(data: Data) -> None:
        seen.append(data.value)

    flow.to(note)

    async def main() -> None:
        async with stores_over(kind, tmp_path)() as store, Worker(store, flow, poll=DAY) as worker:
            await flow.create_execution(id="run", store=store).async_begin(1, delay=3600)
            await asyncio.sleep(3000)
            assert (worker.running, seen) == (0, [])
            await asyncio.sleep(700)
            assert seen == [1]

    run_in_virtual_time(main())


def test_runs_go_on_where_the_one_before_has_stopped() -> None:
    """An execution that was saved in one run is loaded in the next, and its time has gone on."""
    flow, virtual = TriggerFlow("saved"), VirtualTime()

    async def begin(data: Data) -> None:
        await data.async_emit("later", delay=100)

    async def late(data: Data) -> float:
        return loop_time()

    flow.to(begin)
    flow.when("later").to(("late", late)).end()

    async def first() -> Any:
        execution = flow.create_execution()
        await execution.async_begin()
        await asyncio.sleep(60)
        saved = execution.save()
        await execution.async_cancel()
        return saved

    async def second(saved: Any) -> Any:
        return await flow.load_execution(saved).async_get_result()

    saved = virtual.run(first())
    assert virtual.now == 60
    assert virtual.run(second(saved)) == pytest.approx(40, abs=0.5)
    assert virtual.now == pytest.approx(100, abs=0.5)


def test_what_can_never_come_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggerflow.testing.virtual_time.PATIENCE", 0.05)

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stalled, match=r"nothing can wake this event loop any more(.|\n)*main"):
        run_in_virtual_time(main())


def test_the_clock_does_not_jump_while_a_thread_is_at_work() -> None:
    flow, gate = TriggerFlow(), threading.Event()

    def works(data: Data) -> str:
        gate.wait(20)
        return "done"

    flow.to(works).end()

    async def main() -> Any:
        opened = asyncio.get_running_loop().call_later(0.05, gate.set)
        try:
            return await flow.async_start(timeout=1_000), loop_time()
        finally:
            opened.cancel()

    result, passed = run_in_virtual_time(main())
    assert result == "done"
    assert passed < 100


def test_an_error_comes_through() -> None:
    async def main() -> None:
        await asyncio.sleep(DAY)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_in_virtual_time(main())
    assert abs(machine_time() - time.time()) < DAY


# -- the plugin --------------------------------------------------------------------------------------------------------

CONFTEST = 'pytest_plugins = ["triggerflow.testing.plugin"]\n'
OWN_TESTS = """
import asyncio
import pytest

@pytest.fixture
def number():
    return 5

@pytest.mark.parametrize("days", [1, 2])
async def test_async(virtual_time, number, days):
    await asyncio.sleep(days * 86400)
    assert (virtual_time.now, number) == (days * 86400, 5)

class TestClass:
    async def test_method(self, virtual_time):
        await asyncio.sleep(3600)
        assert asyncio.get_running_loop().time() == 3600

def test_sync(virtual_time):
    virtual_time.run(asyncio.sleep(10))
    virtual_time.run(asyncio.sleep(20))
    assert virtual_time.now == 30

async def test_fails(virtual_time):
    await asyncio.sleep(86400)
    assert False, "as it should"
"""


def run_pytest(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "."],
        cwd=folder, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("-p", "no:asyncio"), ("--asyncio-mode=auto",), ("--asyncio-mode=strict",)],
    ids=["without pytest-asyncio", "auto", "strict"],
)
def test_the_fixture_runs_tests_in_virtual_time(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_own.py").write_text(OWN_TESTS)
    said = run_pytest(tmp_path, *arguments)
    assert "1 failed, 4 passed" in said, said
    assert "as it should" in said


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "conftest.py").write_text(next(block for block in blocks if "pytest_plugins" in block))
    (tmp_path / "test_page.py").write_text(next(block for block in blocks if "def test_" in block))
    said = run_pytest(tmp_path, "-p", "no:asyncio")
    assert "2 passed" in said, said


# -- scripted models ---------------------------------------------------------------------------------------------------


async def test_each_request_takes_the_next_reply() -> None:
    model = ScriptedModel("one", Reply.deltas("t", Delta(text="wo")), Reply.text("three"), lambda request: "four")
    texts = [await Request().input(n).get_response(model).async_get_text() for n in range(4)]
    assert texts == ["one", "two", "three", "four"]
    assert [request.parts["input"] for request in model.requests] == [0, 1, 2, 3]
    assert model.remaining == 0
    with pytest.raises(UsageError, match="request 5 came to a ScriptedModel whose script has 4 replies"):
        await Request().get_response(model).async_get_text()


async def test_fields_are_complete_one_after_another() -> None:
    value = {"title": "solar sails and thrust", "queries": ["a long query", "another one"], "n": 5}
    model = ScriptedModel(Reply.fields(value, pause=1), value)
    seen = list[Any]()
    response = Request().get_response(model)
    async for event in response.get_async_generator("instant"):
        if event.event_type == "done" and event.path:
            seen.append((event.path, loop_time()))
    assert await response.async_get_data() == value
    assert [path for path, _ in seen] == ["title", "queries[0]", "queries[1]", "queries", "n"]
    times = [at for _, at in seen]
    assert times == sorted(times)
    assert times[0] < times[2]
    assert await Request().get_response(model).async_get_data() == value


@pytest.mark.parametrize("error", [RateLimitError("slow", retry_after=7), ProviderError("down")])
async def test_an_error_is_tried_again_with_the_next_reply(error: Exception) -> None:
    model = ScriptedModel(error, "fine")
    assert await Request().get_response(model).async_get_text() == "fine"
    assert len(model.requests) == 2
    assert loop_time() > 0


async def test_an_answer_that_breaks_off() -> None:
    model = ScriptedModel(Reply.error(ConnectionError("gone"), "some ", "text"))
    with pytest.raises(TruncatedResponseError) as caught:
        await Request().get_response(model, max_retries=0).async_get_text()
    assert caught.value.text == "some text"


@pytest.mark.parametrize("reply", [5, None, ["text"]])
async def test_what_is_no_reply_is_refused(reply: Any) -> None:
    with pytest.raises(UsageError, match="a reply of a ScriptedModel is"):
        await Request().get_response(ScriptedModel(reply)).async_get_text()
