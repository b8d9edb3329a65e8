"""S20: A definition has a fingerprint per operator. Loading an execution of another version says *compatible*, *needs a
map* or *refused*, with reasons."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import soak
from tests.core.flows import Program, program, programs
from tests.core.simulation import TYPES, Effect, Simulation, Start, in_order_of
from triggerflow import Chain, Retry, TriggerFlow
from triggerflow._core import events
from triggerflow._core.definition import Definition, OperatorKind
from triggerflow._core.machine import FINAL, Machine, compile_plan
from triggerflow._core.snapshot import decode, encode
from triggerflow._core.state import READY, RUNNING
from triggerflow.durable.format.versions import Verdict, apply_map, compare, in_use, inspect
from triggerflow.errors import DefinitionError, SnapshotError

RANDOM = settings(soak.examples(30), suppress_health_check=list(HealthCheck))
Build = Callable[[TriggerFlow, Any], Any]


async def step(data: Any) -> Any: ...
async def other(data: Any) -> Any: ...
def is_long(data: Any) -> bool: ...


def flow_of(build: Callable[[TriggerFlow], Any]) -> Definition:
    flow = TriggerFlow(name="f")
    build(flow)
    return flow.definition


def saved(machine: Machine) -> dict[str, Any]:
    """A snapshot."""
    return encode(machine.plan, machine.state, TYPES.pack)


def after(build: Build, count: int, value: Any = None, **options: Any) -> Simulation:
    """A program that has been started and has taken so many more records, always of the run that began first."""
    simulation = program(build, value, **options).simulation()
    simulation.send(Start(value, **options).record())
    for _ in range(count):
        simulation.actions()[0]()
    return simulation


def go_on(live: Simulation, build: Build, snapshot: dict[str, Any]) -> Simulation:
    """Load a snapshot under the flow that `build` makes, and run to the end."""
    renewed = program(build)
    second = renewed.simulation(machine=Machine(renewed.plan, decode(renewed.plan, snapshot, TYPES.unpack)))
    second.clock = live.clock
    second.interrupts = {
        number: it for number, it in (second.machine.state.interrupts or {}).items() if it.status == "waiting"
    }
    second.go_on()
    return second.go()


# -- fingerprints ------------------------------------------------------------------------------------------------------


async def emitter(data: Any) -> None:
    await data.async_emit("soon", 1)
    await data.async_emit("late", 2)


BASE: list[Callable[[TriggerFlow], Any]] = [
    lambda flow: flow.to(emitter).to(step).end(),
    lambda flow: flow.when("soon").batch(("a", step), ("b", step), concurrency=2).to(("c", other)),
    lambda flow: flow.when({"error": emitter}).match().case(is_long).to(("d", step)).end_match(),
    lambda flow: flow.for_each(concurrency=3).to(("e", step)).end_for_each().collect("parts", "left"),
]
ADDED: dict[str, Callable[[TriggerFlow], Any]] = {
    "a chain that listens to what is emitted already": lambda flow: flow.when("late").to(("new", step)).end(),
    "a chain that listens to a chunk": lambda flow: flow.when(step).to(("new", step)),
    "a chunk at the start": lambda flow: flow.to(("new", step)),
    "a side branch": lambda flow: flow.side_branch(("new", step)),
    "a batch": lambda flow: flow.when("x").batch(("new", step), ("newer", other)),
    "a condition": lambda flow: flow.when("x").match().case(is_long).to(("new", step)).end_match(),
    "another collection": lambda flow: flow.when("x").collect("others", "left"),
    "a timer": lambda flow: flow.when({"timer": 5}).to(("new", step)),
}


@pytest.mark.parametrize("what", ADDED)
@pytest.mark.parametrize("position", range(len(BASE) + 1))
def test_adding_an_operator_renames_no_other_and_changes_no_other_fingerprint(what: str, position: int) -> None:
    if what == "a chain that listens to a chunk" and position == 0:
        position = 1  # it needs what it is added to
    steps = [*BASE[:position], ADDED[what], *BASE[position:]]
    before = flow_of(lambda flow: [step(flow) for step in BASE]).fingerprints
    now = flow_of(lambda flow: [step(flow) for step in steps]).fingerprints
    assert {id: now.get(id) for id in before} == before
    assert len(now) > len(before)


def test_a_step_put_into_a_chain_changes_only_its_successor_and_no_name() -> None:
    before = flow_of(lambda flow: flow.to(("a", step)).to(("b", step)).to(("c", step))).fingerprints
    now = flow_of(lambda flow: flow.to(("a", step)).to(("new", step)).to(("b", step)).to(("c", step))).fingerprints
    assert [id for id in before if now[id] != before[id]] == ["b"]
    assert (now["b"].split(".")[:2], set(now) - set(before)) == (before["b"].split(".")[:2], {"new"})


CHANGED: dict[str, tuple[str, Callable[[TriggerFlow], Any], Callable[[TriggerFlow], Any], str]] = {
    # what: (operator, before, now, the part of the fingerprint that changes)
    "handler": (
        "match<-start/1",
        lambda f: f.match().case(is_long).end_match(),
        lambda f: f.match().case(step).end_match(),
        "details",
    ),
    "policy": (
        "a",
        lambda f: f.to(f.chunk("a")(step)),
        lambda f: f.to(f.chunk("a", retry=Retry(attempts=9))(step)),
        "details",
    ),
    "limit": ("a", lambda f: f.to(f.chunk("a")(step)), lambda f: f.to(f.chunk("a", concurrency=1)(step)), "details"),
    "predecessor": ("a", lambda f: f.to(("a", step)), lambda f: f.when("x").to(("a", step)), "details"),
    "side branch": ("a", lambda f: f.to(("a", step)), lambda f: f.side_branch(("a", step)), "wiring"),
    "block": ("a", lambda f: f.to(("a", step)), lambda f: f.for_each().to(("a", step)).end_for_each(), "wiring"),
    "mode": ("when:a&b", lambda f: f.when(["a", "b"]), lambda f: f.when(["a", "b"], mode="or"), "other"),
    "branches": (
        "batch<-start/end",
        lambda f: f.batch(("a", step), ("b", step)),
        lambda f: f.batch(("b", step), ("a", step)),
        "wiring",
    ),
    "literal": (
        "match<-start/1",
        lambda f: f.match().case(1).end_match(),
        lambda f: f.match().case(2).end_match(),
        "details",
    ),
    "kind": (
        "start",
        lambda f: f.chunk("start")(step) and f.to("start"),
        lambda f: f.to_sub_flow(TriggerFlow(name="start")),
        "other",
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_changes_a_fingerprint(what: str) -> None:
    id, before, now, part = CHANGED[what]
    old = flow_of(before).fingerprints
    new = flow_of(now).fingerprints
    if part == "other":  # the id tells it already
        assert old.keys() != new.keys()
        return
    differing = [
        name for name, *pair in zip(("kind", "wiring", "details"), old[id].split("."), new[id].split("."), strict=True)
        if pair[0] != pair[1]
    ]  # fmt: skip
    assert differing in ([part], [part, "details"])


def test_a_literal_that_cannot_be_written_has_a_fingerprint() -> None:
    def build(flow: TriggerFlow, literal: Any) -> None:
        flow.match().case(literal).end_match()

    found = [
        flow_of(lambda flow, it=it: build(flow, it)).fingerprints for it in (object(), object(), 2**80, {1: 2}, {3})
    ]
    assert found[0] == found[1] != found[2]


# -- by names and fingerprints -----------------------------------------------------------------------------------------


def verdict(before: Callable[[TriggerFlow], Any], now: Callable[[TriggerFlow], Any], *used: str) -> Verdict:
    return compare(flow_of(before).fingerprints, flow_of(now), used)


def test_what_is_not_in_use_may_change_freely() -> None:
    found = verdict(lambda f: f.to(("a", step)).to(("b", step)).end(), lambda f: f.to(("a", step)).batch(other), "a")
    assert found == Verdict("compatible")


def test_another_handler_or_policy_is_compatible_and_is_told() -> None:
    found = verdict(lambda f: f.to(("a", step)), lambda f: f.to(f.chunk("a", timeout=3)(other)), "a")
    assert (found.kind, [(it.operator, it.change) for it in found.reasons]) == ("compatible", [("a", "details")])


def test_another_kind_is_refused() -> None:
    child = TriggerFlow(name="child")
    before = flow_of(lambda f: f.to_sub_flow(child))
    id = before.operators[0].id
    now = flow_of(lambda f: f.to(f.chunk(id)(step)))
    found = compare(before.fingerprints, now, [id])
    assert (found.kind, found.reasons[0].change, found.map_form) == ("refused", "kind", {})
    assert f"{id!r} was a sub_flow and is now a chunk; give" in str(found.reasons[0])


def test_another_place_needs_a_map_that_proposes_the_same_operator() -> None:
    found = verdict(
        lambda f: f.to(("a", step)), lambda f: f.for_each().to(("a", step)).end_for_each(), "a"
    )  # fmt: skip
    assert (found.kind, found.reasons[0].change, found.map_form) == ("needs_map", "wiring", {"a": "a"})


def test_what_is_gone_needs_a_map_that_proposes_what_looks_alike() -> None:
    def before(flow: TriggerFlow) -> None:
        flow.to(("a", step)).for_each(concurrency=2).to(("b", step)).end_for_each()
        flow.when("x").to(("c", other))

    def now(flow: TriggerFlow) -> None:
        flow.to(("a", step)).to(("new", step)).for_each(concurrency=2).to(("b", step)).end_for_each()
        flow.when("x").to(("unlike", step))

    found = verdict(before, now, "for_each<-a", "c", "b")
    assert found.kind == "needs_map"
    assert found.map_form == {"for_each<-a": "for_each<-new", "c": None, "b": "b"}
    assert [(it.operator, it.change) for it in found.reasons] == [
        ("b", "wiring"),
        ("c", "gone"),
        ("for_each<-a", "gone"),
    ]
    assert all(it.hint for it in found.reasons)


def test_what_is_gone_without_anything_of_its_kind_is_refused() -> None:
    found = verdict(lambda f: f.batch(("a", step)), lambda f: f.to(("a", step)), "batch<-start")
    assert (found.kind, found.map_form) == ("refused", {})
    assert "there is no batch_fanout" in str(found.reasons[0])


def test_fingerprints_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(SnapshotError, match="no fingerprint"):
        compare({"a": "0123456789abcdef"}, flow_of(lambda f: f.to(("a", step))), ["a"])
    with pytest.raises(SnapshotError, match="'b'"):
        compare({}, flow_of(lambda f: f.to(("a", step))), ["b"])


# -- with a saved execution --------------------------------------------------------------------------------------------


@RANDOM
@given(programs("ordered"), st.integers(0, 1000))
def test_more_operators_change_nothing_for_what_is_in_flight(before: Program, seed: int) -> None:
    """Loaded after any record under a flow with more in it, an execution comes to the result that it would have had."""
    whole = before.simulate()
    pick = in_order_of(seed)
    live = before.simulation(pick)
    live.send(before.start.record())
    for _ in range(pick(len(whole.records))):
        actions = live.actions()
        if live.close is not None or not actions:
            break
        actions[pick(len(actions))]()
    if live.machine.state.status in FINAL:
        return
    snapshot = saved(live.machine)
    kept = copy.deepcopy(snapshot)
    before.flow.when("never").to(("new", step)).batch(("newer", step), ("newest", other)).end()
    definition = before.flow.definition
    assert inspect(snapshot, definition).kind == "compatible"
    moved = apply_map(snapshot, definition)
    assert snapshot == kept
    assert moved["operators"] == definition.fingerprints
    plan = compile_plan(definition)
    second = before.simulation(pick, machine=Machine(plan, decode(plan, moved, TYPES.unpack)), saved=live.save().inside)
    second.clock = live.clock
    second.interrupts = {
        number: it
        for number, it in (second.machine.state.interrupts or {}).items()
        if it.status == "waiting" and it.expires is None
    }
    second.go_on()
    second.go()
    assert second.close is not None
    assert (
        encode(plan, second.machine.state, TYPES.pack)["result"]
        == encode(plan, whole.machine.state, TYPES.pack)["result"]
    )


def in_a_loop(limit: int | None, window: int | None) -> Build:
    """Five items, whose chunk and block have limits."""

    def build(flow: Any, chunk: Any) -> None:
        body = flow.for_each(concurrency=window).to(chunk("work", "pair", concurrency=limit))
        body.end_for_each().end()

    return build


@pytest.mark.parametrize("now", [1, 3, None])
@pytest.mark.parametrize("before", [1, None])
def test_a_chunk_that_waits_for_an_answer_may_have_a_limit(before: int | None, now: int | None) -> None:
    """S20: an execution that has asked is loaded under the limits of the new version, and takes the answer."""

    def asking(limit: int | None) -> Build:
        return lambda flow, chunk: flow.to(chunk("ask", "name", pauses="next", concurrency=limit)).end()

    live = after(asking(before), 1)
    assert [it.status for it in live.machine.state.interrupts.values()] == ["waiting"]
    moved = apply_map(saved(live.machine), program(asking(now)).flow.definition)
    assert go_on(live, asking(now), moved).machine.state.result == "answer"


@pytest.mark.parametrize("now", [(None, None), (1, None), (3, None), (None, 2), (2, 2), (1, 4)])
@pytest.mark.parametrize("before", [(None, None), (1, None), (2, None), (None, 3), (2, 3)])
@pytest.mark.parametrize("concurrency", [None, 2])
def test_limits_are_those_of_the_new_version(before: Any, now: Any, concurrency: int | None) -> None:
    live = after(in_a_loop(*before), 1, [1, 2, 3, 4, 5], concurrency=concurrency)
    running = sum(run.phase is RUNNING for run in live.machine.state.runs.values())
    moved = apply_map(saved(live.machine), program(in_a_loop(*now)).flow.definition)
    second = go_on(live, in_a_loop(*now), moved)
    assert second.machine.state.result == [["work", number] for number in (1, 2, 3, 4, 5)]
    # Nobody starts twice, but for those that were running; attempts count what was really tried.
    assert len(second.issued) == len({run.id for run in second.issued}) == 4
    attempts = sorted((run.attempt for run in second.issued), reverse=True)
    assert attempts == [2] * running + [1] * (4 - running)
    assert second.close is not None
    limiters = [*(second.machine.state.chunk_limiters or {}).values(), *second.machine.state.limiters]
    assert [(it.used, len(it.queue)) for it in limiters] == [(0, 0)] * len(limiters)


def test_who_queued_begins_where_no_limiter_is_full_any_more() -> None:
    live = after(in_a_loop(1, None), 0, [1, 2, 3])
    assert [run.phase for run in live.machine.state.runs.values()] == [RUNNING, READY, READY]
    for limit, phases in ((None, [1, 1, 1]), (2, [1, 1, 0]), (1, [1, 0, 0])):
        moved = apply_map(saved(live.machine), program(in_a_loop(limit, None)).flow.definition)
        assert [run["phase"] for run in moved["runs"]] == phases
        assert moved["chunk_limiters"] == (
            {"work": {"limit": limit, "used": sum(phases), "queue": [4] * (limit == 2) or [3, 4] * (limit == 1)}}
            if limit
            else {}
        )


def chain(*names: str) -> Build:
    def build(flow: Any, chunk: Any) -> None:
        at = flow
        for name in names:
            at = at.to(chunk(name, "name"))
        at.end()

    return build


def test_a_renamed_chunk_goes_on_under_its_new_name() -> None:
    live = after(chain("fetch", "tell"), 0)
    build = chain("load", "tell")
    now = program(build).flow.definition
    found = inspect(saved(live.machine), now)
    assert (found.kind, found.map_form) == ("needs_map", {"fetch": "load"})
    with pytest.raises(SnapshotError, match=r"operator_map lacks \['fetch'\]"):
        apply_map(saved(live.machine), now)
    second = go_on(live, build, apply_map(saved(live.machine), now, found.map_form))
    assert [run.node.name for run in second.issued] == ["load", "tell"]
    assert second.machine.state.result == "tell"


MAPS: dict[str, tuple[dict[str, str | None], str]] = {
    "an operator that is not there": ({"fetch": "laod"}, "'laod'.*does not have.*near: .'load'"),
    "an operator of another kind": ({"fetch": "end<-tell"}, "result_sink"),
    "nothing": ({"fetch": None}, "operator_map lacks"),
    "what needs no map": ({"fetch": "load", "tell": "tell"}, r"\['tell'\], which need no map"),
    "a stranger": ({"fetch": "load", "x": "tell"}, r"\['x'\]"),
}


@pytest.mark.parametrize("what", MAPS)
def test_a_map_that_is_wrong_is_refused(what: str) -> None:
    mapping, message = MAPS[what]
    live = after(chain("fetch", "tell"), 0)
    with pytest.raises(SnapshotError, match=message):
        apply_map(saved(live.machine), program(chain("load", "tell")).flow.definition, mapping)


def test_two_operators_in_flight_cannot_go_on_as_one() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a"))
        flow.to(chunk("b"))

    live = after(build, 0)
    for names in (("c",), ("b",)):
        now = program(chain(*names)).flow.definition
        form = {"a": names[0]} if names == ("b",) else {"a": "c", "b": "c"}
        with pytest.raises(SnapshotError, match="two operators"):
            apply_map(saved(live.machine), now, form)


def test_a_block_that_was_renamed_by_a_step_before_it_goes_on() -> None:
    def build(*before: str) -> Build:
        def made(flow: Any, chunk: Any) -> None:
            at = flow
            for name in before:
                at = at.to(chunk(name, "three"))
            at.for_each().to(chunk("work", "pair")).end_for_each().end()

        return made

    live = after(build("list"), 2)
    now = program(build("list", "sort")).flow.definition
    found = inspect(saved(live.machine), now)
    assert found.map_form == {"for_each<-list": "for_each<-sort", "work": "work"}
    second = go_on(live, build("list", "sort"), apply_map(saved(live.machine), now, found.map_form))
    assert second.machine.state.result == [["work", 0], ["work", 1], ["work", 2]]


def batch_of(*names: str) -> Build:
    def build(flow: Any, chunk: Any) -> None:
        flow.batch(*(chunk(name, "name") for name in names)).end()

    return build


@pytest.mark.parametrize(
    ("names", "kind", "words"),
    [
        (("a", "b"), "compatible", ""),
        (("a", "b", "c"), "refused", "has 3 branches now, but 2 were started"),
        (("b", "a"), "refused", "'b' is number 1 in 'batch<-start' now, but was number 2"),
    ],
)
def test_a_batch_that_is_open_keeps_its_branches(names: tuple[str, ...], kind: str, words: str) -> None:
    live = after(batch_of("a", "b"), 1)  # a is done, b runs
    now = program(batch_of(*names)).flow.definition
    found = inspect(saved(live.machine), now)
    assert found.kind == kind
    assert words in " ".join(map(str, found.reasons))
    if kind == "refused":
        with pytest.raises(SnapshotError, match="cannot continue"):
            apply_map(saved(live.machine), now, found.map_form)


def test_a_batch_that_is_closed_may_have_other_branches() -> None:
    def build(*names: str) -> Build:
        def made(flow: Any, chunk: Any) -> None:
            flow.batch(*(chunk(name, "name") for name in names)).to(chunk("last", "pair")).end()

        return made

    live = after(build("a", "b"), 2)
    now = program(build("c", "b", "a")).flow.definition
    assert inspect(saved(live.machine), now).kind == "compatible"
    second = go_on(live, build("c", "b", "a"), apply_map(saved(live.machine), now))
    assert second.machine.state.result == ["last", {"a": "a", "b": "b"}]


def test_a_branch_of_a_batch_may_be_renamed() -> None:
    live = after(batch_of("a", "b"), 1)
    now = program(batch_of("a", "c")).flow.definition
    found = inspect(saved(live.machine), now)
    assert found.map_form == {"b": "c", "batch<-start/end": "batch<-start/end"}
    second = go_on(live, batch_of("a", "c"), apply_map(saved(live.machine), now, found.map_form))
    assert second.machine.state.result == {"a": "a", "c": "c"}


def test_a_case_that_is_being_asked_keeps_its_place() -> None:
    def build(*names: str) -> Build:
        def made(flow: Any, chunk: Any) -> None:
            at = flow.match()
            for name in names:
                at = at.case(chunk.condition(name, "always")).to(chunk(f"{name}!"))
            at.end_match().end()

        return made

    live = after(build("first", "second"), 0)
    assert inspect(saved(live.machine), program(build("first", "second", "third")).flow.definition).kind == "compatible"
    moved = {**saved(live.machine)}
    moved["runs"] = [{**moved["runs"][0], "scope": [moved["runs"][0]["scope"][0], 1]}]
    found = inspect(moved, program(build("first", "second")).flow.definition)
    assert (found.kind, found.reasons[-1].change) == ("refused", "state")


def test_what_was_moved_has_to_stand_where_it_runs() -> None:
    live = after(chain("fetch", "tell"), 0)

    def build(flow: Any, chunk: Any) -> None:
        flow.for_each().to(chunk("fetch")).end_for_each().to(chunk("tell")).end()

    found = inspect(saved(live.machine), program(build).flow.definition)
    assert found.kind == "refused"
    assert "'fetch' is inside 'for_each<-start', but runs in 'no block'" in str(found.reasons[-1])

    def renamed(flow: Any, chunk: Any) -> None:
        flow.for_each().to(chunk("load")).end_for_each().to(chunk("tell")).end()

    with pytest.raises(SnapshotError, match="'load' is inside 'for_each<-start'"):
        apply_map(saved(live.machine), program(renamed).flow.definition, {"fetch": "load"})


def joined(*names: str, mode: Any = "and") -> Build:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a", "name", Effect("emit", "x"))).to(chunk("wait", "name"))
        flow.when({"event": list(names)}, mode=mode).to(chunk("both")).end()

    return build


def test_a_join_goes_on_with_what_it_holds() -> None:
    live = after(joined("x", "y"), 1)
    assert in_use(saved(live.machine)) == {"a", "when:x&y"}
    now = program(joined("x", "y", "z")).flow.definition
    found = inspect(saved(live.machine), now)
    assert found.map_form == {"when:x&y": "when:x&y&z"}
    moved = apply_map(saved(live.machine), now, found.map_form)
    machine = Machine(compile_plan(now), decode(compile_plan(now), moved, TYPES.unpack))
    machine.receive(events.Emitted(0.0, None, "y", 2))
    assert not machine.state.runs.keys() - {1}
    machine.receive(events.Emitted(0.0, None, "z", 3))
    (started,) = (run for run in machine.state.runs.values() if run.node.name == "both")
    assert started.value == {"event": {"x": None, "y": 2, "z": 3}}


@pytest.mark.parametrize(("names", "mode"), [(("y", "z"), "and"), (("x", "y"), "or")])
def test_a_join_that_would_lose_what_it_holds_is_refused(names: tuple[str, ...], mode: str) -> None:
    live = after(joined("x", "y"), 1)
    now = program(joined(*names, mode=mode)).flow.definition
    form = {"when:x&y": next(it.id for it in now.operators if it.kind is OperatorKind.GATE)}
    with pytest.raises(SnapshotError, match="holds a value of 'event:x'"):
        apply_map(saved(live.machine), now, form)


@pytest.mark.parametrize(
    ("branches", "kind"),
    [(("left", "right"), "compatible"), (("left", "right", "top"), "compatible"), (("right", "top"), "refused")],
)
def test_a_collection_keeps_the_branches_that_it_holds(branches: tuple[str, ...], kind: str) -> None:
    def build(*names: str) -> Build:
        def made(flow: Any, chunk: Any) -> None:
            at: Chain = flow.to(chunk("a", "name"))
            for name in names:
                at.to(chunk(f"to {name}")).collect("parts", name).end()

        return made

    live = after(build("left", "right"), 2)
    found = inspect(saved(live.machine), program(build(*branches)).flow.definition)
    assert found.kind == kind
    if kind == "refused":
        assert "'collect:parts' holds a value of 'left'" in str(found.reasons[-1])


def test_an_open_question_keeps_its_chunk_and_an_answered_one_does_not() -> None:
    def build(*names: str) -> Build:
        def made(flow: Any, chunk: Any) -> None:
            at = flow
            for name in names:
                at = at.to(chunk(name, "name", pauses="next"))
            at.end()

        return made

    live = after(build("ask", "confirm"), 1)
    now = program(build("confirm")).flow.definition
    assert inspect(saved(live.machine), now).map_form == {"ask": None}
    live.answer()  # ask is answered, confirm runs
    assert inspect(saved(live.machine), now).kind == "compatible"
    moved = apply_map(saved(live.machine), now)
    assert moved["interrupts"] == []
    second = go_on(live, build("confirm"), moved)
    assert second.machine.state.status == "completed"


def test_a_snapshot_that_is_damaged_is_refused() -> None:
    live = after(batch_of("a", "b"), 1)
    now = program(batch_of("a", "b")).flow.definition
    whole = saved(live.machine)
    for key in ("runs", "openings", "joins", "interrupts", "operators"):
        for broken in (None, 3, [3], [{}]):
            with pytest.raises(SnapshotError):
                inspect({**whole, key: broken}, now)
        with pytest.raises(SnapshotError):
            inspect({name: whole[name] for name in whole if name != key}, now)


def test_errors_are_the_engines_own() -> None:
    assert issubclass(SnapshotError, ValueError)
    assert not issubclass(SnapshotError, DefinitionError)
