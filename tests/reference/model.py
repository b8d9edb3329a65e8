"""The documented meaning of a flow, as a plain, slow interpreter: no operators, records or commands, only calls.

What follows a step is a function that is called with the value. A clock calls what is due. It is written from the
documentation, and takes nothing from the engine.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from tests.reference.program import (
    TICK,
    Act,
    Back,
    Batch,
    Chain,
    Chunk,
    Each,
    End,
    Failed,
    Flow,
    Fork,
    Loose,
    Match,
    Outcome,
    Steps,
    Sub,
    Test,
    To,
    again,
    duration,
)  # fmt: skip

Then = Callable[[Any], None]
#: More attempts than this in one execution, and the program is too long for a test.
LIMIT = 600
#: What values of `when` call a kind of signal by another word than `when` itself.
PUBLIC = {"chunk": "event"}


class TooLong(Exception):
    """The program runs for too long."""


# -- time -------------------------------------------------------------------------------------------------------------


@dataclass(order=True)
class Alarm:
    """A call that is due at some time."""

    time: int
    number: int
    call: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class Clock:
    """Calls what is due, in order of time."""

    def __init__(self) -> None:
        self.now = 0
        self.alarms: list[Alarm] = []
        self.soon: deque[Callable[[], None]] = deque()
        self.count = 0
        #: whether two things were due at one moment: then their order says nothing
        self.tied = False

    def after(self, seconds: int, call: Callable[[], None]) -> Alarm:
        """Call this later."""
        self.count += 1
        alarm = Alarm(self.now + seconds, self.count, call)
        heapq.heappush(self.alarms, alarm)
        return alarm

    def step(self, until: int | None = None) -> bool:
        """Do what is due next, and all that follows at once. False: nothing is due, or nothing before `until`."""
        while self.alarms and self.alarms[0].cancelled:
            heapq.heappop(self.alarms)
        if not self.alarms or (until is not None and self.alarms[0].time > until):
            return False
        alarm = heapq.heappop(self.alarms)
        self.tied = self.tied or (alarm.time == self.now and alarm.time > 0)
        self.now = alarm.time
        alarm.call()
        self.settle()
        return True

    def settle(self) -> None:
        """Do what follows at once."""
        while self.soon:
            self.soon.popleft()()


# -- places -----------------------------------------------------------------------------------------------------------


class Group:
    """What an emit with `settle` waits for: all that is at work because of it."""

    def __init__(self) -> None:
        self.live = 0
        self.waiters: list[Callable[[], None]] = []


@dataclass(frozen=True)
class Cause:
    """Why something runs: the error routes and the settled emits that have led to it."""

    routes: frozenset[int] = frozenset()
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True)
class Lost:
    """What a branch has instead of a value. Without a failure, a route or `skip_exceptions` has taken it."""

    failure: Any = None


@dataclass(frozen=True, eq=False)
class Branch:
    """A branch of a block: an item, a case, a chunk of a batch."""

    block: "Block"
    number: int


@dataclass(frozen=True)
class Place:
    """Where a step stands: in which branch of which block, and whether what it gives leads to the end of that."""

    branch: Branch | None = None
    aside: bool = False


class Block:
    """One pass through a batch, for_each or match."""

    def __init__(self, place: Place, on_error: str, size: int, done: Callable[["Block"], None]) -> None:
        self.place = place
        self.collects = on_error == "collect"
        self.values: dict[int, Any] = {}
        self.size = size
        self.closed = False
        self._done = done

    def arrive(self, branch: Branch, value: Any) -> None:
        """A branch has come to its end, or cannot come there any more."""
        if self.closed or branch.number in self.values:
            return
        if isinstance(value, Lost) and value.failure is not None and self.collects:
            value = value.failure
        self.values[branch.number] = value
        self.check()

    def check(self) -> None:
        """Go on behind the block if all branches have arrived."""
        if len(self.values) == self.size and not self.closed:
            self.closed = True
            self._done(self)

    def lost(self) -> Lost | None:
        """What the block has instead of a value, if a branch has none."""
        lost = [it for _, it in sorted(self.values.items()) if isinstance(it, Lost)]
        return next((it for it in lost if it.failure is not None), lost[0] if lost else None)


def lose(place: Place, lost: Lost) -> None:
    """A step gives no value."""
    if place.branch is not None and not place.aside:
        place.branch.block.arrive(place.branch, lost)


def collected(place: Place) -> bool:
    """Whether a block around a failed step has a place for its failure."""
    while place.branch is not None and not place.aside:
        if place.branch.block.collects:
            return True
        place = place.branch.block.place
    return False


# -- executions -------------------------------------------------------------------------------------------------------


@dataclass
class Outside:
    """What an execution shares with those of its sub-flows."""

    clock: Clock = field(default_factory=Clock)
    seen: Outcome = field(default_factory=Outcome)
    running: list["Run"] = field(default_factory=list["Run"])


class Execution:
    """One execution of a flow."""

    def __init__(self, flow: Flow, outside: Outside, ended: Callable[[], None]) -> None:
        self.flow = flow
        self.outside = outside
        self.clock = outside.clock
        self.ended = ended
        self.result: Any = None
        self.has_result = False
        self.failure: tuple[str, str] | None = None
        self.took_failure = False
        self.over = False
        self.live = 0
        self.timers: list[Alarm] = []
        self.joins: dict[Any, dict[Any, Any]] = {}
        self.items = {name: each for chain in flow.chains for name, each in items_of(chain.steps)}
        self.has_end = any(isinstance(it, End) for chain in flow.chains for it in chain.steps)

    def start(self, value: Any) -> None:
        """Begin it."""
        self.live += 1
        for chain in self.flow.chains:
            for kind, seconds in chain.triggers:
                if kind == "timer":
                    self.timers.append(self.clock.after(seconds, lambda chain=chain: self.ring(chain, value)))
        for chain in self.flow.chains:
            if not chain.triggers:
                self.steps(chain.steps, value, Place(), Cause(), ignore)
        self.leave()

    def ring(self, chain: Chain, value: Any) -> None:
        """The timer of a chain is due."""
        self.timers = [it for it in self.timers if it.time > self.clock.now]
        self.live += 1
        self.steps(chain.steps, value, Place(), Cause(), ignore)
        self.leave()

    def leave(self) -> None:
        """Something has ended. The execution ends with the last thing that it waits for."""
        self.live -= 1
        if self.live == 0 and not self.over and (self.has_result or not self.timers):
            self.end()

    def end(self) -> None:
        """It is over, and what still runs in it is cancelled."""
        self.over = True
        for timer in self.timers:
            timer.cancelled = True
        seen = self.outside.seen
        for run in [it for it in self.outside.running if it.execution.is_of(self)]:
            run.cancel()
            begun = (self.clock.now, run.chunk.name, run.value)
            if run.at == self.clock.now and begun in seen.runs:
                seen.runs.remove(begun)
                seen.perhaps.append(begun)
        self.clock.soon.append(self.ended)

    parent: "Execution | None" = None

    def is_of(self, other: "Execution") -> bool:
        """Whether it is this one, or runs in it as a sub-flow."""
        return self is other or (self.parent is not None and self.parent.is_of(other))

    @property
    def stopped(self) -> bool:
        """Whether nothing of it happens any more."""
        return self.over or (self.parent is not None and self.parent.stopped)

    # -- signals

    def enter(self, cause: Cause) -> None:
        """One more thing is at work."""
        self.live += 1
        for group in cause.groups:
            group.live += 1

    def left(self, cause: Cause) -> None:
        """One less."""
        for group in cause.groups:
            group.live -= 1
            if not group.live:
                self.clock.soon.extend(group.waiters)
                group.waiters.clear()
        self.leave()

    def signal(self, kind: str, name: str, value: Any, cause: Cause, place: Place | None = None) -> None:
        """Something has happened: what listens to it goes on, outside of all blocks."""
        for number, chain in enumerate(self.flow.chains):
            if (kind, name) not in chain.triggers:
                continue
            told = value
            if len(chain.triggers) > 1 and chain.mode == "or":
                told = (PUBLIC.get(kind, kind), name, value)
            elif len(chain.triggers) > 1 and chain.mode == "and":
                slots = self.joins.setdefault((number, self.item(chain, place)), {})
                slots[kind, name] = value
                if len(slots) < len(chain.triggers):
                    continue
                joined: dict[str, dict[str, Any]] = {}
                for it in chain.triggers:
                    joined.setdefault(PUBLIC.get(it[0], it[0]), {})[it[1]] = slots[it]
                slots.clear()
                told = joined
            self.steps(chain.steps, told, Place(), cause, ignore)

    def item(self, chain: Chain, place: Place | None) -> Branch | None:
        """The item for which a `when` joins: all its signals are of chunks in the items of one for_each."""
        eaches = {self.items.get(name) if kind == "chunk" else None for kind, name in chain.triggers}
        if len(eaches) > 1 or eaches == {None} or place is None:
            return None
        branch = place.branch
        while branch is not None and not isinstance(branch.block, Items):
            branch = branch.block.place.branch
        return branch

    def fail(self, name: str, kind: str, text: str, value: Any, place: Place, cause: Cause) -> None:
        """A step has failed for good: the first that takes failures takes it."""
        own = self.routes(name, cause) or self.routes("*", cause)
        if collected(place):
            lose(place, Lost(Failed(("Failure", name, kind, text, value))))
        elif own:
            self.took_failure = True
            lose(place, Lost())
            for number in own:
                told = {"chunk": name, "type": kind, "message": text, "value": value}
                below = Cause(cause.routes | {number}, cause.groups)
                self.steps(self.flow.chains[number].steps, told, Place(), below, ignore)
        elif self.flow.skips:
            self.took_failure = True
            lose(place, Lost())
        elif not self.stopped:
            self.failure = (kind, text)
            self.end()

    def routes(self, name: str, cause: Cause) -> list[int]:
        """The error routes for a chunk that are not above this in the chain of causes."""
        numbers = [i for i, chain in enumerate(self.flow.chains) if ("error", name) in chain.triggers]
        return [it for it in numbers if it not in cause.routes]

    # -- steps

    def steps(self, steps: Steps, value: Any, place: Place, cause: Cause, then: Then) -> None:
        """Run steps one after the other, and go on with the last value."""
        if self.stopped:
            return
        if not steps:
            then(value)
            return
        rest = steps[1:]

        def follow(result: Any) -> None:
            self.steps(rest, result, place, cause, then)

        match steps[0]:
            case To(chunk, True):
                Run(self, chunk, value, Place(place.branch, aside=True), cause, ignore).start()
                follow(value)
            case To(chunk):
                Run(self, chunk, value, place, cause, follow).start()
            case Batch(_, _, True):
                self.batch(steps[0], value, Place(place.branch, aside=True), cause, ignore)
                follow(value)
            case Batch():
                self.batch(steps[0], value, place, cause, follow)
            case Each():
                Items(self, steps[0], place, cause, follow).begin(value)
            case Match():
                Choice(self, steps[0], value, place, cause, follow).next()
            case Fork(_, branches):
                for number, branch in enumerate(branches):
                    self.steps(branch, value, place, cause, self.collect(steps[0], number, place, cause, follow))
            case Loose(branch):
                self.steps(branch, value, Place(place.branch, aside=True), cause, ignore)
                follow(value)
            case Sub(_, _, True):
                Child(self, steps[0], value, Place(place.branch, aside=True), cause, ignore).start()
                follow(value)
            case Sub():
                Child(self, steps[0], value, place, cause, follow).start()
            case Back(chunk):
                for chain in self.flow.chains:
                    if To(chunk) in chain.steps:
                        self.steps(chain.steps[chain.steps.index(To(chunk)) :], value, place, cause, ignore)
            case End():
                if not self.has_result:
                    self.has_result, self.result = True, value
                follow(value)

    def batch(self, step: Batch, value: Any, place: Place, cause: Cause, then: Then) -> None:
        """Run chunks at once."""

        def done(block: Block) -> None:
            lost = block.lost()
            if lost is not None:
                lose(place, lost)
            else:
                then({chunk.name: block.values[number] for number, chunk in enumerate(step.chunks)})

        block = Block(place, step.on_error, len(step.chunks), done)
        for number, chunk in enumerate(step.chunks):
            branch = Branch(block, number)
            arrive: Then = lambda result, branch=branch: block.arrive(branch, result)  # noqa: E731
            Run(self, chunk, value, Place(branch), cause, arrive).start()

    def collect(self, step: Fork, number: int, place: Place, cause: Cause, then: Then) -> Then:
        """What stands at the end of a branch of a collection."""

        def arrive(value: Any) -> None:
            slots = self.joins.setdefault((step.name, place.branch), {})
            slots[number] = value
            if len(slots) < len(step.branches):
                return
            full = {f"b{it}": slots[it] for it in range(len(step.branches))}
            if step.mode == "filled_then_empty":
                slots.clear()
            then(full)
            self.signal("collect", step.name, full, cause)

        return arrive


def ignore(value: Any) -> None:
    """Nothing follows."""


def items_of(steps: Steps, each: Each | None = None) -> list[tuple[str, Each | None]]:
    """The names of the chunks, with the innermost for_each around each of them."""
    found: list[tuple[str, Any]] = []
    for step in steps:
        match step:
            case To(chunk):
                found.append((chunk.name, each and id(each)))
            case Batch(chunks):
                found += [(chunk.name, each and id(each)) for chunk in chunks]
            case Each(inner):
                found += items_of(inner, step)
            case Match(cases, otherwise):
                for _, inner in cases:
                    found += items_of(inner, each)
                found += items_of(otherwise or (), each)
            case Fork(_, branches):
                for inner in branches:
                    found += items_of(inner, each)
            case Loose(inner):
                found += items_of(inner, each)
            case _:
                pass
    return found


class Run:
    """A run of a chunk, or of the function of a condition."""

    def __init__(
        self, execution: Execution, chunk: Chunk | Test, value: Any, place: Place, cause: Cause, then: Then
    ) -> None:
        self.execution = execution
        self.outside = execution.outside
        self.chunk = chunk
        self.value = value
        self.place = place
        self.cause = cause
        self.then = then
        self.failures = 0
        #: the acts that were done, each with the group of what it caused
        self.done: dict[int, Group] = {}
        self.alarm: Alarm | None = None
        #: the attempts, those that a restart has cut off included; what an earlier one waited for is nothing to a later
        self.begun = 0
        self.pausing = False
        self.at = 0

    def start(self) -> None:
        """Begin the first attempt."""
        self.execution.enter(self.cause)
        self.outside.running.append(self)
        self.attempt()

    def attempt(self) -> None:
        """Begin an attempt."""
        self.pausing = False
        self.begun += 1
        seen = self.outside.seen
        self.at = self.outside.clock.now
        seen.runs.append((self.at, self.chunk.name, self.value))
        if len(seen.runs) > LIMIT:
            raise TooLong
        self.alarm = self.outside.clock.after(duration(self.chunk.name, self.value), self.work)

    def restart(self) -> None:
        """The process has ended and another one goes on: what was running runs again."""
        if self.pausing:
            return
        if self.alarm is not None:
            self.alarm.cancelled = True
        self.attempt()

    def cancel(self) -> None:
        """Its execution has ended."""
        self.begun += 1
        if self.alarm is not None:
            self.alarm.cancelled = True
        if self in self.outside.running:
            self.outside.running.remove(self)

    def work(self) -> None:
        """Do the acts that no attempt has done, and return or raise."""
        self.alarm = None
        if isinstance(self.chunk, Test):
            if self.chunk.raises(self.value):
                self.finish(lambda: self.lost("Broken", self.chunk.message(self.value)))
            else:
                self.finish(lambda: self.then(self.chunk.holds(self.value)))  # pyright: ignore
            return
        for number, act in enumerate(self.chunk.acts):
            if number not in self.done:
                self.done[number] = self.act(self.chunk, act)
            group = self.done[number]
            if act.kind == "settle" and group.live:
                group.waiters.append(self.woken(self.begun))
                return
            if self.execution.stopped:
                return
        self.give(self.chunk)

    def woken(self, begun: int) -> Callable[[], None]:
        """Go on behind a settled emit, if this attempt is still the current one."""

        def call() -> None:
            if begun == self.begun:
                self.work()

        return call

    def act(self, chunk: Chunk, act: Act) -> Group:
        """Do one act. Gives the group of what it causes."""
        group = Group()
        cause = Cause(self.cause.routes, (*self.cause.groups, group))
        told, execution = chunk.told(act, self.value), self.execution
        match act.kind:
            case "put":
                self.outside.seen.stream.append(told)
            case "set":
                execution.signal("runtime_data", act.name, told, cause)
            case "delay" if not any(("event", act.name) in chain.triggers for chain in execution.flow.chains):
                pass  # nothing listens, so that nothing has to wait
            case "delay":
                execution.enter(cause)

                def due() -> None:
                    if not execution.stopped:
                        execution.signal("event", act.name, told, cause)
                        execution.left(cause)

                self.outside.clock.after(duration(f"delay {chunk.name}", self.value), due)
            case "again" if not again(self.value):
                pass
            case _:
                execution.signal("event", act.name, told, cause)
        return group

    def give(self, chunk: Chunk) -> None:
        """Return or raise."""
        if not chunk.raises(self.value, self.failures):
            result = Lazy(chunk, self.value) if chunk.gives.startswith("lazy") else chunk.result(self.value)
            self.finish(lambda: self.complete(result))
            return
        self.failures += 1
        if self.failures < chunk.attempts:  # an attempt that a restart has cut off is no failure
            self.pausing = True
            self.alarm = self.outside.clock.after(TICK, self.attempt)
            return
        text = chunk.message(self.value)
        failure = Failed(("Failure", chunk.name, "Broken", text, self.value))
        match chunk.fallback:
            case "value":
                self.finish(lambda: self.complete(f"{chunk.name} fell back"))
            case "call":
                self.finish(lambda: self.complete(chunk.instead(self.value, failure)))
            case "raise":
                self.finish(lambda: self.lost("BrokenToo", text))
            case _:
                self.finish(lambda: self.lost("Broken", text))

    def complete(self, result: Any) -> None:
        """It has completed: its chain goes on, and each `when` that hears it."""
        self.then(result)
        self.execution.signal("chunk", self.chunk.name, result, self.cause, self.place)

    def lost(self, kind: str, text: str) -> None:
        """It has failed for good."""
        self.execution.fail(self.chunk.name, kind, text, self.value, self.place, self.cause)

    def finish(self, call: Callable[[], None]) -> None:
        """End the run, and do what follows from it."""
        self.outside.running.remove(self)
        call()
        self.execution.left(self.cause)


@dataclass(frozen=True)
class Lazy:
    """What a chunk returns that gives a source of items."""

    chunk: Chunk
    value: Any


class Items(Block):
    """One pass of a for_each."""

    def __init__(self, execution: Execution, step: Each, place: Place, cause: Cause, then: Then) -> None:
        super().__init__(place, step.on_error, -1, lambda _: self.finish())
        self.execution = execution
        self.step = step
        self.cause = cause
        self.then = then
        self.source: Run | None = None

    def begin(self, value: Any) -> None:
        """Run the steps for each item."""
        broken = isinstance(value, Lazy) and value.chunk.broken
        given: Any = value.chunk.items(value.value) if isinstance(value, Lazy) else value
        items = cast("list[Any]", given if type(given) is list or type(given) is tuple else [given])
        if broken:
            Source(self, value).start()
        for number, item in enumerate(items):
            branch = Branch(self, number)
            arrive: Then = lambda result, branch=branch: self.arrive(branch, result)  # noqa: E731
            self.execution.steps(self.step.steps, item, Place(branch), self.cause, arrive)
        if not broken:
            self.size = len(items)
            self.check()

    def finish(self) -> None:
        """All items have arrived."""
        lost = self.lost()
        if lost is not None and lost.failure is not None:
            lose(self.place, lost)
        else:
            self.then([it for _, it in sorted(self.values.items()) if not isinstance(it, Lost)])


class Source(Run):
    """A source that raises, some time behind its last item."""

    def __init__(self, items: Items, value: Lazy) -> None:
        super().__init__(items.execution, value.chunk, value.value, items.place, items.cause, ignore)
        self.pass_ = items

    def attempt(self) -> None:
        self.alarm = self.outside.clock.after(TICK, self.work)

    def work(self) -> None:
        def fail() -> None:
            self.pass_.closed = True
            name = "for_each"
            self.execution.fail(name, "Broken", f"{self.chunk.name} source", None, self.place, self.cause)

        self.finish(fail)


class Choice:
    """One pass of a match: the cases are asked one after the other."""

    def __init__(self, execution: Execution, step: Match, value: Any, place: Place, cause: Cause, then: Then) -> None:
        self.execution = execution
        self.step = step
        self.value = value
        self.place = place
        self.cause = cause
        self.then = then
        self.asked = 0
        self.hits: list[Steps] = []
        self.several = step.mode == "hit_all"
        # A condition that raises is a failure of the match: its own `collect` takes it.
        self.asking = Block(place, step.on_error, 1, self.no_answer)

    def no_answer(self, block: Block) -> None:
        """A condition has raised."""
        outcome = block.values[0]
        if isinstance(outcome, Lost):
            lose(self.place, outcome)
        else:
            self.then([outcome] if self.several else outcome)

    def next(self) -> None:
        """Ask the next case."""
        if self.asked == len(self.step.cases) or (self.hits and not self.several):
            self.run()
            return
        test, _ = self.step.cases[self.asked]
        if test.says:
            Run(self.execution, test, self.value, Place(Branch(self.asking, 0)), self.cause, self.answer).start()
        else:
            self.answer(test.literal == self.value)

    def answer(self, hit: bool) -> None:
        """A case has been asked."""
        if hit:
            self.hits.append(self.step.cases[self.asked][1])
        self.asked += 1
        self.next()

    def run(self) -> None:
        """Run the cases that were hit."""
        if not self.hits and self.step.otherwise is not None:
            self.several = False
            self.hits.append(self.step.otherwise)
        if not self.hits:
            self.then(self.value)
            return
        block = Block(self.place, self.step.on_error, len(self.hits), self.done)
        for number, steps in enumerate(self.hits):
            branch = Branch(block, number)
            arrive: Then = lambda result, branch=branch: block.arrive(branch, result)  # noqa: E731
            self.execution.steps(steps, self.value, Place(branch), self.cause, arrive)

    def done(self, block: Block) -> None:
        """All cases have arrived."""
        lost = block.lost()
        if lost is not None:
            lose(self.place, lost)
        else:
            self.then([it for _, it in sorted(block.values.items())] if self.several else block.values[0])


class Child:
    """A sub-flow: an execution of its own as a step of another."""

    def __init__(self, execution: Execution, step: Sub, value: Any, place: Place, cause: Cause, then: Then) -> None:
        self.execution = execution
        self.step = step
        self.value = value
        self.place = place
        self.cause = cause
        self.then = then
        self.inner = Execution(step.flow, execution.outside, self.ended)
        self.inner.parent = execution

    def start(self) -> None:
        """Begin it."""
        self.execution.enter(self.cause)
        self.inner.start(self.value)

    def ended(self) -> None:
        """It has ended: with a result, with a failure, or without either."""
        inner, name = self.inner, self.step.flow.name
        if self.execution.stopped:
            return
        nothing = inner.took_failure and inner.has_end and not inner.has_result
        kind, text = inner.failure or (
            "NoResult", f"flow {name!r} ended without a result: an error route or skip_exceptions took a failure in it"
        )  # fmt: skip
        failure = Failed(("Failure", name, kind, text, self.value))
        if inner.failure is None and not nothing:
            self.then(inner.result)
        elif self.step.fallback == "value":
            self.then(f"{name} fell back")
        elif self.step.fallback == "call":
            self.then([name, *failure[1:4]])
        elif inner.failure is not None:
            self.execution.fail(name, kind, text, self.value, self.place, self.cause)
        else:
            self.execution.took_failure = True
            lose(self.place, Lost(failure if collected(self.place) else None))
        self.execution.left(self.cause)


def predict(flow: Flow, value: Any, restart: int | None = None) -> tuple[Outcome, bool, int]:
    """What an execution of a flow has to do, whether that is certain, and when it ends.

    With `restart`, its process ends at this time, and another one goes on from a snapshot."""
    outside = Outside()
    clock, seen = outside.clock, outside.seen
    execution = Execution(flow, outside, lambda: None)
    execution.start(value)
    clock.settle()
    while not execution.over and clock.step(restart):
        pass
    if restart is not None and not execution.over:
        clock.now = restart
        for run in list(outside.running):
            run.restart()
        while not execution.over and clock.step():
            pass
    assert execution.over, "the model waits for something that never comes"
    seen.end = ("failed", *execution.failure) if execution.failure else ("completed", execution.result)
    return seen, not clock.tied, clock.now
