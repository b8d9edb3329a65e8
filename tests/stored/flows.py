"""The flows whose stored data `v1` holds. They use public names only, and stay as they are: what was stored by them has
to be read by them for ever.

Chunks that have to be caught at work wait for the resource `gate`; who resumes them gives none, and they go on.
"""

import asyncio
import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import pydantic

from triggerflow import Retry, Signal, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.reducers import add, append

Data = TriggerFlowRuntimeData[Any]

#: A hundred years, in seconds: what is due then is not due in any test.
CENTURY = 3_155_760_000.0


class Colour(enum.Enum):
    """An enum that may be recorded."""

    RED = "red"
    GREEN = "green"


@dataclass
class Money:
    """A dataclass that may be recorded."""

    amount: decimal.Decimal
    currency: str


class Point(msgspec.Struct):
    """A struct that may be recorded."""

    x: int
    y: float


class Customer(pydantic.BaseModel):
    """A Pydantic model that may be recorded."""

    name: str
    joined: datetime.date


@dataclass
class Basket:
    """The declared state of `typed`."""

    owner: str = "nobody"
    total: int = 0
    items: list[str] = field(default_factory=list[str])


#: One of each kind of value that can be recorded.
VALUES: dict[str, Any] = {
    "none": None,
    "flags": [True, False],
    "numbers": [0, -1, 2**80, 0.1, 1e300, float("inf"), float("-inf")],
    "text": 'Grüße, "quoted", 漢字, \u2028, \x00, 😀',
    "bytes": b"\x00\xfftriggerflow",
    "datetime": datetime.datetime(2026, 2, 28, 23, 59, 59, 123456, datetime.timezone(datetime.timedelta(hours=2))),
    "naive": datetime.datetime(2026, 2, 28, 1, 2, 3),
    "date": datetime.date(2024, 2, 29),
    "time": datetime.time(12, 30, 0, 5),
    "timedelta": datetime.timedelta(days=-1, seconds=5, microseconds=7),
    "decimal": decimal.Decimal("12.340"),
    "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "tuple": (1, ("nested", [2])),
    "set": {3, 1, 2},
    "frozenset": frozenset({5, 4}),
    "range": range(1, 10, 3),
    "keys": {1: "one", (2, 3): "pair"},
    "dollar": {"$": "a key of the user's own", "v": 1},
    "empty": [[], {}, "", ()],
    "money": Money(decimal.Decimal("9.99"), "EUR"),
    "point": Point(3, 4.5),
    "customer": Customer(name="Ada", joined=datetime.date(2020, 1, 2)),
    "colours": [Colour.RED, {"in": Colour.GREEN}],
}

#: Values so large that they are kept as payloads: a text in pieces, a list in blocks of blocks, a text in one piece.
LARGE: dict[str, Any] = {
    "text": "".join(f"line {number}\n" for number in range(480)),
    "list": [number % 7 for number in range(1056)],
    "piece": "x" * 1500,
}


async def echo(data: Data) -> Any:
    """What came."""
    return data.value


async def gated(data: Data) -> Any:
    """What came, once the gate is open."""
    gate: asyncio.Event | None = data.resources.get("gate")
    if gate is not None:
        await gate.wait()
    return data.value


async def answer(data: Data) -> Any:
    """The answer."""
    return 42


def is_large(data: Data) -> bool:
    """A condition."""
    return data.value > 100


def with_types(flow: TriggerFlow) -> TriggerFlow:
    """The flow, which may record the classes of this module."""
    for cls in (Colour, Money, Point, Customer):
        flow.register_type(cls)
    return flow


# -- flows that come to their end by themselves, or after an answer ----------------------------------------------------


def pricing() -> TriggerFlow:
    """The sub-flow of `everything`: twice the value, and it says so in the stream and in its own shared data."""
    flow = TriggerFlow(name="pricing")

    async def price(data: Data) -> Any:
        await data.async_put_into_stream({"price": data.value})
        data.flow_state.set("last", data.value)
        return {"price": 2 * data.value, "rate": data.state.get("rate")}

    flow.to(("price", price)).end()
    return flow


