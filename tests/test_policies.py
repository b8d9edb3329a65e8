"""Step policies: retry, timeout, cache and chunk concurrency; their attempts and pauses are recorded (S7, S9, S18)."""

import asyncio
import json
import time
from typing import Any

import pytest

from tests.support import Gauge, now, turns
from triggerflow import Cache, Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import DefinitionError

Data = TriggerFlowRuntimeData[Any]
ERROR = ValueError("broken")


class Falsy:
    """What neither compares nor counts."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")

    __hash__ = None  # type: ignore[assignment]


class Busy(Exception):
    """An error as HTTP clients raise it."""

    def __init__(self, retry_after: Any) -> None:
        super().__init__("busy")
        self.retry_after = retry_after


def failing(times: int, error: BaseException = ERROR, **options: Any) -> tuple[TriggerFlow, list[tuple[int, float]]]:
    """A flow whose chunk fails so many times; and the attempts with their times."""
    flow, seen = TriggerFlow(), list[tuple[int, float]]()

    @flow.chunk("flaky", **options)
    async def flaky(data: Data) -> Any:
        seen.append((data.attempt, round(now(), 2)))
        if data.attempt <= times:
            raise error
        return "done"

    flow.to(flaky).end()
    return flow, seen


# -- retry -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [0, 1, 2])
async def test_retry_runs_up_to_the_number_of_attempts(times: int) -> None:
    """ "Try a failed chunk again, up to `attempts` runs in all"; the pauses grow by the coefficient."""
    flow, seen = failing(times, retry=Retry(3, initial_interval=2, backoff_coefficient=3, jitter=0))
    assert await flow.async_start() == "done"
    assert seen == [(1, 0), (2, 2), (3, 8)][: times + 1]


async def test_retry_gives_up_with_the_original_exception() -> None:
    """S7: "A chunk's exception goes to its retry policy, then ... fails the execution": with the last error raised."""
    flow, seen = failing(9, retry=Retry(3, initial_interval=1, jitter=0))
    with pytest.raises(ValueError, match="broken") as caught:
        await flow.async_start()
    assert caught.value is ERROR
    assert [attempt for attempt, _ in seen] == [1, 2, 3]


async def test_one_attempt_is_no_retry() -> None:
    """`attempts` counts all runs."""
    flow, seen = failing(1, retry=Retry(1))
    with pytest.raises(ValueError, match="broken"):
        await flow.async_start()
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("retry", "pauses"),
    [
        (Retry(9, initial_interval=1, jitter=0), [1, 2, 4, 8]),
        (Retry(9, initial_interval=1, jitter=0, maximum_interval=3), [1, 2, 3, 3]),
        (Retry(9, initial_interval=1, jitter=0, backoff_coefficient=1), [1, 1, 1, 1]),
        (Retry(9, initial_interval=1, jitter=0, backoff_coefficient=1000), [1, 100, 100, 100]),
        (Retry(9, initial_interval=0, jitter=1), [0, 0, 0, 0]),
    ],
)
def test_the_pauses(retry: Retry, pauses: list[float]) -> None:
    """ "The first pause is `initial_interval` seconds, each next one `backoff_coefficient` times longer, none longer
    than `maximum_interval` (default: 100 times the first)"."""
    assert [retry.delay(attempt, ERROR) for attempt in range(1, 5)] == pauses


@pytest.mark.parametrize("jitter", [0.0, 0.1, 0.5, 1.0])
def test_jitter_varies_a_pause_by_up_to_that_share(jitter: float) -> None:
    """ "`jitter` (0 to 1) varies a pause at random by up to that share", and it does vary."""
    retry = Retry(9, initial_interval=10, jitter=jitter)
    pauses = [retry.delay(1, ERROR) or 0.0 for _ in range(2_000)]
    assert min(pauses) >= 10 * (1 - jitter)
    assert max(pauses) <= 10 * (1 + jitter)
    assert max(pauses) - min(pauses) >= 10 * jitter


def test_no_pause_is_longer_than_the_maximum() -> None:
    """ "none longer than `maximum_interval`", with jitter too."""
    retry = Retry(9, initial_interval=10, maximum_interval=10, jitter=1)
    assert max(retry.delay(3, ERROR) or 0.0 for _ in range(1_000)) <= 10


