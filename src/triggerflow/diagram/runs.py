"""The status, counts and times of each operator in one execution, read from its journal."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import msgspec

from .._core import events
from .._core.definition import Definition, OperatorKind
from .._core.errors import ExecutionClosed, ProtocolError, UsageError
from .._core.joins import COLLECT, joined
from .._core.machine import KeptStates, Machine
from .._core.operators import TRANSITIONS
from .._core.plan import Node, Plan
from .._core.signals import Trigger
from .._core.state import RUNNING, Phase, RunChunk

Status = Literal["idle", "running", "waiting", "done", "failed"]

_SAYS_MOST: tuple[Status, ...] = ("failed", "running", "waiting", "done", "idle")
_RUNS = frozenset({OperatorKind.CHUNK, OperatorKind.SUB_FLOW})
_OPENERS = frozenset({OperatorKind.BATCH_FANOUT, OperatorKind.FOR_EACH_SPLIT, OperatorKind.MATCH_ROUTE})
_CLOSERS = frozenset({OperatorKind.BATCH_COLLECT, OperatorKind.FOR_EACH_COLLECT, OperatorKind.MATCH_COLLECT})


class OperatorView(msgspec.Struct, frozen=True):
    """One operator in an execution.

    `status` is "waiting" for a chunk that waits for a permit, a signal, a retry or an answer, and for a half-filled
    join; "failed" for a chunk with a run that failed after all retries; "idle" for an operator that has completed
    nothing. `count` is the number of runs of a chunk, signals that a gate fired, values that reached a collection,
    instances of a block that began or completed, or hits of a case. `milliseconds` is the time that its handlers ran,
    summed over all runs.
    """

    status: Status = "idle"
    count: int = 0
    milliseconds: float = 0.0


class RunView(msgspec.Struct, frozen=True):
    """One execution: its status, its operators by id, and its chunks by name, each over all of its places."""

    status: str
    operators: Mapping[str, OperatorView]
    chunks: Mapping[str, OperatorView] = {}


def run_view(definition: Definition, records: Iterable[events.Event]) -> RunView:
    """The view of an execution for diagrams, from all of its records.

    The first record must be there: raises `UsageError` for a journal that lost it. Without a store, a journal holds
    only the newest `journal_limit` records.
    """
    records = list(records)
    watch = _Watch(definition, records)
    for record in records:
        try:
            watch.receive(record)
        except (ProtocolError, ExecutionClosed) as error:
            raise UsageError(
                f"run_view() needs all records of an execution, but record {watch.machine.state.records + 1} of this "
                f"journal does not fit those before it ({error}); use a larger journal_limit, or a store"
            ) from error
    return watch.view()


class _Watch:
    """Replays a journal with the engine's own transitions, and counts the signals that enter each operator."""

    def __init__(self, definition: Definition, records: Iterable[events.Event]) -> None:
        counting = {kind: partial(self.enter, transition) for kind, transition in TRANSITIONS.items()}
        self.machine = Machine(Plan(definition, counting))
        self.kept = KeptStates(self.machine.plan, records)
        self.nodes = {node.id: node for node in self.machine.plan.nodes}
        self.entered: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.runs: dict[str, set[int]] = {}
        self.ended: dict[str, set[str]] = {}
        self.busy: defaultdict[str, float] = defaultdict(float)
        self.began: dict[int, tuple[str, float]] = {}
        self.now = 0.0
        # Open block instances and phases of runs after the last record, by operator.
        self.open: Counter[str] = Counter()
        self.phases: defaultdict[str, set[Phase]] = defaultdict(set)

    def enter(self, transition: Callable[..., None], machine: Any, node: Node, trigger: Trigger, *rest: Any) -> None:
        self.entered[node.id] += 1
        source = self.nodes.get(trigger.name) if trigger.kind == "operator" else None
        if source is not None and source.next[:1] == (node,):
            self.fired[source.id] += 1
        transition(machine, node, trigger, *rest)

    def receive(self, record: Any) -> None:
        self.now = max(self.now, record.at)
        paused = isinstance(record, events.Paused) and not record.holds
        commands = self.kept.receive(self.machine, record)
        if paused or isinstance(record, events.Completed | events.Failed | events.Cancelled):
            self.end(record.run, "failed" if _is_final(record) else type(record).__name__.lower())
        elif isinstance(record, events.CleanupTimedOut):
            for run in list(self.began):
                self.end(run, "abandoned")
        for run in commands:
            if isinstance(run, RunChunk):
                self.runs.setdefault(run.node.id, set()).add(run.id)
                self.began[run.id] = (run.node.id, self.now)

    def end(self, run: int, how: str) -> None:
        operator, began = self.began.pop(run, ("", self.now))
        self.busy[operator] += self.now - began
        self.ended.setdefault(operator, set()).add(how)

    def view(self) -> RunView:
        state = self.machine.state
        for operator, began in self.began.values():
            self.busy[operator] += self.now - began
        for instance in (state.block_instances or {}).values():
            self.open[instance.node.id] += 1
        for run in state.runs.values():
            self.phases[run.node.id].add(run.phase)
        operators = {
            node.id: OperatorView(self.status(node), self.count(node), round(1000 * self.busy[node.id], 3))
            for node in self.machine.plan.nodes
        }
        return RunView(state.status.value, operators, self.by_chunk(operators))

    def by_chunk(self, operators: Mapping[str, OperatorView]) -> dict[str, OperatorView]:
        """The chunks by name: counts and times summed over their places, and the status that says most."""
        found: dict[str, OperatorView] = {}
        for node in self.machine.plan.nodes:
            if node.kind is OperatorKind.CHUNK:
                one, other = operators[node.id], found.get(node.name, OperatorView())
                status: Status = next(it for it in _SAYS_MOST if it in (one.status, other.status))
                time = round(one.milliseconds + other.milliseconds, 3)
                found[node.name] = OperatorView(status, one.count + other.count, time)
        return found

    def count(self, node: Node) -> int:
        if node.kind in _RUNS:
            return len(self.runs.get(node.id, ()))
        if node.kind in _CLOSERS and node.block is not None:
            return self.entered[node.block.id] - self.open[node.block.id]
        fires = node.mode == "and" or node.kind is OperatorKind.MATCH_CASE
        return self.fired[node.id] if fires else self.entered[node.id]

    def status(self, node: Node) -> Status:
        if node.kind in _RUNS or node.kind is OperatorKind.MATCH_CASE:
            return self.status_of_runs(node)
        if node.kind in _OPENERS and self.open[node.id]:
            return "running"
        if node.kind in _CLOSERS and node.block is not None and self.open[node.block.id]:
            return "waiting"
        if self.half_full(node):
            return "waiting"
        return "done" if self.count(node) else "idle"

    def status_of_runs(self, node: Node) -> Status:
        interrupts, ended = self.machine.state.interrupts or {}, self.ended.get(node.id, set[str]())
        phases = self.phases[node.id]
        if RUNNING in phases:
            return "running"
        asked = any(it.run.node is node and it.status == "waiting" for it in interrupts.values())
        if phases or asked:
            return "waiting"
        if "failed" in ended:
            return "failed"
        hit = node.kind is OperatorKind.MATCH_CASE and self.fired[node.id]
        return "done" if hit or (node.kind in _RUNS and ended & {"completed", "paused"}) else "idle"

    def half_full(self, node: Node) -> bool:
        held = list(joined(self.machine.state))
        if node.kind is OperatorKind.COLLECT:
            wanted = len(node.operator.options["branches"])
            return any(len(slots) < wanted for name, _, _, slots in held if name == f"{COLLECT}{node.name}")
        return node.mode == "and" and any(join[:3] == (node.id, 0, 0) for join in held)


def _is_final(record: Any) -> bool:
    return isinstance(record, events.Failed) and record.retry_in is None
