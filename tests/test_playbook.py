"""The program this project started from, in our words: what it prints, in which order, alone and a thousand at a
time."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import now, read
from triggerflow import TriggerFlow, TriggerFlowRuntimeData

Run = Callable[[Any], Any]


def briefing() -> TriggerFlow:
    """Clean a topic, fetch facts and risks about it side by side, compile a report; tell a stream about each stage."""
    flow = TriggerFlow(name="briefing")

    @flow.chunk("normalize")
    async def normalize(data: TriggerFlowRuntimeData[str]) -> str:
        topic = data.value.strip()
        data.state.set("topic", topic)
        await data.async_put_into_stream({"stage": "normalized", "topic": topic})
        return topic

    def fetching(what: str, seconds: float) -> Any:
        @flow.chunk(f"fetch_{what}")
        async def fetch(data: TriggerFlowRuntimeData[str]) -> str:
            await asyncio.sleep(seconds)
            await data.async_put_into_stream({"stage": f"{what}_ready", "topic": data.value})
            return f"{what}({data.value})"

        return fetch

    @flow.chunk("compile_report")
    async def compile_report(data: TriggerFlowRuntimeData[dict[str, str]]) -> dict[str, Any]:
        report = {
            "topic": data.state.get("topic"),
            "facts": data.value.get("fetch_facts"),
            "risks": data.value.get("fetch_risks"),
        }
        await data.async_put_into_stream({"stage": "compiled", "report": report})
        await data.async_stop_stream()
        return report

    flow.to(normalize)
    fan_out = flow.when({"runtime_data": "topic"}).batch(
        fetching("facts", 0.05), fetching("risks", 0.03), concurrency=2
    )
    fan_out.to(compile_report).end()
    return flow


async def program(concurrency: int) -> None:
    execution = briefing().create_execution(concurrency=concurrency)

    async def watch() -> None:
        async for item in execution.get_async_runtime_stream("  solar sails ", timeout=5):
            print("STREAM:", item["stage"])

    watching = asyncio.create_task(watch())
    result = await execution.async_start("  solar sails ")
    await watching
    print("RESULT:", result)


REPORT = {"topic": "solar sails", "facts": "facts(solar sails)", "risks": "risks(solar sails)"}


@pytest.mark.parametrize(
    ("concurrency", "fetches"), [(2, ["risks_ready", "facts_ready"]), (1, ["facts_ready", "risks_ready"])]
)
def test_the_program_prints_four_events_in_order_and_the_result(
    concurrency: int, fetches: list[str], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """S2: "The playbook's stream is therefore always `normalized`, then the two fetches in order of finishing, then
    `compiled`."; with one place the fetches come in definition order."""
    run(program(concurrency))
    stages = ["normalized", *fetches, "compiled"]
    assert capsys.readouterr().out.splitlines() == [*(f"STREAM: {stage}" for stage in stages), f"RESULT: {REPORT}"]


@pytest.mark.parametrize("loop", ["asyncio", "script"])
def test_the_program_in_real_time(loop: str) -> None:
    """The same on an ordinary loop, and with the sync twins."""
    execution = briefing().create_execution(concurrency=2)
    if loop == "asyncio":
        stream = asyncio.run(read(execution.get_async_runtime_stream(" solar sails")))
    else:
        stream = list(execution.get_runtime_stream(" solar sails"))
    assert [item["stage"] for item in stream] == ["normalized", "risks_ready", "facts_ready", "compiled"]
    assert stream[-1]["report"] == REPORT
    assert execution.get_result() == REPORT


async def test_the_stream_is_the_same_whoever_comes_first() -> None:
    """The reader, the start, both with the value, the reader without one, the reader afterwards."""
    stages = ["normalized", "risks_ready", "facts_ready", "compiled"]
    for order in ("reader", "start", "reader without value", "afterwards"):
        execution = briefing().create_execution(concurrency=2)
        starting, value = [execution.async_start("x")], "x"
        if order == "reader without value":
            reader = execution.get_async_runtime_stream()
        else:
            reader = execution.get_async_runtime_stream(value)
        if order == "afterwards":
            await starting.pop()
        reading: list[Any] = [read(reader)]
        items = (await asyncio.gather(*(reading + starting if "reader" in order else starting + reading)))[
            0 if "reader" in order or order == "afterwards" else 1
        ]
        assert [item["stage"] for item in items] == stages, order


async def test_a_thousand_at_once() -> None:
    """Each has its own state, stream and result; together they take no longer than one."""
    flow = briefing()

    async def one(number: int) -> None:
        execution = flow.create_execution(concurrency=2)
        reading = asyncio.create_task(read(execution.get_async_runtime_stream(f" topic {number}")))
        result = await execution.async_start(f" topic {number}")
        assert result == {
            "topic": f"topic {number}",
            "facts": f"facts(topic {number})",
            "risks": f"risks(topic {number})",
        }
        items = await reading
        assert [item["stage"] for item in items] == ["normalized", "risks_ready", "facts_ready", "compiled"]
        assert items[-1]["report"] == result

    await asyncio.gather(*(one(number) for number in range(1_000)))
    assert now() == 0.05
