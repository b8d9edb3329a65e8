"""The saga: reserve, charge, ship; a person decides if the card is declined; what was done is undone in reverse order.

    reserve --> charge --> ship --> result
                  | error
                  v
               escalate (a person answers, maybe in another process) --> on_account --> ship --> result

    any other error --> undo_list --> for each step that was done, the last one first: undo --> report --> result

Each command is a process of its own; what happens between them is in the store:

    python examples/saga/main.py start orders.db declined    # the card is declined: it asks, and the process ends
    python examples/saga/main.py answer orders.db yes        # ships on account
    python examples/saga/main.py answer orders.db no         # or: undoes what was done

`start orders.db declined broken` lets the carrier fail after the approval.
"""

import asyncio
import sys
from typing import Any, Literal, TypedDict

from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.stores import SQLiteStore

Data = TriggerFlowRuntimeData[Any]


class Order(TypedDict):
    """What to ship, and how the card and the carrier behave."""

    article: str
    card: Literal["good", "declined"]
    carrier: Literal["fine", "broken"]


flow = TriggerFlow(name="saga")
flow.set_contract(initial_input=Order)


class CardDeclined(Exception):
    """The bank says no."""


class NotApproved(Exception):
    """The person who was asked says no."""


async def done(data: Data, step: str, undo: str) -> None:
    """Note a step that was done, and what undoes it. The step itself would call a service, with `data.run_id`."""
    print(f"done: {step}", flush=True)
    await data.state.async_append("to undo", undo)


@flow.chunk("reserve")
async def reserve(data: Data) -> Any:
    """Reserve the article."""
    await data.state.async_set("order", data.value)
    await done(data, "reserve", "release the article")
    return data.value


@flow.chunk("charge")
async def charge(data: Data) -> Any:
    """Charge the card."""
    if data.value["card"] == "declined":
        raise CardDeclined(f"the card for {data.value['article']} was declined")
    await done(data, "charge", "refund the card")
    return data.value


@flow.chunk("escalate")
async def escalate(data: Data) -> Any:
    """Ask a person. The execution waits in the store, and the answer is the value of the next chunk."""
    data.pause_for(type="approval", payload=data.value["message"], interrupt_id="approval", schema=str)


@flow.chunk("on_account")
async def on_account(data: Data) -> Any:
    """Charge the account of the customer, if the person has agreed."""
    if data.value != "yes":
        raise NotApproved("nobody pays for the order")
    await done(data, "charge the account", "credit the account")
    return data.state.get("order")


@flow.chunk("ship")
async def ship(data: Data) -> Any:
    """Hand the article to the carrier."""
    if data.value["carrier"] == "broken":
        raise ConnectionError("the carrier takes no parcels")
    print("done: ship", flush=True)
    return f"shipped {data.value['article']}"


@flow.chunk("undo_list")
async def undo_list(data: Data) -> Any:
    """What has to be undone, the last step first."""
    await data.state.async_set("why", data.value["message"])
    return list(reversed(data.state.get("to undo", [])))


@flow.chunk("undo")
async def undo(data: Data) -> Any:
    """Undo one step."""
    print(f"undone: {data.value}", flush=True)
    return data.value


@flow.chunk("report")
async def report(data: Data) -> Any:
    """Say what was undone, and why."""
    return f"cancelled, because {data.state.get('why')}; undone: {', '.join(data.value)}"


flow.to(reserve).to(charge).to(ship).end()
flow.when({"error": charge}).to(escalate).to(on_account).to(ship).end()
flow.on_error(undo_list).for_each(concurrency=1).to(undo).end_for_each().to(report).end()


async def start(file: str, card: str = "good", carrier: str = "fine") -> None:
    """Start the order, and run it until it ends or asks."""
    async with SQLiteStore(file) as store:
        execution = flow.create_execution(store=store, id="order-1")
        order = {"article": "a kite", "card": card, "carrier": carrier}
        async for item in execution.get_async_runtime_stream(order):
            if item.get("type") == "interrupt":
                print(f"asked: {item['interrupt']['payload']}", flush=True)
                return
        print(await execution.async_get_result(), flush=True)


async def answer(file: str, text: str) -> None:
    """Answer what the order asks, in whatever process this is."""
    async with SQLiteStore(file) as store:
        execution = await flow.async_resume("order-1", store=store)
        await execution.async_continue_with("approval", text)
        print(await execution.async_get_result(), flush=True)


if __name__ == "__main__":
    asyncio.run({"start": start, "answer": answer}[sys.argv[1]](*sys.argv[2:]))
