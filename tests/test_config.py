"""The definition as data: what is written is read again as the same flow; what does not fit is refused at its place.

S20: A definition has a fingerprint per operator.
"""

import copy
import json
import random
import re
import runpy
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import soak
from tests.core.flows import Program, programs
from tests.core.simulation import Act, Behaviour, Effect, Runaway, Simulation, Start, in_order_of, text
from triggerflow import Cache, Chain, Definition, Retry, TriggerFlow
from triggerflow._core.definition import OperatorKind
from triggerflow._core.machine import compile_plan
from triggerflow.build.blueprint import Blueprint
from triggerflow.build.chain import root
from triggerflow.errors import DefinitionError, UsageError
from triggerflow.extension import flow_runtime_of
from triggerflow.serialize.config import (
    FORMAT,
    MAX_OPERATORS,
    MAX_TEXT,
    from_config,
    json_schema,
    parse_json,
    parse_yaml,
    to_config,
    to_json,
    to_yaml,
)
from triggerflow.serialize.flow_config import (
    get_flow_config,
    load_flow_config,
    register_chunk_handler,
    register_condition_handler,
)

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MANY = settings(soak.examples(50), suppress_health_check=list(HealthCheck))


def held(blueprint: Blueprint) -> TriggerFlow:
    """A flow that holds this blueprint."""
    flow = TriggerFlow(blueprint.name)
    flow_runtime_of(flow).blueprint = blueprint
    return flow


def through_text(definition: Definition) -> Definition:
    """Definition to JSON to YAML to definition."""
    from_json = from_config(parse_json(to_json(to_config(definition))))
    return from_config(parse_yaml(to_yaml(to_config(from_json))))


def journal(simulation: Simulation, start: Start) -> tuple[list[str], Any, str]:
    """What was recorded, what was answered to each record, and how it ended, be it in a complaint of the core."""
    ended = "well"
    try:
        simulation.go(start)
    except Exception as error:
        ended = repr(error)
    return [text(repr(record)) for record in simulation.records], simulation.answers, ended


# -- the same flow again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_survives_json_and_yaml(example: Path) -> None:
    flows = [it for it in runpy.run_path(str(example)).values() if isinstance(it, TriggerFlow)]
    assert flows
    for flow in flows:
        again = through_text(flow.definition)
        assert again == flow.definition
        assert again.fingerprints == flow.definition.fingerprints
        assert again.fingerprint == flow.definition.fingerprint
        assert run_of(again) == run_of(flow.definition)
        chunks = {it.name for it in flow.definition.operators if it.kind is OperatorKind.CHUNK}
        assert len(run_of(again)[0]) > len(chunks)


def run_of(definition: Definition) -> tuple[list[str], Any, str]:
    """A run in which every chunk emits what it is known to emit, and every signal and state comes from outside too."""
    behaviours: dict[str, Behaviour] = {}
    for operator in definition.operators:
        effects = tuple(Effect("emit", trigger.name) for trigger in operator.emits[1:])
        behaviours[operator.handler or operator.name] = Behaviour("two", effects)
    acts: dict[str, Act] = {"event": "emit", "state": "set"}
    heard = [trigger for operator in definition.operators for trigger in operator.listens if trigger.kind in acts]
    simulation = Simulation(compile_plan(definition), behaviours, in_order_of(7), limit=200)
    simulation.outside = [simulation.effect(Effect(acts[it.kind], it.name, 1), None, 1) for it in heard]
    return journal(simulation, Start([1, 2]))


@MANY
@given(programs(), st.integers(0, 1000))
def test_random_flows_survive_json_and_yaml(program: Program, seed: int) -> None:
    definition = program.flow.definition
    again = through_text(definition)
    assert again == definition
    assert again.fingerprints == definition.fingerprints

    def simulated(it: Definition) -> Any:
        simulation = Simulation(compile_plan(it), program.behaviours, in_order_of(seed))
        simulation.outside = [simulation.effect(effect, None, "outside") for effect in program.outside]
        return journal(simulation, program.start)

    assert simulated(again) == simulated(definition)


