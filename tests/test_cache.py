"""The cache of a chunk: no run gets the result of another value, and waiting runs neither fail nor hang others."""

import asyncio
import dataclasses
import datetime
import enum
import logging
import threading
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pydantic import BaseModel, PrivateAttr, SecretStr

from tests.support import Gauge, now, turns
from triggerflow import Cache, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import DefinitionError
from triggerflow.stores import MemoryStore

Data = TriggerFlowRuntimeData[Any]


def counting(cache: Cache | None = None, **options: Any) -> tuple[TriggerFlow, list[Any]]:
    """A flow with one cached chunk that returns how often it has run."""
    flow, runs = TriggerFlow(), list[Any]()

    @flow.chunk("cached", cache=cache or Cache(), **options)
    async def cached(data: Data) -> int:
        runs.append(data.value)
        return len(runs)

    flow.to(cached).end()
    return flow, runs


# -- keys --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Login:
    user: str
    token: str = dataclasses.field(repr=False, compare=False)


class Document:
    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return "<Document>"


class Slotted:
    __slots__ = ("__hidden", "shown")

    def __init__(self, shown: int, hidden: int) -> None:
        self.shown = shown
        self.__hidden = hidden


class Named(str):
    language: str


class Scores(list[int]):
    unit = "m"


class Settings(BaseModel):
    key: SecretStr = SecretStr("")
    extra: dict[str, Any] = {}
    _note: str = PrivateAttr(default="")


class Point(msgspec.Struct):
    x: int
    y: Any = None


class Level(enum.IntEnum):
    LOW = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


Pair = namedtuple("Pair", "a b")


def named(text: str, language: str) -> Named:
    made = Named(text)
    made.language = language
    return made


def scores(unit: str) -> Scores:
    made = Scores([1])
    made.unit = unit
    return made


def settings(secret: str, note: str = "") -> Settings:
    made = Settings(key=SecretStr(secret))
    setattr(made, "_note", note)  # noqa: B010 - a private field of this very class
    return made


UTC = datetime.timezone.utc  # noqa: UP017 - another object than the zone of that name
NOON = datetime.datetime(2026, 11, 1, 12, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")
TWICE = datetime.datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK)

DIFFERENT: list[tuple[Any, Any]] = [
    (1, True), (1, 1.0), (0, False), (0.0, -0.0), (1, Decimal(1)), (Decimal("1"), Decimal("1.0")), (1, Level.LOW),
    ((1,), (True,)), ([1, [2]], [1, [2.0]]), ({"a": 1}, {"a": True}), ({1: "a"}, {True: "a"}), ({1}, {True}),
    ({1, 2}, frozenset({1, 2})), (Pair(1, 2), (1, 2)), (b"a", bytearray(b"a")), (1, 1 + 0j), (Fraction(1), 1),
    (Rights.READ, Rights.READ | Rights.WRITE), ("1", 1), (None, 0), (range(3), [0, 1, 2]),
    (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)), (OrderedDict(a=1), {"a": 1}), (deque([1]), deque([1], maxlen=1)),
    (NOON, NOON.astimezone(ZoneInfo("UTC"))), (NOON, NOON.astimezone(NEW_YORK)), (NOON, NOON.replace(tzinfo=None)),
    (TWICE, TWICE.replace(fold=1)),
    (datetime.timezone(datetime.timedelta(0)), datetime.timezone(datetime.timedelta(0), "Z")),
    (datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1)), (datetime.time(1), datetime.time(1, tzinfo=UTC)),
    (datetime.timedelta(1), 86400), (UUID(int=1), UUID(int=2)), (PurePosixPath("a"), PureWindowsPath("a")),
    (Login("ann", "one"), Login("ann", "two")), ({"by": Login("ann", "one")}, {"by": Login("ann", "two")}),
    (Document("a"), Document("b")), ([Document("a")], [Document("b")]), (Slotted(1, 1), Slotted(1, 2)),
    (named("a", "en"), named("a", "de")), (named("a", "en"), "a"), (scores("m"), scores("ft")), (scores("m"), [1]),
    (SecretStr("one"), SecretStr("two")), (settings("one"), settings("two")), (settings("", "a"), settings("", "b")),
    (Point(1), Point(2)), (Point(1, [1]), Point(1, [True])), (int, float), (Point, Slotted),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=[f"{one!r:.20} {other!r:.20}" for one, other in DIFFERENT])
