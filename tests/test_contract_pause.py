"""The contract's line on pauses (S17): a question ends its chunk, and its answer runs only what comes next."""

import asyncio
from typing import Any, Literal

import pytest

from tests.support import drain, now, read, turns
from triggerflow import Execution, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import (
    AlreadyAnswered,
    ContractError,
    ExecutionClosed,
    InterruptExpired,
    UnknownInterrupt,
    UsageError,
)
from triggerflow.extension import runtime_of

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


async def ask(data: Data) -> None:
    data.pause_for(type="approval", payload={"about": data.value}, interrupt_id=f"ask-{data.value}")


def asking(**question: Any) -> Any:
    """A chunk that asks one question, by the id "q" if it names no other."""

    async def asks(data: Data) -> None:
        data.pause_for(**{"interrupt_id": "q", **question})

    return "asks", asks


async def begun(flow: TriggerFlow, value: Any = None, **options: Any) -> Execution:
    """An execution of the flow, as far as it gets without time passing."""
    execution = await flow.create_execution(**options).async_open()
    execution.begin(value)
    await turns(30)
    return execution


# -- one question ------------------------------------------------------------------------------------------------------


async def test_s17_a_pause_ends_the_chunk_and_opens_an_interrupt() -> None:
    """S17: "`pause_for` ends the chunk and opens an interrupt (id, type, payload, answer schema, expiry)"."""
    flow, after = TriggerFlow(), list[str]()

    async def chunk(data: Data) -> None:
        data.pause_for(type="approval", payload={"a": 1}, interrupt_id="q")
        after.append("never")

    flow.to(chunk).end()
    execution = await begun(flow)
    assert execution.get_status() == "waiting"
    asked = execution.get_interrupt("q")
    assert (asked["id"], asked["type"], asked["payload"], asked["status"]) == ("q", "approval", {"a": 1}, "waiting")
    assert execution.get_pending_interrupts() == {"q": asked}
    answered = await execution.async_continue_with("q", "yes")
    assert (answered["status"], answered["response"]) == ("resumed", "yes")
    assert await execution.async_get_result() == "yes"
    assert execution.get_pending_interrupts() == {}
    assert execution.get_interrupts()["q"]["status"] == "resumed"
    assert after == []


@pytest.mark.parametrize("answer", [None, 0, False, "", [], {}])
async def test_s17_falsy_answers_are_answers(answer: Any) -> None:
    """S17 with S5: an answer that is false goes on like any other."""
    flow = TriggerFlow()
    flow.to(asking()).to(echo).end()
    execution = await begun(flow)
    await execution.async_continue_with("q", answer)
    assert await execution.async_get_result() == answer