@given(
    st.text(min_size=1).filter(lambda it: it.isprintable()),
    st.text(min_size=1, alphabet="ab:,{}[]&*#?|-<>=!%@`'\"\\\n\t é漢☃"),
)
@soak.examples(50)
def test_any_name_survives(name: str, literal: str) -> None:
    flow = TriggerFlow(name=name)
    flow.to((name, one)).match().case(literal).to((f"{name}?", two)).end_match().end()
    flow.when({"event": [f"{name}!", literal]}).collect(name, literal).end()
    assert through_text(flow.definition) == flow.definition


@pytest.mark.parametrize(
    "literal", [None, True, 0, 1.0, 1e300, -0.0, 2**70, "", "no", "1e5", "2020-01-01", [], {"a": [1]}]
)
def test_a_literal_comes_back_as_what_it_was(literal: Any) -> None:
    flow = TriggerFlow(name="f")
    flow.match().case(literal).end_match().end()
    again = through_text(flow.definition).by_id["match<-start/1"].options["equals"]
    assert (again, type(again)) == (literal, type(literal))


# -- a flow that is loaded ---------------------------------------------------------------------------------------------


async def one(data: Any) -> Any:
    return data.value


async def two(data: Any) -> Any:
    return data.value


def is_long(data: Any) -> bool:
    return len(data.value) > 3


def flow_of(blueprint: Blueprint) -> Chain:
    return root(blueprint)


def sample() -> Blueprint:
    """Two chunks, a condition, policies and a signal."""
    blueprint = Blueprint("sample")
    register_chunk_handler(blueprint, one)
    retry = Retry(attempts=5, initial_interval=0.5, retry_on=(TimeoutError, OSError))
    blueprint.register("one", one, concurrency=2, retry=retry, timeout=30, emits=("go",))
    flow_of(blueprint).to("one").match().case(is_long).to(two).case("x").end_match().end()
    flow_of(blueprint).when("go").batch(("left", one), "two").end()
    return blueprint


def target() -> Blueprint:
    """A flow that knows the handlers of `sample`."""
    blueprint = Blueprint("other")
    for handler in (one, two):
        register_chunk_handler(blueprint, handler)
    register_condition_handler(blueprint, is_long)
    return blueprint


def test_a_loaded_flow_is_the_flow_that_was_written(tmp_path: Path) -> None:
    wanted = sample().freeze()
    config = get_flow_config(sample())
    files = tmp_path / "flow.json", tmp_path / "flow.yaml"
    texts = held(sample()).get_json_flow(files[0]), held(sample()).get_yaml_flow(str(files[1]), encoding="utf-16")
    assert texts[0] == files[0].read_text("utf-8")
    assert texts[1] == files[1].read_text("utf-16")
    ways: list[Callable[[Blueprint], Any]] = [
        lambda it: load_flow_config(it, config),
        lambda it: held(it).load_json_flow(texts[0]),
        lambda it: held(it).load_json_flow(files[0]),
        lambda it: held(it).load_json_flow(str(files[0])),
        lambda it: held(it).load_yaml_flow(texts[1]),
        lambda it: held(it).load_yaml_flow(files[1], encoding="utf-16"),
    ]
    for load in ways:
        loaded = target()
        version = loaded.version
        load(loaded)
        assert loaded.freeze() == wanted
        assert loaded.version > version
        chunk = loaded.nodes["one"]
        assert (chunk.handler, chunk.concurrency, chunk.timeout, chunk.emits) == (one, 2, 30, ("go",))
        assert chunk.retry is not None
        assert (chunk.retry.attempts, chunk.retry.retry_on) == (5, (TimeoutError, OSError))
        assert loaded.handlers["is_long"] is is_long


def test_a_loaded_flow_can_be_built_on() -> None:
    loaded = target()
    load_flow_config(loaded, get_flow_config(sample()))
    flow_of(loaded).when({"chunk": "two"}).to(("three", two)).end()
    added = loaded.freeze().operators[len(sample().operators) :]
    assert [it.name for it in added] == ["when:two", "three", "end<-three"]
    assert added[0].listens[0].key == "chunk:two"
    assert [it.id for it in loaded.freeze().operators][: len(sample().operators)] == [
        it.id for it in sample().operators
    ]


