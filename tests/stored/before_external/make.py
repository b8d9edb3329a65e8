"""Makes the files of this folder. Run once, with the last version in which events could not be declared (b629b81):

PYTHONPATH=<its src> python tests/stored/before_external/make.py
"""

import asyncio
import json
import sqlite3
from pathlib import Path

from flows import approval, check, ended, talk  # type: ignore[import-not-found]

from triggerflow import TriggerFlow
from triggerflow.stores import SQLiteStore

HERE = Path(__file__).parent


def widened() -> TriggerFlow:
    """`approval` with one more step: an execution that goes on under it is moved to another definition."""
    flow = approval()
    flow.when("approved").to(("note", lambda data: None))
    return flow


async def main() -> None:
    file = HERE / "runs.db"
    file.unlink(missing_ok=True)
    async with SQLiteStore(file) as store:
        execution = approval().create_execution(store=store, id="approval, not started")
        await execution.async_put_into_stream("soon")
        await execution.async_suspend()
        for id in ("approval", "approval, moved"):
            execution = approval().create_execution(store=store, id=id)
            await execution.async_begin("the page")
            await settled(execution)
            await execution.async_suspend()
        for way in ("literal", "helper"):
            for id, value in ((way, 1), (f"{way}, big", 11)):
                flow = check(way)
                execution = flow.create_execution(store=store, id=f"check, {id}")
                await execution.async_begin(value)
                await settled(execution)
                if value == 1:
                    await execution.async_continue_with("go on?")
                    await settled(execution)
                await execution.async_suspend()
        execution = talk().create_execution(store=store, id="talk")
        await execution.async_begin("hello")
        await settled(execution)
        await execution.async_emit("left", 1)
        await settled(execution)
        await execution.async_suspend()
        await ended().create_execution(store=store, id="ended").async_start(1)
        execution = await widened().async_resume("approval, moved", store=store)
        await execution.async_suspend()
    async with SQLiteStore(file) as store:
        for flow in (approval(), check("helper"), talk(), ended()):
            for row in await flow.history(store).executions():
                print(row.flow, row.id, row.status)
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("VACUUM")
    connection.close()

    saved = {}
    for name, flow, value in (("approval", approval(), "the page"), ("check", check("helper"), 1), ("talk", talk(), 2)):
        execution = flow.create_execution(id=name)
        execution.begin(value)
        await settled(execution)
        if name == "check":
            await execution.async_continue_with("go on?")
            await settled(execution)
        saved[name] = execution.save()
        print(name, execution.get_status())
    (HERE / "saved.json").write_text(json.dumps(saved, indent=1) + "\n")
    configs = {"approval": approval(), "check": check("literal"), "talk": talk(), "ended": ended()}
    found = {name: flow.get_flow_config() for name, flow in configs.items()}
    (HERE / "configs.json").write_text(json.dumps(found, indent=1) + "\n")


async def settled(execution) -> None:  # type: ignore[no-untyped-def]
    for _ in range(20):
        await asyncio.sleep(0.01)


asyncio.run(main())
