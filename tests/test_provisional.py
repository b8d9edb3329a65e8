"""Provisional signals: what they start can be taken back, all of it, and nothing else (S22, S8, S9)."""

import asyncio
from typing import Any

import pytest

from tests.support import Gauge, now, read, turns
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]
ERROR = ValueError("broken")


async def echo(data: Data) -> Any:
    return data.value


class Bench:
    """A flow whose first chunk emits "go" provisionally, and `seconds` later takes it back, or confirms it."""

    def __init__(self, decision: str = "retract", seconds: float = 5, **emit: Any) -> None:
        self.flow = TriggerFlow()
        self.log: list[str] = []

        async def source(data: Data) -> str:
            number = await data.async_emit("go", 1, provisional=True, **emit)
            await asyncio.sleep(seconds)
            if decision in ("confirm", "confirm, then retract"):
                await data.async_confirm(number)
            if decision != "confirm":
                await data.async_retract(number, "the answer was cut off")
            return "result"

        self.flow.to(source).end()

    def step(self, name: str, seconds: float = 10) -> Any:
        async def chunk(data: Data) -> Any:
            self.log.append(f"{name} begins")
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.log.append(f"{name} cancelled")
                raise
            self.log.append(f"{name} ends")
            return data.value

        return name, chunk


async def test_a_retracted_signal_cancels_what_it_started() -> None:
    """S22: "what was started for it is retracted (cancelled ...)", with its clean-up; the execution goes on."""
    bench = Bench()
    bench.flow.when("go").to(bench.step("a")).to(bench.step("b"))
    bench.flow.when("go").to(bench.step("c", 1)).to(bench.step("d"))
    assert await bench.flow.async_start() == "result"
    assert sorted(bench.log) == ["a begins", "a cancelled", "c begins", "c ends", "d begins", "d cancelled"]
    assert now() == 5


@pytest.mark.parametrize("decision", ["confirm", "confirm, then retract"])
async def test_a_confirmed_signal_stands(decision: str) -> None:
    """ "A provisional signal stands; what it started cannot be taken back any more"."""
    bench = Bench(decision)
    bench.flow.when("go").to(bench.step("a"))
    assert await bench.flow.async_start() == "result"
    assert bench.log == ["a begins", "a ends"]


async def test_a_signal_that_nobody_retracts_is_like_any_other() -> None:
    """A provisional signal needs no confirmation to run to its end."""
    bench = Bench("retract", 100)
    bench.flow.when("go").to(bench.step("a")).to(bench.step("b"))
    assert await bench.flow.async_start() == "result"
    assert bench.log == ["a begins", "a ends", "b begins", "b ends"]


async def test_the_stream_is_told() -> None:
    """ "the stream is told": with the number of the signal and the reason."""
    bench = Bench()
    bench.flow.when("go").to(bench.step("a"))
    (item,) = await read(bench.flow.get_async_runtime_stream())
    assert (item["type"], item["reason"]) == ("retraction", "the answer was cut off")
    assert isinstance(item["signal"], int)


async def test_the_stream_is_not_told_of_a_retraction_that_did_not_happen() -> None:
    """A confirmed signal was not taken back, and nobody is told that it was."""
    bench = Bench("confirm, then retract")
    bench.flow.when("go").to(bench.step("a"))
    assert await read(bench.flow.get_async_runtime_stream()) == []