def test_loading_beside_what_is_there() -> None:
    loaded = target()
    flow_of(loaded).to(("mine", two)).end()
    load_flow_config(loaded, get_flow_config(sample()), replace=False)
    names = [it.name for it in loaded.freeze().operators]
    assert names[:2] == ["mine", "end<-mine"]
    assert names[2:] == [it.name for it in sample().operators]
    assert loaded.name == "other"
    before = loaded.freeze()
    with pytest.raises(DefinitionError, match="'one' already"):
        load_flow_config(loaded, get_flow_config(sample()), replace=False)
    assert loaded.freeze() == before


def test_replacing_what_is_there() -> None:
    loaded = target()
    flow_of(loaded).to(("mine", two)).end()
    load_flow_config(loaded, get_flow_config(sample()))
    assert loaded.freeze() == sample().freeze()
    assert loaded.name == "sample"


def test_missing_handlers_are_named_with_the_operators_that_need_them() -> None:
    loaded = Blueprint("other")
    register_chunk_handler(loaded, one, name="tow")
    version = loaded.version
    with pytest.raises(DefinitionError) as caught:
        load_flow_config(loaded, get_flow_config(sample()))
    message = str(caught.value)
    assert "operators[0] ('one') needs handler 'one'" in message
    assert "needs handler 'two' (did you mean 'tow'?)" in message
    assert "needs handler 'is_long'" in message
    assert "register_chunk_handler" in message
    assert (loaded.operators, loaded.name, loaded.version) == ([], "other", version)


def test_a_chunk_brings_the_code_of_its_policies() -> None:
    class RateLimit(Exception):
        pass

    def policies(blueprint: Blueprint) -> Blueprint:
        blueprint.register("ask", one, retry=Retry(retry_on=RateLimit), cache=Cache(size=7))
        return blueprint

    written = policies(Blueprint("f"))
    flow_of(written).to("ask").end()
    config = get_flow_config(written)
    config["operators"][0]["options"]["retry"]["attempts"] = 9
    loaded = policies(Blueprint("f"))
    load_flow_config(loaded, config)
    chunk = loaded.nodes["ask"]
    assert chunk.retry is not None
    assert (chunk.retry.attempts, chunk.retry.retry_on) == (9, (RateLimit,))
    assert chunk.cache is not None
    assert chunk.cache.size == 7

    stranger = Blueprint("f")
    register_chunk_handler(stranger, one, name="ask")
    with pytest.raises(DefinitionError, match=r"operators\[0\].options.cache: .*flow.chunk\('ask', cache="):
        load_flow_config(stranger, config)
    del config["operators"][0]["options"]["cache"]
    with pytest.raises(DefinitionError, match=r"operators\[0\].options.retry.retry_on: .*RateLimit' is not known"):
        load_flow_config(stranger, config)


def test_a_sub_flow_is_found_by_its_name() -> None:
    child = TriggerFlow(name="child")
    child.to(one).end()
    parent = TriggerFlow(name="parent")
    capture = {"input": "value.topic", "runtime_data": {"lang": "runtime_data.lang"}}
    at = parent.to_sub_flow(child, capture=capture).to_sub_flow(child, name="again")
    at.end()
    loaded = Blueprint("loaded")
    config = get_flow_config(at.blueprint)
    with pytest.raises(DefinitionError, match="needs flow 'child'"):
        load_flow_config(loaded, config)
    register_chunk_handler(loaded, child)
    load_flow_config(loaded, config)
    assert loaded.freeze().operators == parent.definition.operators
    handlers: Any = [loaded.nodes[it.emits[0].name].handler for it in loaded.operators[:2]]
    assert [it.flow for it in handlers] == [child, child]
    assert handlers[0].capture["input"] == {"": ["value", "topic"]}
    for key, wrong in (("capture", 5), ("write_back", {"value": 5}), ("child_concurrency", 0)):
        changed = copy.deepcopy(config)
        changed["operators"][1]["options"][key] = wrong
        with pytest.raises(DefinitionError, match=rf"operators\[1\].options: .*{key}"):
            load_flow_config(loaded, changed)
    config["operators"][0]["options"]["capture"] = {"nowhere": "value"}
    with pytest.raises(DefinitionError, match=r"operators\[0\].options: capture: 'nowhere'"):
        load_flow_config(loaded, config)


