"""What a name means, and what the places of a chunk mean (decision 0019)."""

import asyncio
import enum
import functools
from collections.abc import Callable
from typing import Any

import pytest

from triggerflow import Chain, Chunk, Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import DefinitionError, UnknownChunkError

Data = TriggerFlowRuntimeData[Any]
Wire = Callable[[TriggerFlow, "Steps"], Any]


class Steps:
    """Registered chunks a, b and so on, which note their runs; `a` returns "a(value)"."""

    def __init__(self, flow: TriggerFlow) -> None:
        self.flow = flow
        self.ran: list[str] = []

    def __getattr__(self, name: str) -> Chunk:
        async def step(data: Data) -> str:
            self.ran.append(f"{name}({data.value})")
            return f"{name}({data.value})"

        chunk = self.flow.chunk(name)(step)
        setattr(self, name, chunk)
        return chunk


def wired(wire: Wire) -> tuple[TriggerFlow, Steps]:
    flow = TriggerFlow(name="wired")
    steps = Steps(flow)
    wire(flow, steps)
    return flow, steps


def until(count: int, name: str = "again") -> Any:
    """A function that counts its runs in the state, and emits an event until it has run often enough."""

    async def turn(data: Data) -> int:
        ran = data.state.get("turns", 0) + 1
        data.state.set("turns", ran)
        if ran < count:
            await data.async_emit(name, ran)
        return ran

    return turn


def noting(seen: list[Any]) -> Any:
    """A function that notes its values."""

    async def note(data: Data) -> None:
        seen.append(data.value)

    return note


# -- a string is an event ----------------------------------------------------------------------------------------------


async def emit_remind(data: Data) -> None:
    await data.async_emit("remind", "now")


@pytest.mark.parametrize("chunk_first", [True, False])
@pytest.mark.parametrize("form", ["remind", {"event": "remind"}, ["remind"], ("remind",)])
async def test_a_string_is_the_event_also_where_a_chunk_has_that_name(chunk_first: bool, form: Any) -> None:
    flow = TriggerFlow()
    steps = Steps(flow)
    parts: list[Callable[[], Any]] = [
        lambda: flow.to(emit_remind),
        lambda: flow.when(form).to(steps.remind).end(),
        lambda: flow.to(("other", lambda data: "nothing")).to(steps.remind),
    ]
    for part in parts if chunk_first else parts[::-1]:
        part()
    await flow.async_start()
    assert sorted(steps.ran) == ["remind(nothing)", "remind(now)"]


@pytest.mark.parametrize("event_first", [True, False])
@pytest.mark.parametrize("wanted", [lambda steps: steps.search, lambda steps: {"chunk": "search"}])
async def test_completion_is_told_apart_in_either_order(event_first: bool, wanted: Any) -> None:
    flow = TriggerFlow()
    steps = Steps(flow)
    parts: list[Callable[[], Any]] = [
        lambda: flow.when(wanted(steps)).to(steps.report).end(),
        lambda: flow.to(steps.search),
    ]
    for part in parts if event_first else parts[::-1]:
        part()
    assert await flow.async_start(1) == "report(search(1))"


@pytest.mark.parametrize("late", [True, False])
async def test_a_plain_function_can_be_listened_to_before_it_is_wired(late: bool) -> None:
    flow = TriggerFlow()

    async def search(data: Data) -> str:
        return "hits"

    async def report(data: Data) -> str:
        return f"report of {data.value}"

    for part in (0, 1) if late else (1, 0):
        if part:
            flow.to(search)
        else:
            flow.when(search).to(report).end()
    assert await flow.async_start() == "report of hits"


DOUBTFUL: dict[str, Wire] = {
    "the chunk before": lambda flow, it: (flow.to(it.search), flow.when("search").to(it.report)),
    "the chunk after": lambda flow, it: (flow.when("search").to(it.report), flow.to(it.search)),
    "one of several": lambda flow, it: (flow.when(["x", "search"]).to(it.report), flow.to(it.search)),
    "or": lambda flow, it: (flow.when(["search", "x"], mode="or").to(it.report), flow.to(it.search)),
    "a pair": lambda flow, it: (flow.to(("search", lambda data: 1)), flow.when("search").to(it.report)),
    "an enum member": lambda flow, it: (flow.to(it.search), flow.when(Topic.SEARCH).to(it.report)),
}


