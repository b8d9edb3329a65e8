"""Events that are declared to come from outside: the line of the contract on when an execution ends (S6), in full."""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest

from tests.support import now, turns
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import DefinitionError, ExecutionClosed
from triggerflow.stores import MemoryStore

Data = TriggerFlowRuntimeData[Any]

HOURS = 36_000


class Event(StrEnum):
    RARE = "rare"


class Names:
    RARE = "rare"


async def tell(data: Data) -> None:
    await data.async_emit("rare", data.value)


async def literal(data: Data) -> None:
    if data.value:
        await data.async_emit("rare", data.value)


async def local(data: Data) -> None:
    name = "rare"
    if data.value:
        await data.async_emit(name, data.value)


async def enum(data: Data) -> None:
    if data.value:
        await data.async_emit(Event.RARE, data.value)


async def attribute(data: Data) -> None:
    if data.value:
        await data.async_emit(Names.RARE, data.value)


async def computed(data: Data) -> None:
    if data.value:
        await data.async_emit("".join(("ra", "re")), data.value)


async def helper(data: Data) -> None:
    if data.value:
        await tell(data)


async def never(data: Data) -> None:
    """It does not emit anything."""


async def echo(data: Data) -> Any:
    return data.value


WAYS = [literal, local, enum, attribute, computed, helper, never]


def approval(*, external: bool = True) -> TriggerFlow:
    flow = TriggerFlow(name="approval")
    flow.to(("ask", never))
    flow.when(flow.signal("approved", external=external)).to(("publish", echo)).end()
    return flow


async def status_later(execution: Any, value: Any = 0) -> str:
    """Where an execution stands, hours after its start."""
    execution.begin(value)
    await asyncio.sleep(HOURS)
    return execution.get_status()


# -- what decides ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("chunk", WAYS)
async def test_s06_how_a_chunk_emits_does_not_matter(chunk: Any, declared: bool) -> None:
    """S6: it stays open for a "`when` on a signal *declared* to come from outside; never guessed from code"."""
    flow = TriggerFlow()
    flow.to(("source", chunk))
    flow.when("rare").to(("listener", echo))
    if declared:
        flow.signal("rare", external=True)
    for value in (0, 1):
        assert await status_later(flow.create_execution(), value) == ("waiting" if declared else "completed")
        assert await flow.async_start(value) is None, "nobody holds its handle"


@pytest.mark.parametrize(
    "declare",
    [
        lambda flow: flow.signal("approved", external=True),
        lambda flow: flow.signal("approved", str, external=True),
        lambda flow: (flow.signal("approved", str), flow.signal("approved", external=True))[1],
        lambda flow: (flow.signal("approved", external=True), flow.signal("approved", str))[1],
        lambda flow: (flow.signal("approved", external=True), flow.signal("approved", external=True))[1],
    ],
)
@pytest.mark.parametrize("first", ["declaration", "when"])
async def test_ways_to_declare(declare: Callable[[TriggerFlow], Any], first: str) -> None:
    """ "The returned signal can be used wherever the name can"; "What a second declaration of a name leaves out stays
    as it was"."""
    flow = TriggerFlow()
    if first == "declaration":
        signal = declare(flow)
        flow.when(signal).end()
    else:
        flow.when("approved").end()
        signal = declare(flow)
    execution = flow.create_execution()
    assert await status_later(execution) == "waiting"
    await execution.async_emit(signal, "yes")
    assert await execution.async_get_result() == "yes"
    assert execution.get_status() == "completed"


