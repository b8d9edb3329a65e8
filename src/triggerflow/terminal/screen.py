"""The layout of the screen, as lines of text with styles, for any size and independent of the terminal.

From top to bottom, or in two columns where there are 120 or more: the header, the steps of the graph beside the axis of
time, the runtime stream, and a panel of fixed height for what matters most now: an open question, an error, the result,
or what is running. A state is shown by a sign, a word and a colour.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..backend import QuestionInfo
from ..wire.routes import KEY_LABEL
from . import answers, safe
from .axis import Gap, span, tick
from .model import DOING, Model, Span, State, Step, shown_steps

#: A piece of a line: a text and the name of its style.
Part = tuple[str, str]
Line = list[Part]
Panel = Literal["steps", "stream"]

#: From which width on the screen has two columns.
WIDE = 120
#: The sign and the word of each state. The styles have the names of the states.
LOOK: dict[str, tuple[str, str]] = {
    "idle": ("·", ""),
    "queued": ("◌", "queued"),
    "running": ("►", "running"),
    "waiting": ("◷", "waiting"),
    "backoff": ("↻", "retrying"),
    "asking": ("?", "asks"),
    "done": ("✓", "done"),
    "failed": ("✗", "failed"),
    "cancelled": ("⊘", "cancelled"),
    "lost": ("↯", "lost"),
    "created": ("·", "not started"),
    "completed": ("✓", "completed"),
}
#: How a span is drawn, and what is drawn at its end.
_STROKES = {"queued": "·", "running": "━", "waiting": "╌", "backoff": "┄", "asking": "╍"}
_MARKS = {"retry": ("✗", "backoff"), "lost": ("↯", "lost"), "failed": ("✗", "failed"), "cancelled": ("⊘", "cancelled")}
_LEVELS = "▁▂▃▄▅▆▇█"
#: A block has the first of these states that one of its steps has.
_WORST: tuple[State, ...] = (*DOING, "failed", "cancelled", "done")
#: Times have rounding errors: a place that is so near to the next column, in columns, counts as in it.
_SLACK = 1e-3
#: A row with more runs than this is drawn as the number of runs at work at once.
_FEW = 6


@dataclass
class View:
    """What the person has chosen to see."""

    #: the number of the chosen step, None if none is
    chosen: int | None = None
    #: the number of the first step shown; and by how many lines the stream is scrolled back
    top: int = 0
    back: int = 0
    panel: Panel = "steps"
    #: the number of the open question that is shown
    question: int = 0
    #: a text for the second line, such as that the store does not answer
    notice: str = ""


class Row(NamedTuple):
    """A step as it is shown: its depth, and the model of its execution."""

    depth: int
    model: Model
    step: Step


def rows(model: Model) -> list[Row]:
    """The steps that are shown, from top to bottom."""
    return [Row(*it) for it in shown_steps(model) if it[2].shape != "hidden"]


def screen(model: Model, view: View, width: int, height: int, now: float) -> list[Line]:
    """The whole screen: exactly `height` lines of `width` columns. `now`: seconds since the epoch."""
    wide = width >= WIDE
    head, foot = header(model, view, width, now), [footer(model, view, width)]
    room = max(height - len(head) - len(foot), 3)
    steps = rows(model)
    if wide:
        left = max(width * 5 // 8, 72)
        right = width - left - 3
        shown = steps_panel(model, steps, view, left, room, now)
        low = min(10, room // 2)
        column = [*stream_panel(model, view, right, room - low), *focus_panel(model, steps, view, right, low, now)]
        body: list[Line] = [[*one, (" │ ", "dim"), *two] for one, two in zip(shown, column, strict=True)]
    else:
        upper, low = _heights(len(steps), room)
        body = [
            *steps_panel(model, steps, view, width, upper, now),
            *stream_panel(model, view, width, room - low - upper),
            *focus_panel(model, steps, view, width, low, now),
        ]
    return [_fill(line, width) for line in (head + body + foot)[:height]]


def _heights(steps: int, room: int) -> tuple[int, int]:
    """For one column: the heights of the steps and of the lowest panel."""
    low = min(max(room // 3, 3), 10)
    least = 4 if room - low > 8 else 2
    return max(min(steps + 1, room - low - least), 2), low


def reach(view: View, steps: int, width: int, height: int) -> int:
    """The number of the first step to show, so that the chosen one is visible."""
    room = max(height - 3, 3)
    shown = (room if width >= WIDE else _heights(steps, room)[0]) - 1
    if view.chosen is None or steps <= shown:
        return 0
    lowest = view.chosen - shown + (1 if view.chosen == steps - 1 else 2)
    return max(min(view.top, view.chosen), lowest, 0)


def text(lines: Iterable[Line]) -> list[str]:
    """The lines without styles and trailing blanks."""
    return ["".join(part for part, _ in line).rstrip() for line in lines]


# -- header and footer -------------------------------------------------------------------------------------------------


def header(model: Model, view: View, width: int, now: float) -> list[Line]:
    """Two lines: flow, id, status and time; then counts, or what is wrong."""
    status = model.status
    look = "asking" if status == "waiting" and model.asked else status
    sign, word = LOOK[look]
    word = "waits for an answer" if look == "asking" else word
    right = f"{sign} {word}  {safe.duration(model.elapsed(now))} "
    flow = safe.cut(safe.line(model.flow) or "…", max(width // 3, 8))
    name = safe.cut(safe.line(model.id), max(width - safe.width(flow) - safe.width(right) - 4, 8))
    gap = width - 3 - safe.width(flow) - safe.width(name) - safe.width(right)
    first: Line = [(f" {flow}  ", "bold"), (name, ""), (" " * max(gap, 1), ""), (right, _style(look))]
    return [first, _second(model, view, width, now)]


def _second(model: Model, view: View, width: int, now: float) -> Line:
    info = model.info
    if view.notice:
        return [(safe.cut(f" {safe.line(view.notice)}", width), "backoff")]
    if info is not None and not model.ended and not info.owned and model.status == "running" and now - model.last > 5:
        return [(safe.cut(" no process works on it: start a worker with its code", width), "backoff")]
    facts = [_count(model.moment.number, "frame")]
    if model.retries:
        facts.append(_count(model.retries, "retry", "retries"))
    if model.losses:
        facts.append(f"{_count(model.losses, 'attempt')} lost with {'its' if model.losses == 1 else 'their'} process")
    if info is not None and info.parent is not None:
        facts.append(f"sub-flow of {safe.value(info.parent, 100)}")
    if info is not None and info.forked_from is not None:
        facts.append(f"fork of {safe.value(info.forked_from[0], 100)}")
    if info is not None and info.due is not None and not model.ended and info.due > now and model.status == "waiting":
        facts.append(f"next timer in {safe.duration(info.due - now)}")
    if info is not None:
        labels = sorted((key, it) for key, it in info.labels.items() if key != KEY_LABEL)
        facts += [f"{safe.value(key, 50)}={safe.value(it, 50)}" for key, it in labels]
    return [(safe.cut(" " + " · ".join(facts), width), "dim")]


def footer(model: Model, view: View, width: int) -> Line:
    """The keys."""
    keys = [("q", "leave")]
    if not model.ended:
        keys = [("c", "cancel"), *keys]
        if len(model.questions) > 1:
            keys = [("n", "next question"), *keys]
        if model.questions:
            keys = [("a", "answer"), *keys]
    keys += [
        ("↑↓", "steps" if view.panel == "steps" else "stream"),
        ("tab", "stream" if view.panel == "steps" else "steps"),
    ]
    if view.chosen is not None or view.back:
        keys.append(("esc", "back"))
    line: Line = [(" ", "")]
    for key, what in keys:
        line += [(f" {key} ", "key"), (f" {what}  ", "dim")]
    return line


# -- steps -------------------------------------------------------------------------------------------------------------


def steps_panel(model: Model, steps: Sequence[Row], view: View, width: int, height: int, now: float) -> list[Line]:
    """The steps of the graph, each with its runs on the axis of time."""
    longest = max((safe.width(it.step.name) + 2 * it.depth for it in steps), default=0) + 5
    names = max(min(longest, width // 3, 48), 14)
    facts = 23 if width >= 72 else 20
    bar = max(width - names - facts - 2, 8)
    now = model.last if model.ended else max(now, model.last)
    whole = span(model.axis.place(now))
    room = height - 1
    top = min(view.top, max(len(steps) - room, 0))
    lines: list[Line] = [
        [*_title("Steps", view.panel == "steps", names + facts + 1), *_axis_line(model, whole, bar, now)]
    ]
    for number in range(top, min(top + room, len(steps))):
        row = steps[number]
        chosen = number == view.chosen
        line = [*_name(row, names, chosen), *_facts(row, facts, now), (" ", ""), *_bar(model, row, bar, whole, now)]
        lines.append(line)
    hidden = steps[top + room :]
    if hidden and room > 1:
        lines[-1] = _more(hidden, steps[top + room - 1], width)
    lines += [[("", "")]] * (height - len(lines))
    return [_fill(line, width) for line in lines]


def _more(hidden: Sequence[Row], last: Row, width: int) -> Line:
    below = [last, *hidden]
    counts = [(state, sum(_state(it) == state for it in below)) for state in _WORST]
    words = ", ".join(f"{count} {LOOK[state][1]}" for state, count in counts if count)
    return [(safe.cut(f"   ↓ {len(below)} more{': ' if words else ''}{words}", width), "dim")]


def _title(name: str, active: bool, width: int) -> Line:
    head = f"{'▸' if active else ' '}{name} "
    return [(head, "title"), ("─" * max(width - safe.width(head) - 1, 0) + " ", "dim")]


def _name(row: Row, width: int, chosen: bool) -> Line:
    state = _state(row)
    sign = LOOK[state][0]
    indent = "  " * row.depth
    step = row.step
    name = safe.cut(step.name, width - len(indent) - 4)
    left = width - len(indent) - 4 - safe.width(name)
    label = safe.cut(step.label if step.label.startswith(",") else f" {step.label}", left) if left > 5 else ""
    style = "chosen" if chosen else "dim" if state == "idle" else "bold" if step.opens is not None else ""
    body: Line = [(f" {indent}{sign} ", _style(state)), (name, style), (label, "dim")]
    return [*_fill(body, width - 1), (" ", "")]


def _state(row: Row) -> State:
    """The state of a row; for a block, out of the states of the steps in it."""
    step = row.step
    if step.shape not in ("opener", "choice"):
        return step.state
    if step.opens is not None and not row.model.ended:
        each = step.opens
        if each.open or (each.exact and each.ended < each.total):
            return _inside(row, DOING, "running")
    if step.opens is not None and step.opens.failed:
        return "failed"
    return _inside(row)


def _inside(row: Row, among: Sequence[State] = _WORST, otherwise: State = "idle") -> State:
    blocks = row.model.blocks_in(row.step.block)
    states: set[State] = {
        it.state for it in row.model.steps.values() if it.block in blocks and it.shape not in ("opener", "choice")
    }
    for state in among:
        if state in states:
            return state
    return otherwise


def _facts(row: Row, width: int, now: float) -> Line:
    """The word for the state, and a count or a duration."""
    step, state = row.step, _state(row)
    word = LOOK[state][1]
    bad = 0
    if step.opens is not None:
        each = step.opens
        what = f"{each.ended}/{each.total}" if each.exact else f"{each.ended}" if each.begun else ""
        bad = each.failed
    elif step.shape in ("opener", "choice") or not step.begun:
        what = ""
    elif step.total > 1:
        what, bad = f"{step.ended}/{step.total}", step.failed
    else:
        what = safe.duration(_time_of(step, now))
        tries = sum(1 for it in step.spans if it.doing == "running")
        if tries > 1:
            what = f"{what}, try {tries}"
    failed = f" {bad}✗" if bad else ""
    line: Line = [(f"{word:9} ", _style(state)), (safe.cut(what, width - 10 - len(failed)), ""), (failed, "failed")]
    return _fill(line, width)


def _time_of(step: Step, now: float) -> float:
    """The time from the first span that is not queued to the end of the last one, or to now."""
    spans = [it for it in step.spans if it.doing != "queued"]
    if not spans:
        return 0.0
    end = spans[-1].end
    return (now if end is None else end) - spans[0].start


# -- the axis of time --------------------------------------------------------------------------------------------------


def _axis_line(model: Model, whole: float, width: int, now: float) -> Line:
    """The labels of the axis: times, and ≈ with its length where an idle time is shortened."""
    cells = [" "] * width
    taken = [False] * (width + 1)

    def put(column: int, label: str) -> None:
        if column < 0 or column + len(label) > width or any(taken[max(column - 1, 0) : column + len(label) + 1]):
            return
        for offset, char in enumerate(label):
            cells[column + offset], taken[column + offset] = char, True

    live = model.axis.gap_until(now)
    gaps = [*model.axis.gaps[-50:], *([live] if live is not None else [])]
    for gap in gaps:
        put(_column(gap.start, whole, width), f"≈{_tick(gap.seconds)}")
    step = tick(whole, width)
    begin = 0.0
    for gap in [*gaps, Gap(whole, whole, 0.0)]:
        # between two gaps the axis runs as the clock does
        past = model.axis.time(begin) - model.began
        for number in range(math.ceil(past / step - 1e-6), math.ceil((past + gap.start - begin) / step - 1e-6)):
            put(_column(begin + number * step - past, whole, width), _tick(number * step))
        begin = gap.end
        if gap is live:
            break
    return [("".join(cells), "dim")]


def _tick(seconds: float) -> str:
    return safe.duration(seconds).replace(".0s", "s").replace("m 00s", "m").replace("h 00m", "h").replace(" ", "")


def _column(place: float, whole: float, width: int) -> int:
    return min(int(place / whole * width + _SLACK), width - 1)


def _bar(main: Model, row: Row, width: int, whole: float, now: float) -> Line:
    """The runs of a step on the axis; for the head of a for_each, its progress."""
    step = row.step
    if step.opens is not None and step.opens.begun:
        return _progress(row, width)
    if not step.begun:
        return []
    many = step.each is not None and step.total > 1
    if many or len(step.spans) > 4 * _FEW or step.begun > _FEW:
        return _density(main, step, width, whole, now)
    cells: list[Part] = [(" ", "")] * width
    place = main.axis.place
    for it in step.spans:
        _draw_span(cells, it, _column(place(it.start), whole, width), place, whole, width, now)
    return _joined(cells)


def _draw_span(
    cells: list[Part], it: Span, start: int, place: Callable[[float], float], whole: float, width: int, now: float
) -> None:
    end = now if it.end is None else it.end
    stop = max(_column(place(end), whole, width), start + (it.doing == "running"))
    style = (
        "done"
        if it.doing == "running" and it.end is not None and it.mark in ("done", "asked", "")
        else _style(it.doing)
    )
    if it.mark in _MARKS and it.doing == "running":
        style = _MARKS[it.mark][1]
    for column in range(start, min(stop, width)):
        cells[column] = (_STROKES[it.doing], style)
    if it.mark in _MARKS and it.doing != "queued":
        cells[min(max(stop - 1, start), width - 1)] = _MARKS[it.mark]
    elif it.end is None and it.doing == "running":
        cells[min(max(stop - 1, start), width - 1)] = ("►", style)


def _density(main: Model, step: Step, width: int, whole: float, now: float) -> Line:
    """For each column, the largest number of runs at work at once."""
    times = step.times
    if not times:
        return []
    most = 1 << (max(step.peak, step.levels[-1]) - 1).bit_length()  # a power of 2, so that the scale changes seldom
    first, last = _column(main.axis.place(times[0]), whole, width), _column(main.axis.place(now), whole, width)
    style = "running" if step.state in DOING else "failed" if step.state == "failed" else "done"
    cells: list[Part] = [(" ", "")] * first
    for column in range(first, last + 1):
        high = step.level_between(
            main.axis.time((column - _SLACK) / width * whole) if column > first else times[0],
            main.axis.time((column + 1 - _SLACK) / width * whole),
        )
        cells.append((_LEVELS[min(high * 8 // most, 8) - 1] if high * 8 >= most else "▁" if high else " ", style))
    return _joined(cells[:width])


def _progress(row: Row, width: int) -> Line:
    each = row.step.opens
    assert each is not None
    if not each.exact:
        return [(safe.cut(f"{len(each.open)} at work, {each.ended} ended", width), "dim")]
    label = f" {each.ended * 100 // each.total if each.total else 100}%, {len(each.open)} at work" if each.open else ""
    columns = max(width - len(label), 4)
    columns = min(columns, 60)
    done = each.done * columns // max(each.total, 1)
    failed = min(-(-each.failed * columns // max(each.total, 1)), columns - done)
    return [("█" * done, "done"), ("█" * failed, "failed"), ("░" * (columns - done - failed), "dim"), (label, "")]


# -- the stream --------------------------------------------------------------------------------------------------------


def stream_panel(model: Model, view: View, width: int, height: int) -> list[Line]:
    """The last lines of the runtime stream."""
    room = max(height - 1, 0)
    found = model.stream.lines(width - 3, room + view.back)
    back = min(view.back, max(len(found) - room, 0))
    shown = found[len(found) - room - back : len(found) - back] if len(found) > room else found
    about = _count(model.stream.count, "item") if model.stream.count else "nothing yet"
    more = f", {back} lines below" if back else ""
    lines: list[Line] = [_title(f"Stream  {about}{more}", view.panel == "stream", width)]
    lines += [[(" ", ""), (f"{label} " if label else "", "label"), (line, "")] for label, line in shown]
    lines += [[("", "")]] * (height - len(lines))
    return [_fill(line, width) for line in lines[:height]]


# -- what matters now --------------------------------------------------------------------------------------------------


def focus_panel(model: Model, steps: Sequence[Row], view: View, width: int, height: int, now: float) -> list[Line]:
    """The lowest panel: the chosen step, else a question, an error, the result, or what is running."""
    if view.chosen is not None and view.chosen < len(steps):
        title, lines = _about_step(steps[view.chosen], width, now)
    elif model.questions and not model.ended:
        title, lines = _about_question(model.questions, view.question, width, height - 1, now)
    elif model.ended:
        title, lines = _about_end(model, width)
    else:
        title, lines = _about_runs(model, width, height - 1, now)
    body: list[Line] = [_title(title, False, width), *lines]
    if len(body) > height:
        body = [*body[: height - 1], [("  …", "dim")]] if height > 2 else body[:height]
    body += [[("", "")]] * (height - len(body))
    return [_fill(line, width) for line in body]


def question_of(questions: Sequence[QuestionInfo], number: int) -> tuple[int, QuestionInfo]:
    """The question with this number, modulo how many there are."""
    number %= len(questions)
    return number, questions[number]


def _about_question(
    questions: Sequence[QuestionInfo], number: int, width: int, room: int, now: float
) -> tuple[str, list[Line]]:
    number, it = question_of(questions, number)
    which = f"({number + 1} of {len(questions)})" if len(questions) > 1 else ""
    about = f"asked by {safe.value(it.chunk, 60)} {safe.duration(now - it.since)} ago"
    if it.expires is not None:
        about += f", until {safe.duration(it.expires - now)} from now"
    first: Line = [(f" ? {safe.cut(safe.value(it.own_id, 80), width // 2)}  ", "asking"), (about, "dim")]
    payload = [] if it.payload is None else [*safe.wrap(safe.value(it.payload, 2000), width - 4)]
    lines: list[Line] = [first, *([("   ", ""), (part, "")] for part in payload[: max(room - 2, 0)])]
    lines.append([("   ", ""), (" a ", "key"), (f" {answers.wanted(it.schema)}", "dim")])
    return f"Waiting for you {which}".rstrip(), lines


def _about_end(model: Model, width: int) -> tuple[str, list[Line]]:
    moment = model.moment
    if moment.status == "failed":
        return "Failed", [[(f" {part}", "failed")] for part in safe.wrap(model.error, width - 2)]
    if moment.status == "cancelled":
        return "Cancelled", [[(f" {part}", "cancelled")] for part in safe.wrap(model.reason, width - 2)]
    if not moment.has_result:
        return "Completed", [[(" without a result", "dim")]]
    return "Result", [[(" ", ""), (part, "")] for part in value_lines(moment.result, width - 2)]


def _about_runs(model: Model, width: int, room: int, now: float) -> tuple[str, list[Line]]:
    found = list(model.open_runs())
    lines: list[Line] = []
    for run in found[: room if len(found) <= room else room - 1]:
        state = run.doing
        took = safe.duration(now - run.began)
        about = [f"#{run.item.number} {run.item.label}".rstrip() if run.item is not None else ""]
        about.append(f"attempt {run.attempt}" if run.attempt > 1 else "")
        about.append(run.step.error if state == "backoff" else "")
        said = "  ".join(filter(None, about))
        name = safe.cut(run.step.name, 24)
        lines.append(
            [
                (f" {LOOK[state][0]} ", _style(state)),
                (f"{name}  ", ""),
                (safe.cut(said, width - safe.width(name) - 14), "dim"),
                (f"  {took}", ""),
            ]
        )
    if len(found) > room:
        lines.append([(f"   and {len(found) - room + 1} more", "dim")])
    if not found:
        lines.append([(" it waits for a signal, or a timer" if model.status == "waiting" else " nothing", "dim")])
    return f"Running ({len(found)})" if found else "Running", lines


def _about_step(row: Row, width: int, now: float) -> tuple[str, list[Line]]:
    step = row.step
    each = step.opens
    if each is not None:
        facts = [f"{each.done} items done, {each.failed} failed, {len(each.open)} at work"]
        facts.append(f"of {each.total}" if each.exact else "nobody knows yet of how many")
        lines: list[Line] = [[(" " + ", ".join(facts), "")]]
        lines += [
            [(f"   #{it.number} {safe.cut(it.label, width - 20)}  {safe.duration(now - it.began)}", "dim")]
            for it in list(each.open)[:8]
        ]
        return step.name, lines
    counts = [(step.done, "done"), (step.failed, "failed"), (step.cancelled, "cancelled"), (len(step.open), "open")]
    facts = [f"{count} {what}" for count, what in counts if count]
    if step.retries:
        facts.append(_count(step.retries, "retry", "retries"))
    if step.losses:
        facts.append(f"{step.losses} lost")
    lines = [[(" " + (", ".join(facts) or "nothing has run"), "")]]
    if step.error:
        lines += [[(f" {part}", "failed")] for part in safe.wrap(f"last error: {step.error}", width - 2)]
    if step.sub_flow:
        lines.append(
            [(f" sub-flow {safe.value(step.flow or '', 60)}, execution {safe.value(step.sub_flow, 120)}", "dim")]
        )
    return step.name, lines


def value_lines(value: object, width: int) -> list[str]:
    """A JSON value on as many lines as it needs, at most 100."""
    if isinstance(value, str):
        return [part for it in safe.lines(value) for part in safe.wrap(it, width)][:100]
    short = safe.value(value, 4000)
    if safe.width(short) <= width:
        return [short]
    written = json.dumps(value, ensure_ascii=False, indent=2, default=str)[: safe.LONGEST]
    return [part for it in safe.lines(written) for part in safe.wrap(it, width)][:100]


# -- pieces ------------------------------------------------------------------------------------------------------------


def _style(state: str) -> str:
    return {"completed": "done", "created": "dim", "idle": "dim"}.get(state, state)


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def _joined(cells: Sequence[Part]) -> Line:
    found: Line = []
    for text_, style in cells:
        if found and found[-1][1] == style:
            found[-1] = (found[-1][0] + text_, style)
        else:
            found.append((text_, style))
    return found


def _fill(line: Line, width: int) -> Line:
    """The line in exactly so many columns."""
    found: Line = []
    left = width
    for part, style in line:
        size = safe.width(part)
        if size > left:
            part = safe.fit(part, left)
            size = left
        if part:
            found.append((part, style))
        left -= size
        if left <= 0:
            break
    if left > 0:
        found.append((" " * left, ""))
    return found