@pytest.mark.parametrize("wire", DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_string_that_is_a_chunk_and_no_known_event_is_refused(wire: Wire) -> None:
    flow, _ = wired(wire)
    with pytest.raises(DefinitionError) as caught:
        flow.create_execution()
    for word in ("'search'", "{'chunk': 'search'}", "{'event': 'search'}", "test_nodes.py:", "wired"):
        assert word in str(caught.value)


def asks(data: Data) -> None:
    data.pause_for(resume_event="search")


async def sends(data: Data) -> None:
    await data.async_emit("search")


KNOWN: dict[str, Wire] = {
    "external": lambda flow, it: flow.signal("search", external=True),
    "declared": lambda flow, it: flow.signal("search"),
    "emitted": lambda flow, it: flow.to(sends),
    "wired emits": lambda flow, it: flow.to(flow.chunk("e", emits="search")(lambda data: 1)),
    "an answer": lambda flow, it: flow.to(asks),
    "to itself": lambda flow, it: flow.when("search").to(it.search),
}


@pytest.mark.parametrize("way", KNOWN)
def test_an_event_that_somebody_sends_is_clear(way: str) -> None:
    flow, steps = wired(lambda flow, it: (flow.to(it.search), flow.when("search").to(it.report)))
    KNOWN[way](flow, steps)
    flow.create_execution()


def test_an_event_by_its_key_is_never_refused() -> None:
    flow, _ = wired(lambda flow, it: (flow.to(it.search), flow.when({"event": "search"}).to(it.report)))
    flow.create_execution()


# -- enum members ------------------------------------------------------------------------------------------------------


class Topic(enum.Enum):
    READY = "ready"
    SEARCH = "search"


class Text(str, enum.Enum):  # noqa: UP042 - the older form is met in programs
    READY = "ready"
    SEARCH = "search"


class Strong(enum.StrEnum):
    READY = "ready"
    SEARCH = "search"


ENUMS: list[Any] = [Topic, Text, Strong]


@pytest.mark.parametrize("kind", ENUMS)
@pytest.mark.parametrize("listened", ["member", "text"])
async def test_a_member_of_an_enum_is_its_value_for_events(kind: Any, listened: str) -> None:
    flow, heard = TriggerFlow(), list[Any]()

    async def emit(data: Data) -> None:
        await data.async_emit(kind.READY if listened == "text" else "ready", 1, settle=True)
        data.emit(kind.READY, 2)

    async def note(data: Data) -> None:
        heard.append((data.value, data.trigger_event, type(data.trigger_event)))

    flow.to(emit)
    flow.when(kind.READY if listened == "member" else "ready").to(note)
    flow.signal(kind.READY, int, external=True)
    execution = flow.create_execution(keep_open=True)
    await execution.async_start()
    await execution.async_emit(kind.READY, 3, settle=True)
    execution.emit(kind.READY, 4)
    await execution.async_close()
    assert heard == [(number, "ready", str) for number in (1, 2, 3, 4)]
    assert [it.name for op in flow.definition.operators for it in op.listens if it.kind == "event"] == ["ready"]


@pytest.mark.parametrize("kind", ENUMS)
async def test_a_member_of_an_enum_is_its_value_for_state_and_shared_data(kind: Any) -> None:
    flow, heard = TriggerFlow(), list[Any]()

    async def change(data: Data) -> Any:
        state, key = data.state, kind.READY
        state.set(key, [1])
        state.append(key, 2)
        state.update(key, lambda held: [*held, 3])
        data.flow_state.set(key, 5)
        assert (state["ready"], state[key], key in state, data.flow_state.get(key)) == ([1, 2, 3], [1, 2, 3], True, 5)
        assert {type(it) for it in state} == {str}
        state.delete(key)
        return state.get("ready", "gone")

    async def note(data: Data) -> None:
        heard.append(data.value)

    flow.to(change).end()
    flow.when({"runtime_data": kind.READY}).to(note)
    flow.when({"flow_data": kind.READY}).to(("shared", note))
    assert await flow.async_start() == "gone"
    assert sorted(map(str, heard)) == sorted(["[1]", "[1, 2]", "[1, 2, 3]", "5", "None"])
    flow.set_flow_data(kind.READY, 6)
    assert (flow.get_flow_data("ready"), flow.get_flow_data(kind.READY)) == (6, 6)


@pytest.mark.parametrize("kind", ENUMS)
async def test_a_member_of_an_enum_is_its_value_for_names_in_the_flow(kind: Any) -> None:
    flow = TriggerFlow(name=kind.SEARCH)

    @flow.chunk(kind.SEARCH, emits=kind.READY)
    async def search(data: Data) -> str:
        return f"{data.chunk_name} {data.value}"

    flow.to(kind.SEARCH).collect(kind.READY, kind.SEARCH)
    flow.to((kind.READY, lambda data: 2)).collect("ready", "other")
    flow.when({"collect": kind.READY}).end()
    flow.when({"error": kind.SEARCH}).to(("x", lambda data: None))
    assert (flow.name, search.name, search.emits, list(flow.chunks)) == (
        "search",
        "search",
        ("ready",),
        ["search", "ready", "x"],
    )
    assert await flow.async_start(1) == {"search": "search 1", "other": 2}


@pytest.mark.parametrize("kind", ENUMS)
@pytest.mark.parametrize("by", ["resume_event", "resume_to"])
async def test_a_member_of_an_enum_is_its_value_for_answers(kind: Any, by: str) -> None:
    flow = TriggerFlow()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q", **{by: kind.READY if by == "resume_event" else {"event": kind.READY}})

    flow.to(ask)
    flow.when("ready").to(lambda data: data.value).end()
    execution = flow.create_execution()
    started = await execution.async_begin()
    assert started is None or started is execution
    async for item in execution.get_async_runtime_stream():
        if item["type"] == "interrupt" and item["action"] == "pause":
            assert type(execution.get_interrupt("q")["resume_event"]) is str
            await execution.async_continue_with("q", "yes")
    assert await execution.async_get_result() == "yes"


async def test_a_member_that_is_no_text_is_no_name() -> None:
    class Number(enum.Enum):
        ONE = 1

    flow = TriggerFlow()
    for mistake in (
        lambda: flow.when(Number.ONE),
        lambda: flow.chunk(Number.ONE)(lambda data: 1),  # pyright: ignore[reportArgumentType, reportCallIssue]
        lambda: flow.signal(Number.ONE),  # pyright: ignore[reportArgumentType]
        lambda: flow.to(lambda data: 1).collect(Number.ONE),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(DefinitionError):
            mistake()


# -- every place of a chunk --------------------------------------------------------------------------------------------

PLACES: dict[str, tuple[Wire, Any, Any]] = {
    "a b a": (lambda f, s: f.to(s.a).to(s.b).to(s.a).end(), 1, "a(b(a(1)))"),
    "a a": (lambda f, s: f.to(s.a).to(s.a).end(), 1, "a(a(1))"),
    "a a a": (lambda f, s: f.to(s.a).to(s.a).to(s.a).end(), 1, "a(a(a(1)))"),
    "a b c a c": (lambda f, s: f.to(s.a).to(s.b).to(s.c).to(s.a).to(s.c).end(), 1, "c(a(c(b(a(1)))))"),
    "by name": (lambda f, s: (f.chunk(s.a.handler), f.to(s.a).to("a").end()), 1, "a(a(1))"),
    "in and after a for_each": (
        lambda f, s: f.for_each().to(s.a).end_for_each().to(s.a).end(),
        [1, 2],
        "a(['a(1)', 'a(2)'])",
    ),
    "before and in a for_each": (
        lambda f, s: f.for_each().to(s.a).to(s.b).to(s.a).end_for_each().end(),
        [1, 2],
        ["a(b(a(1)))", "a(b(a(2)))"],
    ),
    "before and in a batch": (lambda f, s: f.to(s.a).batch(s.a, s.b).end(), 1, {"a": "a(a(1))", "b": "b(a(1))"}),
    "in and after a batch": (lambda f, s: f.batch(s.a, s.b).to(s.a).end(), 1, "a({'a': 'a(1)', 'b': 'b(1)'})"),
    "two batches": (
        lambda f, s: f.batch(s.a, s.b).batch(s.b, s.a).end(),
        1,
        {"b": "b({'a': 'a(1)', 'b': 'b(1)'})", "a": "a({'a': 'a(1)', 'b': 'b(1)'})"},
    ),
    "two cases, the first": (
        lambda f, s: f.match().case(1).to(s.a).to(s.x).case(2).to(s.a).to(s.y).end_match().end(),
        1,
        "x(a(1))",
    ),
    "two cases, the second": (
        lambda f, s: f.match().case(1).to(s.a).to(s.x).case(2).to(s.a).to(s.y).end_match().end(),
        2,
        "y(a(2))",
    ),
    "a case and the else": (
        lambda f, s: f.match().case(1).to(s.a).to(s.x).case_else().to(s.a).to(s.y).end_match().end(),
        3,
        "y(a(3))",
    ),
    "all cases": (
        lambda f, s: f.match(mode="hit_all").case(1).to(s.a).case(lambda data: True).to(s.a).to(s.b).end_match().end(),
        1,
        ["a(1)", "b(a(1))"],
    ),
    "in an if and behind it": (
        lambda f, s: f.if_condition(lambda data: True).to(s.a).end_condition().to(s.a).end(),
        1,
        "a(a(1))",
    ),
    "a side branch and behind": (lambda f, s: f.side_branch(s.a).to(s.b).to(s.a).end(), 1, "a(b(1))"),
    "nested blocks": (
        lambda f, s: f.for_each().match().case(1).to(s.a).end_match().to(s.a).end_for_each().to(s.a).end(),
        [1, 2],
        "a(['a(a(1))', 'a(2)'])",
    ),
}


@pytest.mark.parametrize("what", PLACES)
async def test_each_place_of_a_chunk_has_what_follows_it_there(what: str) -> None:
    wire, value, expected = PLACES[what]
    flow, _ = wired(wire)
    assert await flow.async_start(value, timeout=5) == expected


@pytest.mark.parametrize("what", PLACES)
async def test_each_place_survives_saving(what: str) -> None:
    wire, value, expected = PLACES[what]
    flow, _ = wired(wire)
    if what in ("all cases", "in an if and behind it"):
        return  # a lambda has no name that another process could know
    loaded = TriggerFlow(name="loaded")
    for name, chunk in flow.chunks.items():
        loaded.chunk(name)(chunk.handler)
    loaded.load_flow_config(flow.get_flow_config())
    assert loaded.definition.operators == flow.definition.operators
    assert await loaded.async_start(value) == expected
    assert loaded.chunks["a"].trigger.name == "a"


@pytest.mark.parametrize("how", ["chunk", "name", "function"])
async def test_when_hears_every_place(how: str) -> None:
    flow, heard = TriggerFlow(), list[Any]()

    async def a(data: Data) -> str:
        return f"a({data.value})"

    async def note(data: Data) -> None:
        heard.append((data.value, data.trigger_event))

    chunk: Any = a if how == "function" else flow.chunk("a")(a)
    flow.when({"chunk": "a"} if how == "name" else chunk).to(note)
    flow.to(("list", lambda data: [data.value])).for_each().to(chunk).end_for_each().batch(chunk, ("b", lambda data: 0))
    flow.to(chunk)
    await flow.async_start(1)
    assert heard == [("a(1)", "a"), ("a(1)", "a"), ("a(['a(1)'])", "a")]


async def test_a_join_is_filled_by_any_place() -> None:
    flow, seen = TriggerFlow(), list[Any]()
    steps = Steps(flow)

    async def go(data: Data) -> None:
        await data.async_emit("go", data.value)

    flow.to(go)
    flow.to(steps.a).to(steps.b)
    flow.when("go").to(steps.x).to(steps.a).to(steps.y)
    flow.when({"chunk": "a", "event": "other"}).to(lambda data: seen.append(data.value))
    execution = flow.create_execution(keep_open=True)
    await execution.async_start(1)
    await execution.async_emit("other", 2, settle=True)
    await execution.async_close()
    assert seen == [{"event": {"a": "a(x(1))", "other": 2}}]


async def test_an_error_route_and_a_limit_are_for_all_places() -> None:
    flow, failed, active, most = TriggerFlow(), list[Any](), 0, 0

    @flow.chunk("a", concurrency=1, retry=Retry(1))
    async def a(data: Data) -> Any:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0)
        active -= 1
        if data.value == "bad":
            raise ValueError(data.value)
        return "bad"

    flow.when({"error": a}).to(lambda data: failed.append((data.value["chunk"], data.value["value"])))
    flow.to(a).to(a)
    flow.to(("one", lambda data: 1)).to(a)
    flow.to(("two", lambda data: 2)).to(("three", lambda data: 3)).to(a)
    await flow.async_start(0)
    assert (failed, most) == ([("a", "bad")], 1)


async def test_what_a_pause_is_answered_with_follows_at_its_own_place() -> None:
    flow = TriggerFlow()
    steps = Steps(flow)

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id=str(data.value))

    flow.to(ask).to(steps.a).to(ask).to(steps.b).end()
    execution = flow.create_execution()
    async for item in execution.get_async_runtime_stream("q"):
        if item["type"] == "interrupt" and item["action"] == "pause":
            await execution.async_continue_with(item["interrupt"]["id"], "yes")
    assert (await execution.async_get_result(), steps.ran) == ("b(yes)", ["a(yes)", "b(yes)"])