async def test_s17_an_async_pause_is_the_same() -> None:
    """S17: `async_pause_for` is `pause_for` with another name."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> None:
        await data.async_pause_for(interrupt_id="q", payload=1)

    flow.to(chunk).end()
    execution = await begun(flow)
    await execution.async_continue_with("q", 2)
    assert await execution.async_get_result() == 2


@pytest.mark.parametrize("inline", [True, False])
async def test_s17_a_sync_chunk_pauses(inline: bool) -> None:
    """S17 with S13: a sync chunk ends at its question too, in its thread as on the loop."""
    flow = TriggerFlow()

    def chunk(data: Data) -> None:
        data.pause_for(interrupt_id="q")
        raise AssertionError("not reached")

    flow.to(flow.chunk("sync", inline=inline)(chunk)).end()
    execution = flow.create_execution()
    execution.begin()
    while execution.get_status() != "waiting":  # noqa: ASYNC110 - a thread is at work
        await asyncio.sleep(0.001)
    await execution.async_continue_with("q", "yes")
    assert await execution.async_get_result() == "yes"


async def test_s17_effects_before_the_question_stand() -> None:
    """S17: what the chunk did before it asked is done, once: "never again what already ran"."""
    flow, emitted = TriggerFlow(), list[Any]()

    async def chunk(data: Data) -> None:
        data.state.set("draft", 1)
        await data.async_put_into_stream("draft")
        await data.async_emit("drafted", 1)
        data.pause_for(interrupt_id="q")

    async def note(data: Data) -> None:
        emitted.append(data.value)

    flow.to(chunk).end()
    flow.when("drafted").to(note)
    execution = await begun(flow)
    await execution.async_continue_with("q", "yes")
    assert await execution.async_get_result() == "yes"
    assert emitted == [1]
    assert execution.state.get("draft") == 1
    assert [it for it in await read(execution.get_async_runtime_stream()) if it == "draft"] == ["draft"]


# -- several questions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_s17_several_interrupts_are_open_at_once(order: tuple[int, ...]) -> None:
    """S17: several questions may be open; each answer goes on in the branch that asked, in any order."""
    flow = TriggerFlow()
    flow.to(echo).for_each().to(ask).to(("decorate", lambda data: f"<{data.value}>")).end_for_each().end()
    execution = await begun(flow, ["a", "b", "c"])
    assert sorted(execution.get_pending_interrupts()) == ["ask-a", "ask-b", "ask-c"]
    for index in order:
        assert execution.get_status() == "waiting"
        await execution.async_continue_with(f"ask-{'abc'[index]}", index)
        await asyncio.sleep(1)
    assert await execution.async_get_result() == ["<0>", "<1>", "<2>"]


async def test_d09_a_sibling_that_finishes_during_a_pause_continues() -> None:
    """S17: "siblings go on". D9: there a sibling that finished during a pause lost its continuation for good, and one
    answer of two made the status "running"."""
    flow, seen = TriggerFlow(), list[str]()

    async def slow(data: Data) -> str:
        await asyncio.sleep(5)
        return "slow"

    async def after(data: Data) -> None:
        seen.append(data.value)

    flow.to(("ask1", lambda data: data.pause_for(interrupt_id="one"))).to(("after1", after))
    flow.to(("ask2", lambda data: data.pause_for(interrupt_id="two"))).to(("after2", after))
    flow.to(slow).to(("after3", after))
    execution = flow.create_execution()
    execution.begin()
    await asyncio.sleep(1)
    assert execution.get_status() == "running", "the sibling still works"
    await asyncio.sleep(9)
    assert seen == ["slow"]
    assert execution.get_status() == "waiting"
    await execution.async_continue_with("one", "first")
    await asyncio.sleep(1)
    assert execution.get_status() == "waiting", "the other question is still open"
    await execution.async_continue_with("two", "second")
    await execution.async_get_result()
    assert seen == ["slow", "first", "second"]


async def test_s17_a_pause_gives_up_its_place() -> None:
    """S17 with S9: the chunk has ended, so that with `concurrency=1` its siblings go on."""
    flow, seen = TriggerFlow(), list[str]()

    async def other(data: Data) -> None:
        seen.append("other")

    flow.to(asking()).end()
    flow.to(other)
    execution = await begun(flow, concurrency=1)
    assert seen == ["other"]
    await execution.async_continue_with("q", 1)
    assert await execution.async_get_result() == 1


async def test_s17_n_approvals_in_a_loop_run_the_code_before_them_once_each() -> None:
    """S17: "Resuming runs only what comes next, never again what already ran": 20 approvals, 20 runs of the code
    before them."""
    flow, before = TriggerFlow(), list[int]()

    async def draft(data: Data) -> Any:
        before.append(data.value)
        return data.value

    async def approve(data: Data) -> None:
        data.pause_for(interrupt_id="approve", payload=data.value)

    async def decide(data: Data) -> Any:
        if data.value < 20:
            await data.async_emit("again", data.value)
        return data.value

    first = flow.chunk("draft")(draft)
    flow.to(first).to(approve).to(decide)
    flow.when("again").to(first)
    execution = await begun(flow, 0)
    for turn in range(1, 21):
        await turns(30)
        assert execution.get_pending_interrupts()["approve"]["payload"] == turn - 1
        await execution.async_continue_with("approve", turn, request_id=f"r{turn}")
    await execution.async_get_result()
    assert before == list(range(20))


async def test_s17_the_same_id_may_not_be_open_twice() -> None:
    """S17: an interrupt is found by its id; a second one of the same id is an error of the chunk that asks."""
    flow = TriggerFlow()
    flow.batch(("one", asking()[1]), ("two", asking()[1]))
    with pytest.raises(UsageError, match="'q' is open already"):
        await flow.create_execution().async_start()


async def test_s17_an_id_can_be_used_again_with_another_schema() -> None:
    """S17: "Answers are validated" by the schema of *this* question, not by that of an earlier one of its id."""
    flow = TriggerFlow()
    flow.to(asking(schema=int)).to(("second", asking()[1])).end()
    execution = await begun(flow)
    await execution.async_continue_with("q", 1)
    await turns(30)
    await execution.async_continue_with("q", "free text")
    assert await execution.async_get_result() == "free text"


# -- where the answer goes ---------------------------------------------------------------------------------------------


async def test_s17_resume_to_self_runs_the_chunk_again_with_the_answer() -> None:
    """S17: `resume_to="self"` runs the asking chunk with the answer as its value, and with the question at hand."""
    flow, seen = TriggerFlow(), list[Any]()

    async def chunk(data: Data) -> Any:
        seen.append((data.value, data.resume and data.resume["value"], data.resume and data.resume["response"]))
        if data.resume is None:
            data.pause_for(interrupt_id="q", resume_to="self", payload="sure?")
        assert data.resume is not None
        assert data.resume["payload"] == "sure?"
        return data.resume["value"], data.value

    flow.to(echo).to(chunk).end()
    execution = await begun(flow, "task")
    await execution.async_continue_with("q", "yes")
    assert await execution.async_get_result() == ("task", "yes")
    assert seen == [("task", None, None), ("yes", "task", "yes")]


async def test_s17_resume_to_self_may_ask_again() -> None:
    """S17: a chunk that is not content with the answer asks once more."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> Any:
        if data.resume is None or data.value != "please":
            data.pause_for(interrupt_id="q", resume_to="self")
        return data.value

    flow.to(chunk).end()
    execution = await begun(flow)
    for answer in ("no", "yes", "please"):
        await execution.async_continue_with("q", answer)
        await turns(20)
    assert await execution.async_get_result() == "please"