def test_any_number_of_attempts_has_a_pause() -> None:
    """A chunk that is tried for ever has a pause for each attempt, whatever the coefficient makes of it."""
    assert Retry(10**6, initial_interval=1, jitter=0, maximum_interval=60).delay(5_000, ERROR) == 60
    assert Retry(10**6, initial_interval=0).delay(5_000, ERROR) == 0


async def test_a_chunk_that_is_tried_thousands_of_times_does_not_hang() -> None:
    """S7: "Nothing hangs after a failure"."""
    flow, seen = failing(3_000, retry=Retry(10_000, initial_interval=0))
    assert await flow.async_start(timeout=1_000) == "done"
    assert len(seen) == 3_001


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (ValueError(), True),
        (UnicodeError(), False),
        (KeyError(), False),
        (TimeoutError(), True),
        (asyncio.CancelledError(), False),
    ],
)
async def test_which_errors_are_tried_again(error: BaseException, tried: bool) -> None:
    """ "Only errors of the classes `retry_on` are tried again, and none of `non_retryable`"."""
    retry = Retry(2, initial_interval=1, retry_on=(ValueError, TimeoutError), non_retryable=UnicodeError)
    flow, seen = failing(1, error, retry=retry)
    await asyncio.gather(flow.async_start(), return_exceptions=True)
    assert len(seen) == 1 + tried


@pytest.mark.parametrize(("asked", "pause"), [(30, 30), (0.5, 2), (None, 2), ("soon", 2), (-5, 2), (float("nan"), 2)])
async def test_retry_after_lengthens_the_pause(asked: Any, pause: float) -> None:
    """ "An exception with a `retry_after` attribute (seconds) ... lengthens its pause to that"; nonsense does not."""
    flow, seen = failing(1, Busy(asked), retry=Retry(2, initial_interval=2, jitter=0))
    assert await flow.async_start() == "done"
    assert seen == [(1, 0), (2, pause)]


class Headers(Exception):
    """An error as HTTP clients raise it, whose property reads a header that is missing."""

    @property
    def retry_after(self) -> float:
        return float(dict[str, str]()["retry-after"])


class Huge(Exception):
    retry_after = 10**400


class Cancelling(Exception):
    @property
    def retry_after(self) -> float:
        raise asyncio.CancelledError


@pytest.mark.parametrize("error", [Headers("busy"), Huge("busy"), Cancelling("busy")])
async def test_a_retry_after_that_cannot_be_read_does_not_count(error: Exception) -> None:
    """ "An exception with a `retry_after` attribute (seconds) ... lengthens its pause to that"."""
    flow, seen = failing(1, error, retry=Retry(2, initial_interval=2, jitter=0))
    assert await flow.async_start(timeout=10) == "done"
    assert seen == [(1, 0), (2, 2)]


class Raising(Retry):
    def delay(self, attempt: int, error: BaseException) -> float | None:
        raise LookupError("no table of delays")


class Answering(Retry):
    answer: Any = None

    def delay(self, attempt: int, error: BaseException) -> float | None:
        return self.answer