def test_a_chunk_that_stands_once_is_defined_as_before() -> None:
    flow, _ = wired(lambda f, s: f.to(s.a).batch(s.b, s.c).to(s.x).end())
    assert all("completes" not in it.options for it in flow.definition.operators)
    assert [it.emits[0].key for it in flow.definition.operators if it.name in "abcx"] == [
        "chunk:a",
        "chunk:b",
        "chunk:c",
        "chunk:x",
    ]


def step(number: int) -> Any:
    async def step(data: Data) -> str:
        return f"step {number}"

    return step


@pytest.mark.parametrize("way", ["registered after", "named after", "registered before", "another flow's"])
async def test_no_two_chunks_share_a_trigger(way: str) -> None:
    flow, published = TriggerFlow(), list[Any]()

    async def publish(data: Data) -> None:
        published.append(data.value)

    check: Any = None
    if way == "registered before":
        check = flow.chunk("step#2")(step(3))
    flow.to(step(1)).to(step(2)).to(publish)
    if way == "registered after":
        check = flow.chunk(step(3))
    elif way == "named after":
        check = flow.chunk("step#2")(step(3))
    elif way == "another flow's":
        check = TriggerFlow().chunk("step#2")(step(3))
    flow.when("check").to(check)
    execution = flow.create_execution(keep_open=True)
    await execution.async_emit("check", settle=True)
    await execution.async_cancel()
    assert published == []
    assert await flow.async_start() is None
    assert published == ["step 2"]