@pytest.mark.parametrize("question", [{"resume_event": "answered"}, {"resume_to": {"event": "answered"}}])
async def test_s17_an_answer_can_go_out_as_an_event(question: dict[str, Any]) -> None:
    """S17: with an event named, the answer triggers that, and nothing that follows the chunk."""
    flow, seen = TriggerFlow(), list[Any]()

    async def never(data: Data) -> None:
        seen.append("next")

    flow.to(asking(**question)).to(never)
    flow.when("answered").to(echo).end()
    execution = await begun(flow)
    await execution.async_continue_with("q", 7)
    assert await execution.async_get_result() == 7
    assert seen == []


async def test_s17_a_wrong_resume_to_is_the_chunks_error() -> None:
    """S17: what `resume_to` may be is checked when the question is asked."""
    flow = TriggerFlow()
    flow.to(asking(resume_to="somewhere"))
    with pytest.raises(UsageError, match="resume_to"):
        await flow.create_execution().async_start()


# -- answers -----------------------------------------------------------------------------------------------------------


async def test_s17_answers_are_validated() -> None:
    """S17: "Answers are validated": a wrong one is refused, changes nothing, and the interrupt stays open."""
    flow = TriggerFlow()
    flow.to(asking(schema=Literal["yes", "no"])).end()
    execution = await begun(flow)
    before = execution.save()
    with pytest.raises(ContractError, match="answer q"):
        await execution.async_continue_with("q", "maybe")
    assert execution.save() == before
    assert execution.get_status() == "waiting"
    await execution.async_continue_with("q", "no")
    assert await execution.async_get_result() == "no"