class Odd(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        raise LookupError("cannot compare")


class OddError(Exception, metaclass=Odd):
    pass


def answering(answer: Any) -> Retry:
    retry = Answering(3)
    retry.answer = answer
    return retry


@pytest.mark.parametrize(
    "retry",
    [
        Raising(3), Retry(3, retry_on=OddError), Retry(3, non_retryable=OddError), answering("soon"), answering(-1),
        answering(float("nan")), answering(float("inf")), answering(Falsy()),
    ],
    ids=["raises", "odd class", "odd other class", "text", "negative", "nan", "inf", "object"],
)  # fmt: skip
@pytest.mark.parametrize("route", [False, True])
async def test_a_policy_that_fails_does_not_hang_the_run(
    retry: Retry, route: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """ "Where that raises ... the chunk is not tried again: it fails with its own error, and a log line tells"."""
    flow, seen = failing(1, retry=retry)
    told = list[Any]()

    async def handle(data: Data) -> None:
        told.append(data.value["type"])

    if route:
        flow.on_error(handle)
    execution = flow.create_execution(cleanup_timeout=1)
    result = (await asyncio.gather(execution.async_start(timeout=10), return_exceptions=True))[0]
    assert result is (None if route else ERROR)
    assert told == (["ValueError"] if route else [])
    assert len(seen) == 1
    assert now() == 0
    assert "a retry policy failed" in caplog.text


@pytest.mark.parametrize("raised", [RuntimeError("mute"), asyncio.CancelledError(), SystemExit(1), GeneratorExit()])
@pytest.mark.parametrize("kind", ["async", "thread", "source", "sub flow"])
async def test_an_error_that_cannot_tell_its_text_is_reported(raised: BaseException, kind: str) -> None:
    """S7: "Nothing hangs after a failure", whatever the error does when it is asked for its text, or given a note."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise raised

        def add_note(self, note: str) -> None:
            raise raised

    error = Mute()

    async def fail(data: Data) -> None:
        raise error

    def fail_thread(data: Data) -> None:
        raise error

    async def items() -> Any:
        yield 1
        raise error

    flow = TriggerFlow()
    if kind == "source":
        flow.for_each().end_for_each()
    elif kind == "sub flow":
        child = TriggerFlow(name="child")
        child.to(fail)
        flow.to_sub_flow(child)
    else:
        flow.to(("fail", fail if kind == "async" else fail_thread))
    execution = flow.create_execution()
    with pytest.raises(Mute) as caught:
        await execution.async_start(items() if kind == "source" else None, timeout=10)
    assert caught.value is error
    assert execution.get_status() == "failed"


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0}, {"initial_interval": -1}, {"backoff_coefficient": 0.5}, {"jitter": -0.1}, {"jitter": 1.1},
        {"maximum_interval": -1}, {"initial_interval": float("nan")}, {"attempts": 1.5},
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense(options: dict[str, Any]) -> None:
    """ "Raises `DefinitionError` for numbers that make no sense"."""
    with pytest.raises(DefinitionError):
        Retry(**options)


async def test_a_run_in_back_off_gives_up_its_place() -> None:
    """S9: who waits for its next attempt runs nothing: under `concurrency=1` its siblings go on."""
    flow, order = TriggerFlow(), list[str]()

    @flow.chunk("flaky", retry=Retry(2, initial_interval=10, jitter=0))
    async def flaky(data: Data) -> None:
        order.append(f"flaky {data.attempt}")
        if data.attempt == 1:
            raise ERROR

    async def other(data: Data) -> None:
        await asyncio.sleep(1)
        order.append("other")

    flow.batch(flaky, other, concurrency=1)
    await flow.async_start()
    assert order == ["flaky 1", "other", "flaky 2"]


@pytest.mark.parametrize("limit", ["execution", "batch", "for_each", "chunk"])
async def test_limits_hold_over_retries(limit: str) -> None:
    """S9: "a true upper bound", with chunks that fail and come back."""
    flow, gauge = TriggerFlow(), Gauge()

    @flow.chunk("flaky", retry=Retry(3, initial_interval=0.5, jitter=0), concurrency=2 if limit == "chunk" else None)
    async def flaky(data: Data) -> Any:
        with gauge.inside():
            await asyncio.sleep(1)
            if data.attempt < 3:
                raise ERROR
        return data.value

    process = flow.for_each(concurrency=2 if limit == "for_each" else None)
    if limit == "batch":
        process.batch(flaky, concurrency=1).to(("one", lambda data: data.value["flaky"])).end_for_each().end()
    else:
        process.to(flaky).end_for_each().end()
    execution = flow.create_execution(concurrency=2 if limit in ("execution", "batch") else None)
    assert await execution.async_start(list(range(6))) == list(range(6))
    assert (gauge.peak, gauge.total) == (2, 18)


async def test_the_effects_of_a_repeated_attempt_are_recorded_once() -> None:
    """S18: "everything recorded is exactly-once": what an attempt did before it failed is not done again by the next;
    what it did not get to is."""
    flow, pings = TriggerFlow(), list[Any]()

    @flow.chunk("flaky", retry=Retry(3, initial_interval=1))
    async def flaky(data: Data) -> Any:
        data.state.append("log", 1)
        await data.async_put_into_stream("a")
        await data.async_emit("ping", 1)
        if data.attempt == 1:
            raise ERROR
        data.state.append("log", 2)
        if data.attempt == 2:
            raise ERROR
        await data.async_put_into_stream("b")
        return data.state.get("log")

    async def note(data: Data) -> None:
        pings.append(data.value)

    flow.to(flaky).end()
    flow.when("ping").to(note)
    execution = flow.create_execution()
    reader = execution.get_async_runtime_stream("go")
    assert [item async for item in reader] == ["a", "b"]
    assert await execution.async_get_result() == [1, 2]
    assert pings == [1]


async def test_shared_data_does_not_shift_the_effects_of_a_repeated_attempt() -> None:
    """S18, with a change of the flow's data between: nobody listens to it, so that it is no record."""
    flow = TriggerFlow()

    @flow.chunk("flaky", retry=Retry(2, initial_interval=1))
    async def flaky(data: Data) -> Any:
        data.flow_state.set("shared", data.attempt)
        data.state.append("log", 1)
        if data.attempt == 1:
            raise ERROR
        return data.state.get("log")

    flow.to(flaky).end()
    assert await flow.async_start() == [1]


async def test_update_tells_a_repeated_attempt_what_stands() -> None:
    """S18: the value that `update` returns is the one that is recorded, also in a repeated attempt."""
    flow = TriggerFlow()

    @flow.chunk("flaky", retry=Retry(2, initial_interval=1))
    async def flaky(data: Data) -> Any:
        count = data.state.update("count", lambda count: count + 1, 0)
        if data.attempt == 1:
            raise ERROR
        return count, data.state.get("count")

    flow.to(flaky).end()
    assert await flow.async_start() == (1, 1)


async def test_a_repeated_attempt_waits_for_what_the_first_has_caused() -> None:
    """S3: "`settle=True` waits until everything it caused has settled", whichever attempt recorded the signal."""
    flow, log = TriggerFlow(), list[str]()

    @flow.chunk("flaky", retry=Retry(2, initial_interval=1, jitter=0), timeout=5)
    async def flaky(data: Data) -> None:
        await data.async_emit("work", settle=True)
        log.append("settled")

    async def work(data: Data) -> None:
        await asyncio.sleep(8)
        log.append("worked")

    flow.to(flaky)
    flow.when("work").to(("worker", work))
    await flow.async_start()
    assert log == ["worked", "settled"]


async def test_attempts_are_recorded() -> None:
    """ "Attempts and back-off timers are recorded, so that they survive": they stand in what `save()` gives."""
    flow, _ = failing(2, retry=Retry(3, initial_interval=60, jitter=0))
    execution = flow.create_execution()
    execution.begin()
    await asyncio.sleep(61)
    state = json.loads(json.dumps(execution.save()))["state"]
    assert [run["attempt"] for run in state["runs"]] == [3]
    assert [timer["what"] for timer in state["timers"]] == ["retry"]
    await execution.async_cancel()
    assert now() == 61


async def test_a_cancelled_chunk_is_not_tried_again() -> None:
    """S8: cancellation is no failure, whatever the chunk raises in its clean-up."""
    flow, runs = TriggerFlow(), list[int]()

    @flow.chunk("flaky", retry=Retry(5, initial_interval=0))
    async def flaky(data: Data) -> None:
        runs.append(data.attempt)
        try:
            await asyncio.sleep(100)
        finally:
            raise ERROR

    flow.to(flaky)
    execution = flow.create_execution()
    execution.begin()
    await turns()
    await execution.async_cancel()
    assert runs == [1]
    assert execution.get_status() == "cancelled"


# -- timeout -----------------------------------------------------------------------------------------------------------


async def test_a_timeout_ends_the_chunk_with_an_error_that_names_it() -> None:
    """`timeout` (seconds): the chunk is cancelled, cleans up, and fails with `TimeoutError`."""
    flow, seen = TriggerFlow(name="brief"), list[str]()

    @flow.chunk("slow", timeout=5)
    async def slow(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            seen.append("cleaned up")

    flow.to(slow)
    with pytest.raises(TimeoutError, match=r"'slow'.*5") as caught:
        await flow.async_start()
    assert now() == 5
    assert seen == ["cleaned up"]
    assert "brief" in " ".join(caught.value.__notes__)


async def test_a_timeout_bounds_each_attempt() -> None:
    """`timeout` with `retry`: each attempt has the whole time; the pauses do not count."""
    flow, seen = TriggerFlow(), list[float]()

    @flow.chunk("slow", timeout=5, retry=Retry(3, initial_interval=10, backoff_coefficient=1, jitter=0))
    async def slow(data: Data) -> str:
        seen.append(round(now()))
        await asyncio.sleep(100 if data.attempt < 3 else 4)
        return "done"

    flow.to(slow).end()
    assert await flow.async_start() == "done"
    assert seen == [0, 15, 30]


async def test_a_chunks_own_timeout_error_stays_its_own() -> None:
    """A `TimeoutError` that the chunk raises itself is passed on as it is."""
    error, flow = TimeoutError("the socket"), TriggerFlow()

    @flow.chunk("chunk", timeout=5)
    async def chunk(data: Data) -> None:
        raise error

    flow.to(chunk)
    with pytest.raises(TimeoutError) as caught:
        await flow.async_start()
    assert caught.value is error


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_timeout_that_makes_no_sense(seconds: float) -> None:
    """A timeout must be more than 0."""
    flow = TriggerFlow()
    with pytest.raises(DefinitionError):
        flow.chunk("chunk", timeout=seconds)(lambda data: None)


# -- cache -------------------------------------------------------------------------------------------------------------


def cached(cache: Cache, seconds: float = 0) -> tuple[TriggerFlow, list[Any]]:
    flow, runs = TriggerFlow(), list[Any]()

    @flow.chunk("cached", cache=cache)
    async def chunk(data: Data) -> Any:
        runs.append(data.value)
        await asyncio.sleep(seconds)
        return [data.value]

    flow.to(chunk).end()
    return flow, runs


async def test_a_cache_keeps_results_by_value_for_all_executions() -> None:
    """ "Keep the results of a chunk by key, for all executions of the flow in this process"."""
    flow, runs = cached(Cache())
    for value in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, [1], [1], None, None, 0, 0):
        assert await flow.async_start(value) == [value]
    assert runs == [{"a": 1, "b": 2}, [1], None, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"), (1, True), (None, float("nan")), (float("inf"), float("nan")), (b"abc", "YWJj"), ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}), ([1, 2], {1, 2}),
    ],
)  # fmt: skip
async def test_different_values_are_different_keys(one: Any, other: Any) -> None:
    """ "by default it is the value, in a canonical form": no value gets another one's result."""
    flow, runs = cached(Cache())
    assert await flow.async_start(one) == [one]
    result = await flow.async_start(other)
    assert len(runs) == 2, f"{other!r} got the result of {one!r}: {result!r}"


async def test_a_cache_with_a_key_of_its_own() -> None:
    """ "`key` takes the runtime data and returns something hashable"."""
    flow, runs = cached(Cache(lambda data: data.value["id"]))
    assert await flow.async_start({"id": 1, "x": 1}) == [{"id": 1, "x": 1}]
    assert await flow.async_start({"id": 1, "x": 2}) == [{"id": 1, "x": 1}]
    assert len(runs) == 1


async def test_runs_with_the_same_key_at_the_same_time_are_one_run() -> None:
    """ "Runs with the same key at the same time are one run", in one execution and across several."""
    flow, runs = cached(Cache(), 10)
    assert await asyncio.gather(*(flow.async_start(1) for _ in range(5)), flow.async_start(2)) == [[1]] * 5 + [[2]]
    assert sorted(runs) == [1, 2]
    assert now() == 10


async def test_a_failure_is_not_kept() -> None:
    """ "A failure is not kept": the next one tries, and those who waited for it do so too."""
    flow, runs = TriggerFlow(), list[int]()

    @flow.chunk("cached", cache=Cache())
    async def chunk(data: Data) -> str:
        runs.append(1)
        await asyncio.sleep(1)
        if len(runs) < 3:
            raise ERROR
        return "done"

    flow.to(chunk).end()
    assert await asyncio.gather(*(flow.async_start() for _ in range(4)), return_exceptions=True) == [
        ERROR, ERROR, "done", "done",
    ]  # fmt: skip
    assert len(runs) == 3


async def test_a_cancelled_leader_lets_another_run() -> None:
    """One of several waiting runs is cancelled: the others still get a result."""
    flow, runs = cached(Cache(), 10)
    first, second = flow.create_execution(), flow.create_execution()
    first.begin(1)
    await turns()
    second.begin(1)
    await asyncio.sleep(5)
    await first.async_cancel()
    assert await second.async_get_result() == [1]
    assert runs == [1, 1]


async def test_a_cache_holds_the_most_recently_used() -> None:
    """ "At most `size` results are kept, the least recently used goes first"."""
    flow, runs = cached(Cache(size=2))
    for value in (1, 2, 1, 3, 1, 2):
        await flow.async_start(value)
    assert runs == [1, 2, 3, 2]


async def test_a_cached_result_has_a_time_to_live() -> None:
    """ "none longer than `ttl` seconds"."""
    flow, runs = cached(Cache(ttl=1))
    await flow.async_start(1)
    await flow.async_start(1)
    time.sleep(1.1)  # noqa: ASYNC251 - the cache goes by the clock of the process
    await flow.async_start(1)
    assert runs == [1, 1]


@pytest.mark.parametrize("options", [{"size": 0}, {"ttl": 0}, {"ttl": -1}])
def test_a_cache_that_makes_no_sense(options: dict[str, Any]) -> None:
    """`size` is at least 1, `ttl` more than 0."""
    with pytest.raises(DefinitionError):
        Cache(**options)


async def test_a_cache_with_retry() -> None:
    """Policies together: an attempt that fails is tried again, its result is kept."""
    flow, runs = TriggerFlow(), list[int]()

    @flow.chunk("cached", cache=Cache(), retry=Retry(3, initial_interval=1), timeout=5)
    async def chunk(data: Data) -> str:
        runs.append(data.attempt)
        await asyncio.sleep(100 if data.attempt == 1 else 0)
        return "done"

    flow.to(chunk).end()
    assert await flow.async_start() == "done"
    assert await flow.async_start() == "done"
    assert runs == [1, 2]


# -- concurrency of a chunk --------------------------------------------------------------------------------------------


async def test_s09_concurrency_of_a_chunk_bounds_all_its_runs_in_an_execution() -> None:
    """S9: "`concurrency` on an execution, batch, for_each or chunk is a true upper bound", wherever it is attached."""
    flow, gauge = TriggerFlow(), Gauge()

    @flow.chunk("narrow", concurrency=2)
    async def narrow(data: Data) -> Any:
        with gauge.inside():
            await asyncio.sleep(1)
        return data.value

    flow.for_each().to(narrow).end_for_each()
    flow.when("go").to(narrow)
    execution = flow.create_execution()
    execution.begin(list(range(5)))
    for number in range(5):
        await execution.async_emit("go", number)
    await execution.async_close()
    assert (gauge.peak, gauge.total) == (2, 10)


async def test_an_attempt_that_goes_another_way_loses_nothing_and_doubles_nothing() -> None:
    """S18: "everything recorded is exactly-once": a model that answers otherwise the second time does other things."""
    flow = TriggerFlow()
    heard: list[Any] = []

    @flow.chunk("answer", retry=Retry(2, initial_interval=0))
    async def answer(data: Any) -> None:
        if data.attempt == 1:
            await data.async_emit("search", "sails")
            await data.async_put_into_stream("searching")
            raise ConnectionError("the model is gone")
        await data.async_set_result("a short answer")  # no search this time: the first one stands all the same
        await data.async_emit("done", 1)
        await data.async_put_into_stream("searching")
        await data.async_put_into_stream("answered")

    async def hear(data: Any) -> None:
        heard.append((data.trigger_event, data.value))

    flow.to(answer)
    flow.when("search").to(hear)
    flow.when("done").to(hear)
    execution = flow.create_execution()
    assert await execution.async_start() == "a short answer"
    assert heard == [("search", "sails"), ("done", 1)]
    assert [item async for item in execution.get_async_runtime_stream()] == ["searching", "answered"]