# -- going back --------------------------------------------------------------------------------------------------------

BACK: dict[str, Callable[[TriggerFlow, Chunk], Any]] = {
    "short": lambda flow, count: flow.when("again").to(count),
    "short, by name": lambda flow, count: flow.when("again").to("count"),
    "back_to": lambda flow, count: flow.when("again").back_to(count),
    "back_to, by name": lambda flow, count: flow.when("again").back_to("count"),
    "behind another step": lambda flow, count: flow.when("again").to(("rest", lambda data: data.value)).back_to(count),
    "behind another step, short": lambda flow, count: (
        flow.when("again").to(("rest", lambda data: data.value)).to(count)
    ),
}


@pytest.mark.parametrize("first", [True, False], ids=["loop first", "loop last"])
@pytest.mark.parametrize("way", BACK)
async def test_going_back_runs_what_follows_again(way: str, first: bool) -> None:
    flow, seen = TriggerFlow(), list[Any]()
    count = flow.chunk("count")(until(3))
    if first:
        BACK[way](flow, count)
    flow.to(count).to(("note", noting(seen)))
    if not first:
        BACK[way](flow, count)
    await flow.async_start(timeout=5)
    assert seen == [1, 2, 3]


SHARED: dict[str, tuple[Wire, list[str]]] = {
    "at the start": (
        lambda f, s: (f.to(s.x).to(s.log), f.to(s.log).to(s.y)),
        ["x(1)", "log(x(1))", "log(1)", "y(log(1))"],
    ),
    "in a block": (
        lambda f, s: (f.to(s.log).to(s.y), f.when({"timer": 0}).batch(s.log)),
        ["log(1)", "y(log(1))", "log(1)"],
    ),
    "beside": (
        lambda f, s: (f.to(s.log).to(s.y), f.when({"timer": 0}).side_branch(s.log)),
        ["log(1)", "y(log(1))", "log(1)"],
    ),
    "with steps of its own": (
        lambda f, s: (f.to(s.log).to(s.y), f.when({"timer": 0}).to(s.log).to(s.x)),
        ["log(1)", "y(log(1))", "log(1)", "x(log(1))"],
    ),
}