@pytest.mark.parametrize(
    "kind", ["batch", "for_each", "lazy for_each", "async for_each", "match", "sub flow", "nested"]
)
async def test_blocks_are_retracted_with_everything_in_them(kind: str) -> None:
    """What a retracted signal has opened is closed: no slot waits, no item is read on, no child goes on."""
    bench, taken = Bench(), list[int]()
    process: Any = bench.flow.when("go")

    def items() -> Any:
        for number in range(1_000):
            taken.append(number)
            yield number

    async def async_items() -> Any:
        for number in items():
            await asyncio.sleep(3)
            yield number

    match kind:
        case "batch":
            process = process.batch(bench.step("a"), bench.step("b", 1))
        case "for_each":
            process = process.to(lambda data: [1, 2, 3]).for_each(concurrency=2).to(bench.step("a")).end_for_each()
        case "lazy for_each":
            process = process.to(("items", lambda data: items())).for_each(concurrency=2).to(bench.step("a"))
            process = process.end_for_each()
        case "async for_each":
            process = process.to(("items", lambda data: async_items())).for_each(concurrency=9).to(bench.step("a"))
            process = process.end_for_each()
        case "match":
            process = process.match().case(lambda data: asyncio.sleep(100)).to(bench.step("a")).end_match()
        case "sub flow":
            child = TriggerFlow(name="child")
            child.to(bench.step("a")).to(bench.step("b"))
            process = process.to_sub_flow(child)
        case _:
            process = process.to(lambda data: [1, 2]).for_each().batch(bench.step("a"), ("x", echo)).end_for_each()
    process.to(("never", lambda data: bench.log.append("never")))
    execution = bench.flow.create_execution()
    assert await execution.async_start(timeout=50) == "result"
    await turns()
    assert 4.9 < now() < 6
    assert not [entry for entry in bench.log if "never" in entry or "a ends" in entry]
    assert len(taken) <= 3
    assert execution.save()["state"]["openings"] == []


@pytest.mark.parametrize("limit", ["execution", "chunk", "for_each"])
async def test_queued_work_is_retracted_and_limits_keep_their_counts(limit: str) -> None:
    """S9 with S22: who waited for a place leaves the queue, who had one gives it back: the rest keeps to the limit."""
    flow, gauge = TriggerFlow(), Gauge()

    @flow.chunk("work", concurrency=2 if limit == "chunk" else None)
    async def work(data: Data) -> Any:
        with gauge.inside():
            await asyncio.sleep(10)
        return data.value

    async def source(data: Data) -> None:
        numbers = [await data.async_emit("go", number, provisional=True) for number in range(6)]
        await asyncio.sleep(5)
        for number in numbers[:4]:
            await data.async_retract(number, "no")
        await data.async_emit("done")

    async def more(data: Data) -> Any:
        return list(range(4))

    flow.to(source)
    flow.when("go").to(work)
    flow.when("done").to(more).for_each(concurrency=2 if limit == "for_each" else None).to(work).end_for_each().end()
    execution = flow.create_execution(concurrency=3 if limit == "execution" else None)
    assert await execution.async_start(timeout=500) == [0, 1, 2, 3]
    if limit != "for_each":
        assert gauge.peak <= (2 if limit == "chunk" else 3)


@pytest.mark.parametrize("settle", [True, False])
async def test_work_in_back_off_is_retracted(settle: bool) -> None:
    """A run that waits for its next attempt is forgotten with its timer; who waited for it goes on."""
    flow, log = TriggerFlow(), list[str]()

    @flow.chunk("flaky", retry=Retry(9, initial_interval=100))
    async def flaky(data: Data) -> None:
        log.append("flaky")
        raise ERROR

    async def source(data: Data) -> None:
        data.state.set("number", await data.async_emit("go", provisional=True))

    async def starter(data: Data) -> str:
        await data.async_emit("start", settle=settle)
        return "settled"

    async def breaker(data: Data) -> None:
        await asyncio.sleep(5)
        await data.async_retract(data.state.get("number"), "no")

    flow.to(starter).end()
    flow.to(breaker)
    flow.when("start").to(source)
    flow.when("go").to(flaky)
    assert await flow.async_start(timeout=50) == "settled"
    assert log == ["flaky"]
    assert now() < 6


@pytest.mark.parametrize("nested", ["event", "state", "delayed", "waiting"])
async def test_what_the_started_work_emits_is_retracted_too(nested: str) -> None:
    """Everything that the signal set in motion: through events, state, timers, at any distance."""
    bench = Bench()

    async def relay(data: Data) -> None:
        if nested == "state":
            data.state.set("k", 1)
        else:
            await data.async_emit("next", delay=20 if nested == "delayed" else None, settle=nested == "waiting")

    bench.flow.when("go").to(relay)
    trigger: Any = {"runtime_data": "k"} if nested == "state" else "next"
    bench.flow.when(trigger).to(bench.step("a")).to(bench.step("b"))
    assert await bench.flow.async_start(timeout=500) == "result"
    assert bench.log == ([] if nested == "delayed" else ["a begins", "a cancelled"])
    assert now() == 5