def everything() -> TriggerFlow:
    """Every kind of operator and of trigger, each with every option that can stand in a definition."""
    flow = TriggerFlow(name="everything")

    async def begin(data: Data) -> Any:
        await data.async_put_into_stream("begun")
        data.state.set("rate", 3)
        data.flow_state.set("currency", "EUR")
        data.flow_state.append("log", data.value)
        return data.value

    async def item(data: Data) -> Any:
        return data.value + 1

    async def left(data: Data) -> Any:
        data.state.append("sides", "left")
        return data.value

    async def right(data: Data) -> Any:
        data.state.append("sides", "right", emit=False)
        return len(data.value)

    async def signals(data: Data) -> Any:
        data.state.set("scratch", 1)
        data.state.delete("scratch")
        await data.async_emit("ping", 1, settle=True)
        data.emit("pong", 2)
        await data.async_emit("later", 3, delay=5)
        return "sent"

    async def flaky(data: Data) -> Any:
        if data.attempt == 1:
            raise ValueError("the first attempt fails")
        return data.value

    async def broken(data: Data) -> Any:
        raise LookupError(f"cannot find {data.value}")

    async def caught(data: Data) -> Any:
        data.state.set("caught", data.value)

    def noted(key: str) -> Any:
        async def note(data: Data) -> Any:
            data.state.append("seen", [key, data.value])
            return data.value

        return f"note {key}", note

    first = flow.chunk("begin")(begin)
    flow.chunk("item", concurrency=2)(item)
    flow.chunk("flaky", retry=Retry(3, initial_interval=2, jitter=0, retry_on=ValueError), timeout=60)(flaky)
    flow.chunk("signals", emits=("ping", "pong", "later"))(signals)
    flow.chunk("broken")(broken)

    chain = flow.to(first).for_each(concurrency=3).to("item").if_condition(is_large).to(("large", echo))
    chain = chain.elif_condition(5).to(("five", echo)).else_condition().to(("other", echo)).end_condition()
    chain = chain.end_for_each().collect("all", "items")
    flow.when(first).batch(("left", left), ("right", right), concurrency=1).collect("all", "sides")
    flow.when(first).match(mode="hit_all").case([1, 4, 200]).to(("list", echo)).case("text").to(
        ("text", echo)
    ).end_match()
    flow.to(("one", answer)).to_sub_flow(
        pricing(),
        name="pricing",
        capture={"input": "value", "runtime_data": {"rate": "value"}},
        write_back={"value": "result.price", "runtime_data": {"price": "result"}},
        concurrency=1,
    ).collect("all", "price")
    flow.to("signals").side_branch(noted("side")).collect("all", "signals")
    flow.to(("ten", answer)).to("flaky").collect("all", "flaky")
    flow.to(("what", answer)).to("broken")
    flow.when({"error": "broken"}).to(("caught", caught))
    flow.when(["ping", "pong"]).to(noted("and"))
    flow.when(["ping", "pong"], mode="or").to(noted("or"))
    flow.when(["ping", "pong"], mode="simple_or").to(noted("simple_or"))
    flow.when("later").to(noted("later")).collect("all", "later")
    flow.when({"runtime_data": "rate"}).to(noted("state"))
    flow.when({"flow_data": "currency"}).to(noted("flow_data"))
    flow.when({"timer": 1.5}).to(noted("timer"))
    flow.when("again").collect("twice", "a", mode="filled_then_empty")
    flow.when("again").collect("twice", "b", mode="filled_then_empty")
    flow.when({"collect": "all"}).to(noted("all")).end()
    return flow


def values() -> TriggerFlow:
    """Keeps `VALUES` everywhere a value can stand, asks, and says whether they are what they were."""
    flow = with_types(TriggerFlow(name="values"))

    async def keep(data: Data) -> Any:
        data.state.set("kept", data.value)
        await data.async_put_into_stream(data.value)
        await data.async_emit("kept", data.value)
        await data.async_emit("never", data.value, delay=3600)
        return data.value

    async def ask(data: Data) -> Any:
        data.pause_for(interrupt_id="same", payload=data.value)

    async def check(data: Data) -> Any:
        return [data.value == VALUES, data.state.get("kept") == VALUES, data.state.get("heard") == VALUES]

    async def hear(data: Data) -> Any:
        data.state.set("heard", data.value)

    flow.chunk("keep", emits=("kept", "never"))(keep)
    flow.to("keep").to(("ask", ask)).to(("check", check)).end()
    flow.when("kept").to(("hear", hear))
    flow.when("never").to(("late", echo))
    return flow