async def test_s17_answers_are_idempotent_by_request_id() -> None:
    """S17: "idempotent by key": the same request again is the same answer, another one is refused."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> Any:
        seen.append(data.value)
        await asyncio.sleep(5)
        return data.value

    flow.to(asking()).to(note).end()
    execution = await begun(flow)
    for _ in range(3):
        answered = await execution.async_continue_with("q", "yes", request_id="r1")
        assert answered["response"] == "yes"
    with pytest.raises(AlreadyAnswered, match="'q'"):
        await execution.async_continue_with("q", "no", request_id="r2")
    with pytest.raises(AlreadyAnswered):
        await execution.async_continue_with("q", "yes")
    assert await execution.async_get_result() == "yes"
    assert seen == ["yes"]


async def test_s17_the_same_request_after_the_end_is_still_the_same_answer() -> None:
    """S17: "Answers are validated, and idempotent by key": a client that was not told repeats its request."""
    flow = TriggerFlow()

    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id="q")

    flow.to(ask).end()
    execution = flow.create_execution()
    execution.begin()
    while not execution.get_pending_interrupts():
        await turns(1)
    first = await execution.async_continue_with("q", "yes", request_id="r1")
    assert await execution.async_get_result() == "yes"
    assert await execution.async_continue_with("q", "yes", request_id="r1") == first
    with pytest.raises(ExecutionClosed):
        await execution.async_continue_with("q", "yes", request_id="r2")


async def test_s17_without_a_request_id_the_second_answer_is_refused() -> None:
    """S17: without a key nobody can know that two answers are one."""
    flow = TriggerFlow()
    flow.to(asking()).to(lambda data: asyncio.sleep(5)).end()
    execution = await begun(flow)
    await execution.async_continue_with("q", 1)
    with pytest.raises(AlreadyAnswered):
        await execution.async_continue_with("q", 1)
    await execution.async_get_result()


async def test_s17_an_unknown_interrupt_names_those_that_are_open() -> None:
    """S17: an answer to nothing is a clear error, and changes nothing."""
    flow = TriggerFlow()
    flow.to(asking()).end()
    execution = await begun(flow)
    before = execution.save()
    with pytest.raises(UnknownInterrupt, match="'q'"):
        await execution.async_continue_with("typo", 1)
    with pytest.raises(UnknownInterrupt):
        execution.get_interrupt("typo")
    assert execution.save() == before
    await execution.async_continue_with("q", 1)
    assert await execution.async_get_result() == 1


async def test_s06_an_answer_for_a_closed_execution_is_refused() -> None:
    """S6: "A signal or an answer for a closed execution raises `ExecutionClosed`"."""
    flow = TriggerFlow()
    flow.to(asking()).end()
    execution = await begun(flow)
    await execution.async_cancel()
    with pytest.raises(ExecutionClosed):
        await execution.async_continue_with("q", 1)


async def test_s17_a_refused_answer_leaves_no_stream_item() -> None:
    """S17 with S14: the stream tells of answers that were taken, not of those that were refused."""
    flow = TriggerFlow()
    flow.to(asking(schema=int)).to(lambda data: asyncio.sleep(1)).end()
    execution = await begun(flow)
    with pytest.raises(ContractError):
        await execution.async_continue_with("q", "x")
    await execution.async_continue_with("q", 1, request_id="r")
    await execution.async_continue_with("q", 1, request_id="r")
    with pytest.raises(AlreadyAnswered):
        await execution.async_continue_with("q", 1, request_id="other")
    await execution.async_get_result()
    actions = [item["action"] for item in await read(execution.get_async_runtime_stream())]
    assert actions == ["pause", "resume"]


async def test_s17_the_stream_tells_of_questions_and_answers() -> None:
    """S17: a UI sees both, with the id and the payload, and the answer."""
    flow = TriggerFlow()
    flow.to(asking(type="approval", payload=[1])).end()
    execution = await begun(flow, id="run")
    await execution.async_continue_with("q", "yes")
    await execution.async_get_result()
    pause, resume = await read(execution.get_async_runtime_stream())
    assert (pause["type"], pause["action"], pause["execution_id"]) == ("interrupt", "pause", "run")
    assert {key: pause["interrupt"][key] for key in ("id", "type", "payload", "status")} == {
        "id": "q", "type": "approval", "payload": [1], "status": "waiting",
    }  # fmt: skip
    assert (resume["action"], resume["interrupt"]["response"]) == ("resume", "yes")


async def test_s17_an_answer_may_come_from_another_thread() -> None:
    """S17: whoever answers may be a web server's thread."""
    flow = TriggerFlow()
    flow.to(asking()).end()
    execution = await begun(flow)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, execution.continue_with, "q", "yes")
    assert await execution.async_get_result() == "yes"


# -- expiry ------------------------------------------------------------------------------------------------------------


async def test_s17_an_unanswered_question_fails_its_chunk_when_it_expires() -> None:
    """S17, expiry: nobody answered in time, so the chunk fails with `InterruptExpired`, named as the chunk's."""
    flow = TriggerFlow()
    flow.to(asking(expires=60)).end()
    execution = flow.create_execution()
    with pytest.raises(Exception, match="nobody answered interrupt 'q'") as caught:
        await execution.async_start()
    assert isinstance(caught.value, InterruptExpired)
    assert now() == pytest.approx(60, abs=1)
    assert execution.get_status() == "failed"


