"""Exports in Agently's format "trigger_flow/v1": written from the engine's definition, and loaded into it."""

import inspect
import itertools
import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from triggerflow import Definition, Operator
from triggerflow.errors import DefinitionError
from triggerflow.extension import FORMAT, Trigger, blueprint_of, get_flow_config, is_stable_name, load_flow_config

VERSION = "trigger_flow/v1"
#: Two events of the bridge: OUTSIDE runs a call from outside as a chunk (see `execution.outside`); RESTART, which a
#: program emits as "START", runs the first chunks of the flow once more.
OUTSIDE, RESTART = "$outside", Trigger("event", "START")
#: Patterns for the id, the name and the signal of each kind of operator. {own} is the operator, {group} its block.
_FORMS = {
    "chunk": ("{own}", "{name}", "{fired}"),
    "signal_gate": ("when-{own}", "when:{own}", "When-{own}"),
    "batch_fanout": ("batch-fanout-{group}", "batch:{group}", "Batch-{group}-Input"),
    "batch_collect": ("batch-collect-{group}", "batch_collect:{group}", "Batch-{group}"),
    "for_each_split": ("for_each-split-{group}", "for_each:{group}", "ForEach-{group}-Send"),
    "for_each_collect": ("for_each-collect-{group}", "for_each_collect:{group}", "ForEach-{group}-End"),
    "match_route": ("match-route-{group}", "match:{group}", "Match-{group}-Result"),
    "match_case": ("match-case-{own}", "case:{own}", "Match-{group}-Case-{own}-Branch"),
    "else": ("match-else-{group}", "else:{group}", "Match-{group}-Else-Branch"),
    "match_collect": ("match-collect-{group}", "match_result:{group}", "Match-{group}-Result"),
    "collect_branch": ("collect-{group}-{branch}", "collect:{name}", "Collect-{name}"),
    "sub_flow": ("sub-flow-{own}", "{name}", "SubFlow-{own}-Result"),
    "result_sink": ("result-{own}", "result", ""),
}
_BLOCKS = {"batch_fanout": "batch", "for_each_split": "for_each", "match_route": "match"}
#: Agently's names of options, by the engine's names; and options of the engine that Agently does not have.
_RENAMED = {"child_concurrency": "concurrency", "equals": "condition_value", "otherwise": "is_else",
            "branch": "branch_id", "branches": "branch_ids"}  # fmt: skip
_HIDDEN = ("slots", "flow", "side_branch")