def large() -> TriggerFlow:
    """Large values in records, items and state; it waits for a signal from outside."""
    flow = TriggerFlow(name="large")

    async def keep(data: Data) -> Any:
        data.state.set("large", LARGE)
        await data.async_put_into_stream(LARGE["text"])
        return data.value

    async def tell(data: Data) -> Any:
        kept = data.state.get("large")
        return [kept == LARGE, data.value]

    flow.to(("keep", keep))
    flow.when("ask").to(("tell", tell)).end()
    return flow


def asking() -> TriggerFlow:
    """All kinds of question: what the answer starts, what it has to be, and until when it is taken."""
    flow = with_types(TriggerFlow(name="asking"))

    def asks(name: str, **question: Any) -> Any:
        async def ask(data: Data) -> Any:
            if data.resume is not None:
                return [data.resume["value"], data.value]
            return data.pause_for(interrupt_id=name, payload={"about": data.value}, **question)

        return f"ask {name}", ask

    async def tell(data: Data) -> Any:
        return data.value

    flow.to(asks("next", type="approval")).collect("answers", "next")
    flow.to(asks("self", resume_to="self")).collect("answers", "self")
    flow.to(asks("event", resume_event="answered"))
    flow.when("answered").collect("answers", "event")
    flow.to(asks("list", schema=list[int])).collect("answers", "list")
    flow.to(asks("money", schema=Money)).collect("answers", "money")
    flow.to(asks("choice", schema=Literal["yes", "no"] | None)).collect("answers", "choice")
    flow.to(asks("until", expires=CENTURY)).collect("answers", "until")
    flow.to(asks("expired", expires=3.0))
    flow.when({"error": "ask expired"}).to(("too late", echo)).collect("answers", "expired")
    flow.when({"collect": "answers"}).to(("tell", tell)).end()
    return flow


def inner() -> TriggerFlow:
    """Streams, asks, and answers; the sub-flow of `outer`."""
    flow = TriggerFlow(name="inner")

    async def draft(data: Data) -> Any:
        await data.async_put_into_stream(f"draft of {data.value}")
        data.state.set("title", data.value)
        data.pause_for(type="approval", payload={"draft": data.value}, interrupt_id="approve")

    async def publish(data: Data) -> Any:
        return f"{data.state.get('title')}: {data.value}"

    flow.to(("draft", draft)).to(("publish", publish)).end()
    return flow


def hasty() -> TriggerFlow:
    """Asks two questions for a short time, or until a signal makes it fail; the sub-flow of `withdrawing`."""
    flow = TriggerFlow(name="hasty")

    async def ask(data: Data) -> Any:
        data.pause_for(interrupt_id="quick", expires=1.0)

    async def fail(data: Data) -> Any:
        data.pause_for(interrupt_id="long")

    async def late(data: Data) -> Any:
        await asyncio.sleep(3)
        raise ValueError("nobody has answered")

    flow.to(("ask", ask)).end()
    flow.to(("ask for long", fail))
    flow.when({"error": "ask"}).to(("late", late))
    return flow


def withdrawing() -> TriggerFlow:
    """A sub-flow whose questions are taken back: one has expired, and one was open when it failed."""
    flow = TriggerFlow(name="withdrawing")

    async def caught(data: Data) -> Any:
        return data.value["message"]

    flow.to_sub_flow(hasty(), name="hasty")
    flow.on_error(("caught", caught)).end()
    return flow


def outer() -> TriggerFlow:
    """A sub-flow that asks, inside a for_each with a limit, so that it borrows its places."""
    flow = TriggerFlow(name="outer")

    async def after(data: Data) -> Any:
        return f"<{data.value}>"

    flow.for_each(concurrency=1).to_sub_flow(inner(), name="inner").to(("after", after)).end_for_each().end()
    return flow


def counted() -> TriggerFlow:
    """A few records for each item, so that a snapshot comes in between; then it waits for "stop"."""
    flow = TriggerFlow(name="counted")

    async def count(data: Data) -> Any:
        data.state.append("counted", data.value)
        await data.async_put_into_stream(data.value)
        return data.value

    async def stopped(data: Data) -> Any:
        return sum(data.state.get("counted"))

    flow.for_each(concurrency=1).to(("count", count)).end_for_each()
    flow.when("stop").to(("stopped", stopped)).end()
    return flow


