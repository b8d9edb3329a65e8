"""The playbook: makes a report about a topic, and shows progress while the work goes on.

    normalize  --state "topic"-->  fetch_facts + fetch_risks (at once)  -->  compile_report  -->  result

Run it: `python examples/playbook.py solar sails`. In a real program the two fetches call a model or a search
service; here they only sleep, so that the example needs no key and no network.
"""

import asyncio
import sys
from time import perf_counter
from typing import Any

from triggerflow import TriggerFlow, TriggerFlowRuntimeData

FACTS = ("what it is", "who works on it", "what was proved")
RISKS = ("what could fail", "what nobody has tried")

flow = TriggerFlow(name="playbook")
flow.set_contract(initial_input=str)


@flow.chunk("normalize")
async def normalize(data: TriggerFlowRuntimeData[str]) -> str:
    """Clean up the topic. Writing it to the state starts the fetches."""
    topic = " ".join(data.value.split())
    await data.state.async_set("topic", topic)
    await data.async_put_into_stream({"stage": "normalized", "topic": topic})
    return topic


@flow.chunk("fetch_facts")
async def fetch_facts(data: TriggerFlowRuntimeData[str]) -> list[str]:
    """Fetch the facts. This is the slower of the two fetches."""
    await asyncio.sleep(0.05)
    facts = [f"{data.value}: {fact}" for fact in FACTS]
    await data.async_put_into_stream({"stage": "facts_ready", "facts": len(facts)})
    return facts


@flow.chunk("fetch_risks")
async def fetch_risks(data: TriggerFlowRuntimeData[str]) -> list[str]:
    """Fetch the risks. This runs at the same time as `fetch_facts`, and ends first."""
    await asyncio.sleep(0.03)
    risks = [f"{data.value}: {risk}" for risk in RISKS]
    await data.async_put_into_stream({"stage": "risks_ready", "risks": len(risks)})
    return risks


@flow.chunk("compile_report")
async def compile_report(data: TriggerFlowRuntimeData[dict[str, list[str]]]) -> dict[str, Any]:
    """Write the report. The batch gives one dict: the result of each chunk by its name."""
    report = {
        "topic": data.state.get("topic"),
        "facts": data.value["fetch_facts"],
        "risks": data.value["fetch_risks"],
    }
    await data.async_put_into_stream({"stage": "compiled", "lines": len(report["facts"]) + len(report["risks"])})
    return report


flow.to(normalize)
flow.when({"runtime_data": "topic"}).batch(fetch_facts, fetch_risks, concurrency=2).to(compile_report).end()


async def main(topic: str) -> None:
    """Run the flow once and print each stream item as it comes."""
    print(f"Topic: {topic}\n")
    begun = perf_counter()
    execution = flow.create_execution()
    async for event in execution.get_async_runtime_stream(topic, timeout=5):
        details = ", ".join(f"{key}: {value}" for key, value in event.items() if key != "stage")
        print(f"{(perf_counter() - begun) * 1000:7.1f} ms  {event['stage']:<12}  {details}", flush=True)
    report = await execution.async_get_result()
    print(f"{(perf_counter() - begun) * 1000:7.1f} ms  {execution.get_status()}\n")
    print(f"Report on {report['topic']}")
    for section in ("facts", "risks"):
        print(f"  {section}")
        for entry in report[section]:
            print(f"    - {entry}")


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]).strip() or "solar sails"))