async def test_s17_an_expired_question_takes_no_answer() -> None:
    """S17, expiry: "takes no answer any more", and its error route goes on."""
    flow = TriggerFlow()
    name, chunk = asking(expires=60)
    flow.to((name, chunk)).end()
    flow.when({"error": name}).to(("handle", lambda data: data.value["type"])).to(
        ("hold", lambda data: data.pause_for(interrupt_id="other"))
    ).end()
    execution = await begun(flow)
    await asyncio.sleep(61)
    assert execution.get_interrupt("q")["status"] == "expired"
    with pytest.raises(InterruptExpired):
        await execution.async_continue_with("q", 1)
    await execution.async_continue_with("other", "done")
    assert await execution.async_get_result() == "done"


async def test_s17_an_answer_in_time_ends_the_expiry() -> None:
    """S17, expiry: the timer of an answered question holds nobody up and fails nobody."""
    flow = TriggerFlow()
    flow.to(asking(expires=60)).end()
    execution = await begun(flow)
    await execution.async_continue_with("q", 1)
    assert await execution.async_get_result() == 1
    assert now() < 1


async def test_s17_an_answer_after_the_expiry_is_refused_even_before_the_timer_fired() -> None:
    """S17, expiry: `expires` is the time up to which an answer is taken, also where the process slept meanwhile."""
    flow = TriggerFlow()
    flow.to(asking(expires=10)).end()
    execution = await begun(flow)
    saved = execution.save()
    await execution.async_cancel()
    await asyncio.sleep(11)
    loaded = flow.load_execution(saved)
    with pytest.raises(InterruptExpired):
        await loaded.async_continue_with("q", "late")
    with pytest.raises(InterruptExpired):
        await loaded.async_get_result()


# -- inside blocks -----------------------------------------------------------------------------------------------------


async def test_s17_a_pause_inside_a_batch_fills_its_slot_with_the_answer() -> None:
    """S17: the answer goes on in the branch that asked: the batch waits for it, and siblings have gone on."""
    flow = TriggerFlow()
    flow.batch(("asks", asking()[1]), ("echo", echo)).to(("hold", echo)).end()
    execution = await begun(flow, 1)
    await execution.async_continue_with("q", 2)
    assert await execution.async_get_result() == {"asks": 2, "echo": 1}


@pytest.mark.parametrize("value", [1, 2])
async def test_s17_a_pause_inside_a_match_and_in_its_condition_chain(value: int) -> None:
    """S17: a case that asks goes on to `end_match` with the answer."""
    flow = TriggerFlow()
    process = flow.to(echo).match().case(1).to(asking()).to(("decorate", lambda data: [data.value]))
    process.case_else().to(("other", echo)).end_match().end()
    execution = await begun(flow, value)
    if value == 1:
        await execution.async_continue_with("q", "yes")
    assert await execution.async_get_result() == (["yes"] if value == 1 else 2)