def digest(text: str) -> str:
    """An id made from a text, the same in every process: 32 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


class Names:
    """Agently's ids, names and signals for the operators of a definition. Exports of the flow need its graph, too."""

    def __init__(self, definition: Definition, graph: Any = None) -> None:
        self.graph, self.operators, self.by_id = graph, definition.operators, definition.by_id
        self.heard = {trigger for it in definition.operators for trigger in it.listens}

    def form(self, operator: Operator, which: int) -> str:
        """The id (`which` 0), name (1) or signal (2) of an operator. A chunk wired in several places has one id."""
        kind, fired = "else" if operator.options.get("otherwise") else operator.kind.value, operator.emits[0].name
        own = fired.rpartition("]-")[2] if operator.kind == "chunk" else digest(operator.id)
        seen = {"group": self.groups(operator)["group_id"], "branch": operator.options.get("branch")}
        return _FORMS[kind][which].format(own=own, name=operator.name, fired=fired, **seen)

    def signal(self, trigger: Trigger, listener: Operator | None = None) -> dict[str, Any]:
        """The signal that Agently shows for a trigger.

        With a `listener` it is the signal as that operator receives it: each branch of a batch, and each case, has a
        signal of its own.
        """
        # A trigger that the listener does not listen to itself has reached it through a gate.
        if listener is not None and trigger not in (*listener.listens, RESTART):
            trigger = next((it for it in listener.listens if it.kind == "operator"), trigger)
        kind, name = {"state": "runtime_data", "flow_data": "flow_data"}.get(trigger.kind, "event"), trigger.name
        if trigger.kind == "operator" and name in self.by_id:
            operator = self.by_id[name]
            # Agently has no operator for a gate with one signal, and shows that signal instead.
            if operator.kind == "signal_gate" and len(operator.listens) == 1:
                return self.signal(operator.listens[0])
            # An operator behind an `.end()` gets the value that the `.end()` got.
            if operator.kind == "result_sink":
                return self.signal(operator.listens[0], operator)
            name = self.form(operator, 2)
            if listener is not None and operator.kind == "batch_fanout":
                name = f"{name}-{self.form(listener, 0)}"
            elif listener is not None and listener.kind == "match_case":
                name = self.form(listener, 2).removesuffix("-Branch")
        elif trigger.kind in ("start", "collect"):
            name = "START" if trigger.kind == "start" else f"Collect-{name}"
        return {"id": f"{kind}:{name}", "trigger_type": kind, "trigger_event": name}

    def groups(self, operator: Operator) -> dict[str, Any]:
        """Id and kind of the block of an operator, and of the block around that one."""
        opener = self.by_id.get(operator.group or (operator.id if operator.kind in _BLOCKS else operator.inside or ""))
        openers = (opener, opener and self.by_id.get(opener.inside or ""))
        blocks = [(digest(it.id), _BLOCKS[it.kind]) if it else (None, None) for it in openers]
        if operator.kind == "collect_branch":
            blocks.insert(0, (digest(f"collect {operator.name}"), "collect"))
        (group, kind), (parent, parent_kind) = blocks[:2]
        return {"group_id": group, "group_kind": kind, "parent_group_id": parent, "parent_group_kind": parent_kind}

    def wires(self, operator: Operator) -> dict[str, list[dict[str, Any]]]:
        """The signals that an operator listens to, and those it sends.

        It sends signals to the operators that follow, to its branches or cases, and the events that it declares.
        """
        (own, *declared), kind = operator.emits, operator.kind
        sent = [] if kind in ("result_sink", "batch_fanout") else [{**self.signal(own), "role": "continuation"}]
        if kind in ("batch_fanout", "match_route"):
            sent += [self.signal(own, it) for it in self.operators if it.listens == (own,)]
        sent += [{**self.signal(trigger), "role": "declared_emit"} for trigger in declared]
        heard = [self.signal(trigger, operator) for trigger in operator.listens]
        return {"listen_signals": heard, "emit_signals": sent}

    def config(self, contract: Mapping[str, Any], origin: Any, validate: bool) -> dict[str, Any]:
        """The flow as Agently's config, with the engine's definition under "triggerflow". `origin` is the flow's graph.

        With `validate`, raises `ValueError` for a handler that another process could not find by its name.
        """
        engine, records = get_flow_config(self.graph, validate_serializable=validate), dict[str, dict[str, Any]]()
        for operator in self.operators:
            if operator.kind != "signal_gate" or len(operator.listens) > 1:
                record = self.record(operator)
                # A chunk that is wired in at several places has one record, which listens to all their signals.
                if (known := records.setdefault(record["id"], record)) is not record:
                    known["listen_signals"] += record["listen_signals"]
                flow = getattr(self.graph.handlers.get(operator.handler or ""), "flow", None)
                if flow is not None and blueprint_of(flow) is not origin:
                    record["options"]["sub_flow_config"] = flow.get_flow_config(validate_serializable=validate)
        found = {"operators": list(records.values()), "meta": {}, "contract": dict(contract)}
        return {"version": VERSION, "name": self.graph.name, **found, "triggerflow": engine}

    def record(self, operator: Operator) -> dict[str, Any]:
        about = {"id": self.form(operator, 0), "kind": operator.kind.value, "name": self.form(operator, 1)}
        place = "condition_ref" if operator.kind == "match_case" else "handler_ref"
        refs = {"handler_ref": None, "condition_ref": None, place: self.reference(operator)}
        return {**about, "options": self.options(operator), **refs, **self.wires(operator), **self.groups(operator)}

    def reference(self, operator: Operator) -> dict[str, Any] | None:
        name, handler = operator.handler, self.graph.handlers.get(operator.handler or "")
        if name is None or hasattr(handler, "flow"):
            return None
        kind = "registered" if operator.kind == "chunk" else "inspected"
        return reference(handler, name, kind if is_stable_name(name, handler) else "anonymous")

    def options(self, operator: Operator) -> dict[str, Any]:
        kind, given = operator.kind.value, operator.options if operator.kind != "chunk" else {}
        told: dict[str, Any] = {_RENAMED.get(key, key): given[key] for key in given if key not in _HIDDEN}
        if kind in ("batch_fanout", "for_each_split", "sub_flow"):
            told.setdefault("concurrency", None)
        if kind == "batch_collect":
            heard = zip(operator.listens, given["slots"], strict=True)
            told["result_keys"] = {self.signal(trigger)["id"]: name for trigger, name in heard}
        elif kind == "match_route":
            cases = [it for it in self.operators if it.listens == operator.emits[:1]]
            told["cases"] = [self.case(it) for it in cases if "otherwise" not in it.options]
            others = [self.signal(it.listens[0], it) for it in cases if "otherwise" in it.options]
            told["else_signal"] = others[0] if others else None
        elif kind == "collect_branch":
            told |= {"collect_id": self.groups(operator)["group_id"], "collection_name": operator.name}
        elif kind == "sub_flow":
            name = self.graph.handlers[operator.handler].flow.name
            told = {"capture": None, "write_back": None, "sub_flow_config": None, **told, "sub_flow_name": name}
        return told

    def case(self, case: Operator) -> dict[str, Any]:
        """The entry of a case in the options of its match."""
        number, value = self.form(case, 0).removeprefix("match-case-"), case.options.get("equals")
        about = {"case_id": number, "condition_ref": self.reference(case), "condition_value": value}
        return {**about, "is_else": False, "route_signal": self.signal(case.listens[0], case)}


