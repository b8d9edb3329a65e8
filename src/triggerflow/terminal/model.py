"""The model of `watch`: a fold of the frames of an execution, independent of the terminal.

It has the steps of the graph, the runs in them, the progress of each for_each, the text of the stream, and the axis of
time. The cost of a frame does not grow with the number of frames before it, so that a long execution opens quickly.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, cast

from ..backend import Drawing, DrawnBox, ExecutionInfo, Frame, Moment, QuestionInfo, RunChange
from ..stores.protocol import FINAL_STATUSES
from . import safe
from .axis import Axis
from .stream import Entry, StreamText

#: What a run does. queued: it has not begun; asking: it, or its sub-flow, waits for an answer.
Doing = Literal["queued", "running", "waiting", "backoff", "asking"]
#: How a run has ended.
Outcome = Literal["done", "failed", "cancelled", "asked"]
#: The state of a step: what one of its runs does, or how its runs have ended; idle: it has had no run.
State = Literal["running", "backoff", "asking", "waiting", "queued", "failed", "cancelled", "done", "idle"]
#: A step with several open runs has the first of these states that one of them has.
DOING: tuple[Doing, ...] = ("running", "backoff", "asking", "waiting", "queued")
#: How many spans of a step are kept.
SPANS = 200
#: How many recorded lists are kept for a for_each that may begin with one of them.
_LISTS = 64
#: How many changes of a step's level are compared at most for one column of the axis.
_SAMPLES = 32

_PHASES: dict[str, Doing] = {"ready": "queued", "running": "running", "waiting": "waiting", "backoff": "backoff"}
#: Records whose value can start a for_each.
_GIVES_VALUE = frozenset(("started", "completed", "emitted", "resumed", "state", "flow_data"))
#: Boxes that are not shown as steps.
_NO_STEP = frozenset(("point", "start", "gate", "collect", "result", "signal", "data", "error", "timer"))
#: Those of them whose text becomes a label of the steps behind them.
_FROM_OUTSIDE = frozenset(("signal", "data", "error", "timer"))
#: Boxes that a signal passes without a run.
_NO_RUN = frozenset(("point", "gate", "collect", "opener", "choice"))


class Span:
    """A part of a run: an attempt, or a wait before, in or after one. `mark`: how it has ended."""

    __slots__ = ("attempt", "doing", "end", "mark", "start")

    def __init__(self, doing: Doing, start: float, attempt: int) -> None:
        self.doing: Doing = doing
        self.start, self.attempt = start, attempt
        self.end: float | None = None
        self.mark: Literal["", "retry", "lost"] | Outcome = ""


class Opening:
    """One entry into a for_each (a block instance), with its list as far as that is known."""

    __slots__ = ("begun", "parent", "values")

    def __init__(self, values: list[Any], parent: "Item | None") -> None:
        self.values, self.parent = values, parent
        self.begun = 0


class Source:
    """The values of a lazy source so far. `each`: the for_each that reads it, known from its first item on."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.done = False
        self.each: Each | None = None


class Item:
    """An item of a for_each that has begun. `number` counts from 1 in the order in which items begin."""

    __slots__ = ("began", "each", "entered", "failed", "label", "number", "opening", "over", "parent", "runs")

    def __init__(self, each: "Each", opening: Opening, began: float) -> None:
        self.each, self.opening, self.parent, self.began = each, opening, opening.parent, began
        opening.begun += 1
        self.number = opening.begun
        values = opening.values
        self.label = safe.value(values[self.number - 1], 200) if len(values) >= self.number else ""
        #: how many open runs, questions, and items of inner for_each blocks it has
        self.runs = 0
        self.failed = self.over = False
        #: the ways (see `Each.entries`) by which it has entered the block
        self.entered: set[str] = set()