def test_sub_flows_need_names_of_their_own() -> None:
    flow = TriggerFlow(name="parent")
    at = flow.to_sub_flow(TriggerFlow()).to_sub_flow(TriggerFlow())
    with pytest.raises(DefinitionError, match=r"operators\[0\].handler: two sub-flows have the name 'flow'"):
        get_flow_config(at.blueprint)


def test_a_chunk_can_be_registered_for_another_flow() -> None:
    loaded = target()
    register_chunk_handler(loaded, TriggerFlow().chunk("left")(two))
    assert loaded.handlers["left"] is two


POLICIES: dict[str, tuple[dict[str, Any], str]] = {
    "a timeout that is none": ({"timeout": "soon"}, r"operators\[0\].options.timeout: must be a number"),
    "a flag for a timeout": ({"timeout": True}, r"operators\[0\].options.timeout"),
    "a retry that is none": ({"retry": 3}, r"operators\[0\].options.retry: "),
    "a retry with a stranger in it": ({"retry": {"tries": 3}}, r"operators\[0\].options.retry: .*tries|attempts"),
}


@pytest.mark.parametrize("what", POLICIES)
def test_policies_that_cannot_be_read(what: str) -> None:
    options, message = POLICIES[what]
    config = get_flow_config(sample())
    config["operators"][0]["options"].update(options)
    loaded = target()
    with pytest.raises(DefinitionError, match=message):
        load_flow_config(loaded, config)
    assert loaded.operators == []


# -- handlers without a name -------------------------------------------------------------------------------------------


def test_a_lambda_has_to_be_named() -> None:
    blueprint = Blueprint("f")
    shout: Any = lambda data: data.value.upper()  # noqa: E731
    is_big: Any = lambda data: data.value > 9  # noqa: E731
    flow_of(blueprint).to(shout).match().case(is_big).to(("named", lambda data: 1)).end_match().end()
    with pytest.raises(DefinitionError, match=r"operators\[0\].handler: .*register_chunk_handler\(handler, name="):
        get_flow_config(blueprint)
    assert get_flow_config(blueprint, validate_serializable=False)["operators"][0]["handler"] == "lambda"
    register_chunk_handler(blueprint, shout, name="shout")
    with pytest.raises(DefinitionError, match=r"operators\[2\].handler"):
        get_flow_config(blueprint)
    register_condition_handler(blueprint, is_big, name="is_big")
    config = get_flow_config(blueprint)
    assert [it.get("handler") for it in config["operators"]][:4] == ["shout", None, "is_big", "named"]
    assert compile_plan(blueprint.freeze()).nodes[0].handler in blueprint.handlers


def test_a_name_made_by_counting_does_not_last() -> None:
    def step(data: Any) -> int:
        return 1

    first, blueprint = step, Blueprint("f")

    def step(data: Any) -> int:  # type: ignore[no-redef]
        return 2

    flow_of(blueprint).to(first).to(step).end()
    with pytest.raises(DefinitionError, match=r"operators\[1\].handler: .*'step#2'"):
        get_flow_config(blueprint)
    register_chunk_handler(blueprint, step, name="second_step")
    assert get_flow_config(blueprint)["operators"][1]["handler"] == "second_step"


def test_registering_says_what_is_wrong() -> None:
    blueprint = Blueprint("f")
    register_chunk_handler(blueprint, one)
    register_chunk_handler(blueprint, one)
    register_chunk_handler(blueprint, one, name="first")
    with pytest.raises(DefinitionError, match="'one' is registered to another callable"):
        register_chunk_handler(blueprint, two, name="one")
    with pytest.raises(DefinitionError, match="pass a name of its own as name="):
        register_condition_handler(blueprint, lambda data: True)
    with pytest.raises(DefinitionError, match="pass a name of its own as name="):
        register_condition_handler(blueprint, two, name="two#2")
    with pytest.raises(DefinitionError, match="must be callable"):
        register_chunk_handler(blueprint, 3)


@pytest.mark.parametrize("literal", [(1, 2), {1: 2}, b"x", float("nan"), {3}, [object()], OperatorKind.CHUNK])
def test_a_literal_that_json_would_change_is_refused(literal: Any) -> None:
    blueprint = Blueprint("f")
    flow_of(blueprint).match().case(literal).end_match().end()
    with pytest.raises(DefinitionError, match=r"operators\[1\].options.equals"):
        get_flow_config(blueprint)
    written = get_flow_config(blueprint, validate_serializable=False)["operators"][1]["options"]["equals"]
    assert written is literal


