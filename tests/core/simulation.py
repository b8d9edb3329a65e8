"""A tiny driver without asyncio: it performs a machine's commands in an order that a function chooses.

What a chunk does stands in a table (`Behaviour`), so that the same program can run here, in any order, and on a real
driver. Everything is kept: the records, what was answered to each, and a snapshot after each if asked for.
"""

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import msgspec

from triggerflow._core import commands, events
from triggerflow._core.definition import OperatorKind
from triggerflow._core.errors import ExecutionClosed
from triggerflow._core.limits import around
from triggerflow._core.machine import FINAL, Machine
from triggerflow._core.plan import Plan
from triggerflow._core.recovery import outstanding
from triggerflow._core.signals import FieldPlace
from triggerflow._core.snapshot import decode, encode
from triggerflow._core.state import UNSET, BlockInstance, Interrupt, RunChunk
from triggerflow.run.interrupts import StepWithoutValue
from triggerflow.serialize.payload import Types

TYPES = Types()
TYPES.register(events.ErrorInfo)
Pick = Callable[[int], int]


# -- what chunks do --------------------------------------------------------------------------------------------------

Act = Literal[
    "emit", "settle", "spawn", "delay", "loose", "drop", "set", "append", "delete", "flow",
    "put", "stop", "result", "park", "guess", "confirm", "retract", "give", "take",
]  # fmt: skip


@dataclass(frozen=True)
class Effect:
    """One thing a chunk does before it returns.

    `spawn` is a settling emit in a task of its own; `park` waits for something outside, as for a slow reader; `guess`
    is a provisional emit, which `confirm` and `retract` refer to; `give` gives an item to the for_each that follows the
    chunk, and `take` takes back all that the chunk has given.
    """

    act: Act
    name: str = ""
    value: Any = None


@dataclass(frozen=True)
class Behaviour:
    """What a chunk or condition does: its effects in order, then `value`, unless it fails, pauses or is retried."""

    value: str = "same"
    effects: tuple[Effect, ...] = ()
    fails: bool = False
    retries: int = 0
    pauses: str = ""
    on_cancel: Literal["stop", "write", "finish", "fail", "hang"] = "stop"


VALUES: Mapping[str, Callable[[Any, str], Any]] = {
    "same": lambda value, name: value,
    "name": lambda value, name: name,
    "pair": lambda value, name: [name, value],
    "none": lambda value, name: None,
    "false": lambda value, name: False,
    "zero": lambda value, name: 0,
    "empty": lambda value, name: [],
    "one": lambda value, name: [name],
    "two": lambda value, name: (f"{name}/0", f"{name}/1"),
    "three": lambda value, name: range(3),
    "lazy": lambda value, name: {1, 2, 3},
    # conditions
    "always": lambda value, name: True,
    "never": lambda value, name: False,
    "truthy": lambda value, name: bool(value),
    "text": lambda value, name: isinstance(value, str),
}

ANSWER = "answer"


# -- values and commands as text -------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """Any recordable value as text that two equal values share; the copies here of what a state holds are plain."""
    return msgspec.json.encode(TYPES.pack(copy.deepcopy(value), "value"), order="deterministic").decode()


def _part(value: Any) -> Any:
    if isinstance(value, RunChunk | BlockInstance | Interrupt):
        return value.id
    return text(value)


def render(command: commands.AnyCommand) -> tuple[Any, ...]:
    """A command as a tuple of texts and numbers, which later changes cannot reach."""
    if isinstance(command, RunChunk):
        run = command
        path = run.scope.path if run.scope else ()
        trigger = f"{run.trigger.kind}:{run.trigger.name}"
        return ("RunChunk", run.id, run.node.id, trigger, text(run.value), run.signal, path, run.attempt)
    return (type(command).__name__, *(_part(getattr(command, name)) for name in command.__struct_fields__))


def snapshot(machine: Machine) -> bytes:
    """The state of a machine as JSON text."""
    return msgspec.json.encode(encode(machine.plan, machine.state, TYPES.pack))


def differences(one: bytes, other: bytes) -> dict[str, tuple[Any, Any]]:
    """Where two snapshots differ."""
    first, second = msgspec.json.decode(one), msgspec.json.decode(other)
    return {key: (first[key], second[key]) for key in first if first[key] != second[key]}


def restored(plan: Plan, saved: bytes) -> Machine:
    """A machine that goes on from a snapshot."""
    return Machine(plan, decode(plan, msgspec.json.decode(saved), TYPES.unpack))


# -- the driver ------------------------------------------------------------------------------------------------------


