"""Flows as Agently's data: the operator records of "trigger_flow/v1", out of the engine's definition and into it."""

import inspect
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from triggerflow import Definition, DefinitionError, Operator
from triggerflow.builder import Blueprint, OperatorKind, Trigger, is_stable_name
from triggerflow.flow_config import get_flow_config, load_flow_config

from .state import is_a

VERSION = "trigger_flow/v1"

#: An event that only the outside sends, and the chunk that listens to it (see `execution.outside`); what closes a block
#: that was left open; what starts at the start does so again at an event of that name.
OUTSIDE, OPEN_END, RESTART = "$outside", "$open_end", Trigger("event", "START")
_HIDDEN = (OUTSIDE, f"when:{OUTSIDE}", OPEN_END)
_BLOCKS = {"batch_fanout": "batch", "for_each_split": "for_each", "match_route": "match"}
#: How the signals are called that go on from operators without a name of their own.
_SIGNALS = {"signal_gate": "When", "sub_flow": "SubFlow", "match_case": "Match-Case", "match_route": "Match-Route",
            "match_collect": "Match-Result", "batch_fanout": "Batch-Input", "batch_collect": "Batch",
            "for_each_split": "ForEach-Send", "for_each_collect": "ForEach-End"}  # fmt: skip


def digest(text: str) -> str:
    """A stable id: 32 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def visible(definition: Definition) -> Definition:
    """The definition as its author wrote it: without what the bridge has put in."""
    shown = [
        heard(it, *(t for t in it.listens if t != RESTART)) for it in definition.operators if it.name not in _HIDDEN
    ]
    ends = [msgspec.structs.replace(it, name="result") if it.kind == OperatorKind.RESULT else it for it in shown]
    return Definition(definition.name, tuple(ends))


def heard(operator: Operator, *triggers: Trigger) -> Operator:
    """The operator, listening to these triggers."""
    return msgspec.structs.replace(operator, listens=triggers)


def is_single(operator: Operator) -> bool:
    """A `when` of one signal, which is no operator for Agently."""
    return operator.kind == "signal_gate" and len(operator.listens) == 1


class Names:
    """Agently's ids, signals and blocks for the operators of a definition."""

    def __init__(self, definition: Definition) -> None:
        self.definition = visible(definition)
        self.by_id = self.definition.by_id
        self.chunks = {it.emits[0].name: it.name for it in self.definition.operators if it.emits[0].kind == "chunk"}
        #: the branches of each batch, by the id of its fan-out
        self.branches: dict[str, list[str]] = {}
        for it in self.definition.operators:
            if it.inside and self.by_id[it.inside].kind == "batch_fanout":
                self.branches.setdefault(it.inside, []).append(it.id)

    def id(self, operator: Operator) -> str:
        """The id of an operator; a chunk that is wired in several places has one."""
        if operator.kind == "chunk":
            return digest(operator.emits[0].name)
        prefix = {"signal_gate": "when", "collect_branch": "collect", "result_sink": "result"}.get(operator.kind)
        return f"{prefix or operator.kind.value.replace('_', '-')}-{digest(operator.id)}"

    def signal(self, trigger: Trigger, listener: str = "") -> dict[str, Any]:
        """A trigger as the signal that a listener (the id of an operator) hears; through a gate, the gate's."""
        listens = self.by_id[listener].listens if listener in self.by_id else ()
        if trigger not in (*listens, RESTART) and (gates := [it for it in listens if it.kind == "operator"]):
            trigger = gates[0]
        kind, name = {"state": "runtime_data", "flow_data": "flow_data"}.get(trigger.kind, "event"), trigger.name
        if trigger.kind == "operator" and name in self.by_id:
            if is_single(operator := self.by_id[name]):
                return self.signal(operator.listens[0])
            branches = self.branches.get(name, [])
            branch = f"-{branches.index(listener) + 1}" if listener in branches else ""
            name = f"{_SIGNALS[operator.kind]}-{digest(name)}{branch}"
        elif trigger.kind == "chunk":
            name = f"Chunk[{self.chunks.get(name, name)}]-{digest(name)}"
        elif trigger.kind in ("start", "collect"):
            name = "START" if trigger.kind == "start" else f"Collect-{name}"
        return {"id": f"{kind}:{name}", "trigger_type": kind, "trigger_event": name}

    def groups(self, operator: Operator) -> dict[str, Any]:
        """The block of an operator, and the block around that."""
        opener = self.by_id.get(operator.group or (operator.id if operator.kind in _BLOCKS else operator.inside or ""))
        blocks = {"": opener, "parent_": None if opener is None else self.by_id.get(opener.inside or "")}
        ids = {f"{prefix}group_id": None if it is None else digest(it.id) for prefix, it in blocks.items()}
        return ids | {f"{prefix}group_kind": None if it is None else _BLOCKS[it.kind] for prefix, it in blocks.items()}

    def wires(self, operator: Operator) -> dict[str, list[dict[str, Any]]]:
        """The signals that an operator listens to, and those it sends: a continuation for each branch of a batch, one
        for others; then what it declares."""
        own, *declared = operator.emits
        branches = self.branches.get(operator.id, [""] if operator.kind != OperatorKind.RESULT else [])
        sent = [{**self.signal(own, branch), "role": "continuation"} for branch in branches]
        sent += [{**self.signal(trigger), "role": "declared_emit"} for trigger in declared]
        return {
            "listen_signals": [self.signal(trigger, operator.id) for trigger in operator.listens],
            "emit_signals": sent,
        }