@pytest.mark.parametrize("wrapped", [False, True])
async def test_what_differs_in_any_part_has_a_result_of_its_own(one: Any, other: Any, wrapped: bool) -> None:
    """ "values share a result if they have the same types and are equal in every part", and no others."""
    flow, runs = counting()
    wrap: Callable[[Any], Any] = (lambda it: {"deep": [it]}) if wrapped else (lambda it: it)
    assert await flow.async_start(wrap(one)) == 1
    assert await flow.async_start(wrap(other)) == 2
    assert await flow.async_start(wrap(one)) == 1
    assert len(runs) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"b": [1, {2, 3}], "a": (None, b"x", 1.5, float("nan"))},
        lambda: Login("ann", "one"),
        lambda: Document("a"),
        lambda: Slotted(1, 2),
        lambda: settings("one", "note"),
        lambda: Point(1, [Point(2)]),
        lambda: datetime.datetime(2026, 1, 1, tzinfo=NEW_YORK),
        lambda: scores("m"),
        lambda: (Decimal("1.50"), UUID(int=7), PurePosixPath("a/b"), Rights.READ | Rights.WRITE),
    ],
)
async def test_what_is_the_same_in_every_part_has_one_result(make: Callable[[], Any]) -> None:
    """Objects made anew, also of classes without a hash or an equality of their own."""
    flow, runs = counting()
    assert await flow.async_start(make()) == await flow.async_start(make()) == 1
    assert len(runs) == 1


async def test_an_object_that_was_changed_has_another_key() -> None:
    """The same object, and not the same value any more."""
    flow, runs = counting()
    document = Document("a")
    assert await flow.async_start(document) == 1
    document.text = "b"
    assert await flow.async_start(document) == 2
    assert len(runs) == 2


class Custom(datetime.tzinfo):
    """A zone whose rules are code and state that is not known here."""

    def utcoffset(self, moment: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=1)


def deep() -> Any:
    value: Any = 1
    for _ in range(1_000):
        value = [value]
    return value


class Property:
    __slots__ = ("_value",)

    @property
    def value(self) -> int:
        raise RuntimeError("not now")


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), {"client": threading.Lock()}, lambda: 1, object(), deep(), ValueError("x"), memoryview(b"a"),
     iter([1]), datetime.datetime(2026, 1, 1, tzinfo=Custom())],
    ids=["lock", "lock inside", "function", "object", "deep", "exception", "view", "iterator", "zone"],
)  # fmt: skip
async def test_what_has_no_safe_key_is_not_cached_and_that_is_logged(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """ "A value that cannot be compared so ... is not cached, and a log line says why"; once."""
    flow, runs = counting()
    with caplog.at_level(logging.WARNING, "triggerflow"):
        for _ in range(3):
            await flow.async_start(value)
    assert len(runs) == 3
    assert [record.getMessage().partition(", because")[0] for record in caplog.records] == [
        "chunk 'cached': a result is not cached"
    ]
    assert "pass a key function to Cache" in caplog.text


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), ((1, "a"), (True, "a")), ([1], [True]), ("1", 1)])
async def test_keys_of_ones_own_do_not_meet_by_pythons_equality(one: Any, other: Any) -> None:
    """ "`key` ... returns a text, a number, a tuple of these"."""
    flow, runs = counting(Cache(lambda data: data.value["key"]))
    for key in (one, other, one):
        await flow.async_start({"key": key, "more": object()})
    assert len(runs) == 2


class Folded:
    """A key that is equal in any case."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folded) and other.text.lower() == self.text.lower()

    def __hash__(self) -> int:
        return hash(self.text.lower())


async def test_a_key_may_be_an_object_with_an_equality_of_its_own() -> None:
    """ "or another hashable object": then its own equality counts."""
    flow, runs = counting(Cache(lambda data: Folded(data.value)))
    for value in ("Sails", "sails", "SAILS", "masts"):
        await flow.async_start(value)
    assert runs == ["Sails", "masts"]


async def test_a_key_that_cannot_be_one_is_told() -> None:
    """The chunk fails, with what `key` has to return."""
    flow, _ = counting(Cache(lambda data: Unhashable()))
    with pytest.raises(
        TypeError, match=r"'cached': the key function of its Cache returned a Unhashable.*a number, or a tuple"
    ):
        await flow.async_start(1)


class Unhashable:
    __hash__ = None  # type: ignore[assignment]


async def async_key(data: Any) -> Any:
    return data.value


@pytest.mark.parametrize(
    "options", [{"ttl": "5"}, {"ttl": float("nan")}, {"size": 1.5}, {"key": 5}, {"key": async_key}]
)
def test_a_cache_of_the_wrong_kind_is_refused_on_its_line(options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=next(iter(options))):
        Cache(**options)


# -- whose results -----------------------------------------------------------------------------------------------------


async def test_one_cache_for_two_chunks_keeps_their_results_apart() -> None:
    """ "Several chunks may share one cache; their results stay apart"."""
    cache, flow = Cache(ttl=60), TriggerFlow()
    title = flow.chunk("title", cache=cache)(lambda data: f"title of {data.value}")
    price = flow.chunk("price", cache=cache)(lambda data: f"price of {data.value}")
    flow.batch(title, price, ("second", title)).end()
    wanted = {"title": "title of sails", "price": "price of sails", "second": "title of sails"}
    for _ in range(2):
        assert await flow.async_start("sails") == wanted


async def test_one_cache_for_two_flows_keeps_their_results_apart() -> None:
    """ "for all executions of its flow": a chunk may do other things with another flow's resources."""
    cache, flows = Cache(), [TriggerFlow(name=name) for name in ("one", "other")]

    async def ask(data: Data) -> str:
        return f"{data.require_resource('client')} on {data.value}"

    first = flows[0].chunk("ask", cache=cache)(ask)
    flows[0].to(first).end()
    flows[1].to(first).end()
    for flow in flows:
        flow.set_runtime_resource("client", flow.name)
    for _ in range(2):
        assert [await flow.async_start("sails") for flow in flows] == ["one on sails", "other on sails"]