@pytest.mark.parametrize("what", SHARED)
async def test_a_place_that_does_not_end_a_chain_of_signals_is_its_own(what: str) -> None:
    wire, ran = SHARED[what]
    flow, steps = wired(wire)
    await flow.async_start(1)
    assert sorted(steps.ran) == sorted(ran)


async def test_several_chains_may_go_back_to_one_place() -> None:
    flow, seen = TriggerFlow(), list[Any]()
    count = flow.chunk("count")(until(2, "again"))
    flow.when("again").to(count)
    flow.when("also").to(count)
    flow.to(("begin", lambda data: data.emit("also"))).to(count).to(("note", noting(seen)))
    await flow.async_start(timeout=5)
    assert sorted(seen) == [1, 2, 3]


@pytest.mark.parametrize("blocks", [0, 1, 2])
async def test_a_case_may_go_back(blocks: int) -> None:
    """ "If it is not good enough, write it again": in a match, and in matches inside of each other."""
    flow = TriggerFlow()
    steps = Steps(flow)

    async def draft(data: Data) -> int:
        return data.value + 1

    async def bad(data: Data) -> bool:
        return data.value < 3

    at: Chain = flow.to(("draft", draft)).to(("review", lambda data: data.value))
    for _ in range(blocks):
        at = at.match().case(lambda data: True)
    at = at.if_condition(bad).back_to("draft").else_condition().to(steps.publish).end_condition()
    for _ in range(blocks):
        at = at.end_match()
    at.end()
    execution = flow.create_execution()
    assert await execution.async_start(0) == "publish(3)"
    assert steps.ran == ["publish(3)"]


async def test_going_back_within_an_item_stays_in_the_item() -> None:
    flow = TriggerFlow()

    async def grow(data: Data) -> int:
        return data.value + 1

    at = flow.for_each().to(("grow", grow)).if_condition(lambda data: data.value < 10).back_to("grow")
    at.end_condition().end_for_each().end()
    assert await flow.async_start([1, 20, 8]) == [10, 21, 10]


async def test_a_case_in_which_nothing_else_happens_may_only_go_back() -> None:
    flow = TriggerFlow()
    flow.to(("grow", lambda data: data.value + 1)).match().case(2).back_to("grow").end_match().end()
    assert await flow.async_start(1) == 3