# -- bad input ---------------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = parse_yaml(
    """
format: triggerflow/v1
name: f
external: []
operators:
- {id: a, kind: chunk, name: a, listens: [start], emits: ["chunk:a"], handler: a}
- {id: g, kind: signal_gate, name: g, listens: ["event:x", "chunk:a"], emits: ["operator:g"], options: {mode: and}}
- {id: b, kind: batch_fanout, name: b, listens: ["operator:g"], emits: ["operator:b"]}
- {id: c, kind: chunk, name: c, listens: ["operator:b"], emits: ["chunk:c", "event:x"], handler: c, inside: b}
- {id: b/end, kind: batch_collect, name: b/end, listens: ["chunk:c"], emits: ["operator:b/end"], group: b,
   options: {slots: [c]}}
- {id: m, kind: match_route, name: m, listens: ["operator:b/end"], emits: ["operator:m"], options: {mode: hit_first}}
- {id: m1, kind: match_case, name: "1", listens: ["operator:m"], emits: ["operator:m1"], inside: m,
   options: {equals: 1}}
- {id: m/end, kind: match_collect, name: m/end, listens: ["operator:m1"], emits: ["operator:m/end"], group: m}
- {id: k, kind: collect_branch, name: k, listens: ["operator:m/end"], emits: ["collect:k"],
   options: {mode: filled_and_update, branch: p, branches: [p]}}
- {id: t, kind: signal_gate, name: t, listens: ["timer:1.5"], emits: ["operator:t"], options: {mode: simple_or}}
- {id: z, kind: chunk, name: z, listens: ["operator:t"], emits: ["chunk:z"], handler: a}
"""
)
STRAY = {"id": "t", "kind": "result_sink", "name": "t", "listens": ["operator:m"], "emits": ["operator:t"]}