@dataclass
class Task:
    """A chunk that was commanded to run: its remaining script, and the wait it stands in, if any."""

    run: RunChunk
    script: Iterator[events.Event]
    wait: int | None = None
    cancelled: bool = False
    hangs: bool = False
    inner: "Simulation | None" = None

    @property
    def can_go_on(self) -> bool:
        """Whether its next record can be written now: a sub-flow's step ends after what runs inside it."""
        inner_ended = self.inner is None or self.inner.close is not None
        return self.wait is None and not self.hangs and inner_ended


class Runaway(Exception):
    """The program has taken more records than a test wants to wait for."""


@dataclass(frozen=True)
class Start:
    """How an execution is started."""

    value: Any = None
    attended: bool = True
    concurrency: int | None = None
    skip_exceptions: bool = False
    max_pending: int = 1024
    execution_timeout: float | None = None
    delay: float | None = None
    #: see `events.RULES`
    rules: int = events.RULES

    def record(self) -> events.Started:
        """The record that starts it so."""
        return events.Started(
            0.0,
            self.value,
            self.attended,
            self.concurrency,
            self.skip_exceptions,
            self.max_pending,
            rules=self.rules,
            execution_timeout=self.execution_timeout,
            delay=self.delay,
        )


@dataclass(frozen=True)
class Child:
    """A flow that can be run as a sub-flow."""

    plan: Plan
    skip_exceptions: bool = False


@dataclass
class Saved:
    """What is left of an execution whose process died, and of the sub-flows inside it by the number of their step."""

    plan: Plan
    state: bytes
    inside: "dict[int, Saved]"