class Each:
    """A for_each: how many items it has, how many have begun, and how they have ended."""

    def __init__(self, block: str, box: str, outer: "Each | None") -> None:
        self.block, self.box, self.outer = block, box, outer
        self.total = self.begun = self.done = self.failed = 0
        #: whether the values of all its openings are known; and the lazy sources among them
        self.known = True
        self.sources: list[Source] = []
        #: whether it begins directly behind the head of another for_each: the items of that one are lists of its items,
        #: and only its own are counted
        self.flat = False
        #: the open items, the oldest first
        self.open: dict[Item, None] = {}
        self.openings: dict[tuple[int, int], Opening] = {}
        #: the operators that can be the first one of an item, each with its way: an item enters a way once
        self.entries: dict[str, str] = {}
        #: the items that have begun with the present frame
        self.fresh: list[Item] = []

    @property
    def ended(self) -> int:
        """How many items have ended."""
        return self.done + self.failed

    @property
    def exact(self) -> bool:
        """Whether `total` is the number of all its items."""
        return self.known and all(it.done for it in self.sources)


class Run:
    """A run that has not ended."""

    __slots__ = ("attempt", "began", "doing", "item", "losses", "number", "questions", "span", "step", "sub_flow")

    def __init__(self, change: RunChange, step: "Step", at: float) -> None:
        self.number, self.step, self.began = change.run, step, at
        self.attempt, self.losses, self.sub_flow = change.attempt, change.losses, change.sub_flow
        self.doing: Doing = "queued"
        self.item: Item | None = None
        self.span: Span | None = None
        #: how many open questions its sub-flow has
        self.questions = 0