def reference(handler: Any, name: str, kind: str) -> dict[str, Any]:
    """Describe a callable by its names. The file and line stay None, so that exports show no paths of this machine."""
    function = inspect.unwrap(getattr(handler, "func", handler))
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    named = {"kind": kind, "name": name, "callable_name": getattr(function, "__name__", qualname)}
    return {**named, "module": module, "qualname": qualname, "file": None, "line": None}


def load(core: Any, config: Any, make: Any, *, replace: bool) -> None:
    """Load the flow of a config into the graph `core`. `make` builds a sub-flow that is not registered from its config.

    Raises `TypeError` if the config is not a dict, and `ValueError` for another version or for handlers that are not
    registered; the graph is unchanged then.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"a TriggerFlow config is a dictionary, not {type(config)}: {config!r:.200}")
    if config.get("version") != VERSION:
        raise ValueError(f"TriggerFlow config version {config.get('version')!r} cannot be read; it must be {VERSION!r}")
    empty = {"format": FORMAT, "name": config.get("name") or core.name, "operators": []}
    if not isinstance(engine := config.get("triggerflow", None if config.get("operators") else empty), Mapping):
        raise ValueError("Agently itself wrote this config: it has no engine definition ('triggerflow'); build the "
                         "flow with its own code here, and it can be exported anew")  # fmt: skip
    for record in config.get("operators", ()):
        nested, name = record["options"].get("sub_flow_config"), record["options"].get("sub_flow_name")
        if nested is not None and name not in core.flows:
            core.flows[name] = make(nested)
    if not replace and core.operators:
        engine = _beside(core, engine)
    load_flow_config(core, engine, replace=replace)
    core.loaded = [*([] if replace else core.loaded), _described(config)]


def _described(config: Mapping[str, Any]) -> str:
    return json.dumps((config.get("triggerflow") or {}).get("operators"), sort_keys=True)


def _beside(core: Any, engine: Mapping[str, Any]) -> dict[str, Any]:
    """A definition that is added to a graph, with other ids where the graph has the same: ids are counted per flow, and
    two flows with a chunk of the same name have the same ones. Raises `DefinitionError` for what is there already."""
    own = {"triggerflow": get_flow_config(core, validate_serializable=False)}
    if (text := _described({"triggerflow": engine})) in (*core.loaded, _described(own)):
        raise DefinitionError(
            f"flow {core.name!r}: all steps of the loaded config already exist in it, so nothing was loaded; load it "
            "with replace=True, or into another flow"
        )
    for chunk in [it for it in json.loads(text) or () if it.get("kind") == "chunk"]:
        fired = chunk["emits"][0].removeprefix("chunk:")
        if fired in core.nodes:  # its 32 digits stand in the ids of all that hangs on it, and nowhere else
            text = text.replace(fired.rpartition("]-")[2], core.unused(chunk["name"], text))
    operators, taken = json.loads(text) or [], {it.id for it in core.operators}
    ids, given = {it["id"] for it in operators}, dict[str, str]()
    for id in [it["id"] for it in operators if it["id"] in taken and it["kind"] not in ("chunk", "collect_branch")]:
        given[id] = next(f"{id} {n}" for n in itertools.count(2) if f"{id} {n}" not in taken | ids)
    fired = {f"operator:{id}": f"operator:{new}" for id, new in given.items()}
    for it in operators:
        it |= {key: given.get(it[key], it[key]) for key in ("id", "name", "group", "inside") if key in it}
        it |= {key: [fired.get(name, name) for name in it[key]] for key in ("listens", "emits") if key in it}
    return {**engine, "operators": operators}