async def test_another_version_of_the_flow_has_the_results_of_the_one_before() -> None:
    """A step more at the end is no reason to ask again."""
    flow, runs = counting()
    assert await flow.async_start("sails") == 1
    flow.when("later").to(("heard", lambda data: None))
    assert await flow.async_start("sails") == 1
    assert len(runs) == 1


@pytest.mark.parametrize("kind", ["list", "dict", "model", "nested"])
async def test_a_kept_result_is_not_changed_by_what_is_done_with_it(kind: str) -> None:
    """ "Every run gets its own copy ... of the result", also when several runs wait for it."""
    make: dict[str, Callable[[], Any]] = {
        "list": lambda: [[]],
        "dict": lambda: {"found": []},
        "model": lambda: Settings(extra={"found": []}),
        "nested": lambda: ([],),
    }
    flow = TriggerFlow()

    @flow.chunk("find", cache=Cache())
    async def find(data: Data) -> Any:
        await asyncio.sleep(1)
        return make[kind]()

    async def add(data: Data) -> int:
        held: Any = data.value
        held = held.extra["found"] if kind == "model" else held["found"] if kind == "dict" else held[0]
        held.append("mine")
        return len(held)

    flow.to(find).to(add).end()
    assert await asyncio.gather(*(flow.async_start("q") for _ in range(3))) == [1, 1, 1]
    assert await flow.async_start("q") == 1
    assert now() == 1


async def test_a_result_that_cannot_be_copied_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    """ "a result that cannot be copied is not cached": each run has its own, and waiting runs start at once."""
    flow, runs = TriggerFlow(), list[Any]()

    @flow.chunk("connect", cache=Cache())
    async def connect(data: Data) -> Any:
        runs.append(data.value)
        await asyncio.sleep(1)
        return threading.Lock()

    flow.to(connect).end()
    locks = await asyncio.gather(*(flow.async_start("q") for _ in range(4)))
    assert len({id(lock) for lock in locks}) == len(runs) == 4
    assert now() == 2
    assert "cannot be copied" in caplog.text


# -- waiting -----------------------------------------------------------------------------------------------------------


def slow(cache: Cache | None = None, **options: Any) -> tuple[TriggerFlow, list[float]]:
    """A flow whose cached chunk takes 10 seconds; and when it was run."""
    flow, runs = TriggerFlow(name="slow"), list[float]()

    @flow.chunk("slow", cache=cache or Cache(), **options)
    async def slow(data: Data) -> str:
        runs.append(now())
        await asyncio.sleep(10)
        return "done"

    flow.to(slow).end()
    return flow, runs


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
@pytest.mark.parametrize("leaver", [0, 1, 2, 3])
async def test_one_that_leaves_takes_nobody_with_it(how: str, leaver: int) -> None:
    """ "the other runs wait"; "If that run fails or is cancelled, the next waiting run takes its turn"."""
    flow, runs = slow()

    async def start(number: int) -> Any:
        return await flow.async_start("q", timeout=5 if how == "timed out" and number == leaver else None)

    tasks = [asyncio.create_task(start(number)) for number in range(4)]
    await asyncio.sleep(5)
    if how == "cancelled":
        tasks[leaver].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [result == "done" for result in results] == [number != leaver for number in range(4)]
    assert runs == ([0, 5] if leaver == 0 else [0])


async def test_those_that_wait_take_their_turn_however_many_leave() -> None:
    """One after another is cancelled as soon as it runs, or right before."""
    flow, runs = slow()
    tasks = [asyncio.create_task(flow.async_start("q")) for _ in range(6)]
    await asyncio.sleep(1)
    tasks[0].cancel()
    tasks[1].cancel()  # it is the next, and leaves in the same turn
    await turns()
    tasks[2].cancel()
    tasks[4].cancel()
    assert [await task for task in (tasks[3], tasks[5])] == ["done", "done"]
    assert len(runs) == 3
    assert now() == 11