async def test_a_delayed_provisional_signal_is_retracted_before_its_time() -> None:
    """`provisional` with `delay`: a signal that was not fired yet is taken back as well."""
    bench = Bench(delay=20)
    bench.flow.when("go").to(bench.step("a"))
    assert await bench.flow.async_start() == "result"
    assert bench.log == []
    assert now() == 5


async def test_a_question_that_retracted_work_has_asked_is_closed() -> None:
    """S17 with S22: nobody is asked for an answer that nothing needs any more."""
    bench = Bench()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q", expires=1_000)

    bench.flow.when("go").to(ask).to(bench.step("a"))
    execution = bench.flow.create_execution()
    assert await execution.async_start(timeout=100) == "result"
    assert execution.get_pending_interrupts() == {}
    assert now() == 5


async def test_work_after_an_answer_is_still_provisional() -> None:
    """S17 with S22: an answer does not take the work out of what can be retracted."""
    bench = Bench()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    bench.flow.when("go").to(ask).to(bench.step("a"))
    execution = bench.flow.create_execution()
    execution.begin()
    await turns(30)
    await execution.async_continue_with("q", 1)
    assert await execution.async_get_result() == "result"
    assert bench.log == ["a begins", "a cancelled"]


async def test_other_work_goes_on() -> None:
    """Nothing else is taken back: other signals of the same emitter, other runs of the same chunks."""
    flow, ended = TriggerFlow(), list[Any]()

    async def work(data: Data) -> None:
        await asyncio.sleep(10)
        ended.append(data.value)

    async def source(data: Data) -> None:
        first = await data.async_emit("go", "provisional", provisional=True)
        await data.async_emit("go", "plain")
        await data.async_emit("go", "kept", provisional=True)
        await asyncio.sleep(1)
        await data.async_retract(first, "no")

    flow.to(source)
    flow.when("go").to(work)
    await flow.async_start("x")
    assert sorted(ended) == ["kept", "plain"]


async def test_what_retracted_work_writes_in_its_clean_up_starts_nothing() -> None:
    """ "what its runs still write in their clean-up is recorded, but starts nothing"."""
    bench = Bench()

    async def stubborn(data: Data) -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            data.state.set("k", "written")
            await data.async_emit("next")
            await asyncio.sleep(3)
        return "swallowed"

    never = bench.step("never")
    bench.flow.when("go").to(stubborn).to(never)
    bench.flow.when({"runtime_data": "k"}).to(never)
    bench.flow.when("next").to(never)
    execution = bench.flow.create_execution()
    assert await execution.async_start() == "result"
    assert bench.log == []
    assert execution.state.get("k") == "written"
    assert now() == 8


async def test_retracting_twice_and_retracting_nothing_are_harmless() -> None:
    """A number that stands for no provisional signal takes nothing back."""
    flow, ended = TriggerFlow(), list[int]()

    async def work(data: Data) -> None:
        await asyncio.sleep(10)
        ended.append(data.value)

    async def source(data: Data) -> None:
        plain = await data.async_emit("go", 1)
        number = await data.async_emit("go", 2, provisional=True)
        for wrong in (plain, number, number, 10**6, -1):
            await data.async_retract(wrong, "no")
            await data.async_confirm(wrong)

    flow.to(source)
    flow.when("go").to(work)
    await flow.async_start()
    assert ended == [1]


async def test_a_repeated_attempt_can_retract_what_the_first_has_emitted() -> None:
    """S18: a repeated run's signal keeps its number, so that it can still be taken back."""
    flow, ended = TriggerFlow(), list[str]()

    @flow.chunk("source", retry=Retry(2, initial_interval=1))
    async def source(data: Data) -> None:
        number = await data.async_emit("go", provisional=True)
        if data.attempt == 1:
            raise ERROR
        await data.async_retract(number, "no")

    async def work(data: Data) -> None:
        await asyncio.sleep(10)
        ended.append("work")

    flow.to(source)
    flow.when("go").to(work)
    await flow.async_start()
    assert ended == []