NEVER_LOOPS: dict[str, tuple[Wire, list[str]]] = {
    "when(b).to(a)": (lambda f, s: (f.to(s.a).to(s.b), f.when(s.b).to(s.a)), ["a(1)", "b(a(1))", "a(b(a(1)))"]),
    "through another": (
        lambda f, s: (f.to(s.a).to(s.b), f.when(s.b).to(s.x).to(s.a)),
        ["a(1)", "b(a(1))", "x(b(a(1)))", "a(x(b(a(1))))"],
    ),
    "through a batch": (
        lambda f, s: (f.to(s.a).batch(s.b), f.when(s.b).to(s.a)),
        ["a(1)", "b(a(1))", "a(b(a(1)))"],
    ),
    "through a join": (
        lambda f, s: (f.to(s.a).to(s.b), f.when({"chunk": ["a", "b"]}).to(s.a)),
        ["a(1)", "b(a(1))", "a({'event': {'a': 'a(1)', 'b': 'b(a(1))'}})"],
    ),
    "through the end of a match": (
        lambda f, s: (f.to(s.a).match().case(5).to(s.x).end_match().to(s.b), f.when(s.b).to(s.a)),
        ["a(1)", "b(a(1))", "a(b(a(1)))"],
    ),
    "written first": (lambda f, s: (f.when(s.b).to(s.a), f.to(s.a).to(s.b)), ["a(1)", "b(a(1))", "a(b(a(1)))"]),
}


@pytest.mark.parametrize("what", NEVER_LOOPS)
async def test_completions_alone_make_no_loop(what: str) -> None:
    wire, expected = NEVER_LOOPS[what]
    flow, steps = wired(wire)
    await flow.async_start(1, timeout=5)
    assert steps.ran == expected