async def test_a_time_out_bounds_the_wait_for_another_run() -> None:
    """`timeout` with `cache`: "did not finish within its timeout" counts from the start of the run, whoever does the
    work; the run that does it goes on."""
    flow = TriggerFlow()
    gate = asyncio.Event()

    @flow.chunk("slow", cache=Cache(), timeout=10)
    async def slow(data: Data) -> str:
        await gate.wait()
        return "done"

    flow.to(slow).end()
    tasks = [asyncio.create_task(flow.async_start("q"))]
    await asyncio.sleep(6)
    tasks.append(asyncio.create_task(flow.async_start("q")))
    await asyncio.sleep(3)
    gate.set()
    assert await asyncio.gather(*tasks) == ["done", "done"]


@pytest.mark.parametrize("limit", ["execution", "for_each", "chunk"])
async def test_one_that_waits_gives_its_place_up(limit: str) -> None:
    """S3: "Nothing can deadlock on a concurrency limit"; "the other runs ... release their permits"."""
    flow, gauge = TriggerFlow(), Gauge()

    @flow.chunk("ask", cache=Cache(), concurrency=1 if limit == "chunk" else None)
    async def ask(data: Data) -> Any:
        await data.async_emit("log", data.value, settle=True)
        with gauge.inside():
            await asyncio.sleep(1)
        return data.value

    async def log(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(1)

    flow.when("log").to(log)
    flow.for_each(concurrency=3 if limit != "execution" else None).to(ask).end_for_each().end()
    values = [5, 5, 5, 6]
    assert await flow.async_start(values, concurrency=1 if limit == "execution" else None, timeout=100) == values
    assert gauge.total == 4
    if limit == "execution":
        assert gauge.peak == 1


async def test_one_that_waits_lets_others_work_meanwhile() -> None:
    """A place that nobody uses is given to the next: three wait for one run, and a fourth works."""
    flow, runs = TriggerFlow(), list[tuple[Any, float]]()

    @flow.chunk("ask", cache=Cache())
    async def ask(data: Data) -> None:
        runs.append((data.value, now()))
        await asyncio.sleep(10)

    flow.for_each().to(ask).end_for_each()
    await flow.async_start(["a", "a", "a", "b"], concurrency=2)
    assert runs == [("a", 0), ("b", 0)]
    assert now() == 10


@pytest.mark.parametrize("way", ["itself", "each other"])
async def test_runs_that_have_caused_each_other_do_not_wait_for_each_other(way: str) -> None:
    """A chunk that waits for a run of itself with the same key would wait for ever; without a cache it would not."""
    flow, runs = TriggerFlow(), list[Any]()

    @flow.chunk("visit", cache=Cache())
    async def visit(data: Data) -> Any:
        runs.append(data.value)
        await asyncio.sleep(1)
        if data.state.update(f"seen {data.value}", lambda count: count + 1, 0) == 1:
            other = data.value if way == "itself" else "b" if data.value == "a" else "a"
            await data.async_emit("link", other, settle=True)
        return data.value

    flow.when("link").to(visit)
    flow.for_each().to(visit).end_for_each().end()
    pages = ["a"] if way == "itself" else ["a", "b"]
    assert await flow.async_start(pages, timeout=100) == pages
    assert len(runs) <= 2 * len(pages)


async def test_a_waiting_run_of_a_durable_execution() -> None:
    """The same with a store behind it, where giving up a place is a record."""
    flow, runs = slow()
    async with MemoryStore() as store:
        executions = [flow.create_execution(store=store, concurrency=1) for _ in range(3)]
        tasks = [asyncio.create_task(it.async_start("q")) for it in executions]
        await asyncio.sleep(1)
        await executions[1].async_cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [results[0], results[2]] == ["done", "done"]
    assert runs == [0]


@pytest.mark.real_time
async def test_sync_chunks_with_a_cache_run_once() -> None:
    """A chunk in a thread: what waits for it waits on the loop."""
    flow, runs = TriggerFlow(), list[Any]()
    gate = threading.Event()

    @flow.chunk("blocking", cache=Cache())
    def blocking(data: Data) -> str:
        runs.append(data.value)
        gate.wait(5)
        return "done"

    flow.to(blocking).end()
    tasks = [asyncio.create_task(flow.async_start("q")) for _ in range(5)]
    await asyncio.sleep(0.05)
    gate.set()
    assert await asyncio.gather(*tasks) == ["done"] * 5
    assert len(runs) == 1


def test_two_event_loops_share_what_is_kept() -> None:
    """A kept result is no matter of one loop; runs at the same time are."""
    flow, runs = counting()
    assert asyncio.run(flow.async_start("q")) == 1
    assert flow.start("q") == 1
    assert len(runs) == 1
