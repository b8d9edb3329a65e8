"""Options: each counts wherever it is given, and one that cannot count is refused on the line that gives it."""

import asyncio
import functools
import math
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from tests.support import Gauge
from triggerflow import Cache, Chain, Chunk, Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ContractError, DefinitionError

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


# -- refused on the line -----------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "retry is a number": ({"retry": 3}, "retry must be an instance of Retry, or None; got 3"),
    "retry is the class": ({"retry": Retry}, "retry must be an instance of Retry"),
    "cache is a flag": ({"cache": True}, "cache must be an instance of Cache, or None; got True"),
    "timeout is a text": ({"timeout": "5"}, "timeout must be a number of seconds, more than 0; got '5'"),
    "timeout is a flag": ({"timeout": True}, "timeout must be a number"),
    "timeout is 0": ({"timeout": 0}, "timeout must be a number of seconds, more than 0"),
    "timeout is none": ({"timeout": float("nan")}, "timeout must be a number of seconds, more than 0"),
    "concurrency is a text": ({"concurrency": "2"}, "concurrency must be a whole number"),
    "inline is a number": ({"inline": 1}, "inline must be True or False, got 1"),
    "emits is a number": ({"emits": 5}, "emits must be the name of an event"),
    "emits has a number": ({"emits": ("done", 5)}, "emits must be the name of an event"),
    "emits has no name": ({"emits": ""}, "emits must be the name of an event"),
    "a misspelt name": ({"concurency": 2}, "no option 'concurency'; did you mean 'concurrency'"),
    "another misspelt name": ({"retries": Retry()}, "no option 'retries'; did you mean 'retry'"),
    "an unknown name": ({"priority": 2}, "no option 'priority'; there are: concurrency, inline, emits"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_option_of_a_chunk_is_refused_on_its_line(what: str) -> None:
    """ "Raises `DefinitionError` if ... an option makes no sense": on the line that gives it, before any function is
    known, and with the flow and the chunk in the message."""
    options, message = WRONG[what]
    flow = TriggerFlow(name="orders")
    with pytest.raises(DefinitionError, match=f"'orders'.*'save'.*{message}"):
        flow.chunk("save", **options)
    with pytest.raises(DefinitionError, match=f"'orders'.*echo.*{message}"):
        flow.chunk(echo, **options)
    with pytest.raises(DefinitionError, match=message):
        Chunk("save", echo, **options)
    assert flow.chunks == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Retry(attempts="3"), "attempts must be a whole number of at least 1"),  # type: ignore[arg-type]
        (lambda: Retry(attempts=True), "attempts must be a whole number"),
        (lambda: Retry(initial_interval="1"), "initial_interval must be a number of seconds"),  # type: ignore[arg-type]
        (lambda: Retry(maximum_interval="1"), "maximum_interval must be a number of seconds"),  # type: ignore[arg-type]
        (lambda: Retry(backoff_coefficient=None), "backoff_coefficient must be a number"),  # type: ignore[arg-type]
        (lambda: Retry(jitter="no"), "jitter must be a number"),  # type: ignore[arg-type]
        (lambda: Retry(retry_on=[ValueError]), "retry_on must be a class of exceptions, or a tuple"),  # type: ignore[arg-type]
        (lambda: Retry(retry_on="ValueError"), "retry_on must be a class"),  # type: ignore[arg-type]
        (lambda: Retry(retry_on=lambda error: True), "retry_on must be a class"),  # type: ignore[arg-type]
        (lambda: Retry(non_retryable=(ValueError, 5)), "non_retryable must be a class"),  # type: ignore[arg-type]
        (lambda: Retry(initial_interval=1e308), "at most 100 years"),
        (lambda: Retry(maximum_interval=math.inf), "finite numbers"),
    ],
)
def test_a_policy_of_the_wrong_kind_is_refused_on_its_line(make: Any, message: str) -> None:
    """ "Raises `DefinitionError` for impossible numbers, and `OptionError` for values of the wrong type"."""
    with pytest.raises(DefinitionError, match=message):
        make()