async def test_it_counts_until_there_is_a_result() -> None:
    """ "until it has a result": however often it was received, and whoever has emitted it."""
    flow, heard = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        heard.append(data.value)
        if data.value == "once more":
            await data.async_emit("said", "by a chunk")
        if data.value == "enough":
            data.set_result(len(heard))

    flow.when(flow.signal("said", external=True)).to(note)
    execution = flow.create_execution()
    assert await status_later(execution) == "waiting"
    for value in ("hello", "once more", "again"):
        await execution.async_emit("said", value, settle=True)
        await asyncio.sleep(HOURS)
        assert execution.get_status() == "waiting"
    await execution.async_emit("said", "enough")
    assert await execution.async_get_result() == 5
    assert heard == ["hello", "once more", "by a chunk", "again", "enough"]
    assert execution.get_status() == "completed"


LISTENERS: dict[str, Callable[[TriggerFlow], Any]] = {
    "a join": lambda flow: flow.when(["approved", "never"]),
    "a join of kinds": lambda flow: flow.when({"event": "approved", "runtime_data": "never"}),
    "or": lambda flow: flow.when(["approved", "never"], mode="or"),
    "simple_or": lambda flow: flow.when(["approved", "never"], mode="simple_or"),
    "a collection": lambda flow: flow.when("approved").collect("all", "approved"),
}


@pytest.mark.parametrize("listener", LISTENERS)
async def test_it_counts_alike_in_every_when(listener: str) -> None:
    """Also where the others of a join can never come: "No reachability is computed"."""
    flow, heard = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        heard.append(data.value)

    LISTENERS[listener](flow).to(note)
    flow.signal("approved", external=True)
    execution = flow.create_execution()
    assert await status_later(execution) == "waiting"
    await execution.async_emit("approved", 1, settle=True)
    await asyncio.sleep(HOURS)
    assert execution.get_status() == "waiting"
    assert len(heard) == (0 if "join" in listener else 1)
    assert await execution.async_close() is None


async def test_a_sub_flow_waits_for_nobody() -> None:
    """Signals from outside reach the outermost execution only: inside another flow, the step ends at rest."""
    flow, child = TriggerFlow(), approval()
    flow.to_sub_flow(child).end()
    assert await flow.create_execution().async_start("draft", timeout=1) is None
    assert now() == 0
    assert await status_later(child.create_execution()) == "waiting"


@pytest.mark.parametrize("kind", ["runtime_data", "flow_data", "chunk", "error", "collect"])
async def test_what_else_may_be_caused_from_outside_keeps_nothing_open(kind: str) -> None:
    """ "State, shared data, chunks and errors keep nothing open": only events can be declared."""
    flow = TriggerFlow()
    flow.to(("source", echo))
    if kind == "collect":
        flow.when("unsent").collect("source", "a")
    flow.when({kind: "source"}).to(("listener", never))
    assert await status_later(flow.create_execution()) == "completed"
    flow.when(flow.signal("stay", external=True)).to(("stays", never))
    execution = flow.create_execution()
    assert await status_later(execution) == "waiting"
    await execution.async_cancel()


@pytest.mark.parametrize("external", [False, True])
async def test_kept_open_it_stays_open_with_and_without(external: bool) -> None:
    """ "With `keep_open` it does not close when its work is done, but takes signals until `async_close`"."""
    execution = approval(external=external).create_execution(keep_open=True)
    assert await status_later(execution) == "waiting"
    await execution.async_emit("approved", "yes")
    assert await execution.async_get_result() == "yes"
    assert execution.get_status() == "waiting"
    assert await execution.async_close() == "yes"


async def test_an_answer_that_comes_as_an_event_needs_no_declaration(caplog: pytest.LogCaptureFixture) -> None:
    """The interrupt is open until the answer comes; and the event was sent then."""
    flow = TriggerFlow()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q", resume_event="answered")

    flow.to(ask)
    flow.when("answered").to(never)
    execution = flow.create_execution()
    assert await status_later(execution) == "waiting"
    await execution.async_continue_with("q", "yes")
    await turns()
    assert (execution.get_status(), caplog.records) == ("completed", [])