# -- flows that are caught at work -------------------------------------------------------------------------------------


def each() -> TriggerFlow:
    """A for_each whose items wait at the gate, two at a time; each repeats what it has put into the stream."""
    flow = TriggerFlow(name="each")

    async def work(data: Data) -> Any:
        await data.async_put_into_stream(["work", data.value])
        data.state.append("begun", data.value)
        await gated(data)
        await data.async_put_into_stream(["done", data.value])
        return data.value * 10

    flow.to(("list", echo)).for_each(concurrency=2).to(("work", work)).end_for_each().end()
    return flow


def settling() -> TriggerFlow:
    """A chunk waits for what it has emitted, and that waits at the gate."""
    flow = TriggerFlow(name="settling")

    async def boss(data: Data) -> Any:
        await data.async_emit("order", data.value, settle=True)
        return data.state.get("made")

    async def make(data: Data) -> Any:
        data.state.set("made", await gated(data))

    flow.chunk("boss", emits=("order",))(boss)
    flow.to("boss").end()
    flow.when("order").to(("make", make))
    return flow


def again() -> TriggerFlow:
    """A second attempt waits for what the first one has emitted; and it gives up waiting for something else."""
    flow = TriggerFlow(name="again")

    async def boss(data: Data) -> Any:
        try:
            async with asyncio.timeout(1):
                await data.async_emit("order", data.value, settle=True)
        except TimeoutError:
            raise ValueError("the order takes too long") from None
        return data.state.get("made")

    async def make(data: Data) -> Any:
        await asyncio.sleep(5)
        data.state.set("made", data.value)

    flow.chunk("boss", emits=("order",), retry=Retry(9, initial_interval=1, jitter=0))(boss)
    flow.to("boss").end()
    flow.when("order").to(("make", make))
    return flow


def retrying() -> TriggerFlow:
    """Fails twice; the pauses between its attempts are long."""
    flow = TriggerFlow(name="retrying")

    async def call(data: Data) -> Any:
        data.state.append("tried", data.attempt)
        if data.attempt < 3:
            raise ConnectionError(f"attempt {data.attempt} got no answer")
        return data.attempt

    flow.chunk("call", retry=Retry(4, initial_interval=60, backoff_coefficient=1, jitter=0))(call)
    flow.to("call").end()
    return flow


def provisional() -> TriggerFlow:
    """Of three provisional signals one is confirmed, one taken back, and one still open at the gate."""
    flow = TriggerFlow(name="provisional")

    async def guess(data: Data) -> Any:
        first, second, third = [await data.async_emit("idea", number, provisional=True) for number in (1, 2, 3)]
        await data.async_confirm(first)
        await data.async_retract(second, "it was wrong")
        await gated(data)
        await data.async_confirm(third)
        return data.value

    async def use(data: Data) -> Any:
        if data.value == 2:
            await asyncio.Event().wait()
        data.state.append("used", data.value)
        return await gated(data)

    flow.chunk("guess", emits=("idea",))(guess)
    flow.to("guess").end()
    flow.when("idea").to(("use", use))
    return flow


def joining() -> TriggerFlow:
    """Half of every join has come when it waits at the gate."""
    flow = TriggerFlow(name="joining")

    async def late(data: Data) -> Any:
        await gated(data)
        await data.async_emit("second", "two")
        return "late"

    async def soon(data: Data) -> Any:
        await data.async_emit("first", "one")
        return "soon"

    flow.chunk("soon", emits=("first",))(soon)
    flow.chunk("late", emits=("second",))(late)
    flow.batch("soon", "late").collect("met", "batch")
    flow.when(["first", "second"]).collect("met", "when")
    flow.to(("both", echo)).match(mode="hit_all").case("v").to(("quick", echo)).case("v").to(
        ("slow", gated)
    ).end_match().collect("met", "match")
    flow.when({"collect": "met"}).end()
    return flow


def lazy() -> TriggerFlow:
    """A for_each over a source that is asked for one item after another."""
    flow = TriggerFlow(name="lazy")

    def numbers(end: int, *, start: int = 0) -> Iterator[int]:
        yield from range(start, end)

    source: Callable[..., Any] = flow.source(numbers, name="numbers")

    async def work(data: Data) -> Any:
        if data.value >= 2:
            await gated(data)
        return data.value

    flow.to(("source", lambda data: source(data.value, start=1))).for_each(concurrency=1).to(
        ("work", work)
    ).end_for_each().end()
    return flow


