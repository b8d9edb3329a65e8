"""The program that the project started from."""

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest
from agently import TriggerFlow, TriggerFlowRuntimeData

TOPIC = "Agently TriggerFlow"
REPORT = {"topic": TOPIC, "facts": f"facts({TOPIC})", "risks": f"risks({TOPIC})"}
STREAM = [
    {"stage": "normalized", "topic": TOPIC},
    {"stage": "risks_ready", "topic": TOPIC},
    {"stage": "facts_ready", "topic": TOPIC},
    {"stage": "compiled", "report": REPORT},
]


def playbook() -> TriggerFlow[Any, Any, Any]:
    flow: TriggerFlow[Any, Any, Any] = TriggerFlow()

    @flow.chunk("normalize")
    async def normalize(data: TriggerFlowRuntimeData) -> str:
        topic = str(data.value).strip()
        data.state.set("topic", topic)
        await data.async_put_into_stream({"stage": "normalized", "topic": topic})
        return topic

    @flow.chunk("fetch_facts")
    async def fetch_facts(data: TriggerFlowRuntimeData) -> str:
        await asyncio.sleep(0.05)
        await data.async_put_into_stream({"stage": "facts_ready", "topic": data.value})
        return f"facts({data.value})"

    @flow.chunk("fetch_risks")
    async def fetch_risks(data: TriggerFlowRuntimeData) -> str:
        await asyncio.sleep(0.03)
        await data.async_put_into_stream({"stage": "risks_ready", "topic": data.value})
        return f"risks({data.value})"

    @flow.chunk("compile_report")
    async def compile_report(data: TriggerFlowRuntimeData) -> dict[str, Any]:
        report = {"topic": data.state.get("topic"), "facts": data.value.get("fetch_facts"),
                  "risks": data.value.get("fetch_risks")}  # fmt: skip
        await data.async_put_into_stream({"stage": "compiled", "report": report})
        await data.async_stop_stream()
        return report

    flow.to(normalize)
    flow.when({"runtime_data": "topic"}).batch(fetch_facts, fetch_risks, concurrency=2).to(compile_report).end()
    return flow


@pytest.mark.parametrize("concurrency", [None, 1, 2])
async def test_the_four_events_come_in_order_and_the_result_beside_them(concurrency: int | None) -> None:
    execution = playbook().create_execution(concurrency=concurrency)
    seen: list[Any] = []

    async def watch() -> None:
        async for item in execution.get_async_runtime_stream(TOPIC, timeout=5):
            seen.append(item)  # noqa: PERF401 - as the program has it

    task = asyncio.create_task(watch())
    result = await execution.async_start(TOPIC)
    await task
    expected = STREAM if concurrency != 1 else [STREAM[0], STREAM[2], STREAM[1], STREAM[3]]
    assert (result, seen) == (REPORT, expected)


@pytest.mark.skipif("TRIGGERFLOW_PLAYBOOK" not in os.environ, reason="TRIGGERFLOW_PLAYBOOK names no program")
def test_the_original_program_runs_as_it_is() -> None:
    program = os.environ["TRIGGERFLOW_PLAYBOOK"]
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [*[f"STREAM: {item}" for item in STREAM], f"RESULT: {REPORT}"]
