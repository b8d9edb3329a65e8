"""Snapshots: `RunState` to plain data and back. A snapshot gives exactly the state that `replay` gives.

`pack` and `unpack` convert user values, and raise for values that cannot be recorded. Everything else is numbers, names
and references: branches by (block instance id, index), completion groups and limiters by their index in a list. Nothing
in a snapshot is ever imported or called.
"""

from array import array
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from .definition import OperatorKind
from .errors import SnapshotError, without_values
from .events import ErrorInfo
from .freezing import freeze
from .frozen import TAG
from .groups import enter_group, usable_signals
from .joins import is_over, joined, note_provisional_slot
from .limits import around, fill_queue, limiter_of_chunk
from .plan import Node, Plan
from .provisional import first_undecided, is_taken_back, restore_provisional, take_member
from .signals import FieldPlace, FieldTrigger, Trigger
from .state import (
    MISSING,
    NONE_SENT,
    UNSET,
    BlockInstance,
    Branch,
    CompletionGroup,
    EarlyItems,
    Interrupt,
    Interruptions,
    Joins,
    JoinSlot,
    Limiter,
    Lost,
    PermitGrant,
    Phase,
    ProposedResult,
    Provisional,
    RecordedSignal,
    RecordedSignals,
    RunChunk,
    RunState,
    RunWaits,
    Status,
    SubFlowPermit,
    SubFlowPermits,
    Timer,
    Wait,
)
from .timers import count_timers

#: Version of the format. A change of meaning needs a new number, and a migration for older snapshots.
FORMAT = 1

Pack = Callable[[Any, str], Any]
Unpack = Callable[[Any], Any]

#: The attributes of `RunState` that are stored as they are, with the names under which they are stored.
_PLAIN = {
    "started": "started",
    "configured": "configured",
    "has_handle": "attended",
    "keep_open": "keep_open",
    "skip_exceptions": "skip_exceptions",
    "max_pending": "max_pending",
    "records": "records",
    "next_id": "next_id",
    "stream": "stream",
    "stream_stopped": "stream_stopped",
    "reason": "reason",
    "pulls": "pulls",
}


#: Attributes that are left out at their default.
_OPTIONAL = {"checks_result": False, "execution_timeout": None, "never_starts": False}


def encode(plan: Plan, state: RunState, pack: Pack) -> dict[str, Any]:
    """Return the state as JSON-shaped data. Raises what `pack` raises for a value that cannot be recorded."""
    return _Encoder(plan, state, pack).snapshot()