def put(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Put a value at a place such as `operators[3].kind`."""

    def change(config: dict[str, Any]) -> None:
        parts: list[Any] = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", place)]
        at: Any = config
        for part in parts[:-1]:
            at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
        at[parts[-1]] = value

    return change


def without(place: str, key: str) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        at: Any = config
        for part in re.findall(r"[^.\[\]]+", place):
            at = at[int(part) if part.isdigit() else part]
        del at[key]

    return change


BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], list[str]]] = {
    "no format": (without("", "format"), ["format: there is no format", FORMAT]),
    "a foreign format": (put("format", "trigger_flow/v1"), ["format: 'trigger_flow/v1'"]),
    "a newer format": (put("format", "triggerflow/v2"), ["format: 'triggerflow/v2'", "newer", FORMAT]),
    "an unknown key": (put("operator", []), ["the config: there is no key 'operator'", "'operators'"]),
    "no name": (without("", "name"), ["the config: ", "`name`"]),
    "an unknown key of an operator": (put("operators[3].listen", []), ["operators[3]: there is no key", "'listens'"]),
    "a key that is no string": (put("operators[3].options", {"a": {2: 3}}), ["operators[3].options.a"]),
    "an operator that is none": (put("operators[3]", 7), ["operators[3]"]),
    "operators that are none": (put("operators", {"a": 1}), ["operators"]),
    "an operator without id": (without("operators[3]", "id"), ["operators[3]: ", "`id`"]),
    "an empty id": (put("operators[3].id", ""), ["operators[3]", "empty"]),
    "an unknown kind": (put("operators[3].kind", "chnk"), ["operators[3].kind", "'chnk'", "'chunk'"]),
    "a kind like no other": (put("operators[3].kind", "§§§"), ["operators[3].kind", "known: ['chunk'"]),
    "a block closed twice": (
        lambda config: config["operators"].insert(5, {**config["operators"][4], "id": "b2", "emits": ["operator:b2"]}),
        ["operators[5].group", "already closed by 'b/end'"],
    ),
    "listens of a wrong type": (put("operators[3].listens", "start"), ["operators[3].listens"]),
    "a trigger of a wrong type": (put("operators[1].listens[0]", 3), ["operators[1].listens[0]"]),
    "a trigger of an unknown kind": (put("operators[1].listens[0]", "evnt:x"), ["operators[1].listens[0]", "'event'"]),
    "a trigger without a kind": (put("operators[1].listens[0]", "x"), ["operators[1].listens[0]", "kind:name"]),
    "a trigger that no user can mean": (put("operators[1].listens[0]", "resume:x"), ["operators[1].listens[0]"]),
    "a timer without a number": (put("operators[9].listens[0]", "timer:soon"), ["operators[9].listens[0]", "seconds"]),
    "a timer in the past": (put("operators[9].listens[0]", "timer:-1"), ["operators[9].listens[0]"]),
    "a timer that never fires": (put("operators[9].listens[0]", "timer:inf"), ["operators[9].listens[0]"]),
    "a trigger twice": (put("operators[1].listens", ["event:x", "event:x"]), ["operators[1].listens", "twice"]),
    "an id twice": (put("operators[3].id", "a"), ["operators[3].id", "'a'"]),
    "an unknown group": (put("operators[4].group", "z"), ["operators[4].group", "'z'"]),
    "a group of another kind": (put("operators[4].group", "a"), ["operators[4].group", "batch_fanout"]),
    "a group for what closes nothing": (put("operators[3].group", "b"), ["operators[3].group"]),
    "a collector without a group": (without("operators[4]", "group"), ["operators[4].group"]),
    "a block that is never closed": (put("operators[4].kind", "result_sink"), ["operators[4]"]),
    "an unknown inside": (put("operators[3].inside", "z"), ["operators[3].inside", "'z'"]),
    "inside of itself": (put("operators[2].inside", "b"), ["operators[2].inside", "before this one"]),
    "inside of a chunk": (put("operators[3].inside", "a"), ["operators[3].inside", "chunk"]),
    "a collector in another block": (put("operators[7].inside", "b"), ["operators[7].inside"]),
    "a trigger nobody fires": (put("operators[2].listens[0]", "operator:z"), ["operators[2].listens[0]", "operator:z"]),
    "a circle without a chunk": (put("operators[5].listens[0]", "operator:k"), ["operators[5].listens[0]"]),
    "a gate in the middle of a chain": (put("operators[9].listens[0]", "operator:g"), ["operators[9].listens[0]"]),
    "an external event that nothing listens to": (put("external", ["y"]), ["external", "'y'"]),
    "an external event twice": (put("external", ["x", "x"]), ["external", "'x'"]),
    "an external event that is no text": (put("external", [5]), ["external"]),
    "nothing to fire": (put("operators[0].emits", []), ["operators[0].emits"]),
    "somebody else's trigger": (put("operators[2].emits[0]", "operator:g"), ["operators[2].emits[0]", "operator:b"]),
    "a chunk's trigger that is none": (put("operators[0].emits[0]", "event:a"), ["operators[0].emits[0]", "chunk:"]),
    "an emit that is no event": (put("operators[3].emits[1]", "chunk:a"), ["operators[3].emits[1]"]),
    "a chunk without a handler": (without("operators[0]", "handler"), ["operators[0].handler"]),
    "a gate with a handler": (put("operators[1].handler", "a"), ["operators[1].handler"]),
    "one trigger, two handlers": (put("operators[3].emits[0]", "chunk:a"), ["operators[3].emits[0]", "'a'"]),
    "a case with two meanings": (put("operators[6].options.otherwise", True), ["operators[6]", "equals"]),
    "a case without meaning": (put("operators[6].options", {}), ["operators[6]", "equals"]),
    "a case outside of a match": (put("operators[6].inside", None), ["operators[6].listens"]),
    "a match with a foreign listener": (put("operators[9]", STRAY), ["operators[5]", "'t'"]),
    "a batch with too few slots": (put("operators[4].options.slots", []), ["operators[2]", "0 slots"]),
    "two slots of one name": (put("operators[4].options.slots", ["c", "c"]), ["operators[4].options.slots"]),
    "an unknown mode": (put("operators[1].options.mode", "xor"), ["operators[1].options.mode", "'and'"]),
    "no mode": (put("operators[1].options", {}), ["operators[1].options", "'mode'"]),
    "a limit of nothing": (put("operators[0].options", {"concurrency": 0}), ["operators[0].options.concurrency"]),
    "a limit that is none": (put("operators[0].options", {"concurrency": True}), ["operators[0].options.concurrency"]),
    "a flag that is none": (put("operators[0].options", {"inline": 1}), ["operators[0].options.inline"]),
    "a collection without itself": (put("operators[8].options.branches", ["q"]), ["operators[8].options", "'p'"]),
    "a collection of another name": (put("operators[8].emits[0]", "collect:z"), ["operators[8].emits", "'collect:k'"]),
    "an option that is no JSON": (put("operators[0].options", {"x": {1}}), ["operators[0].options.x"]),
    "an option that is no number": (put("operators[0].options", {"x": [1e999]}), ["operators[0].options.x[0]"]),
}  # fmt: skip


def test_the_good_one_is_good() -> None:
    assert to_config(from_config(GOOD)) == {
        **GOOD,
        "operators": [{key: it[key] for key in it} for it in GOOD["operators"]],
    }


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_at_its_place(case: str) -> None:
    change, fragments = BAD[case]
    config = copy.deepcopy(GOOD)
    change(config)
    blueprint = Blueprint("f")
    register_chunk_handler(blueprint, one, name="a")
    with pytest.raises(DefinitionError) as caught:
        load_flow_config(blueprint, config)
    assert [it for it in fragments if it not in str(caught.value)] == [], str(caught.value)
    assert blueprint.operators == []


def test_a_config_that_is_no_mapping() -> None:
    for config in (None, [], "text", 3):
        with pytest.raises(DefinitionError, match="mapping"):
            from_config(config)  # type: ignore[arg-type]


def test_what_contains_itself_is_refused() -> None:
    config = copy.deepcopy(GOOD)
    loop: list[Any] = []
    loop.append(loop)
    config["operators"][0]["options"] = {"x": loop}
    with pytest.raises(DefinitionError, match="more than 100 levels deep"):
        from_config(config)


def test_blocks_too_deep_are_refused() -> None:
    flow = TriggerFlow(name="f")
    at: Any = flow
    for _ in range(120):
        at = at.for_each()
    for _ in range(120):
        at = at.end_for_each()
    with pytest.raises(DefinitionError, match=r"operators\[101\].inside: .*deep"):
        from_config(to_config(flow.definition))


POOL: list[Any] = [
    None, True, 0, -1, 3.5, "", "x", "a", "b", "m", "m/end", [], {}, [1], ["start"], ["operator:b"], ["collect:k"],
    "start", "chunk:a", "chunk:c", "event:x", "operator:g", "operator:b", "operator:m", "operator:m1", "collect:k",
    *(kind.value for kind in OperatorKind), {"mode": "and"}, {"mode": "hit_all"}, {"otherwise": True},
]  # fmt: skip


def places(at: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a config."""
    keys: list[Any] = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
    return [found for key in keys for found in [(*path, key), *places(at[key], (*path, key))]]


def test_whatever_is_loaded_can_run() -> None:
    """Configs changed at random are either refused, with a `DefinitionError`, or good enough for the engine."""
    random_number = random.Random(20)
    ran = 0
    for _ in range(4000):
        config = copy.deepcopy(GOOD)
        for _ in range(random_number.randrange(1, 4)):
            *outer, key = random_number.choice(places(config))
            at: Any = config
            for part in outer:
                at = at[part]
            how = random_number.randrange(4)
            if how == 0:
                del at[key]
            elif how == 1 and isinstance(at, list):
                at.insert(random_number.randrange(len(at) + 1), copy.deepcopy(at[key]))
            else:
                at[key] = copy.deepcopy(random_number.choice(POOL))
        try:
            definition = from_config(config)
        except DefinitionError:
            continue
        ran += 1
        behaviours: defaultdict[str, Behaviour] = defaultdict(lambda: Behaviour("two", (Effect("emit", "x"),)))
        with suppress(Runaway):
            Simulation(compile_plan(definition), behaviours, limit=100).go(Start(1))
        assert from_config(to_config(definition)) == definition
    assert ran > 100


# -- bad text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parse", "source", "fragment"),
    [
        (parse_json, "{", "not valid JSON"),
        (parse_json, "[" * 100_000, "too deep"),
        (parse_json, "9" * 5000, "not valid JSON"),
        (parse_json, " " * (MAX_TEXT + 1), "10,000,000"),
        (parse_yaml, " " * (MAX_TEXT + 1), "10,000,000"),
        (parse_yaml, "a: [", "not valid YAML"),
        (parse_yaml, "a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        (parse_yaml, "a: &x [1]\nb: *x", "aliases are not read (line 2)"),
        (parse_yaml, "[" * 100_000, "too deep"),
        (parse_yaml, "- " * 100_000, "too deep"),
        (parse_yaml, "a: 2020-13-45", "not valid YAML"),
        (parse_yaml, "a: \x00", "not valid YAML"),
    ],
    ids=lambda it: it if isinstance(it, str) and len(it) < 40 else None,
)
def test_bad_text_is_refused(parse: Callable[[str], Any], source: str, fragment: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(fragment)):
        parse(source)


def test_a_text_that_is_no_flow_is_refused() -> None:
    for source in ("{}", "{\n}", "[\n1]", '"\n"', "{a: 1}", "\n"):
        with pytest.raises(DefinitionError):
            held(Blueprint("f")).load_yaml_flow(source)


@pytest.mark.parametrize("source", ["no/such/file", "", "5", "[1]", "- 1", "a" * 300])
def test_what_is_neither_a_file_nor_a_flow_is_refused(source: str) -> None:
    for load in (held(Blueprint("f")).load_json_flow, held(Blueprint("f")).load_yaml_flow):
        with pytest.raises(DefinitionError, match=r"is not valid JSON|a flow's config is a mapping"):
            load(source)
    with pytest.raises(DefinitionError, match="'no/such/file', which is not a file, is not valid JSON"):
        held(Blueprint("f")).load_json_flow("no/such/file")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "flow.json"
    assert held(sample()).get_json_flow(path) == path.read_text("utf-8")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "flow.json"
    path.write_bytes(b'{"format": "\xff"}')
    with pytest.raises(DefinitionError, match=re.escape(str(path))):
        held(Blueprint("f")).load_json_flow(path)
    with pytest.raises(FileNotFoundError):
        held(Blueprint("f")).load_json_flow(tmp_path / "other.json")


def test_too_many_operators_are_refused() -> None:
    with pytest.raises(DefinitionError, match="operators: there are more than 50,000"):
        from_config({**GOOD, "operators": [GOOD["operators"][0]] * (MAX_OPERATORS + 1)})


def test_without_pyyaml_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    for call in (lambda: held(sample()).get_yaml_flow(), lambda: held(target()).load_yaml_flow("a:\n  b")):
        with pytest.raises(UsageError, match=r"triggerflow-engine\[yaml\]"):
            call()
    held(target()).load_json_flow(held(sample()).get_json_flow())


def test_what_was_not_checked_cannot_become_text() -> None:
    blueprint = Blueprint("f")
    flow_of(blueprint).match().case(object()).end_match().end()
    config = get_flow_config(blueprint, validate_serializable=False)
    for write in (to_json, to_yaml):
        with pytest.raises(DefinitionError):
            write(config)


# -- the schema --------------------------------------------------------------------------------------------------------


def test_the_json_schema_describes_what_is_written() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    flow, operator = schema["$defs"]["FlowConfig"], schema["$defs"]["OperatorConfig"]
    assert flow["properties"]["format"]["enum"] == [FORMAT]
    assert flow["additionalProperties"] is operator["additionalProperties"] is False
    config = get_flow_config(sample())
    assert set(config) == {*flow["required"], "external"} == set(flow["properties"])
    pattern = operator["properties"]["listens"]["items"]["pattern"]
    kinds = schema["$defs"]["OperatorKind"]["enum"]
    assert sorted(kinds) == sorted(OperatorKind)
    for it in config["operators"]:
        assert set(operator["required"]) <= set(it) <= set(operator["properties"])
        assert [text for text in (*it["listens"], *it["emits"]) if not re.search(pattern, text)] == []
    assert [text for text in ("evnt:x", "event:", "x", "start:", "resume:x") if re.search(pattern, text)] == []