async def test_a_signal_to_an_execution_at_work_needs_no_declaration() -> None:
    """It is there to be woken; S4 for one that nobody listens to stays as it is."""
    flow, heard = TriggerFlow(), list[Any]()

    async def work(data: Data) -> None:
        await asyncio.sleep(10)

    async def note(data: Data) -> None:
        heard.append(data.value)

    flow.to(work)
    flow.when("progress?").to(note)
    execution = flow.create_execution()
    execution.begin()
    await execution.async_emit("progress?", 1, settle=True)
    await execution.async_emit("nobody listens", 2)
    assert await execution.async_get_result() is None
    assert (heard, now()) == ([1], 10)


# -- wrong declarations ----------------------------------------------------------------------------------------------


def test_an_external_event_that_nothing_listens_to_is_refused_before_the_first_run() -> None:
    """ "an external event that nothing listens to is refused before the first run", with the nearest name."""
    flow = TriggerFlow(name="brief")
    flow.to(echo)
    flow.signal("aproved", external=True)
    for use in (flow.create_execution, lambda: flow.definition, flow.get_flow_config, flow.to_mermaid):
        with pytest.raises(DefinitionError, match=r"'brief'.*'aproved'.*external.*nothing listens.*when\('aproved'\)"):
            use()
    flow.when("approved").to(echo)
    with pytest.raises(DefinitionError, match="did you mean 'approved'"):
        flow.create_execution()
    flow.when("aproved").to(echo)
    assert flow.definition.external == ("aproved",)


async def test_an_external_event_may_have_the_name_of_a_chunk() -> None:
    """A string in `when` is the event, whatever the chunks are called."""
    flow = TriggerFlow()
    flow.to(("plan", echo))
    flow.when(flow.signal("plan", external=True)).to(("next", echo)).end()
    execution = flow.create_execution()
    await execution.async_begin(1)
    await execution.async_emit("plan", 2)
    assert await execution.async_get_result() == 2


@pytest.mark.parametrize("name", ["", None, 5, b"approved", ["approved"]])
@pytest.mark.parametrize("external", [False, True])
def test_a_name_that_is_none(name: Any, external: bool) -> None:
    flow = TriggerFlow(name="brief")
    with pytest.raises(DefinitionError, match=r"'brief'.*non-empty string"):
        flow.signal(name, external=external)
    assert flow.definition.external == ()


async def test_two_types_for_one_name() -> None:
    """ "Raises `DefinitionError` ... for a second, different type"; the first one stands."""
    flow = TriggerFlow(name="brief")
    flow.signal("s", list[int], external=True)
    flow.signal("s", list[int])
    with pytest.raises(DefinitionError, match=r"'brief'.*'s'.*list\[int\].*str"):
        flow.signal("s", str)
    flow.when("s").end()
    execution = flow.create_execution()
    execution.begin()
    await execution.async_emit("s", [1])
    assert await execution.async_get_result() == [1]


# -- what is told ----------------------------------------------------------------------------------------------------


async def test_an_end_without_a_result_tells_once_what_was_never_sent(caplog: pytest.LogCaptureFixture) -> None:
    """ "logs once which events nobody ever sent, and how to declare them"."""
    flow = approval(external=False)
    flow.when("rejected").to(("note", echo))
    flow.when("approved").to(("note as well", echo))
    await flow.create_execution(id="page-1").async_start("draft")
    assert [(it.name, it.levelname) for it in caplog.records] == [("triggerflow", "WARNING")]
    text = caplog.records[0].getMessage()
    for part in ("page-1", "'approval'", "'approved'", "'rejected'", "flow.signal('approved', external=True)"):
        assert part in text


async def test_a_half_filled_join_and_what_it_lacks_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        await data.async_emit("one")

    flow.to(source)
    flow.when(["one", "two"]).to(echo)
    await flow.create_execution().async_start()
    assert len(caplog.records) == 1
    assert "joins" in caplog.records[0].getMessage()
    assert "were never sent: 'two'" in caplog.records[0].getMessage()
    assert "were never sent: 'one'" not in caplog.records[0].getMessage()


