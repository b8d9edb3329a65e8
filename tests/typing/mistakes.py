"""Mistakes that type checkers have to find: the lines marked as wrong, and no other. Nothing here is run."""

from dataclasses import dataclass

from triggerflow import TriggerFlow, TriggerFlowRuntimeData


@dataclass
class Brief:
    topic: str = ""
    rounds: int = 0


@dataclass
class Report:
    text: str


flow = TriggerFlow[str, Report](name="report")
again = flow.signal("again", Brief)
done = flow.signal("done")
count = flow.signal("count", int, external=True)
ended = flow.signal("ended", type(None))


@flow.chunk("plan")
async def plan(data: TriggerFlowRuntimeData[str, str, Report]) -> Brief:
    await data.async_emit(again, Brief("sails"))
    await data.async_emit(again, "sails")  # wrong
    await data.async_emit(again)  # wrong
    await data.async_emit(count, 5, settle=True)
    await data.async_emit(count, "five", settle=True)  # wrong
    await data.async_emit(done)
    await data.async_emit(done, object())
    await data.async_emit(ended)
    await data.async_emit("undeclared", 5)
    data.emit(count, 5)
    data.emit(count, None)  # wrong
    await data.async_emit(5)  # wrong
    await data.async_put_into_stream("text")
    await data.async_put_into_stream(5)  # wrong
    data.set_result(Report("text"))
    data.set_result("text")  # wrong
    state = data.state.typed(Brief)
    state.rounds += 1
    state.rounds = "one"  # wrong
    state.round = 1  # wrong
    print(state.topik)  # wrong
    print(state.topic.strip())
    print(data.value.strip())
    print(data.value + 1)  # wrong
    return Brief(data.value)


@flow.chunk("write", timeout=5.0)
def write(data: TriggerFlowRuntimeData[Brief]) -> Report:
    return Report(data.value.topic)


@flow.chunk("late", timeout="5")  # wrong
def late(data: TriggerFlowRuntimeData[Brief]) -> None: ...


flow.to(plan).to(write).end()
flow.to(plan, side_brunch=True)  # wrong
flow.when(again, mode="xor")  # wrong


async def run(brief: TriggerFlowRuntimeData[Brief], text: TriggerFlowRuntimeData[str]) -> None:
    report = await flow.async_start("sails")
    print(report.text)
    print(report.title)  # wrong
    await flow.async_start(5)  # wrong
    execution = flow.create_execution()
    result: Report = await execution.async_get_result()
    number: int = await execution.async_get_result()  # wrong
    await execution.async_emit(count, 5)
    await execution.async_emit(count, "five")  # wrong
    execution.set_result("text")  # wrong
    made: Report = write(brief)
    write(text)  # wrong
    title: int = write(brief)  # wrong
    plans: Brief = await plan(text)
    print(result, number, made, title, plans)