@dataclass
class Simulation:
    """One execution, driven to its end by `go`. `watch` is called after every record.

    A sub-flow is a simulation inside this one: `tree` is this one and those that are inside it now.
    """

    plan: Plan
    behaviours: Mapping[str, Behaviour]
    pick: Pick = lambda count: 0
    outside: list[events.Event] = field(default_factory=list[events.Event])
    watch: Callable[["Simulation"], None] = lambda simulation: None
    limit: int = 5000
    children: Mapping[str, Child] = field(default_factory=dict[str, Child])
    saved: dict[int, Saved] = field(default_factory=dict[int, Saved])
    around: "Simulation | None" = None
    step: RunChunk | None = None
    machine: Machine = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.machine = self.machine or Machine(self.plan)
        self.time: list[float] = [0.0] if self.around is None else self.around.time
        self.inside: list[Simulation] = []
        self.records: list[events.Event] = []
        self.answers: list[list[tuple[Any, ...]]] = []
        self.tasks: dict[int, Task] = {}
        self.timers: dict[int, float] = {}
        self.pulls: dict[int, tuple[BlockInstance, int]] = {}
        self.sources: dict[int, Iterator[Any]] = {}
        self.interrupts: dict[str, Interrupt] = {}
        self.issued: list[RunChunk] = []
        self.waits: dict[int, int | None] = {}
        self.told: list[int] = []
        self.parked: list[int] = []
        self.stream: list[Any] = []
        self.close: commands.Close | None = None

    @property
    def clock(self) -> float:
        """The time, which is the same in all of a tree."""
        return self.time[0]

    @clock.setter
    def clock(self, at: float) -> None:
        self.time[0] = at

    def tree(self) -> "Iterator[Simulation]":
        """This execution and the sub-flows that run in it."""
        yield self
        for task in self.tasks.values():
            if task.inner is not None:
                yield from task.inner.tree()

    def all(self) -> "Iterator[Simulation]":
        """This execution and all sub-flows that have ever run in it."""
        yield self
        for it in self.inside:
            yield from it.all()

    def save(self) -> Saved:
        """What another process needs to go on."""
        inside = {task.run.id: task.inner.save() for task in self.tasks.values() if task.inner is not None}
        return Saved(self.plan, snapshot(self.machine), inside)

    # -- to the machine ----------------------------------------------------------------------------------------------

    def send(self, event: events.Event) -> list[tuple[Any, ...]]:
        """Let the machine take a record, keep both, do what it commands. Raises what the machine raises."""
        number = self.machine.state.records
        # What is kept must not be what the execution holds: replaying it has to start from what was said then.
        kept = copy.deepcopy(event)
        answer = self.machine.receive(event)
        self.records.append(kept)
        self.answers.append([render(command) for command in answer])
        if len(self.records) > self.limit:
            raise Runaway
        if isinstance(event, events.Emitted | events.ExternalWaitStarted) and number in (
            self.machine.state.waits or {}
        ):
            self.waits[number] = event.run
        for command in answer:
            self.perform(command)
        self.watch(self)
        return self.answers[-1]

    def go_on(self) -> None:
        """Go on with a machine that was loaded."""
        again = outstanding(self.machine)
        if again is None:
            self.send(events.Recovered(self.clock))
        for command in again or ():
            self.perform(command)

    def perform(self, command: commands.AnyCommand) -> None:
        """Do what a driver does."""
        match command:
            case RunChunk():
                self.issued.append(command)
                self.tasks[command.id] = task = Task(command, self.script(command))
                if command.node.kind is OperatorKind.SUB_FLOW:
                    self.descend(task)
            case commands.CancelPull(instance=instance):
                self.pulls.pop(instance.id, None)
            case commands.RequestPermits(count=count) if self.around is not None and self.step is not None:
                with suppress(ExecutionClosed):
                    self.around.send(events.PermitsRequested(self.clock, self.step.id, count))
            case commands.ReturnPermits(count=count) if self.around is not None and self.step is not None:
                with suppress(ExecutionClosed):
                    self.around.send(events.PermitsReturned(self.clock, self.step.id, count))
            case commands.GrantPermits(run=step, count=count):
                inner = self.tasks[step.id].inner
                assert inner is not None
                with suppress(ExecutionClosed):
                    inner.send(events.PermitsGranted(self.clock, count))
            case commands.OpenInterrupt(interrupt=it) if self.around is not None and self.step is not None:
                with suppress(ExecutionClosed):
                    name = f"{self.step.id}/{it.id}"
                    self.around.send(events.Paused(self.clock, self.step.id, name, expires=it.expires, holds=True))
            case commands.CloseInterrupt(interrupt=it) if self.around is not None and self.step is not None:
                with suppress(ExecutionClosed):
                    expired = it.status == "expired"
                    self.around.send(events.InterruptClosed(self.clock, f"{self.step.id}/{it.id}", expired))
            case commands.Answer(interrupt=it):
                inner = self.tasks[it.run.id].inner
                if inner is not None:
                    inner.send(events.Resumed(self.clock, it.id.partition("/")[2], it.response, it.request))
            case commands.CancelRun(run=run):
                self.cancel(run)
            case commands.WakeWaiter(wait=number):
                self.told.append(number)
                for task in self.tasks.values():
                    if task.wait == number:
                        task.wait = None
            case commands.Publish(item=item):
                self.stream.append(item)
            case commands.StartTimer(timer=number, due=due):
                self.timers[number] = due
            case commands.CancelTimer(timer=number):
                self.timers.pop(number, None)
            case commands.Pull(instance=instance, count=count):
                self.pulls[instance.id] = (instance, count)
            case commands.OpenInterrupt(interrupt=interrupt) if interrupt.expires is None:
                # One that can expire is never answered here, so that it does.
                self.interrupts[interrupt.id] = interrupt
            case commands.Close():
                assert self.close is None, "an execution closes once"
                self.close = command
            case _:
                pass

    def descend(self, task: Task) -> None:
        """Begin the sub-flow of a step, or go on with the one that was saved."""
        run = task.run
        saved = self.saved.pop(run.id, None)
        child = self.children[run.node.operator.options["flow"]]
        options: dict[str, Any] = {"children": self.children, "around": self, "step": run, "limit": self.limit}
        if saved is not None:
            options |= {"machine": restored(child.plan, saved.state), "saved": saved.inside}
        inner = task.inner = Simulation(child.plan, self.behaviours, self.pick, watch=self.watch, **options)
        self.inside.append(inner)
        if saved is None:
            concurrency = run.node.operator.options.get("child_concurrency")
            leases = bool(around(self.machine.state, run.scope))
            skips = child.skip_exceptions
            options = {"leases": leases, "rules": events.RULES}
            inner.send(events.Started(self.clock, run.value, False, concurrency, skips, **options))
        elif inner.machine.state.status not in FINAL:
            inner.go_on()
        else:
            inner.close = commands.Close(inner.machine.state.status.value)  # type: ignore[arg-type]

    def step_script(self, task: Task) -> Iterator[events.Event]:
        """How a step ends, once its sub-flow has."""
        inner, number = task.inner, task.run.id
        assert inner is not None
        for name, it in (self.machine.state.interrupts or {}).items():
            if it.holds and it.run.id == number and it.status == "waiting":
                yield events.InterruptClosed(self.clock, name)
        state = inner.machine.state
        if task.cancelled or state.status == "cancelled":
            yield events.Cancelled(self.clock, number)
        elif state.status == "failed":
            yield events.Failed(self.clock, number, state.error or events.ErrorInfo("?", "?"))
        else:
            ends = any(node.kind is OperatorKind.RESULT for node in inner.plan.nodes)
            if state.result is UNSET and state.lost and ends and self.machine.state.rules >= events.NO_VALUE:
                yield StepWithoutValue(task.run, self.clock, inner.plan.definition.name).event
            else:
                yield events.Completed(self.clock, number, None if state.result is UNSET else state.result)

    def cancel(self, run: RunChunk) -> None:
        """Tell a chunk to stop; one that has not begun stops at once."""
        task = self.tasks.get(run.id)
        if task is not None and task.inner is not None:
            task.cancelled = True
            with suppress(ExecutionClosed):
                task.inner.send(events.CancelRequested(self.clock, "its step was cancelled"))
            return
        if task is None:
            task = self.tasks[run.id] = Task(run, iter(()))
        task.cancelled, task.wait = True, None
        task.script = self.clean_up(run)
        task.hangs = self.behaviour(run).on_cancel == "hang"

    def behaviour(self, run: RunChunk) -> Behaviour:
        """What the chunk of this run does."""
        if "equals" in run.node.operator.options:  # only the value's own `==` can compare it with the literal
            return Behaviour("always" if run.node.literal == run.value else "never")
        return self.behaviours[run.node.handler or run.node.name]

    # -- chunks ------------------------------------------------------------------------------------------------------

    def script(self, run: RunChunk) -> Iterator[events.Event]:
        """The records that a run writes, one after another."""
        behaviour, name, number = self.behaviour(run), run.node.name, run.id
        guess = -1
        for effect in behaviour.effects:
            if effect.act == "guess":
                guess = self.machine.state.records
            yield self.effect(effect, number, run.value, guess)
        if run.attempt <= behaviour.retries:
            yield events.Failed(self.clock, number, events.ErrorInfo("Flaky", "again", name), retry_in=1.0)
        elif behaviour.fails:
            yield events.Failed(self.clock, number, events.ErrorInfo("Broken", "no", name))
        elif behaviour.pauses and run.value != ANSWER:
            target = behaviour.pauses if behaviour.pauses in ("next", "self") else "next"
            resume_event = behaviour.pauses if behaviour.pauses not in ("next", "self", "expires") else None
            expires = self.clock + 5 if behaviour.pauses == "expires" else None
            yield events.Paused(
                self.clock, number, f"{name}:{number}", resume_event=resume_event, resume_to=target, expires=expires
            )
        else:
            yield events.Completed(self.clock, number, VALUES[behaviour.value](run.value, name))

    def effect(self, effect: Effect, run: int | None, value: Any, guess: int = -1) -> events.Event:
        """The record of one effect; its value is the effect's own or, without one, the chunk's."""
        at, name = self.clock, effect.name
        value = value if effect.value is None else effect.value
        match effect.act:
            case "emit":
                return events.Emitted(at, run, name, value)
            case "settle" | "spawn":
                return events.Emitted(at, run, name, value, settle=True)
            case "delay":
                return events.Emitted(at, run, name, value, delay=2.0)
            case "loose":
                return events.Emitted(at, run, name, value, delay=2.0, label="loose", keeps_open=False)
            case "drop":
                return events.SignalsCancelled(at, run, name if value else "loose")
            case "set" | "append" | "delete":
                return events.StateChanged(at, run, effect.act, name, value)
            case "flow":
                return events.FlowDataChanged(at, run, name, value)
            case "put":
                return events.StreamPut(at, run, value)
            case "stop":
                return events.StreamStopped(at, run)
            case "result":
                return events.ResultSet(at, run, value)
            case "guess":
                return events.Emitted(at, run, name, value, provisional=True)
            case "confirm":
                return events.Confirmed(at, run, guess)
            case "retract":
                return events.Retracted(at, run, guess, "wrong")
            case "give":
                return events.ItemsGiven(at, run or 0, [value], [FieldPlace("a[0]", "a[*]", ("a", 0))])
            case "take":
                early = (self.machine.state.early or {}).get(run or 0)
                return events.Retracted(at, run, -1 if early is None else early.signal, "wrong")
            case "park":
                return events.ExternalWaitStarted(at, run or 0)

    def clean_up(self, run: RunChunk) -> Iterator[events.Event]:
        """What a run that was told to stop still writes."""
        how = self.behaviour(run).on_cancel
        if how == "write":
            yield events.StreamPut(self.clock, run.id, "clean-up")
            yield events.StateChanged(self.clock, run.id, "set", "cleaned", run.id)
            yield events.Emitted(self.clock, run.id, "e1", "clean-up", settle=True)
        if how == "finish":
            yield events.Completed(self.clock, run.id, "finished all the same")
        elif how == "fail":
            yield events.Failed(self.clock, run.id, events.ErrorInfo("Broken", "in clean-up", run.node.name))
        else:
            yield events.Cancelled(self.clock, run.id)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def actions(self) -> list[Callable[[], None]]:
        """Everything that can happen next."""
        self.interrupts = {name: asked for name, asked in self.interrupts.items() if asked.status == "waiting"}
        tree = [it for it in self.tree() if it is self or it.close is None]
        found = [action for it in tree for action in it.own_actions()]
        timers = [it for it in tree if it.timers]
        if not found and timers:
            found.append(min(timers, key=lambda it: min(it.timers.values())).fire)
        if not found and self.interrupts:
            found.append(self.answer)
        hanging = [it for it in tree if any(task.hangs for task in it.tasks.values())]
        if not found and hanging:
            found.append(hanging[-1].abandon)
        return found

    def own_actions(self) -> list[Callable[[], None]]:
        """What this execution itself can do without waiting."""
        found: list[Callable[[], None]] = [
            lambda task=task: self.advance(task) for task in self.tasks.values() if task.can_go_on
        ]
        found += [lambda number=number: self.pull(number) for number in self.pulls]
        if self.outside:
            found.append(self.from_outside)
        if self.parked:
            found.append(self.unpark)
        return found

    def go(self, start: Start | None = None) -> "Simulation":
        """Start, and run until nothing can happen any more; then nobody outside will send another signal."""
        if start is not None:
            self.send(start.record())
        while True:
            while self.close is None and (actions := self.actions()):
                actions[self.pick(len(actions))]()
            if self.close is not None or self.machine.state.status in FINAL:
                return self
            before = len(self.records)
            self.send(events.CloseRequested(self.clock))
            if self.close is None and len(self.records) == before + 1 and not self.actions():
                return self

    def advance(self, task: Task) -> None:
        """The next record of one run."""
        if task.inner is not None:
            task.script = self.step_script(task)
        event = next(task.script)
        number = self.machine.state.records
        ends = isinstance(event, events.Completed | events.Failed | events.Cancelled | events.Paused)
        if ends:
            del self.tasks[task.run.id]
        elif isinstance(event, events.ExternalWaitStarted):
            task.wait = number
            self.parked.append(number)
        elif isinstance(event, events.Emitted) and event.settle and not self.spawned(task, event):
            task.wait = number
        self.send(event)
        if not ends and task.wait == number and number not in (self.machine.state.waits or {}):
            task.wait = None

    def spawned(self, task: Task, event: events.Emitted) -> bool:
        """Whether this emit waits in a task of its own, so that the chunk goes on."""
        return any(it.act == "spawn" and it.name == event.name for it in self.behaviour(task.run).effects)

    def pull(self, number: int) -> None:
        """Answer a pull from a lazy source, in a fixed order."""
        it, count = self.pulls.pop(number)
        if number not in self.sources:
            # After a load, what was pulled before is not pulled again.
            known = it.next + len(it.pulled or ())
            self.sources[number] = iter(sorted(it.source)[known:])
        items = list(islice(self.sources[number], count))
        self.send(events.SourceItems(self.clock, number, items, len(items) < count))

    def unpark(self) -> None:
        """What the chunk that parked last waits for has happened."""
        self.send(events.ExternalWaitEnded(self.clock, self.parked.pop()))

    def from_outside(self) -> None:
        """The next thing that the outside world does."""
        event = self.outside.pop(0)
        try:
            self.send(event)
        except ExecutionClosed:
            self.outside.clear()

    def fire(self) -> None:
        """The timer that is due first."""
        number = min(self.timers, key=lambda timer: (self.timers[timer], timer))
        self.clock = max(self.clock, self.timers.pop(number))
        self.send(events.TimerFired(self.clock, number))

    def answer(self) -> None:
        """Answer the interrupt that was opened first."""
        name = next(iter(self.interrupts))
        del self.interrupts[name]
        self.send(events.Resumed(self.clock, name, ANSWER, "request"))

    def abandon(self) -> None:
        """The deadline for clean-up has passed."""
        for task in self.tasks.values():
            for it in task.inner.tree() if task.inner is not None else ():
                it.close = it.close or commands.Close("cancelled")
        self.tasks.clear()
        self.send(events.CleanupTimedOut(self.clock))


def in_order_of(seed: int) -> Pick:
    """Choose at random, always the same way for one seed."""
    return random.Random(seed).randrange