async def test_s17_resume_to_self_inside_nested_blocks() -> None:
    """S17: the chunk runs again in the scope it asked from."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> Any:
        if data.resume is None:
            data.pause_for(interrupt_id=str(data.value), resume_to="self")
        return data.path[0][2], data.path[1][2], data.value

    flow.for_each().for_each().to(chunk).end_for_each().end_for_each().end()
    execution = await begun(flow, [["a", "b"], ["c"]])
    for name in "cab":
        await execution.async_continue_with(name, name.upper())
    assert await execution.async_get_result() == [[(0, 0, "A"), (0, 1, "B")], [(1, 0, "C")]]


async def test_s17_pauses_inside_a_for_each_window() -> None:
    """S17 with S10: a paused item keeps its place in the window; an answer lets the next item in."""
    flow = TriggerFlow()
    flow.for_each(concurrency=2).to(ask).end_for_each().end()
    execution = await begun(flow, list(range(6)))
    for item in range(6):
        await turns(20)
        pending = list(execution.get_pending_interrupts())
        assert len(pending) == min(2, 6 - item)
        await execution.async_continue_with(f"ask-{item}", item * 10)
    assert await execution.async_get_result() == [0, 10, 20, 30, 40, 50]


async def test_s17_a_question_that_nobody_could_answer_is_an_error_at_once() -> None:
    """S17: `flow.async_start` gives nobody a handle to answer with: the chunk fails instead of waiting for ever."""
    flow = TriggerFlow()
    flow.to(asking()).end()
    with pytest.raises(UsageError, match="no caller has its handle"):
        await flow.async_start()


async def test_s17_a_question_of_a_sub_flow_that_nobody_could_answer_is_an_error_at_once() -> None:
    """S17: so does the question of a sub-flow, at any depth."""
    child, parent, top = TriggerFlow(name="child"), TriggerFlow(name="parent"), TriggerFlow(name="top")
    child.to(asking()).end()
    parent.to_sub_flow(child).end()
    top.to_sub_flow(parent).end()
    for flow in (parent, top):
        with pytest.raises(UsageError, match="no caller has its handle"):
            await asyncio.wait_for(flow.async_start(), 100)


async def test_s17_a_paused_execution_can_be_cancelled() -> None:
    """S17 with S8: nothing runs, so that cancelling takes no time; readers and waiters are told."""
    flow = TriggerFlow()
    flow.to(asking(expires=1_000)).end()
    execution = await begun(flow)
    reader = execution.get_async_runtime_stream()
    await execution.async_cancel("the user left")
    items, error = await drain(reader)
    assert [item["action"] for item in items] == ["pause"]
    assert "the user left" in str(error)
    assert now() == 0


async def test_s17_a_failure_elsewhere_closes_the_question() -> None:
    """S17 with S7: an execution that failed asks nothing any more."""
    flow = TriggerFlow()

    async def broken(data: Data) -> None:
        await asyncio.sleep(1)
        raise ValueError("broken")

    flow.to(asking())
    flow.to(broken)
    execution = flow.create_execution()
    with pytest.raises(ValueError, match="broken"):
        await execution.async_start()
    with pytest.raises(ExecutionClosed):
        await execution.async_continue_with("q", 1)


async def test_s17_a_cached_or_retried_chunk_may_ask() -> None:
    """S17 with policies: a question is no failure: it is not tried again, not kept, not timed out."""
    from triggerflow import Cache, Retry

    flow, runs = TriggerFlow(), list[int]()

    @flow.chunk("careful", retry=Retry(5), timeout=5, cache=Cache())
    async def careful(data: Data) -> None:
        runs.append(data.attempt)
        data.pause_for(interrupt_id="q")

    flow.to(careful).end()
    for answer in (1, 2):
        execution = await begun(flow, "same")
        await asyncio.sleep(100)
        await execution.async_continue_with("q", answer)
        assert await execution.async_get_result() == answer
    assert runs == [1, 1]


async def test_s17_an_answer_that_comes_too_late_is_told_to_nobody() -> None:
    """S17: an interrupt has an expiry; readers are not told of an answer that was refused."""
    flow = TriggerFlow()

    async def ask(data: TriggerFlowRuntimeData[Any]) -> None:
        data.pause_for(interrupt_id="q", expires=60)

    flow.to(ask).end()
    execution = flow.create_execution()
    await execution.async_begin()
    await execution.async_settled()
    interrupt = (runtime_of(execution).machine.state.interrupts or {})["q"]
    interrupt.expires = 0.0  # the machine was asleep: its timer has not fired yet
    with pytest.raises(InterruptExpired):
        await execution.async_continue_with("q", "yes")
    reader = execution.get_async_runtime_stream()
    assert (await anext(reader))["action"] == "pause"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(reader), 1)


async def test_two_chunks_that_ask_under_one_id_at_once() -> None:
    """S7: "A chunk's exception ... fails the execution": the second question is its chunk's fault, not the engine's."""
    flow = TriggerFlow()

    async def ask(data: Any) -> None:
        try:
            data.pause_for(interrupt_id="q")
        finally:
            await asyncio.sleep(0)  # both have asked before either question is open

    refused: list[tuple[str, str]] = []

    async def note(data: Any) -> None:
        refused.append((data.value["chunk"], data.value["message"]))

    flow.batch(("one", ask), ("two", ask))
    flow.on_error(note)
    execution = flow.create_execution()
    execution.begin()
    await turns(20)
    assert (execution.get_status(), list(execution.get_pending_interrupts())) == ("waiting", ["q"])
    ((chunk, message),) = refused
    assert chunk == "two"
    assert "'q'" in message
    await execution.async_cancel()
