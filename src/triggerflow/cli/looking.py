"""The verbs that only read: flows, runs, show, frames, stream, questions, diff, export, graph, schedules, open."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import msgspec

from ..terminal import safe
from ..terminal.colours import COLOURS
from ..wire.routes import KEY_LABEL
from . import finding
from .places import Place, opened, quoted
from .printing import (
    Painted,
    age,
    as_json,
    clock,
    coloured,
    lines,
    note,
    say,
    shown,
    table,
)
from .troubles import DONE, FAILED, USAGE, Trouble
from .values import described, moment_of, pairs_of

if TYPE_CHECKING:
    from ..backend import Backend, ExecutionInfo, Frame, OpenQuestion, QuestionInfo, StateInfo

#: How many columns of a value are shown in a list, and on the page of one execution.
IN_LIST, ON_PAGE = 60, 400
#: Of an id that the engine has generated, so many characters are shown.
SHORT = 12


def now() -> float:
    """Seconds since the epoch, by the clock of this machine."""
    return time.time()


def short(id: str) -> str:
    """An id for a list: a generated one is cut to a prefix, which the command takes as well."""
    head, slash, rest = id.partition("/")
    if len(head) >= 32 and all(it in "0123456789abcdef-" for it in head):
        head = head[:SHORT]
        return head if not slash else f"{head}…/{rest}"
    return id


# -- lists -------------------------------------------------------------------------------------------------------------


async def flows(place: Place, json: bool) -> int:
    """The flows, with how many executions of each there are by status."""
    found = await place.backend.flows()
    if json:
        say(as_json(found))
        return DONE
    if not found:
        note("there is no flow here yet")
        return DONE
    statuses = ("running", "waiting", "completed", "failed", "cancelled")
    rows = [
        [it.name, *(str(it.counts.get(status) or "") for status in statuses), "here" if it.has_code else ""]
        for it in found
    ]
    table(["FLOW", *(it.upper() for it in statuses), "CODE"], rows)
    return DONE


async def runs(
    place: Place,
    *,
    flow: str | None,
    status: Sequence[str],
    since: str | None,
    until: str | None,
    labels: Sequence[str],
    text: str | None,
    parent: str | None,
    after: str | None,
    limit: int,
    json: bool,
) -> int:
    """A page of executions, the newest first."""
    backend, at = place.backend, now()
    wanted = pairs_of(labels, "--label")
    if flow is not None:
        await finding.flow(backend, flow)
    page = await backend.executions(
        flow=flow,
        status=cast("Any", list(status)) or None,
        since=None if since is None else moment_of(since, "--since", at),
        until=None if until is None else moment_of(until, "--until", at),
        labels=wanted or None,
        text=text,
        parent=None if parent is None else (await finding.execution(backend, parent)).id,
        after=None if after is None else (await finding.execution(backend, after)).id,
        limit=limit,
    )
    if json:
        say(as_json(page))
        return DONE
    if not page.executions:
        note(
            await finding.label_hint(backend, wanted) or "no execution matches"
            if wanted
            else "there are no such executions"
        )
        return DONE
    list_executions(page.executions, at)
    if page.next is not None:
        note(f"more: --after {page.next}")
    return DONE


def list_executions(executions: "Sequence[ExecutionInfo]", at: float) -> None:
    """Print executions as a table."""
    rows = [
        [
            short(it.id),
            it.flow,
            it.status,
            age(it.created, at),
            str(it.frames),
            labels_of(it),
            _what(it, at),
        ]
        for it in executions
    ]
    heads = ["ID", "FLOW", "STATUS", "AGE", "FRAMES", "LABELS", "WHAT"]
    table(heads, rows, colours=[COLOURS.get(it.status) for it in executions])


def labels_of(info: "ExecutionInfo") -> str:
    """The labels of an execution, without the one that a server adds for idempotency."""
    return " ".join(f"{name}={value}" for name, value in info.labels.items() if name != KEY_LABEL)


def _what(it: "ExecutionInfo", at: float) -> str:
    if it.error:
        return it.error
    if it.questions:
        return "1 question" if it.questions == 1 else f"{it.questions} questions"
    if it.due is not None and it.status == "waiting":
        return f"timer {age(it.due, at)}" if it.due > at else "timer is due"
    return "" if it.status != "running" or it.owned else "nobody runs it"


async def questions(
    place: Place, *, flow: str | None, execution: str | None, after: str | None, limit: int, json: bool
) -> int:
    """The open questions, the oldest first."""
    backend, at = place.backend, now()
    if flow is not None:
        await finding.flow(backend, flow)
    of = None if execution is None else (await finding.execution(backend, execution)).id
    page = await backend.questions(flow=flow, execution=of, after=after, limit=limit)
    if json:
        say(as_json(page))
        return DONE
    if not page.questions:
        note("there is no open question")
        return DONE
    list_questions(page.questions, at)
    if page.next is not None:
        note(f"more: --after '{page.next}'")
    return DONE


def list_questions(asked: "Sequence[QuestionInfo]", at: float) -> None:
    """Print open questions as a table."""
    rows = [
        [
            short(it.execution),
            it.id,
            it.flow,
            it.chunk,
            age(it.since, at),
            described(it.schema),
            "(too large to be listed)" if it.cut else safe.cut(shown(it.payload), IN_LIST),
        ]
        for it in asked
    ]
    table(["EXECUTION", "QUESTION", "FLOW", "CHUNK", "ASKED", "ANSWER", "PAYLOAD"], rows, keys=2)


async def schedules(place: Place, *, flow: str | None, json: bool) -> int:
    """The schedules in the store."""
    from ..durable.schedules.schedule_state import read_state

    store, at = place.own_store("schedules"), now()
    found: list[dict[str, Any]] = []
    after: str | None = None
    while page := await store.schedules(flow=flow, after=after):
        after = page[-1].id
        for row in page:
            state = read_state(row)
            found.append(
                {
                    "id": row.id,
                    "flow": row.flow,
                    "cron": state.cron,
                    "every": state.every,
                    "zone": state.zone,
                    "paused": state.paused,
                    "due": row.due,
                    "started": state.started,
                    "skipped": state.skipped,
                    "latest": state.latest,
                    "error": state.error,
                }
            )
    if json:
        say(as_json(found))
    elif not found:
        note("there is no schedule here")
    else:
        rows = [
            [
                it["id"],
                it["flow"],
                f"{it['cron']} {it['zone']}" if it["cron"] else f"every {it['every']:g} s",
                "paused" if it["paused"] else "over" if it["due"] is None else age(it["due"], at),
                str(it["started"]),
                short(it["latest"] or ""),
                it["error"] or "",
            ]
            for it in found
        ]
        table(["ID", "FLOW", "WHEN", "NEXT", "STARTED", "LATEST", "ERROR"], rows)
    return DONE


async def overview(file: str, json: bool) -> int:
    """A summary of a store: flows, open questions, failed and newest executions."""
    async with opened(file, "read") as place:
        backend, at = place.backend, now()
        found = await backend.flows()
        newest = (await backend.executions(limit=10)).executions
        asked = (await backend.questions(limit=10)).questions
        failed = (await backend.executions(status="failed", limit=5)).executions
        if json:
            say(as_json({"flows": found, "newest": newest, "questions": asked, "failed": failed}))
            return DONE
        total = sum(sum(it.counts.values()) for it in found)
        say(f"{place.name}: {_many(total, 'execution')} of {_many(len(found), 'flow')}, opened to be read")
        if not found:
            return DONE
        say()
        await flows(place, json=False)
        if asked:
            say("\nWaiting for an answer")
            list_questions(asked, at)
        if failed:
            say("\nFailed")
            list_executions(failed, at)
        say("\nNewest")
        list_executions(newest, at)
        say(f"\nMore: triggerflow show ID{place.option()}")
    return DONE


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


# -- one execution -----------------------------------------------------------------------------------------------------


async def show(place: Place, id: str, *, at: int | None, json: bool) -> int:
    """One execution, now or at a moment."""
    backend, moment = place.backend, now()
    info = await finding.execution(backend, id)
    state = await backend.state_at(info.id, at)
    asked = (await backend.questions(execution=info.id)).questions if at is None else []
    children = (await backend.executions(parent=info.id, limit=20)).executions
    if json:
        say(as_json({"execution": info, "state": state, "questions": asked, "children": children}))
        return DONE
    status = state.status if at is not None else info.status
    lost = at is None and status in ("running", "created") and not info.owned
    by = "; nobody runs it: start a worker" if lost else ""
    lines(
        [
            ("execution", info.id),
            ("flow", info.flow),
            ("moment", f"{state.moment} of {info.frames}" if at is not None else ""),
            ("status", Painted(coloured(status, COLOURS.get(status, 0)) + by)),
            ("created", f"{clock(info.created)}, {_ago(info.created, moment)}"),
            ("changed", f"{clock(info.updated)}, {_ago(info.updated, moment)}"),
            ("labels", labels_of(info)),
            ("part of", info.parent or ""),
            ("fork of", "" if info.forked_from is None else f"{info.forked_from[0]} at {info.forked_from[1]}"),
            ("frames", f"{info.frames}, {_many(info.items, 'stream item')}"),
            ("started with", _value(state.value) if state.started else ""),
            ("state", "\n".join(f"{safe.line(key)}: {_value(it)}" for key, it in state.state.items())),
            ("result", _value(state.result) if state.has_result else ""),
            ("error", _error(state)),
            ("reason", state.reason),
            ("asks", "\n".join(_asks(state.questions, asked, info, place))),
            ("running", "\n".join(_runs(state))),
            ("timers", ", ".join(age(due, moment) for due in state.timers[:5])),
            ("sub-flows", "\n".join(f"{it.id}  {it.status}" for it in children)),
        ]
    )
    return DONE


def _ago(moment: float, at: float) -> str:
    return f"{age(moment, at)} ago" if moment <= at else age(moment, at)


def _value(value: Any) -> str:
    return safe.cut(shown(value), ON_PAGE)


def _error(state: "StateInfo") -> str:
    if state.error is None:
        return ""
    chunk = f" in chunk {state.error.chunk}" if state.error.chunk else ""
    return f"{state.error.type}{chunk}: {state.error.message}"


def _asks(
    now_open: "Sequence[OpenQuestion]", asked: "Sequence[QuestionInfo]", info: "ExecutionInfo", place: Place
) -> list[str]:
    if not asked:
        return [f"{it.id} (chunk {it.chunk}): {_value(it.payload)}" for it in now_open if not it.inside]
    found: list[str] = []
    for it in asked:
        payload = "" if it.payload is None else f": {_value(it.payload)}"
        found.append(f"{it.id} (chunk {it.chunk}, {it.type}){payload}")
        found.append(f"  {how_to_answer(it, place)}")
    return found


def how_to_answer(it: "QuestionInfo", place: Place) -> str:
    """The command that answers a question."""
    words = f"{quoted(short(it.execution))} {quoted(it.id)}"
    return f"triggerflow answer {words} VALUE{place.option()}   ({described(it.schema)})"


def _runs(state: "StateInfo") -> list[str]:
    return [
        f"{it.chunk} {it.phase}"
        + (f", attempt {it.attempt}" if it.attempt > 1 else "")
        + f"  {safe.cut(shown(it.value), IN_LIST)}"
        for it in state.runs[:20]
    ]


async def frames(place: Place, id: str, *, after: int, follow: bool, json: bool) -> int:
    """The frames of an execution."""
    info = await finding.execution(place.backend, id)
    first: float | None = None
    async for frame in place.backend.frames(info.id, after=after, follow=follow):
        if json:
            say(as_json(frame))
            continue
        first = frame.at if first is None else first
        say(frame_line(frame, frame.at - first))
    return DONE


def frame_line(frame: "Frame", seconds: float) -> str:
    """A frame on one line. `seconds`: since the first one."""
    changes = [
        f"{it.chunk or it.operator} {it.phase}" + (f" (attempt {it.attempt})" if it.attempt > 1 else "")
        for it in frame.runs
    ]
    changes += [f"question {it.id} {'opened' if it.open else 'closed'}" for it in frame.questions]
    if frame.has_result:
        changes.append(f"result {safe.cut(shown(frame.result), IN_LIST)}")
    if frame.error is not None:
        changes.append(f"{frame.error.type}: {frame.error.message}")
    text = ", ".join(changes)
    status = coloured(f"{frame.status:<9}", COLOURS.get(frame.status, 0))
    return f"{frame.number:>5}  {safe.elapsed(seconds):>9}  {frame.kind:<16}  {status}  {safe.line(text)}".rstrip()


async def stream(place: Place, id: str, *, after: int, follow: bool, compact: bool, json: bool) -> int:
    """The items of the runtime stream."""
    info = await finding.execution(place.backend, id)
    async for it in place.backend.stream(info.id, after=after, follow=follow, compact=compact):
        say(as_json(it) if json else item_text(it.item))
    return DONE


def item_text(item: Any) -> str:
    """An item of a stream: a text as it is, anything else as JSON."""
    return safe.harmless(item) if isinstance(item, str) else shown(item)


async def diff(place: Place, one: str, other: str, json: bool) -> int:
    """How two executions of a flow differ. The exit code is 1 if they do."""
    backend = place.backend
    first, second = await finding.execution(backend, one), await finding.execution(backend, other)
    found = await backend.diff(first.id, second.id)
    if json:
        say(as_json(found))
    elif found.same:
        say("they are the same")
    else:
        _print_difference(found)
    return DONE if found.same else FAILED


def _print_difference(found: Any) -> None:
    rows: list[list[str]] = []
    if found.status[0] != found.status[1]:
        rows.append(["status", *found.status])
    if found.frames[0] != found.frames[1]:
        rows.append(["frames", *map(str, found.frames)])
    if found.parted is not None:
        rows.append([f"frame {found.parted.number}", *(_record(found.parted, side) for side in (0, 1))])
    for name, values in found.chunks.items():
        rows.append([f"chunk {name}", *(safe.cut(shown(it), IN_LIST) for it in values)])
    rows += [[f"state {key}", *_pair(it)] for key, it in found.state.items()]
    if found.stream is not None:
        rows.append([f"item {found.stream[0]}", *_pair(found.stream[1])])
    if found.result is not None:
        rows.append(["result", *_pair(found.result)])
    table(["WHERE", short(found.ids[0]), short(found.ids[1])], rows)


def _record(parted: Any, side: int) -> str:
    kind, record = parted.kinds[side], parted.records[side]
    return "-" if kind is None else f"{kind} {safe.cut(shown(record), IN_LIST)}"


def _pair(pair: Any) -> tuple[str, str]:
    return (
        "-" if pair.missing == "one" else safe.cut(shown(pair.one), IN_LIST),
        "-" if pair.missing == "other" else safe.cut(shown(pair.other), IN_LIST),
    )


async def export(place: Place, id: str, output: str | None) -> int:
    """Write an execution to a file, whole or not at all; without `output`, to standard output."""
    info = await finding.execution(place.backend, id)
    pieces = place.backend.export(info.id)
    if output is None or output == "-":
        if sys.stdout.isatty():
            raise Trouble(USAGE, f"the file would fill the terminal: add -o {short(info.id).replace('/', '-')}.jsonl")
        async for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return DONE
    with replacing(output) as file:
        async for piece in pieces:
            file.write(piece)
    say(f"{output}: {info.id}, {info.frames} frames")
    return DONE


@contextmanager
def replacing(name: str) -> Generator[BinaryIO]:
    """A temporary file that replaces the file `name` at the end of the block, unless an error is raised. It keeps the
    permissions of the old file; a new one only its owner can read. Raises `Trouble`."""
    path = Path(name).expanduser().absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise Trouble(USAGE, f"-o takes a file in a folder that is there, not {name!r}")
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file:
            yield file
        if path.exists():
            shutil.copymode(path, unfinished)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


async def graph(backend: "Backend", flow: str, *, definition: str | None, detailed: bool, json: bool) -> int:
    """The graph of a flow as Mermaid."""
    await finding.flow(backend, flow)
    drawn = await backend.drawing(flow, definition=definition, mode="detailed" if detailed else "simplified")
    if json:
        say(as_json(drawn))
        return DONE
    from ..diagram import graph as drawings
    from ..diagram.mermaid import write

    boxes = [
        drawings.Box(key=it.key, shape=cast("Any", it.shape), lines=it.lines, block=it.block, operators=it.operators)
        for it in drawn.boxes
    ]
    blocks = [msgspec.convert(msgspec.to_builtins(it), drawings.Block) for it in drawn.blocks]
    arrows = [msgspec.convert(msgspec.to_builtins(it), drawings.Line) for it in drawn.lines]
    say(write(drawings.Drawing(drawn.flow, boxes, blocks, arrows)).rstrip("\n"))
    return DONE


async def graph_of_code(flow: Any, *, definition: str | None, detailed: bool, json: bool) -> int:
    """The graph of a flow whose code is here."""
    from ..backend.drawings import drawing_of

    if definition is not None:
        raise Trouble(USAGE, "--definition is for a flow in a store: name the flow, and not its code")
    mode = "detailed" if detailed else "simplified"
    say(as_json(drawing_of(flow.definition, mode)) if json else flow.to_mermaid(mode=mode).rstrip("\n"))
    return DONE