class Step:
    """A box of the graph, with all that has run in it."""

    def __init__(self, key: str, name: str, shape: str) -> None:
        self.key, self.name, self.shape = key, safe.value(name, 100), shape
        self.depth = 0
        #: the name of what leads here, if it has one: a case, a signal
        self.label = ""
        self.block: str | None = None
        #: the for_each directly around it: each of its items passes here
        self.each: Each | None = None
        #: the for_each that begins with this box
        self.opens: Each | None = None
        #: for a sub-flow: the name of its flow, and the id of its newest execution
        self.flow: str | None = None
        self.sub_flow: str | None = None
        self.begun = self.done = self.retries = self.losses = self.failed = self.cancelled = 0
        self.open: dict[int, Run] = {}
        #: the open questions of runs that have ended, with the spans in which they wait
        self.asking: dict[str, Span] = {}
        #: the runs that have failed or were cancelled
        self.bad: dict[int, Outcome] = {}
        self.last: Outcome | None = None
        self.error = ""
        self.spans: deque[Span] = deque(maxlen=SPANS)
        #: the times at which the number of runs at work changed, and the numbers from then on
        self.times: list[float] = []
        self.levels: list[int] = []
        self.peak = 1
        self.busy: Counter[Doing] = Counter()

    @property
    def state(self) -> State:
        """What its open runs do; without any, the worst outcome in a for_each, else the outcome of the last run."""
        for doing in DOING:
            if self.busy[doing] or (doing == "asking" and self.asking):
                return doing
        if self.begun > 1 and self.each is not None and self.bad:
            return "failed" if self.failed else "cancelled"
        if self.last is None:
            return "idle"
        return "done" if self.last == "asked" else self.last

    @property
    def total(self) -> int:
        """How many runs it has had, or will have as far as is known."""
        return max(self.begun, self.each.total if self.each is not None else 0)

    @property
    def ended(self) -> int:
        """How many runs have ended."""
        return self.begun - len(self.open) - len(self.asking)

    def level(self, at: float, more: int) -> None:
        """Note that `more` further runs are at work from now on."""
        now = (self.levels[-1] if self.levels else 0) + more
        if self.times and self.times[-1] >= at:
            self.levels[-1] = now
        else:
            # A frame can end a run and begin the next one: the level between the two does not count.
            self.peak = max(self.peak, self.levels[-1] if self.levels else 0)
            self.times.append(at)
            self.levels.append(now)

    def level_between(self, start: float, end: float) -> int:
        """The most runs that were at work at once between two times, from a sample if there are very many changes."""
        first, last = bisect_right(self.times, start) - 1, bisect_left(self.times, end)
        pace = max((last - first) // _SAMPLES, 1)
        return max(self.levels[max(first, 0) : max(last, 1) : pace], default=0)


class Happened(NamedTuple):
    """One thing that has happened with a frame. Without `step` it is about the execution itself."""

    what: str
    step: Step | None = None
    text: str = ""
    item: Item | None = None
    #: for a piece of the stream
    entry: Entry | None = None


class Question(NamedTuple):
    """An open question out of the frames: the step and item that ask, and the span in which they wait.

    `run`: the open run that its sub-flow asks for; `ended`: the run that has ended by asking.
    """

    step: Step | None
    item: Item | None
    span: Span | None
    run: int | None
    ended: int | None = None


class Model:
    """The model of an execution. Give it the drawing of its definition (`draw`) and each frame in order (`take`)."""

    def __init__(self, id: str) -> None:
        self.id, self.flow = id, ""
        self.info: ExecutionInfo | None = None
        self.moment = Moment()
        self.axis = Axis()
        #: the times of the first and the newest frame
        self.began = self.last = 0.0
        self.stream = StreamText()
        self.steps: dict[str, Step] = {}
        self.runs: dict[int, Run] = {}
        self.asked: dict[str, Question] = {}
        #: the questions that nobody has answered: the steps that asked, and their runs; a retry asks again
        self._unanswered: dict[str, tuple[Step, int]] = {}
        #: the open questions of the execution and its sub-flows as the backend lists them
        self.questions: list[QuestionInfo] = []
        self.losses = self.retries = 0
        #: the models of sub-flows that are watched as well, by the ids of their executions
        self.children: dict[str, Model] = {}
        self._busy = False
        #: how many runs are at work, and how many have a question
        self._working = self._asking = 0
        self._by_operator: dict[str, Step] = {}
        self._parents: dict[str, str | None] = {}
        self._each: dict[str, Each] = {}
        self._back: set[tuple[str, str]] = set()
        #: the item and the step of each run in a for_each
        self._items: dict[int, tuple[Item, Step]] = {}
        self._lists: dict[int, list[Any]] = {}
        #: for runs of conditions: the frame with the value that they check, and the run that has made it
        self._behind: dict[int, tuple[int, int | None]] = {}
        #: the lazy sources by the block instance that reads them, and by the frames that brought their items
        self._sources: dict[int, Source] = {}
        self._pulled: dict[int, Source] = {}
        self._touched: list[Item] = []
        self._reason = ""

    # -- the whole -----------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """The status; also "waiting" while nothing but sub-flows is open and these wait for answers."""
        status = self.moment.status
        return "waiting" if status == "running" and not self._working and self._asking else status

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.moment.status in FINAL_STATUSES

    def elapsed(self, now: float) -> float:
        """The seconds since the start, at most up to the end."""
        return (self.last if self.ended else max(now, self.last)) - self.began if self.began else 0.0

    @property
    def error(self) -> str:
        """Why it failed, in one line."""
        error = self.moment.error
        if error is None:
            return ""
        where = f"{safe.value(error.chunk, 100)}: " if error.chunk else ""
        return f"{where}{_said({'type': error.type, 'message': error.message})}"

    @property
    def reason(self) -> str:
        """Why it was cancelled, in one line."""
        return self._reason

    def open_runs(self) -> Iterator[Run]:
        """The open runs, the oldest first, without conditions. A watched sub-flow gives its own runs instead."""
        for run in self.runs.values():
            child = self.children.get(run.sub_flow or "")
            if child is not None and child.runs:
                yield from child.open_runs()
            elif run.step.shape != "hidden":
                yield run

    def blocks_in(self, block: str | None) -> set[str]:
        """A block and those inside of it."""
        found = {block} if block is not None else set[str]()
        for key, parent in self._parents.items():  # a block comes after the one around it
            if parent in found:
                found.add(key)
        return found

    # -- the graph -----------------------------------------------------------------------------------------------------

    def draw(self, drawing: Drawing) -> None:
        """Take over a graph. A step whose operator was known before keeps its runs."""
        former, known = self._by_operator, self.steps
        self.flow = self.flow or safe.value(drawing.flow, 200)
        self.steps, self._by_operator, self._each = {}, {}, {}
        self._parents = {block.key: block.parent for block in drawing.blocks}
        for box in drawing.boxes:
            self._add_step(box, former)
        boxes = {box.key: box for box in drawing.boxes}
        openers = {it: box for box in drawing.boxes if box.shape == "opener" for it in box.operators}
        for block in drawing.blocks:
            opener = openers.get(block.operator)
            if opener is None or not opener.lines[0].startswith("for each"):
                continue
            step, outer = self.steps[opener.key], self._around(block.parent)
            each = self._each[block.key] = step.opens = step.opens or Each(block.key, opener.key, outer)
            each.block, each.box, each.outer, each.flat = block.key, opener.key, outer, False
            each.entries.clear()
        order = {box.key: number for number, box in enumerate(drawing.boxes)}
        leaving: dict[str, list[Any]] = {}
        for line in drawing.lines:
            leaving.setdefault(line.source, []).append(line)
            for operator in line.operators:  # conditions
                if operator not in self._by_operator:
                    hidden = former.get(operator) or Step(f"?{operator}", line.label, "hidden")
                    hidden.block = boxes[line.source].block
                    self._by_operator[operator] = hidden
            if order[line.target] <= order[line.source]:
                self._back.add((line.source, line.target))
            step, source = self.steps.get(line.target), boxes[line.source]
            if step is not None and not step.label:
                outside = source.lines[0] if source.shape in _FROM_OUTSIDE and source.lines else ""
                step.label = safe.value(" ".join(filter(None, (outside and f"when {outside}", line.label))), 100)
        for each in list(self._each.values()):
            if each.outer is not None and any(
                boxes[it.target].shape == "opener" for it in leaving.get(each.outer.box, ())
            ):
                self.steps[each.outer.box].opens = None
                self._each.pop(each.outer.block, None)
                each.flat, each.outer = True, each.outer.outer
        for step in self.steps.values():
            step.each = self._each.get(step.block or "") if step.opens is None else None
            if step.opens is not None:
                self._find_entries(step.opens, boxes[step.key], "", boxes, leaving, set())
        for step in known.values():  # nothing that has run is lost
            if step.begun and step not in self.steps.values():
                self.steps[f"former {step.key}"] = step

    def _add_step(self, box: DrawnBox, former: dict[str, Step]) -> None:
        if box.shape in _NO_STEP or not box.lines:
            return
        step = next((former[it] for it in box.operators if it in former), None) or Step(box.key, "", box.shape)
        step.key, step.name, step.shape = box.key, safe.value(" ".join(box.lines), 100), box.shape
        step.block, step.flow, step.label = box.block, box.flow, ""
        if box.shape == "opener":
            head, comma, rest = step.name.partition(",")
            step.name, step.label = head, comma + rest
        block, step.depth = box.block, -1 if box.shape in ("opener", "choice") else 0
        while block is not None:
            step.depth += 1
            block = self._parents.get(block)
        self.steps[box.key] = step
        for operator in box.operators:
            self._by_operator[operator] = step

    def _around(self, block: str | None) -> Each | None:
        """The innermost for_each around a block, or that block itself."""
        while block is not None and block not in self._each:
            block = self._parents.get(block)
        return None if block is None else self._each[block]

    def _find_entries(
        self,
        each: Each,
        box: DrawnBox,
        way: str,
        boxes: dict[str, DrawnBox],
        leaving: dict[str, list[Any]],
        seen: set[str],
    ) -> None:
        """Find the operators that can be the first one of an item. The branches of a `match` that takes one of them
        count as one way."""
        seen.add(box.key)
        if box.shape == "choice" and box.lines[0].startswith("first"):
            way = way or box.key
        for line in leaving.get(box.key, ()):
            target = boxes[line.target]
            if (line.source, line.target) in self._back or target.key in seen:
                continue
            for operator in line.operators:
                each.entries.setdefault(operator, operator)
            if target.shape in _NO_RUN:
                self._find_entries(each, target, way, boxes, leaving, seen)
            for operator in target.operators:
                each.entries.setdefault(operator, way or operator)

    def step_of(self, operator: str) -> Step | None:
        """The step of an operator."""
        return self._by_operator.get(operator)

    def _step_of(self, change: RunChange) -> Step:
        """The step of a run. What has no box, such as a condition, gets a step that is hidden unless it fails."""
        step = self._by_operator.get(change.operator)
        if step is None:
            step = self._by_operator[change.operator] = Step(f"?{change.operator}", change.chunk, "hidden")
        return step

    # -- frames --------------------------------------------------------------------------------------------------------

    def take(self, frame: Frame) -> list[Happened]:
        """Advance to the moment after this frame, and return what has happened with it."""
        at, kind, record = frame.at, frame.kind, frame.record
        before = self.moment.status
        self.moment.take(frame)
        happened: list[Happened] = []
        if not self.began:
            self.began = self.last = at
            self._busy = True
            self.axis.turn(at, True)
        if frame.state is not None:
            happened += self._restart(frame)
        elif kind == "stream":
            happened += self._put(record)
        elif kind in _GIVES_VALUE and isinstance(record.get("value"), list):
            self._lists[frame.number] = record["value"]
            if len(self._lists) > _LISTS:
                del self._lists[next(iter(self._lists))]
        elif kind == "items_given":
            self._lists[frame.number] = record.get("items") or []
        elif kind == "pulled":
            self._pull(frame)
        elif kind == "recovered" and self._is_loss(frame) and at > self.last:
            self.axis.turn(self.last, False)  # nothing was at work since the process was lost, at an unknown time
            self._busy = False
        if kind == "started":
            value = record.get("value")
            happened.append(Happened("started", None, "" if value is None else safe.value(value)))
        elif kind == "emitted" and record.get("run") is None:
            happened.append(Happened("signal", None, safe.value(record.get("name"), 100)))
        elif kind == "cancel_requested":
            self._reason = safe.value(record.get("reason", ""))
        elif kind == "retried":
            happened.append(Happened("retried"))
        begun: list[Happened] = []
        for change in frame.runs:
            if change.phase == "ended":
                happened += self._change(frame, change)
            else:
                begun += self._change(frame, change)
        for question in frame.questions:
            happened += self._ask(frame, question.id) if question.open else self._close(frame, question.id)
        happened += begun
        if frame.status in FINAL_STATUSES and before not in FINAL_STATUSES:
            happened.append(self._end(frame))
        if self._touched:
            self._settle()
        self.last = at
        busy = self._working > 0
        if busy is not self._busy:
            self._busy = busy
            self.axis.turn(at, busy)
        return happened

    def _put(self, record: dict[str, Any]) -> Iterator[Happened]:
        item = record.get("item")
        if record.get("run") is None and isinstance(item, dict) and item.get("type") == "interrupt":  # pyright: ignore[reportUnknownMemberType]
            return  # an item of the engine about a question, which is shown as such
        entry, text = self.stream.add(item, record.get("run"), str(record.get("path", "")))
        yield Happened("stream", None, text, None, entry)

    def _is_loss(self, frame: Frame) -> bool:
        return any(it.run in self.runs and it.losses > self.runs[it.run].losses for it in frame.runs)

    def _restart(self, frame: Frame) -> list[Happened]:
        """Begin again with a frame of the whole state: only what is open then is known."""
        for run in list(self.runs.values()):
            self._finish(run, frame.at, "cancelled")
        self.asked.clear()
        for step in self.steps.values():
            step.asking.clear()
        for change in self.moment.runs.values():
            self._change(frame, change)
        for question in self.moment.questions.values():
            self._ask(frame, question.id)
        return [Happened("moment", None, f"the frames up to number {frame.number} are gone")]

    def _end(self, frame: Frame) -> Happened:
        for run in list(self.runs.values()):
            self._finish(run, frame.at, "cancelled")
        if frame.status == "completed":
            return Happened("completed", None, safe.value(frame.result) if frame.has_result else "")
        if frame.status == "failed":
            return Happened("failed", None, self.error)
        return Happened("cancelled", None, self._reason)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def _change(self, frame: Frame, change: RunChange) -> list[Happened]:
        run = self.runs.get(change.run)
        if change.phase == "ended":
            return self._ended(frame, run) if run is not None else []
        happened: list[Happened] = []
        lost = False
        if run is None:
            run = self._begin(frame, change)
        elif change.losses > run.losses:
            lost = True
            happened.append(Happened("lost", run.step, f"attempt {run.attempt}: its process has ended", run.item))
            run.step.losses += 1
            self.losses += 1
            self._mark(run, "lost")
        elif frame.kind == "failed" and frame.record.get("run") == change.run:
            run.step.error = _said(frame.record.get("error"))
            wait = safe.duration(frame.record.get("retry_in") or 0.0)
            text = f"attempt {run.attempt}, again in {wait}: {run.step.error}"
            happened.append(Happened("retry", run.step, text, run.item))
            run.step.retries += 1
            self.retries += 1
            self._mark(run, "retry")
        doing: Doing = "queued" if change.attempt == 0 else "asking" if run.questions else _PHASES[change.phase]
        begins = doing == "running" and (run.doing in ("queued", "backoff") or lost)
        run.attempt, run.losses = change.attempt, change.losses
        self._do(run, doing, frame.at)
        if begins and run.step.shape != "hidden":
            text = f"attempt {run.attempt}" if run.attempt > 1 else ""
            happened.append(Happened("running", run.step, text, run.item))
        return happened

    def _begin(self, frame: Frame, change: RunChange) -> Run:
        step = self._step_of(change)
        run = self.runs[change.run] = step.open[change.run] = Run(change, step, frame.at)
        step.sub_flow = change.sub_flow or step.sub_flow
        if change.run in step.bad:  # the failed execution was retried
            outcome = step.bad.pop(change.run)
            step.failed -= outcome == "failed"
            step.cancelled -= outcome == "cancelled"
        else:
            step.begun += 1
        if step.shape == "hidden":
            self._behind[change.run] = change.cause, change.by
        run.item = self._item_of(frame, change, step)
        if run.item is not None:
            self._items[run.number] = run.item, step
            self._hold(run.item)
        return run

    def _mark(self, run: Run, mark: Literal["retry", "lost"]) -> None:
        if run.span is not None:
            run.span.mark = mark

    def _do(self, run: Run, doing: Doing, at: float) -> None:
        """Note that a run does something else from now on."""
        span = run.span
        if span is not None:
            if span.doing == doing and not span.mark and span.attempt == run.attempt:
                return
            self._stop(run, at)
        run.doing = doing
        run.step.busy[doing] += 1
        self._working += doing in ("running", "queued")
        self._asking += doing == "asking"
        if doing == "running":
            run.step.level(at, 1)
        run.span = Span(doing, at, run.attempt)
        run.step.spans.append(run.span)

    def _stop(self, run: Run, at: float) -> None:
        if run.span is None:
            return
        run.span.end = at
        run.step.busy[run.doing] -= 1
        self._working -= run.doing in ("running", "queued")
        self._asking -= run.doing == "asking"
        if run.doing == "running":
            run.step.level(at, -1)

    def _ended(self, frame: Frame, run: Run) -> list[Happened]:
        step, item, record = run.step, run.item, frame.record
        kind = frame.kind if record.get("run") == run.number else ""
        took = safe.duration(frame.at - run.began)
        if kind == "paused":
            self._finish(run, frame.at, "asked")
            return []
        if kind == "failed":
            step.error = _said(record.get("error"))
            self._finish(run, frame.at, "failed")
            return [
                Happened(
                    "failed", step, f"attempt {run.attempt}: {step.error}" if run.attempt > 1 else step.error, item
                )
            ]
        if kind == "completed":
            if record.get("failure") is not None:
                step.error = _said(record["failure"])
                took = f"{took}, by its fallback: {step.error}"
            self._finish(run, frame.at, "done")
            return [Happened("done", step, took, item)] if step.shape != "hidden" else []
        self._finish(run, frame.at, "cancelled")
        return [Happened("cancelled", step, took, item)] if step.shape != "hidden" else []

    def _finish(self, run: Run, at: float, outcome: Outcome) -> None:
        step = run.step
        self._stop(run, at)
        if run.span is not None:
            run.span.mark = outcome
        del self.runs[run.number], step.open[run.number]
        step.last = outcome
        step.done += outcome == "done"
        if outcome in ("failed", "cancelled"):
            step.bad[run.number] = outcome
            step.failed += outcome == "failed"
            step.cancelled += outcome == "cancelled"
        if outcome == "failed" and step.shape == "hidden":
            step.shape = "condition"
            self.steps[step.key] = step
        if run.item is not None:
            run.item.failed |= outcome == "failed"
            self._release(run.item)

    # -- for_each ------------------------------------------------------------------------------------------------------

    def _item_of(self, frame: Frame, change: RunChange, step: Step) -> Item | None:
        """The item of a new run, which may begin with this run; None outside of a for_each."""
        known = self._items.get(change.run)
        if known is not None:
            return known[0]
        origin, source = self._items.get(change.by, (None, None)) if change.by is not None else (None, None)
        if frame.kind == "resumed":
            asked = self.asked.get(str(frame.record.get("interrupt")))
            origin = asked.item if asked is not None else origin
        each = self._around(step.block)
        if each is None:
            return None
        again = source is not None and (source.key, step.key) in self._back
        return self._place(each, change, origin, again, frame.at)

    def _place(self, each: Each, change: RunChange, origin: Item | None, again: bool, at: float) -> Item | None:
        way = each.entries.get(change.operator)
        same = origin
        while same is not None and same.each is not each:
            same = same.parent
        if same is not None and (way is None or again or way not in same.entered):
            if way is not None:
                same.entered.add(way)
            return same
        if way is None:
            return None
        for item in each.fresh:
            if way not in item.entered:
                item.entered.add(way)
                return item
        if same is not None:
            opening = same.opening
        else:
            parent = self._place(each.outer, change, origin, again, at) if each.outer is not None else None
            opening = self._opening(each, change, parent)
        each.begun += 1
        each.total = max(each.total, each.begun)
        item = Item(each, opening, at)
        item.entered.add(way)
        each.open[item] = None
        each.fresh.append(item)
        self._touched.append(item)
        if item.parent is not None:
            self._hold(item.parent)
        return item

    def _opening(self, each: Each, change: RunChange, parent: Item | None) -> Opening:
        """The opening of a new item: the one that the same frame has caused."""
        cause, by = change.cause, change.by
        while by is not None and by in self._behind:  # a condition has passed the value on
            cause, by = self._behind[by]
        source = self._pulled.get(cause)
        key = cause if source is None else id(source), id(parent)
        opening = each.openings.get(key)
        if opening is None:
            values = self._lists.get(cause) if source is None else source.values
            if source is not None:
                source.each = each
                each.sources.append(source)
            if values is not None and each.flat:
                values = [it for part in values if isinstance(part, list) for it in cast("list[Any]", part)]
            opening = each.openings[key] = Opening(values or [], parent)
            each.known = each.known and values is not None
            each.total += len(opening.values)
        return opening

    def _pull(self, frame: Frame) -> None:
        """Take the items that a lazy source has given."""
        record = frame.record
        source = self._pulled[frame.number] = self._sources.setdefault(record["opening"], Source())
        items: list[Any] = record.get("items") or []
        source.values += items
        source.done = bool(record.get("done"))
        if source.each is not None:
            source.each.total = max(source.each.total + len(items), source.each.begun)

    def _hold(self, item: Item) -> None:
        item.runs += 1
        if item.over:  # it continues, after a retry or with a late signal
            item.over = False
            item.each.failed -= item.failed
            item.each.done -= not item.failed
            item.failed = False
            item.each.open[item] = None
            if item.parent is not None:
                self._hold(item.parent)

    def _release(self, item: Item) -> None:
        item.runs -= 1
        self._touched.append(item)

    def _settle(self) -> None:
        """After a frame: end the items of which nothing is open."""
        for item in self._touched:  # the loop appends to the list
            item.each.fresh.clear()
            if item.runs or item.over:
                continue
            item.over = True
            item.each.open.pop(item, None)
            item.each.failed += item.failed
            item.each.done += not item.failed
            if item.parent is not None:
                self._release(item.parent)
        self._touched.clear()

    # -- questions -----------------------------------------------------------------------------------------------------

    def _ask(self, frame: Frame, id: str) -> list[Happened]:
        number = frame.record.get("run") if frame.kind == "paused" and frame.record.get("interrupt") == id else None
        run = self.runs.get(number) if number is not None else None
        step: Step | None = None
        item: Item | None = None
        span: Span | None = None
        if run is not None:  # a question of its sub-flow
            step, item = run.step, run.item
            run.questions += 1
            self._do(run, "asking", frame.at)
        elif number is not None:
            step = self._step_of_ended(frame, number)
            if step is not None:
                span = step.asking[id] = Span("asking", frame.at, 1)
                step.spans.append(span)
            item = self._items[number][0] if number in self._items else None
            if item is not None:
                self._hold(item)
        elif frame.kind == "retried" and id in self._unanswered:
            step, number = self._unanswered.pop(id)
            span = step.asking[id] = Span("asking", frame.at, 1)
            step.spans.append(span)
            if step.bad.pop(number, None) is not None:
                step.cancelled -= 1
        self.asked[id] = Question(step, item, span, *((number, None) if run is not None else (None, number)))
        payload = frame.record.get("payload")
        text = safe.value(id, 100) + ("" if payload is None else f": {safe.value(payload)}")
        return [Happened("asked", step, text, item)]

    def _step_of_ended(self, frame: Frame, run: int) -> Step | None:
        return next((self._by_operator.get(it.operator) for it in frame.runs if it.run == run), None)

    def _close(self, frame: Frame, id: str) -> list[Happened]:
        asked = self.asked.pop(id, None)
        if asked is None:
            return []
        answered = frame.kind == "resumed"
        if asked.run is not None:
            run = self.runs.get(asked.run)
            if run is not None:
                run.questions -= 1
                if not run.questions and run.doing == "asking":
                    self._do(run, "running", frame.at)
        elif asked.step is not None and asked.span is not None:
            asked.span.end, asked.span.mark = frame.at, "done" if answered else "cancelled"
            asked.step.asking.pop(id, None)
            if not answered and asked.ended is not None:
                asked.step.last = asked.step.bad[asked.ended] = "cancelled"
                asked.step.cancelled += 1
                self._unanswered[id] = asked.step, asked.ended
            if asked.item is not None:
                self._release(asked.item)
        name = safe.value(id, 100)
        if not answered:
            return [Happened("closed", asked.step, f"{name}: nobody has answered", asked.item)]
        return [Happened("answered", asked.step, f"{name}: {safe.value(frame.record.get('value'))}", asked.item)]


def _said(error: dict[str, Any] | None) -> str:
    """A recorded error as one harmless line."""
    error = error or {}
    kind, text = safe.value(error.get("type", "")), safe.value(error.get("message", ""), 500)
    return f"{kind}: {text}" if text else kind


def shown_steps(model: Model, depth: int = 0) -> Iterator[tuple[int, Model, Step]]:
    """The steps in the order of the graph, those of watched sub-flows below theirs, with their depth and model."""
    for step in model.steps.values():
        yield depth + step.depth, model, step
        child = model.children.get(step.sub_flow or "")
        if child is not None:
            yield from shown_steps(child, depth + step.depth + 1)