def spoiled() -> TriggerFlow:
    """A source that raises after two items; a route takes that."""
    flow = TriggerFlow(name="spoiled")

    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    source: Callable[..., Any] = flow.source(items, name="items")

    async def caught(data: Data) -> Any:
        return [data.value["type"], data.value["message"]]

    flow.to(("source", lambda data: source())).for_each(concurrency=1).to(("work", echo)).end_for_each()
    flow.on_error(("caught", caught)).end()
    return flow


def delayed() -> TriggerFlow:
    """A signal that comes after an hour, and a deadline after two."""
    flow = TriggerFlow(name="delayed")

    async def order(data: Data) -> Any:
        await data.async_emit("hour", data.value, delay=3600)

    flow.chunk("order", emits=("hour",))(order)
    flow.to("order")
    flow.when("hour").collect("both", "hour")
    flow.when({"timer": 7200.0}).collect("both", "deadline")
    flow.when({"collect": "both"}).end()
    return flow


def outside() -> TriggerFlow:
    """Waits for two signals from outside; one has come."""
    flow = TriggerFlow(name="outside")

    async def first(data: Data) -> Any:
        data.state.set("first", data.value)

    async def second(data: Data) -> Any:
        return [data.state.get("first"), data.value]

    flow.to(("start", echo))
    flow.when("first").to(("first one", first))
    flow.when("second").to(("second one", second)).end()
    return flow


def typed() -> TriggerFlow:
    """Declared state with reducers, a declared signal, and a contract; it waits for the signal from outside."""
    flow = TriggerFlow(name="typed")
    flow.set_state(Basket, reducers={"total": add, "items": append})
    bought: Signal[int] = flow.signal("bought", int)
    flow.set_contract(initial_input=str, stream=dict[str, int], result=list[Any])

    async def open_basket(data: Data) -> Any:
        data.state.set("owner", data.value)
        await data.async_put_into_stream({"opened": 1})

    async def buy(data: Data) -> Any:
        data.state.reduce("total", data.value)
        data.state.reduce("items", f"article {data.value}")

    async def pay(data: Data) -> Any:
        return [data.state.get("owner"), data.state.get("total"), data.state.get("items")]

    flow.to(("open", open_basket))
    flow.when(bought).to(("buy", buy))
    flow.when("checkout").to(("pay", pay)).end()
    return flow


def ending() -> TriggerFlow:
    """Ends as its value says: "well", "badly", "skipping", "stopped", "replaced"; else it waits at a gate for ever."""
    flow = TriggerFlow(name="ending")

    async def work(data: Data) -> Any:
        match data.value:
            case "well":
                await data.async_stop_stream()
                await data.async_set_result("set by name")
            case "badly" | "skipping":
                raise ValueError(f"it ends {data.value}")
            case "replaced":
                data.set_result("first")
                data.set_result("second", replace=True)
            case _:
                await gated(data)

    async def stubborn(data: Data) -> Any:
        gate: asyncio.Event | None = data.resources.get("gate")
        while gate is not None and not gate.is_set() and data.value in ("badly", "stopped"):
            try:
                await gate.wait()
            except asyncio.CancelledError:
                if data.value == "badly":
                    raise

    flow.to(("work", work))
    flow.to(("stubborn", stubborn))
    return flow


def versioned(version: int) -> TriggerFlow:
    """Two versions of one flow, of which the second has a chunk in between and another name for what asks."""
    flow = TriggerFlow(name="versioned")

    async def ask(data: Data) -> Any:
        data.pause_for(interrupt_id="go", payload=data.value)

    flow.to(("start", echo)).to((f"ask {version}", ask)).to(("after", echo)).end()
    if version > 1:
        flow.when("more please").to(("more", echo))
    return flow


#: Where the operator that asks in version 1 of `versioned` is in version 2.
VERSION_MAP = {"ask 1": "ask 2"}


FLOWS: dict[str, Callable[[], TriggerFlow]] = {
    make.__name__: make
    for make in (
        everything, pricing, values, large, asking, outer, inner, withdrawing, hasty, counted, each, settling, again,
        retrying, provisional, joining, lazy, spoiled, delayed, outside, typed, ending,
    )
}  # fmt: skip