REFUSED: dict[str, tuple[Wire, list[str]]] = {
    "nowhere": (lambda f, s: f.when("x").back_to(s.a), ["'a'", "not wired"]),
    "an unknown name": (lambda f, s: f.when("x").back_to("a"), ["'a'", "not wired"]),
    "two places": (
        lambda f, s: (f.to(s.a).to(s.b).to(s.a).to(s.x), f.when("x").back_to(s.a)),
        ["2 places", "'a'", "'a#2'"],
    ),
    "three places": (
        lambda f, s: (f.to(s.a).to(s.a).to(s.a).to(s.x), f.when("x").back_to(s.a)),
        ["3 places", "'a#2'", "'a#3'"],
    ),
    "into a for_each": (
        lambda f, s: (f.for_each().to(s.a).end_for_each(), f.when("x").back_to(s.a)),
        ["inside", "for_each"],
    ),
    "into a case": (
        lambda f, s: (f.match().case(1).to(s.a).end_match(), f.when("x").back_to(s.a)),
        ["inside", "match"],
    ),
    "out of a for_each": (
        lambda f, s: f.to(s.a).for_each().if_condition(1).back_to(s.a).end_condition().end_for_each(),
        ["leave", "for_each"],
    ),
    "out of a hit_all": (
        lambda f, s: f.to(s.a).match(mode="hit_all").case(1).back_to(s.a).end_match(),
        ["leave", "match"],
    ),
    "a loop at once": (lambda f, s: f.to(s.a).to(s.b).back_to(s.a), ["nothing decides"]),
    "a loop of itself": (lambda f, s: f.to(s.a).back_to(s.a), ["nothing decides"]),
    "a loop over when": (lambda f, s: (f.to(s.a).to(s.b), f.when(s.b).back_to(s.a)), ["nothing decides"]),
    "a loop over a match that ends": (
        lambda f, s: f.to(s.a).match().case(1).to(s.b).end_match().back_to(s.a),
        ["nothing decides"],
    ),
    "two loops in each other": (
        lambda f, s: (f.to(s.a).back_to(s.b), f.when("x").to(s.b).back_to(s.a)),
        ["nothing decides"],
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_way_back_is_refused(what: str) -> None:
    wire, words = REFUSED[what]
    flow, _ = wired(wire)
    with pytest.raises(DefinitionError) as caught:
        flow.create_execution()
    for word in (*words, "back_to", "test_nodes.py:"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "call", ["to", "side_branch", "end", "collect", "for_each", "match", "batch", "back_to", "end_for_each"]
)
def test_nothing_follows_a_step_that_goes_back(call: str) -> None:
    flow, steps = wired(lambda f, s: f.to(s.a).to(s.b))
    at = (flow.for_each() if call == "end_for_each" else flow.when("x")).back_to(steps.a)
    arguments = [] if call in ("end", "for_each", "match", "end_for_each") else [steps.b]
    with pytest.raises(DefinitionError, match=r"follows back_to\(\)"):
        getattr(at, call)(*arguments)


def test_going_back_survives_saving() -> None:
    async def bad(data: Data) -> bool:
        return False

    flow, _ = wired(
        lambda f, s: f.to(s.a).if_condition(bad).back_to(s.a).else_condition().to(s.b).end_condition().end()
    )
    loaded = TriggerFlow()
    for name, chunk in flow.chunks.items():
        loaded.chunk(name)(chunk.handler)
    loaded.register_condition_handler(bad)
    loaded.load_flow_config(flow.get_flow_config())
    assert loaded.definition.operators == flow.definition.operators


@pytest.mark.parametrize(
    ("place", "word"),
    [("nothing", "must be the id"), ("back_to", "not a chunk"), ("inner", "is inside"), (None, "must be")],
)
def test_a_loaded_step_goes_back_only_where_it_can(place: Any, word: str) -> None:
    flow, _ = wired(lambda f, s: (f.to(s.a).to(s.b), f.for_each().to(s.inner).end_for_each(), f.when("x").back_to(s.a)))
    config = flow.get_flow_config()
    step = next(it for it in config["operators"] if it["kind"] == "go_back")
    step["options"]["to"] = step["id"] if place == "back_to" else place
    with pytest.raises(DefinitionError, match=word):
        flow.load_flow_config(config)


@pytest.mark.parametrize("way", ["short", "back_to"])
def test_diagrams_show_the_way_back(way: str) -> None:
    flow, steps = wired(lambda f, s: f.to(s.a).to(s.b))
    BACK[way](flow, flow.chunk("count")(until(2)))
    flow.to("count").to(steps.x)
    text = flow.to_mermaid()
    count = next(line.split("[")[0].strip() for line in text.splitlines() if "count" in line and "[" in line)
    assert sum("count" in line and "[" in line for line in text.splitlines()) == 1, "one box"
    assert any(line.strip().endswith(f" {count}") and "again" in line for line in text.splitlines())


# -- written again -----------------------------------------------------------------------------------------------------


def cell(flow: TriggerFlow) -> None:
    """What a cell of a notebook holds: it defines its functions and wires them."""

    @flow.chunk("load", retry=Retry(2), timeout=5)
    async def load(data: Data) -> Any:
        return data.value

    async def work(data: Data) -> Any:
        return data.value * 2

    async def even(data: Data) -> bool:
        return data.value % 2 == 0

    flow.to(load).for_each().to(work).end_for_each().to(("report", lambda data: sum(data.value))).end()
    flow.when("again").to(load)
    flow.when("other").match().case(even).to(work).case_else().batch(load, ("two", work)).end_match().collect("all")
    flow.when("third").to_sub_flow(CHILD, concurrency=2).collect("all", "child")
    flow.when({"collect": "all"}).side_branch(functools.partial(work))


CHILD = TriggerFlow(name="child")
CHILD.to(lambda data: 1).end()


async def test_a_cell_that_runs_again_changes_nothing() -> None:
    flow = TriggerFlow()
    cell(flow)
    before = flow.definition
    for _ in range(3):
        cell(flow)
        assert flow.definition == before
    execution = flow.create_execution()
    assert await execution.async_start([1, 2]) == 6
    assert flow.definition.fingerprint == before.fingerprint


AGAIN: dict[str, Wire] = {
    "a step": lambda f, s: f.to(s.a),
    "a chain": lambda f, s: f.to(s.a).to(s.b).end(),
    "a side branch": lambda f, s: f.side_branch(s.a).to(s.b),
    "a batch": lambda f, s: f.batch(s.a, s.b).to(s.x),
    "a for_each": lambda f, s: f.for_each(concurrency=2).to(s.a).end_for_each().to(s.b),
    "nested": lambda f, s: f.for_each().match().case(1).to(s.a).end_match().end_for_each().to(s.b),
    "a match": lambda f, s: f.match().case(1).to(s.a).case_else().to(s.b).end_match().to(s.x),
    "a when": lambda f, s: f.when("go").to(s.a),
    "a join": lambda f, s: f.when(["go", "on"]).to(s.a),
    "a collect": lambda f, s: (f.to(s.a).collect("c").to(s.x), f.to(s.b).collect("c")),
    "a sub-flow": lambda f, s: f.to_sub_flow(CHILD).to(s.a),
    "an error route": lambda f, s: (f.to(s.a), f.on_error(s.b)),
    "back": lambda f, s: (f.to(s.a).to(s.b), f.when("again").back_to(s.a)),
    "twice in a chain": lambda f, s: f.to(s.a).to(s.b).to(s.a).end(),
}


@pytest.mark.parametrize("what", AGAIN)
async def test_the_same_wiring_again_is_the_wiring_that_is_there(what: str) -> None:
    flow, steps = wired(AGAIN[what])
    before = flow.definition
    AGAIN[what](flow, steps)
    AGAIN[what](flow, steps)
    assert flow.definition == before
    await flow.async_start([1] if "for_each" in what or what == "nested" else 1)
    assert len(steps.ran) == len(set(steps.ran))


OTHER: dict[str, tuple[Wire, Wire]] = {
    "another function": (lambda f, s: f.to(lambda data: 1), lambda f, s: f.to(lambda data: 2)),
    "another place": (lambda f, s: f.to(s.a), lambda f, s: f.when("x").to(s.a)),
    "another option": (
        lambda f, s: f.for_each().to(s.a).end_for_each(),
        lambda f, s: f.for_each(concurrency=2).to(s.a).end_for_each(),
    ),
    "another case": (
        lambda f, s: f.match().case(1).to(s.a).end_match(),
        lambda f, s: f.match().case(True).to(s.a).end_match(),
    ),
    "one case more": (
        lambda f, s: f.match().case(1).to(s.a).end_match(),
        lambda f, s: f.match().case(1).to(s.a).case(2).to(s.a).end_match(),
    ),
    "one case less": (
        lambda f, s: f.match().case(1).to(s.a).case(2).to(s.b).end_match(),
        lambda f, s: f.match().case(1).to(s.a).end_match(),
    ),
    "another branch": (lambda f, s: f.batch(s.a, s.b), lambda f, s: f.batch(s.a, s.x)),
    "another closure": (lambda f, s: f.to(step(1)), lambda f, s: f.to(step(2))),
    "a list of its own": (lambda f, s: f.to(collecting()), lambda f, s: f.to(collecting())),
    "another default": (lambda f, s: f.to(lambda data, n=1: n), lambda f, s: f.to(lambda data, n=2: n)),
    "another sub-flow option": (lambda f, s: f.to_sub_flow(CHILD), lambda f, s: f.to_sub_flow(CHILD, concurrency=3)),
}


def collecting() -> Any:
    got: list[Any] = []

    async def collect(data: Data) -> None:
        got.append(data.value)

    return collect


@pytest.mark.parametrize("what", OTHER)
def test_what_differs_is_written_beside(what: str) -> None:
    one, other = OTHER[what]
    flow, steps = wired(one)
    before = flow.definition
    other(flow, steps)
    assert len(flow.definition.operators) > len(before.operators)
    assert flow.definition.operators[: len(before.operators)] == before.operators


async def test_what_follows_a_repetition_follows_the_first() -> None:
    flow, steps = wired(lambda f, s: f.to(s.a).to(s.b))
    flow.to(steps.a).to(steps.x)
    assert await flow.async_start(1) is None
    assert sorted(steps.ran) == ["a(1)", "b(a(1))", "x(a(1))"]


async def test_a_function_defined_again_is_the_one_that_runs() -> None:
    flow = TriggerFlow()

    def define() -> Chunk:
        @flow.chunk("work")
        async def work(data: Data) -> Any:
            return data.value

        return work

    first = define()
    flow.to(first).end()
    handler = first.handler
    assert define() is first
    assert first.handler is not handler
    assert await flow.async_start(1) == 1
    with pytest.raises(DefinitionError, match="another callable"):
        flow.chunk("work")(lambda data: 2)


@pytest.mark.parametrize("block", ["for_each", "match", "a fork"])
def test_a_block_has_one_end(block: str) -> None:
    flow, steps = wired(lambda f, s: None)
    at = flow.match().case(1) if block == "match" else flow.for_each()
    end = "end_match" if block == "match" else "end_for_each"
    if block == "a fork":
        at = at.to(steps.b)
    for name in ("x", "y"):
        getattr(at.to(getattr(steps, name)), end)()
    with pytest.raises(DefinitionError, match=rf"ended twice by {end}.*test_nodes.py:"):
        flow.create_execution()


def test_an_unknown_name_is_told_with_its_line() -> None:
    flow, _ = wired(lambda f, s: (f.to(s.search), f.when({"chunk": "serch"}).to(s.a)))
    with pytest.raises(UnknownChunkError, match=r"'serch'.*'search'.*test_nodes.py:"):
        flow.create_execution()


def test_a_loop_in_the_short_form_is_defined_as_before_occurrences() -> None:
    """Stored executions of such flows continue: ids and triggers are those of one chunk with two causes."""
    flow, _ = wired(lambda f, s: (f.to(s.a).to(s.b), f.when("again").to(s.a), f.when("more").to(s.a)))
    told = [(it.id, it.emits[0].key, dict(it.options)) for it in flow.definition.operators if it.name == "a"]
    assert told == [("a", "chunk:a", {}), ("a<-when:again", "chunk:a", {}), ("a<-when:more", "chunk:a", {})]


def test_a_chunk_and_an_event_of_one_name_cannot_share_a_key_of_a_join() -> None:
    flow = TriggerFlow(name="keys")
    search = flow.chunk("search")(lambda data: data.value)
    flow.to(search)
    with pytest.raises(DefinitionError, match="joins the event 'search' and the chunk 'search'"):
        flow.when(["search", search])
    flow.when(["search", search], mode="or").to(lambda data: None)