def to_config(core: Blueprint, contract: Mapping[str, Any], *, validate: bool = True) -> dict[str, Any]:
    """The flow as Agently's config, and the engine's definition under "triggerflow".

    Raises `ValueError` for handlers that no other process could know.
    """
    names, records = Names(core.freeze()), dict[str, dict[str, Any]]()
    for operator in names.definition.operators:
        if not is_single(operator):
            record = _record(core, names, operator, validate)
            if (known := records.setdefault(record["id"], record)) is not record:  # a chunk that is wired in once more
                known["listen_signals"] += record["listen_signals"]
    found = {"operators": list(records.values()), "meta": {}, "contract": dict(contract)}
    engine = get_flow_config(core, validate_serializable=validate)
    return {"version": VERSION, "name": core.name, **found, "triggerflow": engine}


def _record(core: Blueprint, names: Names, operator: Operator, validate: bool) -> dict[str, Any]:
    options: dict[str, Any] = dict(operator.options)
    flow: Any = getattr(core.handlers.get(operator.handler or ""), "flow", None)
    if operator.kind == "sub_flow" and flow.blueprint is not core:
        nested = flow.get_flow_config(validate_serializable=validate)
        options = {**options, "sub_flow_name": flow.name, "sub_flow_config": nested}
    about = {"id": names.id(operator), "kind": operator.kind.value, "name": operator.name, "options": options}
    reference = _reference(core, operator, validate)
    place = "condition_ref" if operator.kind == "match_case" else "handler_ref"
    refs = {"handler_ref": None, "condition_ref": None, place: reference}
    return {**about, **refs, **names.wires(operator), **names.groups(operator)}


def _reference(core: Blueprint, operator: Operator, validate: bool) -> dict[str, Any] | None:
    """Which callable an operator runs. Where its source file lies is nobody's business."""
    if operator.handler is None or operator.kind == "sub_flow":
        return None
    handler, chunk = core.handlers[operator.handler], core.chunks.get(operator.handler)
    kind = "registered" if chunk is not None and chunk.handler is handler else "inspected"
    kind = kind if is_stable_name(operator.handler, handler) else "anonymous"
    if validate and kind == "anonymous":
        what = "condition" if operator.kind == "match_case" else "handler"
        raise DefinitionError(f"flow {core.name!r}: {operator.name!r} has a non-serializable {what}, a lambda; name it")
    function = inspect.unwrap(getattr(handler, "func", handler))
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    named = {"kind": kind, "name": operator.handler, "callable_name": getattr(function, "__name__", qualname)}
    return {**named, "module": module, "qualname": qualname, "file": None, "line": None}


def load(core: Blueprint, config: Any, *, replace: bool) -> None:
    """Take over the flow that a config describes; nothing is changed if that raises.

    Raises `TypeError` for what is no dict, `ValueError` for another version or for handlers that are not registered.
    """
    if not is_a(config, Mapping):
        raise TypeError(f"a TriggerFlow config is a dictionary, not {type(config)}")
    if config.get("version") != VERSION:
        raise ValueError(f"TriggerFlow config version {config.get('version')!r} cannot be read; it must be {VERSION!r}")
    if not is_a(engine := config.get("triggerflow"), Mapping):
        raise ValueError("a config that Agently itself wrote lacks 'triggerflow', the engine's definition; build the "
                         "flow by its own code here, and it can be exported anew")  # fmt: skip
    kept = [it for it in engine["operators"] if replace or it["name"] not in _HIDDEN]
    load_flow_config(core, {**engine, "operators": kept}, replace=replace)