def with_result(flow: TriggerFlow) -> None:
    flow.to(("result", echo)).end()


def emitting(flow: TriggerFlow) -> None:
    async def source(data: Data) -> None:
        await data.async_emit("approved")

    flow.to(source)
    flow.when("approved").to(lambda data: None)


def promised(flow: TriggerFlow) -> None:
    flow.to(flow.chunk("source", emits=("approved",))(never))
    flow.when("approved").to(lambda data: None)


def promised_later(flow: TriggerFlow) -> None:
    flow.to(flow.chunk("source")(never).declare_emits("approved"))
    flow.when("approved").to(lambda data: None)


def later(flow: TriggerFlow) -> None:
    async def source(data: Data) -> None:
        data.emit("approved", delay=5)

    flow.to(source)
    flow.when("approved").to(lambda data: None)


@pytest.mark.parametrize("build", [with_result, emitting, promised, promised_later, later])
async def test_an_end_that_is_no_surprise_tells_nothing(
    build: Callable[[TriggerFlow], None], caplog: pytest.LogCaptureFixture
) -> None:
    """With a result, or where all was sent; "Of events named by `emits=` or `declare_emits` it says nothing"."""
    flow = TriggerFlow()
    build(flow)
    if build is with_result:
        flow.when("approved").to(lambda data: None)
    await flow.create_execution().async_start("draft")
    assert caplog.records == []


@pytest.mark.parametrize("end", ["nobody holds it", "closed", "cancelled", "failed", "kept open"])
async def test_an_end_that_somebody_brings_about_tells_nothing(end: str, caplog: pytest.LogCaptureFixture) -> None:
    flow = TriggerFlow()

    async def work(data: Data) -> None:
        await asyncio.sleep(1)
        if end == "failed":
            raise ValueError("broken")

    flow.to(work)
    flow.when("approved").to(echo)
    execution = flow.create_execution(keep_open=end == "kept open")
    if end == "nobody holds it":
        await flow.async_start()
    elif end == "cancelled":
        execution.begin()
        await execution.async_cancel()
    elif end == "failed":
        with pytest.raises(ValueError, match="broken"):
            await execution.async_start()
    else:
        execution.begin()
        assert await execution.async_close() is None
    assert caplog.records == []


@pytest.mark.parametrize("how", ["async_emit", "emit"])
async def test_a_signal_that_comes_too_late_says_what_to_declare(how: str) -> None:
    """ "a signal that comes too late is refused with the same words"."""
    execution = await approval(external=False).create_execution(id="page-1").async_open()
    assert await status_later(execution) == "completed"
    match = r"page-1.*'approval'.*ended \(completed\).*'approved'.*flow\.signal\('approved', external=True\)"
    if how == "emit":
        with pytest.raises(ExecutionClosed, match=match):
            execution.emit("approved", "yes")
    else:
        with pytest.raises(ExecutionClosed, match=match):
            await execution.async_emit("approved", "yes")


@pytest.mark.parametrize("end", ["result", "closed", "cancelled", "unheard"])
async def test_a_late_signal_that_no_declaration_would_have_helped(end: str) -> None:
    execution = approval(external=end != "unheard").create_execution()
    execution.begin()
    await turns()
    if end == "result":
        await execution.async_emit("approved", "yes")
        assert await execution.async_get_result() == "yes"
    elif end == "closed":
        await execution.async_close()
    elif end == "cancelled":
        await execution.async_cancel()
    with pytest.raises(ExecutionClosed, match="has ended") as caught:
        await execution.async_emit("other" if end == "unheard" else "approved", "late")
    assert "external" not in str(caught.value)


# -- the declaration is data -----------------------------------------------------------------------------------------