def child() -> TriggerFlow:
    flow = TriggerFlow(name="child")
    flow.to(echo).end()
    return flow


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurency": 2}, "'concurency'; did you mean 'concurrency'"),
        ({"captures": {}}, "'captures'; did you mean 'capture'"),
        ({"concurrency": "2"}, "concurrency must be a whole number"),
        ({"side_branch": "yes"}, "side_branch must be True or False"),
        ({"name": 5}, "name must be a string"),
        ({"capture": "value"}, "capture"),
        ({"write_back": {"value": 5}}, "write_back"),
    ],
)
@pytest.mark.parametrize("on", ["flow", "chain"])
def test_a_wrong_option_of_a_sub_flow_is_refused(options: dict[str, Any], message: str, on: str) -> None:
    """ "to_sub_flow" knows its options; none of another name is dropped in silence."""
    flow = TriggerFlow(name="orders")
    place = flow if on == "flow" else flow.to(echo)
    with pytest.raises(DefinitionError, match=message):
        place.to_sub_flow(child(), **options)


@pytest.mark.parametrize("it", [echo, "child", None, 5, MagicMock()])
def test_what_is_no_flow_is_no_sub_flow(it: Any) -> None:
    with pytest.raises(DefinitionError, match=r"to_sub_flow\(\) takes a flow"):
        TriggerFlow().to_sub_flow(it)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurency": 2}, "'orders'.*'concurency'; did you mean 'concurrency'"),
        ({"run_id": "a"}, "no option 'run_id'"),
        ({"keep_open": "no"}, "keep_open must be True or False"),
        ({"skip_exceptions": 1}, "skip_exceptions must be True or False"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"cleanup_timeout": "5"}, "cleanup_timeout must be a number of seconds"),
        ({"cleanup_timeout": float("nan")}, "cleanup_timeout must be a number of seconds"),
        ({"max_pending": 2.0}, "max_pending must be a whole number"),
        ({"runtime_resources": ["client"]}, "runtime_resources must be a mapping"),
    ],
)
def test_a_wrong_option_of_an_execution_is_refused(options: dict[str, Any], message: str) -> None:
    """ "Raises `DefinitionError` for an option that does not exist, or cannot have the value"."""
    with pytest.raises(DefinitionError, match=message):
        TriggerFlow(name="orders").create_execution(**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TriggerFlow(name=5), "name must be a string, got 5"),  # type: ignore[arg-type]
        (lambda: TriggerFlow(skip_exceptions="yes"), "skip_exceptions must be True or False"),  # type: ignore[arg-type]
        (lambda: TriggerFlow().to(echo).collect(["a"]), "collection_name must be a string"),  # type: ignore[arg-type]
        (lambda: TriggerFlow().to(echo).collect("a", 5), "branch_id must be a string, got 5"),  # type: ignore[arg-type]
        (lambda: TriggerFlow().for_each(concurrency="2"), "concurrency must be a whole number"),  # type: ignore[arg-type]
        (lambda: TriggerFlow().batch(echo, concurrency=1.5), "concurrency must be a whole number"),  # type: ignore[arg-type]
        (lambda: TriggerFlow().start(concurrency="2"), "concurrency must be a whole number"),  # type: ignore[arg-type]
    ],
)
def test_other_options_of_the_wrong_kind_are_refused_on_their_line(make: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        make()


def test_a_condition_has_no_policies() -> None:
    """A chunk as a condition: its function is asked. A time-out or retry of it could never count."""
    flow = TriggerFlow()
    chunk = flow.chunk("check", timeout=5)(echo)
    with pytest.raises(DefinitionError, match=r"a condition cannot have timeout, and <Chunk 'check'> has it"):
        flow.if_condition(chunk)
    plain = flow.chunk("plain", inline=True)(functools.partial(echo))
    flow.if_condition(plain).to(echo).end_condition().end()


# -- given, and counting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("emits", ["done", ("done",), ["done", "done"], {"done"}])
async def test_one_event_may_be_given_as_a_string(emits: Any) -> None:
    """ "`emits` names events that its code does not show": one name is one name, and no tuple of letters."""
    flow, heard = TriggerFlow(), list[Any]()

    @flow.chunk("source", emits=emits)
    async def source(data: Data) -> None:
        await getattr(data, "async_" + "emit")(data.value, 1)

    async def hear(data: Data) -> None:
        heard.append(data.value)

    assert source.emits == ("done",)
    flow.to(source)
    flow.when("done").to(hear)
    await flow.create_execution().async_start("done", timeout=1)
    assert heard == [1]


def flaky_chunk(flow: TriggerFlow, runs: list[Any]) -> Chunk:
    @flow.chunk("fetch", retry=Retry(3, initial_interval=1, jitter=0), timeout=5, concurrency=1, emits="odd")
    async def fetch(data: Data) -> Any:
        runs.append((data.chunk_name, data.attempt))
        if data.attempt == 1:
            await asyncio.sleep(100)
        return data.value

    return fetch


@pytest.mark.parametrize("form", ["pair", "name=", "register", "batch"])
@pytest.mark.parametrize("other_flow", [False, True])
async def test_a_second_name_has_the_options_of_its_chunk(form: str, other_flow: bool) -> None:
    """ "give it two names: ... `("second", chunk)`, which has the options of the chunk"."""
    runs = list[Any]()
    flow = TriggerFlow(name="first")
    fetch = flaky_chunk(flow, runs)
    if other_flow:
        flow = TriggerFlow(name="other")
    if form == "pair":
        flow.to(("second", fetch)).end()
    elif form == "name=":
        flow.to(fetch, name="second").end()
    elif form == "register":
        flow.to(flow.chunk("second")(fetch)).end()
    else:
        flow.batch(("second", fetch), echo).to(lambda data: data.value["second"]).end()
    second = flow.chunks["second"]
    assert second.policies() == fetch.policies()
    assert second.handler is fetch.handler
    assert await flow.async_start(7) == 7
    assert runs == [("second", 1), ("second", 2)]


async def test_a_second_name_may_have_other_options_of_its_own() -> None:
    """What is said of the second name counts before what the chunk has."""
    flow = TriggerFlow()
    fetch = flaky_chunk(flow, [])
    second = flow.chunk("second", timeout=9, concurrency=None)(fetch)
    assert second.timeout == 9
    assert second.concurrency is None
    assert second.retry is fetch.retry


async def test_two_names_have_two_limits() -> None:
    """Two chunks with one function: `concurrency` bounds the runs of each."""
    flow, gauge = TriggerFlow(), Gauge()

    @flow.chunk("one", concurrency=1)
    async def one(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(1)

    flow.for_each().batch(one, ("two", one)).end_for_each()
    await flow.async_start([1, 2, 3])
    assert (gauge.peak, gauge.total) == (2, 6)


@pytest.mark.parametrize("first", [{}, {"timeout": 5}, {"timeout": 5, "retry": Retry(2, initial_interval=0)}])
async def test_options_given_in_a_second_registration_count(first: dict[str, Any]) -> None:
    """The same function again: "which then has the options of both calls", also where it stands in a chain already."""
    flow, attempts = TriggerFlow(), list[int]()

    async def step(data: Data) -> None:
        attempts.append(data.attempt)
        if data.attempt == 1:
            raise ValueError("once")

    flow.to(flow.chunk("step", **first)(step))
    before = flow.definition
    again = flow.chunk("step", retry=Retry(2, initial_interval=0), concurrency=4, emits="x")(step)
    assert again is flow.chunks["step"]
    assert (again.timeout, again.concurrency, again.emits) == (first.get("timeout"), 4, ("x",))
    assert flow.definition != before
    assert flow.definition.operators[0].options["concurrency"] == 4
    await flow.async_start()
    assert attempts == [1, 2]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"timeout": 5}, {"timeout": 6}),
        ({"timeout": 5}, {"timeout": None}),
        ({"retry": Retry(2)}, {"retry": Retry(3)}),
        ({"retry": Retry(2)}, {"retry": None}),
        ({"cache": Cache(size=5)}, {"cache": Cache(size=6)}),
        ({"concurrency": 1}, {"concurrency": 2}),
        ({"inline": True}, {"inline": False}),
    ],
)
def test_options_that_contradict_each_other_are_refused(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Neither of the two is dropped in silence."""
    flow = TriggerFlow(name="orders")
    chunk = flow.chunk("step", **first)(echo)
    before = chunk.policies()
    with pytest.raises(DefinitionError, match=f"'orders'.*'step' has {next(iter(first))}=.*second name"):
        flow.chunk("step", **second)(echo)
    with pytest.raises(DefinitionError, match="'step' has"):
        flow.to(("step", flow.chunk("other", **second)(echo))) if any(second.values()) else flow.chunk(
            "step", **second
        )(echo)
    assert chunk.policies() == before
    assert flow.chunk("step", **first)(echo) is chunk
    assert flow.chunk("step")(echo) is chunk


async def test_a_function_that_was_registered_keeps_its_options_where_it_is_wired_itself() -> None:
    """ "A plain function is a new node each time it is attached", and runs as what it was registered as."""
    flow, attempts = TriggerFlow(), list[int]()

    async def step(data: Data) -> None:
        attempts.append(data.attempt)
        if data.attempt == 1:
            raise ValueError("once")

    flow.chunk(step, retry=Retry(2, initial_interval=0))
    flow.to(step).to(("again", step))
    await flow.async_start()
    assert attempts == [1, 2, 1, 2]


async def test_a_contract_binds_what_is_created_after_it() -> None:
    """ "every execution sees the flow as it was when it was created": its promises and signal types, too."""
    flow = TriggerFlow()
    flow.when("number").to(("heard", echo))
    flow.to(echo).end()
    execution = flow.create_execution()
    flow.set_contract(initial_input=int, result=int, stream=int)
    flow.signal("number", int)
    execution.put_into_stream("text") if False else None
    assert await execution.async_start("text", timeout=1) == "text"
    later = flow.create_execution()
    flow.set_contract(initial_input=str, result=str)
    with pytest.raises(ContractError, match="initial_input"):
        await later.async_start("text")
    assert await later.async_start(5) == 5
    assert await flow.create_execution().async_start("text") == "text"


# -- handlers of every form --------------------------------------------------------------------------------------------


async def answer(data: Data) -> Any:
    return 42


class Tool:
    """Has a `func`, as the tools of libraries for models have."""

    def __init__(self, func: Any) -> None:
        self.func = func

    def __call__(self, data: Data) -> str:
        return "its own call"


def made_sync(function: Any) -> Any:
    @functools.wraps(function)
    def call(data: Data) -> Any:
        return asyncio.run(function(data))

    return call


def passed_on(function: Any) -> Any:
    @functools.wraps(function)
    def call(data: Data) -> Any:
        return function(data)

    return call


def made_async(function: Any) -> Any:
    @functools.wraps(function)
    async def call(data: Data) -> Any:
        return await asyncio.to_thread(function, data)

    return call


def with_client(function: Any) -> Any:
    @functools.wraps(function)
    async def call(data: Data) -> Any:
        return await function(data, "client")

    return call


def declared(function: Any) -> Any:
    call = functools.partial(function, client="client")
    wrapper = lambda *given: call(*given)  # noqa: E731 - what decorators of some libraries return
    wrapper.__signature__ = __import__("inspect").signature(function)  # type: ignore[attr-defined]
    return wrapper


async def needs_client(data: Data, client: str) -> str:
    return client


def blocking(data: Data) -> int:
    return 42


FORMS: dict[str, tuple[Any, Any]] = {
    "an object with a func": (Tool(answer), "its own call"),
    "an async function made sync": (made_sync(answer), 42),
    "a wrapper that passes a coroutine on": (passed_on(answer), 42),
    "a sync function made async": (made_async(blocking), 42),
    "a wrapper that gives a second argument": (with_client(needs_client), "client"),
    "a wrapper that shows another signature": (declared(needs_client), "client"),
    "a mock": (MagicMock(return_value=42), 42),
    "an async mock": (AsyncMock(return_value=42), 42),
    "a partial of a partial": (functools.partial(functools.partial(needs_client), client="c"), "c"),
    "a cached function": (functools.lru_cache(blocking), 42),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("inline", [False, True])
async def test_what_a_call_returns_decides_whether_a_handler_is_async(form: str, inline: bool) -> None:
    """A handler is called as it is; "if it returns an awaitable it is awaited", whatever it wraps."""
    handler, wanted = FORMS[form]
    if inline and form == "an async function made sync":
        return  # it blocks, and says so by itself: asyncio.run() inside a loop
    flow = TriggerFlow()
    flow.to(flow.chunk("step", inline=inline)(handler)).end()
    assert await flow.async_start() == wanted


class Items:
    async def __call__(self, data: Data) -> Any:
        yield 1


class SyncItems:
    def __call__(self, data: Data) -> Any:
        yield 1


@pytest.mark.parametrize("handler", [Items(), SyncItems(), Items().__call__, functools.partial(SyncItems())])
def test_a_generator_of_every_form_is_refused(handler: Any) -> None:
    """It would never run: "put items into the stream with `await data.async_put_into_stream(item)`"."""
    with pytest.raises(DefinitionError, match="a generator cannot be a handler"):
        TriggerFlow().to(handler)


async def test_an_event_that_a_wrapped_function_emits_is_seen() -> None:
    """A run that nobody else can signal ends: what a function behind a wrapper emits is no signal from outside."""
    flow, heard = TriggerFlow(), list[Any]()

    async def source(data: Data) -> None:
        await data.async_emit("done", 1)

    async def hear(data: Data) -> None:
        heard.append(data.value)

    flow.to(("source", passed_on(source)))
    flow.when("done").to(hear)
    await flow.create_execution().async_start(timeout=1)
    assert heard == [1]


# -- options of the calls that build a flow ----------------------------------------------------------------------------


def at(flow: TriggerFlow) -> Chain:
    return flow.to(("first", echo))


MISSPELT: dict[str, tuple[Callable[[TriggerFlow], Any], list[str]]] = {
    "flow.to": (lambda flow: flow.to(echo, side_brnch=True), ["to()", "'side_brnch'", "mean 'side_branch'"]),
    "to": (lambda flow: at(flow).to(echo, nam="x"), ["to()", "'nam'", "mean 'name'"]),
    "a policy at its place": (
        lambda flow: flow.to(echo, timeout=5),
        ["to()", "'timeout'", "flow.chunk(function, timeout=...)"],
    ),
    "a policy, misspelt": (
        lambda flow: flow.to(echo, concurency=5),
        ["'concurency'", "flow.chunk(function, concurrency=...)"],
    ),
    "flow.side_branch": (lambda flow: flow.side_branch(echo, nme="x"), ["side_branch()", "mean 'name'"]),
    "when": (lambda flow: flow.when("x", mod="or"), ["when()", "mean 'mode'"]),
    "flow.batch": (lambda flow: flow.batch(echo, concurency=2), ["batch()", "mean 'concurrency'"]),
    "batch": (lambda flow: at(flow).batch(echo, sidebranch=True), ["batch()", "mean 'side_branch'"]),
    "flow.for_each": (lambda flow: flow.for_each(concurency=2), ["for_each()", "mean 'concurrency'"]),
    "for_each": (lambda flow: at(flow).for_each(limit=2), ["for_each()", "there are: concurrency"]),
    "flow.match": (lambda flow: flow.match(moed="hit_all"), ["match()", "mean 'mode'"]),
    "match": (lambda flow: at(flow).match(hit="all"), ["match()", "there are: mode"]),
    "collect": (lambda flow: at(flow).collect("c", branch="x"), ["collect()", "mean 'branch_id'"]),
    "to_sub_flow": (
        lambda flow: flow.to_sub_flow(TriggerFlow(), concurency=2),
        ["to_sub_flow()", "mean 'concurrency'"],
    ),
    "signal": (lambda flow: flow.signal("x", externl=True), ["signal()", "mean 'external'"]),
    "set_state": (lambda flow: flow.set_state(dict, reducer={}), ["set_state()", "mean 'reducers'"]),
    "set_contract": (lambda flow: flow.set_contract(resullt=int), ["set_contract()", "mean 'result'"]),
    "Retry": (lambda flow: Retry(3, jiter=0), ["Retry", "mean 'jitter'"]),
    "Cache": (lambda flow: Cache(sise=5), ["Cache", "mean 'size'"]),
    "TriggerFlow": (lambda flow: TriggerFlow(nme="x"), ["TriggerFlow", "mean 'name'"]),
    "create_execution": (
        lambda flow: flow.create_execution(concurency=2),
        ["create_execution()", "mean 'concurrency'"],
    ),
}


@pytest.mark.parametrize("what", MISSPELT)
def test_a_misspelt_option_of_any_call_is_refused_on_its_line(what: str) -> None:
    call, words = MISSPELT[what]
    with pytest.raises(DefinitionError) as caught:
        call(TriggerFlow(name="orders"))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda flow: flow.to(echo, "side"), "side_branch must be True or False, got 'side'"),
        (lambda flow: flow.batch(echo, side_branch=1), "side_branch must be True or False, got 1"),
        (lambda flow: flow.signal("x", external="yes"), "external must be True or False, got 'yes'"),
        (lambda flow: flow.for_each(concurrency="2"), "concurrency must be a whole number"),
        (lambda flow: flow.chunk("c", retry=3), r"write retry=Retry\(3\)"),
        (lambda flow: flow.chunk("c", retry={"attempts": 3}), r"write retry=Retry\(\.\.\.\)"),
        (lambda flow: flow.chunk("c", cache=True), r"write cache=Cache\(\.\.\.\)"),
    ],
)
def test_a_wrong_value_of_any_call_says_what_to_write(call: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        call(TriggerFlow(name="orders"))


async def test_a_cell_that_runs_again_may_name_equal_policies() -> None:
    """`Cache` and `Retry` are made anew by the cell, with functions that are made anew, too."""
    flow = TriggerFlow()

    def cell() -> Chunk:
        return flow.chunk("step", cache=Cache(key=lambda data: data.value, ttl=5), retry=Retry(2, jitter=0))(echo)

    assert cell() is cell()
    with pytest.raises(DefinitionError, match="has cache="):
        flow.chunk("step", cache=Cache(key=lambda data: 1, ttl=5))(echo)