@pytest.mark.parametrize("stubborn", [True, False])
async def test_a_source_of_retracted_work_is_closed(stubborn: bool) -> None:
    """What a retracted signal has started takes nothing more from its source, and what that still gives is no error."""
    flow, log = TriggerFlow(), list[Any]()

    async def items() -> Any:
        try:
            yield 1
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                if not stubborn:
                    raise
            yield 2
            log.append("asked again")
        finally:
            log.append("closed")

    async def source(data: Data) -> None:
        number = await data.async_emit("go", provisional=True)
        await asyncio.sleep(10)
        await data.async_retract(number, "no")
        await asyncio.sleep(1)
        log.append("went on")
        await asyncio.sleep(100)

    flow.to(source)
    flow.when("go").to(lambda data: items()).for_each().to(lambda data: log.append(data.value)).end_for_each()
    await flow.async_start()
    assert [it for it in log if it != "closed"] == [1, "went on"]
    assert log.count("closed") == 1
    assert stubborn or log == [1, "closed", "went on"]


async def test_a_repeated_attempt_goes_on_behind_the_retraction_of_the_first() -> None:
    """S18: a retracted signal is none any more, so that the next attempt emits it again, and retracts that one."""
    flow = TriggerFlow()

    @flow.chunk("source", retry=Retry(2, initial_interval=1))
    async def source(data: Data) -> int:
        number = await data.async_emit("go", provisional=True)
        await data.async_retract(number, "no")
        if data.attempt == 1:
            raise ERROR
        await data.async_put_into_stream("second attempt")
        return data.attempt

    async def sleeper(data: Data) -> None:
        await asyncio.sleep(10)

    flow.to(source).end()
    flow.when("go").to(sleeper)
    items = [item async for item in flow.get_async_runtime_stream()]
    told = [item if isinstance(item, str) else item["type"] for item in items]
    assert told == ["retraction", "retraction", "second attempt"]


async def test_a_repeated_attempt_knows_the_open_signals_of_the_first_after_a_load() -> None:
    """S18: the numbers of what can still be taken back, or has not settled, are saved with the run."""
    flow, log = TriggerFlow(), list[Any]()

    async def source(data: Data) -> None:
        plain = await data.async_emit("go", "plain")
        done = await data.async_emit("go", "confirmed", provisional=True)
        await data.async_confirm(done)
        guess = await data.async_emit("go", "guess", provisional=True)
        log.append((plain, done, guess))
        await data.async_emit("go", "settled", settle=True)
        await data.async_retract(guess, "no")
        log.append("retracted")

    async def work(data: Data) -> None:
        await asyncio.sleep(30 if data.value == "guess" else 10)
        log.append(data.value)

    flow.to(source)
    flow.when("go").to(work)
    execution = flow.create_execution()
    execution.begin()
    await asyncio.sleep(5)
    saved = execution.save()
    await execution.async_cancel()
    await flow.load_execution(saved).async_close()
    (first, second), events = [it for it in log if isinstance(it, tuple)], [it for it in log if isinstance(it, str)]
    assert (second[0], second[2]) == (-1, first[2])
    assert sorted(events[:3]) == ["confirmed", "plain", "settled"]
    assert events[3:] == ["retracted"]


@pytest.mark.parametrize("stubborn", [True, False])
async def test_saved_while_retracted_work_cleans_up(stubborn: bool) -> None:
    """S18 with S9: the places of work that was being cancelled are free after a load."""
    flow = TriggerFlow()

    async def work(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(50 if stubborn else 0)
            raise

    async def source(data: Data) -> None:
        number = await data.async_emit("go", provisional=True)
        await asyncio.sleep(5)
        await data.async_retract(number, "no")

    async def after(data: Data) -> str:
        await asyncio.sleep(1)
        return "after"

    flow.to(source).to(("wait", lambda data: asyncio.sleep(20))).to(after).end()
    flow.when("go").to(work)
    execution = flow.create_execution(concurrency=2)
    execution.begin()
    await asyncio.sleep(10)
    saved = execution.save()
    await execution.async_cancel()
    limiter = saved["state"]["limiter"]
    assert limiter["used"] == len(saved["state"]["runs"])
    assert await flow.load_execution(saved).async_get_result(timeout=500) == "after"