def test_it_is_part_of_the_definition_and_of_its_fingerprint() -> None:
    """ "The declaration is part of the definition: it is exported, and it counts in the definition's fingerprint"."""
    plain, declared = approval(external=False), approval()
    assert (plain.definition.external, declared.definition.external) == ((), ("approved",))
    assert plain.definition.fingerprint != declared.definition.fingerprint
    assert plain.definition.fingerprints == declared.definition.fingerprints


@pytest.mark.parametrize("form", ["dict", "json", "yaml"])
@pytest.mark.parametrize("external", [False, True])
async def test_it_is_exported_and_loaded(form: str, external: bool) -> None:
    flow = approval(external=external)
    loaded = TriggerFlow().register_chunk_handler(never, name="ask").register_chunk_handler(echo, name="publish")
    if form == "dict":
        loaded.load_flow_config(flow.get_flow_config())
    elif form == "json":
        loaded.load_json_flow(flow.get_json_flow())
    else:
        loaded.load_yaml_flow(flow.get_yaml_flow())
    assert loaded.definition == flow.definition
    assert await status_later(loaded.create_execution()) == ("waiting" if external else "completed")


def test_a_loaded_flow_takes_the_place_of_declarations_or_stands_beside_them() -> None:
    other = TriggerFlow()
    other.when(other.signal("other", external=True)).to(("other", echo))
    flow = TriggerFlow().register_chunk_handler(echo, name="other")
    flow.when(flow.signal("own", external=True)).to(("own", never))
    flow.load_flow_config(other.get_flow_config(), replace=False)
    assert flow.definition.external == ("other", "own")
    flow.load_flow_config(other.get_flow_config())
    assert flow.definition.external == ("other",)


async def test_declaring_it_strands_no_execution() -> None:
    """S20: "compatible": an execution that was saved before the declaration waits from then on."""
    before, after = approval(external=False), approval()
    execution = before.create_execution(keep_open=True)
    execution.begin()
    await turns()
    saved = execution.save()
    await execution.async_close()
    assert after.inspect_load(saved).kind == "compatible"
    loaded = await after.load_execution(saved).async_open()
    await loaded.async_emit("approved", "yes")
    assert await loaded.async_close() == "yes"


@pytest.mark.parametrize("store", [False, True])
async def test_taking_the_declaration_away_ends_what_waited_for_it(store: bool) -> None:
    """A version that does not wait for the event lets the execution close when it is next looked at."""
    before, after = approval(), approval(external=False)
    async with MemoryStore() as opened:
        execution = before.create_execution(id="run", store=opened if store else None)
        await execution.async_begin()
        await asyncio.sleep(HOURS)
        assert execution.get_status() == "waiting"
        if store:
            await execution.async_suspend()  # type: ignore[attr-defined]
            execution = await after.async_resume("run", store=opened)
        else:
            saved = execution.save()
            await execution.async_cancel()
            execution = after.load_execution(saved)
        assert await execution.async_get_result(timeout=1) is None


async def test_a_durable_execution_waits_over_lives() -> None:
    flow = approval()
    async with MemoryStore() as store:
        execution = flow.create_execution(id="run", store=store)
        await execution.async_begin("draft")
        for _ in range(3):
            await asyncio.sleep(HOURS)
            assert execution.get_status() == "waiting"
            await execution.async_suspend()  # type: ignore[attr-defined]
            execution = await approval().async_resume("run", store=store)
        await execution.async_emit("approved", "yes")
        assert await execution.async_get_result() == "yes"
        assert (await flow.history(store).state_at("run")).status == "completed"


def test_a_diagram_shows_where_it_comes_from() -> None:
    """A flag, beside the line from the chunk that emits it too."""
    flow = TriggerFlow()
    flow.to(("source", literal))
    flow.when("rare").to(("listener", echo))
    assert '>"rare"]' not in flow.to_mermaid()
    flow.signal("rare", external=True)
    assert '>"rare"]' in flow.to_mermaid()
    assert "rare" in flow.to_mermaid().replace('>"rare"]', "")
