"""Finds executions, flows, questions, signals and labels by what a person has typed; errors name similar ones."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..stores.protocol import FINAL_STATUSES
from ..terminal import safe
from .troubles import NOT_FOUND, NOT_NOW, USAGE, Trouble, meant

if TYPE_CHECKING:
    from ..backend import Backend, ExecutionInfo, QuestionInfo

#: With how many of the newest executions a wrong id or label is compared.
NEWEST = 300


async def execution(backend: "Backend", given: str) -> "ExecutionInfo":
    """The execution with this id, or the only one whose id begins with it. Raises `Trouble`."""
    from ..errors import UnknownExecution

    if not given:
        raise Trouble(USAGE, "the id of an execution is not empty")
    try:
        return await backend.get(given)
    except UnknownExecution:
        pass
    found = [it for it in (await backend.executions(text=given, limit=NEWEST)).executions if it.id.startswith(given)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(it.id for it in found[:5])
        more = " ..." if len(found) > 5 else ""
        raise Trouble(NOT_FOUND, f"{len(found)} executions have an id that begins with {given!r}: {ids}{more}")
    newest = (await backend.executions(limit=NEWEST)).executions
    hint = meant(given, [it.id for it in newest])
    if "did you mean" not in hint:
        hint = "; `triggerflow runs` lists them" if newest else "; there are none yet"
    raise Trouble(NOT_FOUND, f"there is no execution {safe.line(given)!r} here{hint}")


async def flow(backend: "Backend", name: str) -> str:
    """The name, if there is a flow of that name. Raises `Trouble`."""
    known = [it.name for it in await backend.flows()]
    if name not in known:
        raise Trouble(NOT_FOUND, f"there is no flow {safe.line(name)!r} here{meant(name, known)}")
    return name


def question(asked: "Iterable[QuestionInfo]", given: str, of: str) -> "QuestionInfo":
    """The open question with this id, or the only one whose id begins with it. `of`: the id of its execution. Raises
    `Trouble`."""
    questions = list(asked)
    for it in questions:
        if given in (it.id, it.own_id):
            return it
    near = [it for it in questions if given and it.id.startswith(given)]
    if len(near) == 1:
        return near[0]
    if not questions:
        raise Trouble(NOT_FOUND, f"execution {of!r} has no open question; `triggerflow show {of}` says what it does")
    raise Trouble(
        NOT_FOUND,
        f"execution {of!r} has no open question {safe.line(given)!r}{meant(given, [it.id for it in questions])}",
    )


async def signal(backend: "Backend", info: "ExecutionInfo", name: str) -> "dict[str, object]":
    """The schema of a signal. Raises `Trouble` if no chunk of the execution listens to that name."""
    contract = await backend.contract(info.flow, definition=info.definition)
    for it in contract.signals:
        if it.name == name:
            return dict(it.schema)
    known = [it.name for it in contract.signals]
    none = "; it listens to none" if not known else meant(name, known)
    raise Trouble(NOT_FOUND, f"no chunk of flow {info.flow!r} listens to a signal {safe.line(name)!r}{none}")


async def label_hint(backend: "Backend", labels: Mapping[str, str]) -> str:
    """For labels that no execution has: which label is wrong, with a similar one; "" if each of them exists."""
    newest = (await backend.executions(limit=NEWEST)).executions
    names = {name for it in newest for name in it.labels}
    for name, value in labels.items():
        if name not in names:
            return f"no execution has a label {safe.line(name)!r}{meant(name, sorted(names))}"
        values = sorted({it.labels[name] for it in newest if name in it.labels})
        if value not in values:
            return f"no execution has the label {name}={safe.line(value)}{meant(value, values)}"
    return ""


def refuse_ended(info: "ExecutionInfo", what: str) -> None:
    """Raise `Trouble` if an execution has ended. `what`: a clause for the message."""
    if info.status in FINAL_STATUSES:
        retry = "; `triggerflow retry` runs a failed one again" if info.status == "failed" else ""
        raise Trouble(NOT_NOW, f"execution {info.id!r} has ended ({info.status}): {what}{retry}")