def decode(plan: Plan, snapshot: Mapping[str, Any], unpack: Unpack) -> RunState:
    """Rebuild the state from a snapshot.

    Raises `SnapshotError` if it is damaged, has another format, or names operators that the plan does not have."""
    if not isinstance(snapshot, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - it comes from outside
        raise SnapshotError(f"a snapshot is a mapping, this is a {type(snapshot).__name__}")
    if snapshot.get("format") != FORMAT:
        raise SnapshotError(f"snapshot format {snapshot.get('format')!r} is not {FORMAT}, the one this version reads")
    try:
        return _Decoder(plan, snapshot, unpack).state
    except SnapshotError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise SnapshotError(f"the snapshot is damaged: {without_values(error)}") from None


def _heard(plan: Plan, state: RunState) -> list[str]:
    """What open interrupts and timers will fire, as trigger keys, if an operator listens to it.

    A later definition in which none does would lose an answer or a delayed signal; see `durable.versions`."""
    found: set[str] = set()
    for interrupt in (state.interrupts or {}).values():
        if interrupt.status == "waiting" and interrupt.resume_event in plan.events:
            found.add(f"event:{interrupt.resume_event}")
    for timer in (state.timers or {}).values():
        if timer.what == "signal" and timer.name in plan.events:
            found.add(f"event:{timer.name}")
        elif timer.what == "deadline" and timer.name in plan.timers:
            found.add(f"timer:{timer.name}")
    return sorted(found)


class _Encoder:
    """Encodes the parts of the state. A part refers to another one by the number of that part."""

    def __init__(self, plan: Plan, state: RunState, pack: Pack) -> None:
        self.plan = plan
        self.state = state
        self.pack = pack
        self.groups = _groups(state)
        self.live = _live(state, self.groups)
        self.number = {id(group): index for index, group in enumerate(self.groups)}

    def snapshot(self) -> dict[str, Any]:
        plan, state, pack = self.plan, self.state, self.pack
        return {
            "format": FORMAT,
            "definition": plan.definition.fingerprint,
            "operators": dict(plan.definition.fingerprints),
            **{stored: getattr(state, name) for name, stored in _PLAIN.items()},
            **({"rules": state.rules} if state.rules else {}),  # snapshots of rules 0 do not have it
            **({"lost": True} if state.lost else {}),
            # Snapshots of earlier versions do not have these.
            **{name: value for name in _OPTIONAL if (value := getattr(state, name))},
            **({"early": [[run, it.signal] for run, it in state.early.items()]} if state.early else {}),
            "status": state.status.value,
            "closing": state.closing.value if state.closing else None,
            "error": msgspec.to_builtins(state.error),
            "result": [] if state.result is UNSET else [pack(state.result, "the result")],
            "unchecked": None
            if state.unchecked is None
            else [state.unchecked[0], pack(state.unchecked[1], "the result")],
            **({"proposed": self.proposed()} if state.proposed else {}),  # since rules 5
            "data": {key: _bare(pack(value, f"state[{key!r}]")) for key, value in state.data.items()},
            **({"flow_data": self.flow_data(state.flow_data)} if state.flow_data else {}),
            "derived": None if state.derived is None else sorted(state.derived),
            "sent": None if state.sent is None else sorted(state.sent),
            "unheard": sorted(state.unheard or ()),
            "skipped": msgspec.to_builtins(state.skipped or []),
            "limiter": _limiter(state.limiters[0]) if state.limiters and state.limiters[0] is not state.grant else None,
            "lease": None if state.grant is None else {**_limiter(state.grant), "asked": state.grant.asked},
            "guests": [[it.id, it.step.id, it.phase.value] for it in state.sub_flow_permits.values()],
            "chunk_limiters": {name: _limiter(it) for name, it in (state.chunk_limiters or {}).items()},
            "groups": [self.group(group) for group in self.groups],
            "waits": [_wait(wait) for wait in (state.waits or {}).values()],
            "openings": [self.instance(it) for it in _instances(state)],
            "joins": [self.join(*join) for join in joined(state)],
            **({"provisional_slots": slots} if (slots := self.provisional_slots()) else {}),  # since rules 5
            "runs": [self.run(it) for it in state.runs.values()],
            "retracted": [self.run(it) for it in (state.retracted or {}).values()],
            "provisional": [[number, self.reference(group)] for number, group in (state.provisional or {}).items()],
            **({"heard": heard} if (heard := _heard(plan, state)) else {}),
            "timers": [self.timer(it) for it in (state.timers or {}).values()],
            "interrupts": [self.interrupt(it) for it in (state.interrupts or {}).values()],
        }

    def flow_data(self, data: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The own shared data of a sub-flow: `[value]` by key, `[]` for a deleted one."""
        return {
            key: [] if value is UNSET else [_bare(self.pack(value, f"flow_data[{key!r}]"))]
            for key, value in data.items()
        }

    def proposed(self) -> list[Any]:
        """[by, chunk, value, number of the first undecided signal around it or None] each, less those taken back."""
        stored: list[Any] = []
        for it in self.state.proposed or ():
            if not is_taken_back(it.provisional):
                around = first_undecided(self.state, it.provisional)
                signal = None if around is None else around.signal
                stored.append([it.by, it.chunk, self.pack(it.value, "the result"), signal])
        return stored

    def reference(self, group: CompletionGroup | None) -> int | None:
        return None if group is None else self.number.get(id(group))

    def group(self, it: CompletionGroup) -> dict[str, Any]:
        return {
            "parent": self.reference(it.parent),
            "live": self.live[id(it)],
            "over": it.over,
            "handling": it.handling is not None,
            **({"route": it.handling} if it.handling else {}),
            "waits": [number for waits in (it.waits or {}).values() for number in waits],
        }

    def join(self, name: str, instance_id: int, index: int, slots: Mapping[Any, Any]) -> list[Any]:
        stored = [[_slot(slot), self.pack(value, f"join {name!r}")] for slot, value in slots.items()]
        return [name, instance_id, index, stored]

    def provisional_slots(self) -> list[Any]:
        stored: list[Any] = []
        known = {} if self.state.joins is None else self.state.joins.provisional
        for (instance_id, index, name, slot), signal in known.items():
            undecided = first_undecided(self.state, signal)
            if undecided is not None:
                stored.append([instance_id, index, name, _slot(slot), undecided.signal])
        return stored

    def run(self, it: RunChunk) -> dict[str, Any]:
        return {
            "id": it.id,
            "operator": it.node.id,
            "trigger": [it.trigger.kind, it.trigger.name],
            **({"field": msgspec.to_builtins(it.trigger.field)} if isinstance(it.trigger, FieldTrigger) else {}),
            "value": self.pack(it.value, f"the value of chunk {it.node.name!r}"),
            "signal": it.signal,
            "scope": _branch(it.scope),
            "group": self.reference(it.group),
            "spawned": self.reference(it.spawned),
            "attempt": it.attempt,
            "effects": dict(it.effects or {}),
            **({} if it.digests is None else {"digests": {name: list(all) for name, all in it.digests.items()}}),
            **({} if it.failed is None else {"failed": dict(it.failed)}),
            **({} if it.interruptions is None else {"interruptions": _interruptions(it.interruptions)}),
            "phase": it.phase.value,
            "waits": 0 if it.waits is None else it.waits.active,
            "kept": [
                [*effect, recorded.signal, self.reference(recorded.group)]
                for effect, recorded in usable_signals(self.state, it)
            ],
        }

    def timer(self, it: Timer) -> dict[str, Any]:
        value = self.pack(it.value, f"the value of delayed signal {it.name!r}" if it.name else "the start value")
        return {**_fields(it), "value": value, "group": self.reference(it.group)}

    def interrupt(self, it: Interrupt) -> dict[str, Any]:
        return {
            **_fields(it),
            "payload": self.pack(it.payload, f"the payload of interrupt {it.id!r}"),
            "response": self.pack(it.response, f"the answer to interrupt {it.id!r}"),
            # Of a closed interrupt, only the operator of its run is needed; the branch of the run may be over.
            "run": it.run.id if it.run.id in self.state.runs else {**self.run(it.run), **_over(it)},
        }

    def instance(self, it: BlockInstance) -> dict[str, Any]:
        what = f"a result inside {it.node.id!r}"
        return {
            "id": it.id,
            "closed": it.id not in (self.state.block_instances or ()),
            "operator": it.node.id,
            "outer": _branch(it.outer),
            "group": self.reference(it.group),
            "slots": [self.slot(slot, what) for slot in it.slots],
            **({} if it.failed is None else {"failed": self.failed(it.failed)}),
            "missing": it.missing,
            "source": None if it.source is None else self.pack(it.source, f"the input of {it.node.id!r}"),
            "next": it.next,
            "open": it.open,
            "pulled": None if it.pulled is None else [self.pack(item, what) for item in it.pulled],
            "pulling": it.pulling,
            "exhausted": it.exhausted,
            **({} if it.interruptions is None else {"interruptions": _interruptions(it.interruptions)}),
            **({} if it.giver is None else {"giver": it.giver, "fields": _places(it.fields)}),
            "limiter": _limiter(it.limiters[0]) if it.node.concurrency is not None else None,
        }

    def slot(self, slot: Any, what: str) -> list[Any]:
        """A list: empty without a value, of one value, or of None and the failure for a branch without a value."""
        if type(slot) is Lost:
            return [None, None if slot.failure is None else self.pack(slot.failure, what)]
        return [] if slot is UNSET else [self.pack(slot, what)]

    def failed(self, failed: Mapping[int, set[int]]) -> list[Any]:
        return [[index, [self.plan.nodes[it].id for it in sorted(nodes)]] for index, nodes in failed.items()]


class _Decoder:
    """Builds the parts of the state, each after the parts to which it refers."""

    def __init__(self, plan: Plan, snapshot: Mapping[str, Any], unpack: Unpack) -> None:
        self.nodes: dict[str, Node] = {node.id: node for node in plan.nodes}
        self.unpack = unpack
        self.block_instances: dict[int, BlockInstance] = {}
        self.state = state = RunState()
        for name, stored in _PLAIN.items():
            setattr(state, name, snapshot[stored])
        state.rules = snapshot.get("rules", 0)
        state.lost = snapshot.get("lost", False)
        state.status = Status(snapshot["status"])
        state.closing = Status(snapshot["closing"]) if snapshot["closing"] else None
        state.error = msgspec.convert(snapshot["error"], ErrorInfo) if snapshot["error"] else None
        state.result = unpack(snapshot["result"][0]) if snapshot["result"] else UNSET
        for name, default in _OPTIONAL.items():
            setattr(state, name, snapshot.get(name, default))
        unchecked = snapshot.get("unchecked")
        state.unchecked = None if unchecked is None else (unchecked[0], unpack(unchecked[1]))
        state.data.update((key, freeze(unpack(value))) for key, value in snapshot["data"].items())
        for key, value in snapshot.get("flow_data", {}).items():
            state.change_own("set" if value else "delete", key, unpack(value[0]) if value else None)
        state.derived = _derived(plan, snapshot)
        sent = snapshot["sent"] if "derived" in snapshot else None
        state.sent = None if sent is None else set(_names(sent)) or NONE_SENT
        state.unheard = set(snapshot["unheard"]) or None
        state.skipped = msgspec.convert(snapshot["skipped"], list[ErrorInfo]) or None
        signals = {group: signal for signal, group in snapshot["provisional"]}
        self.groups = [
            Provisional(signals[number], None, None) if number in signals else CompletionGroup(None)
            for number in range(len(snapshot["groups"]))
        ]
        if snapshot["limiter"]:
            state.limiters = (Limiter(snapshot["limiter"]["limit"]),)
        if snapshot["lease"]:
            state.grant = PermitGrant()
            state.grant.limit = state.grant.held = snapshot["lease"]["limit"]
            state.grant.asked = snapshot["lease"]["asked"]
            state.limiters = (*state.limiters, state.grant)
        for name, stored in snapshot["chunk_limiters"].items():
            limiter_of_chunk(state, name, stored["limit"])
        for stored in snapshot["openings"]:
            self.instance(stored)
        for stored in snapshot["runs"]:
            run = self.run(stored)
            state.runs[run.id] = run
        retracted = [self.run(stored) for stored in snapshot["retracted"]]
        state.retracted = {run.id: run for run in retracted} or None
        in_order: list[CompletionGroup] = [self.groups[group] for _, group in snapshot["provisional"]]
        state.provisional = {it.signal: it for it in in_order if isinstance(it, Provisional)} or None
        state.proposed = deque(self.proposed(stored) for stored in snapshot.get("proposed", ())) or None
        state.timers = {stored["id"]: self.timer(stored) for stored in snapshot["timers"]} or None
        state.interrupts = {stored["id"]: self.interrupt(stored) for stored in snapshot["interrupts"]} or None
        for join in snapshot["joins"]:
            self.join(*join)
        for number, signal in snapshot.get("early", ()):
            given = [it for it in self.block_instances.values() if it.giver == number and not it.exhausted]
            state.early = {**(state.early or {}), number: EarlyItems(signal, given)}
        self.link(snapshot)
        self.index()
        for instance_id, index, name, slot, signal in snapshot.get("provisional_slots", ()):
            self.provisional_slot((instance_id, index, name, _unslot(slot)), signal)

    def node(self, id: str) -> Node:
        if id not in self.nodes:
            raise SnapshotError(f"the snapshot names operator {id!r}, which this definition does not have")
        return self.nodes[id]

    def group(self, index: int | None) -> CompletionGroup | None:
        return None if index is None else self.groups[index]

    def branch(self, stored: list[int] | None) -> Branch | None:
        return None if stored is None else Branch(self.block_instances[stored[0]], stored[1])

    def instance(self, stored: Mapping[str, Any]) -> None:
        node = self.node(stored["operator"])
        instance = BlockInstance(stored["id"], node, self.branch(stored["outer"]), self.group(stored["group"]), 0)
        instance.slots = [self.slot(slot) for slot in stored["slots"]]
        if "failed" in stored:
            instance.failed = {
                index: {self.nodes[id].index for id in ids if id in self.nodes} for index, ids in stored["failed"]
            }
        instance.missing = stored["missing"]
        instance.source = None if stored["source"] is None else self.unpack(stored["source"])
        instance.next, instance.open = stored["next"], stored["open"]
        instance.pulling, instance.exhausted = stored["pulling"], stored["exhausted"]
        if "interruptions" in stored:
            instance.interruptions = Interruptions(*stored["interruptions"])
        if stored["pulled"] is not None:
            instance.pulled = deque(self.unpack(item) for item in stored["pulled"])
        if "giver" in stored:
            instance.giver = stored["giver"]
            if stored["fields"] is not None:
                instance.fields = deque(msgspec.convert(stored["fields"], list[FieldPlace | None]))
        instance.limiters = self.state.limiters if instance.outer is None else instance.outer.instance.limiters
        if stored["limiter"] is not None:
            instance.limiters = (Limiter(stored["limiter"]["limit"]), *instance.limiters)
        self.block_instances[instance.id] = instance
        if not stored["closed"]:
            self.state.block_instances = self.state.block_instances or {}
            self.state.block_instances[instance.id] = instance

    def slot(self, stored: list[Any]) -> Any:
        if len(stored) == 2:
            return MISSING if stored[1] is None else Lost(self.unpack(stored[1]))
        return self.unpack(stored[0]) if stored else UNSET

    def run(self, stored: Mapping[str, Any]) -> RunChunk:
        state, node, scope = self.state, self.node(stored["operator"]), self.branch(stored["scope"])
        limiters = around(state, scope) if node.kind is not OperatorKind.SUB_FLOW else ()
        if node.concurrency is not None:
            limiters = (limiter_of_chunk(state, node.completes.name, node.concurrency), *limiters)
        trigger = Trigger(*stored["trigger"])
        if "field" in stored:
            trigger = FieldTrigger(trigger.kind, trigger.name, msgspec.convert(stored["field"], FieldPlace))
        value, group = self.unpack(stored["value"]), self.group(stored["group"])
        run = RunChunk(stored["id"], node, trigger, value, stored["signal"], scope, group, limiters)
        run.spawned = self.group(stored["spawned"])
        run.attempt, run.phase = stored["attempt"], Phase(stored["phase"])
        run.effects = dict(stored["effects"]) or None
        if "digests" in stored:
            run.digests = {name: array("Q", all) for name, all in stored["digests"].items()}
        run.failed = stored.get("failed")
        if "interruptions" in stored:
            run.interruptions = Interruptions(*stored["interruptions"])
        kept: list[tuple[str, int, int, int]] = stored["kept"]
        signals: dict[tuple[str, int], RecordedSignal | Provisional] = {
            (effect, n): RecordedSignal(signal, self.groups[group], (effect, n)) for effect, n, signal, group in kept
        }
        run.recorded_signals = RecordedSignals(signals) if signals else None
        return run

    def proposed(self, stored: list[Any]) -> ProposedResult:
        by, chunk, value, signal = stored
        around = None if signal is None else (self.state.provisional or {})[signal]
        return ProposedResult(by, chunk, self.unpack(value), around)

    def timer(self, stored: Mapping[str, Any]) -> Timer:
        fields: dict[str, Any] = {**stored, "value": self.unpack(stored["value"]), "group": self.group(stored["group"])}
        return Timer(**fields)

    def interrupt(self, stored: Mapping[str, Any]) -> Interrupt:
        run = self.state.runs[stored["run"]] if isinstance(stored["run"], int) else self.run(stored["run"])
        payload, response = self.unpack(stored["payload"]), self.unpack(stored["response"])
        fields: dict[str, Any] = {**stored, "run": run, "payload": payload, "response": response}
        return Interrupt(**fields)

    def join(self, name: str, instance_id: int, index: int, slots: list[Any]) -> None:
        joins = self.state.joins = self.state.joins or Joins()
        held = joins.setdefault(instance_id, {}).setdefault(index, {})
        held[name] = {_unslot(slot): self.unpack(value) for slot, value in slots}
        known = self.block_instances.get(instance_id)
        if instance_id and (known is None or is_over(self.state, Branch(known, index))):
            joins.over[instance_id, index] = None

    def provisional_slot(self, at: JoinSlot, signal: int) -> None:
        instance = self.block_instances.get(at[0])
        branch = None if instance is None else Branch(instance, at[1])
        note_provisional_slot(self.state, branch, at, (self.state.provisional or {})[signal])

    def wait(self, wait: Wait) -> Wait:
        run = wait.run
        if run is not None:
            run.waits = run.waits or RunWaits()
            run.waits.all[wait.id] = wait
            run.waits.active += not wait.over
        return wait

    def link(self, snapshot: Mapping[str, Any]) -> None:
        """Restore everything that refers to runs: permits, waits, groups, queues."""
        state, runs = self.state, self.state.runs
        waiting = {**runs, **(state.retracted or {})}
        for number, step, phase in snapshot["guests"]:
            permit = SubFlowPermit(number, waiting[step], around(state, waiting[step].scope))
            permit.phase = Phase(phase)
            state.steps = state.steps or {}
            permits = state.steps.setdefault(step, SubFlowPermits())
            (permits.running if permit.phase is Phase.RUNNING else permits.ready)[number] = permit
        waits = {
            number: self.wait(Wait(number, None if run is None else waiting[run], level, outside, over))
            for number, run, level, outside, over in snapshot["waits"]
        }
        state.waits = waits or None
        for group, stored in zip(self.groups, snapshot["groups"], strict=True):
            group.parent, group.live = self.group(stored["parent"]), stored["live"]
            group.over, group.handling = stored["over"], stored.get("route", "") if stored["handling"] else None
            for wait in (waits[number] for number in stored["waits"]):
                if not wait.over:  # earlier versions stored waits that had ended
                    group.waits = group.waits or {}
                    group.waits.setdefault(wait.level, {})[wait.id] = wait
                    wait.group = group
        for instance in (state.block_instances or {}).values():
            if instance.pulling and instance.group is not None:
                enter_group(instance.group)
        own = [snapshot[name] for name in ("limiter", "lease") if snapshot[name]]
        pairs = list(zip(state.limiters, own, strict=True))
        pairs += [(limiter, snapshot["chunk_limiters"][name]) for name, limiter in (state.chunk_limiters or {}).items()]
        pairs += [
            (self.block_instances[stored["id"]].limiters[0], stored["limiter"])
            for stored in snapshot["openings"]
            if stored["limiter"] is not None
        ]
        queueing = {**runs, **state.sub_flow_permits}
        for limiter, stored in pairs:
            limiter.used = stored["used"]
            fill_queue(limiter, [queueing[number] for number in stored["queue"]])

    def index(self) -> None:
        """Rebuild the indexes, which are derived from the other parts and not stored."""
        state = self.state
        interrupts = [it for it in (state.interrupts or {}).values() if it.status == "waiting"]
        state.asking = len(interrupts)
        timers = (state.timers or {}).values()
        state.retries = {it.run: it.id for it in timers if it.what == "retry" and it.run is not None} or None
        count_timers(state)
        if not state.provisional:
            return
        emitters = {
            signal: run.id
            for run in state.runs.values()
            if run.recorded_signals
            for signal in run.recorded_signals.by_signal
        }
        restore_provisional(state, self.groups, emitters)
        members: list[tuple[CompletionGroup | None, Any, Any]] = []
        members += [(it.group, it.id, it) for it in (state.block_instances or {}).values()]
        members += [(it.group, it.id, it) for it in state.runs.values()]
        members += [(it.group, it.id, it) for it in timers]
        members += [(it.run.group, (it.id,), it) for it in interrupts]
        for group, key, it in members:
            if group is not None:
                take_member(state, group, key, it)


def _derived(plan: Plan, snapshot: Mapping[str, Any]) -> frozenset[str] | None:
    """Return `RunState.derived`: the external events of an execution with rules before `DECLARED`.

    A snapshot of that time does not have these events, so they are taken from the plan. If the execution was waiting
    and nothing else could wake it, it was waiting for such an event. If the plan has none, all events with listeners
    count.
    """
    if "derived" in snapshot:
        names = snapshot["derived"]
        return None if names is None else frozenset(_names(names)) & plan.events.keys()
    if not snapshot["configured"]:
        return None
    left = plan.legacy_external.difference(snapshot["emitted"])
    asked = any(interrupt["status"] == "waiting" for interrupt in snapshot["interrupts"])
    waits = snapshot["status"] == Status.WAITING.value and snapshot["attended"] and not snapshot["keep_open"]
    if not left and waits and not (asked or snapshot["timers"] or snapshot["result"]):
        left = frozenset(plan.events).difference(snapshot["emitted"])
    return left


def _bare(packed: Any) -> Any:
    """Packed data of a value of the state, without the tag that says so: all of them are frozen."""
    if not isinstance(packed, dict):
        return packed
    tagged = cast("dict[str, Any]", packed)
    return tagged["v"] if tagged.get("$") == TAG else tagged


def _names(names: Any) -> list[str]:
    return msgspec.convert(names, list[str])


def _groups(state: RunState) -> list[CompletionGroup]:
    """Return all completion groups that are referred to, each once."""
    found: dict[int, CompletionGroup] = {}
    runs = (*state.runs.values(), *(state.retracted or {}).values())
    starts = [group for run in runs for group in (run.group, run.spawned)]
    starts += [recorded.group for run in runs for _, recorded in usable_signals(state, run)]
    asked = [it.run for it in (state.interrupts or {}).values() if it.status == "waiting"]
    starts += [group for run in asked for group in (run.group, run.spawned)]
    starts += (state.provisional or {}).values()
    starts += [timer.group for timer in (state.timers or {}).values()]
    starts += [instance.group for instance in _instances(state)]
    for start in starts:
        group = start
        while group is not None and id(group) not in found:
            found[id(group)] = group
            group = group.parent
    return list(found.values())


def _live(state: RunState, groups: list[CompletionGroup]) -> dict[int, int]:
    """Return the number of busy members of each group, without open pulls.

    Open pulls are stored with their block instances, and snapshots of earlier versions do not count them either."""
    live = {id(group): group.live for group in groups}
    for instance in (state.block_instances or {}).values():
        group = instance.group if instance.pulling else None
        while group is not None:
            live[id(group)] -= 1
            group = None if live[id(group)] else group.parent
    return live


def _over(interrupt: Interrupt) -> dict[str, Any]:
    return {} if interrupt.status == "waiting" else {"scope": None, "group": None, "spawned": None, "kept": []}


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _instances(state: RunState) -> list[BlockInstance]:
    """Return all block instances that are referred to, outer ones first. A side branch may outlive its block."""
    found: dict[int, BlockInstance] = {}

    def note(instance: BlockInstance) -> None:
        if instance.id not in found:
            if instance.outer is not None:
                note(instance.outer.instance)
            found[instance.id] = instance

    for instance in (state.block_instances or {}).values():
        note(instance)
    asked = [it.run for it in (state.interrupts or {}).values() if it.status == "waiting"]
    for run in (*state.runs.values(), *(state.retracted or {}).values(), *asked):
        if run.scope is not None:
            note(run.scope.instance)
    return list(found.values())


def _places(fields: deque[FieldPlace | None] | None) -> Any:
    return None if fields is None else msgspec.to_builtins(list(fields))


def _interruptions(it: Interruptions) -> list[Any]:
    return [it.count, it.losses, it.lost_alone, it.orderly, it.alone]


def _branch(branch: Branch | None) -> list[int] | None:
    return None if branch is None else [branch.instance.id, branch.index]


def _limiter(limiter: Limiter) -> dict[str, Any]:
    return {"limit": limiter.limit, "used": limiter.used, "queue": [run.id for run in limiter.queue]}


def _wait(wait: Wait) -> list[Any]:
    return [wait.id, wait.run.id if wait.run else None, wait.level, wait.outside, wait.over]


def _slot(slot: Any) -> Any:
    return [slot.kind, slot.name] if isinstance(slot, Trigger) else slot


def _unslot(slot: Any) -> Any:
    if not isinstance(slot, list):
        return slot
    kind, name = cast("list[Any]", slot)
    return Trigger(kind, name)
